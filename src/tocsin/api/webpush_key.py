"""`/v1/apps/<sdkappid>/webpush/public-key`: the key with which a web page subscribes to pushes.

Anybody may read the key: it is public, and every browser that subscribes has it.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from tocsin.api import pages
from tocsin.api.cors import Cors, origin_of
from tocsin.api.http import json_response, route
from tocsin.channels.credentials import open_settings, vendor_of
from tocsin.channels.registry import subscription_key_of
from tocsin.domain.app import App, Credential
from tocsin.domain.bounded import BoundedCache
from tocsin.errors import CallError
from tocsin.ports import Vault
from tocsin.store import Store

KEYS_MAX = 256
"""Keys in the cache: opening a credential for each request would cost too much."""
CACHE = (b"cache-control", b"public, max-age=300")
"""A browser may keep the answer for five minutes."""


class WebPushKeyPage:
    """Answers the public key of an app's VAPID key pair."""

    def __init__(self, store: Store, vault: Vault, cors: Cors) -> None:
        self._store = store
        self._cors = cors
        self._vault = vault
        self._keys: BoundedCache[tuple[int, int, int], str] = BoundedCache(KEYS_MAX)

    def routes(self) -> list[BaseRoute]:
        """The route of the page."""
        return [route("/v1/apps/{sdkappid}/webpush/public-key", self._show)]

    async def _show(self, request: Request) -> Response:
        app = await self._app(request.path_params["sdkappid"])
        answer = await self._answer(app, request)
        origin = origin_of(request.scope["headers"])
        answer.raw_headers.extend(await self._cors.of_call(origin, app.sdkappid))
        return answer

    async def _answer(self, app: App, request: Request) -> Response:
        number = pages.number(request.query_params, "credential", 0, pages.NUMBER_MAX)
        records = [
            record
            for record in await self._store.credentials(app.sdkappid)
            if record.is_enabled and (record.number == number or not number)
        ]
        # The newest credential first: new subscriptions belong to it.
        for record in reversed(records):
            if key := self._key(record):
                answer = {"credential": record.number, "public_key": key}
                return json_response(answer, headers=[CACHE])
        return pages.refused(CallError(70402, "the app has no such Web Push credential"), 404)

    async def _app(self, text: str) -> App:
        app = None
        if text.isascii() and text.isdecimal() and len(text) <= len(str(pages.NUMBER_MAX)):
            app = await self._store.app(int(text))
        if app is None:
            raise CallError(70020)
        if not app.is_enabled:
            raise CallError(60016)
        return app

    def _key(self, record: Credential) -> str:
        """The public key of a credential; empty if it has none or cannot be opened."""
        name = (record.app, record.number, record.version)
        key = self._keys.get(name)
        if key is None:
            key = self._read(record)
            self._keys.put(name, key)
        return key

    def _read(self, record: Credential) -> str:
        try:
            vendor = vendor_of(record.channel)
            return subscription_key_of(vendor)(open_settings(self._vault, record, vendor))
        except ValueError:
            return ""
