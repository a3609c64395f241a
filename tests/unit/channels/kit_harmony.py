"""How a test speaks as HarmonyOS Push Kit."""

from __future__ import annotations

import functools
from typing import Any

import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.unit.channels.kit_shape import RECEIPT, ReceiptKit, VendorKit, rsa_key, spaced
from tocsin.channels.vendors.harmony import Settings
from tocsin.conversation import Response

TOKEN = f"{5:064x}"
"""The token of the kit's fifth delivery, which the tests of single rows deliver to."""


@functools.cache
def private_key() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()


def harmony_settings(**changed: Any) -> Settings:
    return _settings(**changed)


@functools.cache
def _settings(**changed: Any) -> Settings:
    # To check an RSA key takes 27 ms, and hundreds of cases ask for the same few settings.
    given = {
        "private_key": private_key(),
        "key_id": "key-1",
        "sub_account": "account-1",
        "project_id": "388421841221",
        "category": "IM",
    }
    return Settings(**{**given, **changed})


def answer(status: int, code: str, msg: str = "no") -> Response:
    body = {"code": code, "msg": msg, "requestId": "r-1"}
    return Response(status, {"content-type": "application/json"}, msgspec.json.encode(body))


def parts(code: str, failure: int, **illegal: list[str]) -> Response:
    """Refused in part or whole, with the tokens under their reasons."""
    told = {"success": 0, "failure": failure, "illegalTokens": illegal}
    return answer(200, code, msgspec.json.encode(told).decode())


def refusal(status: int, reason: str) -> Response:
    """A reason in words stands for a list in which it is given for the token."""
    if not reason:
        return Response(status) if status != 200 else answer(200, "89999999")
    if not reason.isdigit():
        return parts("80100000", 1, **{reason: [TOKEN]})
    return answer(status, reason)


def receipt(code: str) -> bytes:
    status = {
        "token": RECEIPT.token,
        "pushType": 0,
        "appPackageName": "com.example.app",
        "biTag": RECEIPT.correlation,
        "requestId": "157440955549500001002006",
        "deliveryStatus": {"result": int(code), "timestamp": RECEIPT.at_ms},
    }
    return msgspec.json.encode({"statuses": [status]})


PHONE_TOKEN = "IQAAAACy0tEjAABcQmFzZTY0VGV4dE9mQVRva2VuX2FuZC1tb3JlLi4u"
"""Of the form that this vendor's tokens have; nobody's."""

KIT = VendorKit(
    settings=harmony_settings,
    refusal=refusal,
    accepted=answer(200, "80000000", "Success"),
    wrong={"private_key": rsa_key()},
    drops=frozenset({"200 tokenFormatError"}),
    suspects=frozenset({"200 tokenPlatformNotSupport", "200 noRight"}),
    stops=frozenset(
        {"200 appinfoError", "400 80300002", "401 80200001", "401 80300036", "403", "404"}
    ),
    spellings=spaced(PHONE_TOKEN),
    others=(PHONE_TOKEN.swapcase(), PHONE_TOKEN[:-1]),
    trial_marks=(b'"testMessage":true',),
    receipts=ReceiptKit(
        body=receipt,
        dead=frozenset({"2", "5"}),
        fates={"live": "0", "muted": "6", "inactive": "10", "gone": "2"},
        push_type="0",
    ),
)
