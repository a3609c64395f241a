"""The admin socket: the operator's verbs over HTTP, served on a Unix socket in the data folder.

Whoever may open the socket is the operator. It is never served on a port.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tocsin.api import pages
from tocsin.api.account_verbs import LIST_MAX
from tocsin.api.backup_state import Copying
from tocsin.api.http import json_response
from tocsin.api.operator import Operator
from tocsin.api.pages import number, read_json
from tocsin.api.v1 import PAGE_DEFAULT, Books
from tocsin.domain.app import App
from tocsin.errors import CallError
from tocsin.ports import Channels, Presence
from tocsin.store import Store

NUMBER_MAX = 2**32 - 1

Status = Callable[[], dict[str, Any]]
"""Where the service listens (`url`), its `pid` and its `version`."""


Reload = Callable[[], Awaitable[Any]]
"""Reads settings, certificate and credentials of files anew; answers what became of it."""


class AdminPages:
    """One page per verb."""

    def __init__(self, operator: Operator, status: Status, reload: Reload | None = None) -> None:
        self._operator = operator
        self._status = status
        self._reload = reload
        self._copying = Copying(operator)

    def routes(self) -> list[Route]:
        """Where the verbs are."""
        app = "/v1/apps/{sdkappid:int}"
        return [
            Route("/v1/status", self.status),
            Route("/v1/reload", self.reload, methods=["POST"]),
            Route("/v1/doctor", self.doctor),
            Route("/v1/backup", self.backup_show),
            Route("/v1/backup", self.backup, methods=["POST"]),
            Route("/v1/restore/end_hold", self.hold_end, methods=["POST"]),
            Route("/v1/secret/rotate", self.secret_rotate, methods=["POST"]),
            Route("/v1/apps", self.app_list),
            Route(app, self.app_show),
            Route(app, self.app_add, methods=["POST"]),
            Route(app, self.app_remove, methods=["DELETE"]),
            Route(f"{app}/names", self.app_names),
            Route(f"{app}/usersig", self.usersig, methods=["POST"]),
            Route(f"{app}/key/rotate", self.app_key_rotate, methods=["POST"]),
            Route(f"{app}/key/drop_former", self.app_key_drop_former, methods=["POST"]),
            Route(f"{app}/credentials", self.credential_list),
            Route(f"{app}/credentials", self.credential_add, methods=["POST"]),
            Route(f"{app}/credentials/{{number:int}}", self.credential_show),
            Route(f"{app}/credentials/{{number:int}}", self.credential_set, methods=["POST"]),
            Route(f"{app}/credentials/{{number:int}}", self.credential_delete, methods=["DELETE"]),
            Route(f"{app}/credentials/{{number:int}}/check", self.check, methods=["POST"]),
            Route(f"{app}/client_config", self.client_config, methods=["POST"]),
            # Names may hold any character, so they are parameters and no part of a path.
            Route(f"{app}/accounts", self.account_list),
            Route(f"{app}/account", self.account_show),
            Route(f"{app}/account", self.account_delete, methods=["DELETE"]),
            Route(f"{app}/account/export", self.account_export),
            Route(f"{app}/devices", self.device_list),
            Route(f"{app}/device", self.device_show),
            Route(f"{app}/device/unregister", self.device_unregister, methods=["POST"]),
        ]

    async def status(self, _: Request) -> Response:
        return json_response(self._status())

    async def reload(self, _: Request) -> Response:
        if self._reload is None:
            raise CallError(60009)
        return json_response(await self._reload())

    async def doctor(self, _: Request) -> Response:
        return json_response({"findings": await self._operator.doctor()})

    async def backup(self, request: Request) -> Response:
        """Begin a backup; whoever asked looks again until it is done."""
        folder = (await read_json(request)).get("folder")
        if not isinstance(folder, str):
            raise CallError(70402, "folder is the path of a new folder")
        return json_response(self._copying.begin(folder))

    async def backup_show(self, _: Request) -> Response:
        return json_response(self._copying.show())

    async def hold_end(self, request: Request) -> Response:
        how = (await read_json(request)).get("how")
        return json_response(await self._operator.hold_end(str(how)))

    async def secret_rotate(self, _: Request) -> Response:
        return json_response(await self._operator.secret_rotate())

    async def app_list(self, _: Request) -> Response:
        return json_response({"apps": await self._operator.app_list()})

    async def app_show(self, request: Request) -> Response:
        return json_response(await self._operator.app_show(_app(request)))

    async def app_add(self, request: Request) -> Response:
        facts = await read_json(request)
        return json_response(await self._operator.app_add(_app(request), facts))

    async def app_remove(self, request: Request) -> Response:
        return json_response(await self._operator.app_remove(_app(request)))

    async def app_names(self, request: Request) -> Response:
        prefix = request.query_params.get("prefix", "")
        return json_response(await self._operator.app_names(_app(request), prefix))

    async def usersig(self, request: Request) -> Response:
        told = await read_json(request)
        name, expire_s = told.get("name"), told.get("expire_s")
        if not isinstance(name, str) or not isinstance(expire_s, int):
            raise CallError(70402, "name and expire_s are needed")
        sig = await self._operator.usersig(_app(request), name, expire_s)
        return json_response({"usersig": sig})

    async def app_key_rotate(self, request: Request) -> Response:
        key = (await read_json(request)).get("key", "")
        if not isinstance(key, str):
            raise CallError(70402, "key is a text")
        return json_response(await self._operator.app_key_rotate(_app(request), key))

    async def app_key_drop_former(self, request: Request) -> Response:
        return json_response(await self._operator.app_key_drop_former(_app(request)))

    async def credential_list(self, request: Request) -> Response:
        return json_response({"credentials": await self._operator.credential_list(_app(request))})

    async def credential_add(self, request: Request) -> Response:
        facts = await read_json(request)
        return json_response(await self._operator.credential_add(_app(request), facts))

    async def credential_show(self, request: Request) -> Response:
        number = _number(request, "number")
        return json_response(await self._operator.credential_show(_app(request), number))

    async def credential_set(self, request: Request) -> Response:
        facts, number = await read_json(request), _number(request, "number")
        return json_response(await self._operator.credential_set(_app(request), number, facts))

    async def check(self, request: Request) -> Response:
        number = _number(request, "number")
        return json_response(await self._operator.credential_check(_app(request), number))

    async def client_config(self, request: Request) -> Response:
        numbers = (await read_json(request)).get("numbers", [])
        if not isinstance(numbers, list) or not all(isinstance(it, int) for it in numbers):
            raise CallError(70402, "numbers are certificate IDs")
        return json_response({"config": await self._operator.client_config(_app(request), numbers)})

    async def account_list(self, request: Request) -> Response:
        return json_response(await self._operator.account_list(_app(request), *_page(request)))

    async def account_show(self, request: Request) -> Response:
        return json_response(await self._operator.account_show(_app(request), _name(request)))

    async def account_export(self, request: Request) -> Response:
        before = number(request.query_params, "before", 0, NUMBER_MAX)
        found = await self._operator.account_export(_app(request), _name(request), before)
        return json_response(found)

    async def account_delete(self, request: Request) -> Response:
        return json_response(await self._operator.account_delete(_app(request), _name(request)))

    async def device_list(self, request: Request) -> Response:
        return json_response(await self._operator.device_list(_app(request), *_page(request)))

    async def device_show(self, request: Request) -> Response:
        return json_response(await self._operator.device_show(_app(request), _name(request)))

    async def device_unregister(self, request: Request) -> Response:
        return json_response(await self._operator.device_unregister(_app(request), _name(request)))

    async def credential_delete(self, request: Request) -> Response:
        await self._operator.credential_delete(_app(request), _number(request, "number"))
        return json_response({})


def create(
    operator: Operator,
    store: Store,
    presence: Presence,
    status: Status,
    channels: Channels | None = None,
    *,
    reload: Reload | None = None,
) -> Starlette:
    """The application to serve on the admin socket, and nowhere else."""

    async def admit(request: Request) -> App:
        text = request.path_params["sdkappid"]
        app = await store.app(int(text)) if text.isdecimal() and len(text) <= 10 else None
        if app is None:
            raise CallError(70020)
        return app

    books = Books(store, presence, admit, channels)
    return pages.create([*AdminPages(operator, status, reload).routes(), *books.routes()])


def _app(request: Request) -> int:
    return _number(request, "sdkappid")


def _name(request: Request) -> str:
    """The account or device that a call is about."""
    name = request.query_params.get("name", "")
    if not name:
        raise CallError(70402, "name is needed")
    return name


def _page(request: Request) -> tuple[int, int]:
    """What a list begins after, and how much it answers."""
    after = number(request.query_params, "after", 0, NUMBER_MAX)
    return after, number(request.query_params, "limit", PAGE_DEFAULT, LIST_MAX)


def _number(request: Request, name: str) -> int:
    number: int = request.path_params[name]
    if number > NUMBER_MAX:
        raise CallError(70402, f"{name} must be at most {NUMBER_MAX}")
    return number
