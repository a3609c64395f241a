"""The plan: which devices a page of the audience has, and which legs lead to them.

`plan_page` is the whole of fanout's judgement. It gets what a page of the frozen audience leads to
and gives back jobs, books and the batches still open, for one transaction. Devices are sets
throughout; only a badge that we count is looked at device by device.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec
from msgspec import Struct
from pyroaring import BitMap

from tocsin.domain.app import App
from tocsin.domain.device import Device
from tocsin.domain.language import choose_language
from tocsin.domain.message import (
    NOTHING_SHOWN,
    Message,
    is_empty,
    next_badge,
)
from tocsin.domain.outcome import State
from tocsin.domain.reach import Reach
from tocsin.domain.task import (
    RESTORED,
    WITH_DEVICES,
    Block,
    BlockKind,
    Body,
    FanoutBody,
    NewJob,
    OnlineBody,
    OpenBatch,
    SendBody,
    StepEdit,
    Task,
    WaitBody,
    closes,
)

PAGE_ACCOUNTS = 16_384
"""Accounts in one transaction of fanout."""
ONLINE_BATCH = 1000
AS_USER = "reached as its UserID"
"""Why the account of a device is without one: whoever is logged in there is in the audience."""


class ChannelFacts(Struct, frozen=True):
    """What the plan must know of a credential's channel."""

    channel: str
    batch_max: int
    """Devices in one job: a list call's size, or 200 single sends."""
    counts_badge_here: bool = False
    """Whether the vendor takes absolute badges only, so that we count."""
    takes_back: bool = False
    """Whether the vendor withdraws what it was given."""


class PageInput(Struct, frozen=True, kw_only=True):
    """What fanout knows besides the task and the reach of its page."""

    last_account: int = 0
    """The highest account of the page."""
    is_last: bool
    connected: BitMap
    """Devices believed connected: a hint."""
    credentials: Mapping[int, ChannelFacts]
    planned: BitMap = BitMap()
    """Devices of earlier pages: one that changed hands since is not planned again."""
    now: float


class PlanView(Struct, frozen=True):
    """Whose push is planned, and what the store read for it."""

    app: App
    task: Task
    job: int
    """The job that plans; 0 where the push is planned as it is accepted."""
    devices: Mapping[int, Device]
    """At least the rows of `badge_devices`, as far as they exist."""


def badge_devices(
    reach: Reach, message: Message, credentials: Mapping[int, ChannelFacts]
) -> BitMap:
    """The devices whose badge a push changes and writes: their rows are needed to plan it."""
    if next_badge(message, 0) is None:
        return BitMap()
    counting = [number for number, facts in credentials.items() if facts.counts_badge_here]
    return BitMap.union(BitMap(), *(reach.credentials.get(each, BitMap()) for each in counting))


def plan_page(view: PlanView, reach: Reach, body: FanoutBody, page_input: PageInput) -> StepEdit:
    """Plan one page and move the cursor; the last page closes every batch and ends the walk."""
    planner = _Planner(view, reach, body, page_input)
    planner.place(reach.devices - page_input.planned)
    return planner.finish(is_last=page_input.is_last)


class _Planner:
    """One page being planned, by sets of its devices."""

    def __init__(
        self, view: PlanView, reach: Reach, body: FanoutBody, page_input: PageInput
    ) -> None:
        self._view = view
        self._task = view.task
        self._reach = reach
        self._input = page_input
        self._connected = page_input.connected if view.task.overwrites is None else BitMap()
        self._ways = {
            number: _Way(facts, f"{facts.channel}:{number}")
            for number, facts in page_input.credentials.items()
        }
        self._open = {_key(batch): self._filling(batch) for batch in body.open}
        self._closed: dict[tuple[State, str, str], BitMap] = {}
        self._planned = BitMap()
        self._edit = StepEdit()

    def place(self, devices: BitMap) -> None:
        """Put devices into the batches of their legs, or book why they have none."""
        self._planned = devices
        over = closes(self._task, self._input.now)
        if over is not None:
            is_restored = over is State.EXPIRED and self._task.restored == "settled"
            self._close(devices, over, *(RESTORED if is_restored else ("", "")))
            return
        for language, spoken in self._by_language(devices).items():
            if self._is_empty_in(language):
                self._close(spoken, State.FAILED, *NOTHING_SHOWN)
            else:
                self._place_spoken(language, spoken)

    def _by_language(self, devices: BitMap) -> dict[int, BitMap]:
        """The devices by the translation that they get."""
        translations = self._task.message.translations
        if not translations:
            return {-1: devices} if devices else {}
        parts: dict[int, BitMap] = {}
        for language, members in self._reach.languages.items():
            chosen = choose_language(translations, language)
            parts[chosen] = parts.get(chosen, BitMap()) | (members & devices)
        return {language: members for language, members in parts.items() if members}

    def _is_empty_in(self, language: int) -> bool:
        """Whether nobody of this language would get anything; an overwrite may just take back."""
        task = self._task
        if task.msg_body or task.overwrites is not None:
            return False
        return is_empty(task.message.translated(language))

    def _place_spoken(self, language: int, devices: BitMap) -> None:
        """Place devices that get the same text."""
        task = self._task
        is_routed = task.is_withdrawal or not task.message.is_online_only
        left = devices
        for credential, members in self._reach.credentials.items() if is_routed else ():
            way, routed = self._ways.get(credential), members & devices
            if way is None or not routed:
                continue
            left = left - routed
            if task.is_withdrawal and not way.facts.takes_back:
                self._close(routed, State.UNREACHABLE, "-14", "the vendor takes nothing back")
            else:
                self._place_routed((way.queue, way.facts.channel, credential, language), routed)
        if left:
            self._place_unrouted(language, left)

    def _place_routed(self, leg: tuple[str, str, int, int], devices: BitMap) -> None:
        """Place devices with a token of one credential; those connected get two legs."""
        connected = devices & self._connected
        badges = self._badges(devices) if self._ways[leg[2]].facts.counts_badge_here else {}
        self._add(("online", "online", 0, leg[3], False), connected, {})
        self._add((*leg, True), connected, badges)
        self._add((*leg, False), devices - connected, badges)

    def _place_unrouted(self, language: int, devices: BitMap) -> None:
        """Devices that no vendor reaches wait for a connection, if there is time."""
        if self._task.overwrites is not None:
            waiting = BitMap()
        elif self._task.ttl_s == 0:
            waiting = devices & self._connected
        else:
            waiting = devices
        self._add(("wait", "online", 0, language, False), waiting, {})
        with_token = BitMap.union(BitMap(), *self._reach.credentials.values())
        closed = devices - waiting
        info = "no token uploaded"
        self._close(closed - with_token, State.UNREACHABLE, "-2", info)
        self._close(closed & with_token, State.UNREACHABLE, "-1", "no such certificate")

    def finish(self, *, is_last: bool) -> StepEdit:
        """Everything planned so far, as one edit."""
        edit = self._edit
        if is_last:
            for filling in self._open.values():
                self._flush(filling, everything=True)
        edit.blocks.extend(self._blocks())
        if is_last:
            edit.is_done = True
        else:
            left = tuple(it.batch() for it in self._open.values() if it.devices)
            edit.body = FanoutBody(self._input.last_account, left)
        return edit

    def _badges(self, devices: BitMap) -> dict[int, int]:
        """The badge that each device shall show; what changes is written. Empty: none is set."""
        badges: dict[int, int] = {}
        for number in devices:
            device = self._view.devices.get(number)
            before = 0 if device is None else device.badge
            badge = next_badge(self._task.message, before)
            if badge is None:
                break
            badges[number] = badge
            if device is not None and badge != before:
                self._edit.devices.append(msgspec.structs.replace(device, badge=badge))
        return badges

    def _close(self, devices: BitMap, state: State, code: str, info: str) -> None:
        if devices:
            key = (state, code or "0", info)
            self._closed[key] = self._closed.get(key, BitMap()) | devices

    def _add(self, key: _Key, devices: BitMap, badges: Mapping[int, int]) -> None:
        if not devices:
            return
        full_key = (*key, bool(badges))
        filling = self._open.get(full_key)
        if filling is None:
            filling = self._open[full_key] = self._filling(OpenBatch(*key))
        filling.note(self._reach.position)
        filling.devices.extend(devices)
        if badges:
            filling.badges.extend(map(badges.__getitem__, devices))
        self._flush(filling, everything=False)

    def _filling(self, batch: OpenBatch) -> _Filling:
        way = self._ways.get(batch.credential)
        return _Filling(batch, ONLINE_BATCH if way is None else way.facts.batch_max)

    def _flush(self, filling: _Filling, *, everything: bool) -> None:
        """Make jobs of all full batches, and of what is left with `everything`."""
        for batch in filling.full(everything=everything):
            job = _job_of(batch, self._task, self._view.app, self._input.now)
            self._edit.jobs.append(job)

    def _blocks(self) -> Iterable[Block]:
        reach = self._reach
        without = "no device" if self._task.overwrites is None else "not sent before"
        accounts = {
            WITH_DEVICES: reach.with_devices,
            AS_USER: reach.as_user,
            "account deleted": reach.deleted,
            without: reach.without,
        }
        for reason, members in accounts.items():
            if members:
                yield self._block("account", reason, "", members)
        for (state, code, info), devices in self._closed.items():
            yield msgspec.structs.replace(self._block("device", state, code, devices), info=info)
        if self._planned:
            yield self._block("planned", "", "0", self._planned)
            if self._task.restored == "resumed":
                yield self._block("repeated", "", "0", self._planned)

    def _block(self, kind: BlockKind, state: str, code: str, members: BitMap) -> Block:
        return Block(
            task=self._task.number,
            job=self._view.job,
            at=self._input.now,
            kind=kind,
            state=state,
            code=code,
            members=members.serialize(),
        )


_Key = tuple[str, str, int, int, bool]


class _Way(Struct, frozen=True):
    """A credential that devices are reached by."""

    facts: ChannelFacts
    queue: str


class _Filling:
    """A batch while it grows."""

    def __init__(self, batch: OpenBatch, size: int) -> None:
        self._head = batch
        self.size = size
        self.devices = list(batch.devices)
        self.badges = list(batch.badges)

    def note(self, position: int) -> None:
        """Take note of the position that the next devices are planned at; the oldest counts."""
        if not self.devices:
            self._head = msgspec.structs.replace(self._head, position=position)

    def batch(self) -> OpenBatch:
        """What is left, to go on with."""
        return self._cut(0, len(self.devices))

    def full(self, *, everything: bool) -> Iterable[OpenBatch]:
        """Take out all full batches, and the rest with `everything`."""
        count = len(self.devices)
        end = count if everything else count - count % self.size
        for start in range(0, end, self.size):
            yield self._cut(start, min(start + self.size, end))
        del self.devices[:end], self.badges[:end]

    def _cut(self, start: int, end: int) -> OpenBatch:
        devices, badges = tuple(self.devices[start:end]), tuple(self.badges[start:end])
        return msgspec.structs.replace(self._head, devices=devices, badges=badges)


def _key(batch: OpenBatch) -> tuple[str, str, int, int, bool, bool]:
    head = (batch.queue, batch.channel, batch.credential, batch.language, batch.waits_for_ack)
    return (*head, bool(batch.badges))


def _job_of(batch: OpenBatch, task: Task, app: App, now: float) -> NewJob:
    devices, badges = tuple(sorted(batch.devices)), batch.badges
    if badges:
        badge_of = dict(zip(batch.devices, badges, strict=True))
        badges = tuple(map(badge_of.__getitem__, devices))
    queue = batch.queue
    body: Body
    if queue == "online":
        body = OnlineBody(batch.language, devices)
    elif queue == "wait":
        body = WaitBody(batch.language, devices)
    else:
        body = SendBody(
            batch.channel,
            batch.credential,
            batch.language,
            devices,
            badges,
            waits_for_ack=batch.waits_for_ack,
            position=batch.position,
        )
    waits = batch.waits_for_ack and queue not in {"online", "wait"}
    return NewJob(
        task=task.number,
        queue=queue,
        lane=task.lane,
        body=body,
        not_before=now + app.ack_s if waits else now,
    )
