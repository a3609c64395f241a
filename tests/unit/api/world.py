"""A service in memory with one app, called through the same ASGI callable that is served."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import unquote, urlencode

import msgspec
from msgspec import Struct
from pyroaring import BitMap
from starlette.types import ASGIApp

from tests.sim.vendor import OneChannel, PlainChannel, Trouble, Vendor
from tocsin.adapters.bus import LocalBus
from tocsin.adapters.memory import MemoryStore
from tocsin.adapters.vault import AesVault
from tocsin.api.auth import Authenticator
from tocsin.api.commands.call import Services
from tocsin.api.commands.fields import FIELDS, codes_of
from tocsin.api.commands.table import BY_PATH
from tocsin.api.operator import OperatorService
from tocsin.api.rest import RestApi
from tocsin.clock import Chance, ManualClock
from tocsin.domain.device import Registered, Registration, register
from tocsin.domain.hello import DeviceFacts
from tocsin.domain.task import Task
from tocsin.domain.usersig import sign
from tocsin.errors import StoreError
from tocsin.metrics import Metrics
from tocsin.pipeline.accept import Accepting
from tocsin.pipeline.app_secrets import AppSecrets
from tocsin.pipeline.books import BooksReader
from tocsin.pipeline.erase import Erasing

APP = 1_400_000_001
OTHER_APP = 1_400_000_002
KEY = "0f1e2d3c4b5a69788796a5b4c3d2e1f000112233445566778899aabbccddeeff"
ADMIN = "administrator"

Answer = dict[str, Any]


class Connected:
    """A presence that a test says: who is connected, and which recalls it was told."""

    def __init__(self) -> None:
        self.devices: set[int] = set()
        self.revoked: list[str] = []

    def connected(self, app: int) -> BitMap:
        return BitMap(self.devices if app == APP else ())

    async def push(self, task: Task, language: int, devices: Sequence[int]) -> BitMap:
        raise AssertionError((task, language, devices))

    async def revoke(self, task: Task) -> None:
        self.revoked.append(task.task_id)


class World:
    """The service, and what a back end needs to call it."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.faults: set[str] = set()
        """Verbs of the store that fail."""
        self.store = MemoryStore(self.clock, self._fault)
        self.books = BooksReader(self.store, self.clock)
        self.vault = AesVault(bytes(32))
        self.bus = LocalBus()
        self.presence = Connected()
        self.metrics = Metrics()
        self.operator = OperatorService(self.store, self.vault, self.clock, bus=self.bus)
        self.authenticator = Authenticator(self.store, AppSecrets(self.vault), self.clock)
        plain = PlainChannel(Vendor(self.clock, Chance(1), Trouble()), replaces=True)
        self.channels = OneChannel(plain)
        accepting = Accepting(
            self.store,
            self.bus,
            self.presence,
            self.channels,
            clock=self.clock,
            chance=Chance(1),
            metrics=Metrics(),
        )
        self.services = Services(
            store=self.store,
            accepting=accepting,
            erasing=Erasing(self.store, self.bus, self.clock),
            presence=self.presence,
            bus=self.bus,
            clock=self.clock,
        )
        self.api = RestApi(self.services, self.authenticator, self.metrics)
        self.sent: list[dict[str, Any]] = []

    def _fault(self, verb: str) -> None:
        if verb in self.faults:
            raise StoreError(verb)

    async def open(self, profile: str = "unlimited", *names: str) -> None:
        """Create the app with its administrator, and these accounts."""
        facts = {"key": KEY, "admins": [ADMIN], "profile": profile}
        await self.operator.app_add(APP, facts)
        if names:
            answer = await self.call(
                "im_open_login_svc/multiaccount_import", {"Accounts": list(names)}
            )
            assert answer == ok(FailAccounts=[]), answer

    def query(self, **changed: str | None) -> str:
        """The URL's parameters of a right call, with these changed or (None) left out."""
        params = {
            "sdkappid": str(APP),
            "identifier": ADMIN,
            "usersig": self.usersig(),
            "random": "99999999",
            "contenttype": "json",
        }
        params.update({name: value for name, value in changed.items() if value is not None})
        left_out = [name for name, value in changed.items() if value is None]
        return urlencode({name: it for name, it in params.items() if name not in left_out})

    def usersig(self, name: str = ADMIN, key: str = KEY, expire_s: int = 86_400) -> str:
        """A UserSig made now."""
        return sign(APP, key, name, expire_s, self.clock.now())

    async def call(self, command: str, body: Any, **changed: str | None) -> Answer:
        """A call with a JSON body; the answer, which has to be an envelope."""
        return await self.raw(command, msgspec.json.encode(body), query=self.query(**changed))

    async def raw(
        self,
        command: str,
        body: bytes | Sequence[bytes] = b"{}",
        *,
        query: str | None = None,
        method: str = "POST",
        headers: Sequence[tuple[bytes, bytes]] = (),
        address: str = "192.0.2.1",
    ) -> Answer:
        """A call as bytes."""
        self.sent.clear()
        parts = [body] if isinstance(body, bytes) else list(body)
        waiting = iter(range(len(parts)))

        async def receive() -> dict[str, Any]:
            turn = next(waiting)
            is_more = turn + 1 < len(parts)
            return {"type": "http.request", "body": parts[turn], "more_body": is_more}

        async def send(message: Any) -> None:
            self.sent.append(message)

        scope = {
            "type": "http",
            "method": method,
            "path": f"/v4/{command}",
            "query_string": (self.query() if query is None else query).encode(),
            "headers": list(headers),
            "client": (address, 50_000),
        }
        await self.api(scope, receive, send)
        answer = envelope(self.sent)
        check_codes(f"/v4/{command}", answer)
        return answer

    async def device(
        self, registration_id: str, user: str = "", *, platform: str = "iPhone"
    ) -> Registered:
        """Register a device."""
        ask = Registration(
            registration_id=registration_id,
            fresh_secret=f"secret of {registration_id}",
            user=user,
            facts=DeviceFacts(platform=platform),
        )
        decide = register(ask, self.clock.now())
        registered = await self.store.update_device(APP, registration_id, user, None, decide)
        assert isinstance(registered, Registered)
        return registered

    async def dump(self, names: Sequence[str] = ()) -> Any:
        """Everything that a call could have changed, comparable."""
        return (
            await self.store.apps(),
            await self.store.app(APP),
            await self.store.accounts(APP, [ADMIN, *names]),
            await self.store.changes(APP, 0, 1_000_000),
            await self.store.tasks(APP, limit=1_000_000),
            await self.store.credentials(APP),
            await self.store.depth(),
        )


def envelope(sent: Sequence[Mapping[str, Any]]) -> Answer:
    """The answer that was sent, after a look at what every answer has."""
    start, body = sent
    assert start["status"] == 200, start
    headers = dict(start["headers"])
    assert headers[b"content-type"] == b"application/json"
    assert headers[b"content-length"] == str(len(body["body"])).encode()
    answer: Answer = msgspec.json.decode(body["body"])
    assert type(answer["ErrorCode"]) is int, answer
    assert isinstance(answer["ErrorInfo"], str), answer
    assert answer["ActionStatus"] == ("FAIL" if answer["ErrorCode"] else "OK"), answer
    assert bool(answer["ErrorInfo"]) == bool(answer["ErrorCode"]), answer
    return answer


def check_codes(path: str, answer: Answer) -> None:
    """Every code of an answer is one that docs/commands.md has for the command."""
    command = BY_PATH.get(path)
    if command is None:
        return
    code = answer["ErrorCode"]
    assert code == 0 or code in codes_of(command), (path, answer)
    items = [*answer.get("ErrorList", []), *answer.get("ResultItem", [])]
    listed = {item.get("ErrorCode", item.get("ResultCode", 0)) for item in items}
    assert listed <= {0, *FIELDS[command.name].listed}, (path, answer)


def ok(**members: Any) -> Answer:
    """A success with these members."""
    return {"ActionStatus": "OK", "ErrorInfo": "", "ErrorCode": 0, **members}


def failed(*pairs: tuple[str, int]) -> list[Answer]:
    """An ErrorList."""
    return [{"ErrorCode": code, "To_Account": account} for account, code in pairs]


def world_of(*names: str, profile: str = "unlimited") -> World:
    """An opened world, for tests without an event loop of their own."""
    world = World()
    asyncio.run(world.open(profile, *names))
    return world


class Asked(Struct, frozen=True):
    """What a page answered."""

    status: int
    body: bytes

    def json(self) -> Any:
        """The answer as JSON."""
        return msgspec.json.decode(self.body)


async def ask(
    app: ASGIApp,
    method: str,
    path: str,
    body: Any = None,
    *,
    bearer: str = "",
    raw: bytes | None = None,
    more: Sequence[tuple[str, str]] = (),
) -> Asked:
    """One request to an ASGI application, with `more` headers."""
    path, _, query = path.partition("?")
    sent: list[Any] = []
    if raw is None:
        raw = b"" if body is None else msgspec.json.encode(body)

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": raw}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"host", b"test"), *((name.encode(), it.encode()) for name, it in more)]
    if bearer:
        headers.append((b"authorization", f"Bearer {bearer}".encode()))
    scope = {
        "type": "http",
        "method": method,
        "path": unquote(path),
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": headers,
        "client": ("192.0.2.1", 50_000),
        "server": ("192.0.2.9", 80),
        "scheme": "http",
        "root_path": "",
        "http_version": "1.1",
    }
    await app(scope, receive, send)
    body_parts = (each.get("body", b"") for each in sent[1:])
    return Asked(sent[0]["status"], b"".join(body_parts))
