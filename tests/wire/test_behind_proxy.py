"""The proxies of docs/operations.md, their configurations taken from the page, before a service."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
from msgspec import Struct
from yarl import URL

from tests.architecture.tree import REPO
from tests.patience import PATIENCE_S
from tests.wire.api_kit import APP, REGISTRATIONS, Served, serving
from tests.wire.throwaway_ca import ThrowawayCa
from tocsin.clock import SystemClock
from tocsin.config import DeviceSettings
from tocsin.sandbox.kept_port import keep_port

pytestmark = pytest.mark.optional

PAGE = (REPO / "docs/operations.md").read_text(encoding="utf-8")


class Proxy(Struct, frozen=True):
    """A proxy that listens, and whom it is asked by."""

    url: str
    tls: ssl.SSLContext | None
    log: Path | None
    """Where it writes who called."""

    def client(self, address: str = "127.0.0.1") -> aiohttp.ClientSession:
        """A caller at an address of its own."""
        place = aiohttp.TCPConnector(local_addr=(address, 0), ssl=self.tls or False)
        return aiohttp.ClientSession(connector=place)


def blocks(language: str) -> list[str]:
    """The page's examples in a language."""
    section = PAGE.split("## Behind a reverse proxy\n", 1)[1].split("\n## ", 1)[0]
    return re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)


@asynccontextmanager
async def running(words: list[str], port: int, folder: Path) -> AsyncIterator[None]:
    """A proxy until the block ends."""
    log = folder / "proxy-stderr.log"
    with log.open("wb") as stderr:
        process = await asyncio.create_subprocess_exec(
            *words, stdout=stderr, stderr=stderr, env={**os.environ, "HOME": str(folder)}
        )
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not await listens(port):
                assert process.returncode is None, log.read_text()
                await SystemClock().sleep(0.01)
        yield
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


def put(text: str, **changed: str) -> str:
    """The page's example with this machine's places in it; each is there to be changed."""
    for old, new in changed.items():
        assert old in text
        text = text.replace(old, new)
    return text


@asynccontextmanager
async def nginx(
    served: Served, folder: Path, port: int, *, is_prefixed: bool
) -> AsyncIterator[Proxy]:
    """nginx as the page says, at the root or with the page's prefix."""
    maps, (server, prefix_map, prefix_location) = "", blocks("nginx")
    if is_prefixed:
        maps = prefix_map
        before, rest = server.split("    location / {", 1)
        server = before + prefix_location + rest.split("    }\n", 1)[1]
    ca, identity = ThrowawayCa(), folder / "identity.pem"
    identity.write_text(ca.identity("localhost"))
    changed = {
        "listen 443": f"listen 127.0.0.1:{port}",
        "    listen [::]:443 ssl http2;\n": "",
        "127.0.0.1:8080": urlsplit(served.url).netloc,
        "/etc/ssl/push.example.com.pem": str(identity),
        "/etc/ssl/private/push.example.com.key": str(identity),
        "/var/log/nginx/tocsin.log": str(log := folder / "access.log"),
    }
    paths = "".join(
        f"{name}_temp_path {folder}/{name};\n"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    conf = folder / "nginx.conf"
    conf.write_text(
        f"daemon off; master_process off; pid {folder}/pid; error_log stderr;\n"
        f"events {{}}\nhttp {{\n{paths}{maps}{put(server, **changed)}}}\n"
    )
    words = ["nginx", "-p", str(folder), "-e", "stderr", "-c", str(conf)]
    async with running(words, port, folder):
        path = "/push" if is_prefixed else ""
        yield Proxy(
            f"https://127.0.0.1:{port}{path}", ssl.create_default_context(cadata=ca.pem), log
        )


@asynccontextmanager
async def caddy(
    served: Served, folder: Path, port: int, *, is_prefixed: bool
) -> AsyncIterator[Proxy]:
    """Caddy as the page says, in plain HTTP: its certificates come from far away."""
    (text,) = blocks("caddyfile")
    text = put(text, **{"push.example.com": f"http://127.0.0.1:{port}"})
    inner = "reverse_proxy 127.0.0.1:8080"
    if is_prefixed:
        handled = re.search(r"`(handle_path /push/\*) \{ (.*?) \}`", PAGE)
        assert handled is not None
        assert handled[2] == inner
        text = put(text, **{inner: f"{handled[1]} {{\n{inner}\n}}"})
    conf = folder / "Caddyfile"
    text = put(text, **{"127.0.0.1:8080": urlsplit(served.url).netloc})
    conf.write_text("{\n admin off\n default_bind 127.0.0.1\n}\n" + text)
    async with running(["caddy", "run", "--config", str(conf)], port, folder):
        path = "/push" if is_prefixed else ""
        yield Proxy(f"http://127.0.0.1:{port}{path}", None, None)


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    slowly = DeviceSettings(new_per_minute=REGISTRATIONS)
    async with serving(tmp_path / "data", devices=slowly) as running_here:
        yield running_here


@pytest.fixture(
    params=[
        pytest.param((run, is_prefixed), id=f"{run.__name__}{' prefix' if is_prefixed else ''}",
                     marks=pytest.mark.server(run.__name__))
        for run in (nginx, caddy) for is_prefixed in (False, True)
    ]
)  # fmt: skip
async def proxy(
    request: pytest.FixtureRequest, served: Served, tmp_path: Path
) -> AsyncIterator[Proxy]:
    run: Callable[..., Any]
    run, is_prefixed = request.param
    if shutil.which(run.__name__) is None:
        pytest.skip(f"{run.__name__} is not installed")
    with keep_port("127.0.0.1") as kept:
        port = kept.getsockname()[1]
        async with run(served, tmp_path, port, is_prefixed=is_prefixed) as here:
            yield here


@pytest.mark.evidence(
    "the page's nginx and Caddy bring calls, WebSockets, names with `/` and callers' "
    "addresses, at the root and under a prefix; no UserSig in the log",
    topic="Installing it",
    planted="`proxy_pass` with a path, which decodes `%2F`; no X-Forwarded-For; `$request` "
    "logged; no Upgrade; nginx's own limit of bodies",
)
async def test_calls_devices_and_callers_come_through_a_proxy(proxy: Proxy, served: Served) -> None:
    appkey = (await served.admin.app_show(APP))["appkey"]
    hello = {"type": "hello", "sdkappid": APP, "appkey": appkey}
    async with proxy.client() as back_end:
        accounts = {"Accounts": ["a/b"], "Pad": "x" * 1_000_000}
        call = proxy.url + served.path("im_open_login_svc/multiaccount_import")
        async with back_end.post(call, json=accounts) as answer:
            assert (await answer.json())["ErrorCode"] == 0
        # What is too large is refused by the service, in the API's own words.
        async with back_end.post(call, data=BytesIO(b" " * 1_100_000)) as answer:
            assert (await answer.json())["ErrorCode"] == 60002
        # A name with a slash in it keeps it.
        bearer = {"Authorization": f"Bearer {served.usersig}"}
        shown = f"{proxy.url}/v1/apps/{APP}/devices/a%2Fb"
        async with back_end.get(URL(shown, encoded=True), headers=bearer) as answer:
            assert (answer.status, (await answer.json())["devices"]) == (200, [])
    await try_callers(proxy, hello)
    if proxy.log is not None:
        told = await asyncio.to_thread(proxy.log.read_text)
        assert "/im_open_login_svc/multiaccount_import" in told
        assert "usersig" not in told
        assert served.usersig[:20] not in told


async def try_callers(proxy: Proxy, hello: dict[str, Any]) -> None:
    """Each address has its own limit, whatever it says of itself; sockets have the same one."""

    async def code(client: aiohttp.ClientSession, **headers: str) -> int:
        register = f"{proxy.url}/v1/devices/register"
        async with client.post(register, json=hello, headers=headers) as answer:
            return int((await answer.json())["ErrorCode"])

    async with proxy.client("127.0.0.2") as first, proxy.client("127.0.0.3") as second:
        assert {await code(first) for _ in range(REGISTRATIONS)} == {0}
        spoofed = {"X-Forwarded-For": "198.51.100.1"}
        assert [await code(first), await code(first, **spoofed)] == [800102, 800102]
        assert await code(second) == 0
        for client, type_of in ((first, "error"), (second, "registered")):
            async with client.ws_connect(f"{proxy.url}/v4/online") as phone:
                await phone.send_json(hello)
                assert (await phone.receive_json())["type"] == type_of
