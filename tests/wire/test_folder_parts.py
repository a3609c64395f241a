"""A data folder that lacks a part, or has somebody else's, is not served as if it were new."""

from __future__ import annotations

import asyncio
import resource
import shutil
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import apsw
import pytest
from typer.testing import CliRunner

from tests.patience import PATIENCE_S
from tests.wire.served import APP, KEY, client_of, process_of
from tocsin.adapters.sqlite.folder import DATABASE
from tocsin.cli.main import build
from tocsin.client.json_http import Refused
from tocsin.config import load
from tocsin.errors import SetupError
from tocsin.ports import Snapshot
from tocsin.service.opening import open_service

OTHER = "ab" * 32


async def open_once(folder: Path, **environment: str) -> list[int]:
    """Open the folder as the service and the commands do; answers its apps."""
    config = load(data=folder, environment=environment)
    async with AsyncExitStack() as stack:
        service = await stack.enter_async_context(open_service(config))
        return await service.store.apps()


@pytest.fixture
async def folder(tmp_path: Path) -> Path:
    """A folder with an app, so with something sealed, and an index."""
    async with AsyncExitStack() as stack:
        config = load(data=tmp_path / "data", environment={})
        service = await stack.enter_async_context(open_service(config))
        await service.operator.app_add(APP, {"key": KEY, "admins": ["admin"]})
        await service.snapshots.save(APP, Snapshot(7, b"mark", {0: b"live"}), [])
    return tmp_path / "data"


@pytest.mark.evidence(
    "a folder without its key, or with another's, is refused with what to do, and no key is made",
    topic="The data folder",
    planted="a key made although something was sealed; secrets that do not open let pass",
)
async def test_without_its_key_a_folder_is_refused_and_no_key_is_made(folder: Path) -> None:
    kept = (folder / "secret.key").read_text()
    (folder / "secret.key").unlink()
    with pytest.raises(SetupError, match=r"has lost its secret\.key") as caught:
        await open_once(folder)
    assert "TOCSIN_SECRET_KEY" in caught.value.advice
    assert not (folder / "secret.key").exists()
    assert await open_once(folder, TOCSIN_SECRET_KEY=kept.strip()) == [APP]
    (folder / "secret.key").touch(mode=0o600)
    (folder / "secret.key").write_text(kept)
    assert await open_once(folder) == [APP]


@pytest.mark.evidence(
    "a folder without its key, or with another's, is refused with what to do, and no key is made",
)
async def test_with_anothers_key_a_folder_is_refused(folder: Path) -> None:
    (folder / "secret.key").write_text(OTHER + "\n")
    with pytest.raises(SetupError, match=r"secret\.key is another key"):
        await open_once(folder)
    with pytest.raises(SetupError, match="TOCSIN_SECRET_KEY is another key"):
        await open_once(folder, TOCSIN_SECRET_KEY=OTHER)
    assert (folder / "secret.key").read_text() == OTHER + "\n"


@pytest.mark.evidence(
    "a folder without its key, or with another's, is refused with what to do, and no key is made",
)
def test_a_command_says_so_in_a_sentence(folder: Path) -> None:
    (folder / "secret.key").unlink()
    said = CliRunner().invoke(build(), ["usersig", str(APP), "admin", "--data", str(folder)])
    assert said.exit_code == 1
    assert "has lost its secret.key" in said.output
    assert "Traceback" not in said.output


def lose_database(folder: Path) -> None:
    for path in folder.glob(f"{DATABASE}*"):
        path.unlink()


def empty_database(folder: Path) -> None:
    lose_database(folder)
    apsw.Connection(str(folder / DATABASE)).close()


def swap_database(folder: Path) -> None:
    """The database of a service that never had an app."""
    lose_database(folder)
    shutil.copy(folder.parent / "fresh" / DATABASE, folder)


@pytest.mark.evidence(
    "a folder that has lost its database is not begun anew, and a first start that was killed is",
    topic="The data folder",
    planted="the index not looked at; the draft of a key left lying about",
)
@pytest.mark.parametrize("damage", [lose_database, empty_database, swap_database])
async def test_an_emptied_folder_is_refused(folder: Path, damage: Callable[[Path], None]) -> None:
    await open_once(folder.parent / "fresh")
    damage(folder)
    before = (folder / DATABASE).exists()
    with pytest.raises(SetupError, match="has lost its database: index/ says"):
        await open_once(folder)
    assert (folder / DATABASE).exists() is before
    shutil.rmtree(folder / "index")
    assert await open_once(folder) == []


async def test_a_list_of_erasures_says_too_that_there_was_a_database(tmp_path: Path) -> None:
    await open_once(tmp_path)
    lose_database(tmp_path)
    (tmp_path / "erasures.log").touch()
    with pytest.raises(SetupError, match=r"has lost its database: erasures\.log says"):
        await open_once(tmp_path)


def nothing_yet(_folder: Path) -> None:
    """Killed before anything was made."""


def a_draft_of_the_key(folder: Path) -> None:
    (folder / "secret.key.4711.new").write_text("00")


def no_tables_yet(folder: Path) -> None:
    apsw.Connection(str(folder / DATABASE)).close()


def some_tables(folder: Path) -> None:
    """Killed between two schema files."""
    connection = apsw.Connection(str(folder / DATABASE))
    connection.execute("CREATE TABLE wait (i); DROP TABLE wait")
    connection.close()


def a_key_alone(folder: Path) -> None:
    (folder / "secret.key").touch(mode=0o600)
    (folder / "secret.key").write_text(OTHER + "\n")


def no_key_yet(folder: Path) -> None:
    (folder / "secret.key").unlink(missing_ok=True)


@pytest.mark.evidence(
    "a folder that has lost its database is not begun anew, and a first start that was killed is",
)
@pytest.mark.parametrize(
    "state", [nothing_yet, a_draft_of_the_key, no_tables_yet, some_tables, a_key_alone]
)
async def test_a_first_start_that_was_killed_starts_again(
    tmp_path: Path, state: Callable[[Path], None]
) -> None:
    (tmp_path / "index").mkdir()
    state(tmp_path)
    assert await open_once(tmp_path) == []
    assert await open_once(tmp_path) == []


@pytest.mark.evidence(
    "a folder that has lost its database is not begun anew, and a first start that was killed is",
)
async def test_a_first_start_that_was_killed_before_its_key_starts_again(tmp_path: Path) -> None:
    await open_once(tmp_path)
    no_key_yet(tmp_path)
    assert await open_once(tmp_path) == []
    assert (tmp_path / "secret.key").exists()


@pytest.mark.evidence(
    "`/readyz` is 503 with the reason while nothing can be written, and heals by itself",
    topic="The data folder",
    planted="the store's trouble not asked; a write tried at each asking",
)
async def test_readyz_says_why_nothing_can_be_written_and_heals_by_itself(folder: Path) -> None:
    """No file may grow any more, which is what a full disk looks like."""
    async with (
        process_of(folder) as process,
        client_of(process) as client,
        aiohttp.ClientSession(process.url) as http,
    ):

        async def readiness() -> tuple[int, str]:
            async with http.get("/readyz") as answer:
                return answer.status, await answer.text()

        assert await readiness() == (200, "ok\n")
        pid = process.told["pid"]
        limits = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (4096, limits[1]))
        with pytest.raises(Refused, match="91000"):
            await client.account_import("ann")
        status, why = await readiness()
        assert status == 503
        assert why.startswith("nothing can be written: ")
        async with http.get("/healthz") as answer:
            assert answer.status == 200
        resource.prlimit(pid, resource.RLIMIT_FSIZE, limits)
        async with asyncio.timeout(PATIENCE_S):
            while await readiness() != (200, "ok\n"):
                continue
