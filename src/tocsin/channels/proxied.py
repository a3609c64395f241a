"""A credential's own proxy: sealed in its record, and put into each request that it sends."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from tocsin.channels.batch_run import DriverTools
from tocsin.conversation import Fault, Request, Response
from tocsin.domain.app import Credential
from tocsin.domain.proxy import check_proxy
from tocsin.ports import Http, Vault


class ProxiedHttp:
    """An `Http` that goes through one proxy, whatever else does."""

    def __init__(self, http: Http, proxy: str) -> None:
        self._http = http
        self._proxy = proxy

    async def send(
        self,
        request: Request,
        deadline_s: float,
        may_begin: Callable[[], bool] | None = None,
    ) -> Response | Fault:
        placed = msgspec.structs.replace(request, proxy=self._proxy)
        return await self._http.send(placed, deadline_s, may_begin)


def tools_through(tools: DriverTools, proxy: str) -> DriverTools:
    """The tools of a driver whose credential names this proxy; empty: it names none."""
    if not proxy:
        return tools
    return msgspec.structs.replace(tools, http=ProxiedHttp(tools.http, proxy))


def seal_proxy(vault: Vault, app: int, proxy: str) -> bytes:
    """What `Credential.proxy` holds; raises `ValueError` for what is no proxy's URL."""
    check_proxy(proxy)
    return vault.seal(proxy.encode(), _context(app)) if proxy else b""


def open_proxy(vault: Vault, record: Credential) -> str:
    """A record's proxy, with its password; raises `ValueError` when it cannot be read."""
    return vault.open(record.proxy, _context(record.app)).decode() if record.proxy else ""


def _context(app: int) -> str:
    return f"{app}/proxy"


_fits_its_port: type[Http] = ProxiedHttp
