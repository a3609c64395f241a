"""Proves a credential to its vendor: one push to nobody, and what the vendor says of us."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import Struct

from tocsin.channels.advice import advice
from tocsin.channels.batch_run import DriverTools
from tocsin.channels.credentials import driver_of, vendor_of
from tocsin.channels.driver import Driver
from tocsin.channels.nobody import OpenGate, batch_to_nobody
from tocsin.channels.proxied import tools_through
from tocsin.conversation import Denied
from tocsin.domain.app import Credential
from tocsin.domain.outcome import Outcome, Receipt
from tocsin.metrics import Metrics

Verdict = Literal["good", "wrong", "refused", "unclear"]

VERDICTS: dict[Outcome, Verdict] = {
    # It took the push, or it knows us well enough to say that there is no such device.
    Outcome.ACCEPTED: "good",
    Outcome.TOKEN_DEAD: "good",
    Outcome.TOKEN_MISMATCH: "good",
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


async def try_out(record: Credential, settings: Any, proxy: str, tools: DriverTools) -> Trial:
    """Send one push to the vendor's `NOBODY`, as a test where the vendor has tests.

    It goes the credential's own way, through `proxy` where that names one, and shows the authority
    that the running channel shows. A driver of its own does it, so that what the running one has
    learnt stays as it is.
    """
    vendor = vendor_of(record.channel)
    apart = msgspec.structs.replace(tools, metrics=Metrics())
    driver = driver_of(vendor, record, settings, tools_through(apart, proxy))
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
    batch = batch_to_nobody(nobody, now)
    (receipt,) = await driver.deliver(batch, OpenGate())
    return receipt
