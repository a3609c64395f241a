"""Each of Google's rules is broken once and refused in its shape, and kept once and accepted."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.wire.sandbox_kit import Answer, H2Client, ask_http1, assertion
from tocsin.clock import ManualClock
from tocsin.sandbox.devices import State
from tocsin.sandbox.faults import Rule
from tocsin.sandbox.server import Sandbox, SandboxSettings
from tocsin.sandbox.vendors.fcm.oauth import GRANT_TYPE
from tocsin.sandbox.vendors.fcm.server import Fcm, FcmSettings

TOKEN = Fcm.token(1)
FID = Fcm.fid(1)
PROJECT = "tocsin-sandbox"
FORM = [("content-type", "application/x-www-form-urlencoded")]
FOREIGN_KEY = (
    rsa.generate_private_key(public_exponent=65537, key_size=2048)
    .private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    .decode()
)


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys")


@pytest.fixture
async def sandbox(clock: ManualClock, keys: Path) -> AsyncIterator[Sandbox]:
    async with Sandbox(SandboxSettings(folder=str(keys), seed=1), clock) as opened:
        yield opened


async def ask_token(sandbox: Sandbox, form: dict[str, str], **request: Any) -> Answer:
    return await ask_http1(
        sandbox.credential("fcm").token_uri,
        request.get("headers", FORM),
        urlencode(form).encode(),
        ca_pem=sandbox.ca_pem,
        method=request.get("method", "POST"),
    )


async def bearer(sandbox: Sandbox, **changes: Any) -> str:
    form = {"grant_type": GRANT_TYPE, "assertion": assertion(sandbox, **changes)}
    token = (await ask_token(sandbox, form)).json["access_token"]
    assert isinstance(token, str)
    return token


async def send(sandbox: Sandbox, message: Any, **request: Any) -> Answer:
    token = request.get("bearer") or await bearer(sandbox)
    body = message if isinstance(message, bytes) else json.dumps(message).encode()
    path = request.get("path", f"/v1/projects/{PROJECT}/messages:send")
    return await ask_http1(
        sandbox.url("fcm") + path,
        [("authorization", f"Bearer {token}"), ("content-type", "application/json")],
        body,
        ca_pem=sandbox.ca_pem,
        method=request.get("method", "POST"),
    )


def fcm_code(answer: Answer) -> tuple[int, str, str]:
    """HTTP status, Google's status, and FCM's own code where there is one."""
    error = answer.json["error"]
    assert error["code"] == answer.status
    codes = [
        detail["errorCode"]
        for detail in error.get("details", [])
        if detail["@type"].endswith("fcm.v1.FcmError")
    ]
    return answer.status, error["status"], "".join(codes)


def violated(answer: Answer) -> list[str]:
    """The fields of the other 400."""
    error = answer.json["error"]
    assert (answer.status, error["status"]) == (400, "INVALID_ARGUMENT")
    (detail,) = error["details"]
    assert detail["@type"] == "type.googleapis.com/google.rpc.BadRequest"
    return [violation["field"] for violation in detail["fieldViolations"]]


# --- the token endpoint --------------------------------------------------------------------


async def test_a_good_assertion_is_given_a_bearer_for_an_hour(sandbox: Sandbox) -> None:
    form = {"grant_type": GRANT_TYPE, "assertion": assertion(sandbox)}
    answer = await ask_token(sandbox, form)
    assert answer.status == 200
    assert (answer.json["expires_in"], answer.json["token_type"]) == (3599, "Bearer")
    assert len(sandbox.log) == 0


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"key": FOREIGN_KEY}, "invalid_grant"),
        ({"alg": "HS256", "key": "k" * 32}, "invalid_grant"),
        ({"kid": "0" * 40}, "invalid_grant"),
        ({"iss": "nobody@example.com"}, "invalid_grant"),
        ({"aud": "https://oauth2.example.com/token"}, "invalid_grant"),
        ({"aud": "https://oauth2.googleapis.com/token/"}, "invalid_grant"),
        ({"aud": None}, "invalid_grant"),
        ({"exp": 1_767_225_600 + 3601}, "invalid_grant"),
        ({"exp": 1_767_225_600}, "invalid_grant"),
        ({"exp": None}, "invalid_grant"),
        ({"iat": 1_767_225_600 - 7000, "exp": 1_767_225_600 - 3500}, "invalid_grant"),
        ({"iat": 1_767_225_600 + 400}, "invalid_grant"),
        ({"iat": "then"}, "invalid_grant"),
        ({"scope": "https://www.googleapis.com/auth/drive"}, "invalid_scope"),
        ({"scope": None}, "invalid_scope"),
    ],
)
async def test_a_wrong_assertion(sandbox: Sandbox, changes: dict[str, Any], error: str) -> None:
    form = {"grant_type": GRANT_TYPE, "assertion": assertion(sandbox, **changes)}
    answer = await ask_token(sandbox, form)
    assert (answer.status, answer.json["error"]) == (400, error)


@pytest.mark.parametrize(
    ("form", "request_parts", "status", "error"),
    [
        ({"grant_type": "password", "assertion": "x"}, {}, 400, "unsupported_grant_type"),
        ({"assertion": "x"}, {}, 400, "unsupported_grant_type"),
        ({"grant_type": GRANT_TYPE}, {}, 400, "invalid_request"),
        ({"grant_type": GRANT_TYPE, "assertion": "x"}, {}, 400, "invalid_grant"),
        ({"grant_type": GRANT_TYPE}, {"headers": []}, 400, "invalid_request"),
        ({}, {"method": "GET"}, 405, "invalid_request"),
    ],
)
async def test_a_wrong_token_request(
    sandbox: Sandbox, form: dict[str, str], request_parts: dict[str, Any], status: int, error: str
) -> None:
    answer = await ask_token(sandbox, form, **request_parts)
    assert (answer.status, answer.json["error"]) == (status, error)


@pytest.mark.evidence(
    "an assertion is for Google's constant audience, wherever bearers are fetched, and the "
    "sandbox takes no other",
)
async def test_an_assertion_is_for_google_wherever_its_endpoint_listens(sandbox: Sandbox) -> None:
    assert await bearer(sandbox, aud="https://oauth2.googleapis.com/token")
    own = {"grant_type": GRANT_TYPE}
    own["assertion"] = assertion(sandbox, aud=sandbox.credential("fcm").token_uri)
    assert (await ask_token(sandbox, own)).json["error"] == "invalid_grant"


async def test_an_assertion_without_key_id_is_taken(sandbox: Sandbox) -> None:
    assert await bearer(sandbox, kid=None)


# --- who may send --------------------------------------------------------------------------

PLAIN = {"message": {"token": TOKEN, "notification": {"title": "Hello", "body": "World"}}}


@pytest.mark.evidence("every rule of the sandbox refuses what breaks it, FCM")
async def test_a_bearer_grows_stale(sandbox: Sandbox, clock: ManualClock) -> None:
    token = await bearer(sandbox)
    await clock.advance(3598)
    assert (await send(sandbox, PLAIN, bearer=token)).status == 200
    await clock.advance(1)
    stale = await send(sandbox, PLAIN, bearer=token)
    assert fcm_code(stale) == (401, "UNAUTHENTICATED", "")
    assert (await send(sandbox, PLAIN)).status == 200


async def test_an_invented_or_recalled_bearer(sandbox: Sandbox) -> None:
    assert fcm_code(await send(sandbox, PLAIN, bearer="ya29.x"))[0] == 401
    token = await bearer(sandbox)
    assert sandbox.expire_bearers() == 1
    assert fcm_code(await send(sandbox, PLAIN, bearer=token))[0] == 401


async def test_no_bearer(sandbox: Sandbox) -> None:
    url = f"{sandbox.url('fcm')}/v1/projects/{PROJECT}/messages:send"
    answer = await ask_http1(url, [], b"{}", ca_pem=sandbox.ca_pem)
    assert fcm_code(answer) == (401, "UNAUTHENTICATED", "")


async def test_another_project_and_another_path(sandbox: Sandbox) -> None:
    other = await send(sandbox, PLAIN, path="/v1/projects/other/messages:send")
    assert fcm_code(other) == (403, "PERMISSION_DENIED", "")
    assert (await send(sandbox, PLAIN, path="/v1/projects/other/messages")).status == 404
    assert (await send(sandbox, PLAIN, method="GET")).status == 404


# --- the message ---------------------------------------------------------------------------


def to(**parts: Any) -> dict[str, Any]:
    return {"message": {"token": TOKEN, **parts}}


KEPT: list[tuple[str, Any]] = [
    ("nothing but a token", to()),
    ("notification", PLAIN),
    ("data", to(data={"a": "1", "from_us": "x"})),
    ("topic", {"message": {"topic": "news"}}),
    ("topic with its path", {"message": {"topic": "/topics/news"}}),
    ("condition", {"message": {"condition": "'a' in topics && 'b' in topics"}}),
    ("ttl of 28 days", to(android={"ttl": "2419200s"})),
    ("ttl 0", to(android={"ttl": "0s"})),
    ("ttl with a fraction", to(android={"ttl": "3.5s"})),
    ("priority high", to(android={"priority": "high"})),
    ("priority NORMAL", to(android={"priority": "NORMAL"})),
    ("collapse key", to(android={"collapse_key": "k"})),
    ("camel case", to(android={"collapseKey": "k", "notification": {"channelId": "c"}})),
    ("camel case in data is the sender's own", to(data={"collapseKey": "k"})),
    (
        "a full android notification",
        to(
            android={
                "restricted_package_name": "a.b",
                "direct_boot_ok": True,
                "fcm_options": {"analytics_label": "l"},
                "notification": {
                    "title": "t",
                    "body": "b",
                    "icon": "i",
                    "color": "#ffffff",
                    "sound": "s",
                    "tag": "g",
                    "click_action": "c",
                    "title_loc_key": "k",
                    "title_loc_args": ["a"],
                    "channel_id": "c",
                    "notification_priority": "PRIORITY_HIGH",
                    "visibility": "PUBLIC",
                    "notification_count": 3,
                    "vibrate_timings": ["1s", "0.5s"],
                    "light_settings": {
                        "color": {"red": 1, "green": 0.5, "blue": 0, "alpha": 1},
                        "light_on_duration": "1s",
                        "light_off_duration": "1s",
                    },
                    "image": "https://example.com/x.png",
                    "proxy": "ALLOW",
                },
            }
        ),
    ),
    (
        "apns and webpush",
        to(
            apns={"headers": {"apns-priority": "5"}, "payload": {"aps": {"badge": 1}}},
            webpush={"headers": {"TTL": "1"}, "notification": {"anyThing": 1}},
        ),
    ),
    ("payload of 4096 bytes", to(data={"a": "x" * 4095})),
    ("an installation id", {"message": {"fid": FID, "data": {"a": "x" * 4095}}}),
    ("apns payload of 4096 bytes", to(apns={"payload": {"a": "x" * 4088}})),
    ("topic payload of 2048 bytes", {"message": {"topic": "t", "data": {"a": "x" * 2047}}}),
]


@pytest.mark.parametrize(("name", "message"), KEPT, ids=[row[0] for row in KEPT])
async def test_a_message_that_keeps_the_rules(sandbox: Sandbox, name: str, message: Any) -> None:
    answer = await send(sandbox, message)
    assert answer.status == 200
    assert answer.json["name"].startswith(f"projects/{PROJECT}/messages/")
    assert [entry.accepted for entry in sandbox.log.entries()] == [True]


BROKEN: list[tuple[str, Any, str]] = [
    ("bad json", b'{"message":', ""),
    ("no message", {}, ""),
    ("no object", [], ""),
    ("number in data", to(data={"a": 1}), "message.data[...]"),
    ("object in data", to(data={"a": {}}), "message.data[...]"),
    ("number in android data", to(android={"data": {"a": 1}}), "message.android.data[...]"),
    ("reserved from", to(data={"from": "x"}), "message.data"),
    ("reserved message_type", to(data={"message_type": "x"}), "message.data"),
    ("reserved google.", to(data={"google.x": "x"}), "message.data"),
    ("reserved gcm.", to(android={"data": {"gcm.x": "x"}}), "message.android.data"),
    ("unknown field", to(colour="red"), "message"),
    ("unknown field in android", to(android={"badge": 1}), "message.android"),
    ("unknown field beside message", {**PLAIN, "dry_run": True}, ""),
    ("no target", {"message": {}}, "message"),
    ("two targets", {"message": {"token": TOKEN, "topic": "t"}}, "message"),
    ("token and fid", {"message": {"token": TOKEN, "fid": FID}}, "message"),
    ("aps is no object", to(apns={"payload": {"aps": 1}}), "message.apns.payload"),
    ("apns payload of 4097 bytes", to(apns={"payload": {"a": "x" * 4089}}), "message.apns.payload"),
    ("apns header as number", to(apns={"headers": {"a": 1}}), "message.apns.headers[...]"),
    ("topic name", {"message": {"topic": "a b"}}, "message.topic"),
    ("ttl without s", to(android={"ttl": "60"}), "message.android.ttl"),
    ("ttl as number", to(android={"ttl": 60}), "message.android.ttl"),
    ("negative ttl", to(android={"ttl": "-1s"}), "message.android.ttl"),
    ("ttl over 28 days", to(android={"ttl": "2419201s"}), "message.android.ttl"),
    ("priority", to(android={"priority": "urgent"}), "message.android.priority"),
    (
        "notification priority",
        to(android={"notification": {"notification_priority": "HIGH"}}),
        "message.android.notification.notification_priority",
    ),
    ("title as number", to(notification={"title": 1}), "message.notification.title"),
    ("validate_only as text", {**PLAIN, "validate_only": "yes"}, "validate_only"),
    ("4097 bytes", to(data={"a": "x" * 4096}), "message"),
    ("2049 bytes to a topic", {"message": {"topic": "t", "data": {"a": "x" * 2048}}}, "message"),
]


@pytest.mark.evidence(
    "every rule of the sandbox refuses what breaks it, FCM",
    topic="Channels and sandbox",
    planted="no bound on ttl; bearers good for ever",
)
@pytest.mark.parametrize(("name", "message", "field"), BROKEN, ids=[row[0] for row in BROKEN])
async def test_a_message_that_breaks_a_rule(
    sandbox: Sandbox, name: str, message: Any, field: str
) -> None:
    assert violated(await send(sandbox, message)) == [field]
    assert [(e.accepted, e.reason) for e in sandbox.log.entries()] == [(False, "BAD_REQUEST")]


async def test_a_malformed_token_has_the_same_code_in_the_other_shape(sandbox: Sandbox) -> None:
    answer = await send(sandbox, {"message": {"token": "short"}})
    assert fcm_code(answer) == (400, "INVALID_ARGUMENT", "INVALID_ARGUMENT")


@pytest.mark.evidence(
    "a Firebase installation ID is sent as one, and no route is dropped for being one",
)
@pytest.mark.parametrize("target", [{"token": FID}, {"fid": TOKEN}, {"fid": "A" + FID[1:]}])
async def test_an_installation_id_is_no_token_and_a_token_none(
    sandbox: Sandbox, target: dict[str, str]
) -> None:
    answer = await send(sandbox, {"message": target})
    assert fcm_code(answer) == (400, "INVALID_ARGUMENT", "INVALID_ARGUMENT")


async def test_a_device_is_reached_by_its_installation_id(sandbox: Sandbox) -> None:
    message = {"message": {"fid": FID, "notification": {"title": "Hello"}}}
    assert (await send(sandbox, message)).status == 200
    device = sandbox.devices.known("fcm", FID)
    assert device is not None
    assert [it.title for it in device.shown.values()] == ["Hello"]
    assert [entry.token for entry in sandbox.log.entries()] == [FID]
    sandbox.devices.put("fcm", FID, "dead")
    assert fcm_code(await send(sandbox, message)) == (404, "NOT_FOUND", "UNREGISTERED")


async def test_what_ios_draws_is_shown_and_replaced_by_its_collapse_id(sandbox: Sandbox) -> None:
    for body in ("one", "two"):
        aps = {"aps": {"alert": {"title": "Hello", "body": body}}}
        await send(sandbox, to(apns={"headers": {"apns-collapse-id": "c"}, "payload": aps}))
    device = sandbox.devices.known("fcm", TOKEN)
    assert device is not None
    assert [(s.key, s.title, s.body) for s in device.shown.values()] == [("c", "Hello", "two")]


@pytest.mark.parametrize(
    ("state", "status", "code"),
    [
        ("live", 200, ""),
        ("off", 200, ""),
        ("dead", 404, "UNREGISTERED"),
        ("expired", 404, "UNREGISTERED"),
        ("other_app", 403, "SENDER_ID_MISMATCH"),
    ],
)
async def test_what_the_device_book_says(
    sandbox: Sandbox, state: State, status: int, code: str
) -> None:
    sandbox.devices.put("fcm", TOKEN, state)
    answer = await send(sandbox, PLAIN)
    assert answer.status == status
    if code:
        assert fcm_code(answer)[2] == code


async def test_a_device_of_another_project(sandbox: Sandbox) -> None:
    sandbox.devices.put("fcm", TOKEN, app="other")
    assert fcm_code(await send(sandbox, PLAIN))[2] == "SENDER_ID_MISMATCH"


async def test_validate_only_shows_nothing(sandbox: Sandbox) -> None:
    answer = await send(sandbox, {**PLAIN, "validate_only": True})
    assert answer.json == {"name": f"projects/{PROJECT}/messages/fake_message_id"}
    device = sandbox.devices.known("fcm", TOKEN)
    assert device is not None
    assert not device.shown
    assert sandbox.log.counts().accepted == 0
    sandbox.devices.put("fcm", TOKEN, "dead")
    assert (await send(sandbox, {**PLAIN, "validate_only": True})).status == 404


async def test_a_tag_replaces_what_is_shown(sandbox: Sandbox) -> None:
    for body in ("one", "two"):
        android = {"collapse_key": "k", "notification": {"tag": "score", "body": body}}
        await send(sandbox, to(android=android, data={"msgid": "m1"}))
    device = sandbox.devices.known("fcm", TOKEN)
    assert device is not None
    assert [(s.key, s.body, s.replaced) for s in device.shown.values()] == [("score", "two", 1)]
    assert sandbox.log.duplicates("token", "collapse") == {(TOKEN, "score"): 2}
    assert sandbox.log.duplicates("correlation") == {("m1",): 2}


@pytest.mark.parametrize("says_when", [True, False])
async def test_the_quota_of_a_minute(clock: ManualClock, keys: Path, says_when: bool) -> None:
    fcm = FcmSettings(project_per_minute=3, retry_after=says_when)
    async with Sandbox(SandboxSettings(folder=str(keys), vendors=(fcm,)), clock) as sandbox:
        assert (await send(sandbox, PLAIN)).status == 200
        await clock.advance(20)
        # What is refused counts as well.
        assert (await send(sandbox, {"message": {}})).status == 400
        assert (await send(sandbox, PLAIN)).status == 200
        over = await send(sandbox, PLAIN)
        assert fcm_code(over) == (429, "RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED")
        assert over.headers.get("retry-after") == ("40" if says_when else None)
        await clock.advance(40)
        assert (await send(sandbox, PLAIN)).status == 200


async def test_the_quota_of_a_device(clock: ManualClock, keys: Path) -> None:
    fcm = FcmSettings(device_per_minute=1)
    async with Sandbox(SandboxSettings(folder=str(keys), vendors=(fcm,)), clock) as sandbox:
        assert (await send(sandbox, PLAIN)).status == 200
        assert fcm_code(await send(sandbox, PLAIN))[2] == "QUOTA_EXCEEDED"
        assert (await send(sandbox, {"message": {"token": Fcm.token(2)}})).status == 200


async def test_http2_is_spoken_as_well(sandbox: Sandbox) -> None:
    client = await H2Client.connect(sandbox.url("fcm"), sandbox.ca_pem)
    headers = [("authorization", f"Bearer {await bearer(sandbox)}")]
    path = f"/v1/projects/{PROJECT}/messages:send"
    answer = await client.ask(path, headers, json.dumps(PLAIN).encode())
    assert answer.status == 200
    assert client.stream_limits == [100]
    client.close()


@pytest.mark.parametrize(
    ("code", "status", "google"),
    [
        ("UNREGISTERED", 404, "NOT_FOUND"),
        ("SENDER_ID_MISMATCH", 403, "PERMISSION_DENIED"),
        ("THIRD_PARTY_AUTH_ERROR", 401, "UNAUTHENTICATED"),
        ("QUOTA_EXCEEDED", 429, "RESOURCE_EXHAUSTED"),
        ("UNAVAILABLE", 503, "UNAVAILABLE"),
        ("INTERNAL", 500, "INTERNAL"),
        ("INVALID_ARGUMENT", 400, "INVALID_ARGUMENT"),
    ],
)
async def test_each_error_code_on_demand(
    sandbox: Sandbox, code: str, status: int, google: str
) -> None:
    sandbox.faults.add(Rule(kind="vendor_code", code=code, retry_after_s=7, path="/v1/*"))
    answer = await send(sandbox, PLAIN)
    assert fcm_code(answer) == (status, google, code)
    assert answer.headers["retry-after"] == "7"
