"""APNs pushes per second of the sending process, books kept, at an nginx that answers a constant.

One push to everyone, its whole way (`pipeline.py`). Beside it run, in turn and on the same event
loop:

- a bare loop on the same client, one prepared request a token, which keeps no books at all;
- aioapns, one notification a token, with as many connections and requests under way as we have.

Quoted per second of this process's CPU (all its threads, the store's writer too), which is what one
core could do, and per wall second on this machine, where nginx and everything else runs as well.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import uvloop
from aioapns import APNs, NotificationRequest
from aioapns.connection import APNsProductionClientProtocol
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from msgspec import Struct

from benchmarks.harness import Found, Row, Sample, Size, Tell, in_turn
from benchmarks.pipeline import TEXT, TITLE, Bare, Pipeline, Reached, Send, round_of
from benchmarks.service import token_of
from benchmarks.sink import Sink, is_installed, sink
from tocsin.adapters.http import OutgoingHttp
from tocsin.adapters.http_limits import HttpLimits
from tocsin.channels.vendors import apns
from tocsin.conversation import Request
from tocsin.service.running import ease_collector

CONNECTIONS = 2
IN_FLIGHT = apns.LIMITS.in_flight_max
TEAM, KEY_ID, TOPIC = "TEAM123456", "KEY1234567", "com.example.app"
ANSWER = "add_header apns-id $http_apns_id; return 200;"
"""Apple's answer to what it accepts; aioapns finds the request by this header."""


def run(size: Size, tell: Tell) -> Found:
    """The rows of this benchmark."""
    if not is_installed():
        return Found(remarks=["nginx is not installed: pushes are left out."])
    with (
        tempfile.TemporaryDirectory() as folder,
        sink(ANSWER) as target,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        stack = AsyncExitStack()
        try:
            bench = runner.run(_open(Path(folder), target, size, stack, tell))
            sides = {name: round_of(runner, send) for name, send in bench.items()}
            medians = in_turn(sides, size.rounds, tell)
        finally:
            runner.run(stack.aclose())
    return Found(_rows(medians, size.devices))


async def _open(
    folder: Path, target: Sink, size: Size, stack: AsyncExitStack, tell: Tell
) -> dict[str, Send]:
    # As the service does; all sides run in this process and so have the same.
    ease_collector(stack)
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    settings = {"private_key": pem, "key_id": KEY_ID, "team_id": TEAM, "bundle_id": TOPIC}
    reached = Reached("apns", settings, token_of)
    limits = HttpLimits(http2_connections=CONNECTIONS)
    pipeline = await Pipeline.open(folder, reached, target, OutgoingHttp(limits), stack)
    await pipeline.fill(size.devices, tell)
    pipeline.start(stack)
    http = OutgoingHttp(limits)
    await http.start(stack)
    bare = Bare(http, lambda: prepared(target, size.devices), size.devices, IN_FLIGHT)
    other = Aioapns(target, pem, size.devices)
    stack.callback(other.close)
    return {"pipeline": pipeline.send, "bare loop": bare.send, "aioapns": other.send}


def prepared(target: Sink, count: int) -> Iterator[Request]:
    """One request a token, as the pipeline would write it."""
    body = b'{"aps":{"alert":{"title":"%s","body":"%s"}}}' % (TITLE.encode(), TEXT.encode())
    headers = (
        ("authorization", "bearer " + "t" * 180),
        ("apns-topic", TOPIC),
        ("apns-push-type", "alert"),
        ("apns-priority", "10"),
        ("apns-expiration", "1800000000"),
        ("apns-id", "123e4567-e89b-12d3-a456-426614174000"),
        ("apns-collapse-id", "t53724e01-1"),
    )
    origin, ca = target.origin, target.ca
    for number in range(count):
        path = "/3/device/" + token_of(number)
        yield Request("POST", origin, path, headers, body, ca=ca, http2=True, pool="bare")


class Aioapns:
    """The library that Python services commonly send to APNs with."""

    def __init__(self, target: Sink, pem: str, count: int) -> None:
        self._count = count
        # Its own pool says so for each request beyond what one connection takes.
        logging.getLogger("aioapns").setLevel(logging.CRITICAL)
        APNsProductionClientProtocol.APNS_SERVER = "localhost"
        APNsProductionClientProtocol.APNS_PORT = target.port
        context = ssl.create_default_context(cadata=target.ca)
        context.set_alpn_protocols(["h2"])
        self._client = APNs(
            key=pem,
            key_id=KEY_ID,
            team_id=TEAM,
            topic=TOPIC,
            max_connections=CONNECTIONS,
            ssl_context=context,
        )

    async def send(self) -> int:
        """One notification a token."""
        client, numbers = self._client, iter(range(self._count))
        aps = {"aps": {"alert": {"title": TITLE, "body": TEXT}}}

        async def worker() -> None:
            for number in numbers:
                asked = NotificationRequest(
                    device_token=token_of(number),
                    message=aps,
                    time_to_live=3600,
                    priority=10,
                    collapse_key="t53724e01-1",
                )
                answer = await client.send_notification(asked)
                assert answer.is_successful, answer.description

        await asyncio.gather(*(worker() for _ in range(IN_FLIGHT)))
        return self._count

    def close(self) -> None:
        self._client.pool.close()


class _Quoted(Struct, frozen=True):
    beside: str
    goal: float


_QUOTED = {
    "bare loop": _Quoted("bare loop, same client, no books", 0.5),
    "aioapns": _Quoted("aioapns", 5.0),
}


def _rows(medians: dict[str, Sample], devices: int) -> list[Row]:
    measure = f"APNs pushes, books kept, {devices:,} devices"
    units = ("pushes/CPU-s", "pushes/s")
    return [
        Row(
            measure=measure,
            ours=medians["pipeline"][place],
            unit=unit,
            beside=quoted.beside,
            other=medians[name][place],
            target=f"≥ {quoted.goal:g}" if place == 0 else "-",
            goal=quoted.goal if place == 0 else None,
        )
        for place, unit in enumerate(units)
        for name, quoted in _QUOTED.items()
    ]
