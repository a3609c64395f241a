"""How the tests speak as Google."""

from __future__ import annotations

import functools
from typing import Any

import msgspec

from tests.unit.channels.kit_shape import VendorKit, bearer, rsa_key, spaced
from tocsin.channels.vendors import fcm
from tocsin.conversation import Response


@functools.cache
def fcm_settings(**changed: Any) -> fcm.Settings:
    settings = fcm.Settings(
        private_key=rsa_key(),
        client_email="sender@example.iam.gserviceaccount.com",
        project_id="example",
        private_key_id="c0ffee",
    )
    return msgspec.structs.replace(settings, **changed)


def refusal(status: int, reason: str) -> Response:
    if not reason:
        return Response(status)
    error: dict[str, Any] = {"code": status, "message": "It is not so.", "status": "SOME_STATUS"}
    if reason == "BAD_REQUEST":
        violation = {"field": "message.android.ttl", "description": "Illegal."}
        kind = "type.googleapis.com/google.rpc.BadRequest"
        error["details"] = [{"@type": kind, "fieldViolations": [violation]}]
    elif reason in ("UNAUTHENTICATED", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED"):
        error["status"] = reason
    else:
        if reason == "INVALID_ARGUMENT token":
            reason = "INVALID_ARGUMENT"
            error["message"] = "The registration token is not a valid FCM registration token"
        kind = "type.googleapis.com/google.firebase.fcm.v1.FcmError"
        error["details"] = [{"@type": kind, "errorCode": reason}]
    return Response(status, {}, msgspec.json.encode({"error": error}))


PHONE_TOKEN = "dQw4w9WgXcQ-example_01:APA91b" + "aB3-_" * 26
"""Of the form that this vendor's tokens have; nobody's."""

KIT = VendorKit(
    settings=fcm_settings,
    refusal=refusal,
    authority={"/token": bearer("of-a-test")},
    accepted=Response(200, {}, b'{"name":"projects/example/messages/1"}'),
    wrong={"private_key": rsa_key()},
    drops=frozenset({"400 UNREGISTERED", "404 UNREGISTERED"}),
    suspects=frozenset({"400 INVALID_ARGUMENT token", "403 SENDER_ID_MISMATCH"}),
    stops=frozenset({"401 THIRD_PARTY_AUTH_ERROR", "403", "403 PERMISSION_DENIED", "404"}),
    spellings=spaced(PHONE_TOKEN),
    others=(PHONE_TOKEN.swapcase(), PHONE_TOKEN[:-1]),
    # A made-up token Google refuses as a badly written one, and a topic needs no followers.
    trial_marks=(b'"validate_only":true', b'"topic":'),
)
