"""A server in a process of its own: the service's `/v4/` door, or something to stand beside it.

    python -m benchmarks.server tocsin --folder DIR --cached 100000
    python -m benchmarks.server constant --bytes 9000
    python -m benchmarks.server redis --redis 6379

All three stand on the same uvicorn, httptools and uvloop, and read the whole request. The last one
answers get_tag from Redis with one pipeline of SMEMBERS a call, and checks no UserSig: what a lean
tag service over Redis would cost. It prints its port and serves until it is terminated.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from subprocess import PIPE, Popen

import msgspec
import uvicorn
import uvloop
from starlette.types import ASGIApp, Receive, Scope, Send

from benchmarks.redis import AsyncRedis
from benchmarks.service import Nobody, Opened, open_folder
from tocsin.adapters.bus import LocalBus
from tocsin.adapters.http import OutgoingHttp
from tocsin.api.auth import Authenticator
from tocsin.api.commands.call import Services
from tocsin.api.cors import VARY
from tocsin.api.http import JSON, check_content_length, receive_body
from tocsin.api.rest import RestApi
from tocsin.channels.batch_run import DriverTools
from tocsin.channels.credentials import VendorChannels
from tocsin.clock import Chance
from tocsin.pipeline.accept import Accepting
from tocsin.pipeline.app_secrets import AppSecrets
from tocsin.pipeline.erase import Erasing
from tocsin.service.running import ease_collector

BODY_MAX_BYTES = 1 << 20
CONNECTIONS = 4
"""To Redis."""


def service(opened: Opened) -> ASGIApp:
    """The door under `/v4/`, as the wiring makes it."""
    presence, bus = Nobody(), LocalBus()
    tools = DriverTools(OutgoingHttp(), opened.clock, Chance(), opened.metrics)
    channels = VendorChannels(opened.store, opened.vault, tools)
    accepting = Accepting(
        opened.store,
        bus,
        presence,
        channels,
        clock=opened.clock,
        chance=Chance(),
        metrics=opened.metrics,
    )
    services = Services(
        store=opened.store,
        accepting=accepting,
        erasing=Erasing(opened.store, bus, opened.clock),
        presence=presence,
        bus=bus,
        clock=opened.clock,
    )
    authenticator = Authenticator(opened.store, AppSecrets(opened.vault), opened.clock)
    return RestApi(services, authenticator, opened.metrics)


def constant(size: int) -> ASGIApp:
    """Answers the same to everything."""
    answer = b"x" * size

    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        check_content_length(scope, BODY_MAX_BYTES)
        await receive_body(receive, BODY_MAX_BYTES)
        await respond(send, answer)

    return call


def over_redis(connections: Sequence[AsyncRedis]) -> ASGIApp:
    """Answers get_tag for the users asked."""
    encode, decode = msgspec.json.Encoder().encode, msgspec.json.decode
    turns = itertools.cycle(connections)

    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        check_content_length(scope, BODY_MAX_BYTES)
        names = decode(await receive_body(receive, BODY_MAX_BYTES))["To_Account"]
        found = await next(turns).members(names)
        tags = [{"To_Account": name, "Tags": own} for name, own in zip(names, found, strict=True)]
        envelope = {"ActionStatus": "OK", "ErrorInfo": "", "ErrorCode": 0, "UserTags": tags}
        await respond(send, encode(envelope))

    return call


async def respond(send: Send, body: bytes) -> None:
    headers = [JSON, (b"content-length", str(len(body)).encode()), VARY]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def serve(chosen: argparse.Namespace) -> None:
    async with AsyncExitStack() as stack:
        ease_collector(stack)
        if chosen.kind == "tocsin":
            app = service(await open_folder(chosen.folder, stack, chosen.cached))
        elif chosen.kind == "redis":
            app = over_redis([await AsyncRedis.connect(chosen.redis) for _ in range(CONNECTIONS)])
        else:
            app = constant(chosen.bytes)
        config = uvicorn.Config(
            app,
            http="httptools",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
        )
        listening = socket.create_server(("127.0.0.1", 0))
        print(listening.getsockname()[1], flush=True)
        await uvicorn.Server(config).serve([listening])


@contextlib.contextmanager
def server(*words: str) -> Iterator[tuple[int, int]]:
    """Such a process, for the time of a benchmark: its id and its port."""
    process = Popen([sys.executable, "-m", "benchmarks.server", *words], stdout=PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.pid, int(process.stdout.readline())
    finally:
        process.terminate()
        process.communicate()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=("tocsin", "constant", "redis"))
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--cached", type=int, default=0)
    parser.add_argument("--bytes", type=int, default=0)
    parser.add_argument("--redis", type=int, default=0)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
