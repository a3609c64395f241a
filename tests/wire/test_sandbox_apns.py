"""Each of Apple's rules is broken once and refused by its reason, and kept once and accepted."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.wire.sandbox_kit import Answer, H2Client, provider_token
from tocsin.clock import ManualClock
from tocsin.sandbox.devices import State
from tocsin.sandbox.server import Sandbox, SandboxSettings
from tocsin.sandbox.vendors.apns.provider_token import ApnsKey
from tocsin.sandbox.vendors.apns.server import Apns, ApnsSettings

APP = "com.example.app"
TOKEN = Apns.token(1)
ALERT = {"aps": {"alert": {"title": "Hello", "body": "World"}}}
SILENT = {"aps": {"content-available": 1}}
ACTIVITY = {"aps": {"timestamp": 1, "event": "update", "content-state": {"score": 1}}}


def apns_of(sandbox: Sandbox) -> Apns:
    server = sandbox.servers["apns"]
    assert isinstance(server, Apns)
    return server


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys")


@pytest.fixture
async def sandbox(clock: ManualClock, keys: Path) -> AsyncIterator[Sandbox]:
    apns = ApnsSettings(bundle_ids=(APP, "com.example.other"))
    async with Sandbox(SandboxSettings(folder=str(keys), seed=1, vendors=(apns,)), clock) as opened:
        yield opened


@pytest.fixture
async def client(sandbox: Sandbox) -> AsyncIterator[H2Client]:
    opened = await H2Client.connect(sandbox.url("apns"), sandbox.ca_pem)
    yield opened
    opened.close()


async def push(
    sandbox: Sandbox,
    client: H2Client,
    changes: dict[str, str | None] | None = None,
    payload: Any = ALERT,
    **request: Any,
) -> Answer:
    """Push what is in order, but for the headers and the parts that are changed."""
    # Two signatures of the same claims differ, so a token is kept as a sender would keep it.
    now = sandbox.clock.now()
    token = client.provider_tokens.setdefault(now // 1200, provider_token(sandbox))
    headers: dict[str, str | None] = {
        "authorization": f"bearer {token}",
        "apns-topic": APP,
        "apns-push-type": "alert",
        **(changes or {}),
    }
    pairs = [(name, value) for name, value in headers.items() if value is not None]
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return await client.ask(
        request.get("path", f"/3/device/{TOKEN}"),
        [*pairs, *request.get("more", [])],
        body,
        request.get("method", "POST"),
    )


def refusal(answer: Answer) -> tuple[int, str]:
    return answer.status, answer.json["reason"]


KEPT: list[tuple[str, dict[str, str | None], Any]] = [
    ("plain", {}, ALERT),
    ("alert as text", {}, {"aps": {"alert": "hi"}}),
    ("no push type", {"apns-push-type": None}, ALERT),
    ("no push type, voip topic", {"apns-push-type": None, "apns-topic": f"{APP}.voip"}, ALERT),
    ("priority 10", {"apns-priority": "10"}, ALERT),
    ("priority 5", {"apns-priority": "5"}, ALERT),
    ("priority 1", {"apns-priority": "1"}, ALERT),
    ("expiration 0", {"apns-expiration": "0"}, ALERT),
    ("expiration", {"apns-expiration": "1767229200"}, ALERT),
    ("collapse id of 64 bytes", {"apns-collapse-id": "c" * 64}, ALERT),
    ("background", {"apns-push-type": "background", "apns-priority": "5"}, SILENT),
    ("voip", {"apns-push-type": "voip", "apns-topic": f"{APP}.voip"}, ALERT),
    (
        "live activity",
        {"apns-push-type": "liveactivity", "apns-topic": f"{APP}.push-type.liveactivity"},
        ACTIVITY,
    ),
    (
        "widgets",
        {"apns-push-type": "widgets", "apns-topic": f"{APP}.push-type.widgets"},
        {"aps": {"content-changed": True}},
    ),
    (
        "controls",
        {"apns-push-type": "controls", "apns-topic": f"{APP}.push-type.controls"},
        ALERT,
    ),
    ("location", {"apns-push-type": "location", "apns-topic": f"{APP}.location-query"}, ALERT),
    (
        "complication",
        {"apns-push-type": "complication", "apns-topic": f"{APP}.complication"},
        ALERT,
    ),
    (
        "fileprovider",
        {"apns-push-type": "fileprovider", "apns-topic": f"{APP}.pushkit.fileprovider"},
        ALERT,
    ),
    ("pushtotalk", {"apns-push-type": "pushtotalk", "apns-topic": f"{APP}.voip-ptt"}, ALERT),
    ("mdm", {"apns-push-type": "mdm"}, {"mdm": "magic"}),
    ("payload of 4096 bytes", {}, b'{"aps":{},"x":"' + b"x" * 4079 + b'"}'),
    (
        "voip payload of 5120 bytes",
        {"apns-push-type": "voip", "apns-topic": f"{APP}.voip"},
        b'{"aps":{},"x":"' + b"x" * 5103 + b'"}',
    ),
]


@pytest.mark.parametrize(("name", "changes", "payload"), KEPT, ids=[row[0] for row in KEPT])
async def test_a_push_that_keeps_the_rules_is_accepted(
    sandbox: Sandbox, client: H2Client, name: str, changes: dict[str, str | None], payload: Any
) -> None:
    answer = await push(sandbox, client, changes, payload)
    assert (answer.status, answer.body) == (200, b"")
    assert str(UUID(answer.headers["apns-id"])) == answer.headers["apns-id"].lower()
    assert [entry.accepted for entry in sandbox.log.entries()] == [True]


BROKEN: list[tuple[str, dict[str, str | None], Any, int, str]] = [
    ("no token", {"authorization": None}, ALERT, 403, "MissingProviderToken"),
    ("no bearer", {"authorization": "basic eA=="}, ALERT, 403, "InvalidProviderToken"),
    ("no jwt", {"authorization": "bearer x.y.z"}, ALERT, 403, "InvalidProviderToken"),
    ("message id", {"apns-id": "17"}, ALERT, 400, "BadMessageId"),
    ("message id without dashes", {"apns-id": "a" * 32}, ALERT, 400, "BadMessageId"),
    ("expiration", {"apns-expiration": "soon"}, ALERT, 400, "BadExpirationDate"),
    ("negative expiration", {"apns-expiration": "-1"}, ALERT, 400, "BadExpirationDate"),
    ("fractional expiration", {"apns-expiration": "1.5"}, ALERT, 400, "BadExpirationDate"),
    ("priority 7", {"apns-priority": "7"}, ALERT, 400, "BadPriority"),
    ("priority text", {"apns-priority": "high"}, ALERT, 400, "BadPriority"),
    ("push type", {"apns-push-type": "loud"}, ALERT, 400, "InvalidPushType"),
    (
        "background, priority 10",
        {"apns-push-type": "background", "apns-priority": "10"},
        SILENT,
        400,
        "BadPriority",
    ),
    ("background, no priority", {"apns-push-type": "background"}, SILENT, 400, "BadPriority"),
    (
        "background with alert",
        {"apns-push-type": "background", "apns-priority": "5"},
        {"aps": {"content-available": 1, "alert": "hi"}},
        400,
        "InvalidPushType",
    ),
    (
        "background without content-available",
        {"apns-push-type": "background", "apns-priority": "5"},
        {"aps": {}},
        400,
        "InvalidPushType",
    ),
    ("no topic", {"apns-topic": None}, ALERT, 400, "MissingTopic"),
    ("foreign topic", {"apns-topic": "com.foreign.app"}, ALERT, 400, "TopicDisallowed"),
    ("voip without suffix", {"apns-push-type": "voip"}, ALERT, 400, "BadTopic"),
    ("alert with suffix", {"apns-topic": f"{APP}.voip"}, ALERT, 400, "BadTopic"),
    ("suffix alone", {"apns-push-type": "voip", "apns-topic": ".voip"}, ALERT, 400, "BadTopic"),
    (
        "wrong suffix",
        {"apns-push-type": "liveactivity", "apns-topic": f"{APP}.voip"},
        ACTIVITY,
        400,
        "BadTopic",
    ),
    (
        "live activity without event",
        {"apns-push-type": "liveactivity", "apns-topic": f"{APP}.push-type.liveactivity"},
        {"aps": {"timestamp": 1, "content-state": {}}},
        400,
        "InvalidPushType",
    ),
    (
        "widgets without content-changed",
        {"apns-push-type": "widgets", "apns-topic": f"{APP}.push-type.widgets"},
        ALERT,
        400,
        "InvalidPushType",
    ),
    ("collapse id of 65 bytes", {"apns-collapse-id": "c" * 65}, ALERT, 400, "BadCollapseId"),
    ("empty body", {}, b"", 400, "PayloadEmpty"),
    ("no object", {}, b"[]", 400, "PayloadEmpty"),
    ("empty object", {}, b"{}", 400, "PayloadEmpty"),
    ("bad json", {}, b'{"aps":', 400, "PayloadEmpty"),
    ("no aps", {}, {"x": 1}, 400, "PayloadEmpty"),
    ("4097 bytes", {}, b'{"aps":{},"x":"' + b"x" * 4080 + b'"}', 413, "PayloadTooLarge"),
    (
        "voip of 5121 bytes",
        {"apns-push-type": "voip", "apns-topic": f"{APP}.voip"},
        b'{"aps":{},"x":"' + b"x" * 5104 + b'"}',
        413,
        "PayloadTooLarge",
    ),
    ("65,535 bytes", {}, b"x" * 65_535, 413, "PayloadTooLarge"),
]


@pytest.mark.evidence(
    "every rule of the sandbox refuses what breaks it, APNs",
    topic="Channels and sandbox",
    planted="collapse ids of 640 bytes; the token's age and ALPN not looked at",
)
@pytest.mark.parametrize("row", BROKEN, ids=[row[0] for row in BROKEN])
async def test_a_push_that_breaks_a_rule_is_refused_by_its_reason(
    sandbox: Sandbox, client: H2Client, row: tuple[str, dict[str, str | None], Any, int, str]
) -> None:
    _, changes, payload, status, reason = row
    assert refusal(await push(sandbox, client, changes, payload)) == (status, reason)
    assert [(e.accepted, e.reason) for e in sandbox.log.entries()] == [(False, reason)]
    assert (await push(sandbox, client)).status == 200


@pytest.mark.parametrize(
    ("request_parts", "status", "reason"),
    [
        ({"path": "/3/devices/aa"}, 404, "BadPath"),
        ({"path": "/"}, 404, "BadPath"),
        ({"method": "GET"}, 405, "MethodNotAllowed"),
        ({"path": "/3/device/"}, 400, "MissingDeviceToken"),
        ({"path": "/3/device/zz"}, 400, "BadDeviceToken"),
        ({"path": f"/3/device/{'a' * 63}"}, 400, "BadDeviceToken"),
        ({"path": f"/3/device/{'a' * 65}"}, 400, "BadDeviceToken"),
        ({"path": f"/3/device/{'a' * 202}"}, 400, "BadDeviceToken"),
        ({"more": [("apns-topic", APP)]}, 400, "DuplicateHeaders"),
    ],
)
async def test_path_method_token_and_double_headers(
    sandbox: Sandbox, client: H2Client, request_parts: dict[str, Any], status: int, reason: str
) -> None:
    assert refusal(await push(sandbox, client, **request_parts)) == (status, reason)


@pytest.mark.evidence("every rule of the sandbox refuses what breaks it, APNs")
async def test_an_http1_connection_is_refused(sandbox: Sandbox) -> None:
    refused = await H2Client.connect(sandbox.url("apns"), sandbox.ca_pem, alpn="http/1.1")
    await refused.until(lambda: refused.is_lost)
    assert sandbox.listeners["apns"].connections_refused == 1
    assert len(sandbox.log) == 0


async def test_a_message_id_is_echoed_also_in_a_refusal(sandbox: Sandbox, client: H2Client) -> None:
    given = "3f2b8c1a-0000-4000-8000-1234567890ab"
    assert (await push(sandbox, client, {"apns-id": given})).headers["apns-id"] == given
    refused = await push(sandbox, client, {"apns-id": given, "apns-priority": "7"})
    assert refused.headers["apns-id"] == given


# --- provider tokens -----------------------------------------------------------------------

FOREIGN_KEY = (
    ec.generate_private_key(ec.SECP256R1())
    .private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    .decode()
)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"key": FOREIGN_KEY}, "InvalidProviderToken"),
        ({"kid": "NOSUCHKEY1"}, "InvalidProviderToken"),
        ({"iss": "OTHERTEAM1"}, "InvalidProviderToken"),
        ({"iss": None}, "InvalidProviderToken"),
        ({"iat": None}, "InvalidProviderToken"),
        ({"iat": "now"}, "InvalidProviderToken"),
        ({"alg": "HS256", "key": "k" * 32}, "InvalidProviderToken"),
    ],
)
async def test_a_wrong_provider_token(
    sandbox: Sandbox, client: H2Client, changes: dict[str, Any], reason: str
) -> None:
    token = provider_token(sandbox, **changes)
    answer = await push(sandbox, client, {"authorization": f"bearer {token}"})
    assert refusal(answer) == (403, reason)


@pytest.mark.evidence("every rule of the sandbox refuses what breaks it, APNs")
@pytest.mark.parametrize(
    ("age_s", "reason"),
    [
        (0, None),
        (3600, None),
        (3601, "ExpiredProviderToken"),
        (-300, None),
        (-301, "InvalidProviderToken"),
    ],
)
async def test_the_age_of_a_provider_token(
    sandbox: Sandbox, client: H2Client, age_s: int, reason: str | None
) -> None:
    token = provider_token(sandbox, iat=int(sandbox.clock.now()) - age_s)
    answer = await push(sandbox, client, {"authorization": f"bearer {token}"})
    assert (answer.json["reason"] if answer.body else None) == reason


async def test_a_token_found_good_once_still_grows_old(
    sandbox: Sandbox, client: H2Client, clock: ManualClock
) -> None:
    header: dict[str, str | None] = {"authorization": f"bearer {provider_token(sandbox)}"}
    assert (await push(sandbox, client, header)).status == 200
    await clock.advance(3601)
    assert refusal(await push(sandbox, client, header)) == (403, "ExpiredProviderToken")
    assert (await push(sandbox, client)).status == 200


async def test_a_third_token_within_twenty_minutes_makes_the_connection_useless(
    sandbox: Sandbox, client: H2Client, clock: ManualClock
) -> None:
    tokens = [f"bearer {provider_token(sandbox, jti=str(number))}" for number in range(3)]
    answers = [await push(sandbox, client, {"authorization": token}) for token in tokens]
    assert [answer.status for answer in answers] == [200, 200, 429]
    assert answers[2].json["reason"] == "TooManyProviderTokenUpdates"
    # The tokens that were good before are no help on this connection, but are on another one.
    assert (await push(sandbox, client, {"authorization": tokens[0]})).status == 429
    other = await H2Client.connect(sandbox.url("apns"), sandbox.ca_pem)
    assert (await push(sandbox, other, {"authorization": tokens[0]})).status == 200
    other.close()
    await clock.advance(1200)
    assert (await push(sandbox, client, {"authorization": tokens[2]})).status == 200


async def test_a_second_team_on_one_connection_is_refused(
    sandbox: Sandbox, client: H2Client
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    apns_of(sandbox).add_key(ApnsKey("OTHERKEY01", "OTHERTEAM1", key.public_key()))
    token = provider_token(sandbox, key=key, kid="OTHERKEY01", iss="OTHERTEAM1")
    header: dict[str, str | None] = {"authorization": f"bearer {token}"}
    assert (await push(sandbox, client)).status == 200
    assert refusal(await push(sandbox, client, header)) == (403, "InvalidProviderToken")
    other = await H2Client.connect(sandbox.url("apns"), sandbox.ca_pem)
    assert (await push(sandbox, other, header)).status == 200
    other.close()


@pytest.mark.parametrize(
    ("limit", "reason"),
    [
        ({"environment": "development"}, "BadEnvironmentKeyIdInToken"),
        ({"topics": ("com.example.other",)}, "UnrelatedKeyIdInToken"),
        ({"environment": "production"}, None),
        ({"topics": (APP,)}, None),
    ],
)
async def test_a_key_limited_to_an_environment_or_a_topic(
    sandbox: Sandbox, client: H2Client, limit: dict[str, Any], reason: str | None
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    team = sandbox.credential("apns").team_id
    apns_of(sandbox).add_key(ApnsKey("LIMITED001", team, key.public_key(), **limit))
    token = provider_token(sandbox, key=key, kid="LIMITED001")
    answer = await push(sandbox, client, {"authorization": f"bearer {token}"})
    assert (answer.json["reason"] if answer.body else None) == reason


async def test_a_client_certificate_proves_the_connection(sandbox: Sandbox) -> None:
    identity = sandbox.apns_identity(APP)
    client = await H2Client.connect(sandbox.url("apns"), sandbox.ca_pem, identity=identity)
    bare: dict[str, str | None] = {"authorization": None, "apns-topic": None}
    assert (await push(sandbox, client, bare)).status == 200
    other: dict[str, str | None] = {"authorization": None, "apns-topic": "com.example.other"}
    assert refusal(await push(sandbox, client, other)) == (400, "TopicDisallowed")
    client.close()


# --- devices -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "status", "reason"),
    [
        ("live", 200, None),
        ("off", 200, None),
        ("dead", 410, "Unregistered"),
        ("expired", 410, "ExpiredToken"),
        ("other_environment", 400, "BadDeviceToken"),
        ("other_app", 400, "DeviceTokenNotForTopic"),
    ],
)
async def test_what_the_device_book_says(
    sandbox: Sandbox, client: H2Client, state: State, status: int, reason: str | None
) -> None:
    sandbox.devices.put("apns", TOKEN, state, since=1_700_000_000.5)
    answer = await push(sandbox, client)
    assert answer.status == status
    if reason is not None:
        assert answer.json["reason"] == reason
    if status == 410:
        assert answer.json["timestamp"] == 1_700_000_000_500


async def test_a_device_of_a_named_app(sandbox: Sandbox, client: H2Client) -> None:
    sandbox.devices.put("apns", TOKEN, app="com.example.other")
    assert refusal(await push(sandbox, client)) == (400, "DeviceTokenNotForTopic")
    other: dict[str, str | None] = {"apns-topic": "com.example.other"}
    assert (await push(sandbox, client, other)).status == 200


async def test_a_token_in_capitals_is_the_same_device(sandbox: Sandbox, client: H2Client) -> None:
    sandbox.devices.put("apns", TOKEN, "dead")
    answer = await push(sandbox, client, path=f"/3/device/{TOKEN.upper()}")
    assert refusal(answer) == (410, "Unregistered")


async def test_a_collapse_id_replaces_what_is_shown(sandbox: Sandbox, client: H2Client) -> None:
    for body in ("one", "two"):
        payload = {"aps": {"alert": {"title": "t", "body": body}}}
        await push(sandbox, client, {"apns-collapse-id": "score"}, payload)
    await push(sandbox, client)
    device = sandbox.devices.known("apns", TOKEN)
    assert device is not None
    assert [(s.body, s.replaced) for s in device.shown.values()] == [("two", 1), ("World", 0)]
    assert sandbox.log.duplicates() == {("apns", TOKEN, "score"): 2}


async def test_a_device_that_is_off_shows_what_was_kept_when_it_returns(
    sandbox: Sandbox, client: H2Client, clock: ManualClock
) -> None:
    device = sandbox.devices.put("apns", TOKEN, "off")
    soon, late = str(int(clock.now()) + 10), str(int(clock.now()) + 1000)
    await push(sandbox, client, {"apns-expiration": "0", "apns-collapse-id": "never"})
    await push(sandbox, client, {"apns-expiration": soon, "apns-collapse-id": "soon"})
    await push(sandbox, client, {"apns-expiration": late, "apns-collapse-id": "late"})
    assert not device.shown
    await clock.advance(60)
    sandbox.devices.put("apns", TOKEN, "live")
    assert list(device.shown) == ["late"]


async def test_too_many_requests_for_one_device(clock: ManualClock, keys: Path) -> None:
    apns = ApnsSettings(bundle_ids=(APP,), device_per_minute=2)
    async with Sandbox(SandboxSettings(folder=str(keys), vendors=(apns,)), clock) as sandbox:
        client = await H2Client.connect(sandbox.url("apns"), sandbox.ca_pem)
        assert [(await push(sandbox, client)).status for _ in range(3)] == [200, 200, 429]
        path = f"/3/device/{Apns.token(2)}"
        assert (await push(sandbox, client, path=path)).status == 200
        await clock.advance(60)
        assert (await push(sandbox, client)).status == 200
        client.close()


async def test_unknown_tokens_are_bad_where_the_book_knows_all(
    clock: ManualClock, keys: Path
) -> None:
    settings = SandboxSettings(folder=str(keys), knows_all_devices=True)
    async with Sandbox(settings, clock) as sandbox:
        client = await H2Client.connect(sandbox.url("apns"), sandbox.ca_pem)
        assert refusal(await push(sandbox, client)) == (400, "BadDeviceToken")
        sandbox.devices.put("apns", TOKEN)
        assert (await push(sandbox, client)).status == 200
        client.close()


# --- streams -------------------------------------------------------------------------------


async def test_an_unproven_or_failing_connection_has_one_stream(
    clock: ManualClock, keys: Path
) -> None:
    apns = ApnsSettings(bundle_ids=(APP,), unproven_streams=1, streams=500)
    async with Sandbox(SandboxSettings(folder=str(keys), vendors=(apns,)), clock) as sandbox:
        client = await H2Client.connect(sandbox.url("apns"), sandbox.ca_pem)
        await push(sandbox, client)
        await push(sandbox, client, {"apns-priority": "7"})
        await push(sandbox, client)
        assert client.stream_limits == [1, 500, 1, 500]
        client.close()


async def test_the_limit_is_left_alone_unless_asked_for(sandbox: Sandbox, client: H2Client) -> None:
    await push(sandbox, client, {"apns-priority": "7"})
    await push(sandbox, client)
    assert client.stream_limits == [1000]


async def test_a_request_given_up_at_once_spoils_nothing(
    sandbox: Sandbox, client: H2Client
) -> None:
    headers = [("authorization", f"bearer {provider_token(sandbox)}"), ("apns-topic", APP)]
    client.begin_and_give_up(f"/3/device/{TOKEN}", headers, b'{"aps":{}}')
    assert (await push(sandbox, client)).status == 200
    assert not client.is_lost
