"""Who may read the data folder: its owner alone, whatever the shell's umask or an older release."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tocsin.cli.main import build
from tocsin.config import Config, load
from tocsin.demo.processes import COMMAND
from tocsin.ports import Snapshot
from tocsin.sandbox.log import Log
from tocsin.sandbox.trust import kept_keys
from tocsin.service.opening import open_service


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    """A shell that lets everybody read, and write, what it makes."""
    former = os.umask(0)
    yield
    assert os.umask(former) == 0, "a command left its own umask behind"


def open_to_others(folder: Path) -> dict[str, str]:
    """What below a folder somebody else may read, write or enter."""
    return {
        str(path.relative_to(folder)): oct(path.stat().st_mode & 0o777)
        for path in folder.rglob("*")
        if path.stat().st_mode & 0o077
    }


def mode_of(path: Path) -> int:
    return path.stat().st_mode & 0o777


def open_to_all(folder: Path) -> None:
    """As an earlier release left it, with a file of the owner's beside ours."""
    folder.chmod(0o755)
    for path in folder.rglob("*"):
        if path.name != "secret.key":
            path.chmod(0o755 if path.is_dir() else 0o644)
    (folder / "notes.txt").touch(mode=0o644)


def made(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


async def write_everything(config: Config, stack: AsyncExitStack) -> None:
    service = await stack.enter_async_context(open_service(config))
    await service.operator.app_add(1400000001, {"admins": ["admin"]})
    await service.snapshots.save(1400000001, Snapshot(7, b"mark", {0: b"live"}), [])


async def test_whatever_is_made_in_the_folder_is_its_owners(tmp_path: Path) -> None:
    folder = tmp_path / "made" / "data"
    async with AsyncExitStack() as stack:
        await write_everything(load(data=folder, environment={}), stack)
        everything = {"tocsin.db", "tocsin.db-wal", "tocsin.db-shm", "lock", "index", "secret.key"}
        assert made(folder) >= everything
        assert open_to_others(tmp_path) == {}


async def test_an_open_folder_is_left_as_it_is_and_its_files_are_not(tmp_path: Path) -> None:
    config = load(data=tmp_path, environment={})
    async with AsyncExitStack() as stack:
        await write_everything(config, stack)
    open_to_all(tmp_path)
    async with AsyncExitStack() as stack:
        await write_everything(config, stack)
        assert open_to_others(tmp_path) == {"notes.txt": "0o644"}
        assert mode_of(tmp_path) == 0o755


def test_an_operators_command_makes_private_files_too(tmp_path: Path) -> None:
    words = ["app", "add", "1400000001", "--new", "--data", str(tmp_path / "data")]
    assert CliRunner().invoke(build(), words).exit_code == 0
    assert "tocsin.db" in made(tmp_path / "data")
    assert open_to_others(tmp_path) == {}


async def test_a_service_makes_private_files(tmp_path: Path) -> None:
    open_to_all(tmp_path)
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        *("serve", "--data", str(tmp_path), "--port", "0", "--json"),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        assert await process.stdout.readline()
        assert "admin.sock" in made(tmp_path)
        assert open_to_others(tmp_path) == {"notes.txt": "0o644"}
    finally:
        process.terminate()
        await process.wait()


def test_what_the_sandbox_keeps_is_its_owners(tmp_path: Path) -> None:
    keys = kept_keys(tmp_path / "keys")
    Log(tmp_path / "log.jsonl").close()
    assert open_to_others(tmp_path) == {}
    (tmp_path / "keys" / "keys.json").chmod(0o644)
    assert kept_keys(tmp_path / "keys") == keys
    assert open_to_others(tmp_path) == {}
