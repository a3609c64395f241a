"""Huawei's part of the kit."""

from __future__ import annotations

import functools
from typing import Any

import msgspec

from tests.unit.channels.kit_shape import RECEIPT, ReceiptKit, VendorKit, spaced
from tocsin.channels.vendors import huawei
from tocsin.conversation import Response

JSON = {"content-type": "application/json"}
TOKEN = f"{1:064x}"
"""The token of the kit's first device."""


@functools.cache
def huawei_settings(**changed: Any) -> huawei.Settings:
    settings = huawei.Settings(app_secret="f0" * 32, app_id="104551789")
    return msgspec.structs.replace(settings, **changed)


def answer(status: int, code: str, msg: str) -> Response:
    body = {"code": code, "msg": msg, "requestId": "169581193201000000000"}
    return Response(status, JSON, msgspec.json.encode(body))


def partial(*tokens: str, success: int = 0) -> Response:
    """Part accepted: the answer's `msg` is JSON as text."""
    parts = {"success": success, "failure": len(tokens), "illegal_tokens": tokens}
    return answer(200, "80100000", msgspec.json.encode(parts).decode())


def refusal(status: int, reason: str) -> Response:
    if reason == "80100000":
        # The kit numbers its devices, and the token is the number.
        return partial(*(f"{number:064x}" for number in range(1, 10)))
    if not reason and status == 200:
        return answer(200, "89999999", "An error nobody has heard of")
    if not reason:
        return Response(status)
    return answer(status, reason, f"Refused with {reason}")


def receipt(code: str) -> bytes:
    status = {
        "token": RECEIPT.token,
        "appid": "104551789",
        "biTag": RECEIPT.correlation,
        "status": int(code),
        "timestamp": RECEIPT.at_ms,
        "requestId": "157440955549500001002006",
    }
    return msgspec.json.encode({"statuses": [status]})


PHONE_TOKEN = "IQAAAACy0kYwAADzQmFzZTY0VGV4dE9mQVRva2VuX2FuZC1tb3JlLi4u"
"""Of the form that this vendor's tokens have; nobody's."""

KIT = VendorKit(
    settings=huawei_settings,
    refusal=refusal,
    authority={
        huawei.TOKEN_PATH: Response(
            200,
            JSON,
            b'{"access_token":"bearer-1","expires_in":3600,"token_type":"Bearer"}',
        )
    },
    accepted=answer(200, "80000000", "Success"),
    wrong={"app_secret": "another"},
    drops=frozenset({"200 80100000", "400 80300007"}),
    stops=frozenset({"400 80300002", "401 80200001", "403", "404", "500 80600003"}),
    trial_marks=(b'"validate_only":true',),
    receipts=ReceiptKit(
        body=receipt,
        dead=frozenset({"2", "5"}),
        fates={"live": "0", "muted": "6", "inactive": "10", "gone": "2"},
    ),
    spellings=spaced(PHONE_TOKEN),
    others=(PHONE_TOKEN.swapcase(), PHONE_TOKEN[:-1]),
)
