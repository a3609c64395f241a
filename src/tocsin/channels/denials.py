"""Outcomes that we ourselves give, with their codes: nothing was asked, or nothing came back."""

from __future__ import annotations

import msgspec

from tocsin.channels.breaker import ACCUSING, FAILING
from tocsin.channels.way import Way
from tocsin.conversation import Denied
from tocsin.domain.outcome import Outcome, Receipt

NO_ANSWER = ("-8", "no answer")
NOT_SENT = ("-9", "vendor not reached")
HELD = ("-10", "held back")
OUR_FAULT = ("-11", "unexpected error")
NOT_ALLOWED = "-17"
"""Codes of ours are negative; what exactly happened stands in the log."""
NOT_ASKED = Denied(Outcome.ACCEPTED, "0", "in order as far as can be seen here; nobody was asked")


def held(wait_s: float, way: Way | None = None) -> Denied:
    """Not now, but in `wait_s`, or as soon as the way has proved itself."""
    return Denied(Outcome.HELD, *HELD, wait_s, "" if way is None else way.name)


def unproven(found: Denied, way: Way) -> Denied:
    """What it means for deliveries that there is nothing to prove us with.

    A wrong credential is told. Whatever else keeps a token service passes, and nothing was sent, so
    they wait for as long as they live and it costs them no attempt.
    """
    if found.outcome in ACCUSING:
        return msgspec.structs.replace(found, way=way.name)
    return held(found.retry_after_s or 0.0, way)


def stamped(receipt: Receipt, way: Way) -> Receipt:
    """The receipt with the way that has to prove itself before another attempt.

    What the vendor asked this device to wait stands, whatever the way proves meanwhile.
    """
    is_of_way = receipt.outcome in FAILING or receipt.outcome in ACCUSING
    if not is_of_way or receipt.retry_after_s is not None:
        return receipt
    return msgspec.structs.replace(receipt, way=way.name)
