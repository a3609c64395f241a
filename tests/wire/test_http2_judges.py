"""Foreign servers judge our HTTP/2: nginx, and nghttpd where it is installed."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from benchmarks.sink import sink, wait_for
from tests.patience import PATIENCE_S
from tests.wire.throwaway_ca import ThrowawayCa
from tocsin.adapters.http import OutgoingHttp
from tocsin.conversation import Fault, Request, Response
from tocsin.sandbox.kept_port import keep_port


def needs(name: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(name) is None, reason=f"{name} is not installed")


def kind(answer: Response | Fault) -> str:
    return f"{answer.kind}: {answer.reason}" if isinstance(answer, Fault) else str(answer.status)


async def ask_often(origin: str, ca: str) -> Counter[str]:
    """Small requests and large ones, more than a connection takes at once."""
    async with contextlib.AsyncExitStack() as stack:
        http = OutgoingHttp()
        await http.start(stack)
        asked = [
            Request(
                "GET" if number % 2 else "POST",
                origin,
                "/file",
                (("x-number", str(number)), ("x-same", "s" * 200)),
                b"" if number % 2 else b"x" * (number * 150),
                ca=ca,
                http2=True,
            )
            for number in range(300)
        ]
        answers = [http.send(request, PATIENCE_S) for request in asked]
        return Counter(map(kind, await asyncio.gather(*answers)))


@pytest.mark.server("nginx")
@needs("nginx")
async def test_nginx_answers_each_request() -> None:
    with sink("return 200 'fine';") as target:
        assert await ask_often(target.origin, target.ca) == {"200": 300}


@pytest.mark.server("nghttpd")
@needs("nghttpd")
async def test_nghttpd_answers_each_request(tmp_path: Path) -> None:
    ca = ThrowawayCa()
    pem = tmp_path / "server.pem"
    pem.write_text(ca.identity("localhost"))
    (tmp_path / "file").write_text("fine" * 1_000)
    with keep_port("127.0.0.1") as kept:
        port = kept.getsockname()[1]
        arguments = ["nghttpd", "-d", str(tmp_path), "-a", "127.0.0.1", str(port)]
        process = subprocess.Popen(  # noqa: ASYNC220 - it starts at once
            [*arguments, str(pem), str(pem)], stdout=subprocess.DEVNULL
        )
        try:
            await asyncio.to_thread(wait_for, port)
            assert await ask_often(f"https://localhost:{port}", ca.pem) == {"200": 300}
        finally:
            process.terminate()
            process.wait()
