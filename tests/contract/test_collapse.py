"""Collapse ids are one database's own, stay for as long as it exists, and fit every vendor."""

from __future__ import annotations

import re
from contextlib import AsyncExitStack
from importlib import resources
from pathlib import Path

import apsw
import pytest

from tests.contract.conftest import open_store
from tests.contract.rows import add_task
from tests.contract.test_channel import AnyVendor, each_vendor
from tests.unit.channels.kit import delivery, first_step, settings_of
from tocsin.adapters.sqlite.folder import DATABASE, PACKAGE
from tocsin.clock import ManualClock
from tocsin.conversation import Request
from tocsin.domain.collapse import LENGTH, CollapseMark, collapse_id
from tocsin.store import Store


async def mark_of(folder: Path) -> CollapseMark:
    async with AsyncExitStack() as stack:
        store = await open_store("sqlite", folder, ManualClock(), stack)
        return await store.collapse_mark()


@pytest.mark.evidence(
    "collapse ids are one database's own, kept by restarts and key changes, and every "
    "vendor's form of them keeps them apart",
    topic="Online",
    planted="the mark left out; one mark for every database; what was pushed before it "
    "marked too; an overwrite under its own id; a vendor's number made of the first"
    " characters",
)
async def test_a_database_keeps_its_mark_and_another_has_its_own(tmp_path: Path) -> None:
    first = await mark_of(tmp_path / "first")
    assert await mark_of(tmp_path / "first") == first
    assert len(first.mark) == 16
    # A folder that was wiped counts its tasks from 1 again.
    (tmp_path / "first" / DATABASE).unlink()
    for folder in ("first", "second"):
        other = await mark_of(tmp_path / folder)
        assert collapse_id(other, 1, 1) != collapse_id(first, 1, 1)


async def test_a_new_store_marks_every_task(store: Store) -> None:
    mark = await store.collapse_mark()
    assert mark.unmarked == {}
    await add_task(store, 1)
    assert await store.collapse_mark() == mark


@pytest.mark.evidence(
    "collapse ids are one database's own, kept by restarts and key changes, and every "
    "vendor's form of them keeps them apart",
)
async def test_what_was_pushed_before_the_mark_keeps_its_id(tmp_path: Path) -> None:
    """Or a recall would show a second notification beside the one it is to replace."""
    schema = resources.files(PACKAGE).joinpath("schema")
    connection = apsw.Connection(str(tmp_path / DATABASE))
    for name in ("0001_first.sql", "0002_handles.sql"):
        connection.execute(schema.joinpath(name).read_text("utf-8"))
    connection.pragma("user_version", 2)
    tally = "INSERT INTO tally VALUES (?, 0, 0, 0, ?, 0, 0, 0, 0, 0, 0)"
    connection.executemany(tally, [(7, 12), (8, 0)])
    connection.close()
    mark = await mark_of(tmp_path)
    assert mark.unmarked == {7: 12}
    assert [collapse_id(mark, 7, task) for task in (1, 12)] == ["t7-1", "t7-c"]
    for app, task in ((7, 13), (8, 1), (9, 1)):
        assert re.fullmatch(r"[a-z2-7]{20}", collapse_id(mark, app, task))


def test_an_id_says_mark_app_and_task() -> None:
    marks = [CollapseMark(text) for text in (b"one", b"two")]
    apps = (1, 2, 2**32 - 1)
    made = {collapse_id(mark, app, task) for mark in marks for app in apps for task in (1, 2, 3)}
    assert len(made) == 18
    assert {len(text) for text in made} == {LENGTH}
    assert collapse_id(marks[0], 1, 1) == collapse_id(CollapseMark(b"one"), 1, 1)


@pytest.mark.evidence(
    "collapse ids are one database's own, kept by restarts and key changes, and every "
    "vendor's form of them keeps them apart",
)
@each_vendor
def test_every_vendors_overwrite_id_keeps_services_and_tasks_apart(vendor: AnyVendor) -> None:
    """Several take a number or eight characters: a digest of the whole text, not a part of it."""
    settings = settings_of(vendor)
    texts = [
        collapse_id(CollapseMark(bytes([mark])), 7, task)
        for mark in range(10)
        for task in range(1, 21)
    ]
    requests = [first_step(vendor, settings, delivery(collapse=text)) for text in texts]
    bodies = {(it.headers, it.body) for it in requests if isinstance(it, Request)}
    assert len(bodies) == len(set(texts)) == 200
