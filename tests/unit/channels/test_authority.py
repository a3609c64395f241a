from __future__ import annotations

import asyncio

import pytest
from msgspec import structs

from tests.unit.channels.kit import NOW
from tocsin.adapters.authorities import MemoryAuthorities
from tocsin.channels.authority import (
    DENIED_WAIT_MAX_S,
    DENIED_WAIT_S,
    REFUSED_WAIT_MAX_S,
    AuthorityCache,
    TokenProvider,
)
from tocsin.clock import Chance, ManualClock, settle_loop
from tocsin.conversation import Authority, Denied
from tocsin.domain.outcome import Outcome

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
def provider(clock: ManualClock, office: Office) -> TokenProvider:
    return TokenProvider(office.fetch, clock, Chance(5))


def value(found: Authority | Denied) -> str:
    return found.value if isinstance(found, Authority) else found.code


async def test_all_who_wait_share_one_fetch(office: Office, provider: TokenProvider) -> None:
    office.door.clear()
    waiting = [asyncio.create_task(provider.get()) for _ in range(50)]
    await settle_loop()
    office.door.set()
    assert {value(await each) for each in waiting} == {"number 1"}
    assert office.visits == 1


async def test_one_who_leaves_does_not_take_the_fetch_along(
    office: Office, provider: TokenProvider
) -> None:
    office.door.clear()
    first, second = asyncio.create_task(provider.get()), asyncio.create_task(provider.get())
    await settle_loop()
    first.cancel()
    await settle_loop()
    office.door.set()
    assert value(await second) == "number 1"


async def test_the_old_one_is_used_until_the_new_one_is_there(
    clock: ManualClock, office: Office, provider: TokenProvider
) -> None:
    await provider.get()
    office.door.clear()
    await clock.advance(0.86 * LIFE_S)
    assert [value(await provider.get()) for _ in range(3)] == ["number 1"] * 3
    await settle_loop()
    assert office.visits == 2
    office.door.set()
    await settle_loop()
    assert value(await provider.get()) == "number 2"


async def test_renewals_drift_apart_around_the_moment_the_vendor_file_names(
    clock: ManualClock, office: Office
) -> None:
    providers = [TokenProvider(office.fetch, clock, Chance(seed)) for seed in range(20)]
    for each in providers:
        await each.get()
    await clock.advance(0.8 * LIFE_S)
    before = office.visits
    for each in providers:
        await each.get()
    await settle_loop()
    assert 0 < office.visits - before < 20
    await clock.advance(0.06 * LIFE_S)
    for each in providers:
        await each.get()
    await settle_loop()
    assert office.visits - before == 20


async def test_whoever_was_refused_gets_another_and_stragglers_share_it(
    office: Office, provider: TokenProvider
) -> None:
    refused = await provider.get()
    assert isinstance(refused, Authority)
    renewed = await asyncio.gather(*(provider.renew(refused) for _ in range(20)))
    assert {value(each) for each in renewed} == {"number 2"}
    assert value(await provider.renew(refused)) == "number 2"
    assert office.visits == 2


async def test_an_expired_one_is_never_handed_out(
    clock: ManualClock, office: Office, provider: TokenProvider
) -> None:
    await provider.get()
    office.denies = True
    await clock.advance(LIFE_S)
    assert value(await provider.get()) == "503"


async def test_a_denial_holds_for_a_growing_while(
    clock: ManualClock, office: Office, provider: TokenProvider
) -> None:
    office.denies = True
    waits = []
    for _ in range(4):
        found = await provider.get()
        again = await provider.get()
        assert isinstance(found, Denied)
        assert found == again
        assert found.retry_after_s is not None
        waits.append(found.retry_after_s)
        await clock.advance(found.retry_after_s)
    assert waits == [min(DENIED_WAIT_MAX_S, DENIED_WAIT_S * 2**n) for n in range(4)]
    assert office.visits == 4
    office.denies = False
    assert value(await provider.get()) == "number 5"


@pytest.mark.evidence("a vendor's pause is obeyed in full")
async def test_a_denial_of_many_days_and_one_that_names_a_day_are_asked_about_again(
    clock: ManualClock, office: Office, provider: TokenProvider
) -> None:
    office.denies = True
    provider._failures = 10_000
    found = await provider.get()
    assert isinstance(found, Denied)
    assert found.retry_after_s == DENIED_WAIT_MAX_S
    await clock.advance(DENIED_WAIT_MAX_S)
    office.asks_s = 86_400.0
    found = await provider.get()
    assert isinstance(found, Denied)
    # What the service asks for is obeyed in full.
    assert found.retry_after_s == 86_400.0


async def test_a_refusal_is_asked_about_ever_more_seldom(
    clock: ManualClock, office: Office, provider: TokenProvider
) -> None:
    """A service that fails may work again in a moment; a wrong key waits for an operator."""
    office.denies = True
    office.outcome = Outcome.CREDENTIALS_WRONG
    provider._failures = 10
    found = await provider.get()
    assert isinstance(found, Denied)
    assert found.retry_after_s == REFUSED_WAIT_MAX_S
    assert provider.denial(clock.now()) == found


async def test_a_failed_renewal_leaves_the_old_one_in_use(
    clock: ManualClock, office: Office, provider: TokenProvider
) -> None:
    await provider.get()
    office.denies = True
    await clock.advance(0.9 * LIFE_S)
    for _ in range(10):
        assert value(await provider.get()) == "number 1"
        await settle_loop()
    assert office.visits == 2
    office.denies = False
    await clock.advance(DENIED_WAIT_S)
    await provider.get()
    await settle_loop()
    assert value(await provider.get()) == "number 3"


async def test_closing_ends_a_fetch_under_way(office: Office, provider: TokenProvider) -> None:
    office.door.clear()
    waiting = asyncio.create_task(provider.get())
    await settle_loop()
    await provider.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting


# shared by all that are made of the same


HOLD_S = 200.0


class StrictOffice(Office):
    """Gives out authorities of which the vendor takes no other for a while."""

    async def fetch(self) -> Authority | Denied:
        found = await super().fetch()
        if isinstance(found, Denied):
            return found
        return structs.replace(found, made_at=self._clock.now(), hold_s=HOLD_S)


class Durable(MemoryAuthorities):
    """Notes what is saved, and in what order with other things."""

    def __init__(self, clock: ManualClock, notes: list[str]) -> None:
        super().__init__(clock)
        self._notes = notes

    async def save(self, name: str, authority: Authority) -> None:
        self._notes.append(f"saved {authority.value}")
        await super().save(name, authority)


@pytest.mark.evidence(
    "credentials share an authority where all that it is made of is the same, and only there",
)
async def test_all_that_are_made_of_the_same_share_one(clock: ManualClock) -> None:
    authorities, office = AuthorityCache(), Office(clock)
    providers = [
        TokenProvider(office.fetch, clock, Chance(1), kept=authorities.kept(("key",)))
        for _ in range(3)
    ]
    other = TokenProvider(office.fetch, clock, Chance(1), kept=authorities.kept(("another key",)))
    found = await asyncio.gather(*(each.get() for each in (*providers, other)))
    assert sorted(map(value, found)) == ["number 1", "number 1", "number 1", "number 2"]
    refused = await providers[0].get()
    assert isinstance(refused, Authority)
    renewed = await asyncio.gather(*(each.renew(refused) for each in providers))
    assert {value(each) for each in renewed} == {"number 3"}


async def test_one_that_closes_leaves_the_others_theirs(clock: ManualClock) -> None:
    authorities, office = AuthorityCache(), Office(clock)
    one, two = (
        TokenProvider(office.fetch, clock, Chance(1), kept=authorities.kept(("key",)))
        for _ in range(2)
    )
    office.door.clear()
    waiting = [asyncio.create_task(each.get()) for each in (one, two)]
    await settle_loop()
    await one.close()
    office.door.set()
    assert value(await waiting[1]) == "number 2"
    with pytest.raises(asyncio.CancelledError):
        await waiting[0]


async def test_what_kept_one_from_it_does_not_keep_another(clock: ManualClock) -> None:
    """A credential with another proxy must not wait for what the former could not reach."""
    authorities, office = AuthorityCache(), Office(clock)
    one, two = (
        TokenProvider(office.fetch, clock, Chance(1), kept=authorities.kept(("key",)))
        for _ in range(2)
    )
    office.denies = True
    assert value(await one.get()) == "503"
    assert one.is_denied(clock.now())
    office.denies = False
    assert not two.is_denied(clock.now())
    assert value(await two.get()) == "number 2"
    assert not one.is_denied(clock.now())
    assert value(await one.get()) == "number 2"


@pytest.mark.evidence("Apple sees one token of a key over checks, changes, apps and restarts")
async def test_while_the_vendor_takes_no_other_the_refused_one_stays(clock: ManualClock) -> None:
    office = StrictOffice(clock)
    one = TokenProvider(office.fetch, clock, Chance(1))
    refused = await one.get()
    assert isinstance(refused, Authority)
    for _ in range(3):
        assert await one.renew(refused) == refused
    await clock.advance(HOLD_S - 1)
    assert await one.renew(refused) == refused
    await clock.advance(1)
    assert value(await one.renew(refused)) == "number 2"


async def test_a_later_process_goes_on_with_it_and_it_is_saved_before_it_is_used(
    clock: ManualClock,
) -> None:
    office = StrictOffice(clock)
    notes: list[str] = []
    durable = Durable(clock, notes)
    first = TokenProvider(
        office.fetch, clock, Chance(1), kept=AuthorityCache(durable).kept(("key",))
    )
    found = await first.get()
    notes.append(f"used {value(found)}")
    assert notes == ["saved number 1", "used number 1"]
    await clock.advance(0.5 * LIFE_S)
    later = TokenProvider(
        office.fetch, clock, Chance(1), kept=AuthorityCache(durable).kept(("key",))
    )
    assert await later.get() == found
    await clock.advance(0.4 * LIFE_S)
    # It ages like any other: renewed behind the caller's back.
    assert await later.get() == found
    await settle_loop()
    assert value(await later.get()) == "number 2"
    other = TokenProvider(
        office.fetch, clock, Chance(1), kept=AuthorityCache(durable).kept(("other",))
    )
    assert value(await other.get()) == "number 3"


async def test_what_may_be_made_at_any_time_is_not_kept_for_later_processes(
    clock: ManualClock, office: Office
) -> None:
    notes: list[str] = []
    durable = Durable(clock, notes)
    await TokenProvider(
        office.fetch, clock, Chance(1), kept=AuthorityCache(durable).kept(("key",))
    ).get()
    assert notes == []


@pytest.mark.evidence(
    "a saved authority is sealed, ends with its time, and is no good if a wrong clock made it",
)
async def test_what_was_made_by_a_wrong_clock_is_made_again(clock: ManualClock) -> None:
    durable = MemoryAuthorities(clock)
    ahead = ManualClock(NOW + 86_400)
    wrong = StrictOffice(ahead)
    await TokenProvider(
        wrong.fetch, ahead, Chance(1), kept=AuthorityCache(durable).kept(("key",))
    ).get()
    office = StrictOffice(clock)
    office.visits = 7
    right = TokenProvider(
        office.fetch, clock, Chance(1), kept=AuthorityCache(durable).kept(("key",))
    )
    assert value(await right.get()) == "number 8"
