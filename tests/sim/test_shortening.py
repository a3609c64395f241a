"""A text that no vendor takes as it is: shown shortened by all ten, and the books say so."""

from __future__ import annotations

import msgspec
import pytest

from tests.sandbox_keys import keys_folder
from tests.sim.works import NAMES, Works
from tocsin.clock import ManualClock
from tocsin.domain.books import merge_blocks
from tocsin.domain.outcome import State
from tocsin.domain.retry import CHINA_S, until_hour_s
from tocsin.sandbox.server import Sandbox, SandboxSettings

COUNT = 3
"""A list where the vendor has lists."""
MORNING = 8
DESC = "长" * 1400


@pytest.fixture(scope="module")
def sandbox() -> Sandbox:
    return Sandbox(SandboxSettings(seed=1, folder=keys_folder()), ManualClock())


async def opened(sandbox: Sandbox) -> Works:
    """On the next morning: a day has quotas, and vivo sleeps at night."""
    sandbox.reset()
    assert isinstance(sandbox.clock, ManualClock)
    works = Works(clock=sandbox.clock, sandbox=sandbox)
    await works.open(dict.fromkeys(NAMES, COUNT))
    await works.clock.advance(until_hour_s(MORNING, works.clock.now(), CHINA_S))
    return works


@pytest.mark.evidence(
    "a text that does not fit is shortened on all ten channels, as little as may be, and "
    "nothing else is",
)
async def test_a_text_of_1400_characters_is_shown_by_ten_vendors(sandbox: Sandbox) -> None:
    works = await opened(sandbox)
    task = await works.push(desc=DESC, ext='{"order":77}')
    await works.go_on(3)
    ledger = await works.ledger(task)
    assert (ledger.failures, ledger.faults) == ({}, [])
    assert ledger.states[State.SENT] == ledger.shortened == COUNT * len(NAMES)
    for name in NAMES:
        for device in sandbox.devices.all_of(name):
            (shown,) = device.shown.values()
            assert shown.body.endswith("长..."), name
            assert DESC.startswith(shown.body.removesuffix("...")), name


@pytest.mark.evidence("… and the books say to whom, after a merge too")
async def test_who_was_sent_the_whole_text_is_not_marked(sandbox: Sandbox) -> None:
    """Of 300 characters, those vendors take all that count bytes, and Huawei and Honor."""
    works = await opened(sandbox)
    task = await works.push(desc="长" * 300)
    await works.go_on(3)
    sets = await works.sets(task)
    short = {"meizu", "oppo", "vivo", "xiaomi"}
    named = {it.number for name in short for it in works.devices[name]}
    assert set(sets.shortened) == named


@pytest.mark.evidence("… and the books say to whom, after a merge too")
async def test_who_was_sent_nothing_is_not_marked_and_a_merge_keeps_the_mark(
    sandbox: Sandbox,
) -> None:
    works = await opened(sandbox)
    for name in NAMES:
        sandbox.devices.put(name, sandbox.tokens(name, 0, 1)[0], "dead")
    task = await works.push(desc=DESC)
    await works.go_on(3)
    books = await works.books(task)
    sets = books.sets
    assert sets.shortened == sets.states[State.SENT]
    assert 0 < len(sets.shortened) < COUNT * len(NAMES)
    merged = msgspec.structs.replace(books, blocks=merge_blocks(books.blocks))
    assert merged.sets.shortened == sets.shortened
