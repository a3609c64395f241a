"""`/v1/apps/<sdkappid>/…`: an app's pushes with their books, and its devices, as JSON pages.

An administrator sends a UserSig as the bearer token. Where the parameter `identifier` is absent,
the UserSig names the administrator.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from math import isfinite
from typing import Any

import msgspec
from pyroaring import BitMap
from starlette.requests import Request
from starlette.routing import BaseRoute

from tocsin.api.auth import Authenticator
from tocsin.api.http import client_address, route
from tocsin.api.pages import NUMBER_MAX, number
from tocsin.conversation import Stoppage
from tocsin.domain import usersig
from tocsin.domain.app import App
from tocsin.domain.books import TaskBooks, TaskSets
from tocsin.domain.device import Device
from tocsin.domain.outcome import State
from tocsin.domain.task import Task
from tocsin.errors import CallError
from tocsin.pipeline.books import BooksReader
from tocsin.ports import Channels, Presence
from tocsin.store import Store

PAGE_DEFAULT = 100
PAGE_MAX = 10_000

Authorize = Callable[[Request], Awaitable[App]]
"""Answers the app that a request names; raises `CallError` if the caller may not read it."""


class TaskPages:
    """Pages about the pushes and devices of one app."""

    def __init__(
        self,
        store: Store,
        books: BooksReader,
        presence: Presence,
        authorize: Authorize,
        channels: Channels | None = None,
    ) -> None:
        """`channels` are the running ones; without them `stopped` is always empty."""
        self._store = store
        self._reader = books
        self._presence = presence
        self._authorize = authorize
        self._channels = channels

    def routes(self) -> Sequence[BaseRoute]:
        """The routes of the pages."""
        app = "/v1/apps/{sdkappid}"
        return [
            route(f"{app}/tasks", self.tasks),
            route(f"{app}/tasks/{{task_id}}", self.task),
            route(f"{app}/tasks/{{task_id}}/audience", self.audience),
            route(f"{app}/tasks/{{task_id}}/devices", self.task_devices),
            route(f"{app}/devices/{{name}}", self.devices),
        ]

    async def tasks(self, request: Request) -> dict[str, Any]:
        """List pushes, the newest first."""
        app = await self._authorize(request)
        before = number(request.query_params, "before", 0, NUMBER_MAX)
        limit = number(request.query_params, "limit", PAGE_DEFAULT, PAGE_MAX)
        tasks = await self._store.tasks(app.sdkappid, before=before, limit=limit)
        following = tasks[-1].number if limit and len(tasks) == limit else None
        return {"tasks": [shown_task(task) for task in tasks], "next": following}

    async def task(self, request: Request) -> dict[str, Any]:
        """Show one push: message, state, ledger, open jobs, and its stopped credentials."""
        books = await self._books(request)
        queues = _counted(job.queue for job in books.jobs)
        return {
            **shown_task(books.task),
            "message": books.task.message,
            "condition": books.task.condition,
            "ledger": await self._reader.ledger(books),
            "jobs": queues,
            "stopped": await self._stopped(books.task.app, queues),
        }

    async def _stopped(self, app: int, queues: Iterable[str]) -> list[dict[str, Any]]:
        """The credentials with jobs in these queues that do not send, and why."""
        if self._channels is None or not queues:
            return []
        stoppages = await self._channels.stoppages(app)
        named = (queue.rpartition(":") for queue in queues)
        return [
            {
                "credential": int(number),
                "channel": channel,
                **_public(stoppages[int(number)]),
            }
            for channel, _, number in named
            if number.isdecimal() and int(number) in stoppages
        ]

    async def audience(self, request: Request) -> dict[str, Any]:
        """List the frozen audience of a push by name, without accounts deleted since."""
        books = await self._books(request)
        page, following = _page(request, books.audience)
        names = await self._store.account_names(books.task.app, page)
        return {"accounts": [names[each] for each in page if each in names], "next": following}

    async def task_devices(self, request: Request) -> dict[str, Any]:
        """List the RegistrationIDs of a push's devices, by state, leg, mark or failure."""
        books = await self._books(request)
        page, following = _page(request, _selected(request, await self._reader.sets(books)))
        devices = await self._store.devices(books.task.app, page)
        names = [devices[each].registration_id for each in page if each in devices]
        return {"devices": names, "next": following}

    async def devices(self, request: Request) -> dict[str, Any]:
        """List the devices of a UserID, or the one device of a RegistrationID."""
        app = await self._authorize(request)
        (account,) = await self._store.accounts(app.sdkappid, [request.path_params["name"]])
        if account is None:
            raise CallError(70107)
        devices = await self._store.devices_of(app.sdkappid, BitMap([account.number]))
        connected = self._presence.connected(app.sdkappid)
        shown = [
            shown_device(device, is_connected=device.number in connected) for device in devices
        ]
        return {"devices": shown}

    async def _books(self, request: Request) -> TaskBooks:
        app = await self._authorize(request)
        task = await self._store.task_by_id(app.sdkappid, request.path_params["task_id"])
        books = None if task is None else await self._reader.of(app.sdkappid, task.number)
        if books is None:
            raise CallError(90049)
        return books


def by_bearer(authenticator: Authenticator) -> Authorize:
    """Authorizes administrators who send their UserSig as the bearer token."""

    async def authorize(request: Request) -> App:
        app = await authenticator.find_app(request.path_params["sdkappid"])
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer":
            raise CallError(70002)
        token = token.strip()
        identifier = request.query_params.get("identifier") or usersig.decode(token).identifier
        address = client_address(request.scope)
        caller = await authenticator.check(app, identifier, token, address, 90009)
        return caller.app

    return authorize


def shown_task(task: Task) -> dict[str, Any]:
    """A push as JSON, without its message."""
    return {
        "task_id": task.task_id,
        "number": task.number,
        "kind": task.kind,
        "phase": task.phase.value,
        "sender": task.sender,
        "title": task.message.title,
        "data_id": task.data_id,
        "accepted_at": task.accepted_at,
        "expires_at": task.expires_at,
        "ended_at": task.ended_at,
        "recalled_at": task.recalled_at,
        "audience_size": task.audience_size,
    }


def shown_stoppage(stoppage: Stoppage) -> dict[str, Any]:
    """Why a credential is stopped, and until when at the latest; null where that is unknown."""
    shown = msgspec.structs.asdict(stoppage)
    until = stoppage.until
    return {**shown, "until": until if until is not None and isfinite(until) else None}


def _public(stoppage: Stoppage) -> dict[str, Any]:
    """A stoppage without details of the network, which only the operator may see."""
    shown = shown_stoppage(stoppage)
    del shown["detail"]
    return shown


def shown_device(device: Device, *, is_connected: bool) -> dict[str, Any]:
    """A device as JSON, without the hash of its secret."""
    shown: dict[str, Any] = msgspec.to_builtins(device)
    del shown["secret_hash"]
    route = device.route
    shown["route"] = None if route is None else msgspec.structs.asdict(route)
    return {**shown, "is_connected": is_connected}


def _selected(request: Request, sets: TaskSets) -> BitMap:
    """The devices of a push that match every parameter of the request."""
    params = request.query_params
    selected = BitMap(sets.planned)
    if "state" in params:
        states = {state.value: members for state, members in sets.states.items()}
        if params["state"] not in set(State):
            raise CallError(70402, f"state must be one of {', '.join(State)}")
        selected &= states.get(params["state"], BitMap())
    if "leg" in params:
        selected &= sets.legs.get(params["leg"], BitMap())
    if "mark" in params:
        marks = {
            "repeated": sets.repeated,
            "shortened": sets.shortened,
            "reached": sets.reached,
            "clicked": sets.clicked,
        }
        if params["mark"] not in marks:
            raise CallError(70402, f"mark must be one of {', '.join(marks)}")
        selected &= marks[params["mark"]]
    for name, parts in (("failure", sets.failures), ("undelivered", sets.undelivered)):
        if name in params:
            # The ledger's own words, so that a client can ask for the names behind each count.
            selected &= parts.get(params[name], BitMap())
    return selected


def _page(request: Request, members: BitMap) -> tuple[BitMap, int | None]:
    """One page of a set, and the `after` of the next page; None when this is the last."""
    after = number(request.query_params, "after", 0, NUMBER_MAX)
    limit = number(request.query_params, "limit", PAGE_DEFAULT, PAGE_MAX)
    start = members.rank(after)
    page = members[start : start + limit]
    is_more = bool(page) and start + limit < len(members)
    return page, page.max() if is_more else None


def _counted(queues: Iterable[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for queue in queues:
        counts[queue] = counts.get(queue, 0) + 1
    return counts
