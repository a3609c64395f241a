"""The admin socket: the operator's calls over HTTP, on a Unix socket in the data folder.

Whoever may open the socket is the operator. These pages are never served on a port.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route

from tocsin.api import pages
from tocsin.api.account_operations import LIST_MAX
from tocsin.api.backup_run import BackupRun
from tocsin.api.http import route
from tocsin.api.operator import OperatorService
from tocsin.api.pages import NUMBER_MAX, number, read_json
from tocsin.api.v1 import PAGE_DEFAULT, TaskPages
from tocsin.domain.app import App
from tocsin.errors import CallError
from tocsin.pipeline.books import BooksReader
from tocsin.ports import Channels, Presence
from tocsin.store import Store

Status = Callable[[], dict[str, Any]]
"""Where the service listens (`url`), its `pid` and its `version`."""


Reload = Callable[[], Awaitable[Any]]
"""Reads settings, certificate and credential files again; answers what has changed."""


class OperatorPages:
    """One page for each call of the operator."""

    def __init__(
        self, operator: OperatorService, status: Status, reload: Reload | None = None
    ) -> None:
        self._operator = operator
        self._status = status
        self._reload = reload
        self._backup_run = BackupRun(operator)

    def routes(self) -> list[Route]:
        """The routes of the pages."""
        app = "/v1/apps/{sdkappid:int}"
        return [
            route("/v1/status", self.status),
            route("/v1/reload", self.reload, "POST"),
            route("/v1/doctor", self.doctor),
            route("/v1/backup", self.backup_show),
            route("/v1/backup", self.backup, "POST"),
            route("/v1/restore/end_hold", self.hold_end, "POST"),
            route("/v1/secret/rotate", self.secret_rotate, "POST"),
            route("/v1/apps", self.app_list),
            route(app, self.app_show),
            route(app, self.app_add, "POST"),
            route(app, self.app_remove, "DELETE"),
            route(f"{app}/names", self.app_names),
            route(f"{app}/usersig", self.usersig, "POST"),
            route(f"{app}/key/rotate", self.app_key_rotate, "POST"),
            route(f"{app}/key/drop_former", self.app_key_drop_former, "POST"),
            route(f"{app}/credentials", self.credential_list),
            route(f"{app}/credentials", self.credential_add, "POST"),
            route(f"{app}/credentials/{{number:int}}", self.credential_show),
            route(f"{app}/credentials/{{number:int}}", self.credential_set, "POST"),
            route(f"{app}/credentials/{{number:int}}", self.credential_delete, "DELETE"),
            route(f"{app}/credentials/{{number:int}}/check", self.check, "POST"),
            route(f"{app}/client_config", self.client_config, "POST"),
            # Names may hold any character, so they are parameters and no part of a path.
            route(f"{app}/accounts", self.account_list),
            route(f"{app}/account", self.account_show),
            route(f"{app}/account", self.account_delete, "DELETE"),
            route(f"{app}/account/export", self.account_export),
            route(f"{app}/devices", self.device_list),
            route(f"{app}/device", self.device_show),
            route(f"{app}/device/unregister", self.device_unregister, "POST"),
        ]

    async def status(self, _: Request) -> dict[str, Any]:
        return self._status()

    async def reload(self, _: Request) -> Any:
        if self._reload is None:
            raise CallError(60009)
        return await self._reload()

    async def doctor(self, _: Request) -> dict[str, Any]:
        return {"findings": await self._operator.doctor()}

    async def backup(self, request: Request) -> dict[str, Any]:
        """Begin a backup; the client polls `backup_show` until it is done."""
        folder = (await read_json(request)).get("folder")
        if not isinstance(folder, str):
            raise CallError(70402, "folder is the path of a new folder")
        return self._backup_run.begin(folder)

    async def backup_show(self, _: Request) -> dict[str, Any]:
        return self._backup_run.show()

    async def hold_end(self, request: Request) -> dict[str, Any]:
        how = (await read_json(request)).get("how")
        return await self._operator.hold_end(str(how))

    async def secret_rotate(self, _: Request) -> dict[str, Any]:
        return await self._operator.secret_rotate()

    async def app_list(self, _: Request) -> dict[str, Any]:
        return {"apps": await self._operator.app_list()}

    async def app_show(self, request: Request) -> dict[str, Any]:
        return await self._operator.app_show(_app(request))

    async def app_add(self, request: Request) -> dict[str, Any]:
        facts = await read_json(request)
        return await self._operator.app_add(_app(request), facts)

    async def app_remove(self, request: Request) -> dict[str, Any]:
        return await self._operator.app_remove(_app(request))

    async def app_names(self, request: Request) -> dict[str, Any]:
        prefix = request.query_params.get("prefix", "")
        return await self._operator.app_names(_app(request), prefix)

    async def usersig(self, request: Request) -> dict[str, Any]:
        body = await read_json(request)
        name, expire_s = body.get("name"), body.get("expire_s")
        if not isinstance(name, str) or not isinstance(expire_s, int):
            raise CallError(70402, "name and expire_s are needed")
        sig = await self._operator.usersig(_app(request), name, expire_s)
        return {"usersig": sig}

    async def app_key_rotate(self, request: Request) -> dict[str, Any]:
        key = (await read_json(request)).get("key", "")
        if not isinstance(key, str):
            raise CallError(70402, "key is a text")
        return await self._operator.app_key_rotate(_app(request), key)

    async def app_key_drop_former(self, request: Request) -> dict[str, Any]:
        return await self._operator.app_key_drop_former(_app(request))

    async def credential_list(self, request: Request) -> dict[str, Any]:
        return {"credentials": await self._operator.credential_list(_app(request))}

    async def credential_add(self, request: Request) -> dict[str, Any]:
        facts = await read_json(request)
        return await self._operator.credential_add(_app(request), facts)

    async def credential_show(self, request: Request) -> dict[str, Any]:
        number = _number(request, "number")
        return await self._operator.credential_show(_app(request), number)

    async def credential_set(self, request: Request) -> dict[str, Any]:
        facts, number = await read_json(request), _number(request, "number")
        return await self._operator.credential_set(_app(request), number, facts)

    async def check(self, request: Request) -> dict[str, Any]:
        number = _number(request, "number")
        return await self._operator.credential_check(_app(request), number)

    async def client_config(self, request: Request) -> dict[str, Any]:
        numbers = (await read_json(request)).get("numbers", [])
        if not isinstance(numbers, list) or not all(isinstance(number, int) for number in numbers):
            raise CallError(70402, "numbers are certificate IDs")
        return {"config": await self._operator.client_config(_app(request), numbers)}

    async def account_list(self, request: Request) -> dict[str, Any]:
        return await self._operator.account_list(_app(request), *_page(request))

    async def account_show(self, request: Request) -> dict[str, Any]:
        return await self._operator.account_show(_app(request), _name(request))

    async def account_export(self, request: Request) -> dict[str, Any]:
        before = number(request.query_params, "before", 0, NUMBER_MAX)
        return await self._operator.account_export(_app(request), _name(request), before)

    async def account_delete(self, request: Request) -> dict[str, Any]:
        return await self._operator.account_delete(_app(request), _name(request))

    async def device_list(self, request: Request) -> dict[str, Any]:
        return await self._operator.device_list(_app(request), *_page(request))

    async def device_show(self, request: Request) -> dict[str, Any]:
        return await self._operator.device_show(_app(request), _name(request))

    async def device_unregister(self, request: Request) -> dict[str, Any]:
        return await self._operator.device_unregister(_app(request), _name(request))

    async def credential_delete(self, request: Request) -> dict[str, Any]:
        await self._operator.credential_delete(_app(request), _number(request, "number"))
        return {}


def create(
    operator: OperatorService,
    store: Store,
    presence: Presence,
    status: Status,
    channels: Channels | None = None,
    *,
    books: BooksReader,
    reload: Reload | None = None,
) -> Starlette:
    """The application to serve on the admin socket, and nowhere else."""

    async def authorize(request: Request) -> App:
        text = request.path_params["sdkappid"]
        app = await store.app(int(text)) if text.isdecimal() and len(text) <= 10 else None
        if app is None:
            raise CallError(70020)
        return app

    task_pages = TaskPages(store, books, presence, authorize, channels)
    return pages.create([*OperatorPages(operator, status, reload).routes(), *task_pages.routes()])


def _app(request: Request) -> int:
    return _number(request, "sdkappid")


def _name(request: Request) -> str:
    """The name of an account or device among the parameters."""
    name = request.query_params.get("name", "")
    if not name:
        raise CallError(70402, "name is needed")
    return name


def _page(request: Request) -> tuple[int, int]:
    """The `after` and the `limit` of a list."""
    after = number(request.query_params, "after", 0, NUMBER_MAX)
    return after, number(request.query_params, "limit", PAGE_DEFAULT, LIST_MAX)


def _number(request: Request, name: str) -> int:
    number: int = request.path_params[name]
    if number > NUMBER_MAX:
        raise CallError(70402, f"{name} must be at most {NUMBER_MAX}")
    return number
