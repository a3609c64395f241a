"""How the tests speak as Meizu."""

from __future__ import annotations

import functools
from typing import Any
from urllib.parse import urlencode

import msgspec

from tests.unit.channels.kit_shape import LISTED, RECEIPT, ReceiptKit, VendorKit, spaced
from tocsin.channels.vendors import meizu
from tocsin.conversation import Response

JSON = {"content-type": "application/json;charset=UTF-8"}
OF_VALUE = ("201", "501", "513", "518", "519", "520", "110002", "110003", "110005", "110011")
"""Codes that Meizu puts beside single devices."""


@functools.cache
def meizu_settings(**changed: Any) -> meizu.Settings:
    settings = meizu.Settings(app_secret="MeizuSecretOfATest", app_id="100999")
    return msgspec.structs.replace(settings, **changed)


def meizu_answer(code: Any, message: Any = "", value: Any = None, status: int = 200) -> Response:
    body = {
        "code": code,
        "message": message,
        "value": {} if value is None else value,
        "redirect": "",
        "msgId": "NS20251122001459_00_100999_1",
    }
    return Response(status, JSON, msgspec.json.encode(body))


def meizu_refusal(status: int, reason: str) -> Response:
    if status != 200:
        return Response(status, {}, b"<html><h1>No</h1></html>")
    if not reason:
        return meizu_answer("99999", "It is not so.")
    code = reason.removeprefix("value ")
    if code != reason or code in OF_VALUE:
        # The kit numbers its devices, and the token is the number.
        return meizu_answer("200", value={code: [f"{number:064x}" for number in range(1, 10)]})
    return meizu_answer(reason, "It is not so.")


def receipt(code: str) -> bytes:
    entry = {"param": RECEIPT.correlation, "type": int(code), "targets": [RECEIPT.token]}
    told = msgspec.json.encode({f"NS20251122001459_00_100999_1-{code}": entry})
    return urlencode({"cb": told, "access_token": "a"}).encode()


PHONE_TOKEN = "UCI4a6c7b5f6e6c4b635e4d0b71057f4f4d5d6e0b1a"
"""Of the form that this vendor's tokens have; nobody's."""

KIT = VendorKit(
    settings=meizu_settings,
    refusal=meizu_refusal,
    accepted=meizu_answer("200"),
    wrong={"app_secret": "another"},
    drops=frozenset({"200 110002", "200 110003"}),
    stops=frozenset(
        {"200 1006", "200 110000", "200 110001", "200 110031", "200 110033", "401", "403"}
    ),
    spellings=spaced(PHONE_TOKEN),
    others=(PHONE_TOKEN.swapcase(), PHONE_TOKEN[:-1]),
    impossible=(*LISTED, "", "t\x00ken"),
    receipts=ReceiptKit(
        body=receipt,
        dead=frozenset(),
        # Of the muted and the removed Meizu speaks in its answer; an inactive one says nothing.
        fates={"live": "1", "inactive": ""},
        tells_time=False,
    ),
)
