"""One vendor's trouble does not slow another: every credential at work, one of them dead.

The real pipeline, drivers and vendors' files, on the manual clock, against the sandbox without
sockets. What each vendor took within 40 seconds is counted.
"""

from __future__ import annotations

import asyncio
import io
import logging
from typing import Any

import pytest

from tests.direct import facts_of
from tests.sim.works import APP, NAMES, PACE, Works
from tocsin.channels.registry import VENDORS, takes_lists
from tocsin.log import configure

LISTS_PER_S, SINGLES_PER_S = 50, 20
RATE_PER_S = {
    vendor.NAME: LISTS_PER_S if takes_lists(vendor) else SINGLES_PER_S for vendor in VENDORS
}
SPAN_S = 40


async def opened(**changed: dict[str, Any]) -> Works:
    """Every vendor, each with more devices than the span serves."""
    spare = {LISTS_PER_S: 1100, SINGLES_PER_S: 100}
    counts = {name: rate * SPAN_S + spare[rate] for name, rate in RATE_PER_S.items()}
    return await Works().open(counts, rates=RATE_PER_S, changed=changed)


async def served(works: Works) -> dict[str, int]:
    """Push to everyone and let the span pass: what each vendor took."""
    await works.push()
    return await works.go_on(SPAN_S)


@pytest.fixture(scope="module", autouse=True)
def quiet() -> Any:
    """Ten vendors have much to tell."""
    configure("error", json=False, stream=io.StringIO())
    yield
    # The fixture that puts logging back after each test has only ever seen it like this.
    logging.getLogger().handlers.clear()
    logging.getLogger("tocsin").setLevel(logging.NOTSET)


@pytest.fixture(scope="module")
def undisturbed() -> dict[str, int]:
    """What each vendor takes in the span when all are well."""

    async def work() -> dict[str, int]:
        return await served(await opened())

    return asyncio.run(work())


def test_all_at_once_keep_their_own_pace(undisturbed: dict[str, int]) -> None:
    for name in NAMES:
        expected = RATE_PER_S[name] * SPAN_S
        # A list begins as soon as one target is free, and the first second's allowance is saved up.
        slack = 1000 if RATE_PER_S[name] == LISTS_PER_S else 0.03 * expected
        assert 0.95 * expected <= undisturbed[name] <= expected + slack, name


def is_as_many(name: str, taken: dict[str, int], undisturbed: dict[str, int]) -> bool:
    """Whether no fewer were taken, and no more than the pace allows: a list more or less may fall
    into the span, since lists are of different lengths."""
    slack = 1000 if RATE_PER_S[name] == LISTS_PER_S else 0.02 * undisturbed[name]
    most = RATE_PER_S[name] * SPAN_S + max(slack, 0.03 * RATE_PER_S[name] * SPAN_S)
    return 0.98 * undisturbed[name] <= taken[name] <= most


@pytest.mark.evidence(
    "one vendor dead, the others send as many within 2 %, its jobs stay in its window",
    topic="Trouble, vendor by vendor",
    planted="ten places shared by all drivers; no limit on a queue's jobs",
)
@pytest.mark.parametrize("dead", ["apns", "huawei", "webpush"])
async def test_with_one_dead_the_others_send_as_many(
    dead: str, undisturbed: dict[str, int]
) -> None:
    works = await opened()
    works.http.dead.add(dead)
    taken = await served(works)
    assert taken.get(dead, 0) == 0
    for name in NAMES:
        if name != dead:
            assert is_as_many(name, taken, undisturbed), name
    assert 0 < works.held_most[dead] <= PACE.queue_jobs_max


@pytest.mark.evidence(
    "… only its own, and parks the jobs until it is put right",
    topic="Trouble, vendor by vendor",
    planted="a refused credential's pushes failed at once",
)
async def test_a_wrong_credential_stops_only_its_own_channel_until_it_is_put_right(
    undisturbed: dict[str, int],
) -> None:
    """Its jobs wait: nothing of them is booked as failed, and put right it sends them."""
    wrong = "huawei"
    works = await opened(huawei={"app_secret": "another"})
    taken = await served(works)
    assert taken.get(wrong, 0) == 0
    for name in NAMES:
        if name != wrong:
            assert is_as_many(name, taken, undisturbed), name
    assert (await works.ledger(1)).failures == {}
    right = {"settings": {"app_secret": facts_of(wrong, works.sandbox)["settings"]["app_secret"]}}
    await works.operator.credential_set(APP, works.numbers[wrong], right)
    # A job waits as long as the breaker said, and a new version has a breaker of its own.
    assert (await works.go_on(30))[wrong] > 0
    assert (await works.ledger(1)).failures == {}
