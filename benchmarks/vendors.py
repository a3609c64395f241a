"""Every vendor's targets per second of the sending process, books kept, beside a bare loop.

One push to everyone, its whole way (`pipeline.py`), by each vendor in turn, at an nginx that
answers as the vendor does where it takes everything. Beside it runs, round by round and on the same
event loop, a bare loop on the same client: it sends the very requests that the push was carried out
with and keeps no books. Vendors that take lists are sent lists by both, over HTTP/1.1; beside it
stands a loop that sends them a request a device, as a loop over users does.

A message for a browser is sealed for that browser, so whoever sends it has to seal it: that bare
loop does, and beside it stands one that sends what was sealed before.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path

import msgspec
import uvloop
from msgspec import Struct

from benchmarks.harness import Found, Row, Sample, Size, Tell, in_turn
from benchmarks.pipeline import Bare, Pipeline, Reached, Send, round_of
from benchmarks.sink import Sink, is_installed, said, sink
from tests.unit.channels import kit, kit_webpush
from tocsin.adapters.http import OutgoingHttp
from tocsin.channels.registry import VENDORS, ListVendor, SingleVendor, takes_lists
from tocsin.conversation import Fault, Request, Response
from tocsin.domain.webpush import seal, subscription_of
from tocsin.service.running import ease_collector

LISTED_MIN = 500_000
"""Targets of a bare loop's round where a request names many: fewer are sent in no time at all."""
TOKEN_CHARS = {
    "fcm": 163,
    "harmony": 110,
    "honor": 166,
    "huawei": 130,
    "meizu": 42,
    "oppo": 40,
    "vivo": 23,
    "xiaomi": 64,
}
"""About as long as the vendors' own; Apple's have 64, and a browser's is a subscription."""
MESSAGE = kit_webpush.ENDPOINT.partition("/wpush")[0] + "/m/gAAAAABh0123456789"
"""Where a browser's message could be withdrawn: each answer names such an address."""
GOAL = 0.5


class Told(Struct, frozen=True):
    """How a vendor answers who does everything right."""

    accepted: str
    at: Mapping[str, str] = {}
    """Its other answers, by path: its token service's."""


def run(size: Size, tell: Tell) -> Found:
    """The rows of this benchmark."""
    if not is_installed():
        return Found(remarks=["nginx is not installed: the vendors are left out."])
    found = Found()
    for vendor in VENDORS:
        with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
            told = _told(vendor)
            target = stack.enter_context(
                sink(told.accepted, told.at, http2=not takes_lists(vendor))
            )
            runner = stack.enter_context(asyncio.Runner(loop_factory=uvloop.new_event_loop))
            bench = _Bench(vendor, size, functools.partial(_tell_of, tell, vendor.NAME))
            found.rows += bench.run(runner, Path(folder), target)
    found.remarks.append(f"Vendors: {size.devices:,} devices each, one push to all of them.")
    return found


def _tell_of(tell: Tell, name: str, text: str) -> None:
    tell(f"{name}: {text}")


class _Bench:
    """One vendor's rows."""

    def __init__(self, vendor: SingleVendor | ListVendor, size: Size, tell: Tell) -> None:
        self._vendor = vendor
        self._size = size
        self._tell = tell

    def run(self, runner: asyncio.Runner, folder: Path, target: Sink) -> list[Row]:
        stack = AsyncExitStack()
        try:
            sides = runner.run(self._open(folder, target, stack))
            rounds = {name: round_of(runner, send) for name, send in sides.items()}
            medians = in_turn(rounds, self._size.rounds, self._tell)
        finally:
            runner.run(stack.aclose())
        return self._rows(medians)

    async def _open(self, folder: Path, target: Sink, stack: AsyncExitStack) -> dict[str, Send]:
        # As the service does; all sides run in this process and so have the same.
        ease_collector(stack)
        vendor, devices = self._vendor, self._size.devices
        settings = msgspec.to_builtins(kit.settings_of(vendor))
        reached = Reached(vendor.NAME, settings, _tokens_of(vendor.NAME))
        http = NotingHttp()
        pipeline = await Pipeline.open(folder, reached, target, http, stack)
        await pipeline.fill(devices, self._tell)
        pipeline.start(stack)
        self._tell("noting the requests of a push")
        noted: list[Request] = []
        http.noted = noted
        await pipeline.send()
        http.noted = None
        bare = OutgoingHttp()
        await bare.start(stack)
        sides: dict[str, Send] = {"pipeline": pipeline.send}
        for name, loop in _loops(vendor, noted, devices).items():
            again = functools.partial(_repeated, loop.requests, loop.times)
            targets = devices * loop.times
            sides[name] = Bare(bare, again, targets, vendor.LIMITS.in_flight_max).send
        return sides

    def _rows(self, medians: dict[str, Sample]) -> list[Row]:
        most = self._vendor.LIMITS.devices_max
        how = f"lists of {most:,}" if most > 1 else "one device a request"
        return [
            Row(
                measure=f"{self._vendor.NAME}, {how}",
                ours=medians["pipeline"][0],
                unit="targets/CPU-s",
                beside=name,
                other=sample[0],
                target=f"≥ {GOAL:g}" if name != SEALED else "-",
                goal=GOAL if name != SEALED else None,
            )
            for name, sample in medians.items()
            if name != "pipeline"
        ]


class NotingHttp(OutgoingHttp):
    """The service's client; notes for a while what is sent to a vendor's devices."""

    noted: list[Request] | None = None

    async def send(
        self,
        request: Request,
        deadline_s: float,
        may_begin: Callable[[], bool] | None = None,
    ) -> Response | Fault:
        # Only what the gate was asked about is a push; a token service is asked without it.
        if self.noted is not None and may_begin is not None:
            self.noted.append(request)
        return await super().send(request, deadline_s, may_begin)


PLAIN = "bare loop, same requests"
SEALING = "bare loop that seals"
SEALED = "bare loop, sealed before"
EACH = "bare loop, a request a device"


class Loop(Struct, frozen=True):
    """What a bare loop sends: all devices so many times."""

    requests: Callable[[], Iterable[Request]]
    times: int = 1


def _loops(
    vendor: SingleVendor | ListVendor, noted: list[Request], devices: int
) -> dict[str, Loop]:
    """Bare loops by what they are called in the table."""
    if takes_lists(vendor):
        alone = _alone(vendor, noted[-1])
        return {
            PLAIN: Loop(lambda: noted, -(-LISTED_MIN // devices)),
            EACH: Loop(lambda: itertools.repeat(alone, devices)),
        }
    if vendor.NAME != "webpush":
        return {PLAIN: Loop(lambda: noted)}
    return {SEALING: Loop(lambda: _sealed(noted)), SEALED: Loop(lambda: noted)}


def _alone(vendor: ListVendor, noted: Request) -> Request:
    """The request for one device, to where the lists go."""
    made = kit.first_step(vendor, kit.settings_of(vendor), kit.delivery())
    assert isinstance(made, Request)
    there = ("origin", "ca", "http2", "pool")
    return msgspec.structs.replace(made, **{name: getattr(noted, name) for name in there})


def _repeated(requests: Callable[[], Iterable[Request]], times: int) -> Iterator[Request]:
    return itertools.chain.from_iterable(requests() for _ in range(times))


def _sealed(noted: list[Request]) -> Iterator[Request]:
    """The requests with their text sealed anew."""
    to = subscription_of(kit_webpush.token("of-the-benchmark"))
    assert to is not None
    plain = msgspec.json.encode(kit_webpush.opened(noted[0].body))
    for request in noted:
        body = seal(plain, to, secret=b"of a benchmark", correlation=request.path)
        yield msgspec.structs.replace(request, body=body)


def _tokens_of(vendor: str) -> Callable[[int], str]:
    if vendor == "webpush":
        return lambda number: kit_webpush.token(f"{number:0140x}")
    chars = TOKEN_CHARS.get(vendor, 64)
    return lambda number: f"{number:0{chars}x}"


def _told(vendor: SingleVendor | ListVendor) -> Told:
    its = kit.kit_of(vendor)
    accepted = said(its.accepted)
    if vendor.NAME == "apns":
        accepted = f"add_header apns-id $http_apns_id; {accepted}"
    elif vendor.NAME == "webpush":
        accepted = f"add_header location {MESSAGE}; {accepted}"
    return Told(accepted, {path: said(it) for path, it in its.authority.items()})
