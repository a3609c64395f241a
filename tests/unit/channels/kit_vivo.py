"""How a test speaks as vivo."""

from __future__ import annotations

from typing import Any

import msgspec

from tests.unit.channels.kit_shape import RECEIPT, ReceiptKit, VendorKit, spaced
from tocsin.channels.vendors.vivo import Settings
from tocsin.conversation import Response
from tocsin.sandbox.vendors.vivo.server import VivoSettings

TOKEN = f"{5:064x}"
"""The token of the kit's fifth delivery, which the tests of single rows deliver to."""
SAVED = "542984793123"
JSON = {"content-type": "application/json;charset=UTF-8"}


def vivo_settings(**changed: Any) -> Settings:
    settings = Settings(
        app_secret="canary-vivo-app-secret",
        app_key="25509283-3767-4b9e-83fe-b6e55ac6243e",
        app_id="10004",
    )
    return msgspec.structs.replace(settings, **changed)


def answer(result: Any = 0, desc: str = "请求成功", **more: Any) -> Response:
    return Response(200, JSON, msgspec.json.encode({"result": result, "desc": desc, **more}))


def refusal(status: int, reason: str) -> Response:
    """`invalidUser` with its number stands for a taken push that names the device."""
    if reason.startswith("invalidUser"):
        user = {"userid": TOKEN, "status": int(reason.split()[1])}
        return answer(taskId=SAVED, invalidUser=user)
    if not reason:
        return Response(status)
    return answer(int(reason), "不行")


def receipt(code: str) -> bytes:
    entry = {
        "param": RECEIPT.correlation,
        "targets": RECEIPT.token,
        "ackTime": RECEIPT.at_ms,
        "ackType": "0" if code == "0" else "2",
        "subCode": "" if code == "0" else code,
    }
    return msgspec.json.encode({SAVED: entry})


PHONE_TOKEN = "15513410784181118114099aB"
"""Of the form that this vendor's tokens have; nobody's."""

KIT = VendorKit(
    settings=vivo_settings,
    refusal=refusal,
    authority={"/message/auth": answer(authToken="token-of-a-test")},
    accepted=answer(taskId=SAVED),
    prepared=SAVED,
    wrong={"app_secret": "another"},
    drops=frozenset({"200 10302", "200 invalidUser 1", "200 invalidUser 2"}),
    stops=frozenset(
        {
            "200 10200",
            "200 10201",
            "200 10202",
            "200 10203",
            "200 10204",
            "200 10205",
            "200 10206",
            "200 10207",
        }
    ),
    spellings=spaced(PHONE_TOKEN),
    others=(PHONE_TOKEN.swapcase(), PHONE_TOKEN[:-1]),
    trial_marks=(b'"pushMode":1',),
    sandbox=VivoSettings(targets_per_s=None),
    receipts=ReceiptKit(
        body=receipt,
        dead=frozenset({"2183"}),
        # Of the muted and the inactive vivo speaks in its answer.
        fates={"live": "0", "gone": "2183"},
        # It still says of which kind.
        garbled=("ackType 3",),
    ),
)
