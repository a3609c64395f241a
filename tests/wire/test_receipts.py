"""Receipts over real sockets: the sandbox reports to a served process, as each vendor does."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from tests.patience import PATIENCE_S
from tests.sandbox_keys import keys_folder
from tests.unit.channels.kit import kit_of
from tests.wire.served import APP, Process, client_of, make_app, opened, process_of
from tocsin.adapters.http import CurlHttp
from tocsin.channels import meizu, xiaomi
from tocsin.channels.registry import VENDORS, ListVendor, SingleVendor, report_of
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

each_reporter = pytest.mark.parametrize(
    "vendor", [it for it in VENDORS if report_of(it)], ids=lambda vendor: vendor.NAME
)


class Scene:
    """A sandbox, a served process, and forty phones of one vendor."""

    def __init__(self, vendor: AnyVendor, sandbox: Sandbox, process: Process) -> None:
        self.vendor = vendor
        self.sandbox = sandbox
        self.process = process
        self.client: Client

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


@asynccontextmanager
async def scene(vendor: AnyVendor, folder: Path) -> AsyncIterator[Scene]:
    async with AsyncExitStack() as stack:
        http = CurlHttp()
        await http.start(stack)
        sandbox = await stack.enter_async_context(
            Sandbox(SandboxSettings(folder=keys_folder(), seed=7), http=http)
        )
        async with opened(folder) as service:
            await make_app(service)
            await phones(service, vendor.NAME, sandbox)
        process = await stack.enter_async_context(process_of(folder))
        sandbox.receipts.settings = ReceiptSettings(url=process.url)
        facts = credential_facts(vendor.NAME, sandbox.describe())
        if "callback_url" in vendor.Settings.__struct_fields__:
            facts["settings"]["callback_url"] = f"{process.url}{PATH}{vendor.NAME}"
            # Where a console's id of an address would do as well, only one of both is taken.
            facts["settings"].pop("callback_id", None)
        path = admin_socket(folder)
        assert path is not None
        async with AdminSocket(path) as admin:
            await admin.credential_add(APP, facts)
        it = Scene(vendor, sandbox, process)
        it.client = await stack.enter_async_context(client_of(process))
        yield it


def outcomes_of_receipts(vendor: AnyVendor) -> set[Outcome]:
    return {outcome for (status, _), outcome in vendor.OUTCOMES.items() if status == POSTED}


async def phones(service: OpenedService, channel: str, sandbox: Sandbox) -> None:
    """Accounts `u0`… with one phone each, straight through the store."""
    names = [f"u{number}" for number in range(PHONES)]
    now = service.clock.now()
    decide = import_accounts([Profile(name) for name in names], now)
    await service.store.update_accounts(APP, names, [], decide)
    for name, token in zip(names, sandbox.tokens(channel, 0, PHONES), strict=True):
        route = Route(channel, 1, token)
        ask = Registration(registration_id=f"R-{name}", fresh_secret="s", user=name, route=route)
        decide_device = register(ask, now)
        await service.store.update_device(APP, f"R-{name}", name, route, decide_device)


@pytest.mark.evidence(
    "reached and dead tokens are settled, over sockets",
    topic="Receipts",
    planted="Xiaomi's 16 made harmless",
)
@each_reporter
async def test_every_arrival_is_booked_and_every_removal_drops_its_token(
    vendor: AnyVendor, tmp_path: Path
) -> None:
    async with scene(vendor, tmp_path) as it:
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
        for number in range(PHONES):
            device = await service.store.device(APP, f"R-u{number}")
            assert device is not None
            assert (device.route is None) == (number < GONE)


@pytest.mark.evidence(
    "lost, late, repeated and absurd ones do no harm",
    topic="Receipts",
    planted="absurd times believed",
)
@each_reporter
async def test_lost_repeated_late_and_absurd_receipts_do_no_harm(
    vendor: AnyVendor, tmp_path: Path
) -> None:
    async with scene(vendor, tmp_path) as it:
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
@each_reporter
async def test_a_forged_receipt_is_not_believed(vendor: AnyVendor, tmp_path: Path) -> None:
    async with scene(vendor, tmp_path) as it:
        it.fault(kind="receipt_forged", token=it.token(0))
        assert (await it.push())["reached"] == PHONES - 1


@pytest.mark.evidence("clicks are clicks")
@pytest.mark.parametrize("vendor", [meizu, xiaomi], ids=lambda vendor: vendor.NAME)
async def test_a_click_that_the_vendor_tells_is_booked(vendor: AnyVendor, tmp_path: Path) -> None:
    async with scene(vendor, tmp_path) as it:
        it.fault(kind="receipt_code", token=it.token(0), code="2")
        books = await it.push()
        assert (books["reached"], books["clicked"]) == (PHONES, 1)


@pytest.mark.evidence(
    "a receipt settles what was in doubt",
    topic="Receipts",
    planted="another id sent along",
)
@each_reporter
async def test_a_receipt_settles_what_was_in_doubt(vendor: AnyVendor, tmp_path: Path) -> None:
    """The vendor took the list, and the connection broke before it could say so."""
    async with scene(vendor, tmp_path) as it:
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
