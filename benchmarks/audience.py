"""A nested condition of six terms over a million accounts: our index, SQL, and Redis sets.

    ((t1 or t2) and (t3 or t4)) and t5 and not t6

Each term is carried by a tenth to a half of the accounts, drawn from one seed. SQL asks the same of
an indexed table (account, term) in SQLite, in memory; Redis does SUNION, SINTER and SDIFF on sets.
"""

from __future__ import annotations

import sqlite3
from array import array

from pyroaring import BitMap

from benchmarks.harness import Found, Round, Row, Size, Tell, in_turn, seconds_of
from benchmarks.redis import Redis, redis_server
from tocsin.clock import Chance
from tocsin.domain.audience import AllOf, AnyOf, Index, NoneOf, TermOf

SHARES = (10, 20, 30, 30, 50, 20)
"""Percent of the accounts that carry each term."""
KEYS = tuple(("tag", f"t{number}") for number in range(1, 7))
NUMBERS = {key: number for number, key in enumerate(KEYS, 1)}
ASKED = AllOf(
    (
        AnyOf((TermOf(KEYS[0]), TermOf(KEYS[1]))),
        AnyOf((TermOf(KEYS[2]), TermOf(KEYS[3]))),
        TermOf(KEYS[4]),
        NoneOf((TermOf(KEYS[5]),)),
    )
)
SQL = """
SELECT count(*) FROM (
  SELECT account FROM carried WHERE term IN (1, 2)
  INTERSECT SELECT account FROM carried WHERE term IN (3, 4)
  INTERSECT SELECT account FROM carried WHERE term = 5
  EXCEPT SELECT account FROM carried WHERE term = 6
)
"""


def draw(accounts: int) -> list[array[int]]:
    """Who carries each term."""
    chance = Chance(1)
    members = []
    for share in SHARES:
        picked = chance.bits(accounts * 7)
        carried = array("I")
        for account in range(1, accounts + 1):
            if (picked & 127) * 100 < share * 128:
                carried.append(account)
            picked >>= 7
            if account % 1000 == 0:
                picked = chance.bits(7000)
        members.append(carried)
    return members


def run(size: Size, tell: Tell) -> Found:
    """The rows of this benchmark."""
    tell("drawing who carries which term")
    members = draw(size.accounts)
    index = Index()
    index.live = BitMap(range(1, size.accounts + 1))
    index.terms = {number: BitMap(carried) for number, carried in enumerate(members, 1)}
    expected = len(index.evaluate(ASKED, NUMBERS))

    def ours() -> tuple[float]:
        return (seconds_of(lambda: index.evaluate(ASKED, NUMBERS), times=20),)

    found = Found()
    tell("filling SQLite with the same")
    sides: dict[str, Round] = {"bitmaps": ours, "SQLite": _sql(members, expected)}
    with redis_server() as redis:
        if redis is None:
            found.remarks.append("redis-server is not installed: its rows are left out.")
        else:
            tell("filling Redis with the same")
            sides["Redis sets"] = _sets(redis, members, expected)
        medians = in_turn(sides, size.rounds, tell)
    (mine,) = medians.pop("bitmaps")
    measure = f"AND/OR/NOT of six terms, {size.accounts:,} accounts"
    for beside, (theirs,) in medians.items():
        found.rows.append(_row(measure, beside, mine, theirs))
    return found


def _row(measure: str, beside: str, mine: float, theirs: float) -> Row:
    return Row(
        measure=measure,
        ours=mine * 1000,
        unit="ms",
        beside=beside,
        other=theirs * 1000,
        target="≥ 100",
        goal=100,
        more_is_better=False,
    )


def _sql(members: list[array[int]], expected: int) -> Round:
    base = sqlite3.connect(":memory:")
    base.execute(
        "CREATE TABLE carried (term INT, account INT, PRIMARY KEY (term, account)) WITHOUT ROWID"
    )
    for number, carried in enumerate(members, 1):
        rows = ((number, account) for account in carried)
        base.executemany("INSERT INTO carried VALUES (?, ?)", rows)
    assert base.execute(SQL).fetchone()[0] == expected
    return lambda: (seconds_of(lambda: base.execute(SQL).fetchone()),)


def _sets(redis: Redis, members: list[array[int]], expected: int) -> Round:
    for number, carried in enumerate(members, 1):
        for start in range(0, len(carried), 10_000):
            redis.ask("SADD", f"t{number}", *map(str, carried[start : start + 10_000]))

    def ask() -> object:
        redis.ask("SUNIONSTORE", "a", "t1", "t2")
        redis.ask("SUNIONSTORE", "b", "t3", "t4")
        redis.ask("SINTERSTORE", "c", "a", "b", "t5")
        return redis.ask("SDIFFSTORE", "d", "c", "t6")

    assert ask() == expected
    return lambda: (seconds_of(ask),)
