"""Receipts over real sockets: the sandbox reports to a served process, as each vendor does."""

from __future__ import annotations

import asyncio
import io
import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from tests.patience import PATIENCE_S
from tests.sandbox_keys import keys_folder
from tests.unit.channels.kit import kit_of
from tests.wire.served import APP, KEY, Process, make_app, opened, process_of
from tocsin.adapters.http import OutgoingHttp
from tocsin.channels.registry import VENDORS, ListVendor, SingleVendor, report_of
from tocsin.channels.vendors import meizu, xiaomi
from tocsin.client.operator import AdminSocket, admin_socket
from tocsin.client.rest import Client
from tocsin.client.sandbox import credential_facts
from tocsin.clock import SystemClock
from tocsin.domain.account import Profile, import_accounts
from tocsin.domain.device import Registration, Route, register
from tocsin.domain.outcome import POSTED, Outcome
from tocsin.sandbox.faults import Rule
from tocsin.sandbox.receipts import PATH, ReceiptSettings
from tocsin.sandbox.server import Sandbox, SandboxSettings
from tocsin.service.opening import OpenedService

PHONES = 40
GONE = 3
"""One phone in seven: few enough not to accuse the credential."""
AnyVendor = SingleVendor | ListVendor

REPORTERS: list[AnyVendor] = [it for it in VENDORS if report_of(it)]
CLICKERS: list[AnyVendor] = [meizu, xiaomi]


class Scene:
    """A vendor of the sandbox, and an app of a served process with forty phones of this vendor."""

    def __init__(self, vendor: AnyVendor, sandbox: Sandbox, client: Client) -> None:
        self.vendor = vendor
        self.sandbox = sandbox
        self.client = client

    def token(self, number: int) -> str:
        return self.sandbox.tokens(self.vendor.NAME, number, 1)[0]

    def fault(self, **rule: Any) -> None:
        self.sandbox.faults.add(Rule(**{"vendor": self.vendor.NAME, **rule}))

    async def push(self, receipts: int = PHONES) -> dict[str, Any]:
        """One push to everybody; its books once so many receipts as are owed have been posted."""
        pushed = await self.client.push({"Title": "t", "Desc": "d"})
        async with asyncio.timeout(PATIENCE_S):
            while (await self.client.task(pushed.task_id))["phase"] != "done":
                await SystemClock().sleep(0.05)
            while self.sandbox.receipts.stats().waiting or self.posted() < receipts:
                await SystemClock().sleep(0.05)
        books: dict[str, Any] = (await self.client.task(pushed.task_id))["ledger"]
        assert books["faults"] == []
        return books

    def posted(self) -> int:
        stats = self.sandbox.receipts.stats()
        return stats.told + stats.lost + stats.refused


class Served:
    """One served process and one sandbox, with an app for each vendor."""

    def __init__(
        self, subtests: pytest.Subtests, sandbox: Sandbox, process: Process, admin: AdminSocket
    ) -> None:
        self._subtests = subtests
        self._sandbox = sandbox
        self._process = process
        self._admin = admin

    @asynccontextmanager
    async def scene(self, vendor: AnyVendor) -> AsyncIterator[Scene]:
        """One subtest; the sandbox remembers nothing of the vendor before."""
        self._sandbox.reset()
        facts = credential_facts(vendor.NAME, self._sandbox.describe())
        if "callback_url" in vendor.Settings.__struct_fields__:
            facts["settings"]["callback_url"] = f"{self._process.url}{PATH}{vendor.NAME}"
            # Where a console's id of an address would do as well, only one of both is taken.
            facts["settings"].pop("callback_id", None)
        await self._admin.credential_add(app_of(vendor), facts)
        async with Client(self._process.url, app_of(vendor), "admin", key=KEY) as client:
            with self._subtests.test(vendor.NAME):
                yield Scene(vendor, self._sandbox, client)


def app_of(vendor: AnyVendor) -> int:
    return APP + VENDORS.index(vendor)


@asynccontextmanager
async def served(
    folder: Path, subtests: pytest.Subtests, vendors: Sequence[AnyVendor]
) -> AsyncIterator[Served]:
    """A process with the phones of these vendors."""
    async with AsyncExitStack() as stack:
        http = OutgoingHttp()
        await http.start(stack)
        settings = SandboxSettings(folder=keys_folder(), seed=7)
        sandbox = await stack.enter_async_context(Sandbox(settings, http=http))
        async with opened(folder) as service:
            for vendor in vendors:
                await make_app(service, number=app_of(vendor))
                await phones(service, vendor, sandbox)
        process = await stack.enter_async_context(process_of(folder))
        sandbox.receipts.settings = ReceiptSettings(url=process.url)
        path = admin_socket(folder)
        assert path is not None
        admin = await stack.enter_async_context(AdminSocket(path))
        yield Served(subtests, sandbox, process, admin)


def outcomes_of_receipts(vendor: AnyVendor) -> set[Outcome]:
    return {outcome for (status, _), outcome in vendor.OUTCOMES.items() if status == POSTED}


async def phones(service: OpenedService, vendor: AnyVendor, sandbox: Sandbox) -> None:
    """Accounts `u0`… with one phone each, straight through the store."""
    app, names = app_of(vendor), [f"u{number}" for number in range(PHONES)]
    now = service.clock.now()
    decide = import_accounts([Profile(name) for name in names], now)
    await service.store.update_accounts(app, names, [], decide)

    async def put(name: str, token: str) -> None:
        route = Route(vendor.NAME, 1, token)
        ask = Registration(registration_id=f"R-{name}", fresh_secret="s", user=name, route=route)
        await service.store.update_device(app, f"R-{name}", name, route, register(ask, now))

    tokens = sandbox.tokens(vendor.NAME, 0, PHONES)
    await asyncio.gather(*map(put, names, tokens))


@pytest.mark.evidence(
    "reached and dead tokens are settled, over sockets",
    topic="Receipts",
    planted="Xiaomi's 16 made harmless",
)
async def test_every_arrival_is_booked_and_every_removal_drops_its_token(
    subtests: pytest.Subtests, tmp_path: Path
) -> None:
    async with served(tmp_path, subtests, REPORTERS) as there:
        for vendor in REPORTERS:
            async with there.scene(vendor) as it:
                for number in range(GONE):
                    it.sandbox.devices.put(vendor.NAME, it.token(number), "gone")
                # A vendor whose receipts tell no losses has them in its answer.
                is_told_later = Outcome.TOKEN_DEAD in outcomes_of_receipts(vendor)
                taken = PHONES if is_told_later else PHONES - GONE
                books = await it.push(receipts=taken)
                assert books["states"]["sent"] == taken
                assert books["reached"] == PHONES - GONE
                assert sum(books["undelivered"].values()) == taken - books["reached"]
                answers = it.sandbox.receipts.stats().by_answer
                assert set(answers) == {f"{vendor.NAME} 200"}
    async with opened(tmp_path) as service:
        for vendor, number in itertools.product(REPORTERS, range(PHONES)):
            device = await service.store.device(app_of(vendor), f"R-u{number}")
            assert device is not None
            assert (device.route is None) == (number < GONE), vendor.NAME


@pytest.mark.evidence(
    "lost, late, repeated and absurd ones do no harm",
    topic="Receipts",
    planted="absurd times believed",
)
async def test_lost_repeated_late_and_absurd_receipts_do_no_harm(
    subtests: pytest.Subtests, tmp_path: Path
) -> None:
    async with served(tmp_path, subtests, REPORTERS) as there:
        for vendor in REPORTERS:
            async with there.scene(vendor) as it:
                it.fault(kind="receipt_lost", token=it.token(0))
                it.fault(kind="receipt_absurd", token=it.token(1))
                it.fault(kind="receipt_late", token=it.token(2), delay_s=1)
                it.fault(kind="receipt_twice", every=2, delay_s=0.3)
                books = await it.push()
                assert books["states"]["sent"] == PHONES
                told = kit_of(vendor).receipts
                assert told is not None
                # Where no time is told, none can be absurd.
                believed = PHONES - 2 if told.tells_time else PHONES - 1
                assert (books["reached"], books["undelivered"]) == (believed, {})


@pytest.mark.evidence("what the sandbox posts is what is read, and a forged one can be told")
async def test_a_forged_receipt_is_not_believed(subtests: pytest.Subtests, tmp_path: Path) -> None:
    async with served(tmp_path, subtests, REPORTERS) as there:
        for vendor in REPORTERS:
            async with there.scene(vendor) as it:
                it.fault(kind="receipt_forged", token=it.token(0))
                assert (await it.push())["reached"] == PHONES - 1


@pytest.mark.evidence("clicks are clicks")
async def test_a_click_that_the_vendor_tells_is_booked(
    subtests: pytest.Subtests, tmp_path: Path
) -> None:
    async with served(tmp_path, subtests, CLICKERS) as there:
        for vendor in CLICKERS:
            async with there.scene(vendor) as it:
                it.fault(kind="receipt_code", token=it.token(0), code="2")
                books = await it.push()
                assert (books["reached"], books["clicked"]) == (PHONES, 1)


@pytest.mark.evidence(
    "a receipt settles what was in doubt",
    topic="Receipts",
    planted="another id sent along",
)
async def test_a_receipt_settles_what_was_in_doubt(
    subtests: pytest.Subtests, tmp_path: Path
) -> None:
    """The vendor took the list, and the connection broke before it could say so."""
    async with served(tmp_path, subtests, REPORTERS) as there:
        for vendor in REPORTERS:
            async with there.scene(vendor) as it:
                it.fault(kind="reset_after", path="*[sS]end*", times=1)
                it.fault(kind="reset_after", path="*[pP]ush*", times=1)
                it.fault(kind="reset_after", path="*regid*", times=1)
                it.fault(kind="reset_after", path="*broadcast*", times=1)
                books = await it.push()
                assert (books["states"]["sent"], books["reached"]) == (PHONES, PHONES)


async def test_the_door_answers_whoever_knocks(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        async with opened(tmp_path) as service:
            await make_app(service)
        process = await stack.enter_async_context(process_of(tmp_path))
        session = await stack.enter_async_context(aiohttp.ClientSession(process.url))

        async def knock(vendor: str, body: bytes = b"", method: str = "POST") -> tuple[int, bytes]:
            async with session.request(method, f"{PATH}{vendor}", data=io.BytesIO(body)) as answer:
                return answer.status, await answer.read()

        assert (await knock("pigeon"))[0] == 404
        assert (await knock("apns", b"{}"))[0] == 404
        assert (await knock("huawei", b"no json"))[0] == 400
        assert (await knock("huawei", b"x" * (2 << 20)))[0] == 413
        status, envelope = await knock("huawei", method="GET")
        assert (status, msgspec.json.decode(envelope)["ErrorCode"]) == (405, 60002)
        status, answer = await knock("huawei", b'{"statuses":[]}')
        assert (status, msgspec.json.decode(answer)["errno"]) == (200, "0")
