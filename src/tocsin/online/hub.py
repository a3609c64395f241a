"""The hub: every connected device of this process, and what is written to them.

It fulfils `Presence`. Three rules hold throughout. A leg is in the books before its first byte is
written. A push is written only where the frozen audience names the device as it is at that
moment. An ack is confirmed only when it is durable.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any

import msgspec
from msgspec import Struct
from pyroaring import BitMap

from tocsin.clock import Clock
from tocsin.domain.bounded import BoundedCache
from tocsin.domain.device import Device, is_addressed
from tocsin.domain.hello import Hello
from tocsin.domain.legs import ONLINE
from tocsin.domain.task import Report, Stage, Task, closes
from tocsin.errors import CallError, StoreError
from tocsin.log import get_logger
from tocsin.metrics import Metrics
from tocsin.online.frames import encode, push_of
from tocsin.online.offers import Offer, Offers
from tocsin.online.outbox import ClientLink, PollBox
from tocsin.online.session import (
    GOING,
    GONE,
    KICKED,
    REFUSED,
    REPLACED,
    BookReport,
    CloseConnection,
    Effect,
    LeaveService,
    RegisterDevice,
    SendFrame,
    Session,
    SessionLimits,
    SessionState,
)
from tocsin.ports import Presence, Registrar, TaskReader
from tocsin.store import Store

RECALLED_MAX = 10_000
TICK_S = 1.0
DRAIN_LOOK_S = 0.1
GOLDEN_RATIO = 0.618_033_988_749_895
RETURNS_PER_S = 1_000
"""Clients that are asked to come back within one second after a restart."""
RETURN_SPREAD_MIN_S = 5.0
"""Over so long they are spread at least: nobody knows to the second how long a restart takes."""
GATHER_S = 1.0
"""How long a poll that has something to answer waits for the rest of its offers."""


class OnlineSettings(Struct, frozen=True, kw_only=True):
    """The online channel's bounds."""

    connections_max: int = 100_000
    """Connections of this process; more are asked to come back later."""
    queued_bytes_max: int = 262_144
    """Bytes that may wait for a client that does not read; then it is cut off."""
    poll_max_s: float = 60.0
    """Longest time that a poll over plain HTTP waits."""
    drain_s: float = 5.0
    """How long clients get to leave by themselves when the service stops."""
    restart_s: float = 5.0
    """How long a restart takes: no client is asked to come back sooner."""
    session_limits: SessionLimits = SessionLimits()


class Line:
    """One connection: its session, the way out, and the device once it has registered."""

    __slots__ = ("address", "app", "device", "link", "offering", "secret", "session", "ticks_at")

    def __init__(self, link: ClientLink, session: Session, address: str) -> None:
        self.link = link
        self.session = session
        self.address = address
        self.app = 0
        self.device: Device | None = None
        self.secret = ""
        self.offering: asyncio.Task[None] | None = None
        self.ticks_at = 0
        """The second in which its session is looked at next."""

    @property
    def is_open(self) -> bool:
        """Whether its session may still say something."""
        return self.session.state is not SessionState.CLOSED


class Hub:
    """All lines of this process."""

    def __init__(
        self,
        *,
        store: Store,
        books: TaskReader,
        registrar: Registrar,
        clock: Clock,
        metrics: Metrics,
        settings: OnlineSettings | None = None,
        is_held: Callable[[], bool] = lambda: False,  # after a restore: nothing may be pushed yet
    ) -> None:
        self.settings = settings or OnlineSettings()
        self._is_held = is_held
        self._store = store
        self._registrar = registrar
        self._clock = clock
        self._metrics = metrics
        self._books = books
        self._offers = Offers(store, books, clock)
        self._lines: dict[tuple[int, int], Line] = {}
        self._of_user: dict[tuple[str, str], dict[Line, None]] = {}
        """Lines by sdkappid and UserID, as a kick names them."""
        self._open: set[Line] = set()
        self._here: dict[int, BitMap] = {}
        self._wheel: dict[int, dict[Line, None]] = {}
        """Open lines by the second of their next tick; each stands there once."""
        self._recalled: BoundedCache[tuple[int, int], bool] = BoundedCache(RECALLED_MAX)
        self._under_way: set[asyncio.Task[None]] = set()
        self._is_draining = False
        self._returning = 0
        """Clients that were asked to come back after the restart."""
        self._spread_s = RETURN_SPREAD_MIN_S
        self._log = get_logger(__name__)

    # presence

    def connected(self, app: int) -> BitMap:
        """Devices connected here. Read it, never change it."""
        return self._here.get(app, BitMap())

    async def push(self, task: Task, language: int, devices: Sequence[int]) -> BitMap:
        """Book the legs, then write; answers the devices that it was written to."""
        here = BitMap(devices) & self.connected(task.app)
        if not here or self._is_held() or self._is_over(task):
            return BitMap()
        audience = await self._books.audience(task.app, task.number)
        rows = await self._store.devices(task.app, here)
        wanted = BitMap([row.number for row in rows.values() if _may_be_shown(row, audience)])
        if not wanted:
            return BitMap()
        await self._store.append_reports(task.app, [self._leg(task, wanted)])
        data = encode(push_of(task, language))
        written = BitMap()
        for number in wanted:
            line = self._lines.get((task.app, number))
            if line is not None and self._write(line, task, data, audience):
                written.add(number)
        return written

    async def revoke(self, task: Task) -> None:
        """Tell those it was written to, on this connection or an earlier one."""
        self._recalled.put((task.app, task.number), value=True)
        here = BitMap(self.connected(task.app))
        if not here:
            return
        try:
            told = here & await self._offers.written(task.app, task.number)
        except StoreError as fault:
            self._log.warning("recall told to all", app=task.app, fault=str(fault))
            told = here
        for number in told:
            line = self._lines.get((task.app, number))
            if line is not None:
                self._do(line, line.session.revoke(task.task_id))

    def _leg(self, task: Task, devices: BitMap) -> Report:
        return Report(
            task=task.number,
            stage=Stage.SENT,
            channel=ONLINE,
            at=int(self._clock.now()),
            members=devices.serialize(),
        )

    def _is_over(self, task: Task) -> bool:
        is_recalled = (task.app, task.number) in self._recalled
        return is_recalled or closes(task, self._clock.now()) is not None

    def _write(self, line: Line, task: Task, data: bytes, audience: BitMap) -> bool:
        """The last look, without a pause between it and the writing."""
        device = line.device
        if device is None or not _may_be_shown(device, audience) or self._is_over(task):
            return False
        effects = line.session.push(task.task_id, data)
        self._do(line, effects)
        return bool(effects) and line.is_open

    # lines

    @property
    def is_full(self) -> bool:
        """Whether another connection has to be sent away."""
        return self._is_draining or len(self._open) >= self.settings.connections_max

    def open(self, link: ClientLink, address: str) -> Line:
        """A client has connected."""
        line = Line(link, Session(self.settings.session_limits, self._clock.now()), address)
        self._open.add(line)
        self._schedule(line)
        return line

    async def take(self, line: Line, data: str | bytes) -> None:
        """One frame from a client. Returns when everything it asked for is done."""
        for effect in line.session.receive_frame(data, self._clock.now()):
            match effect:
                case RegisterDevice(hello):
                    await self._join(line, hello)
                case BookReport(name, stage):
                    await self._book(line, name, stage)
                case LeaveService(unregister):
                    await self._leave(line, is_unregistering=unregister)
                case SendFrame() | CloseConnection():
                    self._do(line, [effect])

    def gone(self, line: Line) -> None:
        """The connection has ended, whoever ended it."""
        line.session.end(GOING)
        self._open.discard(line)
        self._unschedule(line)
        self._detach(line)
        if line.offering is not None:
            line.offering.cancel()

    async def _join(self, line: Line, hello: Hello) -> None:
        try:
            registered = await self._registrar.register(hello, line.address)
        except CallError as fault:
            self._do(line, line.session.end(REFUSED, fault.code, fault.info))
            return
        except StoreError as fault:
            self._log.warning("hello refused", app=hello.sdkappid, fault=str(fault))
            self._do(line, line.session.end(REFUSED, 91000))
            return
        device = registered.device
        line.secret = hello.secret or registered.secret
        effects = line.session.joined(
            device.registration_id, registered.secret, device.user_name, hello.known
        )
        if effects:
            self._attach(line, hello.sdkappid, device)
            self._do(line, effects)
            if self._is_draining:
                self._send_away(line)
            self._start_offering(line, hello.known)

    async def _book(self, line: Line, name: str, stage: Stage) -> None:
        device = line.device
        if device is None:
            return
        try:
            await self._registrar.report(device, line.app, name, stage, ONLINE)
        except CallError as fault:
            self._do(line, line.session.not_booked(name, stage, fault))
            return
        except StoreError as fault:
            # Unconfirmed: the client says it again, or the vendor leg goes.
            self._log.warning("ack not booked", app=line.app, fault=str(fault))
            return
        self._do(line, line.session.booked(name, stage))

    async def _leave(self, line: Line, *, is_unregistering: bool) -> None:
        device = line.device
        if device is None:
            return
        name = device.registration_id
        try:
            if is_unregistering:
                await self._registrar.unregister(line.app, name, line.secret)
            else:
                hello = Hello(
                    sdkappid=line.app, registration_id=name, secret=line.secret, is_logout=True
                )
                await self._registrar.register(hello, line.address)
        except (CallError, StoreError) as fault:
            self._log.warning("leave refused", app=line.app, fault=str(fault))

    # offers

    async def _offer(self, line: Line, known: Iterable[str]) -> None:
        """Catch up with what was pushed before this connection. The store may be sick."""
        try:
            await self._catch_up(line, frozenset(known))
        except StoreError as fault:
            self._log.warning("no offers", app=line.app, fault=str(fault))

    async def _catch_up(self, line: Line, known: frozenset[str]) -> None:
        device = line.device
        assert device is not None
        for name in known:
            task = await self._store.task_by_id(line.app, name)
            if task is not None and task.is_recalled:
                self._do(line, line.session.revoke(name))
        for offer in () if self._is_held() else await self._offers.of(line.app, device):
            if offer.task.task_id in known:
                # It has this push: its ack was lost with the connection before.
                await self._book(line, offer.task.task_id, Stage.REACHED)
            else:
                await self._make(line, device, offer)

    def offer_again(self) -> None:
        """Offer to everyone connected what was held back when they came."""
        for line in [each for each in self._lines.values() if each.offering is None]:
            self._start_offering(line, ())

    def _start_offering(self, line: Line, known: Iterable[str]) -> None:
        line.offering = self._start(self._offer(line, known))
        line.offering.add_done_callback(lambda _: _forget_offering(line))

    async def _make(self, line: Line, device: Device, offer: Offer) -> None:
        task = offer.task
        if not offer.is_repeat:
            await self._registrar.book_leg(device, task)
        audience = await self._books.audience(line.app, task.number)
        self._write(line, task, encode(push_of(task, offer.language)), audience)

    # polls

    async def poll(
        self, app: int, device: Device, known: Sequence[str], wait_s: float
    ) -> list[bytes]:
        """Be a connection until there is a frame for the device, or for `wait_s`."""
        box = PollBox()
        session = Session(self.settings.session_limits, self._clock.now())
        session.resume(known)
        line = Line(box, session, "")
        self._attach(line, app, device)
        if self._is_draining:
            self._send_away(line)
        line.offering = self._start(self._offer(line, known))
        waiting = asyncio.ensure_future(self._clock.sleep(min(wait_s, self.settings.poll_max_s)))
        filled = asyncio.ensure_future(box.filled())
        try:
            await asyncio.wait({waiting, filled}, return_when=asyncio.FIRST_COMPLETED)
            if box.frames:
                # Everything that is on offer goes into one answer.
                await asyncio.wait({line.offering}, timeout=GATHER_S)
        finally:
            waiting.cancel()
            filled.cancel()
            self.gone(line)
        return box.frames

    # hints

    def take_device(self, payload: bytes) -> None:
        """A device changed hands or left, by whichever door (`pipeline/register.py`)."""
        app, number, user, user_name, is_registered = msgspec.json.decode(
            payload, type=tuple[int, int, int, str, bool]
        )
        line = self._lines.get((app, number))
        if line is None or line.device is None:
            return
        if not is_registered:
            self._do(line, line.session.end(GONE))
            return
        self._forget_user(line)
        line.device = msgspec.structs.replace(line.device, user=user, user_name=user_name)
        self._note_user(line, line.device)

    def take_kick(self, payload: bytes) -> None:
        """A UserID's earlier logins are void: `<sdkappid>/<UserID>`."""
        app, _, user = payload.decode().partition("/")
        for line in list(self._of_user.get((app, user), ())):
            self._do(line, line.session.end(KICKED, 70052))

    def take_closed_app(self, payload: bytes) -> None:
        """Nobody may listen for an app any more: its sdkappid."""
        app = int(payload)
        for number in list(self._here.get(app, ())):
            line = self._lines[app, number]
            self._do(line, line.session.end(REFUSED, 60016))

    # time

    async def run(self) -> None:
        """Ping silent connections and close dead ones, until cancelled."""
        while True:
            await self._clock.sleep(TICK_S)
            self.tick()

    def tick(self) -> None:
        """Ping the silent and close the dead whose time has come."""
        now = self._clock.now()
        for second in sorted(second for second in self._wheel if second <= now):
            for line in self._wheel.pop(second):
                if line.is_open:
                    self._do(line, line.session.tick(now))
                    self._schedule(line)

    async def drain(self, patience_s: float | None = None) -> int:
        """Ask every client to come back after the restart, then close what is left.

        Answers how many clients were left; they get `patience_s` to leave by themselves.
        """
        self._is_draining = True
        lines = self._open | set(self._lines.values())
        self._spread_s = max(RETURN_SPREAD_MIN_S, len(lines) / RETURNS_PER_S)
        for line in lines:
            self._send_away(line)
        left_s = self.settings.drain_s
        if patience_s is not None:
            left_s = min(left_s, patience_s)
        while self._open and left_s > 0:
            await self._clock.sleep(DRAIN_LOOK_S)
            left_s -= DRAIN_LOOK_S
        left = self._open | set(self._lines.values())
        for line in left:
            self._do(line, line.session.end(GOING))
        return len(left)

    def _send_away(self, line: Line) -> None:
        """Ask a client to come back once the service is up again, not all at the same moment."""
        self._returning += 1
        # A stride of the golden ratio spreads any number of clients evenly.
        share = self._returning * GOLDEN_RATIO % 1.0
        after_s = self.settings.restart_s + share * self._spread_s
        self._do(line, line.session.drain(round(after_s, 3)))

    @property
    def count(self) -> int:
        """Devices connected to this process."""
        return len(self._lines)

    def _schedule(self, line: Line) -> None:
        if line.is_open:
            at = max(line.session.next_tick(), self._clock.now())
            line.ticks_at = int(at) + 1
            self._wheel.setdefault(line.ticks_at, {})[line] = None

    def _unschedule(self, line: Line) -> None:
        # Who comes and goes leaves nothing behind, however often.
        lines = self._wheel.get(line.ticks_at)
        if lines is not None:
            lines.pop(line, None)
            if not lines:
                del self._wheel[line.ticks_at]

    # effects

    def _do(self, line: Line, effects: Iterable[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, SendFrame):
                if not line.link.write(effect.data):
                    self._metrics.count("slow_readers")
                    line.session.end(GOING)
                    self._detach(line)
            elif isinstance(effect, CloseConnection):
                self._detach(line)
                line.link.close(effect.end)

    def _attach(self, line: Line, app: int, device: Device) -> None:
        key = (app, device.number)
        earlier = self._lines.get(key)
        if earlier is not None:
            self._do(earlier, earlier.session.end(REPLACED))
        line.app, line.device = app, device
        self._lines[key] = line
        self._note_user(line, device)
        self._here.setdefault(app, BitMap()).add(device.number)
        self._metrics.set("online_sessions", len(self._lines))

    def _detach(self, line: Line) -> None:
        if line.device is None:
            return
        key = (line.app, line.device.number)
        if self._lines.get(key) is line:
            del self._lines[key]
            self._forget_user(line)
            self._here[line.app].discard(line.device.number)
            self._metrics.set("online_sessions", len(self._lines))

    def _note_user(self, line: Line, device: Device) -> None:
        if device.user_name:
            self._of_user.setdefault((str(line.app), device.user_name), {})[line] = None

    def _forget_user(self, line: Line) -> None:
        if line.device is None:
            return
        key = (str(line.app), line.device.user_name)
        lines = self._of_user.get(key)
        if lines is not None:
            lines.pop(line, None)
            if not lines:
                del self._of_user[key]

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        fault = None if task.cancelled() else task.exception()
        if fault is not None:
            self._metrics.count("loop_errors", loop="online")
            self._log.error("offers failed", exc_info=fault)


def _forget_offering(line: Line) -> None:
    # A finished task is of no use to an idle line, and there may be many of those.
    line.offering = None


def _may_be_shown(device: Device, audience: BitMap) -> bool:
    return device.is_registered and is_addressed(device, audience)


def _fits(hub: Hub) -> Presence:
    return hub
