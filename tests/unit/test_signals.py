"""SIGHUP ends nothing, whenever it comes: before the loop runs, while it does, and after it."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator

import pytest
import uvloop

from tests.patience import PATIENCE_S
from tocsin.cli import entry
from tocsin.cli.signals import Hangups


@pytest.fixture(autouse=True)
def handler_put_back() -> Iterator[None]:
    former = signal.getsignal(signal.SIGHUP)
    yield
    signal.signal(signal.SIGHUP, former)


def hang_up() -> None:
    os.kill(os.getpid(), signal.SIGHUP)


async def reloads(hangups: Hangups, count: int) -> None:
    asked = hangups.attach()
    assert not asked.is_set()
    for _ in range(count):
        hang_up()
        async with asyncio.timeout(PATIENCE_S):
            await asked.wait()
        asked.clear()


@pytest.mark.evidence("SIGHUP reloads and ends nothing: while it starts, serves and stops")
@pytest.mark.parametrize("factory", [uvloop.new_event_loop, asyncio.new_event_loop])
def test_each_hangup_asks_a_running_service(factory: object) -> None:
    hangups = Hangups()
    with asyncio.Runner(loop_factory=factory) as runner:  # type: ignore[arg-type]
        runner.run(reloads(hangups, 3))
    hang_up()
    hangups.ignore()
    hang_up()


@pytest.mark.evidence("SIGHUP reloads and ends nothing: while it starts, serves and stops")
@pytest.mark.parametrize(
    ("words", "handler"), [(["serve", "--port", "0"], signal.SIG_IGN), (["listen"], signal.SIG_DFL)]
)
def test_one_before_the_commands_are_imported_ends_no_service(
    words: list[str], handler: signal.Handlers
) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    seen: list[object] = []
    entry.main(words, lambda: seen.append(signal.getsignal(signal.SIGHUP)))
    assert seen == [handler]


@pytest.mark.evidence("SIGHUP reloads and ends nothing: while it starts, serves and stops")
def test_one_before_the_loop_runs_is_not_forgotten() -> None:
    hangups = Hangups()
    hang_up()

    async def is_asked() -> bool:
        return hangups.attach().is_set()

    assert asyncio.run(is_asked())
