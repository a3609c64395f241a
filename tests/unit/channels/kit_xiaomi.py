"""How the tests speak as Xiaomi."""

from __future__ import annotations

import functools
from typing import Any
from urllib.parse import urlencode

import msgspec

from tests.unit.channels.kit_shape import LISTED, RECEIPT, ReceiptKit, VendorKit, spaced
from tocsin.channels.vendors import xiaomi
from tocsin.conversation import Response

JSON = {"content-type": "application/json;charset=utf-8"}


@functools.cache
def xiaomi_settings(**changed: Any) -> xiaomi.Settings:
    settings = xiaomi.Settings(
        app_secret="XiaomiAppSecretOfATest==",
        package_name="com.example.app",
        android_channel_id="high_system",
    )
    return msgspec.structs.replace(settings, **changed)


def xiaomi_refusal(status: int, reason: str) -> Response:
    if status != 200:
        return Response(status, {}, b"<html><h1>No</h1></html>")
    if not reason:
        return xiaomi_error(99999)
    if reason == "0":
        return xiaomi_accepted()
    return xiaomi_error(int(reason))


def xiaomi_error(code: int, **members: Any) -> Response:
    answer = {
        "result": "error",
        "code": code,
        "reason": "No.",
        "description": "It is not so.",
        "trace_id": "Xdm00000000000000000",
        **members,
    }
    return Response(200, JSON, msgspec.json.encode(answer))


def xiaomi_accepted(**data: Any) -> Response:
    answer = {
        "result": "ok",
        "code": 0,
        "trace_id": "Xdm00000000000000000",
        "description": "成功",
        "info": "Received push messages for 1 REGID",
        "data": {"id": "scm00000000000000000", "day_quota": "50000", "day_acked": "7", **data},
    }
    return Response(200, JSON, msgspec.json.encode(answer))


def receipt(code: str) -> bytes:
    entry = {
        "type": int(code),
        "targets": RECEIPT.token,
        "param": RECEIPT.correlation,
        "jobkey": "",
        "barStatus": "Enable",
        "timestamp": RECEIPT.at_ms,
    }
    return urlencode({"data": msgspec.json.encode({"scm0": entry})}).encode()


PHONE_TOKEN = "dXNlcjpURVNULWEvYi1jK2RlZmdoaWprbG1ub3BxcnN0dQ=="
"""Of the form that this vendor's tokens have; nobody's."""

KIT = VendorKit(
    settings=xiaomi_settings,
    refusal=xiaomi_refusal,
    accepted=xiaomi_accepted(),
    wrong={"app_secret": "another"},
    drops=frozenset({"200 10029", "200 20315", "200 66007"}),
    stops=frozenset(
        {
            "200 21301",
            "200 21302",
            "200 21305",
            "200 22000",
            "200 22006",
            "200 22007",
            "200 22022",
            "401",
            "403",
        }
    ),
    spellings=spaced(PHONE_TOKEN),
    others=(PHONE_TOKEN.swapcase(), PHONE_TOKEN[:-1]),
    impossible=(*LISTED, "", "t\x00ken"),
    receipts=ReceiptKit(
        body=receipt,
        dead=frozenset({"16"}),
        fates={"live": "1", "muted": "1", "inactive": "1024", "gone": "16"},
    ),
)
