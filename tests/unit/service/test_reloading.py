"""A reload: what is taken, what waits for a restart, and what is wrong and stays as it was."""

from __future__ import annotations

import asyncio
import io
import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from tocsin import log
from tocsin.config import Config, load, settings
from tocsin.errors import SetupError
from tocsin.metrics import Metrics
from tocsin.service.reloading import ReloadablePart, Reloading
from tocsin.settings import ConfigError, WrongSetting


class Sources:
    """The sources of the settings, as a test writes them."""

    def __init__(self, folder: Path, text: str = "") -> None:
        self.file = folder / "tocsin.toml"
        self.write(text)

    def write(self, text: str) -> None:
        self.file.write_text(text)

    def read(self) -> Config:
        return load(file=self.file)


@pytest.fixture
def sources(tmp_path: Path) -> Sources:
    return Sources(tmp_path)


def reloading_of(sources: Sources, reread: Callable[[], Config] | None = None) -> Reloading:
    return Reloading(sources.read(), reread or sources.read, asyncio.Event(), Metrics())


@pytest.mark.evidence(
    "a reload takes what may change, names what waits for a restart, and takes nothing of "
    "wrong sources",
    topic="Settings, log and reload",
    planted="a setting taken that needs a restart; the part's settings kept although it refused",
)
async def test_some_settings_are_taken_and_others_named(sources: Sources) -> None:
    reloading = reloading_of(sources)
    sources.write("[server]\nport = 9\ndrain_s = 2\n[keep]\ntasks_s = 5\n[log]\nlevel = 'error'\n")
    seen: list[Config] = []

    async def take(config: Config) -> list[str]:
        seen.append(config)
        return ["more"]

    reloading.add(ReloadablePart(("keep.",), take))
    done = await reloading.reload()
    assert sorted(done.taken) == ["keep.tasks_s", "log.level", "more", "server.drain_s"]
    assert done.needs_restart == ["server.port"]
    assert done.wrong == []
    assert reloading.config.server.drain_s == 2
    assert reloading.config.server.port == 8080, "not in force"
    assert seen[0].keep.tasks_s == 5
    assert logging.getLogger("tocsin").level == logging.ERROR
    again = await reloading.reload()
    assert (again.taken, again.needs_restart) == (["more"], ["server.port"])


@pytest.mark.evidence(
    "a reload takes what may change, names what waits for a restart, and takes nothing of "
    "wrong sources",
)
async def test_of_wrong_sources_nothing_is_taken(sources: Sources) -> None:
    reloading = reloading_of(sources)
    before = reloading.config
    sources.write("[server]\ndrain_s = 2\n[log]\nlevel = 'loud'\nfile = 3\n")
    done = await reloading.reload()
    assert (done.taken, done.needs_restart) == ([], [])
    assert [it.partition(":")[0] for it in done.wrong] == ["log.level", "log.file"]
    assert reloading.config == before
    sources.write("[server]\ndrain_s = 2\n")
    assert (await reloading.reload()).taken == ["server.drain_s"], "it may be put right"


@pytest.mark.evidence(
    "a reload takes what may change, names what waits for a restart, and takes nothing of "
    "wrong sources",
)
async def test_a_part_that_cannot_leaves_the_others(sources: Sources) -> None:
    reloading = reloading_of(sources)

    async def refuse(_: Config) -> list[str]:
        raise SetupError("no disk for it", "buy one")

    reloading.add(ReloadablePart(("keep.",), refuse))
    sources.write("[server]\ndrain_s = 2\n[keep]\ntasks_s = 5\n")
    done = await reloading.reload()
    assert (done.taken, done.wrong) == (["server.drain_s"], ["no disk for it; buy one"])
    assert reloading.config.keep.tasks_s == Config().keep.tasks_s


@pytest.mark.evidence("SIGHUP reloads and ends nothing: while it starts, serves and stops")
async def test_whatever_a_reload_meets_the_service_goes_on(
    sources: Sources, capsys: pytest.CaptureFixture[str]
) -> None:
    log.configure("info", json=False, stream=io.StringIO())
    answers: list[Exception] = [RuntimeError("unforeseen")]

    def reread() -> Config:
        if answers:
            raise answers.pop()
        return sources.read()

    reloading = reloading_of(sources, reread)
    assert (await reloading.reload()).wrong
    assert (await reloading.reload()).wrong == []


async def test_each_signal_is_a_reload(sources: Sources) -> None:
    asked, count = asyncio.Event(), asyncio.Semaphore(0)

    def reread() -> Config:
        count.release()
        raise ConfigError([WrongSetting(path="x", what="wrong")])

    running = asyncio.create_task(Reloading(sources.read(), reread, asked, Metrics()).run())
    for _ in range(3):
        asked.set()
        await count.acquire()
    running.cancel()


async def test_tls_is_not_switched_on_by_a_reload(sources: Sources) -> None:
    reloading = reloading_of(sources)
    sources.write("[server]\ntls_cert = 'a.pem'\ntls_key = 'b.pem'\n")
    done = await reloading.reload()
    assert done.needs_restart == ["server.tls_cert", "server.tls_key"]


async def test_a_log_file_that_cannot_be_had_is_told_and_the_former_stays(
    sources: Sources, tmp_path: Path
) -> None:
    sources.write(f"[log]\nfile = '{tmp_path}/log'\n")
    reloading = reloading_of(sources)
    await reloading.reload()
    sources.write(f"[log]\nfile = '{tmp_path}/nowhere/log'\n")
    done = await reloading.reload()
    assert f"cannot log to {tmp_path}/nowhere/log" in done.wrong[0]
    assert "not all could be reloaded" in (tmp_path / "log").read_text()
    log.configure("info", json=False, stream=io.StringIO())


def test_what_names_a_place_or_a_folder_waits_for_a_restart() -> None:
    marks = {it.path: it.is_reloadable for it in settings()}
    for path in ("data", "server.host", "server.port", "metrics.listen", "secret.key"):
        assert not marks[path], path
