"""Runs the service: opens it, joins it, listens, works until it is asked to end, and stops."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from tocsin.api import admin, metrics_page
from tocsin.api.declaring import AppDeclarations
from tocsin.api.metrics_page import PolledMetrics
from tocsin.channels.registry import normal_route
from tocsin.config import Config, unused_proxies
from tocsin.http_server.server import HttpServer
from tocsin.log import get_logger
from tocsin.pipeline.stored_tokens import Progress, normalise_stored_tokens
from tocsin.service.joining import JoinedService, join
from tocsin.service.listening import (
    admin_socket,
    listen,
    listen_for_metrics,
    log_plan,
    metrics_server,
    place,
    plan_connections,
    private_server,
    public_server,
    urls_of,
)
from tocsin.service.opening import NO_INTERCEPTORS, Interceptors, OpenedService, open_service
from tocsin.service.reloading import ReloadablePart, Reloading, start_log
from tocsin.service.service_manager import ServiceManager
from tocsin.service.tls import certificate_part

Started = Callable[[Mapping[str, Any]], None]
"""Called once calls are answered, with `url`, `urls`, `metrics`, `pid`, `version` and `apps`, which
is the number of apps."""
OPEN_ADVICE = "set metrics.token (TOCSIN_METRICS_TOKEN), or let metrics.listen be on loopback"
COLLECT_EVERY = (50_000, 20, 100)
"""New objects, and younger collections, before the collector looks at each generation."""
CALLS_MIN_S = 1.0
"""Seconds for calls under way when the service stops, however long the devices took to leave."""


async def serve(
    config: Config,
    *,
    started: Started,
    ended: asyncio.Event,
    progress: Progress = lambda _done, _total: None,
    reread: Callable[[], Config] | None = None,
    reload_asked: asyncio.Event | None = None,
    interceptors: Interceptors = NO_INTERCEPTORS,
) -> None:
    """Serve until `ended` is set; `started` is called once calls are answered.

    `reread` reads the sources of the settings again, whenever `reload_asked` is set or the
    operator asks for it. `progress` is called while devices that an earlier release stored are
    looked through. `interceptors` stand around the store and the HTTP client.
    """
    start_log(config)
    if unused := unused_proxies(config, os.environ):
        get_logger(__name__).warning(
            "a proxy in the environment is not used",
            variables=unused,
            advice="name the proxy in the setting http.proxy (TOCSIN_HTTP_PROXY)",
        )
    async with contextlib.AsyncExitStack() as stack:
        service = await stack.enter_async_context(open_service(config, interceptors=interceptors))
        ease_collector(stack)
        await normalise_stored_tokens(
            service.store, normal_route, progress=progress, is_ended=ended.is_set
        )
        if ended.is_set():
            return
        reloading = Reloading(
            config,
            reread or (lambda: config),
            reload_asked or asyncio.Event(),
            service.metrics,
        )
        declaring = AppDeclarations(
            service.operator, service.store, service.app_secrets, os.environ
        )
        await declaring.take(config.apps)
        reloading.add(ReloadablePart((), lambda config: declaring.take(config.apps)))
        left = await _Running(service, stack, reloading).run(started, ended)
    # Logged when everything is closed, so that it is the last line and true.
    get_logger(__name__).info("stopped", **msgspec.structs.asdict(left))


def ease_collector(stack: contextlib.AsyncExitStack) -> None:
    """Look for garbage in circles less often until `stack` closes.

    A push makes thousands of objects that live for a moment and refer to each other in no circle.
    At the interpreter's own settings, looking at them took a fifth of the sender's time.
    """
    stack.callback(gc.set_threshold, *gc.get_threshold())
    stack.callback(gc.unfreeze)
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_EVERY)


class Left(Struct, frozen=True, kw_only=True):
    """What a stop left undone: the last line of the log."""

    jobs_open: int
    """Jobs that the next start finds."""
    jobs_unsettled: int
    """Those of `jobs_open` that had begun: whether their devices were reached is in doubt."""
    devices_connected: int
    """Devices that did not leave when they were asked to, and were cut off."""


class _Running:
    """A service from the moment it listens until it has stopped."""

    def __init__(
        self, service: OpenedService, stack: contextlib.AsyncExitStack, reloading: Reloading
    ) -> None:
        self._service = service
        self._stack = stack
        self._reloading = reloading
        self._files = plan_connections(service.config)
        self._manager = ServiceManager(os.environ, service.clock)
        reloading.watch(self._manager.reloading, self._manager.reloaded)
        self._log = get_logger(__name__)

    async def run(self, started: Started, ended: asyncio.Event) -> Left:
        """Serve and work; whichever part fails ends the service, in the same order as a stop."""
        service, config = self._service, self._service.config
        joined = await join(service, self._stack, devices_max=self._files.devices_max)
        self._reloading.add(joined.limits)
        public = public_server(joined.router, config, self._files, service.metrics)
        if public.config.ssl is not None:
            self._reloading.add(certificate_part(public.config.ssl, config, service.clock))
        sockets = listen(config)
        metrics_servers, metrics_sockets = self._metrics_servers(joined)
        status = _status(urls_of(config, sockets), metrics_sockets)
        with admin_socket(Path(config.data)) as private_socket:
            private = private_server(self._admin(joined, status))
            servers = [public, private, *metrics_servers]
            serving = [
                asyncio.create_task(public.serve(sockets)),
                asyncio.create_task(private.serve([private_socket])),
                *(asyncio.create_task(each.serve(metrics_sockets)) for each in metrics_servers),
            ]
            dispatching = asyncio.create_task(self._dispatch(joined, ended))
            loops = [*joined.loops, self._reloading.run, self._feed]
            others = [asyncio.create_task(loop()) for loop in loops]
            await asyncio.wait([asyncio.create_task(each.is_open.wait()) for each in servers])
            await self._report_start(status, started)
            stop = asyncio.create_task(ended.wait())
            running = {stop, dispatching, *serving, *others}
            await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            devices = await self._stop(servers, joined)
            results = await asyncio.gather(*serving, dispatching, return_exceptions=True)
            for task in (stop, *others):
                task.cancel()
            results += await asyncio.gather(*others, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                raise result
        return Left(
            jobs_open=sum((await service.store.depth()).values()),
            jobs_unsettled=joined.dispatcher.unsettled,
            devices_connected=devices,
        )

    def _admin(self, joined: JoinedService, status: dict[str, Any]) -> Any:
        """The operator's application, behind the socket in the data folder."""
        service = self._service
        return admin.create(
            service.operator,
            service.store,
            joined.hub,
            lambda: status,
            joined.channels,
            books=joined.books,
            reload=self._reloading.reload,
        )

    def _metrics_servers(
        self, joined: JoinedService
    ) -> tuple[list[HttpServer], list[socket.socket]]:
        """The server of the metrics with its socket; none where metrics are not served."""
        service, config = self._service, self._service.config.metrics
        listening = listen_for_metrics(service.config)
        if listening is None:
            return [], []
        if not config.token and not listening.getsockname()[0].startswith(("127.", "::1")):
            self._log.warning("metrics are open to whoever reaches them", advice=OPEN_ADVICE)
        polled = PolledMetrics(
            service.store,
            joined.books,
            joined.channels,
            service.metrics,
            Path(service.config.data),
        )
        page = metrics_page.create(
            service.metrics, polled.refresh, lambda: self._reloading.config.metrics.token
        )
        return [metrics_server(page)], [listening]

    async def _report_start(self, status: Mapping[str, Any], started: Started) -> None:
        """Tell the log, the caller and the service manager that calls are answered."""
        config = self._service.config
        self._log.info("serving", **_logged(status), folder=config.data)
        log_plan(config, self._files, self._log)
        started({**status, "apps": len(await self._service.store.apps())})
        self._manager.ready(f"serving at {', '.join(status['urls'])}")

    async def _dispatch(self, joined: JoinedService, ended: asyncio.Event) -> None:
        """Send, once a restored folder is no longer held; nothing if it is held until the end."""
        hold = self._service.hold
        if hold.is_on:
            waiting = [asyncio.create_task(event.wait()) for event in (hold.ended, ended)]
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for each in waiting:
                each.cancel()
            if hold.is_on:
                return
            joined.hub.offer_again()
        await joined.dispatcher.run()

    async def _feed(self) -> None:
        """Feed the service manager's watchdog while the store's writer answers."""
        # A step that changes nothing, last in the writer's order: no app has the number 0.
        await self._manager.feed(lambda: self._service.store.cut_changes(0, 0))

    async def _stop(self, servers: Sequence[HttpServer], joined: JoinedService) -> int:
        """Begin nothing new, and let what is under way end; answers how many devices were cut off.

        Jobs, devices and calls share the same `server.drain_s` seconds: none waits for another.
        """
        drain_s, clock = self._reloading.config.server.drain_s, self._service.clock
        self._log.info("stopping", drain_s=drain_s, devices_connected=joined.hub.count)
        began_at = clock.monotonic()
        self._manager.stopping()
        for server in servers:
            server.refuse()
        joined.dispatcher.stop(drain_s)
        devices = await joined.hub.drain(drain_s)
        left_s = drain_s - (clock.monotonic() - began_at)
        for server in servers:
            server.finish(max(CALLS_MIN_S, left_s))
        return devices


def _status(urls: Sequence[str], metrics_sockets: Sequence[socket.socket]) -> dict[str, Any]:
    """What a start prints, and what `/v1/operator` answers about the running service."""
    addresses = [place(*each.getsockname()[:2]) for each in metrics_sockets]
    return {
        "url": urls[0],
        "urls": list(urls),
        "metrics": [f"http://{address}/metrics" for address in addresses],
        "pid": os.getpid(),
        "version": version("tocsin"),
    }


def _logged(status: Mapping[str, Any]) -> dict[str, Any]:
    """The addresses and the version, under names that the log does not mask."""
    members = {
        "addresses": status["urls"],
        "metrics": status["metrics"],
        "version": status["version"],
    }
    return {name: value for name, value in members.items() if value}
