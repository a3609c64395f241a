"""How a test speaks as OPPO."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl

import msgspec

from tests.unit.channels.kit_shape import LISTED, RECEIPT, ReceiptKit, VendorKit, spaced
from tocsin.channels.vendors.oppo import Settings
from tocsin.conversation import Request, Response
from tocsin.sandbox.vendors.oppo.server import OppoSettings

SAVED = "58ad47319e8d725350a5afd5"
JSON = {"content-type": "application/json;charset=UTF-8"}


def oppo_settings(**changed: Any) -> Settings:
    settings = Settings(
        master_secret="canary-oppo-master-secret",
        app_key="4a3b2c1d00004000800000000000beef",
        app_secret="canary-oppo-app-secret",
    )
    return msgspec.structs.replace(settings, **changed)


def answer(code: Any = 0, message: Any = "success", **data: Any) -> Response:
    return said({"code": code, "message": message, "data": data})


def said(told: Any) -> Response:
    return Response(200, JSON, msgspec.json.encode(told))


def refusal(status: int, reason: str) -> Response:
    if not reason:
        return Response(status)
    return said({"code": int(reason), "message": "It is not so."})


def form_of(request: Request) -> dict[str, str]:
    """The members of a form, but for what proves us."""
    form = dict(parse_qsl(request.body.decode(), keep_blank_values=True, strict_parsing=True))
    form.pop("auth_token", None)
    return form


def receipt(code: str) -> bytes:
    entry = {
        "messageId": SAVED,
        "appId": "4a3b2c1d00004000800000000000beef",
        "taskId": SAVED,
        "registrationIds": RECEIPT.token,
        "eventTime": str(RECEIPT.at_ms),
        "param": RECEIPT.correlation,
        "eventType": code,
    }
    return msgspec.json.encode([entry])


PHONE_TOKEN = "OPPO_CN_4b0b1c2d3e4f5a6b7c8d9e0f1a2b3c4d"
"""Of the form that this vendor's tokens have; nobody's."""

KIT = VendorKit(
    settings=oppo_settings,
    refusal=refusal,
    authority={"/server/v1/auth": answer(auth_token="token-of-a-test", create_time=1767225600000)},
    # One answer for all calls: who saves looks for its id, and who sends for whom it names.
    accepted=answer(message_id=SAVED, task_id="58ad47529e8d725350a5afd6"),
    prepared=SAVED,
    wrong={"master_secret": "another"},
    drops=frozenset({"200 10000", "200 10001"}),
    stops=frozenset(
        {
            "200 14",
            "200 15",
            "200 16",
            "200 17",
            "200 18",
            "200 19",
            "200 26",
            "200 27",
            "200 28",
            "200 30",
        }
    ),
    spellings=spaced(PHONE_TOKEN),
    others=(PHONE_TOKEN.swapcase(), PHONE_TOKEN[:-1]),
    impossible=(*LISTED, "", "t\x00ken"),
    sandbox=OppoSettings(targets_per_s=None),
    receipts=ReceiptKit(
        body=receipt,
        dead=frozenset({"regid_invalid"}),
        fates={
            "live": "push_arrive",
            "muted": "push_arrive",
            "inactive": "regid_invalid",
            "gone": "regid_invalid",
        },
        unheard_of="never_heard_of",
    ),
)
