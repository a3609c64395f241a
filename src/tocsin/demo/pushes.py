"""Sends the demo's pushes, follows them, recalls one, and reads the books and the vendors' logs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from tocsin.client.rest import Client, notice
from tocsin.client.sandbox import SandboxClient
from tocsin.clock import Clock
from tocsin.demo.display import Display, progress_of
from tocsin.demo.evidence import Evidence, FailedCheck, LogLine, Logs
from tocsin.demo.processes import DemoProcesses
from tocsin.demo.world import PlannedPush, World, waiting_devices

POLL_S = 0.1
QUICK_POLL_S = 0.02
STUCK_S = 600.0
"""Seconds after which a push that has not advance on counts as stuck, on the slowest machine."""
SLOW_S = 1.0
"""Seconds by which the vendors answer later, for the push that is recalled."""
OVERWRITE_SUFFIX = "_recall"


class TooSlow(Exception):
    """A push expired before this machine had served every device that can be reached.

    Its result says nothing about the service.
    """

    def __init__(self, life_s: float) -> None:
        super().__init__(f"{life_s:.0f} s of life were too few")
        self.life_s = life_s


class SentPush(Struct, frozen=True):
    """A push that was sent."""

    plan: PlannedPush
    task_id: str


class PushRunner:
    """Sends the pushes one after another, and reads their results."""

    def __init__(
        self,
        processes: DemoProcesses,
        client: Client,
        sandbox: SandboxClient,
        display: Display,
        clock: Clock,
        *,
        is_last_try: bool = False,
    ) -> None:
        """On the last try no push raises `TooSlow`: the checks judge the result of each."""
        self._processes = processes
        self._client = client
        self._sandbox = sandbox
        self._display = display
        self._clock = clock
        self._is_last_try = is_last_try
        self.findings: list[FailedCheck] = []
        """Pushes that did not move on."""

    async def run_push(self, world: World, plan: PlannedPush) -> SentPush:
        """Send one push and wait until only devices that must wait are still open."""
        if plan.is_recalled:
            await self._sandbox.add_fault(kind="slow_first_byte", delay_s=SLOW_S)
        before = await self._accepted()
        info = notice(plan.label, "A push of the demo.", ext='{"demo":true}')
        if plan.accounts:
            pushed = await self._client.batch(plan.accounts, info)
        else:
            pushed = await self._client.push(info, plan.condition)
        if plan.is_recalled:
            await self._recall(pushed.task_id, before)
        waiting = 0 if plan.is_recalled else len(waiting_devices(world, plan))
        await self._follow(pushed.task_id, plan.label, waiting)
        await self._check_in_time(pushed.task_id, waiting)
        if plan.is_recalled:
            overwrite = f"{pushed.task_id}{OVERWRITE_SUFFIX}"
            await self._until_ended(overwrite)
            await self._check_in_time(overwrite, 0)
        # Receipts of removed apps drop their tokens before the next push is planned.
        await self._hear_receipts(plan.label)
        return SentPush(plan, pushed.task_id)

    async def _hear_receipts(self, label: str) -> dict[str, Any]:
        """Wait until the vendors owe no receipt any more; answers their totals."""
        give_up_at = self._clock.monotonic() + STUCK_S
        totals = await self._sandbox.receipts()
        while totals["waiting"] and self._is_time_left(give_up_at, label):
            await self._clock.sleep(QUICK_POLL_S)
            totals = await self._sandbox.receipts()
        return totals

    async def _is_sent_by_vendor(self, task_id: str) -> bool:
        legs = (await self._client.task(task_id))["ledger"]["legs"]
        return any(count for channel, count in legs.items() if channel != "online")

    async def _recall(self, task_id: str, before: int) -> None:
        """Recall once a vendor has taken a device's push; then let the vendors answer at once."""
        give_up_at = self._clock.monotonic() + STUCK_S
        while await self._accepted() <= before or not await self._is_sent_by_vendor(task_id):
            if not self._is_time_left(give_up_at, task_id):
                break
            await self._clock.sleep(QUICK_POLL_S)
        # A push that has ended by itself cannot be recalled.
        await self._check_in_time(task_id, 0)
        text = notice("Withdrawn", "Please ignore the last one.")
        await self._client.revoke(task_id, text)
        await self._sandbox.clear_faults()

    async def _until_ended(self, task_id: str) -> dict[str, Any]:
        """Wait until a push has ended; answers the push."""
        give_up_at = self._clock.monotonic() + STUCK_S
        task = await self._client.task(task_id)
        while task["phase"] != "done" and self._is_time_left(give_up_at, task_id):
            await self._clock.sleep(QUICK_POLL_S)
            task = await self._client.task(task_id)
        return task

    async def _check_in_time(self, task_id: str, waiting: int) -> None:
        """Raise `TooSlow` if a push has expired for more than `waiting` devices."""
        task = await self._client.task(task_id)
        if self._is_last_try or self._clock.now() < task["expires_at"]:
            return
        task = await self._until_ended(task_id)
        if task["ledger"]["states"].get("expired", 0) > waiting:
            raise TooSlow(task["expires_at"] - task["accepted_at"])

    async def _follow(self, task_id: str, label: str, waiting: int) -> None:
        """Show a push until no more than `waiting` of its devices are open."""
        give_up_at = self._clock.monotonic() + STUCK_S
        task = await self._client.task(task_id)
        while not _is_walked(task) and self._is_time_left(give_up_at, label):
            await self._clock.sleep(POLL_S)
            task = await self._client.task(task_id)
        with self._display.step(label, task["ledger"]["planned"]) as advance:
            shown = 0
            while True:
                done, planned = progress_of(task)
                advance(done - shown)
                if done > shown:
                    give_up_at = self._clock.monotonic() + STUCK_S
                shown = done
                if planned - done <= waiting or task["phase"] == "done":
                    return
                if not self._is_time_left(give_up_at, label):
                    return
                await self._clock.sleep(POLL_S)
                task = await self._client.task(task_id)

    async def finish(self, sent: Sequence[SentPush]) -> None:
        """Wait until every push has ended: waiting devices keep a push open until it expires."""
        ids = [one.task_id for one in sent]
        ids += [f"{one.task_id}{OVERWRITE_SUFFIX}" for one in sent if one.plan.is_recalled]
        expiries = [(await self._client.task(task_id))["expires_at"] for task_id in ids]
        left_s = max(0.0, max(expiries) - self._clock.now())
        give_up_at = self._clock.monotonic() + left_s + STUCK_S
        with self._display.step("waiting for the last to expire", len(ids)) as advance:
            for task_id in ids:
                while (await self._client.task(task_id))["phase"] != "done":
                    if not self._is_time_left(give_up_at, task_id):
                        return
                    await self._clock.sleep(POLL_S)
                advance(1)

    async def read_all(self, sent: Sequence[SentPush]) -> list[Evidence]:
        """The books of every push, with the names of the devices."""
        evidence = []
        with self._display.step("books read, name by name", len(sent)) as advance:
            for one in sent:
                evidence.append(await self._read_act(one))
                advance(1)
        return evidence

    async def _read_act(self, sent: SentPush) -> Evidence:
        evidence = await self._read(sent.plan, sent.task_id)
        if sent.plan.is_recalled:
            plan = PlannedPush(
                name="overwrite", label="what replaced it", expected=sent.plan.expected
            )
            overwrite = f"{sent.task_id}{OVERWRITE_SUFFIX}"
            evidence.overwrite = await self._read(plan, overwrite)
        return evidence

    async def read_logs(self) -> Logs:
        """The vendors' logs and receipts, once no vendor owes a receipt."""
        totals = await self._sandbox.receipts()
        with self._display.step(
            "receipts of vendors received", totals["told"] + totals["waiting"]
        ) as advance:
            receipts = await self._hear_receipts("receipts")
            advance(receipts["told"])
        counts = await self._sandbox.counts()
        with self._display.step("logs of vendors read", counts["requests"]) as advance:
            lines = []
            async for entry in self._sandbox.log():
                lines.append(msgspec.convert(entry, LogLine))
                advance(1)
        return Logs(lines=lines, counts=counts, receipts=receipts)

    async def _read(self, plan: PlannedPush, task_id: str) -> Evidence:
        task: dict[str, Any] = await self._client.task(task_id)
        books = task["ledger"]
        return Evidence(
            plan=plan,
            number=task["number"],
            ledger=books,
            audience=[name async for name in self._client.audience(task_id)],
            states=await self._named(task_id, "state", books["states"]),
            legs=await self._named(task_id, "leg", books["legs"]),
            failures=await self._named(task_id, "failure", books["failures"]),
            undelivered=await self._named(task_id, "undelivered", books["undelivered"]),
            reached=await self._devices(task_id, mark="reached"),
            clicked=await self._devices(task_id, mark="clicked"),
            repeated=await self._devices(task_id, mark="repeated"),
        )

    async def _named(
        self, task_id: str, kind: str, counts: Mapping[str, int]
    ) -> dict[str, set[str]]:
        """The names behind each count that is not zero."""
        return {
            name: await self._devices(task_id, **{kind: name})
            for name, count in counts.items()
            if count
        }

    async def _devices(self, task_id: str, **asked: str) -> set[str]:
        return {name async for name in self._client.task_devices(task_id, **asked)}

    async def _accepted(self) -> int:
        return int((await self._sandbox.counts())["accepted"])

    def _is_time_left(self, give_up_at: float, where: str) -> bool:
        self._processes.check()
        if self._clock.monotonic() <= give_up_at:
            return True
        self.findings.append(FailedCheck("end", where, f"has not advance on for {STUCK_S:.0f} s"))
        return False


def _is_walked(task: Mapping[str, Any]) -> bool:
    return bool(task["ledger"]["is_walked"]) or task["phase"] == "done"
