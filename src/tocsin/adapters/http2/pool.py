"""Connections over HTTP/2 to one origin: who waits for which, deadlines, successors.

An exchange waits in a lane, unsent, until its connection has room. Then `may_begin` is asked, its
bytes are handed out in the same step, and from there on the connection knows whether it is in
doubt. All that begins in a turn of the event loop is written at once. A lane whose connection
drains or dies gives the exchanges that still wait to another one: they have not begun, so nothing
is repeated.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

from tocsin.adapters.http2.connection import Exchange, Http2Connection
from tocsin.adapters.http2.transport import (
    Http2Socket,
    OriginWay,
    SpeaksHttp1,
    TunnelFault,
    open_socket,
)
from tocsin.adapters.http_limits import HttpLimits
from tocsin.conversation import Fault, Request, Response

SPEAKS_HTTP1: Final = Fault("unsent", "the server does not speak HTTP/2")
"""Says, by its identity, that the server has chosen HTTP/1.1."""
HTTP1_KEPT_S: Final = 3_600.0
"""Seconds after which such a server is asked again."""
GOODBYE_MAX_S: Final = 1.0
"""Seconds that closing waits for the peers."""


class TimedExchange(Exchange):
    """An exchange that somebody waits for until its deadline."""

    __slots__ = ("deadline_at", "future", "lane", "may_begin")

    def __init__(
        self,
        request: Request,
        deadline_at: float,
        may_begin: Callable[[], bool] | None,
        future: asyncio.Future[Response | Fault],
    ) -> None:
        super().__init__(request)
        self.deadline_at = deadline_at
        self.may_begin = may_begin
        self.future = future
        self.lane: OriginLane | None = None

    def end(self, answer: Response | Fault) -> None:
        if self.answer is None:
            self.answer = answer
            if not self.future.done():
                self.future.set_result(answer)


class OriginLane:
    """One connection, while it opens and while it serves, and the calls that wait for it."""

    def __init__(self, owner: OriginPool) -> None:
        self._owner = owner
        self.waiting: deque[TimedExchange] = deque()
        self.socket: Http2Socket | None = None
        self._loop = asyncio.get_running_loop()
        self._is_scheduled = False
        self.opening = asyncio.create_task(self._open())

    @property
    def load(self) -> int:
        """Calls that wait or are under way."""
        under_way = 0 if self.socket is None else self.socket.connection.under_way
        return under_way + len(self.waiting)

    @property
    def is_full(self) -> bool:
        socket = self.socket
        most = self._owner.streams_max if socket is None else socket.connection.streams_max
        return self.load >= most

    def put(self, exchange: TimedExchange) -> None:
        """Let `exchange` wait; it begins at the end of this turn of the loop if there is room."""
        exchange.lane = self
        self.waiting.append(exchange)
        if not self._is_scheduled and self.socket is not None:
            self._is_scheduled = True
            self._loop.call_soon(self._begin)

    def drop(self, exchange: TimedExchange, reason: str) -> None:
        """Wait no longer for `exchange`; one that has begun is reset and in doubt."""
        if exchange.stream and self.socket is not None:
            self.socket.connection.cancel(exchange, reason)
            self.socket.flush()
        exchange.end(Fault("maybe_sent" if exchange.stream else "unsent", reason))

    async def close(self, reason: str) -> None:
        """End all calls and the connection."""
        self.fail(Fault("unsent", reason))
        self.opening.cancel()
        await asyncio.wait([self.opening])
        if self.socket is not None:
            self.socket.close(reason)
            await asyncio.wait([self.socket.lost], timeout=GOODBYE_MAX_S)
            self.socket.abort()

    def fail(self, fault: Fault) -> None:
        """End the calls that wait."""
        while self.waiting:
            self.waiting.popleft().end(fault)

    def forget_ended(self) -> None:
        """Keep none that has ended while it waited."""
        if any(exchange.answer is not None for exchange in self.waiting):
            self.waiting = deque(exchange for exchange in self.waiting if exchange.answer is None)

    async def _open(self) -> None:
        owner = self._owner
        fault = Fault("unsent", f"the connection could not be opened{owner.by_proxy}")
        try:
            self.socket = await open_socket(owner.way, self._make, owner.limits)
        except SpeaksHttp1:
            fault = SPEAKS_HTTP1
        except (OSError, TunnelFault, ValueError) as error:
            text = "it took too long" if isinstance(error, TimeoutError) else str(error)
            fault = Fault("unsent", f"cannot connect: {text}{owner.by_proxy}")
        finally:
            if self.socket is None:
                owner.note_unopened(self, fault)
        if self.socket is not None:
            owner.note_opened(self)
            self._change()

    def _make(self) -> Http2Socket:
        limits = self._owner.limits
        connection = Http2Connection(
            self._owner.way.origin,
            streams_max=limits.streams_max,
            body_max_bytes=limits.body_max_bytes,
        )
        return Http2Socket(connection, limits, self._change)

    def _change(self) -> None:
        """Requests have ended, or the connection has."""
        socket = self.socket
        if socket is None:
            return
        if not socket.is_usable:
            self._owner.note_drained(self)
        elif self.waiting:
            self._begin()

    def _begin(self) -> None:
        """Begin as many calls as there is room for."""
        self._is_scheduled = False
        socket, waiting = self.socket, self.waiting
        if socket is None or socket.is_paused:
            return
        connection = socket.connection
        while waiting and connection.room > 0:
            exchange = waiting.popleft()
            if exchange.answer is not None:
                continue
            if exchange.may_begin is not None and not exchange.may_begin():
                exchange.end(Fault("unsent", "it may no longer begin"))
                continue
            connection.request(exchange)
        socket.used_at = self._loop.time()
        socket.flush()


class OriginPool:
    """All connections to an origin that share whom they trust, who they are and their proxy."""

    def __init__(self, way: OriginWay, limits: HttpLimits, *, lanes: int, lanes_max: int) -> None:
        """`lanes` connections share the load; up to `lanes_max` are opened once those are full."""
        self.way = way
        self.limits = limits
        self.by_proxy = "" if way.tunnel is None else f", through the proxy {way.tunnel.proxy.url}"
        self.streams_max = limits.streams_max
        """What the newest connection takes at once."""
        self._lanes_wanted = lanes
        self._lanes_max = max(lanes, lanes_max)
        self._lanes: list[OriginLane] = []
        self._draining: list[OriginLane] = []
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf
        self._http1_until = -math.inf

    @property
    def load(self) -> int:
        """Calls that wait or are under way."""
        return sum(lane.load for lane in self._every_lane())

    async def send(
        self, request: Request, deadline_at: float, may_begin: Callable[[], bool] | None
    ) -> Response | Fault:
        """One request; `SPEAKS_HTTP1` if the server has chosen that, and has not seen it then."""
        if self._http1_until > self._loop.time():
            return SPEAKS_HTTP1
        exchange = TimedExchange(request, deadline_at, may_begin, self._loop.create_future())
        self._lane().put(exchange)
        if deadline_at < self._timer_at:
            self._watch(deadline_at)
        try:
            return await exchange.future
        except asyncio.CancelledError:
            if exchange.lane is not None:
                exchange.lane.drop(exchange, "the caller was cancelled")
            raise

    async def close(self, reason: str) -> None:
        """End all calls and all connections."""
        if self._timer is not None:
            self._timer.cancel()
        lanes = list(self._every_lane())
        self._lanes, self._draining = [], []
        await asyncio.gather(*(lane.close(reason) for lane in lanes))

    # --- what happens to lanes -------------------------------------------------------------

    def note_opened(self, lane: OriginLane) -> None:
        """Others may open now for what is more than this connection takes at once."""
        assert lane.socket is not None
        self.streams_max = lane.socket.connection.streams_max
        surplus = [lane.waiting.pop() for _ in range(lane.load - self.streams_max)]
        for exchange in reversed(surplus):
            self._lane().put(exchange)

    def note_unopened(self, lane: OriginLane, fault: Fault) -> None:
        """What waits for this connection may have another one."""
        if fault is SPEAKS_HTTP1:
            self._http1_until = self._loop.time() + HTTP1_KEPT_S
        self._remove(lane)
        if any(other.socket is not None for other in self._lanes):
            self._place_again(lane)
        else:
            lane.fail(fault)

    def note_drained(self, lane: OriginLane) -> None:
        """A connection takes no more requests; a successor takes what waits for it."""
        assert lane.socket is not None
        connection = lane.socket.connection
        self._remove(lane)
        if connection.is_over:
            if lane in self._draining:
                self._draining.remove(lane)
        elif lane not in self._draining:
            self._draining.append(lane)
        if not lane.waiting:
            return
        if connection.answered:
            self._place_again(lane)
        else:
            # One that has served nobody would have a successor that serves nobody either.
            lane.fail(Fault("unsent", f"the connection ended before it served{self.by_proxy}"))

    def _place_again(self, lane: OriginLane) -> None:
        while lane.waiting:
            self._lane().put(lane.waiting.popleft())

    def _remove(self, lane: OriginLane) -> None:
        if lane in self._lanes:
            self._lanes.remove(lane)

    def _every_lane(self) -> Iterable[OriginLane]:
        return (*self._lanes, *self._draining)

    def _lane(self) -> OriginLane:
        """The least busy lane; a new one where there are too few, or all are full."""
        lanes = self._lanes
        best: OriginLane | None = None
        least = 0
        for lane in lanes:
            load = lane.load
            if best is None or load < least:
                best, least = lane, load
        if best is not None:
            is_enough = not least or len(lanes) >= self._lanes_wanted
            if is_enough and (len(lanes) >= self._lanes_max or not best.is_full):
                return best
        lane = OriginLane(self)
        lanes.append(lane)
        return lane

    # --- deadlines -------------------------------------------------------------------------

    def _watch(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = at
        self._timer = self._loop.call_at(at, self._expire)

    def _expire(self) -> None:
        """End the calls whose deadline has passed, and wait for the next one."""
        self._timer, self._timer_at = None, math.inf
        now, earliest = self._loop.time(), math.inf
        for lane in self._every_lane():
            under_way = () if lane.socket is None else lane.socket.connection.exchanges
            for exchange in (*lane.waiting, *under_way):
                assert isinstance(exchange, TimedExchange)
                if exchange.answer is not None:
                    continue
                if exchange.deadline_at <= now:
                    lane.drop(exchange, f"no answer came in time{self.by_proxy}")
                else:
                    earliest = min(earliest, exchange.deadline_at)
            lane.forget_ended()
        if earliest < math.inf:
            self._watch(earliest)
