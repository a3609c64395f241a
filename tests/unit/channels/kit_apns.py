"""How the tests speak as Apple."""

from __future__ import annotations

import functools
from typing import Any

import msgspec

from tests.unit.channels.kit_shape import VendorKit, ec_key
from tocsin.channels import apns
from tocsin.ports import Response

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
)
