"""Writes to the log and the metrics what happens to one credential."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from tocsin.channels.advice import advice
from tocsin.channels.registry import Vendor
from tocsin.channels.way import Way
from tocsin.conversation import Batch, Denied, Fault
from tocsin.domain.app import Credential
from tocsin.domain.outcome import Outcome, Receipt
from tocsin.log import get_logger
from tocsin.metrics import Metrics

BREAKER_LEVELS = {"closed": 0, "open": 2}
MOSTLY_DEAD = "compare the credential's app and environment with those of the devices"


class Telemetry:
    """The log lines and metrics of one driver, each with app, credential and vendor."""

    def __init__(self, vendor: Vendor, record: Credential, metrics: Metrics) -> None:
        self._vendor = vendor
        self._metrics = metrics
        self._name = f"{record.app}:{record.number}"
        self._log = get_logger(__name__).bind(
            app=record.app, certificate=record.number, channel=vendor.NAME
        )
        self.last_fault = ""
        """What the client said of the last request that got no answer."""

    def alarm(self) -> None:
        """Count an alarm."""
        self._metrics.count("alarms", credential=self._name)

    def kept_tokens(self, **reason: str) -> None:
        """Tokens that look dead are kept, since that many accuse the credential."""
        self.alarm()
        self._log.error("tokens told dead are kept", advice=MOSTLY_DEAD, **reason)

    def refused(self, found: Denied | Receipt) -> None:
        """Say once per opening of the breaker what is wrong with the credential, and what to do."""
        self.alarm()
        self._log.error(
            "credential refused",
            outcome=found.outcome,
            code=found.code,
            said=found.info,
            advice=advice(self._vendor, found.outcome, found.code, found.info),
        )

    def no_authority(self, found: Denied) -> None:
        """There is nothing to prove us with."""
        self._log.warning("no authority", outcome=found.outcome, code=found.code, why=found.info)

    def breaker(self, way: Way, reason: str, now: float) -> None:
        """A way's breaker has opened or closed."""
        state = way.breaker.state
        self._metrics.set("breaker_state", BREAKER_LEVELS[state], credential=self._name)
        if state == "closed":
            self._log.info("breaker closed", way=way.name)
        else:
            wait_s = round(way.breaker.until - now, 1)
            self._log.warning("breaker opened", way=way.name, reason=reason, seconds=wait_s)

    def pause(self, found: Receipt) -> None:
        """The vendor asks for a pause of everything."""
        pause_s = round(found.retry_after_s or 0.0, 1)
        self._log.warning("vendor asks for a pause", code=found.code, seconds=pause_s)

    def deliveries(self, counted: Counter[Outcome]) -> None:
        """Count what a batch came to."""
        for outcome, times in counted.items():
            self._metrics.count("deliveries", times, channel=self._vendor.NAME, outcome=outcome)

    def taken_back(self, receipts: Sequence[Receipt]) -> None:
        """Count what withdrawing came to."""
        for outcome, times in Counter(receipt.outcome for receipt in receipts).items():
            self._metrics.count("taken_back", times, channel=self._vendor.NAME, outcome=outcome)

    def fault(self, fault: Fault) -> None:
        """A request got no answer."""
        self._metrics.count("faults", channel=self._vendor.NAME, kind=fault.kind)
        self._log.debug("no answer", kind=fault.kind, reason=fault.reason)
        self.last_fault = fault.reason

    def error(self, batch: Batch | None, error: Exception) -> None:
        """Something failed by our own fault."""
        self._metrics.count("loop_errors", loop="channel")
        job = batch.job if batch is not None else None
        task = batch.task if batch is not None else None
        self._log.error("delivery failed by our fault", job=job, task=task, exc_info=error)
