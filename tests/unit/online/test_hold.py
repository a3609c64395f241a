"""After a restore no device is shown anything, however it comes, until the operator has spoken."""

from __future__ import annotations

import pytest

from tests.unit.online.rig import Rig
from tocsin.domain.task import WaitBody


@pytest.mark.evidence(
    "while it is held no device that connects or polls is shown anything, and then it is",
    topic="Backup and restore",
    planted="the hold not asked for a push, then for an offer; nothing offered afterwards",
)
async def test_while_held_nothing_is_pushed_or_offered_and_then_it_is() -> None:
    rig = await Rig().open("ann")
    line, client = await rig.connect("ann")
    ann = rig.device(line)
    rig.is_held = True
    task = await rig.task([ann.user], jobs=[("wait", WaitBody(-1, (ann.number,)))])
    assert set(await rig.hub.push(task, -1, [ann.number])) == set()
    again, fresh = await rig.again(line)
    assert (client.shown, fresh.shown) == ([], [])
    assert again.is_open
    rig.is_held = False
    rig.hub.offer_again()
    await rig.settle()
    assert fresh.shown == [task.task_id]


@pytest.mark.evidence(
    "while it is held no device that connects or polls is shown anything, and then it is",
)
async def test_a_poll_gets_nothing_while_held() -> None:
    rig = await Rig().open("ann")
    line, _ = await rig.connect("ann")
    ann = rig.device(line)
    task = await rig.task([ann.user], jobs=[("wait", WaitBody(-1, (ann.number,)))])
    rig.is_held = True
    frames = await rig.hub.poll(task.app, ann, (), 0)
    assert frames == []
