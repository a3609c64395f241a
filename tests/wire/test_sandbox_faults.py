"""Each fault does on the wire what it says, and the log says whether the push was taken."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.wire.sandbox_kit import Answer, H2Client, ask_http1, provider_token
from tocsin.clock import ManualClock, settle_loop
from tocsin.sandbox.faults import Rule
from tocsin.sandbox.server import Sandbox, SandboxSettings
from tocsin.sandbox.vendors.apns.server import Apns

APP = "com.example.app"
BODY = b'{"aps":{"alert":"hi"}}'


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys")


@pytest.fixture
async def sandbox(clock: ManualClock, keys: Path) -> AsyncIterator[Sandbox]:
    async with Sandbox(SandboxSettings(folder=str(keys), seed=1), clock) as opened:
        yield opened


@pytest.fixture
async def client(sandbox: Sandbox) -> AsyncIterator[H2Client]:
    opened = await H2Client.connect(sandbox.url("apns"), sandbox.ca_pem)
    yield opened
    opened.close()


def begin(sandbox: Sandbox, client: H2Client, number: int = 1) -> int:
    token = client.provider_tokens.setdefault(0, provider_token(sandbox))
    headers = [("authorization", f"bearer {token}"), ("apns-topic", APP)]
    return client.begin(f"/3/device/{Apns.token(number)}", headers, BODY)


async def push(sandbox: Sandbox, client: H2Client, number: int = 1) -> Answer:
    stream = begin(sandbox, client, number)
    await client.until(lambda: client.is_lost or client.is_done(stream))
    return client.answers[stream]


def taken(sandbox: Sandbox) -> list[tuple[str, int, bool]]:
    return [(entry.fault, entry.status, entry.accepted) for entry in sandbox.log.entries()]


@pytest.mark.parametrize("status", [429, 500, 502, 503])
async def test_a_bodyless_status(sandbox: Sandbox, client: H2Client, status: int) -> None:
    sandbox.faults.add(Rule(kind="status", status=status))
    answer = await push(sandbox, client)
    assert (answer.status, answer.body) == (status, b"")
    assert "retry-after" not in answer.headers
    assert taken(sandbox) == [("status", status, False)]


async def test_a_status_with_retry_after_and_body(sandbox: Sandbox, client: H2Client) -> None:
    rule = Rule(kind="status", status=429, retry_after_s=9, body='{"reason":"TooManyRequests"}')
    sandbox.faults.add(rule)
    answer = await push(sandbox, client)
    assert (answer.status, answer.headers["retry-after"]) == (429, "9")
    assert answer.json == {"reason": "TooManyRequests"}


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("ExpiredProviderToken", 403),
        ("TooManyRequests", 429),
        ("InternalServerError", 500),
        ("Shutdown", 503),
        ("IdleTimeout", 400),
    ],
)
async def test_a_vendor_code(sandbox: Sandbox, client: H2Client, code: str, status: int) -> None:
    sandbox.faults.add(Rule(kind="vendor_code", code=code))
    answer = await push(sandbox, client)
    assert (answer.status, answer.json) == (status, {"reason": code})
    assert taken(sandbox) == [("vendor_code", status, False)]


async def test_unregistered_on_demand_tells_since_when(
    sandbox: Sandbox, client: H2Client, clock: ManualClock
) -> None:
    sandbox.faults.add(Rule(kind="vendor_code", code="Unregistered"))
    answer = await push(sandbox, client)
    assert answer.json == {"reason": "Unregistered", "timestamp": int(clock.now() * 1000)}


async def test_an_html_page(sandbox: Sandbox, client: H2Client) -> None:
    sandbox.faults.add(Rule(kind="html_page"))
    answer = await push(sandbox, client)
    assert (answer.status, answer.headers["content-type"].split(";")[0]) == (502, "text/html")
    assert answer.body.startswith(b"<html>")
    assert taken(sandbox) == [("html_page", 502, False)]


async def test_a_slow_first_byte(sandbox: Sandbox, client: H2Client, clock: ManualClock) -> None:
    sandbox.faults.add(Rule(kind="slow_first_byte", delay_s=5, times=1))
    slow = begin(sandbox, client)
    assert (await push(sandbox, client, 2)).status == 200
    await clock.advance(4.9)
    assert client.answers[slow].status == 0
    await clock.advance(0.2)
    await client.until(lambda: client.is_done(slow))
    assert client.answers[slow].status == 200


async def test_a_slow_body(sandbox: Sandbox, client: H2Client, clock: ManualClock) -> None:
    sandbox.faults.add(Rule(kind="slow_body", delay_s=5))
    slow = begin(sandbox, client)
    await client.until(lambda: client.answers[slow].status == 200)
    assert not client.answers[slow].is_complete
    await settle_loop()
    await clock.advance(5)
    await client.until(lambda: client.is_done(slow))


@pytest.mark.parametrize("accepted", [True, False])
async def test_an_answer_that_never_comes(
    sandbox: Sandbox, client: H2Client, clock: ManualClock, accepted: bool
) -> None:
    sandbox.faults.add(Rule(kind="never", accepted=accepted, times=1))
    silent = begin(sandbox, client)
    assert (await push(sandbox, client, 2)).status == 200
    await clock.advance(3600)
    assert not client.is_done(silent)
    assert taken(sandbox) == [("never", 0, accepted), ("", 200, True)]


@pytest.mark.parametrize(("kind", "accepted"), [("reset_before", False), ("reset_after", True)])
async def test_a_dropped_connection(
    sandbox: Sandbox, client: H2Client, kind: Any, accepted: bool
) -> None:
    sandbox.faults.add(Rule(kind=kind))
    answer = await push(sandbox, client)
    assert client.is_lost
    assert answer.status == 0
    assert client.goaway is None
    assert taken(sandbox) == [(kind, 0, accepted)]


async def test_a_close_in_good_order(sandbox: Sandbox, client: H2Client) -> None:
    sandbox.faults.add(Rule(kind="close_after"))
    assert (await push(sandbox, client)).status == 200
    await client.until(lambda: client.is_lost)


@pytest.mark.evidence(
    "every fault of the sandbox can be asked for",
    topic="Channels and sandbox",
    planted="streams taken after GOAWAY",
)
async def test_a_goaway_in_the_middle(sandbox: Sandbox, client: H2Client) -> None:
    """Of five in flight the third says GOAWAY: it and those before are answered, no others."""
    sandbox.faults.add(Rule(kind="goaway", first=3, last=3))
    streams = [begin(sandbox, client, number) for number in range(5)]
    await client.until(lambda: client.is_lost)
    assert client.goaway is not None
    assert client.goaway.last_stream_id == streams[2]
    assert json.loads(client.goaway.additional_data or b"") == {"reason": "Shutdown"}
    assert [client.answers[stream].status for stream in streams] == [200, 200, 200, 0, 0]
    assert [accepted for _, _, accepted in taken(sandbox)] == [True, True, True]


@pytest.mark.evidence("every fault of the sandbox can be asked for")
async def test_a_goaway_that_gives_up_the_current_stream(
    sandbox: Sandbox, client: H2Client
) -> None:
    sandbox.faults.add(Rule(kind="goaway", goaway_offset=-1, first=3, last=3))
    streams = [begin(sandbox, client, number) for number in range(5)]
    await client.until(lambda: client.is_lost)
    assert client.goaway is not None
    assert client.goaway.last_stream_id == streams[1]
    assert [client.answers[stream].status for stream in streams] == [200, 200, 0, 0, 0]
    assert [accepted for _, _, accepted in taken(sandbox)] == [True, True, False]


async def test_a_goaway_that_promises_one_more(sandbox: Sandbox, client: H2Client) -> None:
    sandbox.faults.add(Rule(kind="goaway", goaway_offset=1, first=1, last=1))
    streams = [begin(sandbox, client, number) for number in range(3)]
    await client.until(lambda: client.is_lost)
    assert client.goaway is not None
    assert client.goaway.last_stream_id == streams[1]
    assert [client.answers[stream].status for stream in streams] == [200, 200, 0]


async def test_a_goaway_never_disowns_what_was_taken(sandbox: Sandbox, client: H2Client) -> None:
    sandbox.faults.add(Rule(kind="goaway", goaway_offset=-3, first=4, last=4))
    streams = [begin(sandbox, client, number) for number in range(4)]
    await client.until(lambda: client.is_lost)
    assert client.goaway is not None
    assert client.goaway.last_stream_id == streams[2]


async def test_a_goaway_waits_for_a_slow_answer(
    sandbox: Sandbox, client: H2Client, clock: ManualClock
) -> None:
    sandbox.faults.add(Rule(kind="slow_first_byte", delay_s=5, last=1))
    sandbox.faults.add(Rule(kind="goaway", first=2))
    slow, last = begin(sandbox, client), begin(sandbox, client, 2)
    await client.until(lambda: client.is_done(last))
    assert not client.is_lost
    await clock.advance(5)
    await client.until(lambda: client.is_lost)
    assert client.answers[slow].status == 200


@pytest.mark.parametrize(
    ("code", "accepted", "taken_first"),
    [(2, None, False), (2, True, True), (7, None, False), (7, True, False), (8, False, False)],
)
async def test_a_reset_stream(
    sandbox: Sandbox, client: H2Client, code: int, accepted: bool | None, taken_first: bool
) -> None:
    sandbox.faults.add(Rule(kind="rst_stream", reset_code=code, accepted=accepted, times=1))
    assert (await push(sandbox, client)).reset_code == code
    assert (await push(sandbox, client)).status == 200
    assert taken(sandbox)[0] == ("rst_stream", 0, taken_first)


async def test_the_stream_limit_changes_and_is_enforced(sandbox: Sandbox, client: H2Client) -> None:
    sandbox.faults.add(Rule(kind="stream_limit", streams=1, last=1))
    sandbox.faults.add(Rule(kind="never", first=2, last=2))
    sandbox.faults.add(Rule(kind="stream_limit", streams=50, first=4))
    await push(sandbox, client)
    client.ping()
    await client.until(lambda: client.pings_answered == 1)
    assert client.stream_limits == [1000, 1]
    client.ignore_stream_limit()
    begin(sandbox, client)
    assert (await push(sandbox, client)).reset_code == 7
    assert len(sandbox.log) == 2


async def test_the_stream_limit_is_raised_again(sandbox: Sandbox, client: H2Client) -> None:
    sandbox.faults.add(Rule(kind="stream_limit", streams=1, vendor="apns", last=1))
    await push(sandbox, client)
    # The vendor itself raises it after the next success.
    await push(sandbox, client)
    assert client.stream_limits == [1000, 1, 1000]


async def test_a_window_of_zero_that_opens_again(
    sandbox: Sandbox, client: H2Client, clock: ManualClock
) -> None:
    sandbox.faults.add(Rule(kind="zero_window", delay_s=5))
    await push(sandbox, client)
    assert client.initial_window == 0
    await clock.advance(5)
    await client.until(lambda: client.initial_window == 65_535)


async def test_a_window_of_zero_that_stays(
    sandbox: Sandbox, client: H2Client, clock: ManualClock
) -> None:
    sandbox.faults.add(Rule(kind="zero_window"))
    await push(sandbox, client)
    await clock.advance(3600)
    client.ping()
    await client.until(lambda: client.pings_answered == 1)
    assert client.initial_window == 0


async def test_pings_without_answer(sandbox: Sandbox, client: H2Client) -> None:
    client.ping()
    await client.until(lambda: client.pings_answered == 1)
    sandbox.faults.add(Rule(kind="ping_loss", times=1))
    await push(sandbox, client)
    client.ping()
    assert (await push(sandbox, client)).status == 200
    assert client.pings_answered == 1


async def test_refused_connections(sandbox: Sandbox, client: H2Client) -> None:
    await sandbox.listeners["apns"].pause()
    await client.until(lambda: client.is_lost)
    with pytest.raises(ConnectionRefusedError):
        await H2Client.connect(sandbox.url("apns"), sandbox.ca_pem)
    await sandbox.listeners["apns"].start_again()
    again = await H2Client.connect(sandbox.url("apns"), sandbox.ca_pem)
    assert (await push(sandbox, again)).status == 200
    again.close()


# --- over HTTP/1.1, at Google's token endpoint ------------------------------------------------


async def ask_token(sandbox: Sandbox) -> Answer:
    return await ask_http1(
        sandbox.credential("fcm").token_uri, [], b"grant_type=x", ca_pem=sandbox.ca_pem
    )


async def test_truncated_json(sandbox: Sandbox) -> None:
    whole = await ask_token(sandbox)
    sandbox.faults.add(Rule(kind="truncated", vendor="fcm", path="/token"))
    cut = await ask_token(sandbox)
    assert cut.status == whole.status
    assert whole.body.startswith(cut.body)
    with pytest.raises(json.JSONDecodeError):
        cut.json  # noqa: B018


async def test_truncated_json_where_there_was_no_body(sandbox: Sandbox, client: H2Client) -> None:
    sandbox.faults.add(Rule(kind="truncated"))
    answer = await push(sandbox, client)
    assert answer.status == 200
    with pytest.raises(json.JSONDecodeError):
        answer.json  # noqa: B018
    assert taken(sandbox) == [("truncated", 200, True)]


async def test_a_wrong_content_type(sandbox: Sandbox) -> None:
    sandbox.faults.add(Rule(kind="wrong_content_type"))
    answer = await ask_token(sandbox)
    assert answer.headers["content-type"] == "text/plain"
    assert answer.json["error"] == "invalid_request"


@pytest.mark.parametrize("kind", ["reset_before", "rst_stream"])
async def test_a_drop_over_http1(sandbox: Sandbox, kind: Any) -> None:
    sandbox.faults.add(Rule(kind=kind))
    with pytest.raises(ConnectionResetError):
        await ask_token(sandbox)


class WatchedClock(ManualClock):
    """Tells when somebody has gone to sleep."""

    def __init__(self) -> None:
        super().__init__()
        self.has_sleeper = asyncio.Event()

    async def sleep(self, delay_s: float) -> None:
        if delay_s > 0:
            self.has_sleeper.set()
        await super().sleep(delay_s)


@pytest.mark.parametrize("kind", ["slow_first_byte", "slow_body"])
async def test_slow_answers_over_http1(keys: Path, kind: Any) -> None:
    clock = WatchedClock()
    async with Sandbox(SandboxSettings(folder=str(keys)), clock) as sandbox:
        sandbox.faults.add(Rule(kind=kind, delay_s=5))
        waiting = asyncio.ensure_future(ask_token(sandbox))
        await clock.has_sleeper.wait()
        await clock.advance(4)
        assert not waiting.done()
        await clock.advance(1)
        assert (await waiting).json["error"] == "invalid_request"


async def test_the_same_seed_spoils_the_same_requests(clock: ManualClock, keys: Path) -> None:
    runs = []
    for seed in (7, 7, 8):
        settings = SandboxSettings(folder=str(keys), seed=seed)
        async with Sandbox(settings, clock) as sandbox:
            client = await H2Client.connect(sandbox.url("apns"), sandbox.ca_pem)
            sandbox.faults.add(Rule(kind="status", share=0.3))
            answers = [await push(sandbox, client, number) for number in range(40)]
            runs.append([(answer.status, answer.headers.get("apns-id")) for answer in answers])
            client.close()
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]
    assert {status for status, _ in runs[0]} == {200, 503}
