"""The pushes themselves: sent, followed, one of them recalled, and everything read afterwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from tocsin.client.rest import Client, notice
from tocsin.client.sandbox import SandboxClient
from tocsin.clock import Clock
from tocsin.demo.evidence import Evidence, Finding, LogLine, Logs
from tocsin.demo.show import Show, progress_of
from tocsin.demo.stage import Stage
from tocsin.demo.world import Act, World, waiters

POLL_S = 0.1
QUICK_POLL_S = 0.02
STUCK_S = 600.0
"""A push that has not moved on for so long never will, however slow the machine is."""
SLOW_S = 1.0
"""How slow the vendors are made for the push that is recalled."""
OVERWRITE_SUFFIX = "_recall"


class TooSlow(Exception):
    """A push's life ended before this machine had served every device that can be reached.

    What became of it then tells nothing about the service.
    """

    def __init__(self, life_s: float) -> None:
        super().__init__(f"{life_s:.0f} s of life were too few")
        self.life_s = life_s


class Played(Struct, frozen=True):
    """A push that was sent."""

    act: Act
    task_id: str


class Director:
    """Sends the pushes one after another and reads what became of them."""

    def __init__(
        self,
        stage: Stage,
        client: Client,
        sandbox: SandboxClient,
        show: Show,
        clock: Clock,
        *,
        is_last_try: bool = False,
    ) -> None:
        """On the last try nothing is `TooSlow`: the checks say what became of each push."""
        self._stage = stage
        self._client = client
        self._sandbox = sandbox
        self._show = show
        self._clock = clock
        self._is_last_try = is_last_try
        self.findings: list[Finding] = []
        """Pushes that did not move on."""

    async def play(self, world: World, act: Act) -> Played:
        """Send one push and wait until only devices that must wait are still open."""
        if act.is_recalled:
            await self._sandbox.add_fault(kind="slow_first_byte", delay_s=SLOW_S)
        before = await self._accepted()
        info = notice(act.label, "A push of the demo.", ext='{"demo":true}')
        if act.accounts:
            pushed = await self._client.batch(act.accounts, info)
        else:
            pushed = await self._client.push(info, act.condition)
        if act.is_recalled:
            await self._recall(pushed.task_id, before)
        waiting = 0 if act.is_recalled else len(waiters(world, act))
        await self._follow(pushed.task_id, act.label, waiting)
        await self._check_in_time(pushed.task_id, waiting)
        if act.is_recalled:
            overwrite = f"{pushed.task_id}{OVERWRITE_SUFFIX}"
            await self._until_ended(overwrite)
            await self._check_in_time(overwrite, 0)
        # Whoever is told gone loses the token before the next push is planned.
        await self._hear_receipts(act.label)
        return Played(act, pushed.task_id)

    async def _hear_receipts(self, label: str) -> dict[str, Any]:
        """Wait until the vendors owe no receipt any more; answers their totals."""
        give_up_at = self._clock.monotonic() + STUCK_S
        told = await self._sandbox.receipts()
        while told["waiting"] and self._is_time_left(give_up_at, label):
            await self._clock.sleep(QUICK_POLL_S)
            told = await self._sandbox.receipts()
        return told

    async def _is_sent_by_vendor(self, task_id: str) -> bool:
        legs = (await self._client.task(task_id))["ledger"]["legs"]
        return any(count for channel, count in legs.items() if channel != "online")

    async def _recall(self, task_id: str, before: int) -> None:
        """Recall as soon as something is booked as sent by a vendor; then be quick again."""
        give_up_at = self._clock.monotonic() + STUCK_S
        while await self._accepted() <= before or not await self._is_sent_by_vendor(task_id):
            if not self._is_time_left(give_up_at, task_id):
                break
            await self._clock.sleep(QUICK_POLL_S)
        # Of a push that has ended by itself nothing is left to recall.
        await self._check_in_time(task_id, 0)
        text = notice("Withdrawn", "Please ignore the last one.")
        await self._client.revoke(task_id, text)
        await self._sandbox.clear_faults()

    async def _until_ended(self, task_id: str) -> dict[str, Any]:
        """Wait until a push has ended, and answer it."""
        give_up_at = self._clock.monotonic() + STUCK_S
        task = await self._client.task(task_id)
        while task["phase"] != "done" and self._is_time_left(give_up_at, task_id):
            await self._clock.sleep(QUICK_POLL_S)
            task = await self._client.task(task_id)
        return task

    async def _check_in_time(self, task_id: str, waiting: int) -> None:
        """Raise `TooSlow` if a push has expired for more devices than those nobody can reach."""
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
        with self._show.step(label, task["ledger"]["planned"]) as moved:
            shown = 0
            while True:
                done, planned = progress_of(task)
                moved(done - shown)
                if done > shown:
                    give_up_at = self._clock.monotonic() + STUCK_S
                shown = done
                if planned - done <= waiting or task["phase"] == "done":
                    return
                if not self._is_time_left(give_up_at, label):
                    return
                await self._clock.sleep(POLL_S)
                task = await self._client.task(task_id)

    async def finish(self, played: Sequence[Played]) -> None:
        """Wait until every push has ended: the last devices that wait do so for its life."""
        ids = [one.task_id for one in played]
        ids += [f"{one.task_id}{OVERWRITE_SUFFIX}" for one in played if one.act.is_recalled]
        expiries = [(await self._client.task(task_id))["expires_at"] for task_id in ids]
        left_s = max(0.0, max(expiries) - self._clock.now())
        give_up_at = self._clock.monotonic() + left_s + STUCK_S
        with self._show.step("waiting for the last to expire", len(ids)) as moved:
            for task_id in ids:
                while (await self._client.task(task_id))["phase"] != "done":
                    if not self._is_time_left(give_up_at, task_id):
                        return
                    await self._clock.sleep(POLL_S)
                moved(1)

    async def read_all(self, played: Sequence[Played]) -> list[Evidence]:
        """Everything the service says about the pushes, device by device."""
        evidence = []
        with self._show.step("books read, name by name", len(played)) as moved:
            for one in played:
                evidence.append(await self._read_act(one))
                moved(1)
        return evidence

    async def _read_act(self, played: Played) -> Evidence:
        evidence = await self._read(played.act, played.task_id)
        if played.act.is_recalled:
            act = Act(name="overwrite", label="what replaced it", expected=played.act.expected)
            overwrite = f"{played.task_id}{OVERWRITE_SUFFIX}"
            evidence.overwrite = await self._read(act, overwrite)
        return evidence

    async def read_logs(self) -> Logs:
        """What the vendors saw and posted, once none of them owes a receipt."""
        told = await self._sandbox.receipts()
        with self._show.step("receipts of vendors heard", told["told"] + told["waiting"]) as moved:
            receipts = await self._hear_receipts("receipts")
            moved(receipts["told"])
        counts = await self._sandbox.counts()
        with self._show.step("logs of vendors read", counts["requests"]) as moved:
            lines = []
            async for entry in self._sandbox.log():
                lines.append(msgspec.convert(entry, LogLine))
                moved(1)
        return Logs(lines=lines, counts=counts, receipts=receipts)

    async def _read(self, act: Act, task_id: str) -> Evidence:
        task: dict[str, Any] = await self._client.task(task_id)
        books = task["ledger"]
        return Evidence(
            act=act,
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
        self, task_id: str, what: str, counts: Mapping[str, int]
    ) -> dict[str, set[str]]:
        """The names behind each count that is not zero."""
        return {
            name: await self._devices(task_id, **{what: name})
            for name, count in counts.items()
            if count
        }

    async def _devices(self, task_id: str, **asked: str) -> set[str]:
        return {name async for name in self._client.task_devices(task_id, **asked)}

    async def _accepted(self) -> int:
        return int((await self._sandbox.counts())["accepted"])

    def _is_time_left(self, give_up_at: float, where: str) -> bool:
        self._stage.check()
        if self._clock.monotonic() <= give_up_at:
            return True
        self.findings.append(Finding("end", where, f"has not moved on for {STUCK_S:.0f} s"))
        return False


def _is_walked(task: Mapping[str, Any]) -> bool:
    return bool(task["ledger"]["is_walked"]) or task["phase"] == "done"
