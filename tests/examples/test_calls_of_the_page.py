"""The calls that docs/clients.md shows work as they are printed."""

from __future__ import annotations

import asyncio
import re
import shlex
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import msgspec
import pytest

from tests.architecture.tree import REPO
from tests.patience import PATIENCE_S
from tests.unit.online.rig import APP, APPKEY
from tests.wire.test_socket import serving
from tocsin.domain.hello import Hello
from tocsin.domain.task import Stage
from tocsin.online.frames import decode

PAGE = (REPO / "docs/clients.md").read_text(encoding="utf-8")


def calls() -> list[tuple[str, dict[str, Any]]]:
    """Path and body of each line of curl."""
    found = []
    for line in re.findall(r"^curl -s (.+)$", PAGE, re.MULTILINE):
        url, flag, body = shlex.split(line)
        assert flag == "-d"
        found.append((urlsplit(url).path, msgspec.json.decode(body)))
    return found


@pytest.mark.evidence(
    "the calls and frames that docs/clients.md prints work as printed",
    topic="Clients",
    planted="`wait_s` as text; a comma left out of the hello",
)
async def test_the_first_push_in_three_calls() -> None:
    register, poll, report = calls()
    async with serving() as served, aiohttp.ClientSession() as session:

        async def call(told: tuple[str, dict[str, Any]], **mine: Any) -> dict[str, Any]:
            path, body = told
            # What a reader puts in is what the page leaves open, and nothing else.
            assert all(body[name] == "APPKEY" or "…" in body[name] for name in mine)
            async with (
                asyncio.timeout(PATIENCE_S),
                session.post(served.http + path, json={**body, **mine}) as response,
            ):
                answer: dict[str, Any] = await response.json()
            assert answer["ErrorCode"] == 0, answer
            return answer

        assert register[1]["sdkappid"] == APP
        told = await call(register, appkey=APPKEY)
        proof = {"registration_id": told["registration_id"], "secret": told["secret"]}
        polling = asyncio.create_task(call(poll, **proof))
        async with asyncio.timeout(PATIENCE_S):
            while not (served.rig.hub.count or polling.done()):  # noqa: ASYNC110 - the hub tells nobody
                await asyncio.sleep(0)
        task = await served.push(told["registration_id"])
        (push,) = (await polling)["frames"]
        assert push.keys() >= {"type", "id", "task_id", "title"}
        await call(report, **proof, task_id=push["task_id"])
        number = await served.number(told["registration_id"])
        assert await served.rig.booked(task, Stage.REACHED) == {number}


@pytest.mark.evidence("the calls and frames that docs/clients.md prints work as printed")
def test_each_frame_that_the_page_shows_is_one() -> None:
    shown = re.findall(r"^(\{\"type\":.+?\})$", PAGE, re.MULTILINE | re.DOTALL)
    shown += re.findall(r"`(\{\"type\":[^`]+)`", PAGE)
    frames = [decode(text) for text in shown]
    assert len(frames) >= 3
    assert any(isinstance(frame, Hello) and frame.route is not None for frame in frames)
