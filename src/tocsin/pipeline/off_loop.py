"""Runs heavy work in another thread, and light work at once: a change of threads costs 100 µs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, ParamSpec, TypeVar

MEMBERS_NEAR_MAX: Final = 2_048
"""Members of sets that are worked on in the event loop's own thread: about a millisecond."""

P = ParamSpec("P")
R = TypeVar("R")


async def off_loop(members: int, work: Callable[P, R], *args: P.args, **named: P.kwargs) -> R:
    """What `work` answers; it looks at about so many members of sets, and only it uses them."""
    if members <= MEMBERS_NEAR_MAX:
        return work(*args, **named)
    return await asyncio.to_thread(work, *args, **named)
