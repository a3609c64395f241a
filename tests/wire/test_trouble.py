"""Trouble over sockets: a served folder, the sandbox, and three vendors at once in trouble.

Breakers and waits are scaled down to seconds. The everyday run is a pairwise selection, written out
in `troubles.py`; `make trouble` runs the whole product, with up to 2,000 devices. Everything is
counted from the sandbox's log and the books: who was shown the push, how often, and who is named.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import chain, product
from pathlib import Path
from typing import Any

import pytest

from tests.sandbox_keys import keys_folder
from tests.task_books import read_books
from tests.wire.connect_proxy import connect_proxy
from tests.wire.served import (
    APP,
    LocalCommand,
    client_of,
    make_app,
    opened,
    phones_of,
    process_of,
)
from tests.wire.test_crash import until
from tests.wire.troubles import (
    ANSWER_S,
    FORMS,
    SCALE,
    SPANS_S,
    TABLE,
    VENDORS,
    Row,
    Trouble,
    whole,
)
from tocsin.channels.registry import real_hosts
from tocsin.client.rest import Client, notice
from tocsin.clock import SystemClock
from tocsin.domain.outcome import State
from tocsin.domain.task import Phase
from tocsin.sandbox.faults import Rule
from tocsin.sandbox.server import Sandbox, SandboxSettings
from tocsin.service.opening import OpenedService

IS_WHOLE = "TOCSIN_TROUBLE" in os.environ
ROUNDS = whole() if IS_WHOLE else TABLE
BATCH_MAX = 500
NEIGHBOURS = 2
SHOWN_MAX = 5
"""The first showing and four repeats."""


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Where the sandboxes' keys are kept: to make them takes half a second."""
    return str(tmp_path_factory.mktemp("sandbox"))


class Round:
    """Several vendors in trouble at once, and the service between us and them."""

    def __init__(self, rows: Sequence[Row], sandbox: Sandbox, folder: Path) -> None:
        self.rows = rows
        self.sandbox = sandbox
        self.folder = folder
        self.command = LocalCommand(folder)
        self.troubles: list[Trouble] = []
        self.neighbours = [name for name in VENDORS if name not in {row.vendor for row in rows}]
        self.numbers: dict[str, int] = {}
        """Certificate IDs by vendor."""

    async def open(self, stack: AsyncExitStack) -> None:
        async with opened(self.folder) as service:
            await make_app(service)
            for row in self.rows:
                proxy = await stack.enter_async_context(connect_proxy(0))
                trouble = Trouble(row, self.sandbox, proxy)
                self.troubles.append(trouble)
                await self._phones(service, row.vendor, row.count, trouble.record())
            for name in self.neighbours:
                await self._phones(service, name, NEIGHBOURS, {})

    async def _phones(
        self, service: OpenedService, vendor: str, count: int, record: dict[str, Any]
    ) -> None:
        await phones_of(service, self.sandbox, vendor, count, rate_per_s=1e6, **record)
        self.numbers[vendor] = len(self.numbers) + 1

    async def push(self, client: Client, vendor: str, count: int) -> list[str]:
        """Push to so many phones of a vendor; answers the TaskIds."""
        names = [f"{vendor}-{number}" for number in range(count)]
        pages = [names[start : start + BATCH_MAX] for start in range(0, count, BATCH_MAX)]
        pushed = [await client.batch(page, notice("Title", "Text")) for page in pages]
        return [one.task_id for one in pushed]

    async def is_met(self) -> bool:
        return all(trouble.is_met() for trouble in self.troubles)

    async def neighbours_are_served(self, client: Client) -> None:
        """Also while the others are in trouble."""
        for vendor in self.neighbours:
            (task,) = await self.push(client, vendor, NEIGHBOURS)
            await ended(client, task)
            states = (await client.task(task))["ledger"]["states"]
            assert states["sent"] == NEIGHBOURS, (vendor, states)


async def ended(client: Client, task: str) -> None:
    async def has_ended() -> bool:
        return bool((await client.task(task))["phase"] == Phase.DONE)

    await until(has_ended, 0.05)


@asynccontextmanager
async def round_of(rows: Sequence[Row], folder: Path, keys: str) -> AsyncIterator[Round]:
    settings = SandboxSettings(seed=7, folder=keys, hosts=real_hosts())
    async with AsyncExitStack() as stack:
        sandbox = await stack.enter_async_context(Sandbox(settings))
        one = Round(rows, sandbox, folder)
        await one.open(stack)
        yield one


def name_of(rows: Sequence[Row]) -> str:
    return "+".join(row.name for row in rows)


@pytest.mark.evidence(
    "the same over sockets, with waits scaled down: three vendors at once in trouble, a "
    "proxy, a name and a token service among it, and a fourth served meanwhile; a selection"
    " in which every pair of values occurs",
    topic="A push outlives every outage",
    planted="one try for server errors; one try where nothing was sent; repeats not marked",
)
@pytest.mark.slow
@pytest.mark.parametrize("rows", ROUNDS, ids=name_of)
async def test_when_the_trouble_ends_everybody_gets_the_push(
    rows: tuple[Row, ...], tmp_path: Path, keys: str
) -> None:
    scaled = {
        "TOCSIN_DISPATCH_WAIT_SCALE": str(SCALE),
        "TOCSIN_HTTP_ANSWER_MAX_S": str(ANSWER_S),
    }
    async with round_of(rows, tmp_path, keys) as it:
        for trouble in it.troubles:
            await trouble.begin()
        async with process_of(tmp_path, **scaled) as process, client_of(process) as client:
            tasks = {row: await it.push(client, row.vendor, row.count) for row in rows}
            await it.neighbours_are_served(client)
            await SystemClock().sleep(SPANS_S[rows[0].span])
            await until(it.is_met, 0.05)
            await it.neighbours_are_served(client)
            for trouble in it.troubles:
                await trouble.end(it.command, it.numbers[trouble.row.vendor])
            await it.neighbours_are_served(client)
            for task in chain.from_iterable(tasks.values()):
                await ended(client, task)
        async with opened(tmp_path) as service:
            for row, each in tasks.items():
                await check(service, it.sandbox, row, each)


@pytest.mark.evidence(
    "small outages, refusals of several causes, dead and hostile devices lose nobody a push",
)
@pytest.mark.slow
@pytest.mark.parametrize("vendor", ["apns", "fcm"])
async def test_refused_streams_are_sent_again_and_nobody_is_in_doubt(
    vendor: str, tmp_path: Path
) -> None:
    """Also where the refusal comes while the service still writes: they are two processes."""
    count = 300
    async with Sandbox(SandboxSettings(folder=keys_folder(), seed=7)) as sandbox:
        async with opened(tmp_path) as service:
            await make_app(service)
            await phones_of(service, sandbox, vendor, count)
        sandbox.faults.add(Rule(kind="rst_stream", reset_code=7, every=3, vendor=vendor))
        async with process_of(tmp_path) as process, client_of(process) as client:
            names = [f"{vendor}-{number}" for number in range(count)]
            pushed = await client.batch(names, notice("Title", "Text"))
            await ended(client, pushed.task_id)
            books = (await client.task(pushed.task_id))["ledger"]
        assert books["states"]["sent"] == count
        assert books["repeated"] == 0
        assert set(sandbox.log.accepted_by("token").values()) == {1}
        assert len(sandbox.log.accepted_by("token")) == count


async def check(service: OpenedService, sandbox: Sandbox, row: Row, tasks: Sequence[str]) -> None:
    """Hold the books against the sandbox's log; a repeat of these pushes replaces everywhere."""
    sent, doubt, repeated = set[int](), set[int](), set[int]()
    for task_id in tasks:
        task = await service.store.task_by_id(APP, task_id)
        assert task is not None
        books = await read_books(service.store, APP, task.number)
        assert books is not None
        sets = books.sets
        sent |= set(sets.states[State.SENT])
        doubt |= set(sets.states[State.IN_DOUBT])
        repeated |= set(sets.repeated)
    numbers: dict[str, int] = {}
    for number in range(row.count):
        device = await service.store.device(APP, f"R-{row.vendor}-{number}")
        assert device is not None
        assert device.route is not None, "no token is dropped"
        numbers[device.route.token] = device.number
    shown = Counter[int]()
    for entry in sandbox.log.entries(vendor=row.vendor, accepted=True):
        shown[numbers[entry.token]] += 1
    everybody = set(numbers.values())
    twice = {number for number, times in shown.items() if times > 1}
    # Where an answer is lost now and then, all of a device's repeats may be lost, too.
    assert (sent if row.mix == "alone" else sent | doubt) == everybody, row.name
    assert sent <= shown.keys(), row.name
    assert twice <= repeated, row.name
    assert max(shown.values()) <= SHOWN_MAX, row.name


@pytest.mark.evidence(
    "the same over sockets, with waits scaled down: three vendors at once in trouble, a "
    "proxy, a name and a token service among it, and a fourth served meanwhile; a selection"
    " in which every pair of values occurs",
)
def test_the_selection_has_every_pair_of_values() -> None:
    rows = [row for rows in TABLE for row in rows]
    assert len(rows) <= 24
    assert {(row.fault, row.form) for row in rows} == {
        (fault, form) for fault, forms in FORMS.items() for form in forms
    }
    pairs = [
        *product(("fault",), ("count", "kind", "span", "mix")),
        *product(("vendor",), ("count", "span", "mix")),
        *product(("count",), ("kind", "span", "mix")),
        *product(("kind",), ("span", "mix")),
        ("span", "mix"),
    ]
    for one, other in pairs:
        values = [{getattr(row, name) for row in rows} for name in (one, other)]
        found = {(getattr(row, one), getattr(row, other)) for row in rows}
        assert found == set(product(*values)), (one, other)
    for round_ in TABLE:
        assert len({row.vendor for row in round_}) == len(round_)
        assert len({row.span for row in round_}) == 1
