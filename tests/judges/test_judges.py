"""Foreign judges: other people's SDKs, unchanged, against the sandbox and beside our channels.

Each sends one message to a device that lives and to one that is dead. The SDK must be understood
(the sandbox shows what it sent) and must understand (it tells its user of the dead device). Then
our channel sends the same, and what differs is compared with a table that says why it does: the
same hand wrote our channels and our sandbox, and these were written by others.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from tests.judges.court import (
    BODY,
    COLLAPSE,
    TITLE,
    Court,
    Different,
    Judge,
    Seen,
    compared,
    court,
    flat,
    headers_of,
    token_parts,
)
from tocsin.domain.message import ApplePart, Message
from tocsin.domain.outcome import Outcome
from tocsin.sandbox.vendors.webpush.browser import open_sealed

pytestmark = pytest.mark.optional

SHOWN = {"title": TITLE, "body": BODY}
MESSAGE = Message(title=TITLE, desc=BODY)
MOZILLA = "https://updates.push.services.mozilla.com"
SOME = object()
"""In a table: any value."""

APNS = (
    Judge("aioapns", "apns", "aioapns_sends.py", by="hosts"),
    Judge("node-apn", "apns", "node-apn.js"),
    Judge("apns2", "apns", "apns2.js", by="hosts"),
)
FCM = (
    Judge("firebase-admin Python", "fcm", "firebase_admin_sends.py", "http1"),
    Judge("firebase-admin Python", "fcm", "firebase_admin_sends.py", "http2", by="hosts"),
    Judge("firebase-admin Node", "fcm", "firebase-admin.js", "http1"),
    Judge("firebase-admin Node", "fcm", "firebase-admin.js", "http2", by="hosts"),
    Judge("async-firebase", "fcm", "async_firebase_sends.py"),
    Judge("pyfcm", "fcm", "pyfcm_sends.py"),
)
WEBPUSH = (
    Judge("pywebpush", "webpush", "pywebpush_sends.py", "requests"),
    Judge("pywebpush", "webpush", "pywebpush_sends.py", "aiohttp", by="hosts"),
    Judge("web-push", "webpush", "web-push.js"),
)
HUAWEI = (Judge("hpa", "huawei", "hpa_sends.py"),)


def named(judge: Judge) -> str:
    return " ".join(filter(None, (judge.name, judge.how)))


def differing(found: Different, table: dict[str, tuple[Any, Any]]) -> None:
    """What differs is what the table says, and no more."""
    assert found.keys() == table.keys(), found
    for name, pair in table.items():
        for got, told in zip(found[name], pair, strict=True):
            assert told is SOME or got == told, (name, found[name])


def shown_on(here: Court, vendor: str, token: str) -> list[tuple[str, str]]:
    device = here.sandbox.devices.known(vendor, token)
    return [] if device is None else [(it.title, it.body) for it in device.shown.values()]


# APNs


@pytest.mark.evidence(
    "what senders of APNs send is understood, and they understand its refusals: aioapns "
    "4.0, @parse/node-apn 8.1, apns2 12.2 (Node)",
    topic="Foreign judges",
    planted=None,
)
@pytest.mark.evidence("our requests are the judges' but for what is explained")
@pytest.mark.evidence(
    "tests hold with nginx, redis-server and Node present or absent (`.ci/run` runs them at"
    " both ends)",
)
@pytest.mark.parametrize("judge", APNS, ids=named)
async def test_apns(judge: Judge, tmp_path: Path) -> None:
    async with court(tmp_path, judge) as here:
        alive, dead = here.token("apns", 0), here.token("apns", 1)
        here.sandbox.devices.put("apns", dead, "dead")
        told = await here.hear(judge, [alive, dead])
        assert [(it["status"], it["reason"]) for it in told] == [(200, ""), (410, "Unregistered")]
        assert shown_on(here, "apns", alive) == [(TITLE, BODY)]
        heard = Message(title=TITLE, desc=BODY, apple=ApplePart(sound="default"))
        receipt = await here.ours("apns", alive, heard, {})
        assert receipt.outcome is Outcome.ACCEPTED
        theirs, _, ours = here.pushes("/3/device/")
        assert (theirs.method, theirs.path) == (ours.method, ours.path)
        # One second may pass between the two.
        lives = [int(it.headers.pop("apns-expiration")) for it in (theirs, ours)]
        assert abs(lives[0] - lives[1]) < 60
        found = compared(headers_of(ours, *APNS_NAMES), headers_of(theirs, *APNS_NAMES))
        differing(found, APNS_HEADERS[judge.name])
        differing(compared(body_of(ours), body_of(theirs)), APNS_BODY)
        header, claims = token_parts(ours.headers["authorization"].split(" ")[1])
        their_header, their_claims = token_parts(theirs.headers["authorization"].split(" ")[1])
        assert {**header, "typ": "JWT"} == {**their_header, "typ": "JWT"}
        assert claims.keys() == their_claims.keys() == {"iss", "iat"}
        assert claims["iss"] == their_claims["iss"]


APNS_NAMES = (
    *("authorization", "apns-topic", "apns-push-type", "apns-priority"),
    *("apns-collapse-id", "apns-id"),
)
APNS_HEADERS: dict[str, dict[str, tuple[Any, Any]]] = {
    "aioapns": {"apns-id": (SOME, SOME)},
    "node-apn": {"apns-id": (SOME, None)},
    # 10 is Apple's default, and that SDK leaves it out.
    "apns2": {"apns-id": (SOME, None), "apns-priority": ("10", None)},
}
# The ids by which an app tells copies and reports them: theirs to add, and always in ours.
APNS_BODY: dict[str, tuple[Any, Any]] = {"id": (SOME, None), "task_id": (SOME, None)}


# FCM


@pytest.mark.evidence(
    "what senders of FCM send is understood, and they understand its refusals: "
    "firebase-admin 7.7 (Python) and 13.10 (Node), each over HTTP/1.1 and HTTP/2; "
    "async-firebase 6.4; pyfcm 2.1",
    topic="Foreign judges",
    planted=None,
)
@pytest.mark.evidence(
    "our requests are the judges' but for what is explained",
    topic="Foreign judges",
    planted="`ttl` without its unit; `apns-collapse-id` left out",
)
@pytest.mark.parametrize("judge", FCM, ids=named)
async def test_fcm(judge: Judge, tmp_path: Path) -> None:
    async with court(tmp_path, judge) as here:
        alive, dead, stranger = (here.token("fcm", number) for number in range(3))
        here.sandbox.devices.put("fcm", dead, "dead")
        here.sandbox.devices.put("fcm", stranger, "other_app")
        told = await here.hear(judge, [alive, dead, stranger])
        assert [it["status"] for it in told] == [200, 0, 0]
        assert tuple(it["reason"] for it in told[1:]) == FCM_REFUSALS[judge.script]
        assert shown_on(here, "fcm", alive) == [(TITLE, BODY)]
        receipt = await here.ours("fcm", alive, MESSAGE, {})
        assert receipt.outcome is Outcome.ACCEPTED
        pushes = here.pushes("messages:send")
        theirs = next(it for it in pushes if alive.encode() in it.body)
        ours = pushes[-1]
        assert theirs.is_http2 == (judge.how == "http2")
        assert (theirs.method, theirs.path) == (ours.method, ours.path)
        found = compared(headers_of(ours, "authorization"), headers_of(theirs, "authorization"))
        differing(found, {})
        own, others = without_data(body_of(ours)), without_data(body_of(theirs))
        differing(compared(own, others), FCM_BODY | FCM_OWN.get(judge.script, {}))
        assert assertion_of(here, first=True) == assertion_of(here, first=False)


FCM_REFUSALS = {
    "firebase_admin_sends.py": (
        "UnregisteredError NOT_FOUND",
        "SenderIdMismatchError PERMISSION_DENIED",
    ),
    "firebase-admin.js": (
        "messaging/registration-token-not-registered",
        "messaging/mismatched-credential",
    ),
    "async_firebase_sends.py": ("UnregisteredError", "SenderIdMismatchError"),
    "pyfcm_sends.py": ("FCMNotRegisteredError", "FCMSenderIdMismatchError"),
}
"""What each SDK tells its user of a dead device, and of one of another project."""
# What was asked of the SDKs and not of ours: how loud it is stands in its channel's settings.
FCM_BODY: dict[str, tuple[Any, Any]] = {
    "message.android.priority": (None, "high"),
    "message.android.notification.sound": (None, "default"),
}
FCM_OWN: dict[str, dict[str, tuple[Any, Any]]] = {
    # False is the default, which ours leaves out.
    "async_firebase_sends.py": {"validate_only": (None, False)},
    # Google's enumeration is upper case; its own SDKs send lower case, and both are taken.
    "pyfcm_sends.py": {"validate_only": (None, False), "message.android.priority": (None, "HIGH")},
}


def without_data(body: dict[str, Any]) -> dict[str, Any]:
    """The message but for the app's own pairs, which have to be texts."""
    pairs = {name: value for name, value in body.items() if name.startswith("message.data.")}
    assert pairs
    assert all(isinstance(value, str) for value in pairs.values())
    return {name: value for name, value in body.items() if name not in pairs}


def assertion_of(here: Court, *, first: bool) -> dict[str, Any]:
    """What a request for a bearer asserts, but for its times and how it is spelt."""
    asked = here.pushes("/token")[0 if first else -1]
    form = parse_qs(asked.body.decode())
    assert form["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
    header, claims = token_parts(form["assertion"][0])
    assert claims["exp"] - claims["iat"] <= 3600
    assert "https://www.googleapis.com/auth/firebase.messaging" in claims["scope"] or (
        "https://www.googleapis.com/auth/cloud-platform" in claims["scope"]
    )
    return {"alg": header["alg"], "iss": claims["iss"], "aud": claims["aud"]}


# Web Push


@pytest.mark.evidence(
    "what senders of Web Push send is understood, and they understand its refusals: "
    "pywebpush 2.5 by requests and by aiohttp, web-push 3.6 (Node)",
    topic="Foreign judges",
    planted=None,
)
@pytest.mark.parametrize("judge", WEBPUSH, ids=named)
async def test_webpush(judge: Judge, tmp_path: Path) -> None:
    async with court(tmp_path, judge) as here:
        own = here.sandbox.url("webpush")
        alive, dead = (here.token("webpush", number) for number in range(2))
        here.sandbox.devices.put("webpush", dead, "dead")
        real = [token.replace(own, MOZILLA) for token in (alive, dead)]
        told = await here.hear(judge, real, shown=SHOWN)
        assert [it["status"] for it in told] == [201, 410]
        assert shown_on(here, "webpush", alive) == [(TITLE, BODY)]
        receipt = await here.ours("webpush", alive, MESSAGE, {})
        assert receipt.outcome is Outcome.ACCEPTED
        theirs, _, ours = here.pushes("/push/")
        assert (theirs.method, theirs.path) == (ours.method, ours.path)
        names = ("authorization", "ttl", "urgency", "topic", "content-encoding", "content-type")
        found = compared(headers_of(ours, *names), headers_of(theirs, *names))
        found.pop("content-type", None)
        differing(found, {})
        assert vapid_of(theirs) == vapid_of(ours) | {"aud": MOZILLA}
        browser = here.sandbox.servers["webpush"].browsers.browser(0)  # type: ignore[attr-defined]
        plain = json.loads(open_sealed(theirs.body, browser.key, browser.auth))
        assert plain == SHOWN
        # Both are one record of RFC 8188 with a key of 65 bytes, sealed for the same browser.
        assert sealed_form(theirs.body) == sealed_form(ours.body)
        mine = json.loads(open_sealed(ours.body, browser.key, browser.auth))
        assert {name: mine[name] for name in SHOWN} == SHOWN


def vapid_of(seen: Seen) -> dict[str, Any]:
    scheme, _, rest = seen.headers["authorization"].partition(" ")
    parts = dict(part.strip().partition("=")[::2] for part in rest.split(","))
    header, claims = token_parts(parts["t"])
    assert claims.pop("exp") > 0
    claims.pop("iat", None)
    return {"scheme": scheme, "alg": header["alg"], "k": parts["k"].rstrip("="), **claims}


def sealed_form(body: bytes) -> tuple[int, int]:
    """Record size and length of the key's name: RFC 8188, 2.1."""
    return int.from_bytes(body[16:20]), body[20]


# Huawei


@pytest.mark.evidence(
    "what senders of Huawei send is understood, and they understand its refusals: hpa 1.0, "
    "Huawei's own",
    topic="Foreign judges",
    planted=None,
)
@pytest.mark.parametrize("judge", HUAWEI, ids=named)
async def test_huawei(judge: Judge, tmp_path: Path) -> None:
    async with court(tmp_path, judge) as here:
        alive, dead = here.token("huawei", 0), here.token("huawei", 1)
        here.sandbox.devices.put("huawei", dead, "dead")
        told = await here.hear(judge, [alive, dead])
        assert told[0]["reason"].startswith("80100000 ")
        assert dead in told[0]["reason"]
        assert shown_on(here, "huawei", alive) == [(TITLE, BODY)]
        receipt = await here.ours("huawei", alive, MESSAGE, {})
        assert receipt.outcome is Outcome.ACCEPTED
        theirs, ours = here.pushes("messages:send")
        assert (theirs.method, theirs.path) == (ours.method, ours.path)
        found = compared(headers_of(ours, "authorization"), headers_of(theirs, "authorization"))
        differing(found, {})
        own = {name: it for name, it in body_of(ours).items() if name != "message.data"}
        lists = own.pop("message.token"), (others := body_of(theirs)).pop("message.token")
        assert lists == ([alive], [alive, dead])
        differing(compared(own, others), HUAWEI_BODY)
        forms = [parse_qs(asked.body.decode()) for asked in here.pushes("/oauth2/")]
        assert forms[0] == forms[-1]


HUAWEI_BODY: dict[str, tuple[Any, Any]] = {
    # Whose receipt it is, and what replaces: each sender's own words.
    "message.android.bi_tag": (SOME, COLLAPSE),
    "message.android.notification.notify_id": (SOME, None),
    # Asked of that SDK: what Huawei's own samples say.
    "message.android.urgency": (None, "HIGH"),
    # Defaults that it always sends.
    "message.android.notification.foreground_show": (None, False),
    "message.android.notification.use_default_light": (None, True),
    "message.android.notification.use_default_vibrate": (None, True),
    "validate_only": (None, False),
}


def body_of(seen: Seen) -> dict[str, Any]:
    return flat(json.loads(seen.body))


def test_every_judge_has_a_sender() -> None:
    judges = (*APNS, *FCM, *WEBPUSH, *HUAWEI)
    folder = Path(__file__).with_name("senders")
    assert {judge.script for judge in judges} == {path.name for path in folder.iterdir()}
