"""Proves a credential to its vendor: one push to nobody, and what the vendor says of us."""

from __future__ import annotations

from typing import Any, Literal
from uuid import UUID

from msgspec import Struct

from tocsin.channels.advice import advice
from tocsin.channels.credentials import driver_of, vendor_of
from tocsin.channels.driver import Driver, Tools
from tocsin.domain.app import Credential
from tocsin.domain.message import Message
from tocsin.domain.outcome import Outcome, Receipt
from tocsin.metrics import Metrics
from tocsin.ports import Batch, Delivery, Denied

Verdict = Literal["good", "wrong", "refused", "unclear"]

VERDICTS: dict[Outcome, Verdict] = {
    # It took the push, or it knows us well enough to say that there is no such device.
    Outcome.ACCEPTED: "good",
    Outcome.TOKEN_DEAD: "good",
    Outcome.UNDELIVERABLE: "good",
    Outcome.CREDENTIALS_WRONG: "wrong",
    Outcome.AUTH_EXPIRED: "wrong",
    Outcome.NOT_PERMITTED: "refused",
    Outcome.BAD_REQUEST: "refused",
    Outcome.BLOCKED_CONTENT: "refused",
    Outcome.QUOTA_DAY: "refused",
    Outcome.TIME_WINDOW: "refused",
}
"""What an outcome says of the credential; all others leave it open."""

CORRELATION = str(UUID(int=0))
MESSAGE = Message(title="Tocsin", desc="Is this credential in order?")


class Trial(Struct, frozen=True):
    """What came of it."""

    verdict: Verdict
    """`good`; `wrong`: the vendor does not know us; `refused`: it does, but would not take what we
    send; `unclear`: it could not be asked."""
    outcome: Outcome
    code: str
    said: str
    """The vendor's words, or ours where none were heard."""
    advice: str
    """What to do; empty where nothing needs doing."""


async def try_out(record: Credential, settings: Any, tools: Tools) -> Trial:
    """Send one push to the vendor's `NOBODY`, as a test where the vendor has tests.

    A driver of its own does it, so that what the running one has learnt stays as it is.
    """
    vendor = vendor_of(record.channel)
    apart = Tools(tools.http, tools.clock, tools.chance, Metrics())
    driver = driver_of(vendor, record, settings, apart)
    try:
        found = await _ask(driver, vendor.NOBODY, tools.clock.now())
    finally:
        await driver.close()
    return Trial(
        verdict=VERDICTS.get(found.outcome, "unclear"),
        outcome=found.outcome,
        code=found.code,
        said=found.info,
        advice=advice(vendor, found.outcome, found.code, found.info),
    )


async def _ask(driver: Driver, nobody: str, now: float) -> Receipt | Denied:
    proof = await driver.prove()
    if not nobody or proof.outcome is not Outcome.ACCEPTED:
        return proof
    one = Delivery(
        device=0,
        token=nobody,
        message=MESSAGE,
        task_id="credential-check",
        correlation=CORRELATION,
        collapse="credential-check",
        ttl_s=0,
        expires_at=now,
        is_trial=True,
    )
    batch = Batch(app=0, task=0, job=0, deliveries=(one,), correlation="credential-check")
    (receipt,) = await driver.deliver(batch, _OpenGate())
    return receipt


class _OpenGate:
    """Nobody recalls a trial."""

    async def may_begin(self, batch: Batch) -> Outcome | None:
        del batch
        return None

    def still_may(self, batch: Batch) -> bool:
        del batch
        return True
