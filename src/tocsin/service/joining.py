"""Joins everything by hand, in order of dependence. Whoever opens a thing registers its closing."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import hashlib
import hmac
import os
import socket
import ssl
from collections.abc import Callable, Coroutine, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from tocsin.api import admin, metrics_page, v1
from tocsin.api.auth import Authenticator
from tocsin.api.commands.call import Services
from tocsin.api.cors import Cors
from tocsin.api.declaring import AppDeclarations
from tocsin.api.devices import DeviceCalls
from tocsin.api.metrics_page import PolledMetrics
from tocsin.api.receipts import ReceiptPages
from tocsin.api.rest import RestApi
from tocsin.api.router import Router, create_pages
from tocsin.api.webpush_key import WebPushKeyPage
from tocsin.channels import turn
from tocsin.channels.credentials import VendorChannels
from tocsin.channels.registry import normal_route
from tocsin.clock import Chance, Clock
from tocsin.config import Config, unused_proxies
from tocsin.http_server.server import HttpServer
from tocsin.log import get_logger
from tocsin.online.hub import Hub, OnlineSettings
from tocsin.online.socket import OnlineSocket
from tocsin.pipeline.accept import Accepting
from tocsin.pipeline.books import BooksReader
from tocsin.pipeline.dispatch import Dispatcher, Pace
from tocsin.pipeline.erase import KICKED, Erasing
from tocsin.pipeline.hold import HELD
from tocsin.pipeline.index import Indexer
from tocsin.pipeline.receipts import Receiving
from tocsin.pipeline.register import DEVICE, DoorSettings, Registering
from tocsin.pipeline.remove import APP_CLOSED
from tocsin.pipeline.stoppages import StoppageWatch
from tocsin.pipeline.stored_tokens import Progress, normalise_stored_tokens
from tocsin.pipeline.tick import Ticker, Upkeep
from tocsin.pipeline.work import Tools
from tocsin.ports import Bus, Channels
from tocsin.service.listening import listen, listen_for_metrics, place, urls_of
from tocsin.service.opening import NO_INTERCEPTORS, Interceptors, Service, open_service
from tocsin.service.reloading import TLS, Part, Reloading, start_log
from tocsin.service.servers import (
    admin_socket,
    metrics_server,
    plan_connections,
    private_server,
    public_server,
    tell_plan,
)
from tocsin.service.service_manager import ServiceManager
from tocsin.service.tls import Certificate

Started = Callable[[Mapping[str, Any]], None]
"""Told once calls are answered: `url`, `urls`, `metrics`, `pid`, `version`, how many `apps`."""
OPEN_ADVICE = "set metrics.token (TOCSIN_METRICS_TOKEN), or let metrics.listen be on loopback"
COLLECT_EVERY = (50_000, 20, 100)
"""New objects, and younger collections, before the collector looks at each generation."""
HOLDER = "main"
"""The one worker of an embedded store."""
CALLS_MIN_S = 1.0
"""What calls under way get at least when the service stops and devices took the drain's time."""


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
    """Serve until `ended`; `started` is told where once calls are answered.

    `reread` looks at the sources of the settings again, whenever `reload_asked` is set or the
    operator's socket is told to. `progress` is told of devices that an earlier release stored,
    while they are looked through. `interceptors` stand around the store and the HTTP client.
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
        reloading.add(Part((), lambda config: declaring.take(config.apps)))
        left = await _Running(service, stack, reloading).serve(started, ended)
    # Told when everything is closed, so that it is the last line and true.
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
    """What a stop left, as the last line of the log tells it."""

    jobs_open: int
    """Jobs that the next start finds."""
    jobs_unsettled: int
    """Those of them that had begun: whom they concern is in doubt."""
    devices_connected: int
    """Devices that did not leave when they were asked to, and were cut off."""


class Workers(Struct, frozen=True):
    """What works behind the doors."""

    dispatcher: Dispatcher
    hub: Hub
    others: list[Callable[[], Coroutine[Any, Any, None]]]
    """Run until they are cancelled, at any moment."""


class _Running:
    """A service with its doors open and its workers at work."""

    def __init__(
        self, service: Service, stack: contextlib.AsyncExitStack, reloading: Reloading
    ) -> None:
        self._service = service
        self._stack = stack
        self._reloading = reloading
        self._books = BooksReader(service.store, service.clock)
        self._files = plan_connections(service.config)
        self._manager = ServiceManager(os.environ, service.clock)
        reloading.tell(self._manager.reloading, self._manager.reloaded)
        self._log = get_logger(__name__)
        self._channels: VendorChannels

    async def serve(self, started: Started, ended: asyncio.Event) -> Left:
        service, config = self._service, self._service.config
        bus = service.bus
        hub, registrar = await self._open_online(bus)
        chance = Chance()
        scale = config.dispatch.wait_scale
        tools = turn.Tools(
            service.http, service.clock, chance, service.metrics, scale, service.shelf
        )
        channels = VendorChannels(service.store, service.vault, tools)
        await channels.start(self._stack)
        self._channels = channels
        indexer = Indexer(service.store, service.snapshots)
        service.operator.watch(channels, hub, indexer.forget)
        accepting = Accepting(
            service.store,
            bus,
            hub,
            channels,
            clock=service.clock,
            chance=chance,
            metrics=service.metrics,
        )
        # The folder's lock says that no other process serves it, so whatever a former one of
        # this name had leased is nobody's.
        await service.store.release(HOLDER)
        await service.hold.load()
        dispatcher = Dispatcher(
            HOLDER,
            Tools(
                store=service.store,
                channels=channels,
                presence=hub,
                clock=service.clock,
                chance=chance,
                indexer=indexer,
                metrics=service.metrics,
                correlation_key=derived_key(service.secret, "correlation"),
                books=self._books,
                wait_scale=scale,
            ),
            bus,
            Pace(
                poll_s=config.dispatch.poll_s,
                jobs_max=config.dispatch.jobs_max,
                queue_jobs_max=config.dispatch.queue_jobs_max,
                lane_jobs_max=config.dispatch.queue_jobs_max - 1,
            ),
        )
        ticker = self._ticker(indexer, channels)
        services = Services(
            store=service.store,
            accepting=accepting,
            erasing=Erasing(service.store, bus, service.clock, service.erasures),
            presence=hub,
            bus=bus,
            clock=service.clock,
        )
        router = self._router(services, hub, registrar, self._receiving(channels))
        watch = StoppageWatch(service.store, channels, service.clock, service.metrics)
        loops = [ticker.run, hub.run, watch.run, self._reloading.run, self._feed]
        workers = Workers(dispatcher, hub, loops)
        self._reloading.add(limits_part(registrar, ticker))
        return await self._run(router, workers, started, ended)

    def _ticker(self, indexer: Indexer, channels: Channels) -> Ticker:
        service = self._service
        return Ticker(
            service.store,
            indexer,
            channels,
            clock=service.clock,
            metrics=service.metrics,
            upkeep=upkeep_of(service.config),
        )

    def _receiving(self, channels: Channels) -> Receiving:
        service = self._service
        return Receiving(
            store=service.store,
            channels=channels,
            clock=service.clock,
            metrics=service.metrics,
            normal_route=normal_route,
            correlation_key=derived_key(service.secret, "correlation"),
            books=self._books,
        )

    def _router(
        self, services: Services, hub: Hub, registrar: Registering, receiving: Receiving
    ) -> Router:
        service = self._service
        authenticator = Authenticator(service.store, service.app_secrets, service.clock)
        books = v1.TaskPages(
            service.store, self._books, hub, v1.by_bearer(authenticator), self._channels
        )
        cors = Cors(service.store)
        pages = DeviceCalls(registrar, hub, cors)
        key = WebPushKeyPage(service.store, service.vault, cors)
        routes = [
            *books.routes(),
            *key.routes(),
            *pages.routes(),
            *ReceiptPages(receiving).routes(),
        ]
        others = create_pages(self._missing, routes)
        rest = RestApi(services, authenticator, service.metrics, cors)
        return Router(rest, others, OnlineSocket(hub))

    async def _feed(self) -> None:
        """Feed the service manager's watchdog while the store's writer answers."""
        # A step that changes nothing, last in the writer's order: no app has the number 0.
        await self._manager.feed(lambda: self._service.store.cut_changes(0, 0))

    async def _missing(self) -> str:
        """What readiness waits for: the store has to answer, and to take what is written."""
        await self._service.store.apps()
        if trouble := await self._service.store.write_trouble():
            return f"nothing can be written: {trouble}"
        return HELD if self._service.hold.is_on else ""

    async def _open_online(self, bus: Bus) -> tuple[Hub, Registering]:
        service = self._service
        registrar = Registering(
            store=service.store,
            app_secrets=service.app_secrets,
            bus=bus,
            clock=service.clock,
            chance=Chance(),
            metrics=service.metrics,
            normal_route=normal_route,
            books=self._books,
            settings=door_settings_of(service.config),
        )
        hub = Hub(
            store=service.store,
            books=self._books,
            registrar=registrar,
            clock=service.clock,
            metrics=service.metrics,
            settings=OnlineSettings(
                connections_max=self._files.devices_max,
                restart_s=service.config.server.restart_s,
            ),
            is_held=lambda: service.hold.is_on,
        )
        for subject, listener in (
            (DEVICE, hub.take_device),
            (KICKED, hub.take_kick),
            (APP_CLOSED, hub.take_closed_app),
        ):
            self._stack.callback(bus.subscribe(subject, listener))
        return hub, registrar

    async def _run(
        self,
        router: Router,
        workers: Workers,
        started: Started,
        ended: asyncio.Event,
    ) -> Left:
        """Run doors and workers; whichever fails ends the service, in the same good order."""
        config, service = self._service.config, self._service
        public = public_server(router, config, self._files, service.metrics)
        if public.config.ssl is not None:
            self._reloading.add(certificate_part(public.config.ssl, config, service.clock))
        sockets = listen(config)
        urls = urls_of(config, sockets)
        figures, metrics_sockets = self._figures()
        status = {
            "url": urls[0],
            "urls": urls,
            "metrics": [f"http://{place(*it.getsockname()[:2])}/metrics" for it in metrics_sockets],
            "pid": os.getpid(),
            "version": version("tocsin"),
        }
        own = admin.create(
            service.operator,
            service.store,
            workers.hub,
            lambda: status,
            self._channels,
            books=self._books,
            reload=self._reloading.reload,
        )
        with admin_socket(Path(config.data)) as private_socket:
            private = private_server(own)
            servers = [public, private, *figures]
            doors_open = [
                asyncio.create_task(public.serve(sockets)),
                asyncio.create_task(private.serve([private_socket])),
                *(asyncio.create_task(it.serve(metrics_sockets)) for it in figures),
            ]
            dispatching = asyncio.create_task(self._dispatch(workers, ended))
            others = [asyncio.create_task(worker()) for worker in workers.others]
            await asyncio.wait([asyncio.create_task(it.is_open.wait()) for it in servers])
            self._log.info("serving", **_shown(status), folder=config.data)
            tell_plan(config, self._files, self._log)
            started({**status, "apps": len(await service.store.apps())})
            self._manager.ready(f"serving at {', '.join(urls)}")
            stop = asyncio.create_task(ended.wait())
            running = {stop, dispatching, *doors_open, *others}
            await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            devices = await self._stop(servers, workers)
            results = await asyncio.gather(*doors_open, dispatching, return_exceptions=True)
            for task in (stop, *others):
                task.cancel()
            results += await asyncio.gather(*others, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                raise result
        return Left(
            jobs_open=sum((await service.store.depth()).values()),
            jobs_unsettled=workers.dispatcher.unsettled,
            devices_connected=devices,
        )

    async def _dispatch(self, workers: Workers, ended: asyncio.Event) -> None:
        """Send, once nothing is held any more; a service that ends held sends nothing."""
        hold = self._service.hold
        if hold.is_on:
            waiting = [asyncio.create_task(it.wait()) for it in (hold.ended, ended)]
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for each in waiting:
                each.cancel()
            if hold.is_on:
                return
            workers.hub.offer_again()
        await workers.dispatcher.run()

    def _figures(self) -> tuple[list[HttpServer], list[socket.socket]]:
        """The server of the metrics with its socket, if they are served."""
        service, config = self._service, self._service.config.metrics
        listening = listen_for_metrics(service.config)
        if listening is None:
            return [], []
        if not config.token and not listening.getsockname()[0].startswith(("127.", "::1")):
            self._log.warning("metrics are open to whoever reaches them", advice=OPEN_ADVICE)
        polled = PolledMetrics(
            service.store, self._channels, service.metrics, Path(service.config.data)
        )
        page = metrics_page.create(
            service.metrics, polled.refresh, lambda: self._reloading.config.metrics.token
        )
        return [metrics_server(page)], [listening]

    async def _stop(self, servers: Sequence[HttpServer], workers: Workers) -> int:
        """Begin nothing new, and let what is under way end; answers the devices cut off.

        Jobs, devices and calls share the same seconds: each waits for none of the others.
        """
        drain_s, clock = self._reloading.config.server.drain_s, self._service.clock
        self._log.info("stopping", drain_s=drain_s, devices_connected=workers.hub.count)
        began_at = clock.monotonic()
        self._manager.stopping()
        for server in servers:
            server.refuse()
        workers.dispatcher.stop(drain_s)
        devices = await workers.hub.drain(drain_s)
        left_s = drain_s - (clock.monotonic() - began_at)
        for server in servers:
            server.finish(max(CALLS_MIN_S, left_s))
        return devices


def _shown(status: Mapping[str, Any]) -> dict[str, Any]:
    """Where the service listens, under names that the log does not mask."""
    told = {"addresses": status["urls"], "metrics": status["metrics"], "version": status["version"]}
    return {name: value for name, value in told.items() if value}


def limits_part(registrar: Registering, ticker: Ticker) -> Part:
    """What takes changed limits and times of keeping."""

    async def take(config: Config) -> list[str]:
        registrar.change(door_settings_of(config))
        ticker.change(upkeep_of(config))
        return []

    return Part(("devices.new_per_minute", "keep."), take)


def certificate_part(context: ssl.SSLContext, config: Config, clock: Clock) -> Part:
    """What takes a renewed certificate."""
    server = config.server
    certificate = Certificate(context, Path(server.tls_cert), Path(server.tls_key), clock)

    async def take(config: Config) -> list[str]:
        server = config.server
        ends_on = certificate.renew(Path(server.tls_cert), Path(server.tls_key))
        return [f"the TLS certificate, good until {ends_on}"] if ends_on else []

    return Part((TLS,), take)


def door_settings_of(config: Config) -> DoorSettings:
    """How freely devices may register."""
    return DoorSettings(
        new_per_minute=config.devices.new_per_minute, tasks_kept_s=config.keep.tasks_s
    )


def upkeep_of(config: Config) -> Upkeep:
    """How long things are kept."""
    keep = config.keep
    return Upkeep(every_s=keep.every_s, log_kept_s=keep.change_log_s, tasks_kept_s=keep.tasks_s)


def derived_key(secret: bytes, purpose: str) -> bytes:
    """A key of 32 bytes for one purpose, from the service's secret."""
    return hmac.digest(secret, f"tocsin/{purpose}".encode(), hashlib.sha256)
