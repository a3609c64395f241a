"""`GET /metrics` for Prometheus, at an address of its own and never on the public port."""

from __future__ import annotations

import hmac
import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from tocsin.api.http import route
from tocsin.errors import StoreError
from tocsin.log import get_logger
from tocsin.metrics import CONTENT_TYPE, Metrics
from tocsin.pipeline.books import BooksReader
from tocsin.ports import Channels
from tocsin.store import Store

LOOPS = ("api", "channel", "dispatch", "online", "reload")
STATES = ("refused", "down", "paused", "doubtful")
BEARER = "Bearer "

Refresh = Callable[[], Awaitable[None]]


class PolledMetrics:
    """Figures that are read for each scrape, and series that must exist before their first fault.

    A series that begins with its first fault shows no increase, so an alert on it misses that
    fault. So the series of every credential exist with 0 from the first scrape on.
    """

    def __init__(
        self,
        store: Store,
        books: BooksReader,
        channels: Channels,
        metrics: Metrics,
        folder: Path,
    ) -> None:
        self._store = store
        self._books = books
        self._channels = channels
        self._metrics = metrics
        self._folder = folder
        self._queues: set[tuple[int, str]] = set()
        self._log = get_logger(__name__)

    async def refresh(self) -> None:
        """Read the disk, the backlog and the credentials.

        A figure that cannot be read keeps its last value: the others are needed most just then.
        """
        for loop in LOOPS:
            self._metrics.count("loop_errors", 0, loop=loop)
        try:
            disk = os.statvfs(self._folder)
            self._metrics.set("data_free_bytes", disk.f_bavail * disk.f_frsize)
            self._backlog(await self._store.depth())
            self._metrics.set("books_kept_bytes", self._books.bytes_kept)
            for app in await self._store.apps():
                self._metrics.set("broad_pushes", len(await self._store.broad(app)), app=app)
                for number in await self._channels.facts(app):
                    self._begin(f"{app}:{number}")
        except (StoreError, OSError) as fault:
            self._log.warning("figures not looked up", fault=str(fault))

    def _backlog(self, depth: Mapping[tuple[int, str], int]) -> None:
        self._queues |= depth.keys()
        for app, queue in self._queues:
            self._metrics.set("jobs_open", depth.get((app, queue), 0), app=app, queue=queue)

    def _begin(self, name: str) -> None:
        self._metrics.count("alarms", 0, credential=name)
        self._metrics.add("breaker_state", 0, credential=name)
        self._metrics.add("credential_tried_at_seconds", 0, credential=name)
        for state in STATES:
            self._metrics.add("credential_stopped", 0, credential=name, state=state)


def create(metrics: Metrics, refresh: Refresh, token: Callable[[], str]) -> Starlette:
    """The application of the metrics' address; with an empty token anybody may read."""

    async def show(request: Request) -> Response:
        if not _is_allowed(request, token()):
            return PlainTextResponse(
                "metrics.token is asked for: Authorization: Bearer TOKEN\n",
                401,
                {"WWW-Authenticate": "Bearer"},
            )
        await refresh()
        return Response(metrics.render(), media_type=CONTENT_TYPE)

    return Starlette(routes=[route("/metrics", show)])


def _is_allowed(request: Request, token: str) -> bool:
    if not token:
        return True
    header = request.headers.get("authorization", "")
    given = header[len(BEARER) :] if header[: len(BEARER)].lower() == BEARER.lower() else ""
    return hmac.compare_digest(given.encode(), token.encode())
