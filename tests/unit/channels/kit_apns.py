"""How the tests speak as Apple."""

from __future__ import annotations

import functools
from typing import Any

import msgspec

from tests.unit.channels.kit_shape import VendorKit, ec_key
from tocsin.channels.vendors import apns
from tocsin.conversation import Response

DIED_AT_MS = 1_767_225_600_000


@functools.cache
def apns_settings(**changed: Any) -> apns.Settings:
    settings = apns.Settings(
        private_key=ec_key(), key_id="KEY1234567", team_id="TEAM123456", bundle_id="com.example.app"
    )
    return msgspec.structs.replace(settings, **changed)


def refusal(status: int, reason: str) -> Response:
    if not reason:
        return Response(status)
    answer: dict[str, Any] = {"reason": reason}
    if status == 410:
        answer["timestamp"] = DIED_AT_MS
    return Response(status, {}, msgspec.json.encode(answer))


PHONE_TOKEN = "971d256d3f8e0b1c2a4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f7a8b9c0d"

KIT = VendorKit(
    settings=apns_settings,
    refusal=refusal,
    accepted=Response(200),
    wrong={"private_key": ec_key()},
    drops=frozenset({"410 ExpiredToken", "410 Unregistered"}),
    suspects=frozenset({"400 BadDeviceToken"}),
    stops=frozenset(
        {
            "403",
            "403 BadCertificate",
            "403 BadCertificateEnvironment",
            "403 BadEnvironmentKeyIdInToken",
            "403 Forbidden",
            "403 InvalidProviderToken",
            "403 MissingProviderToken",
            "403 UnrelatedKeyIdInToken",
        }
    ),
    spellings=(
        PHONE_TOKEN,
        PHONE_TOKEN.upper(),
        f"<{' '.join(PHONE_TOKEN[at : at + 8] for at in range(0, 64, 8))}>",
        f"[{PHONE_TOKEN}]",
        f"{PHONE_TOKEN[:32]}\r\n{PHONE_TOKEN[32:].upper()}\n",
    ),
    others=(PHONE_TOKEN[::-1], PHONE_TOKEN + "00"),
    impossible=(
        "",
        "<>",
        "abc",
        "z" * 64,
        PHONE_TOKEN[:-1],
        PHONE_TOKEN[:62],
        f"0x{PHONE_TOKEN}",
        "\uff11" * 64,
    ),
)
