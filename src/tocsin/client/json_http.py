"""JSON calls over HTTP, on connections that stay open: every client here uses it."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import aiohttp
import msgspec

CONNECTIONS_MAX = 64
TIMEOUT_S = 30.0
"""The service answers within three seconds; the rest is for a busy machine."""

Method = Literal["GET", "POST", "DELETE"]


class Refused(Exception):
    """The service refused: `code` and `info` are its ErrorCode and ErrorInfo."""

    def __init__(self, code: int, info: str, command: str) -> None:
        super().__init__(f"{command}: {code} {info}".rstrip())
        self.code = code
        self.info = info
        self.command = command


class Unreachable(Exception):
    """No answer came: nobody listens there, the connection broke, or it took too long."""

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(f"{where}: {reason}")
        self.where = where
        self.reason = reason


class JsonHttp:
    """Calls one server, by its base URL or through a Unix socket.

    It opens connections at the first use, so it may be made outside an event loop.
    """

    def __init__(
        self,
        base_url: str,
        *,
        unix_socket: Path | None = None,
        ca_file: Path | None = None,
        connections_max: int = CONNECTIONS_MAX,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self._unix_socket = unix_socket
        self._ca_file = ca_file
        self._connections_max = connections_max
        self._timeout_s = timeout_s
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections; the next call would open new ones."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    @property
    def session(self) -> aiohttp.ClientSession:
        """The HTTP session, for WebSockets."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=self._connector(),
                timeout=aiohttp.ClientTimeout(total=self._timeout_s),
            )
        return self._session

    def _connector(self) -> aiohttp.BaseConnector:
        if self._unix_socket is not None:
            return aiohttp.UnixConnector(path=str(self._unix_socket), limit=self._connections_max)
        trust: ssl.SSLContext | bool = True
        if self._ca_file is not None:
            trust = ssl.create_default_context(cafile=str(self._ca_file))
        return aiohttp.TCPConnector(limit=self._connections_max, ssl=trust)

    async def call(
        self,
        method: Method,
        path: str,
        body: Any = None,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """Make one call; answers the JSON of the response, whatever its status.

        Raises `Unreachable` where no JSON came. Never repeats a call.
        """
        data = None if body is None else msgspec.json.encode(body)
        sent = {"Content-Type": "application/json"} if data is not None else {}
        try:
            async with self.session.request(
                method,
                self.base_url + path,
                data=data,
                params=params,
                headers={**sent, **(headers or {})},
                allow_redirects=False,
            ) as response:
                answer, status = await response.read(), response.status
        except (aiohttp.ClientError, OSError, TimeoutError) as fault:
            raise Unreachable(self._where(), str(fault) or type(fault).__name__) from fault
        try:
            return msgspec.json.decode(answer)
        except msgspec.DecodeError as fault:
            raise Unreachable(self._where(), f"HTTP {status} without a JSON answer") from fault

    async def ask(
        self,
        method: Method,
        path: str,
        body: Any = None,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Make one call; raises `Refused` where the answer is a FAIL envelope."""
        answer = await self.call(method, path, body, params=params, headers=headers)
        if not isinstance(answer, dict):
            raise Unreachable(self._where(), "the answer is no JSON object")
        code = answer.get("ErrorCode", 0)
        if code:
            raise Refused(code, str(answer.get("ErrorInfo", "")), path)
        return answer

    def _where(self) -> str:
        return str(self._unix_socket) if self._unix_socket is not None else self.base_url
