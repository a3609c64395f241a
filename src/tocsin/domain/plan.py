"""The plan: which devices a page of the audience has, and which legs lead to them.

`plan_page` is the whole of fanout's judgement. It gets a page of the frozen audience with its
devices and gives back jobs, books and the batches still open, for one transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

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
    """What fanout knows besides what the store read."""

    page: Sequence[int]
    """Account numbers of this page, in rising order."""
    is_last: bool
    audience: BitMap
    connected: BitMap
    """Devices believed connected: a hint."""
    credentials: Mapping[int, ChannelFacts]
    only: BitMap | None = None
    """For an overwrite: the devices that the recalled task may have reached."""
    planned: BitMap = BitMap()
    """Devices of earlier pages: one that changed hands since is not planned again."""
    now: float


class PlanView(Struct, frozen=True):
    """What the store read for a page of the audience."""

    app: App
    task: Task
    job: int
    """The job that plans; 0 where the push is planned as it is accepted."""
    devices: Mapping[int, Device]
    """Every device of the page's accounts, by number."""
    accounts: BitMap | frozenset[int]
    """Those of the page's accounts that exist."""


def plan_page(view: PlanView, body: FanoutBody, page_input: PageInput) -> StepEdit:
    """Plan one page and move the cursor; the last page closes every batch and ends the walk."""
    planner = _Planner(view.app, view.task, view.job, body, page_input)
    for device in _by_account(planner, view, page_input):
        planner.place(device)
    return planner.finish(is_last=page_input.is_last)


def _by_account(planner: _Planner, view: PlanView, page_input: PageInput) -> Iterable[Device]:
    """The devices to plan, each once; books every account that has none."""
    by_user: dict[int, list[Device]] = {}
    by_registration: dict[int, Device] = {}
    for device in view.devices.values():
        if device.user:
            by_user.setdefault(device.user, []).append(device)
        by_registration[device.account] = device
    policy, only, planned = view.app.device_policy, page_input.only, page_input.planned
    existing, audience = view.accounts, page_input.audience
    with_devices, as_user = planner.accounts(WITH_DEVICES), planner.accounts(AS_USER)
    for account in page_input.page:
        if account not in existing:
            planner.accounts("account deleted").append(account)
            continue
        own = by_registration.get(account)
        if own is not None and own.user and own.user in audience:
            as_user.append(account)
            continue
        found = [own] if own is not None else by_user.get(account, [])
        chosen = choose_devices(found, policy)
        if only is not None:
            chosen = [it for it in chosen if it.number in only]
        if not chosen:
            reason = "no device" if only is None else "not sent before"
            planner.accounts(reason).append(account)
            continue
        with_devices.append(account)
        yield from (it for it in chosen if it.number not in planned) if planned else chosen


def choose_devices(devices: Sequence[Device], policy: str) -> Sequence[Device]:
    """Which of an account's devices a push goes to: all, or the newest login."""
    if len(devices) == 1 and devices[0].is_registered:
        return devices
    registered = [device for device in devices if device.is_registered]
    if policy == "all" or len(registered) < 2:
        return registered
    return [max(registered, key=lambda device: (device.login_at, device.number))]


class _Planner:
    """One page being planned."""

    def __init__(
        self, app: App, task: Task, job: int, body: FanoutBody, page_input: PageInput
    ) -> None:
        self._app = app
        self._task = task
        self._job = job
        self._scene = page_input
        # The same for every device of the page, so it is asked once.
        self._over = closes(task, page_input.now)
        self._is_withdrawal = task.is_withdrawal
        self._is_routed = self._is_withdrawal or not task.message.is_online_only
        self._connected = page_input.connected if task.overwrites is None else BitMap()
        self._ways = {
            number: _Way(facts, f"{facts.channel}:{number}")
            for number, facts in page_input.credentials.items()
        }
        self._open = {_key(batch): self._filling(batch) for batch in body.open}
        self._accounts: dict[str, list[int]] = {}
        self._closed: dict[tuple[State, str, str], list[int]] = {}
        self._planned: list[int] = []
        self._languages: dict[str, int] = {}
        self._empty: dict[int, bool] = {}
        self._edit = StepEdit()

    def accounts(self, reason: str) -> list[int]:
        """The accounts that the books shall name so: with devices, or why they have none."""
        return self._accounts.setdefault(reason, [])

    def place(self, device: Device) -> None:
        """Put a device into the batches of its legs, or book why it has none."""
        self._planned.append(device.number)
        if self._over is not None:
            is_restored = self._over is State.EXPIRED and self._task.restored == "settled"
            self._close(device, self._over, *(RESTORED if is_restored else ("", "")))
            return
        message = self._task.message
        language = self._language_of(device)
        if self._is_empty_in(language):
            self._close(device, State.FAILED, *NOTHING_SHOWN)
            return
        route = device.route if self._is_routed else None
        way = self._ways.get(route.credential) if route else None
        if self._is_withdrawal and way is not None and not way.facts.takes_back:
            self._close(device, State.UNREACHABLE, "-14", "the vendor takes nothing back")
            return
        is_connected = device.number in self._connected
        if route is None or way is None:
            self._without_route(device, language, is_connected=is_connected)
            return
        if is_connected:
            self._add(("online", "online", 0, language, False), device.number, None)
        badge = self._badge(device, message) if way.facts.counts_badge_here else None
        key = (way.queue, way.facts.channel, route.credential, language, is_connected)
        self._add(key, device.number, badge)

    def _language_of(self, device: Device) -> int:
        found = self._languages.get(device.language)
        if found is None:
            found = choose_language(self._task.message.translations, device.language)
            self._languages[device.language] = found
        return found

    def _is_empty_in(self, language: int) -> bool:
        """Whether nobody of this language would get anything; an overwrite may just take back."""
        found = self._empty.get(language)
        if found is None:
            is_more = bool(self._task.msg_body) or self._task.overwrites is not None
            found = not is_more and is_empty(self._task.message.translated(language))
            self._empty[language] = found
        return found

    def finish(self, *, is_last: bool) -> StepEdit:
        """Everything planned so far, as one edit."""
        edit = self._edit
        if is_last:
            for filling in self._open.values():
                self._flush(filling)
        edit.blocks.extend(self._blocks())
        if is_last:
            edit.is_done = True
        else:
            left = tuple(it.batch() for it in self._open.values() if it.devices)
            edit.body = FanoutBody(self._scene.page[-1], left)
        return edit

    def _without_route(self, device: Device, language: int, *, is_connected: bool) -> None:
        has_no_time = self._task.ttl_s == 0 and not is_connected
        if self._task.overwrites is not None or has_no_time:
            info = "no token uploaded" if device.route is None else "no such certificate"
            code = "-2" if device.route is None else "-1"
            self._close(device, State.UNREACHABLE, code, info)
            return
        self._add(("wait", "online", 0, language, False), device.number, None)

    def _badge(self, device: Device, message: Message) -> int | None:
        badge = next_badge(message, device.badge)
        if badge is not None and badge != device.badge:
            self._edit.devices.append(msgspec.structs.replace(device, badge=badge))
        return badge

    def _close(self, device: Device, state: State, code: str, info: str) -> None:
        self._closed.setdefault((state, code or "0", info), []).append(device.number)

    def _add(self, key: _Key, device: int, badge: int | None) -> None:
        full_key = (*key, badge is not None)
        filling = self._open.get(full_key)
        if filling is None:
            filling = self._open[full_key] = self._filling(OpenBatch(*key))
        filling.devices.append(device)
        if badge is not None:
            filling.badges.append(badge)
        if len(filling.devices) >= filling.size:
            self._flush(filling)

    def _filling(self, batch: OpenBatch) -> _Filling:
        way = self._ways.get(batch.credential)
        return _Filling(batch, ONLINE_BATCH if way is None else way.facts.batch_max)

    def _flush(self, filling: _Filling) -> None:
        if not filling.devices:
            return
        job = _job_of(filling.batch(), self._task, self._app, self._scene.now)
        self._edit.jobs.append(job)
        filling.devices.clear()
        filling.badges.clear()

    def _blocks(self) -> Iterable[Block]:
        for reason, accounts in ((name, it) for name, it in self._accounts.items() if it):
            yield self._block("account", reason, "", accounts)
        for (state, code, info), devices in self._closed.items():
            yield msgspec.structs.replace(self._block("device", state, code, devices), info=info)
        if self._planned:
            yield self._block("planned", "", "0", self._planned)
            if self._task.restored == "resumed":
                yield self._block("repeated", "", "0", self._planned)

    def _block(self, kind: BlockKind, state: str, code: str, members: Iterable[int]) -> Block:
        return Block(
            task=self._task.number,
            job=self._job,
            at=self._scene.now,
            kind=kind,
            state=state,
            code=code,
            members=BitMap(members).serialize(),
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

    def batch(self) -> OpenBatch:
        return msgspec.structs.replace(
            self._head, devices=tuple(self.devices), badges=tuple(self.badges)
        )


def _key(batch: OpenBatch) -> tuple[str, str, int, int, bool, bool]:
    head = (batch.queue, batch.channel, batch.credential, batch.language, batch.waits_for_ack)
    return (*head, bool(batch.badges))


def _job_of(batch: OpenBatch, task: Task, app: App, now: float) -> NewJob:
    order = sorted(range(len(batch.devices)), key=batch.devices.__getitem__)
    devices = tuple(batch.devices[index] for index in order)
    badges = tuple(batch.badges[index] for index in order) if batch.badges else ()
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
        )
    waits = batch.waits_for_ack and queue not in {"online", "wait"}
    return NewJob(
        task=task.number,
        queue=queue,
        lane=task.lane,
        body=body,
        not_before=now + app.ack_s if waits else now,
    )
