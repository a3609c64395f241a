"""Tasks and the jobs that carry them out: what is accepted, what is queued, what ends."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import IntEnum, StrEnum
from typing import Any, Literal

import msgspec
from msgspec import Struct
from pyroaring import BitMap

from tocsin.domain.account import Account
from tocsin.domain.app import App
from tocsin.domain.audience import Condition
from tocsin.domain.device import Device
from tocsin.domain.message import Message
from tocsin.domain.outcome import Past, State
from tocsin.domain.quota import PushUse

SENDER_ID = 0x2000_0000_0000_0000
"""The wire's internal sender ids begin so; ours continue with the number of the task."""

GRACE_S = 60
"""Seconds in which a task without a life of its own may still make its one try."""

DEDUP_S = 1.0
"""How long a push is known by its de-dup key (trtc.io/document/67552, read 2026-11)."""

RECALL_WINDOW_S = 86_400
"""A push can be recalled for 24 hours (tencentcloud.com/document/product/1047/60571)."""


class Phase(StrEnum):
    """Where a task stands. `DONE` is terminal."""

    INDEXING = "indexing"
    RUNNING = "running"
    DONE = "done"


class Lane(IntEnum):
    """Urgent work overtakes bulk, which always keeps a tenth."""

    URGENT = 0
    BULK = 1


class Task(Struct, frozen=True, kw_only=True):
    """One accepted push."""

    app: int
    number: int
    """Dense per app: the short name inside the house."""
    task_id: str
    kind: Literal["push", "batch", "im_push", "overwrite"]
    sender: str
    message: Message
    condition: Condition | None = None
    """None for a batch, whose audience is frozen when it is accepted."""
    data_id: str = ""
    msg_random: int = 0
    msg_body: bytes = b""
    """MsgBody as JSON, for clients of the online channel."""
    accepted_at: float = 0.0
    ttl_s: int = 0
    """What the push may wait for a device; 0: connected now, plus one vendor try."""
    expires_at: float = 0.0
    lane: Lane = Lane.BULK
    phase: Phase = Phase.INDEXING
    ended_at: float | None = None
    recalled_at: float | None = None
    audience_size: int = 0
    overwrites: int | None = None
    """Number of the recalled task whose notifications this one replaces."""
    restored: Literal["", "settled", "resumed"] = ""
    """What a restore has made of a task that its backup had open: ended, or to be sent again."""

    @property
    def is_withdrawal(self) -> bool:
        """Whether it only takes another task back, where a vendor can, and shows nothing."""
        return self.overwrites is not None and self.message.is_online_only

    @property
    def collapse_task(self) -> int:
        """The task whose notifications a delivery of this one replaces."""
        return self.number if self.overwrites is None else self.overwrites

    @property
    def is_recalled(self) -> bool:
        """Whether a recall was answered."""
        return self.recalled_at is not None


class IndexBody(Struct, frozen=True, array_like=True, tag="index"):
    """Freeze the audience."""


class OpenBatch(Struct, frozen=True, array_like=True):
    """A batch that fanout has begun to fill."""

    queue: str
    channel: str
    credential: int
    language: int
    waits_for_ack: bool
    devices: tuple[int, ...] = ()
    badges: tuple[int, ...] = ()
    """Absolute badges beside `devices`, or empty."""
    position: int = 0
    """Of the device changes, when the first of them was planned; 0: unknown."""


class FanoutBody(Struct, frozen=True, array_like=True, tag="fanout"):
    """Walk the frozen audience; `cursor` is the last account number done."""

    cursor: int = 0
    open: tuple[OpenBatch, ...] = ()


class SendBody(Struct, frozen=True, array_like=True, tag="send"):
    """Deliver to these devices by one channel: one list request, or single sends."""

    channel: str
    credential: int
    language: int
    """Number of the message's translation; -1 is its own text."""
    devices: tuple[int, ...]
    """In rising order."""
    badges: tuple[int, ...] = ()
    """Absolute badges beside `devices`, decided once at fanout; or empty."""
    waits_for_ack: bool = False
    """Devices that were pushed to online: whoever has acked by now is done."""
    doubted: tuple[int, ...] = ()
    """Devices that an earlier attempt may have reached."""
    past: Past = Past()
    """What the earlier attempts came to."""
    position: int = 0
    """Of the device changes, when the devices were planned: what changed later is looked at again
    before they begin. 0: all of them are."""


class OnlineBody(Struct, frozen=True, array_like=True, tag="online"):
    """Push to these devices over their connections, now, as a leg beside their vendor job."""

    language: int
    devices: tuple[int, ...]


class WaitBody(Struct, frozen=True, array_like=True, tag="wait"):
    """Devices without a vendor route: done when they ack, expired when the task is."""

    language: int
    devices: tuple[int, ...]
    is_offered: bool = False
    """Whether those connected at fanout have been pushed to."""


Body = IndexBody | FanoutBody | SendBody | OnlineBody | WaitBody


class NewJob(Struct, frozen=True, kw_only=True):
    """A job to be queued."""

    task: int
    queue: str
    """`index`, `fanout`, `online`, `wait`, or `<channel>:<certificate ID>`."""
    lane: Lane
    body: Body
    not_before: float = 0.0
    attempt: int = 0
    """How often in a row it has waited for the same cause."""
    way: str = ""
    """The way to the vendor that it waits for: `Store.wake` makes it ready earlier."""


class Job(Struct, frozen=True, kw_only=True):
    """A queued job as leased. `generation` fences: an older holder can no longer write."""

    app: int
    number: int
    task: int
    queue: str
    lane: Lane
    body: Body
    not_before: float = 0.0
    attempt: int = 0
    generation: int = 0
    begun_at: float | None = None
    """Set by an earlier holder: its vendor requests may have been sent."""


WITH_DEVICES = "with devices"
"""State of an account block whose members have a planned device."""

BlockKind = Literal["account", "device", "repeated", "shortened", "planned", "doubted"]
"""`doubted` marks devices of a job still to come that an earlier attempt may have reached."""


class Block(Struct, frozen=True, kw_only=True):
    """One line of the books: these accounts or devices came to this, at this time, by this job."""

    task: int
    job: int
    at: float
    kind: BlockKind
    state: str = ""
    """A `State` for devices; for accounts `WITH_DEVICES` or the reason why they have none."""
    channel: str = ""
    code: str = "0"
    info: str = ""
    members: bytes = b""
    """Serialized roaring bitmap of device numbers, or of account numbers for `account`."""


class Stage(IntEnum):
    """PushStage of the wire (trtc.io/document/67551, read 2026-11)."""

    SENT = 1
    REACHED = 2
    CLICKED = 3


class Report(Struct, frozen=True, kw_only=True):
    """What came in beside or after a settle: online legs, acks, receipts and clicks.

    With a `code` it is a receipt that says the opposite: the vendor had accepted the push, and
    then did not show it.
    """

    task: int
    stage: Stage
    channel: str
    at: int
    """Unix seconds."""
    members: bytes
    """Serialized roaring bitmap of device numbers."""
    code: str = "0"
    """The vendor's own; "0" is no fault."""


class AcceptView(Struct, frozen=True):
    """What the store read for a push call."""

    app: App
    accounts: Mapping[str, Account]
    """Those of the named accounts that exist."""
    devices: Mapping[int, Device]
    """Every device that is bound to them or registered under them, by number."""
    use: PushUse
    earlier: Task | None
    """The task accepted for the same de-dup key within the last second."""
    next_task: int


class AcceptEdit(Struct):
    """A new task with its first jobs and its use of quota; or nothing but a result."""

    task: Task | None = None
    audience: bytes | None = None
    jobs: list[NewJob] = []
    use: PushUse | None = None
    result: Any = None
    blocks: list[Block] = []
    devices: list[Device] = []


class RecallView(Struct, frozen=True):
    """What the store read for a recall."""

    app: App
    task: Task | None
    use: PushUse
    next_task: int


class RecallEdit(Struct):
    """The recalled task, and the task that overwrites it, if any."""

    task: Task | None = None
    overwrite: Task | None = None
    """Its audience is the recalled task's."""
    wakes_jobs: bool = False
    """Whether the recalled task's parked jobs shall be ready at once."""
    jobs: list[NewJob] = []
    use: PushUse | None = None
    result: Any = None


class StepView(Struct, frozen=True):
    """What the store read for a step of a leased job."""

    app: App
    task: Task
    job: Job
    devices: Mapping[int, Device] = {}
    """The asked devices that exist, by number; without the `unchanged` ones."""
    unchanged: BitMap = BitMap()
    """Asked devices that have not changed after `StepWant.changed_after`: their rows are not read.
    """
    acked: BitMap = BitMap()
    """Devices with a report of stage reached or clicked in this task."""
    handles: Mapping[int, str] = {}
    """Device to what its vendor calls the message that this task overwrites."""
    has_other_jobs: bool = False
    """Whether the task has another job row."""


class StepWant(Struct, frozen=True, kw_only=True):
    """What a step needs read."""

    devices: tuple[int, ...] = ()
    """Device numbers."""
    changed_after: int = 0
    """Read only those devices that changed after this position; 0: all of them."""
    with_acked: bool = False
    with_handles: bool = False


class Handle(Struct, frozen=True):
    """What a vendor calls a message that it took for a device."""

    device: int
    name: str


class StepEdit(Struct):
    """What a step writes, in one transaction, if the lease still holds."""

    is_done: bool = False
    """True removes the job: the step is its ack."""
    begun_at: float | None = None
    """Set: the job's first byte may leave once this is committed."""
    body: Body | None = None
    """Replaces the job's body."""
    not_before: float | None = None
    """Parks the job, giving up its lease."""
    task: Task | None = None
    audience: bytes | None = None
    jobs: list[NewJob] = []
    blocks: list[Block] = []
    devices: list[Device] = []
    handles: list[Handle] = []
    """Names of this task's messages; kept until `Task.expires_at`, when a vendor has dropped what
    it could not deliver."""
    result: Any = None


OVERWRITE_SUFFIX = "_recall"
"""What the TaskId of an overwrite has more than that of the task which it takes back."""


def push_ids(task_id: str) -> dict[str, str]:
    """What names a push to the app, online and through every vendor.

    `id` tells copies of one push; `task_id` is what a report names. They have the same text, in
    every attempt. An overwrite is a push of its own, and `replaces` is the `id` of the other one.
    """
    named = {"id": task_id, "task_id": task_id}
    if task_id.endswith(OVERWRITE_SUFFIX):
        named["replaces"] = task_id.removesuffix(OVERWRITE_SUFFIX)
    return named


def make_task_id(kind: str, parts: tuple[int, int, int, int, int]) -> str:
    """The wire's TaskId from (Unix seconds, sdkappid, sender number, task number, MsgRandom).

    push and batch: five lower-case hex groups (`batch_` before a batch's); im_push: four
    decimal ones without the time (tencentcloud.com/document/product/1047/60561 and 37166).
    """
    if kind == "im_push":
        return "_".join(str(part) for part in parts[1:])
    groups = "_".join(f"{part:x}" for part in parts)
    return f"batch_{groups}" if kind == "batch" else groups


class TaskName(Struct, frozen=True):
    """What a TaskId says of its task."""

    sdkappid: int
    number: int
    accepted_at: int | None
    """Unix seconds; None where this kind of TaskId tells no time."""


_TASK_ID = re.compile(
    r"(?:batch_)?(?P<at>[0-9a-f]{1,16})_(?P<app>[0-9a-f]{1,16})_(?P<sender>[0-9a-f]{1,16})"
    r"_[0-9a-f]{1,16}_[0-9a-f]{1,16}(?:_recall)?"
)
_IM_TASK_ID = re.compile(
    r"(?P<app>[0-9]{1,20})_(?P<sender>[0-9]{1,20})_[0-9]{1,20}_[0-9]{1,20}(?:_recall)?"
)


def read_task_id(text: str) -> TaskName | None:
    """What a TaskId says, in a form that `make_task_id` makes; None: it is none."""
    if found := _TASK_ID.fullmatch(text):
        sender, accepted_at = int(found["sender"], 16), int(found["at"], 16)
        return TaskName(int(found["app"], 16), sender - SENDER_ID, accepted_at)
    if found := _IM_TASK_ID.fullmatch(text):
        return TaskName(int(found["app"]), int(found["sender"]) - SENDER_ID, None)
    return None


def end(task: Task, now: float) -> Task:
    """The task when its last job has gone."""
    return msgspec.structs.replace(task, phase=Phase.DONE, ended_at=now)


def expiry(accepted_at: float, ttl_s: int) -> float:
    """When a task's devices expire."""
    return accepted_at + (ttl_s or GRACE_S)


def closes(task: Task, now: float) -> State | None:
    """The state that a device gets which has not begun yet, if the task is over for it."""
    if task.is_recalled:
        return State.RECALLED
    if now >= task.expires_at or task.restored == "settled":
        return State.EXPIRED
    return None


RESTORED = ("-18", "restored")
"""Code and text of devices whose push ended because the database is a restored backup."""


def ends_at(task: Task) -> float:
    """When the jobs of a task are over: at once if it was recalled or ended by a restore."""
    return 0.0 if task.is_recalled or task.restored == "settled" else task.expires_at
