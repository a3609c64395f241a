"""What becomes of a push that a restored backup has open, once the operator has said it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
from msgspec import Struct
from pyroaring import BitMap

from tocsin.domain.books import owned_devices
from tocsin.domain.restore import How
from tocsin.domain.task import Block, Job, Task


class TaskAfterRestore(Struct):
    """The task to write, and what to append to its books."""

    task: Task
    blocks: list[Block]


Decide = Callable[[Task, Sequence[Job]], TaskAfterRestore]
"""Gets a living task and its jobs."""


def after_restore(how: How, now: float) -> Decide:
    """The decision: end the task, or send it again to all whom the backup has open.

    What was done after the backup is not in it, so whoever is sent it again may have it already:
    all of them are marked as repeated, those that are planned later when they are planned.
    """

    def decide(task: Task, jobs: Sequence[Job]) -> TaskAfterRestore:
        if how == "settle":
            return TaskAfterRestore(msgspec.structs.replace(task, restored="settled"), [])
        if task.restored:
            # Said before by a call that was ended half way; what that has ended stays ended.
            return TaskAfterRestore(task, [])
        members = BitMap.union(BitMap(), *map(owned_devices, jobs))
        block = Block(task=task.number, job=0, at=now, kind="repeated", members=members.serialize())
        resumed = msgspec.structs.replace(task, restored="resumed")
        return TaskAfterRestore(resumed, [block] if members else [])

    return decide
