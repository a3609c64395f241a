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
from tocsin.online.catch_up import CatchUp, MissedPush
from tocsin.online.frames import encode, push_of
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


class OnlineConnection:
    """One connection: its session, the way out, and the device once it has registered."""

    __slots__ = ("address", "app", "catching_up", "device", "link", "secret", "session", "ticks_at")

    def __init__(self, link: ClientLink, session: Session, address: str) -> None:
        self.link = link
        self.session = session
        self.address = address
        self.app = 0
        self.device: Device | None = None
        self.secret = ""
        self.catching_up: asyncio.Task[None] | None = None
        self.ticks_at = 0
        """The second in which its session is looked at next."""

    @property
    def is_open(self) -> bool:
        """Whether its session may still say something."""
        return self.session.state is not SessionState.CLOSED


class Hub:
    """All connections of this process."""

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
        self._missed = CatchUp(store, books, clock)
        self._connections: dict[tuple[int, int], OnlineConnection] = {}
        self._of_user: dict[tuple[str, str], dict[OnlineConnection, None]] = {}
        """Lines by sdkappid and UserID, as a kick names them."""
        self._open: set[OnlineConnection] = set()
        self._here: dict[int, BitMap] = {}
        self._wheel: dict[int, dict[OnlineConnection, None]] = {}
        """Open connections by the second of their next tick; each stands there once."""
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
            connection = self._connections.get((task.app, number))
            if connection is not None and self._write(connection, task, data, audience):
                written.add(number)
        return written

    async def revoke(self, task: Task) -> None:
        """Tell those it was written to, on this connection or an earlier one."""
        self._recalled.put((task.app, task.number), value=True)
        here = BitMap(self.connected(task.app))
        if not here:
            return
        try:
            told = here & await self._missed.written(task.app, task.number)
        except StoreError as fault:
            self._log.warning("recall told to all", app=task.app, fault=str(fault))
            told = here
        for number in told:
            connection = self._connections.get((task.app, number))
            if connection is not None:
                self._do(connection, connection.session.revoke(task.task_id))

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

    def _write(
        self, connection: OnlineConnection, task: Task, data: bytes, audience: BitMap
    ) -> bool:
        """The last look, without a pause between it and the writing."""
        device = connection.device
        if device is None or not _may_be_shown(device, audience) or self._is_over(task):
            return False
        effects = connection.session.push(task.task_id, data)
        self._do(connection, effects)
        return bool(effects) and connection.is_open

    # connections

    @property
    def is_full(self) -> bool:
        """Whether another connection has to be sent away."""
        return self._is_draining or len(self._open) >= self.settings.connections_max

    def open(self, link: ClientLink, address: str) -> OnlineConnection:
        """A client has connected."""
        session = Session(self.settings.session_limits, self._clock.now())
        connection = OnlineConnection(link, session, address)
        self._open.add(connection)
        self._schedule(connection)
        return connection

    async def take(self, connection: OnlineConnection, data: str | bytes) -> None:
        """One frame from a client. Returns when everything it asked for is done."""
        for effect in connection.session.receive_frame(data, self._clock.now()):
            match effect:
                case RegisterDevice(hello):
                    await self._join(connection, hello)
                case BookReport(name, stage):
                    await self._book(connection, name, stage)
                case LeaveService(unregister):
                    await self._leave(connection, is_unregistering=unregister)
                case SendFrame() | CloseConnection():
                    self._do(connection, [effect])

    def gone(self, connection: OnlineConnection) -> None:
        """The connection has ended, whoever ended it."""
        connection.session.end(GOING)
        self._open.discard(connection)
        self._unschedule(connection)
        self._detach(connection)
        if connection.catching_up is not None:
            connection.catching_up.cancel()

    async def _join(self, connection: OnlineConnection, hello: Hello) -> None:
        try:
            registered = await self._registrar.register(hello, connection.address)
        except CallError as fault:
            self._do(connection, connection.session.end(REFUSED, fault.code, fault.info))
            return
        except StoreError as fault:
            self._log.warning("hello refused", app=hello.sdkappid, fault=str(fault))
            self._do(connection, connection.session.end(REFUSED, 91000))
            return
        device = registered.device
        connection.secret = hello.secret or registered.secret
        effects = connection.session.joined(
            device.registration_id, registered.secret, device.user_name, hello.known
        )
        if effects:
            self._attach(connection, hello.sdkappid, device)
            self._do(connection, effects)
            if self._is_draining:
                self._send_away(connection)
            self._start_catching_up(connection, hello.known)

    async def _book(self, connection: OnlineConnection, name: str, stage: Stage) -> None:
        device = connection.device
        if device is None:
            return
        try:
            await self._registrar.report(device, connection.app, name, stage, ONLINE)
        except CallError as fault:
            self._do(connection, connection.session.not_booked(name, stage, fault))
            return
        except StoreError as fault:
            # Unconfirmed: the client says it again, or the vendor leg goes.
            self._log.warning("ack not booked", app=connection.app, fault=str(fault))
            return
        self._do(connection, connection.session.booked(name, stage))

    async def _leave(self, connection: OnlineConnection, *, is_unregistering: bool) -> None:
        device = connection.device
        if device is None:
            return
        name = device.registration_id
        try:
            if is_unregistering:
                await self._registrar.unregister(connection.app, name, connection.secret)
            else:
                hello = Hello(
                    sdkappid=connection.app,
                    registration_id=name,
                    secret=connection.secret,
                    is_logout=True,
                )
                await self._registrar.register(hello, connection.address)
        except (CallError, StoreError) as fault:
            self._log.warning("leave refused", app=connection.app, fault=str(fault))

    # catching up

    async def _catch_up(self, connection: OnlineConnection, known: Iterable[str]) -> None:
        """Catch up with what was pushed before this connection. The store may be sick."""
        try:
            await self._offer_missed(connection, frozenset(known))
        except StoreError as fault:
            self._log.warning("not caught up", app=connection.app, fault=str(fault))

    async def _offer_missed(self, connection: OnlineConnection, known: frozenset[str]) -> None:
        device = connection.device
        assert device is not None
        for name in known:
            task = await self._store.task_by_id(connection.app, name)
            if task is not None and task.is_recalled:
                self._do(connection, connection.session.revoke(name))
        for missed in () if self._is_held() else await self._missed.of(connection.app, device):
            if missed.task.task_id in known:
                # It has this push: its ack was lost with the connection before.
                await self._book(connection, missed.task.task_id, Stage.REACHED)
            else:
                await self._offer(connection, device, missed)

    def offer_again(self) -> None:
        """MissedPush to everyone connected what was held back when they came."""
        for connection in [each for each in self._connections.values() if each.catching_up is None]:
            self._start_catching_up(connection, ())

    def _start_catching_up(self, connection: OnlineConnection, known: Iterable[str]) -> None:
        connection.catching_up = self._start(self._catch_up(connection, known))
        connection.catching_up.add_done_callback(lambda _: _forget_catching_up(connection))

    async def _offer(
        self, connection: OnlineConnection, device: Device, missed: MissedPush
    ) -> None:
        task = missed.task
        if not missed.is_repeat:
            await self._registrar.book_leg(device, task)
        audience = await self._books.audience(connection.app, task.number)
        self._write(connection, task, encode(push_of(task, missed.language)), audience)

    # polls

    async def poll(
        self, app: int, device: Device, known: Sequence[str], wait_s: float
    ) -> list[bytes]:
        """Be a connection until there is a frame for the device, or for `wait_s`."""
        box = PollBox()
        session = Session(self.settings.session_limits, self._clock.now())
        session.resume(known)
        connection = OnlineConnection(box, session, "")
        self._attach(connection, app, device)
        if self._is_draining:
            self._send_away(connection)
        connection.catching_up = self._start(self._catch_up(connection, known))
        waiting = asyncio.ensure_future(self._clock.sleep(min(wait_s, self.settings.poll_max_s)))
        filled = asyncio.ensure_future(box.filled())
        try:
            await asyncio.wait({waiting, filled}, return_when=asyncio.FIRST_COMPLETED)
            if box.frames:
                # Everything that is on offer goes into one answer.
                await asyncio.wait({connection.catching_up}, timeout=GATHER_S)
        finally:
            waiting.cancel()
            filled.cancel()
            self.gone(connection)
        return box.frames

    # hints

    def take_device(self, payload: bytes) -> None:
        """A device changed hands or left, by whichever door (`pipeline/register.py`)."""
        app, number, user, user_name, is_registered = msgspec.json.decode(
            payload, type=tuple[int, int, int, str, bool]
        )
        connection = self._connections.get((app, number))
        if connection is None or connection.device is None:
            return
        if not is_registered:
            self._do(connection, connection.session.end(GONE))
            return
        self._forget_user(connection)
        device = msgspec.structs.replace(connection.device, user=user, user_name=user_name)
        connection.device = device
        self._note_user(connection, device)

    def take_kick(self, payload: bytes) -> None:
        """A UserID's earlier logins are void: `<sdkappid>/<UserID>`."""
        app, _, user = payload.decode().partition("/")
        for connection in list(self._of_user.get((app, user), ())):
            self._do(connection, connection.session.end(KICKED, 70052))

    def take_closed_app(self, payload: bytes) -> None:
        """Nobody may listen for an app any more: its sdkappid."""
        app = int(payload)
        for number in list(self._here.get(app, ())):
            connection = self._connections[app, number]
            self._do(connection, connection.session.end(REFUSED, 60016))

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
            for connection in self._wheel.pop(second):
                if connection.is_open:
                    self._do(connection, connection.session.tick(now))
                    self._schedule(connection)

    async def drain(self, patience_s: float | None = None) -> int:
        """Ask every client to come back after the restart, then close what is left.

        Answers how many clients were left; they get `patience_s` to leave by themselves.
        """
        self._is_draining = True
        connections = self._open | set(self._connections.values())
        self._spread_s = max(RETURN_SPREAD_MIN_S, len(connections) / RETURNS_PER_S)
        for connection in connections:
            self._send_away(connection)
        left_s = self.settings.drain_s
        if patience_s is not None:
            left_s = min(left_s, patience_s)
        while self._open and left_s > 0:
            await self._clock.sleep(DRAIN_LOOK_S)
            left_s -= DRAIN_LOOK_S
        left = self._open | set(self._connections.values())
        for connection in left:
            self._do(connection, connection.session.end(GOING))
        return len(left)

    def _send_away(self, connection: OnlineConnection) -> None:
        """Ask a client to come back once the service is up again, not all at the same moment."""
        self._returning += 1
        # A stride of the golden ratio spreads any number of clients evenly.
        share = self._returning * GOLDEN_RATIO % 1.0
        after_s = self.settings.restart_s + share * self._spread_s
        self._do(connection, connection.session.drain(round(after_s, 3)))

    @property
    def count(self) -> int:
        """Devices connected to this process."""
        return len(self._connections)

    def _schedule(self, connection: OnlineConnection) -> None:
        if connection.is_open:
            at = max(connection.session.next_tick(), self._clock.now())
            connection.ticks_at = int(at) + 1
            self._wheel.setdefault(connection.ticks_at, {})[connection] = None

    def _unschedule(self, connection: OnlineConnection) -> None:
        # Who comes and goes leaves nothing behind, however often.
        connections = self._wheel.get(connection.ticks_at)
        if connections is not None:
            connections.pop(connection, None)
            if not connections:
                del self._wheel[connection.ticks_at]

    # effects

    def _do(self, connection: OnlineConnection, effects: Iterable[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, SendFrame):
                if not connection.link.write(effect.data):
                    self._metrics.count("slow_readers")
                    connection.session.end(GOING)
                    self._detach(connection)
            elif isinstance(effect, CloseConnection):
                self._detach(connection)
                connection.link.close(effect.end)

    def _attach(self, connection: OnlineConnection, app: int, device: Device) -> None:
        key = (app, device.number)
        earlier = self._connections.get(key)
        if earlier is not None:
            self._do(earlier, earlier.session.end(REPLACED))
        connection.app, connection.device = app, device
        self._connections[key] = connection
        self._note_user(connection, device)
        self._here.setdefault(app, BitMap()).add(device.number)
        self._metrics.set("online_sessions", len(self._connections))

    def _detach(self, connection: OnlineConnection) -> None:
        if connection.device is None:
            return
        key = (connection.app, connection.device.number)
        if self._connections.get(key) is connection:
            del self._connections[key]
            self._forget_user(connection)
            self._here[connection.app].discard(connection.device.number)
            self._metrics.set("online_sessions", len(self._connections))

    def _note_user(self, connection: OnlineConnection, device: Device) -> None:
        if device.user_name:
            self._of_user.setdefault((str(connection.app), device.user_name), {})[connection] = None

    def _forget_user(self, connection: OnlineConnection) -> None:
        if connection.device is None:
            return
        key = (str(connection.app), connection.device.user_name)
        connections = self._of_user.get(key)
        if connections is not None:
            connections.pop(connection, None)
            if not connections:
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
            self._log.error("catching up failed", exc_info=fault)


def _forget_catching_up(connection: OnlineConnection) -> None:
    # A finished task is of no use to an idle connection, and there may be many of those.
    connection.catching_up = None


def _may_be_shown(device: Device, audience: BitMap) -> bool:
    return device.is_registered and is_addressed(device, audience)


def _fits(hub: Hub) -> Presence:
    return hub
