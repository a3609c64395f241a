"""get_tag and add_tag of a hundred accounts a call, beside a constant answer and beside Redis.

get_tag is quoted as calls per second of the server's CPU: the load comes from this process, the
answers from another. "Warm" asks again and again for accounts that fit the cache, "cold" walks
through all of them in an order that finds nothing in the cache; SQLite's file is in the machine's
memory either way. Redis is asked in two ways: by a handler on the same HTTP server, with the CPU of
both counted, and bare, where only redis-server is charged and its client is free.

add_tag is quoted as answered calls per wall second, each durable when answered: ours over HTTP with
terms, change log and counts of holders, Redis as bare pipelines of SADD under `appendfsync always`.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path

import msgspec
import uvloop

from benchmarks.harness import Found, Round, Row, Sample, Size, Tell, cpu_of, in_turn
from benchmarks.load import HttpTalk, post, press
from benchmarks.redis import AsyncRedis, Redis, command, redis_server
from benchmarks.server import server
from benchmarks.service import fill_tagged, open_folder, pages, query, tags_of, user
from tocsin.clock import SystemClock

ASKED = 100
"""Accounts a call."""
CALLERS = 4
WRITERS = 8
"""Calls of add_tag under way: commits carry several, on both sides."""
CACHED_SHARE = 10
"""One account in so many fits the cache."""
WARM_SHARE = 40
"""One account in so many is asked for when warm."""
STRIDE = 7_919
"""Walks through accounts out of order; a prime, so it meets each of them."""
SADD_AT_ONCE = 2_000

Requests = Iterator[bytes]


def run(size: Size, tell: Tell) -> Found:
    """The rows of this benchmark."""
    found = Found()
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        runner = stack.enter_context(asyncio.Runner(loop_factory=uvloop.new_event_loop))
        runner.run(_fill(folder, size, tell))
        bench = _Bench(size, folder, runner, stack, tell)
        found.rows += bench.reading()
        found.rows += bench.writing()
        if not bench.has_redis:
            found.remarks.append("redis-server is not installed: its rows are left out.")
    return found


async def _fill(folder: Path, size: Size, tell: Tell) -> None:
    async with AsyncExitStack() as stack:
        opened = await open_folder(folder, stack)
        for page in pages(size.accounts):
            if page.start % 50_000 == 0:
                tell(f"importing accounts with tags: {page.start:,} of {size.accounts:,}")
            await fill_tagged(opened, page)


class _Bench:
    """The servers, and whoever calls them."""

    def __init__(
        self, size: Size, folder: Path, runner: asyncio.Runner, stack: ExitStack, tell: Tell
    ) -> None:
        self._size = size
        self._runner = runner
        self._stack = stack
        self._tell = tell
        self.has_redis = False
        cached = size.accounts // CACHED_SHARE
        words = ("tocsin", "--folder", str(folder), "--cached", str(cached))
        self._service = stack.enter_context(server(*words))
        self._query = query(SystemClock())

    # get_tag

    def reading(self) -> list[Row]:
        """get_tag, cold and warm."""
        warm = self._get_tag(itertools.cycle(range(self._size.accounts // WARM_SHARE)))
        cold = self._get_tag(walk(self._size.accounts))
        answer = self._runner.run(one(self._service[1], next(warm)))
        assert answer.count(b"tag_") == ASKED * len(tags_of(0)), answer[:200]
        beside = self._stack.enter_context(server("constant", "--bytes", str(len(answer))))
        sides: dict[str, Round] = {
            "cold": lambda: self._press(self._service, cold),
            "warm": lambda: self._press_warm(warm),
            "constant": lambda: self._press(beside, warm),
        }
        redis = self._stack.enter_context(redis_server())
        if redis is not None:
            self.has_redis = True
            self._fill_redis(redis)
            other = self._stack.enter_context(server("redis", "--redis", str(redis.port)))
            same = self._runner.run(one(other[1], next(warm)))
            assert len(same) == len(answer), same[:200]
            names = (named(users) for users in hundreds(walk(self._size.accounts)))
            sides["Redis, same server"] = lambda: self._press(other, cold, redis.process)
            sides["Redis alone"] = lambda: self._runner.run(
                _pipelines(redis, names, self._size.seconds)
            )
        return _reading_rows(in_turn(sides, self._size.rounds, self._tell), self._size.accounts)

    def _get_tag(self, numbers: Iterator[int]) -> Requests:
        for users in hundreds(numbers):
            body = msgspec.json.encode({"To_Account": named(users)})
            yield post("/v4/timpush/get_tag", self._query, body)

    def _press_warm(self, requests: Requests) -> Sample:
        """As `_press`, once the cache has what is asked for: a cold round has swept it."""
        port = self._service[1]
        self._runner.run(_asked(port, requests, self._size.accounts // WARM_SHARE // ASKED + 1))
        return self._press(self._service, requests)

    def _press(self, asked: tuple[int, int], requests: Requests, *others: int) -> Sample:
        """Calls per second of CPU of the process asked and `others`, and per second."""
        process, port = asked
        began, used = time.perf_counter(), sum(cpu_of(each) for each in (process, *others))
        count = self._runner.run(_called(port, requests, CALLERS, self._size.seconds))
        used = sum(cpu_of(each) for each in (process, *others)) - used
        return count / used, count / (time.perf_counter() - began)

    def _fill_redis(self, redis: Redis) -> None:
        for page in pages(self._size.accounts, SADD_AT_ONCE):
            if page.start % 100_000 == 0:
                self._tell(f"filling Redis: {page.start:,} of {self._size.accounts:,}")
            redis.pipeline(sadd([(number, 0) for number in page]), len(page))

    # add_tag

    def writing(self) -> list[Row]:
        """add_tag, each call durable when answered."""
        calls = self._add_tag()
        measure = f"add_tag, {ASKED} accounts x {len(tags_of(0))} tags, synced"
        sides: dict[str, Round] = {
            "add_tag": lambda: self._runner.run(
                _written(self._service[1], calls, self._size.seconds)
            )
        }
        always = ("--appendonly", "yes", "--appendfsync", "always")
        with redis_server(*always) as redis:
            if redis is None:
                return []
            pipelines = (sadd(each) for each in self._fresh())
            sides["Redis SADD"] = lambda: self._runner.run(
                _added(redis.port, pipelines, self._size.seconds)
            )
            medians = in_turn(sides, self._size.rounds, self._tell)
        (ours,), (other,) = medians["add_tag"], medians["Redis SADD"]
        row = Row(
            measure=measure,
            ours=ours,
            unit="calls/s",
            beside="Redis SADD, appendfsync always",
            other=other,
            target="≥ 0.5",
            goal=0.5,
        )
        return [row]

    def _add_tag(self) -> Requests:
        for fresh in self._fresh():
            tags = [
                {"To_Account": user(number), "Tags": tags_of(number, turn)}
                for number, turn in fresh
            ]
            body = msgspec.json.encode({"UserTags": tags})
            yield post("/v4/timpush/add_tag", self._query, body)

    def _fresh(self) -> Iterator[list[tuple[int, int]]]:
        """A hundred users at a time, each with a turn whose tags it does not have yet."""
        for turn in itertools.count(1):
            once = itertools.islice(walk(self._size.accounts), self._size.accounts)
            for users in hundreds(once):
                yield [(number, turn) for number in users]


def walk(accounts: int) -> Iterator[int]:
    """Every account, out of order, again and again."""
    return (place * STRIDE % accounts for place in itertools.count())


def hundreds(numbers: Iterator[int]) -> Iterator[list[int]]:
    """As many at a time as a call names."""
    while page := list(itertools.islice(numbers, ASKED)):
        yield page


def named(numbers: Sequence[int]) -> list[str]:
    return [user(number) for number in numbers]


def sadd(users: Sequence[tuple[int, int]]) -> bytes:
    """What puts these users' tags of these turns into Redis."""
    return b"".join(command("SADD", user(number), *tags_of(number, turn)) for number, turn in users)


async def one(port: int, request: bytes) -> bytes:
    """One answer."""
    (answer,) = await _asked(port, iter([request]), 1)
    return answer


async def _asked(port: int, requests: Requests, count: int) -> list[bytes]:
    """So many answers, one after the other."""
    talk = await HttpTalk.connect(port)
    try:
        return [await talk.call(next(requests)) for _ in range(count)]
    finally:
        talk.close()


async def _called(port: int, requests: Requests, callers: int, seconds: float) -> int:
    talks = [await HttpTalk.connect(port) for _ in range(callers)]
    try:
        return await press([talk.call for talk in talks], requests, seconds)
    finally:
        for talk in talks:
            talk.close()


async def _pipelines(redis: Redis, names: Iterator[list[str]], seconds: float) -> Sample:
    talks = [await AsyncRedis.connect(redis.port) for _ in range(CALLERS)]
    began, used = time.perf_counter(), cpu_of(redis.process)
    count = await press([talk.members for talk in talks], names, seconds)
    took, used = time.perf_counter() - began, cpu_of(redis.process) - used
    for talk in talks:
        talk.close()
    return count / used, count / took


async def _written(port: int, requests: Requests, seconds: float) -> Sample:
    began = time.perf_counter()
    count = await _called(port, requests, WRITERS, seconds)
    return (count / (time.perf_counter() - began),)


async def _added(port: int, pipelines: Iterator[bytes], seconds: float) -> Sample:
    talks = [await AsyncRedis.connect(port) for _ in range(WRITERS)]
    calls = [functools.partial(talk.lines, count=ASKED) for talk in talks]
    began = time.perf_counter()
    count = await press(calls, pipelines, seconds)
    took = time.perf_counter() - began
    for talk in talks:
        talk.close()
    return (count / took,)


def _reading_rows(medians: dict[str, Sample], accounts: int) -> list[Row]:
    measure = f"get_tag {{}}, {ASKED} accounts a call, of {accounts:,}"
    found = []
    for name, beside, goal in (
        ("warm", "constant", 0.35),
        ("cold", "constant", 0.10),
        ("cold", "Redis, same server", 5.0),
        ("cold", "Redis alone", None),
    ):
        if beside in medians:
            row = Row(
                measure=measure.format(name),
                ours=medians[name][0],
                unit="calls/CPU-s",
                beside=_BESIDE[beside],
                other=medians[beside][0],
                target="-" if goal is None else f"≥ {goal:g}",
                goal=goal,
            )
            found.append(row)
    return found


_BESIDE = {
    "constant": "constant of the same size, same HTTP server",
    "Redis, same server": "SMEMBERS pipelined, same HTTP server",
    "Redis alone": "SMEMBERS pipelined, redis-server's CPU alone",
}
