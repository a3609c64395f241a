"""Begin: what of a leased job may still be sent, decided and written before the first byte."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec
from msgspec import Struct
from msgspec.structs import replace
from pyroaring import BitMap

from tocsin.conversation import Batch, Delivery
from tocsin.domain.collapse import CollapseMark, collapse_id
from tocsin.domain.device import Device, is_addressed
from tocsin.domain.message import LiveActivity, Message
from tocsin.domain.outcome import REPEAT_WAITS_S, Outcome, Past, State
from tocsin.domain.task import (
    RESTORED,
    Block,
    BlockKind,
    NewJob,
    SendBody,
    StepEdit,
    StepView,
    Task,
    WaitBody,
    closes,
    end,
)


class BegunJob(Struct, frozen=True):
    """A batch that may leave, as committed."""

    task: Task
    body: SendBody
    devices: tuple[Device, ...]
    """Beside `body.devices`."""
    handles: Mapping[int, str] = {}
    """Device to what its vendor calls the message that this one overwrites."""


class Settlement:
    """What becomes of a job's devices, gathered into one edit."""

    def __init__(self, view: StepView, now: float, channel: str) -> None:
        self._view = view
        self._now = now
        self._channel = channel
        self._booked: dict[tuple[BlockKind, str, str, str, str], BitMap] = {}
        self.edit = StepEdit()

    def settle(
        self,
        state: State,
        devices: Iterable[int],
        *,
        code: str = "0",
        info: str = "",
        channel: str | None = None,
    ) -> None:
        """Book a final state."""
        via = self._channel if channel is None else channel
        self._book(("device", state, via, code, info), devices)

    def repeat(self, devices: Iterable[int]) -> None:
        """Book that these devices may be served twice: a mark, not a state."""
        self._book(("repeated", "", self._channel, "0", ""), devices)

    def shorten(self, devices: Iterable[int]) -> None:
        """Book that these devices were sent a shortened text: a mark, not a state."""
        self._book(("shortened", "", self._channel, "0", ""), devices)

    def _book(self, line: tuple[BlockKind, str, str, str, str], devices: Iterable[int]) -> None:
        members = devices if isinstance(devices, BitMap) else BitMap(list(devices))
        self._booked[line] = self._booked.get(line, BitMap()) | members

    def requeue(self, job: NewJob) -> None:
        """Hand devices on to another job, in the same transaction."""
        self.edit.jobs.append(job)
        if isinstance(job.body, SendBody) and job.body.doubted:
            # They may report before that job begins: an earlier leg to them has.
            self._book(("doubted", "", job.body.channel, "0", ""), job.body.doubted)

    def begun(self, result: BegunJob) -> StepEdit:
        """The edit that lets the rest of the job begin."""
        self.edit.begun_at = self._now
        self.edit.body = result.body
        self.edit.result = result
        return self._written()

    def done(self) -> StepEdit:
        """The edit that acks the job, and ends the task if this was its last."""
        self.edit.is_done = True
        if not self.edit.jobs and not self._view.has_other_jobs:
            self.edit.task = end(self._view.task, self._now)
        return self._written()

    def _written(self) -> StepEdit:
        for (kind, state, channel, code, info), devices in self._booked.items():
            if devices:
                block = Block(
                    task=self._view.task.number,
                    job=self._view.job.number,
                    at=self._now,
                    kind=kind,
                    state=state,
                    channel=channel,
                    code=code,
                    info=info,
                    members=devices.serialize(),
                )
                self.edit.blocks.append(block)
        return self.edit


def decide_begin(
    now: float,
    audience: BitMap,
    *,
    repeat_replaces: Callable[[Message], bool] | None,
    devices: Mapping[int, Device] | None = None,
    stopped: str = "",
    count_max: int | None = None,
    scale: float = 1.0,
) -> Callable[[StepView], StepEdit]:
    """The decision that lets a send job begin: its `result` is a `BegunJob`, or None.

    `devices` are rows that were read before the step: they count for those that have not changed
    since. Without them, what has not changed is as it was planned. `repeat_replaces` is the
    channel's; None: there is no such credential any more. `stopped` is why the channel sends
    nothing: the reason of what expires without having been tried. Devices over `count_max` do not
    begin, and go on in a job of their own. `scale` is that of `Attempt`.

    Devices that acked online, moved to another account, lost their route or changed vendor are
    taken out here, under the same transaction that reads them.
    """

    def decide(view: StepView) -> StepEdit:
        body = view.job.body
        assert isinstance(body, SendBody)
        settlement = Settlement(view, now, body.channel)
        lapsed_at = view.job.begun_at
        if lapsed_at is not None:
            # An earlier lessee began this job and never settled it: it may have reached anyone.
            body = msgspec.structs.replace(
                body, doubted=body.devices, past=_interrupted(body.past, lapsed_at)
            )
        over = closes(view.task, now)
        if over is not None:
            if view.task.restored == "settled":
                body = msgspec.structs.replace(body, past=Past(code=RESTORED[0], info=RESTORED[1]))
            elif stopped and not body.past.cause:
                body = msgspec.structs.replace(body, past=Past(code="-10", info=stopped))
            _settle_over(settlement, body, over)
            return settlement.done()
        if lapsed_at is not None and not (
            repeat_replaces
            and repeat_replaces(view.task.message)
            and body.past.doubts <= len(REPEAT_WAITS_S)
        ):
            settlement.settle(State.IN_DOUBT, body.devices, code="-4", info="interrupted")
            return settlement.done()
        if lapsed_at is not None and body.past.doubts > 1:
            due_at = lapsed_at + REPEAT_WAITS_S[body.past.doubts - 1] * scale
            if due_at > now:
                settlement.requeue(_put_off(view, body, due_at))
                return settlement.done()
        sorting = _Sorting(view, body, audience, now, devices)
        rest = sorting.sort(settlement)
        if repeat_replaces is None:
            settlement.settle(State.IN_DOUBT, rest.doubted, code="-1", info="no such certificate")
            sure = set(rest.devices).difference(rest.doubted)
            settlement.settle(State.UNREACHABLE, sure, code="-1", info="no such certificate")
            return settlement.done()
        if not rest.devices:
            return settlement.done()
        if count_max is not None and len(rest.devices) > count_max:
            settlement.requeue(_rest_of(view, rest, count_max))
            rest = narrowed(rest, range(count_max))
        return settlement.begun(
            BegunJob(view.task, rest, sorting.rows_of(rest.devices), view.handles)
        )

    return decide


def _interrupted(past: Past, begun_at: float) -> Past:
    """The past of devices whose attempt ended without our knowing how."""
    return msgspec.structs.replace(
        past,
        cause=Outcome.UNKNOWN,
        code="-4",
        info="interrupted",
        doubts=past.doubts + 1,
        doubted_at=begun_at,
    )


def _put_off(view: StepView, body: SendBody, due_at: float) -> NewJob:
    """A repeat that was interrupted, as the next one: no earlier than that is due."""
    job = view.job
    doubted = msgspec.structs.replace(body, doubted=body.devices)
    return NewJob(
        task=view.task.number, queue=job.queue, lane=job.lane, body=doubted, not_before=due_at
    )


def _rest_of(view: StepView, body: SendBody, first: int) -> NewJob:
    """The job of the devices from this place on, at the old job's place in its queue."""
    return NewJob(
        task=view.task.number,
        queue=view.job.queue,
        lane=view.job.lane,
        body=narrowed(body, range(first, len(body.devices))),
        not_before=view.job.not_before,
        attempt=view.job.attempt,
    )


def _settle_over(settlement: Settlement, body: SendBody, over: State) -> None:
    """Book devices whose push was recalled or has expired, the latter with the last reason."""
    doubted = frozenset(body.doubted)
    sure = [number for number in body.devices if number not in doubted]
    past = body.past if over is State.EXPIRED or doubted else Past()
    settlement.settle(over, sure, code=past.code, info=past.info)
    settlement.settle(State.IN_DOUBT, doubted, code=past.code, info=past.info)


class _Sorting:
    """Takes out of a job's devices those that this job must not serve any more."""

    def __init__(
        self,
        view: StepView,
        body: SendBody,
        audience: BitMap,
        now: float,
        devices: Mapping[int, Device] | None,
    ) -> None:
        self._view = view
        self._devices = devices or {}
        self._planned = BitMap() if devices is not None else view.unchanged
        """Devices that are as they were planned."""
        self._body = body
        self._audience = audience
        self._now = now
        self._doubted = frozenset(body.doubted)
        self._moved: list[int] = []

    def sort(self, settlement: Settlement) -> SendBody:
        """The body with the devices that stay; the others are booked or handed on."""
        left: Sequence[int] = range(len(self._body.devices))
        if self._body.waits_for_ack or len(self._planned) < len(left):
            numbers = enumerate(self._body.devices)
            left = [at for at, number in numbers if self._stays(settlement, number)]
        if self._moved:
            settlement.requeue(self._job_elsewhere())
        return narrowed(self._body, left)

    def _stays(self, settlement: Settlement, number: int) -> bool:
        if self._body.waits_for_ack and number in self._view.acked:
            settlement.settle(State.SENT, [number], channel="online")
            return False
        if number in self._planned:
            return True
        device = self._row(number)
        if device is None or not device.is_registered:
            settlement.settle(self._unserved(number), [number], code="-5", info="device gone")
        elif not is_addressed(device, self._audience):
            info = "moved to another account"
            settlement.settle(self._unserved(number), [number], code="-6", info=info)
        elif device.route is None or device.route.credential != self._body.credential:
            if number in self._doubted:
                # By another way nothing would replace the copy that it may have got by this one.
                settlement.settle(State.IN_DOUBT, [number], code="-4", info="interrupted")
                return False
            if self._view.task.overwrites is not None:
                # What is to be taken back went another way, which is closed.
                settlement.settle(State.UNREACHABLE, [number], code="-5", info="route changed")
                return False
            self._moved.append(number)
        else:
            return True
        return False

    def _row(self, number: int) -> Device | None:
        rows = self._devices if number in self._view.unchanged else self._view.devices
        return rows.get(number)

    def rows_of(self, numbers: Iterable[int]) -> tuple[Device, ...]:
        """The rows of devices that stay."""
        rows = map(self._row, numbers)
        return tuple(row for row in rows if row is not None)

    def _unserved(self, number: int) -> State:
        return State.IN_DOUBT if number in self._doubted else State.UNREACHABLE

    def _job_elsewhere(self) -> NewJob:
        """Devices whose route has changed are planned anew, as those that wait for one are."""
        task = self._view.task
        body = WaitBody(self._body.language, tuple(self._moved))
        return NewJob(
            task=task.number, queue="wait", lane=task.lane, body=body, not_before=self._now
        )


def narrowed(body: SendBody, left: Sequence[int]) -> SendBody:
    """The body with only the devices at these places, in order."""
    if len(left) == len(body.devices):
        return body
    devices = tuple(body.devices[at] for at in left)
    kept = frozenset(devices)
    return msgspec.structs.replace(
        body,
        devices=devices,
        badges=tuple(body.badges[at] for at in left) if body.badges else (),
        doubted=tuple(number for number in body.doubted if number in kept),
    )


def batch_of(
    begun: BegunJob,
    job: int,
    correlation_key: bytes,
    now: float,
    *,
    mark: CollapseMark,
    names_deliveries: bool = True,
) -> Batch:
    """The deliveries of a begun job; `names_deliveries` is the channel's.

    What all of them have in common is made once.
    """
    task, body = begun.task, begun.body
    message = task.message.translated(body.language)
    if body.doubted:
        # Whoever was shown the first copy is not to hear of it twice.
        message = message.silenced()
    ttl_s = int(min(task.ttl_s, max(0.0, task.expires_at - now)))
    collapse = collapse_id(mark, task.app, task.collapse_task)
    common = Delivery(
        device=0,
        token="",
        message=message,
        task_id=task.task_id,
        correlation="",
        collapse=collapse,
        ttl_s=ttl_s,
        expires_at=task.expires_at,
    )
    named = correlations(correlation_key, task.app, task.number) if names_deliveries else None
    return Batch(
        app=task.app,
        task=task.number,
        job=job,
        deliveries=_deliveries(begun, common, named),
        language=body.language,
        doubted_at=body.past.doubted_at if body.doubted else None,
        is_overwrite=task.overwrites is not None,
        correlation=batch_correlation(correlation_key, task.app, task.number, body.channel),
    )


def _deliveries(
    begun: BegunJob, common: Delivery, named: Callable[[int], str] | None
) -> Sequence[Delivery]:
    """One delivery a device, with what is its own."""
    body, activity = begun.body, common.message.apple.live_activity
    deliveries = []
    for index, device in enumerate(begun.devices):
        assert device.route is not None
        own = replace(
            common,
            device=device.number,
            token=device.route.token,
            correlation="" if named is None else named(device.number),
            badge=body.badges[index] if body.badges else None,
            voip_token=device.voip_token,
            live_token=_live_token(device, activity) if activity else "",
            handle=begun.handles.get(device.number, ""),
            platform=device.platform,
            epoch=device.epoch,
        )
        deliveries.append(own)
    return deliveries


def _live_token(device: Device, activity: LiveActivity) -> str:
    """Where a Live Activity is told: one that is yet to start has no token of its own."""
    if activity.event == "start":
        return device.live_start_tokens.get(activity.attributes_type, "")
    return device.live_tokens.get(activity.id, "")


def correlations(key: bytes, app: int, task: int) -> Callable[[int], str]:
    """How a task's deliveries are named to a vendor: device number to UUID text.

    Task, device and 8 bytes of proof. Several vendors sign nothing, so a receipt is believed only
    for ids that we made. What all ids of a task have in common is made ready once: they are as
    many as pushes.
    """
    head = task.to_bytes(4, "big")
    begun, front = hmac.new(key, app.to_bytes(8, "big") + head, hashlib.sha256), head.hex()

    def named(device: int) -> str:
        name = device.to_bytes(4, "big")
        proof = begun.copy()
        proof.update(name)
        # Written by hand: the library's class costs five times as much.
        text = name.hex() + proof.hexdigest()
        return f"{front}-{text[:4]}-{text[4:8]}-{text[8:12]}-{text[12:24]}"

    return named


def batch_correlation(key: bytes, app: int, task: int, channel: str) -> str:
    """At most 40 ASCII characters that name a task to a vendor: app, task and 8 bytes of proof.

    For vendors whose receipts carry one id for the whole list and name each device by its token.
    What one vendor was told proves nothing to another.
    """
    return f"{app:x}-{task:x}-{_proof(key, app, task, channel)}"


def split_batch_correlation(key: bytes, text: str, channel: str) -> tuple[int, int] | None:
    """App and task of a `batch_correlation`; None for a text that was not made so."""
    found = _BATCH_CORRELATION.fullmatch(text)
    if found is None:
        return None
    app, task = int(found[1], 16), int(found[2], 16)
    if text != f"{app:x}-{task:x}-{found[3]}":
        return None
    # Ids that were given to vendors before the proof named the channel are believed as they were.
    proofs = (_proof(key, app, task, named) for named in (channel, ""))
    return (app, task) if any(hmac.compare_digest(found[3], it) for it in proofs) else None


_BATCH_CORRELATION = re.compile(r"([0-9a-f]{1,13})-([0-9a-f]{1,9})-([0-9a-f]{16})")


def _proof(key: bytes, app: int, task: int, channel: str) -> str:
    name = b"list" + app.to_bytes(8, "big") + task.to_bytes(8, "big") + channel.encode()
    return hmac.digest(key, name, hashlib.sha256)[:8].hex()
