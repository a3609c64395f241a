from __future__ import annotations

import asyncio

import pytest

from tests.unit.channels.kit import NOW
from tocsin.channels.authority import (
    DENIED_WAIT_MAX_S,
    DENIED_WAIT_S,
    REFUSED_WAIT_MAX_S,
    Keeper,
)
from tocsin.clock import Chance, ManualClock, settle_loop
from tocsin.domain.outcome import Outcome
from tocsin.ports import Authority, Denied

LIFE_S = 1000.0
DENIED = Denied(Outcome.SERVER_ERROR, "503", "not now")


class Office:
    """Gives out numbered authorities, one at a time and only when the door is open."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self.visits = 0
        self.door = asyncio.Event()
        self.door.set()
        self.denies = False
        self.outcome = DENIED.outcome
        self.asks_s: float | None = None

    async def fetch(self) -> Authority | Denied:
        self.visits += 1
        number = self.visits
        await self.door.wait()
        if self.denies:
            return Denied(self.outcome, DENIED.code, DENIED.info, self.asks_s)
        now = self._clock.now()
        return Authority(f"number {number}", now + 0.8 * LIFE_S, now + LIFE_S)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW)


@pytest.fixture
def office(clock: ManualClock) -> Office:
    return Office(clock)


@pytest.fixture
def keeper(clock: ManualClock, office: Office) -> Keeper:
    return Keeper(office.fetch, clock, Chance(5))


def value(found: Authority | Denied) -> str:
    return found.value if isinstance(found, Authority) else found.code


async def test_all_who_wait_share_one_fetch(office: Office, keeper: Keeper) -> None:
    office.door.clear()
    waiting = [asyncio.create_task(keeper.get()) for _ in range(50)]
    await settle_loop()
    office.door.set()
    assert {value(await each) for each in waiting} == {"number 1"}
    assert office.visits == 1


async def test_one_who_leaves_does_not_take_the_fetch_along(office: Office, keeper: Keeper) -> None:
    office.door.clear()
    first, second = asyncio.create_task(keeper.get()), asyncio.create_task(keeper.get())
    await settle_loop()
    first.cancel()
    await settle_loop()
    office.door.set()
    assert value(await second) == "number 1"


async def test_the_old_one_is_used_until_the_new_one_is_there(
    clock: ManualClock, office: Office, keeper: Keeper
) -> None:
    await keeper.get()
    office.door.clear()
    await clock.advance(0.86 * LIFE_S)
    assert [value(await keeper.get()) for _ in range(3)] == ["number 1"] * 3
    await settle_loop()
    assert office.visits == 2
    office.door.set()
    await settle_loop()
    assert value(await keeper.get()) == "number 2"


async def test_renewals_drift_apart_around_the_moment_the_vendor_file_names(
    clock: ManualClock, office: Office
) -> None:
    keepers = [Keeper(office.fetch, clock, Chance(seed)) for seed in range(20)]
    for each in keepers:
        await each.get()
    await clock.advance(0.8 * LIFE_S)
    before = office.visits
    for each in keepers:
        await each.get()
    await settle_loop()
    assert 0 < office.visits - before < 20
    await clock.advance(0.06 * LIFE_S)
    for each in keepers:
        await each.get()
    await settle_loop()
    assert office.visits - before == 20


async def test_whoever_was_refused_gets_another_and_stragglers_share_it(
    office: Office, keeper: Keeper
) -> None:
    refused = await keeper.get()
    assert isinstance(refused, Authority)
    renewed = await asyncio.gather(*(keeper.renew(refused) for _ in range(20)))
    assert {value(each) for each in renewed} == {"number 2"}
    assert value(await keeper.renew(refused)) == "number 2"
    assert office.visits == 2


async def test_an_expired_one_is_never_handed_out(
    clock: ManualClock, office: Office, keeper: Keeper
) -> None:
    await keeper.get()
    office.denies = True
    await clock.advance(LIFE_S)
    assert value(await keeper.get()) == "503"


async def test_a_denial_holds_for_a_growing_while(
    clock: ManualClock, office: Office, keeper: Keeper
) -> None:
    office.denies = True
    waits = []
    for _ in range(4):
        found = await keeper.get()
        again = await keeper.get()
        assert isinstance(found, Denied)
        assert found == again
        assert found.retry_after_s is not None
        waits.append(found.retry_after_s)
        await clock.advance(found.retry_after_s)
    assert waits == [min(DENIED_WAIT_MAX_S, DENIED_WAIT_S * 2**n) for n in range(4)]
    assert office.visits == 4
    office.denies = False
    assert value(await keeper.get()) == "number 5"


async def test_a_denial_of_many_days_and_one_that_names_a_day_are_asked_about_again(
    clock: ManualClock, office: Office, keeper: Keeper
) -> None:
    office.denies = True
    keeper._failures = 10_000
    found = await keeper.get()
    assert isinstance(found, Denied)
    assert found.retry_after_s == DENIED_WAIT_MAX_S
    await clock.advance(DENIED_WAIT_MAX_S)
    office.asks_s = 86_400.0
    found = await keeper.get()
    assert isinstance(found, Denied)
    # What the service asks for is obeyed in full.
    assert found.retry_after_s == 86_400.0


async def test_a_refusal_is_asked_about_ever_more_seldom(
    clock: ManualClock, office: Office, keeper: Keeper
) -> None:
    """A service that fails may work again in a moment; a wrong key waits for an operator."""
    office.denies = True
    office.outcome = Outcome.CREDENTIALS_WRONG
    keeper._failures = 10
    found = await keeper.get()
    assert isinstance(found, Denied)
    assert found.retry_after_s == REFUSED_WAIT_MAX_S
    assert keeper.denial(clock.now()) == found


async def test_a_failed_renewal_leaves_the_old_one_in_use(
    clock: ManualClock, office: Office, keeper: Keeper
) -> None:
    await keeper.get()
    office.denies = True
    await clock.advance(0.9 * LIFE_S)
    for _ in range(10):
        assert value(await keeper.get()) == "number 1"
        await settle_loop()
    assert office.visits == 2
    office.denies = False
    await clock.advance(DENIED_WAIT_S)
    await keeper.get()
    await settle_loop()
    assert value(await keeper.get()) == "number 3"


async def test_closing_ends_a_fetch_under_way(office: Office, keeper: Keeper) -> None:
    office.door.clear()
    waiting = asyncio.create_task(keeper.get())
    await settle_loop()
    await keeper.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting
