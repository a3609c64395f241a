"""Joins the parts of an opened service by hand, in order of dependence."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from typing import Any

from msgspec import Struct

from tocsin.api import v1
from tocsin.api.auth import Authenticator
from tocsin.api.commands.call import Services
from tocsin.api.cors import Cors
from tocsin.api.devices import DeviceCalls
from tocsin.api.receipts import ReceiptPages
from tocsin.api.rest import RestApi
from tocsin.api.router import Router, create_pages
from tocsin.api.webpush_key import WebPushKeyPage
from tocsin.channels import batch_run
from tocsin.channels.credentials import VendorChannels
from tocsin.channels.registry import normal_route
from tocsin.clock import Chance
from tocsin.config import Config
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
from tocsin.pipeline.tick import Ticker, Upkeep
from tocsin.pipeline.work import Tools
from tocsin.service.loop_lag import LoopLag
from tocsin.service.opening import OpenedService
from tocsin.service.reloading import ReloadablePart

LESSEE = "main"
"""Who leases the jobs of an embedded store: its one process."""


class JoinedService(Struct, frozen=True, kw_only=True):
    """Everything that runs between the store and the servers."""

    router: Router
    """Answers the calls and the devices of the public address."""
    dispatcher: Dispatcher
    books: BooksReader
    hub: Hub
    channels: VendorChannels
    loops: list[Callable[[], Coroutine[Any, Any, None]]]
    """Run beside the dispatcher; each may be cancelled at any moment."""
    limits: ReloadablePart
    """Takes changed limits and times of keeping at a reload."""


async def join(service: OpenedService, stack: AsyncExitStack, *, devices_max: int) -> JoinedService:
    """Join the parts of `service`; what they open is closed with `stack`.

    `devices_max` is how many devices may be connected. Jobs that a former process of this folder
    had leased are free again when this returns. Nothing runs yet.
    """
    books = BooksReader(service.store, service.clock)
    registrar = _registrar(service, books)
    hub = _hub(service, books, registrar, devices_max)
    _subscribe(service, hub, stack)
    channels = await _channels(service, stack)
    indexer = Indexer(service.store, service.snapshots)
    service.operator.watch(channels, hub, indexer.forget)
    # The folder's lock keeps other processes out, so jobs with this lessee are left from a former
    # process and free.
    await service.store.release(LESSEE)
    await service.hold.load()
    ticker = _ticker(service, indexer, channels)
    watch = StoppageWatch(service.store, channels, service.clock, service.metrics)
    lag = LoopLag(service.clock, service.metrics)
    return JoinedService(
        router=_router(service, books, registrar, hub, channels),
        dispatcher=_dispatcher(service, books, indexer, hub, channels),
        books=books,
        hub=hub,
        channels=channels,
        loops=[ticker.run, hub.run, watch.run, lag.run],
        limits=_limits(registrar, ticker),
    )


def _registrar(service: OpenedService, books: BooksReader) -> Registering:
    return Registering(
        store=service.store,
        app_secrets=service.app_secrets,
        bus=service.bus,
        clock=service.clock,
        chance=Chance(),
        metrics=service.metrics,
        normal_route=normal_route,
        books=books,
        settings=_door_settings(service.config),
    )


def _hub(
    service: OpenedService, books: BooksReader, registrar: Registering, devices_max: int
) -> Hub:
    return Hub(
        store=service.store,
        books=books,
        registrar=registrar,
        clock=service.clock,
        metrics=service.metrics,
        settings=OnlineSettings(
            connections_max=devices_max, restart_s=service.config.server.restart_s
        ),
        is_held=lambda: service.hold.is_on,
    )


def _subscribe(service: OpenedService, hub: Hub, stack: AsyncExitStack) -> None:
    for subject, listener in (
        (DEVICE, hub.take_device),
        (KICKED, hub.take_kick),
        (APP_CLOSED, hub.take_closed_app),
    ):
        stack.callback(service.bus.subscribe(subject, listener))


async def _channels(service: OpenedService, stack: AsyncExitStack) -> VendorChannels:
    tools = batch_run.DriverTools(
        service.http,
        service.clock,
        Chance(),
        service.metrics,
        service.config.dispatch.wait_scale,
        service.authority_cache,
    )
    channels = VendorChannels(service.store, service.vault, tools)
    await channels.start(stack)
    return channels


def _ticker(service: OpenedService, indexer: Indexer, channels: VendorChannels) -> Ticker:
    return Ticker(
        service.store,
        indexer,
        channels,
        clock=service.clock,
        metrics=service.metrics,
        upkeep=_upkeep(service.config),
    )


def _dispatcher(
    service: OpenedService, books: BooksReader, indexer: Indexer, hub: Hub, channels: VendorChannels
) -> Dispatcher:
    settings = service.config.dispatch
    tools = Tools(
        store=service.store,
        channels=channels,
        presence=hub,
        clock=service.clock,
        chance=Chance(),
        indexer=indexer,
        metrics=service.metrics,
        correlation_key=_correlation_key(service),
        books=books,
        wait_scale=settings.wait_scale,
    )
    pace = Pace(
        poll_s=settings.poll_s,
        jobs_max=settings.jobs_max,
        queue_jobs_max=settings.queue_jobs_max,
        lane_jobs_max=settings.queue_jobs_max - 1,
    )
    return Dispatcher(LESSEE, tools, service.bus, pace)


def _router(
    service: OpenedService,
    books: BooksReader,
    registrar: Registering,
    hub: Hub,
    channels: VendorChannels,
) -> Router:
    authenticator = Authenticator(service.store, service.app_secrets, service.clock)
    cors = Cors(service.store)
    tasks = v1.TaskPages(service.store, books, hub, v1.by_bearer(authenticator), channels)
    routes = [
        *tasks.routes(),
        *WebPushKeyPage(service.store, service.vault, cors).routes(),
        *DeviceCalls(registrar, hub, cors).routes(),
        *ReceiptPages(_receiving(service, books, channels)).routes(),
    ]
    rest = RestApi(_services(service, hub, channels), authenticator, service.metrics, cors)
    pages = create_pages(lambda: _missing(service), routes)
    return Router(rest, pages, OnlineSocket(hub))


def _services(service: OpenedService, hub: Hub, channels: VendorChannels) -> Services:
    accepting = Accepting(
        service.store,
        service.bus,
        hub,
        channels,
        clock=service.clock,
        chance=Chance(),
        metrics=service.metrics,
    )
    return Services(
        store=service.store,
        accepting=accepting,
        erasing=Erasing(service.store, service.bus, service.clock, service.erasures),
        presence=hub,
        bus=service.bus,
        clock=service.clock,
    )


def _receiving(service: OpenedService, books: BooksReader, channels: VendorChannels) -> Receiving:
    return Receiving(
        store=service.store,
        channels=channels,
        clock=service.clock,
        metrics=service.metrics,
        normal_route=normal_route,
        correlation_key=_correlation_key(service),
        books=books,
    )


async def _missing(service: OpenedService) -> str:
    """What the service waits for before it is ready; empty when it is."""
    await service.store.apps()
    if trouble := await service.store.write_trouble():
        return f"nothing can be written: {trouble}"
    return HELD if service.hold.is_on else ""


def _limits(registrar: Registering, ticker: Ticker) -> ReloadablePart:
    async def take(config: Config) -> list[str]:
        registrar.change(_door_settings(config))
        ticker.change(_upkeep(config))
        return []

    return ReloadablePart(("devices.new_per_minute", "keep."), take)


def _door_settings(config: Config) -> DoorSettings:
    return DoorSettings(
        new_per_minute=config.devices.new_per_minute, tasks_kept_s=config.keep.tasks_s
    )


def _upkeep(config: Config) -> Upkeep:
    keep = config.keep
    return Upkeep(every_s=keep.every_s, log_kept_s=keep.change_log_s, tasks_kept_s=keep.tasks_s)


def _correlation_key(service: OpenedService) -> bytes:
    """The key of 32 bytes that signs the correlation ids which vendors return in receipts."""
    return hmac.digest(service.secret, b"tocsin/correlation", hashlib.sha256)
