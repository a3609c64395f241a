"""A real browser, led by its DevTools protocol: headless, with a profile of its own."""

from __future__ import annotations

import asyncio
import functools
import json
import shutil
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

from tests.patience import PATIENCE_S

FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage")
READY = "DevTools listening on "


class Quiet(SimpleHTTPRequestHandler):
    """Serves files and writes no log."""

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
        pass


@contextmanager
def site(folder: Path) -> Iterator[str]:
    """The folder as a web site on loopback; answers its origin, which counts as secure."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://localhost:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Browser:
    """Commands to one browser."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._number = 0
        self._events: list[dict[str, Any]] = []

    async def call(self, method: str, session: str = "", **params: Any) -> dict[str, Any]:
        """One command; what else the browser tells meanwhile is kept."""
        self._number += 1
        told: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if session:
            told["sessionId"] = session
        await self._socket.send(json.dumps(told))
        async with asyncio.timeout(PATIENCE_S):
            while True:
                heard: dict[str, Any] = json.loads(await self._socket.recv())
                if heard.get("id") == self._number:
                    assert "error" not in heard, heard
                    result: dict[str, Any] = heard["result"]
                    return result
                self._events.append(heard)

    async def tab(self, url: str) -> Tab:
        """Open a page."""
        target = (await self.call("Target.createTarget", url=url))["targetId"]
        return await self._attached(target)

    async def worker(self) -> Tab:
        """The service worker that runs."""
        found = (await self.call("Target.getTargets"))["targetInfos"]
        (target,) = [it["targetId"] for it in found if it["type"] == "service_worker"]
        return await self._attached(target)

    async def deliver(self, tab: Tab, origin: str, message: dict[str, Any]) -> None:
        """Hand a push message to the origin's service worker, as a push service would."""
        await self.call("ServiceWorker.enable", tab.session)
        async with asyncio.timeout(PATIENCE_S):
            while not (known := self._registrations()):
                await self.call("Target.getTargets")
        await self.call(
            "ServiceWorker.deliverPushMessage",
            tab.session,
            origin=origin,
            registrationId=known[-1],
            data=json.dumps(message),
        )

    def _registrations(self) -> list[str]:
        told = [it for it in self._events if it.get("method", "").endswith("RegistrationUpdated")]
        return [each["registrationId"] for it in told for each in it["params"]["registrations"]]

    async def _attached(self, target: str) -> Tab:
        told = await self.call("Target.attachToTarget", targetId=target, flatten=True)
        return Tab(self, target, told["sessionId"])


class Tab:
    """A page or a service worker."""

    def __init__(self, browser: Browser, target: str, session: str) -> None:
        self._browser = browser
        self._target = target
        self.session = session

    async def run(self, body: str) -> Any:
        """What the body of an async function returns here."""
        told = await self._browser.call(
            "Runtime.evaluate",
            self.session,
            expression=f"(async () => {{ {body} }})()",
            awaitPromise=True,
            returnByValue=True,
        )
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    async def until(self, body: str, wanted: Any) -> None:
        """Wait until the body returns this."""
        async with asyncio.timeout(PATIENCE_S):
            while await self.run(body) != wanted:
                pass

    async def close(self) -> None:
        await self._browser.call("Target.closeTarget", targetId=self._target)


@asynccontextmanager
async def chromium(profile: Path) -> AsyncIterator[Browser]:
    """A browser until the block ends."""
    process = await asyncio.create_subprocess_exec(
        shutil.which("chromium") or "chromium",
        *FLAGS,
        "--remote-debugging-port=0",
        f"--user-data-dir={profile}",
        "about:blank",
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not (line := (await process.stderr.readline()).decode()).startswith(READY):
                assert line, "chromium has ended"
        url = line.removeprefix(READY).strip()
        reading = asyncio.create_task(process.stderr.read())
        async with connect(url, max_size=None, compression=None, proxy=None) as socket:
            yield Browser(socket)
        reading.cancel()
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
