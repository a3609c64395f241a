"""How a test speaks as Honor."""

from __future__ import annotations

from typing import Any

import msgspec

from tests.unit.channels.kit_shape import RECEIPT, ReceiptKit, VendorKit, spaced
from tocsin.channels.vendors.honor import Settings
from tocsin.conversation import Response

TOKEN = f"{5:064x}"
"""The token of the kit's fifth delivery, which the tests of single rows deliver to."""
JSON = {"content-type": "application/json"}


def honor_settings(**changed: Any) -> Settings:
    settings = Settings(
        client_secret="canary-honor-client-secret",
        client_id="client-1",
        app_id="104413210",
        badge_class="com.example.app.MainActivity",
    )
    return msgspec.structs.replace(settings, **changed)


def answer(
    status: int = 200, *, code: Any = 200, message: Any = "success", **data: Any
) -> Response:
    body: dict[str, Any] = {"code": code, "message": message}
    if data:
        body["data"] = data
    return Response(status, JSON, msgspec.json.encode(body))


def refusal(status: int, reason: str) -> Response:
    """A list's name stands for a taken push that names the token in that list."""
    if reason in ("expireTokens", "failTokens"):
        told: dict[str, Any] = {"sendResult": False, "requestId": "r-1", reason: [TOKEN]}
        return answer(**told)
    if not reason:
        return Response(status)
    return answer(status, code=int(reason), message="no")


def receipt(code: str) -> bytes:
    status = {
        "token": RECEIPT.token,
        "biTag": RECEIPT.correlation,
        "status": int(code),
        "timestamp": RECEIPT.at_ms,
        "requestId": "r-1",
    }
    return msgspec.json.encode({"statuses": [status]})


PHONE_TOKEN = "BAEAAAAAB.jRQmFzZTY0VGV4dE9mQVRva2VuX2FuZC1tb3Jl"
"""Of the form that this vendor's tokens have; nobody's."""

KIT = VendorKit(
    settings=honor_settings,
    refusal=refusal,
    authority={
        "/auth/token": Response(
            200, JSON, b'{"access_token":"of-a-test","expires_in":3600,"token_type":"Bearer"}'
        )
    },
    accepted=answer(sendResult=True, requestId="r-1", failTokens=[], expireTokens=[]),
    wrong={"client_secret": "another"},
    drops=frozenset({"200 expireTokens", "200 80300007"}),
    stops=frozenset({"200 10205", "200 10207", "200 80200001", "200 80300002", "404"}),
    trial_marks=(b'"targetUserType":1',),
    receipts=ReceiptKit(
        body=receipt,
        dead=frozenset({"40000003", "40000004"}),
        fates={"live": "40000002", "muted": "40000005", "inactive": "", "gone": "40000003"},
    ),
    spellings=spaced(PHONE_TOKEN),
    others=(PHONE_TOKEN.swapcase(), PHONE_TOKEN[:-1]),
)
