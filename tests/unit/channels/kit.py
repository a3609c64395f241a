"""What the tests of the channels share: credentials, deliveries, a vendor and a gate by script."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Generator, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec

from tests.unit.channels.kit_shape import VendorKit, bearer
from tocsin.channels.batch_run import DriverTools
from tocsin.channels.credentials import driver_of
from tocsin.channels.driver import Driver
from tocsin.channels.registry import (
    VENDORS,
    ListVendor,
    SingleVendor,
    Vendor,
    takes_lists,
    takes_one,
)
from tocsin.clock import Chance, Clock, ManualClock
from tocsin.conversation import Authority, Batch, Delivery, Denied, Fault, Request, Response
from tocsin.domain.app import Credential
from tocsin.domain.message import Message
from tocsin.domain.outcome import Outcome, Receipt
from tocsin.metrics import Metrics
from tocsin.ports import Http

NOW = 1_767_225_600.0
CORRELATION = "0a1b2c3d-0000-4000-8000-{:012x}"
IDS = {"id": "1_2_3_4_5", "task_id": "1_2_3_4_5"}
"""What names the push of `delivery` to the app."""
BATCH_CORRELATION = "7-1-0011223344556677"
AUTHORITY = Authority("bearer of-a-test", NOW + 2700, NOW + 3600)

Answer = Callable[[Request], Response | Fault | Awaitable[Response | Fault]]


def kit_of(vendor: Vendor) -> VendorKit:
    """What the tests know of a vendor; its file is found by the vendor's name."""
    return _kit_named(vendor.NAME)


@functools.cache
def _kit_named(name: str) -> VendorKit:
    path = Path(__file__).with_name(f"kit_{name}.py")
    assert path.exists(), f"{name} has no kit: write {path.name} as kit_shape.py says"
    kit: VendorKit = import_module(f"tests.unit.channels.{path.stem}").KIT
    return kit


def settings_of(vendor: Vendor) -> Any:
    return kit_of(vendor).settings()


def message(**parts: Any) -> Message:
    return Message(**{"title": "Hello", "desc": "A word to all", **parts})


def delivery(number: int = 1, **parts: Any) -> Delivery:
    given = {
        "device": number,
        "token": f"{number:064x}",
        "message": message(),
        "task_id": "1_2_3_4_5",
        "correlation": CORRELATION.format(number),
        "collapse": "t7-1",
        "epoch": 3,
        "ttl_s": 3600,
        "expires_at": NOW + 3600,
    }
    return Delivery(**{**given, **parts})


def batch(count: int, **parts: Any) -> Batch:
    numbers = range(1, count + 1)
    made = tuple(delivery(it, **parts) for it in numbers)
    return Batch(app=7, task=1, job=9, deliveries=made, correlation=BATCH_CORRELATION)


def given(vendor: Vendor, count: int, **parts: Any) -> Batch:
    """A batch as the driver hands it to the file: with what was prepared for it."""
    made = msgspec.structs.replace(batch(count, **parts), prepared=kit_of(vendor).prepared)
    addressed = tuple(addressed_by(vendor, it) for it in made.deliveries)
    return msgspec.structs.replace(made, deliveries=addressed)


def addressed_by(vendor: Vendor, one: Delivery) -> Delivery:
    """The delivery with its token in the vendor's form, where it has one that is looked at."""
    return msgspec.structs.replace(one, token=kit_of(vendor).token(one.token))


def first_step(
    vendor: SingleVendor | ListVendor, settings: Any, one: Delivery, now: float = NOW
) -> Request | Receipt:
    """What a file makes of one delivery: a request, or a receipt where none is to be sent."""
    if takes_one(vendor):
        return vendor.request(settings, AUTHORITY, addressed_by(vendor, one), now)
    assert takes_lists(vendor)
    made = msgspec.structs.replace(given(vendor, 1), deliveries=(one,))
    talk = vendor.deliver(settings, AUTHORITY, made, now)
    try:
        return next(talk)
    except StopIteration as end:
        receipts: Sequence[Receipt] = end.value
        return receipts[0]


def walked(
    talk: Generator[Request, Response, Any], *answers: Response
) -> tuple[list[Request], Any]:
    """A conversation carried through: what was asked, and what it came to."""
    asked: list[Request] = []
    waiting = iter(answers)
    try:
        asked.append(next(talk))
        while True:
            asked.append(talk.send(next(waiting)))
    except StopIteration as end:
        return asked, end.value


def heard(
    vendor: SingleVendor | ListVendor, answer: Response, deliveries: Sequence[Delivery]
) -> Sequence[Receipt]:
    """What a file takes one answer to mean."""
    if takes_one(vendor):
        return [vendor.read(addressed_by(vendor, one), answer) for one in deliveries]
    assert takes_lists(vendor)
    made = msgspec.structs.replace(given(vendor, 1), deliveries=deliveries)
    talk = vendor.deliver(settings_of(vendor), AUTHORITY, made, NOW)
    next(talk)
    try:
        while True:
            talk.send(answer)
    except StopIteration as end:
        receipts: Sequence[Receipt] = end.value
        return receipts


def authorized(vendor: Vendor, settings: Any, *answers: Response) -> Authority | Denied:
    """Step through the conversation that ends in an authority."""
    talk = vendor.authorize(settings, NOW)
    waiting = iter(answers)
    try:
        next(talk)
        while True:
            talk.send(next(waiting))
    except StopIteration as end:
        found: Authority | Denied = end.value
        return found


class OpenGate:
    """A gate that lets everything through until told otherwise, and counts."""

    def __init__(self, *answers: Outcome | None) -> None:
        self._answers: Iterator[Outcome | None] = iter(answers)
        self.asked = 0
        self.is_open = True
        self.awaits_answers = False

    async def may_begin(self, batch: Batch) -> Outcome | None:
        self.asked += 1
        return next(self._answers, None)

    def still_may(self, batch: Batch) -> bool:
        return self.is_open


class ScriptedHttp:
    """Answers each request as a function says; what token services give comes by itself."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self.requests: list[Request] = []
        self.bearers = 0
        self.under_way = 0
        self.under_way_max = 0

    async def send(
        self,
        request: Request,
        deadline_s: float,
        may_begin: Callable[[], bool] | None = None,
    ) -> Response | Fault:
        if request.path == "/token":
            self.bearers += 1
            return bearer(f"bearer-{self.bearers}")
        for vendor in VENDORS:
            if request.path in kit_of(vendor).authority:
                self.bearers += 1
                return kit_of(vendor).authority[request.path]
        if may_begin is not None and not may_begin():
            return Fault("unsent", "not begun")
        self.requests.append(request)
        self.under_way += 1
        self.under_way_max = max(self.under_way, self.under_way_max)
        try:
            answer = self._answer(request)
            if not isinstance(answer, Response | Fault):
                answer = await answer
        finally:
            self.under_way -= 1
        return answer


def refusal(vendor: Vendor, status: int, reason: str = "") -> Response:
    """An answer with this vendor's reason, in the vendor's own shape."""
    return kit_of(vendor).refusal(status, reason)


def credential(vendor: Vendor, **parts: Any) -> Credential:
    given = {"app": 7, "number": 11, "channel": vendor.NAME, "settings": b""}
    return Credential(**{**given, **parts})


def driver(
    vendor: SingleVendor | ListVendor,
    http: Http,
    *,
    clock: Clock | None = None,
    metrics: Metrics | None = None,
    settings: Any = None,
    **record: Any,
) -> Driver:
    tools = DriverTools(http, clock or ManualClock(NOW), Chance(1), metrics or Metrics())
    chosen = settings or settings_of(vendor)
    return driver_of(vendor, credential(vendor, **record), chosen, tools)
