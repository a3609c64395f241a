"""Pushes to nobody: they prove a credential, or the way to its vendor, and reach no device."""

from __future__ import annotations

from uuid import UUID

from tocsin.conversation import Batch, Delivery
from tocsin.domain.message import Message
from tocsin.domain.outcome import Outcome

CORRELATION = str(UUID(int=0))
MESSAGE = Message(title="Tocsin", desc="Is this credential in order?")


def batch_to_nobody(token: str, now: float) -> Batch:
    """One delivery to a token that no device has, sent as a test where the vendor has tests."""
    nobody = Delivery(
        device=0,
        token=token,
        message=MESSAGE,
        task_id="credential-check",
        correlation=CORRELATION,
        collapse="credential-check",
        ttl_s=0,
        expires_at=now,
        is_trial=True,
    )
    return Batch(app=0, task=0, job=0, deliveries=(nobody,), correlation="credential-check")


class OpenGate:
    """Lets everything through: nobody recalls a push to nobody."""

    def __init__(self) -> None:
        self.was_asked = False
        """Whether a request has gone to the vendor."""

    async def may_begin(self, batch: Batch) -> Outcome | None:
        del batch
        return None

    def still_may(self, batch: Batch) -> bool:
        del batch
        self.was_asked = True
        return True

    @property
    def awaits_answers(self) -> bool:
        return False
