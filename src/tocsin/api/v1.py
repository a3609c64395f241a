"""`/v1/apps/<sdkappid>/…`: the books of an app's pushes and devices, for its administrators.

The UserSig of an administrator is the bearer. Where `identifier` does not say whose it is, the
UserSig does.
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
from tocsin.api.pages import number
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
NUMBER_MAX = 2**32 - 1

Authorize = Callable[[Request], Awaitable[App]]
"""Answers the app that a request is about, if its caller may read it."""


class TaskPages:
    """Pages about one app, read from the store."""

    def __init__(
        self,
        store: Store,
        books: BooksReader,
        presence: Presence,
        authorize: Authorize,
        channels: Channels | None = None,
    ) -> None:
        """`channels` are those at work; without them nobody knows what stops a push."""
        self._store = store
        self._reader = books
        self._presence = presence
        self._authorize = authorize
        self._channels = channels

    def routes(self) -> Sequence[BaseRoute]:
        """Where the pages are."""
        app = "/v1/apps/{sdkappid}"
        return [
            route(f"{app}/tasks", self.tasks),
            route(f"{app}/tasks/{{task_id}}", self.task),
            route(f"{app}/tasks/{{task_id}}/audience", self.audience),
            route(f"{app}/tasks/{{task_id}}/devices", self.task_devices),
            route(f"{app}/devices/{{name}}", self.devices),
        ]

    async def tasks(self, request: Request) -> dict[str, Any]:
        """The newest pushes first."""
        app = await self._authorize(request)
        before = number(request.query_params, "before", 0, NUMBER_MAX)
        limit = number(request.query_params, "limit", PAGE_DEFAULT, PAGE_MAX)
        found = await self._store.tasks(app.sdkappid, before=before, limit=limit)
        following = found[-1].number if limit and len(found) == limit else None
        return {"tasks": [shown_task(task) for task in found], "next": following}

    async def task(self, request: Request) -> dict[str, Any]:
        """One push: what it said, where it stands, its ledger, its jobs and what stops them."""
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
        """Of the credentials with work in these queues, those that do not send all of it."""
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
        """The accounts that a push was frozen for, by name, those deleted since left out."""
        books = await self._books(request)
        page, following = _page(request, books.audience)
        names = await self._store.account_names(books.task.app, page)
        return {"accounts": [names[each] for each in page if each in names], "next": following}

    async def task_devices(self, request: Request) -> dict[str, Any]:
        """The RegistrationIDs of a push's devices: by state, leg or mark, or by what went wrong."""
        books = await self._books(request)
        page, following = _page(request, _chosen(request, await self._reader.sets(books)))
        devices = await self._store.devices(books.task.app, page)
        names = [devices[each].registration_id for each in page if each in devices]
        return {"devices": names, "next": following}

    async def devices(self, request: Request) -> dict[str, Any]:
        """The devices of a UserID, or the one with a RegistrationID."""
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
    """Admits administrators who show their UserSig."""

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
    """A push as lists show it."""
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
    """Why a credential is stopped, and until when at the latest; null where nobody has said."""
    shown = msgspec.structs.asdict(stoppage)
    until = stoppage.until
    return {**shown, "until": until if until is not None and isfinite(until) else None}


def _public(stoppage: Stoppage) -> dict[str, Any]:
    """The same for an app's administrators: which way we go is the operator's business."""
    shown = shown_stoppage(stoppage)
    del shown["detail"]
    return shown


def shown_device(device: Device, *, is_connected: bool) -> dict[str, Any]:
    """A device as it is shown: everything but the hash of its secret."""
    shown: dict[str, Any] = msgspec.to_builtins(device)
    del shown["secret_hash"]
    route = device.route
    shown["route"] = None if route is None else msgspec.structs.asdict(route)
    return {**shown, "is_connected": is_connected}


def _chosen(request: Request, sets: TaskSets) -> BitMap:
    asked = request.query_params
    chosen = BitMap(sets.planned)
    if "state" in asked:
        states = {state.value: members for state, members in sets.states.items()}
        if asked["state"] not in set(State):
            raise CallError(70402, f"state must be one of {', '.join(State)}")
        chosen &= states.get(asked["state"], BitMap())
    if "leg" in asked:
        chosen &= sets.legs.get(asked["leg"], BitMap())
    if "mark" in asked:
        marks = {
            "repeated": sets.repeated,
            "shortened": sets.shortened,
            "reached": sets.reached,
            "clicked": sets.clicked,
        }
        if asked["mark"] not in marks:
            raise CallError(70402, f"mark must be one of {', '.join(marks)}")
        chosen &= marks[asked["mark"]]
    for name, parts in (("failure", sets.failures), ("undelivered", sets.undelivered)):
        if name in asked:
            # As the ledger writes it, so that each of its counts can be turned into names.
            chosen &= parts.get(asked[name], BitMap())
    return chosen


def _page(request: Request, members: BitMap) -> tuple[BitMap, int | None]:
    """One page of a set, and what to ask for `after` it; None when it is the last."""
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
