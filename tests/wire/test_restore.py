"""Backup while it serves, and the way back: nothing answered is lost, nobody gets a push twice
without that being in the books, and who was erased stays erased.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp
import apsw
import msgspec
import pytest
from pyroaring import BitMap
from typer.testing import CliRunner

from tests.sandbox_keys import keys_folder
from tests.task_books import read_books
from tests.wire.served import APP, client_of, make_app, opened, people, process_of, token_of
from tests.wire.test_crash import until, until_accepted
from tocsin.cli.main import build
from tocsin.domain.books import TaskSets
from tocsin.domain.outcome import State
from tocsin.domain.task import Phase
from tocsin.errors import SetupError
from tocsin.sandbox.server import Sandbox, SandboxSettings

DEVICES = 300
RATE = 100
"""Devices a second: slow enough for a backup in the middle."""


def tocsin(*words: str) -> Any:
    """The answer of a command, with --json."""
    result = CliRunner().invoke(build(), [*words, "--json"], prog_name="tocsin")
    assert result.exit_code == 0, result.output
    return result.output


async def command(*words: str) -> None:
    await asyncio.to_thread(tocsin, *words)


async def push_half_way(data: Path, backup: Path, sandbox: Sandbox) -> str:
    """Push to everyone, back up when some have it, go on for a while, and end by kill -9."""
    async with opened(data) as service:
        await make_app(service, sandbox)
        await service.operator.credential_set(APP, 1, {"rate_per_s": RATE})
        await people(service, DEVICES)
    async with process_of(data) as process:
        async with client_of(process) as client:
            pushed = await client.push({"Title": "t", "Desc": "d"})
            await until_accepted(sandbox, DEVICES // 5)
            await command("backup", str(backup), "--data", str(data))
            await client.account_import("after the backup")
            await until_accepted(sandbox, sandbox.log.counts().accepted + DEVICES // 5)
        await process.kill()
    return pushed.task_id


async def readiness(url: str) -> tuple[int, str]:
    async with aiohttp.ClientSession(url) as http, http.get("/readyz") as answer:
        return answer.status, await answer.text()


async def end_held(data: Path, sandbox: Sandbox, task_id: str, word: str) -> None:
    """Serve what was restored: nothing is sent before the word is said; then the push ends."""
    async with process_of(data) as process, client_of(process) as client:
        status, why = await readiness(process.url)
        assert (status, why) == (
            503,
            "held after a restore: tocsin restore --settle or tocsin restore --resume\n",
        )
        before = sandbox.log.counts().accepted
        await client.account_import("while it is held")
        new = await client.batch(["u1"], {"Title": "new", "Desc": "d"})
        assert new.task_id.rpartition("_")[0] != task_id.rpartition("_")[0]
        assert sandbox.log.counts().accepted == before
        await command("restore", word, "--data", str(data))

        async def has_ended() -> bool:
            told = [await client.task(name) for name in (task_id, new.task_id)]
            return all(each["phase"] == Phase.DONE for each in told)

        await until(has_ended, 0.05)
        assert await readiness(process.url) == (200, "ok\n")
        await process.stop()


async def books_of(data: Path, task_id: str) -> tuple[TaskSets, dict[int, str], BitMap]:
    """The books of a push, whose sums must hold, each device's token, and who is restored."""
    async with opened(data) as service:
        task = await service.store.task_by_id(APP, task_id)
        assert task is not None
        books = await read_books(service.store, APP, task.number)
        assert books is not None
        assert books.ledger.faults == []
        devices = await service.store.devices(APP, books.sets.planned)
        ended = [it.members for it in books.blocks if (it.state, it.code) == ("expired", "-18")]
        tokens = {it.number: it.route.token for it in devices.values() if it.route}
        return books.sets, tokens, BitMap.union(BitMap(), *map(BitMap.deserialize, ended))


def accepted(sandbox: Sandbox) -> Counter[str]:
    """How often the vendor took the first push for each token; the other went to `u1` alone."""
    entries = sandbox.log.entries(accepted=True)
    return Counter(entry.token for entry in entries) - Counter([token_of(1)])


@pytest.mark.evidence(
    "a restored database sends nothing until the word is said; then doubles are those that "
    "the books name, and the sums hold",
    topic="Backup and restore",
    planted="the hold not asked by the dispatcher; whom the backup had open, then those "
    "planned later, not marked; a settled push sent on",
)
@pytest.mark.parametrize("word", ["--settle", "--resume"])
async def test_what_was_sent_since_the_backup_is_doubled_only_as_the_books_say(
    tmp_path: Path, word: str
) -> None:
    data, backup = tmp_path / "data", tmp_path / "backup"
    async with Sandbox(SandboxSettings(folder=keys_folder())) as sandbox:
        task_id = await push_half_way(data, backup, sandbox)
        await command("restore", str(backup), "--replace", "--data", str(data))
        await end_held(data, sandbox, task_id, word)
        sets, tokens, restored = await books_of(data, task_id)
        counts = accepted(sandbox)
    twice = {number for number, token in tokens.items() if counts.get(token, 0) > 1}
    doubt, expired = set(sets.states[State.IN_DOUBT]), set(sets.states[State.EXPIRED])
    assert len(sets.planned) == DEVICES
    assert not sets.states[State.OPEN]
    assert set(sets.states[State.SENT]) <= {n for n, token in tokens.items() if counts.get(token)}
    if word == "--settle":
        assert twice <= set(sets.repeated)
        assert expired == set(restored)
        assert expired
    else:
        assert twice
        assert twice <= set(sets.repeated) | doubt
        assert not expired
        assert {n for n, token in tokens.items() if counts.get(token)} | doubt == set(sets.planned)


@pytest.mark.evidence(
    "half a backup, another key and a folder in use are refused, and change nothing",
    topic="Backup and restore",
    planted="the hash not compared; what a refused restore had begun left behind",
)
async def test_half_a_backup_another_key_and_a_folder_in_use_are_refused(tmp_path: Path) -> None:
    data, backup, new = tmp_path / "data", tmp_path / "backup", tmp_path / "new"
    async with opened(data) as service:
        await make_app(service)
    await command("backup", str(backup), "--data", str(data))
    key = ("--key-file", str(data / "secret.key"))

    async def refused(*words: str, folder: Path = new) -> str:
        told = ["restore", str(backup), *words, "--data", str(folder)]
        result = await asyncio.to_thread(CliRunner().invoke, build(), told)
        assert result.exit_code == 1, result.output
        return result.output

    assert "is needed" in await refused()
    (tmp_path / "other.key").write_text("ab" * 32 + "\n")
    assert "does not open this backup" in await refused("--key-file", str(tmp_path / "other.key"))
    assert "has a database already" in await refused(folder=data)
    async with opened(data):
        assert "in use by process" in await refused("--replace", folder=data)
    whole = (backup / "tocsin.db").read_bytes()
    for damaged in (whole[:-4096], whole[:-1] + b"?", b""):
        (backup / "tocsin.db").write_bytes(damaged)
        assert "damaged or cut off" in await refused(*key)
    (backup / "tocsin.db").write_bytes(whole)
    manifest = (backup / "backup.json").read_bytes()
    (backup / "backup.json").write_bytes(manifest[:50])
    assert "is damaged" in await refused(*key)
    (backup / "backup.json").unlink()
    assert "no whole backup" in await refused(*key)
    assert not new.exists()
    (backup / "backup.json").write_bytes(manifest)
    # What is found out only when the database is opened leaves the folder as it was, too.
    newer = tmp_path / "newer"
    shutil.copytree(backup, newer)
    with contextlib.closing(apsw.Connection(str(newer / "tocsin.db"))) as connection:
        connection.execute("UPDATE release SET least_reader = 9000; PRAGMA user_version = 9000")
    _tell_anew(newer)
    told = ["restore", str(newer), "--replace", "--data", str(data)]
    result = await asyncio.to_thread(CliRunner().invoke, build(), told)
    assert result.exit_code == 1
    assert "newer release" in result.output
    async with opened(data) as service:
        assert await service.store.apps() == [APP]
    await command("restore", str(backup), *key, "--data", str(new))


def _tell_anew(backup: Path) -> None:
    """The manifest of a backup whose database has been changed."""
    facts = msgspec.json.decode((backup / "backup.json").read_bytes())
    content = (backup / "tocsin.db").read_bytes()
    facts["files"]["tocsin.db"] = {
        "size": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    (backup / "backup.json").write_bytes(msgspec.json.encode(facts))


@pytest.mark.evidence(
    "releases that know no hold are kept out by `least_reader`",
    topic="Backup and restore",
    planted="`least_reader` left",
)
async def test_a_restored_database_is_not_for_releases_that_know_no_hold(tmp_path: Path) -> None:
    data, backup, new = tmp_path / "data", tmp_path / "backup", tmp_path / "new"
    async with opened(data) as service:
        await make_app(service)
    await command("backup", str(backup), "--data", str(data))
    key = str(data / "secret.key")
    await command("restore", str(backup), "--key-file", key, "--data", str(new))
    with contextlib.closing(apsw.Connection(str(new / "tocsin.db"))) as connection:
        assert connection.execute("SELECT least_reader FROM release").fetchall() == [(7,)]


@pytest.mark.evidence(
    "who was erased since the backup is erased again",
    topic="Backup and restore",
    planted="the list not written; a list that was told not kept",
)
async def test_who_was_erased_since_the_backup_is_erased_again(tmp_path: Path) -> None:
    data, backup, new = tmp_path / "data", tmp_path / "backup", tmp_path / "new"
    async with opened(data) as service:
        await make_app(service)
        await people(service, 3)
    await command("account", "delete", "u3", "--yes", "--data", str(data))
    await command("backup", str(backup), "--data", str(data))
    await command("account", "delete", "u2", "--yes", "--data", str(data))
    told = ("--key-file", str(data / "secret.key"), "--erasures", str(data / "erasures.log"))
    await command("restore", str(backup), *told, "--data", str(new))
    async with opened(new) as service:
        names = [each.name for each in await service.store.scan_accounts(APP, 0, 100)]
        assert names == ["admin", "u1", "R-1"]
    # The list that was told is the new folder's from now on.
    await command("restore", str(backup), "--replace", "--data", str(new))
    async with opened(new) as service:
        names = [each.name for each in await service.store.scan_accounts(APP, 0, 100)]
        assert names == ["admin", "u1", "R-1"]


@pytest.mark.evidence(
    "what was answered before a backup is in it, and calls go on meanwhile",
    topic="Backup and restore",
    planted=None,
)
async def test_what_was_answered_before_a_backup_is_in_it_and_it_holds_nobody_up(
    tmp_path: Path,
) -> None:
    """Calls go on while the copy is made; each that was answered before it began is there."""
    data, backup, new = tmp_path / "data", tmp_path / "backup", tmp_path / "new"
    answered: list[str] = []
    async with opened(data) as service:
        await make_app(service)
        await people(service, 2000)
    async with process_of(data) as process, client_of(process) as client:

        async def import_on() -> None:
            number = 0
            while True:
                await client.account_import(f"n{number}")
                answered.append(f"n{number}")
                number += 1

        importing = asyncio.create_task(import_on())

        async def has_begun() -> bool:
            return len(answered) >= 20

        await until(has_begun, 0.01)
        before = answered[:]
        await command("backup", str(backup), "--data", str(data))
        assert len(answered) > len(before)
        importing.cancel()
        await asyncio.gather(importing, return_exceptions=True)
    await command(
        "restore", str(backup), "--key-file", str(data / "secret.key"), "--data", str(new)
    )
    async with opened(new) as service:
        assert None not in await service.store.accounts(APP, [*before, "u1", "u2000"])


@pytest.mark.evidence(
    "a restore that was killed is not served until it is run again",
    topic="Backup and restore",
    planted="the half restore not looked for",
)
async def test_a_restore_that_was_killed_is_not_served_until_it_is_run_again(
    tmp_path: Path,
) -> None:
    data, backup = tmp_path / "data", tmp_path / "backup"
    async with opened(data) as service:
        await make_app(service)
    await command("backup", str(backup), "--data", str(data))
    states = {
        "before the copy": [],
        "in the middle of the copy": ["copy"],
        "when the former one was moved": ["copy", "move"],
    }
    for done in states.values():
        (data / "restoring").mkdir()
        if "copy" in done:
            (data / "restoring" / "tocsin.db").write_bytes(b"half")
        if "move" in done:
            (data / "tocsin.db").rename(data / "moved.db")
        if done:
            with pytest.raises(SetupError, match="was not finished"):
                async with opened(data):
                    pass
        await command("restore", str(backup), "--replace", "--data", str(data))
        async with opened(data) as service:
            assert await service.store.apps() == [APP]
            held = await service.store.restored()
            assert held is not None
            assert held.is_held
