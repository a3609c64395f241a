"""The door under `/v4/`: a plain ASGI callable that takes a call through its checks in order.

Every answer is HTTP 200 with the envelope, whatever happened (trtc.io/document/34620). The order
of checks: path, method, lengths, app, contenttype, UserSig with its lock-out, administrator, rate,
body, fields.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import msgspec

from tocsin.api.auth import Doorkeeper
from tocsin.api.commands.call import Call, Desk
from tocsin.api.commands.table import BODY_MAX_BYTES, BY_PATH, Command
from tocsin.api.commands.unserved import FAMILY_OF, refuse_unserved
from tocsin.api.cors import VARY, Cors, Header, origin_of
from tocsin.api.wire import Answer, read_body, read_query, refusal
from tocsin.clock import Clock
from tocsin.domain.app import App
from tocsin.domain.bounded import Bounded
from tocsin.domain.quota import Bucket
from tocsin.errors import CallError, StoreError
from tocsin.log import get_logger
from tocsin.metrics import Metrics

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

JSON = (b"content-type", b"application/json")


class Gone(Exception):
    """The caller hung up before the body was whole: nobody waits for an answer."""


RATES_MAX = 50_000
"""Apps and commands whose calls are counted: those called last."""


class Rates:
    """Calls a second, per app and command, of this process."""

    def __init__(self, clock: Clock, entries_max: int = RATES_MAX) -> None:
        self._clock = clock
        self._buckets: Bounded[tuple[int, str], Bucket] = Bounded(entries_max)

    def take(self, app: App, command: Command) -> None:
        """Count one call; 60007 when it is one too many."""
        rate = command.rate_of(app.limits)
        if not rate:
            return
        now = self._clock.monotonic()
        name = (app.sdkappid, command.counted_as or command.path)
        bucket = self._buckets.get(name)
        if bucket is None or bucket.rate != rate:
            bucket = Bucket(rate, max(rate, 1.0), now)
            self._buckets.put(name, bucket)
        if not bucket.take(now):
            raise CallError(60007)


class RestApi:
    """`/v4/<service>/<command>`."""

    def __init__(
        self, desk: Desk, doorkeeper: Doorkeeper, metrics: Metrics, cors: Cors | None = None
    ) -> None:
        self._desk = desk
        self._doorkeeper = doorkeeper
        self._metrics = metrics
        self._clock = desk.clock
        self._cors = cors or Cors(desk.store)
        self._rates = Rates(desk.clock)
        self._encode = msgspec.json.Encoder().encode
        self._log = get_logger(__name__)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = self._clock.monotonic()
        command = BY_PATH.get(scope["path"])
        origin = origin_of(scope["headers"])
        if origin and command is not None:
            allowed = await self._cors.preflight(scope["method"], scope["headers"])
            if allowed is not None:
                await send({"type": "http.response.start", "status": 204, "headers": allowed})
                await send({"type": "http.response.body", "body": b""})
                return
        try:
            answer = await self._answer(command, scope, receive)
        except Gone:
            return
        name = name_of(command, scope["path"])
        self._metrics.count("calls", command=name, code=answer.code)
        self._metrics.observe("call_seconds", self._clock.monotonic() - began, command=name)
        # A query costs something to read again, so only for a page.
        cors = await self._cors.of_call(origin, _app_of(scope)) if origin else [VARY]
        await self._send(answer, cors, send)

    async def _answer(self, command: Command | None, scope: Scope, receive: Receive) -> Answer:
        if command is None:
            return refusal(Answer, refuse_unserved(scope["path"]))
        try:
            return await self._carry_out(command, scope, receive)
        except CallError as error:
            return refusal(command.answer, error)
        except Gone:
            raise
        except StoreError as error:
            self._log.warning("the store refused a call", command=scope["path"], exc_info=error)
            return refusal(command.answer, CallError(91000))
        except Exception as error:  # noqa: BLE001 (a call is an outermost loop)
            self._log.exception("a call failed", command=scope["path"], exc_info=error)
            self._metrics.count("loop_errors", loop="api")
            return refusal(command.answer, CallError(91000))

    async def _carry_out(self, command: Command, scope: Scope, receive: Receive) -> Answer:
        if scope["method"] != "POST":
            raise CallError(60002)
        query = read_query(scope["query_string"])
        client = scope.get("client")
        address = client[0] if client else ""
        caller = await self._doorkeeper.admit(query, address, command.not_admin)
        self._rates.take(caller.app, command)
        raw = await receive_body(scope, receive, BODY_MAX_BYTES)
        if len(raw) > command.body_max_bytes:
            raise CallError(command.too_long)
        body = read_body(raw, command.bad_json, is_fieldless=command.is_fieldless)
        return await command.handle(self._desk, Call(caller.app, caller.identifier, body))

    async def _send(self, answer: Answer, cors: list[Header], send: Send) -> None:
        body = self._encode(answer)
        headers = [JSON, (b"content-length", str(len(body)).encode()), *cors]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def name_of(command: Command | None, path: str) -> str:
    """What a call is counted under: strangers choose paths, so not by those that nobody serves."""
    if command is None:
        return "unserved" if path in FAMILY_OF else "unknown"
    return f"{command.service}/{command.name}"


def _app_of(scope: Scope) -> int:
    """The app that a URL is about, also where the call is refused; 0 where it is about none."""
    try:
        text = read_query(scope["query_string"]).get("sdkappid", "")
    except CallError:
        return 0
    return int(text) if text.isascii() and text.isdigit() else 0


async def receive_body(scope: Scope, receive: Receive, most: int) -> bytes:
    """The body of a request; 60002 as soon as it is known to be longer than `most` bytes."""
    for name, value in scope["headers"]:
        if name == b"content-length":
            # Blanks around a value are no part of it (RFC 9110, 5.5).
            told = value.strip()
            if not told.isdigit() or int(told[:20]) > most:
                raise CallError(60002)
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Gone
        part = message.get("body", b"")
        size += len(part)
        if size > most:
            raise CallError(60002)
        if part:
            parts.append(part)
        if not message.get("more_body", False):
            return parts[0] if len(parts) == 1 else b"".join(parts)
