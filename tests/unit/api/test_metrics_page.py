"""The figures at their own address: who may see them, and what is there from the start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.api.world import APP, World, ask
from tocsin.adapters.memory import MemoryStore
from tocsin.api.metrics_page import PolledMetrics, create

TOKEN = "sixteen-or-more-1"
INFO = {"Title": "Hello", "Desc": "World"}


def page_of(world: World, folder: Path, token: str = "") -> Any:
    figures = PolledMetrics(world.store, world.books, world.channels, world.metrics, folder)
    return create(world.metrics, figures.refresh, lambda: token)


async def shown(world: World, folder: Path) -> str:
    asked = await ask(page_of(world, folder), "GET", "/metrics")
    assert asked.status == 200
    return asked.body.decode()


@pytest.mark.evidence("`/metrics` is not on the public port, and asks for its token")
@pytest.mark.parametrize("bearer", ["", "wrong", TOKEN[:-1], f"{TOKEN}x"])
async def test_without_its_token_nothing_is_shown(
    bearer: str, world: World, tmp_path: Path
) -> None:
    asked = await ask(page_of(world, tmp_path, TOKEN), "GET", "/metrics", bearer=bearer)
    assert asked.status == 401
    assert b"tocsin_" not in asked.body


async def test_with_its_token_it_is_shown(world: World, tmp_path: Path) -> None:
    asked = await ask(page_of(world, tmp_path, TOKEN), "GET", "/metrics", bearer=TOKEN)
    assert asked.status == 200
    assert b"tocsin_calls_total" in asked.body


@pytest.mark.evidence(
    "the series that alerts look at are there with 0 from the start",
    topic="Settings, log and reload",
    planted="series made by their first fault; the breaker set to 0 at each look",
)
async def test_what_alerts_look_at_is_there_before_it_happens(world: World, tmp_path: Path) -> None:
    (number,) = await world.channels.facts(APP)
    text = await shown(world, tmp_path)
    name = f'credential="{APP}:{number}"'
    for line in (
        f"tocsin_alarms_total{{{name}}} 0.0",
        f"tocsin_breaker_state{{{name}}} 0.0",
        f'tocsin_credential_stopped{{{name},state="down"}} 0.0',
        f'tocsin_credential_stopped{{{name},state="refused"}} 0.0',
        'tocsin_loop_errors_total{loop="dispatch"} 0.0',
        "tocsin_store_queue_bytes 0.0",
    ):
        assert line in text.splitlines(), line
    assert world.metrics.value("data_free_bytes") > 0


@pytest.mark.evidence("the series that alerts look at are there with 0 from the start")
async def test_a_look_changes_no_figure(world: World, tmp_path: Path) -> None:
    (number,) = await world.channels.facts(APP)
    name = f"{APP}:{number}"
    world.metrics.set("breaker_state", 2, credential=name)
    world.metrics.count("alarms", credential=name)
    world.metrics.set("credential_stopped", 1, credential=name, state="down")
    await shown(world, tmp_path)
    assert world.metrics.value("breaker_state", credential=name) == 2
    assert world.metrics.value("alarms", credential=name) == 1
    assert world.metrics.value("credential_stopped", credential=name, state="down") == 1


class Backlog(MemoryStore):
    """A store whose backlog a test says."""

    jobs: dict[tuple[int, str], int]

    async def depth(self) -> dict[tuple[int, str], int]:
        return self.jobs


@pytest.mark.evidence("the series that alerts look at are there with 0 from the start")
async def test_the_backlog_rises_and_falls(world: World, tmp_path: Path) -> None:
    store = Backlog(world.clock)
    figures = PolledMetrics(store, world.books, world.channels, world.metrics, tmp_path)
    for count in (3, 0):
        store.jobs = {(APP, "fanout"): count} if count else {}
        await figures.refresh()
        assert world.metrics.value("jobs_open", app=APP, queue="fanout") == count


async def test_a_store_that_fails_leaves_the_other_figures(world: World, tmp_path: Path) -> None:
    world.faults.add("depth")
    assert "tocsin_data_free_bytes" in await shown(world, tmp_path)
    assert world.metrics.value("data_free_bytes") > 0
