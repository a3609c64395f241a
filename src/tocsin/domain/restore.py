"""After a restore: what the database must not give again, and what waits for the operator's word.

A backup is of an earlier moment. What was done since is not in it: numbers that vendors and phones
have seen, pushes that were sent. So every counter goes on far above where it stood, and nothing is
sent until the operator has said what becomes of the pushes that the backup has open.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

from msgspec import Struct

Numbers = Mapping[str, int]
"""Noun to the last number given of it."""

How = Literal["settle", "resume"]
"""What becomes of pushes from before the backup: they end, or are sent again."""

GAPS: Mapping[str, int] = {
    "account": 2**24,
    "term": 2**24,
    "device": 2**24,
    "task": 2**24,
    "job": 2**40,
    "credential": 1000,
    "change": 2**40,
    "line": 2**40,
}
"""How many numbers are left out: more than were given between a backup and its restore. Accounts,
terms, devices and tasks are numbers of 32 bits, so those gaps have room for 200 restores."""

SHORT = frozenset(("account", "term", "device", "task"))
"""Numbers that stand in bitmaps, or in four bytes of what vendors are told."""
SHORT_MAX = 2**32 - 1
LONG_MAX = 2**62


class Restored(Struct, frozen=True, kw_only=True):
    """A restore that this database has gone through, and whether its word has been said."""

    generation: int
    """Counts the restores; a database that was never restored is of generation 0."""
    at: float
    """When it was restored, Unix seconds."""
    backup_at: float
    """The moment that the backup shows."""
    last_tasks: dict[int, int]
    """By app, the last task that the backup has: those after it are of this generation."""
    state: Literal["held", "settled", "resumed"] = "held"

    @property
    def is_held(self) -> bool:
        """Whether nothing may leave yet."""
        return self.state == "held"


def with_gap(noun: str, last: int) -> int:
    """Where a counter goes on after a restore.

    Near the end of its range it takes half of what is left, so that some can be given for long.
    """
    most = SHORT_MAX if noun in SHORT else LONG_MAX
    return last + min(GAPS[noun], (most - last) // 2)


class GenerationView(Struct, frozen=True):
    """What the store read for a restore."""

    former: Restored | None
    numbers: Mapping[int, Numbers]
    """By app."""


class GenerationEdit(Struct):
    """The mark of a restore, and the last numbers to go on from, by app."""

    restored: Restored
    numbers: dict[int, dict[str, int]]


def begin_generation(
    now: float,
    backup_at: float,
    *,
    known: Mapping[int, Numbers] = {},
    generation: int = 0,
) -> Callable[[GenerationView], GenerationEdit]:
    """The decision that makes a new generation of a restored backup.

    `known` are numbers that a later history is known to have given, and `generation` is that of
    its last restore: nothing may meet those either.
    """

    def decide(view: GenerationView) -> GenerationEdit:
        histories = (view.numbers, known)
        numbers = {
            app: {
                noun: with_gap(noun, max(it.get(app, {}).get(noun, 0) for it in histories))
                for noun in GAPS
            }
            # Of both: an app that was added after the backup may be added again.
            for app in sorted(view.numbers.keys() | known.keys())
        }
        former = 0 if view.former is None else view.former.generation
        restored = Restored(
            generation=max(generation, former) + 1,
            at=now,
            backup_at=backup_at,
            last_tasks={app: given["task"] for app, given in view.numbers.items()},
        )
        return GenerationEdit(restored, numbers)

    return decide
