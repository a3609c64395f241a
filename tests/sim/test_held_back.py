"""While a credential is held back, what ends behind it is settled in time, and asks nobody."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from tests.direct import facts_of
from tests.sim.test_recall_held_back import app_of
from tests.sim.works import APP, Works
from tocsin.domain.message import Message
from tocsin.domain.task import Phase
from tocsin.sandbox.faults import Rule

COUNT = 30
SOON_S = 2
TROUBLES: dict[str, dict[str, Any]] = {
    "down": {"status": 503},
    "paused": {"status": 503, "retry_after_s": 7200},
    "refused": {"status": 403},
    "token service": {"path": "/oauth2/*", "status": 500},
}


async def held_back(vendor: str, trouble: dict[str, Any]) -> Works:
    """A credential that sends nothing any more, and knows it."""
    works = await Works().open({vendor: COUNT})
    path = trouble.get("path", "*")
    facts = {name: value for name, value in trouble.items() if name != "path"}
    works.sandbox.faults.add(Rule(vendor=vendor, kind="status", path=path, **facts))
    for _ in range(3):
        await works.push(ttl_s=86_400)
        await works.go_on(5)
    channel = await works.channels.channel(APP, works.numbers[vendor])
    assert channel is not None
    assert channel.stoppage(works.clock.now()) is not None
    return works


@pytest.mark.evidence(
    "recalled and expired pushes behind a held credential are settled at once",
    topic="A push outlives every outage",
    planted="ended jobs not leased",
)
@pytest.mark.parametrize("trouble", TROUBLES.values(), ids=TROUBLES.keys())
@pytest.mark.parametrize("vendor", ["huawei", "fcm"])
async def test_a_recalled_push_is_settled_at_once(vendor: str, trouble: dict[str, Any]) -> None:
    if "path" in trouble and vendor == "fcm":
        trouble = {**trouble, "path": "/token"}
    works = await held_back(vendor, trouble)
    number = await works.push(ttl_s=86_400)
    await works.go_on(5)
    requests = works.http.requests[vendor]
    (task, *_) = await works.store.tasks(APP)
    assert task.number == number
    await works.accepting.recall(await app_of(works), task.task_id, Message(title="no"))
    await works.go_on(SOON_S)
    assert (await works.store.tasks(APP, before=number + 1, limit=1))[0].phase is Phase.DONE
    assert (await works.ledger(number)).states["recalled"] == COUNT
    assert works.http.requests[vendor] <= requests + 1, "but for a push to nobody"


@pytest.mark.evidence("recalled and expired pushes behind a held credential are settled at once")
@pytest.mark.parametrize("trouble", TROUBLES.values(), ids=TROUBLES.keys())
async def test_a_push_expires_when_its_life_ends(trouble: dict[str, Any]) -> None:
    works = await held_back("huawei", trouble)
    number = await works.push(ttl_s=60)
    await works.go_on(60 + SOON_S, step_s=0.5)
    assert (await works.ledger(number)).states["expired"] == COUNT
    blocks = (await works.books(number)).blocks
    told = {(it.code, bool(it.info)) for it in blocks if it.kind == "device"}
    assert told == {("-10", True)}, "nobody was tried, and the books say why"


@pytest.mark.evidence(
    "a credential that was put right sends at once",
    topic="A push outlives every outage",
    planted="a new driver that tells nobody",
)
async def test_a_credential_that_was_put_right_sends_at_once() -> None:
    """A new version has a way of its own, and whoever waited for the old one is woken."""
    works = await Works().open({"apns": COUNT}, changed={"apns": {"key_id": "WRONGKEY99"}})
    number = await works.push(ttl_s=86_400)
    await works.go_on(900, step_s=5)
    assert (await works.ledger(number)).states["open"] == COUNT
    works.sandbox.log.clear()
    key_id = facts_of("apns", works.sandbox)["settings"]["key_id"]
    right = {"settings": {"key_id": key_id}}
    await works.operator.credential_set(APP, works.numbers["apns"], right)
    await works.go_on(5)
    assert (await works.ledger(number)).states["sent"] == COUNT


@pytest.mark.evidence(
    "at most four repeats over all causes, each later than the former, five showings at most",
)
async def test_every_answer_is_lost_and_every_push_is_taken() -> None:
    """Nobody is shown a push more than five times, and the devices end in doubt."""
    works = await Works().open({"apns": 3})
    for token in works.sandbox.tokens("apns", 0, 3):
        works.sandbox.faults.add(Rule(vendor="apns", kind="reset_after", token=token))
    number = await works.push(ttl_s=86_400)
    await works.go_on(1200, step_s=0.5)
    shown = [entry.token for entry in works.sandbox.log.entries() if entry.accepted]
    assert {shown.count(token) for token in works.sandbox.tokens("apns", 0, 3)} == {5}
    ledger = await works.ledger(number)
    assert ledger.states["in_doubt"] == 3
    times = [entry.at for entry in works.sandbox.log.entries() if entry.accepted][::3]
    waits = [later - earlier for earlier, later in pairwise(times)]
    assert all(wait >= least for wait, least in zip(waits, (0, 30, 120, 600), strict=True))
