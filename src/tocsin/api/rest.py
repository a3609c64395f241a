"""The REST API under `/v4/`: a plain ASGI callable that makes the checks of a call in order.

Every answer is HTTP 200 with the envelope, also a refusal (trtc.io/document/34620). The order
of checks: path, method, lengths, app, contenttype, UserSig with its lock-out, administrator, rate,
body, fields.
"""

from __future__ import annotations

from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from tocsin.api.auth import Authenticator
from tocsin.api.commands.call import CommandCall, Services
from tocsin.api.commands.table import BODY_MAX_BYTES, BY_PATH, Command
from tocsin.api.commands.unserved import FAMILY_OF, refuse_unserved
from tocsin.api.cors import VARY, Cors, origin_of
from tocsin.api.http import check_content_length, client_address, receive_body, send_json
from tocsin.api.wire import Answer, read_body, read_query, refusal
from tocsin.clock import Clock
from tocsin.domain.app import App
from tocsin.domain.bounded import BoundedCache
from tocsin.domain.quota import Bucket
from tocsin.errors import CallError, StoreError
from tocsin.log import get_logger
from tocsin.metrics import Metrics

RATES_MAX = 50_000
"""Pairs of app and command whose calls are counted: the last called ones."""


class RateLimits:
    """QuotaLimits the calls a second of each app and command, in this process."""

    def __init__(self, clock: Clock, entries_max: int = RATES_MAX) -> None:
        self._clock = clock
        self._buckets: BoundedCache[tuple[int, str], Bucket] = BoundedCache(entries_max)

    def take(self, app: App, command: Command) -> None:
        """Count one call; raises `CallError` 60007 where the rate is exceeded."""
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
        self,
        services: Services,
        authenticator: Authenticator,
        metrics: Metrics,
        cors: Cors | None = None,
    ) -> None:
        self._services = services
        self._authenticator = authenticator
        self._metrics = metrics
        self._clock = services.clock
        self._cors = cors or Cors(services.store)
        self._rates = RateLimits(services.clock)
        self._log = get_logger(__name__)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = self._clock.monotonic()
        command = BY_PATH.get(scope["path"])
        origin = origin_of(scope["headers"])
        if origin and command is not None:
            preflight = await self._cors.preflight(scope)
            if preflight is not None:
                await preflight(scope, receive, send)
                return
        try:
            answer = await self._answer(command, scope, receive)
        except ClientDisconnect:
            # The client left: nobody reads an answer.
            return
        name = name_of(command, scope["path"])
        self._metrics.count("calls", command=name, code=answer.code)
        self._metrics.observe("call_seconds", self._clock.monotonic() - began, command=name)
        # The query is read a second time, so only for web pages.
        cors = await self._cors.of_call(origin, _app_of(scope)) if origin else [VARY]
        await send_json(send, answer, cors)

    async def _answer(self, command: Command | None, scope: Scope, receive: Receive) -> Answer:
        if command is None:
            return refusal(Answer, refuse_unserved(scope["path"]))
        try:
            return await self._carry_out(command, scope, receive)
        except CallError as error:
            return refusal(command.answer, error)
        except ClientDisconnect:
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
        caller = await self._authenticator.authenticate(
            query, client_address(scope), command.not_admin
        )
        self._rates.take(caller.app, command)
        check_content_length(scope, BODY_MAX_BYTES)
        raw = await receive_body(receive, BODY_MAX_BYTES)
        if len(raw) > command.body_max_bytes:
            raise CallError(command.too_long)
        body = read_body(raw, command.bad_json, is_fieldless=command.is_fieldless)
        return await command.handle(
            self._services, CommandCall(caller.app, caller.identifier, body)
        )


def name_of(command: Command | None, path: str) -> str:
    """The command's name in metrics. Strangers choose paths, so unknown ones share two names."""
    if command is None:
        return "unserved" if path in FAMILY_OF else "unknown"
    return f"{command.service}/{command.name}"


def _app_of(scope: Scope) -> int:
    """The app that a URL names, also where the call is refused; 0 where it names none."""
    try:
        text = read_query(scope["query_string"]).get("sdkappid", "")
    except CallError:
        return 0
    return int(text) if text.isascii() and text.isdigit() else 0
