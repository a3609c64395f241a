"""Each vendor over real sockets: golden conversations, and the sandbox at its worst.

The golden files were written from the vendors' pages, each with its source. A server that knows
nothing of our code compares the request with the file and answers as the file says.

Against the sandbox the oracle is its log: a device reported as accepted was accepted exactly
once, one in doubt at most once, and every other one not at all.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import msgspec
import pytest

from tests.patience import PATIENCE_S
from tests.sandbox_keys import keys_folder
from tests.unit.channels import kit_webpush
from tests.unit.channels.kit import NOW, OpenGate, delivery, driver, kit_of, settings_of
from tests.wire.faulty_server import FaultyServer, Seen, faulty_server
from tocsin.adapters.http import OutgoingHttp
from tocsin.adapters.http_limits import HttpLimits
from tocsin.channels.driver import Driver
from tocsin.channels.registry import ListVendor, SingleVendor, find
from tocsin.channels.vendors.apns import TOKEN_HOLD_S
from tocsin.clock import Clock, ManualClock, SystemClock, settle_loop
from tocsin.conversation import Batch, Delivery, Fault, Request, Response
from tocsin.domain.message import Message
from tocsin.domain.outcome import Outcome, Receipt
from tocsin.ports import Http
from tocsin.sandbox.faults import Rule
from tocsin.sandbox.server import Sandbox, SandboxSettings
from tocsin.sandbox.vendors.apns.server import Apns, ApnsSettings
from tocsin.sandbox.vendors.fcm.server import Fcm

GOLDEN = Path(__file__).parent / "golden"
TOKENS = {"apns": Apns.token, "fcm": Fcm.token}
INTERNAL_ERROR, REFUSED_STREAM, CANCEL = 2, 7, 8
SOON = 86_400.0
REFUSED = 5
"""Requests refused with their token: no more than begin before the first answer is there."""

files = sorted(GOLDEN.glob("*/*.json"))


# golden conversations


@pytest.mark.evidence(
    "the bytes of each golden conversation",
    topic="Vendors",
    planted="OPPO's click `web` sent as 5",
)
@pytest.mark.evidence(
    "what Apple says of an iPhone behind FCM is heard, and Windows's 406 is a rate",
)
@pytest.mark.evidence("forms name their charset")
@pytest.mark.parametrize("path", files, ids=lambda path: f"{path.parent.name} {path.stem}")
async def test_a_golden_conversation(path: Path) -> None:
    told = conversation(path)
    vendor = vendor_of(path)
    settings = msgspec.structs.replace(settings_of(vendor), **told.get("settings", {}))
    seen: list[Seen] = []

    def answer(server: FaultyServer, request: Seen) -> None:
        link = server.links[request.link]
        if request.path in kit_of(vendor).authority:
            link.reply(request.stream, 200, kit_of(vendor).authority[request.path].body)
            return
        seen.append(request)
        body = told["answer"]["body"]
        data = b"" if body is None else json.dumps(body).encode()
        link.reply(
            request.stream, told["answer"]["status"], data, told["answer"]["headers"].items()
        )

    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(faulty_server())
        server.answer = answer
        http = OutgoingHttp()
        await http.start(stack)
        one = driver(
            vendor,
            http,
            clock=ManualClock(NOW),
            settings=settings,
            origin=server.origin,
            auth_origin=server.origin,
            ca=server.ca.pem,
        )
        message = msgspec.convert(told["message"], Message)
        given = delivery(message=message, **told["delivery"])
        name = told.get("correlation", "")
        batch = Batch(app=7, task=1, job=9, deliveries=(given,), correlation=name)
        receipts = await one.deliver(batch, OpenGate())

    assert [as_told(request, told["request"]["headers"]) for request in seen] == [told["request"]]
    blank = {"info": "", "retry_after_s": None, "died_at": None}
    got = msgspec.to_builtins(receipts[0])
    assert {name: got[name] for name in ("outcome", "code", *blank)} == blank | told["receipt"]


def conversation(path: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return told


def vendor_of(path: Path) -> SingleVendor | ListVendor:
    vendor = find(path.parent.name)
    assert vendor is not None
    return vendor


def as_told(request: Seen, expected: dict[str, str]) -> dict[str, Any]:
    """What the server saw, in the file's form; what proves us is left out."""
    own = ("apns-", "authorization", "content-", "topic", "ttl", "urgency")
    headers = {name: text for name, text in request.headers.items() if name.startswith(own)}
    headers.pop("content-length", None)
    if "content-type" not in expected:
        headers.pop("content-type", None)
    if "authorization" in headers:
        proof = re.fullmatch(r"(?P<scheme>\w+[ =]).+", headers["authorization"])
        assert proof is not None
        headers["authorization"] = f"{proof['scheme']}…"
    return {
        "method": request.method,
        "path": request.path,
        "headers": headers,
        "body": body_of(request),
    }


def body_of(request: Seen) -> Any:
    """JSON, sealed or not, or the members of a form; what proves us in one is left out."""
    if request.headers.get("content-encoding") == "aes128gcm":
        return kit_webpush.opened(request.body)
    if not request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        return json.loads(request.body)
    form = dict(parse_qsl(request.body.decode(), keep_blank_values=True, strict_parsing=True))
    for name in {"auth_token", "sign"} & set(form):
        form[name] = "…"
    # OPPO's messages are JSON in a field of a form.
    return {name: json.loads(it) if name == "message" else it for name, it in form.items()}


# the sandbox


class Watched:
    """An `Http` that counts who proved what, and waits no longer than a test may."""

    def __init__(self, http: Http, deadline_max_s: float) -> None:
        self._http = http
        self._deadline_max_s = deadline_max_s
        self.proofs: Counter[str] = Counter()
        self.bearers = 0

    async def send(
        self,
        request: Request,
        deadline_s: float,
        may_begin: Callable[[], bool] | None = None,
    ) -> Response | Fault:
        if request.path.endswith("/token"):
            self.bearers += 1
        else:
            self.proofs[dict(request.headers)["authorization"]] += 1
        return await self._http.send(request, min(deadline_s, self._deadline_max_s), may_begin)


class Scene:
    """A sandbox, the real HTTP client and the driver of one vendor's credential."""

    def __init__(
        self, vendor: SingleVendor | ListVendor, sandbox: Sandbox, one: Driver, http: Watched
    ) -> None:
        self.vendor = vendor
        self.sandbox = sandbox
        self.driver = one
        self.http = http

    def token(self, number: int) -> str:
        return TOKENS[self.vendor.NAME](number)

    def fault(self, **rule: Any) -> None:
        path = "*/messages:send" if self.vendor.NAME == "fcm" else "*"
        self.sandbox.faults.add(Rule(**{"vendor": self.vendor.NAME, "path": path, **rule}))

    async def send(self, numbers: Sequence[int]) -> Counter[Outcome]:
        """Deliver to these devices, check the log's oracle, and count what came of it."""
        receipts = await self.receipts(numbers)
        return Counter(receipt.outcome for receipt in receipts)

    async def receipts(self, numbers: Sequence[int]) -> Sequence[Receipt]:
        now = self.sandbox.clock.now()
        deliveries = tuple(self._delivery(number, now) for number in numbers)
        mark = max((entry.sequence for entry in self.sandbox.log.entries()), default=0)
        receipts = await self.driver.deliver(
            Batch(app=7, task=1, job=9, deliveries=deliveries), OpenGate()
        )
        assert [receipt.device for receipt in receipts] == list(numbers)
        self._check(receipts, mark)
        return receipts

    def _delivery(self, number: int, now: float) -> Delivery:
        return delivery(number, token=self.token(number), ttl_s=3600, expires_at=now + SOON)

    def _check(self, receipts: Sequence[Receipt], mark: int) -> None:
        taken = Counter(
            entry.token for entry in self.sandbox.log.entries(after=mark, accepted=True)
        )
        for receipt in receipts:
            count = taken[self.token(receipt.device)]
            if receipt.outcome is Outcome.ACCEPTED:
                assert count == 1, receipt
            elif receipt.outcome is Outcome.UNKNOWN:
                assert count <= 1, receipt
            else:
                assert count == 0, receipt


@asynccontextmanager
async def scene(
    vendor_name: str,
    *,
    settings: SandboxSettings | None = None,
    clock: Clock | None = None,
    deadline_max_s: float = PATIENCE_S,
    lanes: int = 1,
) -> AsyncIterator[Scene]:
    vendor = find(vendor_name)
    assert vendor is not None
    clock = clock or SystemClock()
    async with AsyncExitStack() as stack:
        sandbox = Sandbox(settings or SandboxSettings(folder=keys_folder(), seed=7), clock)
        await stack.enter_async_context(sandbox)
        client = OutgoingHttp(HttpLimits(http2_connections=lanes))
        await client.start(stack)
        http = Watched(client, deadline_max_s)
        given = sandbox.credential("apns") if vendor_name == "apns" else sandbox.credential("fcm")
        one = driver(
            vendor,
            http,
            clock=clock,
            settings=msgspec.convert(msgspec.to_builtins(given), vendor.Settings),
            origin=sandbox.url("apns") if vendor_name == "apns" else sandbox.url("fcm"),
            ca=sandbox.ca_pem,
        )
        stack.push_async_callback(one.close)
        yield Scene(vendor, sandbox, one, http)


both = pytest.mark.parametrize("name", ["apns", "fcm"])
MANY = range(60)
SILENCE_S = 6.0
"""How long an answer that never comes is waited for; a machine may be slow, but not so slow."""


@both
async def test_everybody_is_reached_once_over_one_authority(name: str) -> None:
    async with scene(name, lanes=2) as it:
        for _ in range(3):
            assert await it.send(MANY) == {Outcome.ACCEPTED: 60}
        assert len(it.http.proofs) == 1
        assert it.http.bearers == (name == "fcm")


@pytest.mark.evidence(
    "APNs faults: GOAWAY",
    topic="Channels and sandbox",
    planted="a refused stream told as in doubt",
)
@both
async def test_goaway_in_the_middle(name: str) -> None:
    async with scene(name) as it:
        await it.send(range(1))
        it.fault(kind="goaway", first=20, times=1, goaway_offset=4)
        got = await it.send(MANY)
        assert set(got) <= {Outcome.ACCEPTED, Outcome.UNSENT}
        assert got[Outcome.ACCEPTED] >= 20
        assert await it.send(MANY) == {Outcome.ACCEPTED: 60}


@pytest.mark.evidence(
    "APNs faults: RST_STREAM, no answer, drop",
    topic="Channels and sandbox",
    planted="what may have been sent told as unsent",
)
@both
@pytest.mark.parametrize(
    ("code", "accepted", "outcome"),
    [
        (INTERNAL_ERROR, False, Outcome.UNKNOWN),
        (INTERNAL_ERROR, True, Outcome.UNKNOWN),
        (CANCEL, True, Outcome.UNKNOWN),
        (REFUSED_STREAM, False, Outcome.UNSENT),
    ],
)
async def test_a_stream_that_is_reset(
    name: str, code: int, accepted: bool, outcome: Outcome
) -> None:
    async with scene(name) as it:
        it.fault(kind="rst_stream", reset_code=code, accepted=accepted, every=10)
        assert await it.send(MANY) == {Outcome.ACCEPTED: 54, outcome: 6}


@pytest.mark.evidence(
    "APNs faults: stream limit",
    topic="Channels and sandbox",
    planted="requests given up after 20 ms; a connection for each request that waits",
)
@both
async def test_a_stream_limit_that_falls_to_one_and_rises_again(name: str) -> None:
    async with scene(name) as it:
        it.fault(kind="stream_limit", streams=1, first=5, times=1)
        it.fault(kind="stream_limit", streams=100, first=30, times=1)
        assert await it.send(MANY) == {Outcome.ACCEPTED: 60}
        assert await it.send(MANY) == {Outcome.ACCEPTED: 60}


async def test_a_connection_that_must_prove_itself_first() -> None:
    settings = SandboxSettings(folder=keys_folder(), vendors=(ApnsSettings(unproven_streams=1),))
    async with scene("apns", settings=settings) as it:
        assert await it.send(MANY) == {Outcome.ACCEPTED: 60}


@pytest.mark.evidence(
    "APNs faults: bodyless 503",
    topic="Channels and sandbox",
    planted="no body taken for broken JSON",
)
@both
async def test_a_503_without_a_body(name: str) -> None:
    async with scene(name) as it:
        it.fault(kind="status", status=503, times=6)
        assert await it.send(MANY) == {Outcome.ACCEPTED: 54, Outcome.SERVER_ERROR: 6}
        assert await it.send(MANY) == {Outcome.ACCEPTED: 60}


@pytest.mark.evidence("APNs faults: RST_STREAM, no answer, drop")
@both
@pytest.mark.parametrize("accepted", [True, False])
async def test_an_answer_that_never_comes_is_doubt(name: str, accepted: bool) -> None:
    async with scene(name, deadline_max_s=SILENCE_S) as it:
        await it.send(range(1))
        it.fault(kind="never", accepted=accepted, times=5)
        assert await it.send(MANY) == {Outcome.ACCEPTED: 55, Outcome.UNKNOWN: 5}


@pytest.mark.evidence("APNs faults: RST_STREAM, no answer, drop")
@both
@pytest.mark.parametrize("kind", ["reset_before", "reset_after"])
async def test_a_connection_that_is_dropped(name: str, kind: str) -> None:
    async with scene(name) as it:
        await it.send(range(1))
        it.fault(kind=kind, first=20, times=1)
        got = await it.send(MANY)
        assert got[Outcome.UNKNOWN] >= 1
        assert set(got) <= {Outcome.ACCEPTED, Outcome.UNKNOWN, Outcome.UNSENT}
        assert await it.send(range(100, 160)) == {Outcome.ACCEPTED: 60}


@both
async def test_a_server_that_is_not_there(name: str) -> None:
    async with scene(name) as it:
        await it.send(range(1))
        await it.sandbox.listeners[name].pause()
        got = await it.send(range(10))
        assert set(got) <= {Outcome.UNSENT, Outcome.UNKNOWN}


@pytest.mark.evidence(
    "APNs faults: expired token",
    topic="Channels and sandbox",
    planted="each refused delivery signing for itself",
)
async def test_an_expired_provider_token_is_renewed_once_for_all() -> None:
    clock = ManualClock()
    async with scene("apns", clock=clock) as it:
        await it.send(range(1))
        await clock.advance(TOKEN_HOLD_S)
        it.fault(kind="vendor_code", code="ExpiredProviderToken", times=REFUSED)
        assert await it.send(MANY) == {Outcome.ACCEPTED: 60}
        first, second = it.http.proofs.values()
        assert first + second == 1 + 60 + REFUSED
        assert second >= REFUSED


async def test_a_provider_token_that_stays_expired_is_a_wrong_credential() -> None:
    async with scene("apns") as it:
        it.fault(kind="vendor_code", code="ExpiredProviderToken")
        got = await it.send(MANY)
        assert set(got) <= {Outcome.CREDENTIALS_WRONG, Outcome.HELD}
        assert it.driver.room(it.sandbox.clock.now()) == 0
        # Apple takes no other one so soon after the first.
        assert len(it.http.proofs) == 1


async def test_a_provider_token_is_renewed_before_it_expires() -> None:
    clock = ManualClock()
    async with scene("apns", clock=clock) as it:
        for _ in range(4):
            assert await it.send(range(5)) == {Outcome.ACCEPTED: 5}
            await settle_loop()
            await clock.advance(50 * 60)
            assert await it.send(range(5)) == {Outcome.ACCEPTED: 5}
            await settle_loop()
        assert len(it.http.proofs) == 4


@pytest.mark.evidence(
    "FCM faults: stale bearer, 429, 404, 5xx",
    topic="Channels and sandbox",
    planted="a fetch for each that waits; no minute's wait without Retry-After; "
    "UNREGISTERED accusing the credential; a 502 told as in doubt",
)
async def test_a_stale_bearer_is_renewed_once_for_all() -> None:
    async with scene("fcm") as it:
        await it.send(range(1))
        it.sandbox.expire_bearers()
        assert await it.send(MANY) == {Outcome.ACCEPTED: 60}
        assert it.http.bearers == 2


async def test_a_bearer_is_renewed_before_it_expires() -> None:
    clock = ManualClock()
    async with scene("fcm", clock=clock) as it:
        await it.send(range(1))
        await clock.advance(52 * 60)
        assert await it.send(range(5)) == {Outcome.ACCEPTED: 5}
        while it.http.bearers < 2:
            await it.send(range(1))
        await clock.advance(30 * 60)
        assert await it.send(range(5)) == {Outcome.ACCEPTED: 5}
        assert it.http.bearers == 2


@both
async def test_one_dead_token_among_many(name: str) -> None:
    async with scene(name) as it:
        since = float(int(it.sandbox.clock.now()) - 100)
        it.sandbox.devices.put(name, it.token(7), "dead", since=since)
        receipts = await it.receipts(MANY)
        dead = [receipt for receipt in receipts if receipt.outcome is Outcome.TOKEN_DEAD]
        assert [receipt.device for receipt in dead] == [7]
        assert dead[0].died_at == (since if name == "apns" else None)
        assert dead[0].info.endswith("egistered".upper() if name == "fcm" else "egistered")


@pytest.mark.evidence(
    "APNs faults: 410",
    topic="Channels and sandbox",
    planted="410 told as undeliverable",
)
@both
async def test_every_token_dead(name: str) -> None:
    async with scene(name) as it:
        for number in MANY:
            it.sandbox.devices.put(name, it.token(number), "dead")
        assert await it.send(MANY) == {Outcome.TOKEN_DEAD: 60}


async def test_tokens_of_another_app_are_not_dead() -> None:
    async with scene("apns") as it:
        it.sandbox.devices.put("apns", it.token(1), "other_app")
        assert await it.send(range(1, 3)) == {Outcome.NOT_PERMITTED: 1, Outcome.ACCEPTED: 1}


@pytest.mark.evidence("FCM faults: stale bearer, 429, 404, 5xx")
@pytest.mark.parametrize(("told_s", "wait_s"), [(7, 7.0), (None, 60.0)])
async def test_over_quota_with_and_without_retry_after(told_s: int | None, wait_s: float) -> None:
    async with scene("fcm") as it:
        it.fault(kind="vendor_code", code="QUOTA_EXCEEDED", retry_after_s=told_s, times=10)
        receipts = await it.receipts(MANY)
        over = [receipt for receipt in receipts if receipt.outcome is Outcome.THROTTLED]
        assert {receipt.retry_after_s for receipt in over} == {wait_s}
        assert len(over) == 10


@pytest.mark.evidence("FCM faults: stale bearer, 429, 404, 5xx")
@pytest.mark.parametrize(
    ("rule", "outcome"),
    [
        ({"kind": "vendor_code", "code": "UNAVAILABLE"}, Outcome.SERVER_ERROR),
        ({"kind": "vendor_code", "code": "INTERNAL"}, Outcome.SERVER_ERROR),
        ({"kind": "html_page"}, Outcome.SERVER_ERROR),
        ({"kind": "status", "status": 504}, Outcome.SERVER_ERROR),
        ({"kind": "vendor_code", "code": "UNREGISTERED"}, Outcome.TOKEN_DEAD),
        ({"kind": "vendor_code", "code": "BAD_REQUEST"}, Outcome.BAD_REQUEST),
        ({"kind": "truncated"}, Outcome.ACCEPTED),
        ({"kind": "wrong_content_type"}, Outcome.ACCEPTED),
        ({"kind": "slow_body", "delay_s": 0.1}, Outcome.ACCEPTED),
    ],
)
async def test_what_fcm_may_answer(rule: dict[str, Any], outcome: Outcome) -> None:
    async with scene("fcm") as it:
        it.fault(times=5, **rule)
        got = await it.send(MANY)
        assert got == Counter({outcome: 5}) + Counter({Outcome.ACCEPTED: 55})


@both
async def test_everything_at_once_keeps_the_log_and_the_receipts_together(name: str) -> None:
    async with scene(name, deadline_max_s=SILENCE_S, lanes=2) as it:
        for rule in (
            {"kind": "rst_stream", "accepted": True, "share": 0.05},
            {"kind": "never", "share": 0.03},
            {"kind": "status", "status": 500, "share": 0.05},
            {"kind": "goaway", "goaway_offset": 3, "every": 97},
            {"kind": "reset_after", "first": 150, "times": 1},
            {"kind": "vendor_code", "code": STALE[name], "every": 31},
        ):
            it.fault(**rule)
        totals = Counter[Outcome]()
        for start in range(0, 400, 80):
            totals += await it.send(range(start, start + 80))
        assert sum(totals.values()) == 400
        # How many depends on how busy the machine is; the oracle has looked at every one.
        assert totals[Outcome.ACCEPTED] > 0
        assert totals[Outcome.UNKNOWN] > 0


STALE = {"apns": "ExpiredProviderToken", "fcm": "UNAUTHENTICATED"}
