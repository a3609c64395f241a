"""Web Push for tests: a key pair, a browser whose private key is known, and its services' words."""

from __future__ import annotations

import functools
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec

from tests.unit.channels.kit_shape import VendorKit
from tocsin.channels.vendors import webpush
from tocsin.conversation import Response
from tocsin.domain.webpush import Subscription, base64url
from tocsin.sandbox.vendors.webpush.browser import open_sealed

VAPID_PRIVATE = "IQ9Ur0ykXoHS9gzfYX0BJZ0E2iWUyAXDz2SZ4WyuHpM"
"""Nobody's; any 32 bytes below the group's order are a key."""
BROWSER_PRIVATE = "q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94"
BROWSER_PUBLIC = (
    "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"
)
BROWSER_AUTH = "BTBZMqHH6r4Tts7J_aSIgg"
"""The receiver of RFC 8291, appendix A."""
ENDPOINT = "https://updates.push.services.mozilla.com/wpush/v2/"

GOOGLE_MISMATCH = (
    b"the VAPID credentials in the authorization header do not correspond to the credentials used "
    b"to create the subscriptions."
)


@functools.cache
def settings(**changed: Any) -> webpush.Settings:
    given = {"private_key": VAPID_PRIVATE, "subject": "mailto:push@example.com", **changed}
    return webpush.Settings(**given)


def token(name: str, endpoint: str = ENDPOINT) -> str:
    """A subscription whose address ends in `name`, as a browser writes it."""
    keys = {"p256dh": BROWSER_PUBLIC, "auth": BROWSER_AUTH}
    told = {"endpoint": endpoint + name, "expirationTime": None, "keys": keys}
    return msgspec.json.encode(told).decode()


def browser_key() -> ec.EllipticCurvePrivateKey:
    number = int.from_bytes(base64url(BROWSER_PRIVATE))
    return ec.derive_private_key(number, ec.SECP256R1())


def receiver() -> Subscription:
    public = base64url(BROWSER_PUBLIC)
    return Subscription(
        "https://push.example.com", "push.example.com", "/1", public, base64url(BROWSER_AUTH)
    )


def opened(body: bytes) -> Any:
    """What the browser reads out of a request's body."""
    return msgspec.json.decode(open_sealed(body, browser_key(), base64url(BROWSER_AUTH)))


def refusal(status: int, reason: str) -> Response:
    """An answer with this reason, in the shape of the service that uses it."""
    if not reason:
        return Response(status)
    if reason == "key mismatch":
        return Response(status, {"content-type": "text/plain"}, GOOGLE_MISMATCH)
    if reason.startswith("errno "):
        answer = {"code": status, "errno": int(reason[6:]), "error": "No", "message": "It is so"}
        return Response(status, {}, msgspec.json.encode(answer))
    return Response(status, {}, msgspec.json.encode({"reason": reason}))


NORMAL = (
    f'{{"endpoint":"{ENDPOINT}a?b=c",'
    f'"keys":{{"p256dh":"{BROWSER_PUBLIC}","auth":"{BROWSER_AUTH}"}}}}'
)


def spelt_otherwise() -> tuple[str, ...]:
    """The subscription in another order, with spaces, padding and members that say nothing."""
    told = msgspec.json.decode(NORMAL)
    keys = {"auth": BROWSER_AUTH + "==", "p256dh": BROWSER_PUBLIC + "="}
    turned = {"keys": keys, "expirationTime": None, "endpoint": told["endpoint"]}
    text = msgspec.json.encode(turned).decode()
    host = ENDPOINT.removeprefix("https://").split("/")[0]
    return (
        text,
        msgspec.json.format(text, indent=2),
        NORMAL.replace("/", "\\/"),
        NORMAL.replace(f"https://{host}", f"HTTPS://{host.upper()}:443"),
    )


KIT = VendorKit(
    settings=settings,
    refusal=refusal,
    accepted=Response(201),
    # A browser's key is bound to its subscriptions: `test_webpush.py` has the case.
    wrong=None,
    drops=frozenset(
        {
            "404",
            "404 errno 102",
            "410",
            "410 Unregistered",
            "410 errno 103",
            "410 errno 105",
            "410 errno 106",
        }
    ),
    stops=frozenset({"403", "403 BadAuthorizationHeader", "403 BadJwtToken"}),
    spellings=(NORMAL, *spelt_otherwise()),
    others=(token("A?b=c"), token("a?b=C"), token("a?b=c", ENDPOINT.replace("//u", "//w"))),
    impossible=("", "{}", "ab" * 32, ENDPOINT, token("a", "http://push.example.com/")),
    token=token,
)
