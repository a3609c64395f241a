"""Receipts: what vendors post to the sender later about the pushes that they took.

Each accepted push of a vendor that reports becomes an event; events that are due travel together
in the vendor's own form. Faults of kind `receipt_…` lose, repeat, delay, forge or falsify single
ones. Nothing is ever posted beyond this machine.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Literal, Protocol, TypeVar, runtime_checkable
from urllib.parse import urlsplit

from msgspec import Struct
from msgspec.structs import replace

from tocsin.clock import Clock
from tocsin.conversation import Fault, Request
from tocsin.ports import Http
from tocsin.sandbox.devices import DeviceBook, SandboxDevice
from tocsin.sandbox.exchange import Judgement, Target, VendorRules
from tocsin.sandbox.faults import Faults, Rule

CONSOLE = "console"
"""A push whose receipts go to the address that the vendor's console knows."""
PATH = "/v3/offline_push_report/"
LOOPBACK = ("127.0.0.1", "localhost", "::1")
EVENTS_MAX = 1_000_000
TRIES_MAX = 3
RETRY_S = 1.0
DEADLINE_S = 10.0
CALLS_MAX = 64
"""Under way at once."""
LATE_S = 5.0
"""How late a receipt of a `receipt_late` rule is that names no delay."""
ABSURD_AT = 1.0
"""When something happened that a `receipt_absurd` rule reports."""


class ReceiptSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where vendors report to, and how promptly."""

    url: str = ""
    """Base URL of the sender: what its consoles were given. Empty: only addresses that a push
    itself names are reported to."""
    delay_s: float = 0.0
    """Seconds from accepting a push to its arrival on the device, of which the receipt tells."""
    ca_pem: str | None = None
    """The authorities to trust where the sender's address is https."""

    def __post_init__(self) -> None:
        if self.url and not is_loopback(self.url):
            raise ValueError("url is an http or https address of this machine: 127.0.0.1")
        if self.delay_s < 0:
            raise ValueError("delay_s is not negative")


class Event(Struct, frozen=True, kw_only=True):
    """What a receipt tells: what became of one push on one device."""

    token: str
    message_id: str
    correlation: str
    push_type: str
    code: str
    """The vendor's own."""
    at: float
    """When it happened, Unix seconds."""
    is_forged: bool = False


class Post(Struct, frozen=True):
    """A call of the vendor to the sender."""

    headers: tuple[tuple[str, str], ...]
    body: bytes


@runtime_checkable
class Reporter(Protocol):
    """A vendor that posts receipts."""

    receipts_max: int
    """Receipts in one call."""

    def fate(self, device: SandboxDevice, push_type: str) -> str:
        """The code of the receipt for a push that this device was sent; empty: none."""
        ...

    def post(self, events: Sequence[Event]) -> Post:
        """The call that tells of these, signed where the vendor signs; forged ones come alone."""
        ...


@runtime_checkable
class Sorter(Protocol):
    """A reporter whose calls have one place for each message: not everything fits together."""

    def sort(self, event: Event) -> str:
        """Only events of the same sort travel in one call."""
        ...


class Stats(Struct):
    """Totals since the start or the last reset."""

    told: int = 0
    """Receipts in calls that were answered 200; one that was told twice counts twice."""
    lost: int = 0
    refused: int = 0
    """Receipts in calls that the sender refused, or never answered."""
    waiting: int = 0
    """Not yet due, or in a call that is not answered yet."""
    by_answer: dict[str, int] = {}
    """Calls, by vendor and the status they were answered with; 0 where no answer came."""


_NUMBER = re.compile(r"-?[0-9]{1,18}")
_Key = tuple[str, str, bool, str]
"""(vendor, address, is forged, sort): what travels together."""
_Item = TypeVar("_Item")


class Receipts:
    """The receipts that the vendors owe."""

    def __init__(self, book: DeviceBook, faults: Faults, clock: Clock) -> None:
        self.settings = ReceiptSettings()
        self._book = book
        self._faults = faults
        self._clock = clock
        self._vendors: dict[str, Reporter] = {}
        self._order = itertools.count()
        self._waiting: list[tuple[float, int, _Key, Event]] = []
        self._news = asyncio.Event()
        self._lost = 0
        self._under_way = 0
        self._told: Counter[Literal["told", "refused"]] = Counter()
        self._answers: Counter[str] = Counter()

    def note(self, vendor: VendorRules, verdict: Judgement) -> None:
        """Take note of a judged call: whom it reached has something to tell."""
        if not verdict.receipt_to or not isinstance(vendor, Reporter):
            return
        to = verdict.receipt_to
        if to == CONSOLE:
            to = f"{self.settings.url}{PATH}{vendor.name}" if self.settings.url else ""
        if not is_loopback(to) or len(self._waiting) >= EVENTS_MAX:
            return
        self._vendors[vendor.name] = vendor
        at = self._clock.now() + self.settings.delay_s
        alone = Target(verdict.token, verdict.accepted)
        for target in verdict.targets or (alone,):
            is_owed = target.accepted or target.is_told_later
            device = self._book.known(vendor.name, target.token) if is_owed else None
            fate = vendor.fate(device, verdict.push_type) if device is not None else ""
            code = target.receipt_code or fate
            if code and _is_asked(verdict, code):
                event = Event(
                    token=target.token,
                    message_id=verdict.message_id,
                    correlation=verdict.correlation,
                    push_type=verdict.push_type,
                    code=code,
                    at=at,
                )
                self._owe(vendor.name, to, event)
        self._news.set()

    def stats(self) -> Stats:
        return Stats(
            told=self._told["told"],
            lost=self._lost,
            refused=self._told["refused"],
            waiting=len(self._waiting) + self._under_way,
            by_answer=dict(self._answers),
        )

    def clear(self) -> None:
        """Forget what is owed, and the totals."""
        self._waiting.clear()
        self._told.clear()
        self._answers.clear()
        self._lost = 0

    async def run(self, http: Http) -> None:
        """Post what is due until cancelled."""
        while True:
            calls = self._due()
            for some in _batched(calls, CALLS_MAX):
                await asyncio.gather(*(self._post(http, key, events) for key, events in some))
                self._under_way -= sum(len(events) for _, events in some)
            if calls:
                continue
            self._news.clear()
            if not self._waiting:
                await self._news.wait()
                continue
            await self._rest(self._waiting[0][0] - self._clock.now())

    async def _rest(self, wait_s: float) -> None:
        """Until the next is due, or something new is."""
        waits = {
            asyncio.create_task(self._news.wait()),
            asyncio.create_task(self._clock.sleep(max(0.0, wait_s))),
        }
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waits:
                task.cancel()

    # what is owed

    def _owe(self, vendor: str, to: str, event: Event) -> None:
        rule = self._faults.pick_receipt(vendor, urlsplit(to).path, event.token)
        due = event.at
        match "" if rule is None else rule.kind:
            case "receipt_lost":
                self._lost += 1
                return
            case "receipt_code":
                assert rule is not None
                event = replace(event, code=rule.code)
            case "receipt_late":
                due += _late_s(rule)
            case "receipt_absurd":
                event = replace(event, at=ABSURD_AT)
            case "receipt_forged":
                event = replace(event, is_forged=True)
            case "receipt_twice":
                self._push(event.at + _late_s(rule), vendor, to, event)
        self._push(due, vendor, to, event)

    def _push(self, due: float, vendor: str, to: str, event: Event) -> None:
        reporter = self._vendors[vendor]
        sort = reporter.sort(event) if isinstance(reporter, Sorter) else ""
        key = (vendor, to, event.is_forged, sort)
        heapq.heappush(self._waiting, (due, next(self._order), key, event))

    def _due(self) -> list[tuple[_Key, list[Event]]]:
        """Calls to make now: events of one vendor and address together, as many as it puts in."""
        now = self._clock.now()
        by_key: dict[_Key, list[Event]] = {}
        while self._waiting and self._waiting[0][0] <= now:
            _, _, key, event = heapq.heappop(self._waiting)
            by_key.setdefault(key, []).append(event)
            self._under_way += 1
        return [
            (key, some)
            for key, events in by_key.items()
            for some in _batched(events, self._vendors[key[0]].receipts_max)
        ]

    async def _post(self, http: Http, key: _Key, events: Sequence[Event]) -> None:
        vendor, to, *_ = key
        call = self._vendors[vendor].post(events)
        url = urlsplit(to)
        request = Request(
            "POST",
            f"{url.scheme}://{url.netloc}",
            url.path or "/",
            call.headers,
            call.body,
            ca=self.settings.ca_pem,
        )
        for attempt in range(TRIES_MAX):
            answer = await http.send(request, DEADLINE_S)
            status = 0 if isinstance(answer, Fault) else answer.status
            self._answers[f"{vendor} {status}"] += 1
            if status == 200:
                self._told["told"] += len(events)
                return
            if 400 <= status < 500:
                break
            await self._clock.sleep(RETRY_S * 2**attempt)
        self._told["refused"] += len(events)


def is_loopback(url: str) -> bool:
    """Whether an address is this machine's, without asking anybody about a name."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and parts.hostname in LOOPBACK


def told_id(event: Event) -> str:
    """The sender's own id in a receipt that nobody signs.

    Whoever forges one may know the app and the task, but has to guess the proof at the end.
    """
    text = event.correlation
    return text if not event.is_forged else text[:-1] + ("1" if text.endswith("0") else "0")


def number_of(event: Event) -> int | str:
    """The code as most vendors write it; a rule may falsify it into something that is none."""
    return int(event.code) if _NUMBER.fullmatch(event.code) else event.code


def _is_asked(verdict: Judgement, code: str) -> bool:
    return verdict.receipt_types is None or bool(verdict.receipt_types & int(code))


def _batched(items: list[_Item], size: int) -> Iterator[list[_Item]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _late_s(rule: Rule | None) -> float:
    return LATE_S if rule is None or rule.delay_s is None else rule.delay_s
