"""Commands that we know and do not serve are told apart from those that nobody has."""

from __future__ import annotations

import pytest

from tests.unit.api.world import World
from tocsin.api.commands.table import BY_PATH
from tocsin.api.commands.unserved import CHAT, FAMILY_OF, PUSH


def test_no_command_is_both_served_and_not() -> None:
    assert not set(FAMILY_OF) & set(BY_PATH)
    listed = [f"/v4/{it.service}/{name}" for it in (*PUSH, *CHAT) for name in it.commands]
    assert sorted(FAMILY_OF) == sorted(listed)


def test_the_chat_products_commands_are_known() -> None:
    """As many as its list of calls has (trtc.io/document/34621)."""
    assert sum(len(family.commands) for family in CHAT) == 129


@pytest.mark.evidence(
    "a command of the platform that is not served is told apart from one that nobody has",
    topic="Strangers and browsers",
    planted="`sendmsg` left out; every path taken for a chat command",
)
@pytest.mark.parametrize("path", sorted(FAMILY_OF))
async def test_a_command_that_is_not_served_says_so(world: World, path: str) -> None:
    command = path.removeprefix("/v4/")
    # Nobody has to sign to hear it, and no body is read.
    answer = await world.raw(command, [], query="")
    assert answer["ErrorCode"] == 60027
    assert answer["ErrorInfo"].startswith(f"{command} ({FAMILY_OF[path]}) is not served")
    assert "docs/compatibility.md" in answer["ErrorInfo"]


@pytest.mark.evidence(
    "a command of the platform that is not served is told apart from one that nobody has",
)
@pytest.mark.parametrize(
    "command", ["openim/nope", "sns/sendmsg", "nope/sendmsg", "openim/sendmsg/", "OpenIM/sendmsg"]
)
async def test_what_nobody_has_is_unknown(world: World, command: str) -> None:
    assert (await world.raw(command, query=""))["ErrorCode"] == 60009


async def test_they_are_counted_under_one_name(world: World) -> None:
    for command in ("openim/sendmsg", "sns/friend_add"):
        await world.raw(command, query="")
    assert world.metrics.value("calls", command="unserved", code=60027) == 2
