"""The waist of the house: every seam between the rules and the outside, on one page.

A port is owned by the side that uses it. Each verb states its promise: what is atomic, what may
be repeated, what a failure leaves behind. Adapters (`adapters/`), the online hub and the channel
driver fulfil these; only `service/opening.py` knows which one is in use.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Protocol

from msgspec import Struct
from pyroaring import BitMap

from tocsin.conversation import Authority, Batch, Fault, Posted, Request, Response, Stoppage
from tocsin.domain.books import BegunLegs, TaskBooks
from tocsin.domain.device import Device, Registered, Route
from tocsin.domain.hello import Hello
from tocsin.domain.message import Message
from tocsin.domain.outcome import Outcome, Receipt
from tocsin.domain.plan import ChannelFacts
from tocsin.domain.task import Stage, Task


class Http(Protocol):
    """Outgoing HTTP."""

    async def send(
        self,
        request: Request,
        deadline_s: float,
        may_begin: Callable[[], bool] | None = None,
    ) -> Response | Fault:
        """Send one request. Never raises, never retries by itself, ends within `deadline_s`.

        Answers `Fault("unsent", …)` only when certain that no byte of the request was acted on; in
        doubt it says `maybe_sent`. `refused` is for a guarded request whose origin is not public,
        and for one that cannot be written.

        Bodies over the adapter's `body_max_bytes` are cut off and the
        request becomes a `maybe_sent` fault. Many calls may be under way at once. `may_begin` is
        asked at the last moment, when the request would go onto the wire: it may have waited long
        for a free stream. False makes it `unsent`.
        """
        ...


class Gate(Protocol):
    """Asked before each vendor request begins: may it still?"""

    async def may_begin(self, batch: Batch) -> Outcome | None:
        """None: begin now. An outcome (recalled, expired, held): begin nothing, book this."""
        ...

    def still_may(self, batch: Batch) -> bool:
        """Whether that still holds, without waiting: for a request that waited for a stream."""
        ...

    @property
    def awaits_answers(self) -> bool:
        """Whether requests under way are to be awaited though nothing more may begin.

        True while the service stops in good order; a recall or a lost lease does not wait.
        """
        ...


class Channel(Protocol):
    """A way to reach devices: one credential of a vendor, or our online channel."""

    @property
    def names_deliveries(self) -> bool:
        """Whether each delivery needs an id of its own."""
        ...

    def room(self, now: float) -> int:
        """Devices that could begin within the next 250 ms; 0 while a breaker is open."""
        ...

    async def deliver(self, batch: Batch, gate: Gate) -> Sequence[Receipt]:
        """Deliver; one receipt per device, in the batch's order.

        Never raises for a vendor's "no". Asks `gate` before each request.
        """
        ...

    def repeat_replaces(self, message: Message) -> bool:
        """Whether a second delivery of this message replaces the first on the device."""
        ...

    @property
    def begun_max(self) -> int:
        """Devices that may be begun and not settled: enough to keep every request place busy.

        What does not fit begins in parts. Never fewer than a request names.
        """
        ...

    def tend(self, now: float) -> Collection[str]:
        """Ask the vendor with a push to nobody where that is due.

        Answers the ways that have proved themselves since the last call: what waits for one of
        them is due at once. `ANY_WAY` stands for all. Called while jobs of the channel wait.
        """
        ...

    def stoppage(self, now: float) -> Stoppage | None:
        """Why nothing, or not everything, may be sent now; None while all is well."""
        ...

    def trip(self, reason: str) -> None:
        """Open the breaker: the vendor refuses the credential."""
        ...

    def accuse(self, reason: str) -> None:
        """Raise an alarm: judgement finds the credential at fault, by the tokens that look dead.

        The breaker opens only if nothing was accepted for a minute: while others are served, the
        credential goes on serving them.
        """
        ...

    def believes_answers(self) -> bool:
        """Whether tokens may be dropped whose answers a wrong credential yields, too.

        The same share as for a batch is held against all that the vendor judged lately.
        """
        ...

    def believes_dead(self, count: int) -> bool:
        """Whether so many more tokens may be dropped that receipts tell of, by such codes.

        False: of what the vendor judged lately, so many are told dead that the credential is the
        likelier culprit.
        """
        ...


class Channels(Protocol):
    """The channels of every app's credentials."""

    async def facts(self, app: int) -> Mapping[int, ChannelFacts]:
        """What the plan must know of each enabled credential, by certificate ID."""
        ...

    async def channel(self, app: int, credential: int) -> Channel | None:
        """The channel of a credential; None when there is no such credential any more."""
        ...

    async def stoppages(self, app: int) -> Mapping[int, Stoppage]:
        """Why those credentials do not send all that waits which do not, by certificate ID."""
        ...

    async def expiries(self, app: int) -> Mapping[int, float]:
        """When those enabled credentials end that ever do, Unix seconds, by certificate ID."""
        ...

    def forget(self, app: int) -> None:
        """Read this app's credentials anew before they are used next: they were changed here.

        Changes that were made elsewhere are taken up within a second.
        """
        ...

    def read_post(self, vendor: str, headers: Mapping[str, str], body: bytes) -> Posted | None:
        """What a vendor's call says, whoever sent it; None for a vendor that reports nothing.

        Header names are lower case. Never raises: what cannot be read holds no receipts, and the
        answer says so.
        """
        ...

    async def is_genuine(
        self, app: int, vendor: str, headers: Mapping[str, str], body: bytes
    ) -> bool | None:
        """Whether a credential of this app takes the call for the vendor's own.

        True where one of its credentials asks for no signature; None without any credential.
        """
        ...


class Presence(Protocol):
    """Who is connected: a hint that costs seconds when wrong, never a push."""

    def connected(self, app: int) -> BitMap:
        """Devices believed connected to any node."""
        ...

    async def push(self, task: Task, language: int, devices: Sequence[int]) -> BitMap:
        """Write a push to these devices' connections; answers those it was written to.

        A written push is a leg; only an ack makes it delivered.
        """
        ...

    async def revoke(self, task: Task) -> None:
        """Tell connected devices that a task was recalled."""
        ...


# --- the bus --------------------------------------------------------------------------------


class Bus(Protocol):
    """Hints between rooms and nodes. Lossy on purpose: never the only carrier of state."""

    def publish(self, subject: str, payload: bytes = b"") -> None:
        """Tell everyone who listens now. Never blocks, never fails, may be lost."""
        ...

    def subscribe(self, subject: str, listener: Callable[[bytes], None]) -> Callable[[], None]:
        """Call `listener` for each payload; returns how to stop."""
        ...


# --- devices at the door --------------------------------------------------------------------


NormalRoute = Callable[[Route], Route | None]
"""A route with its token in the one spelling of its vendor, and what tells the device from others;
None where no device can have such a token. Pure, and changes nothing that it has answered."""


class TaskReader(Protocol):
    """The books of tasks, kept in memory and read on from where they were."""

    async def of(self, app: int, number: int) -> TaskBooks | None:
        """Everything about a task at one moment; None: there is no such task."""
        ...

    async def audience(self, app: int, number: int) -> BitMap:
        """A frozen audience, empty before it is frozen. Read it, never change it."""
        ...

    async def begun(self, app: int, number: int) -> BegunLegs | None:
        """A task's books with the legs that are under way; None: there is no such task.

        It costs what was written since the last look, however many jobs the task has.
        """
        ...


class Registrar(Protocol):
    """Registers devices and takes their reports, whichever door they come through."""

    async def register(self, hello: Hello, address: str) -> Registered:
        """Check appKey or UserSig and the device secret, then register.

        `address` is where the device calls from, for the limit on registrations.

        Raises `CallError` (800001, 70001 to 70052, 800101 to 800103, 70402) and changes nothing.
        """
        ...

    async def authenticate(self, app: int, registration_id: str, secret: str) -> Device:
        """The registered device with this secret; raises `CallError` 70107 or 800101."""
        ...

    async def unregister(self, app: int, registration_id: str, secret: str) -> None:
        """Stop pushes to a device until it registers again."""
        ...

    async def report(self, device: Device, app: int, task_id: str, stage: Stage, via: str) -> None:
        """Book an arrival or a click, by the channel `via`; empty: by the one that it came by.

        It counts only where a leg of this task to this device over this channel has begun. Returns
        once it is durable; reports of many devices share a commit. Raises `CallError` 90001 for
        what is no TaskId, and 70402 for a task that is not the app's, another device's or another
        channel's. A task that is too old to be kept is taken and changes nothing.
        """
        ...

    async def book_leg(self, device: Device, task: Task) -> None:
        """Book that a push is about to be written to the device's connection, durably."""
        ...


class Snapshot(Struct, frozen=True):
    """A durable copy of an app's audience index."""

    position: int
    """Of the change log: what it holds is all up to there, and nothing after it."""
    mark: bytes
    """Random, written into the database before the files: it says whose history this is of. Empty
    in a snapshot of a release that wrote none."""
    bitmaps: dict[int, bytes]
    """By term; 0: live accounts."""


class Snapshots(Protocol):
    """Durable copies of the audience index."""

    async def load(self, app: int) -> Snapshot | None:
        """The newest whole snapshot; None when there is none or it does not check out."""
        ...

    async def save(self, app: int, changes: Snapshot, gone: Collection[int]) -> None:
        """Make these bitmaps part of the snapshot, with their position and mark, at once.

        Terms that are not named stay as the snapshot that was loaded or saved last has them.
        """
        ...

    async def forget(self, app: int) -> None:
        """Drop an app's snapshot, durably: no term of it gets into the next one."""
        ...


class Erasures(Protocol):
    """Who was erased, listed outside of the database: restored backups are erased by it again."""

    async def note(self, app: int, names: Sequence[str], at: float) -> None:
        """Write down, durably, that these accounts were deleted at this Unix time.

        Raises `StoreError` if that cannot be written; the accounts are deleted all the same.
        """
        ...


class Backups(Protocol):
    """Copies of everything durable but the secret key."""

    async def write(self, folder: str, progress: Callable[[int, int], None]) -> Mapping[str, Any]:
        """Write a backup into a new or empty folder, while the store goes on.

        Everything that was answered before the call is in it. Answers `folder`, `bytes`,
        `backup_at` (Unix seconds), `generation` and `keys`, the ids of the keys that open it.
        `progress` is told how much is copied, of how much. Raises `CallError` 70402 for a folder
        that will not do, and `StoreError`; then nothing is left that looks like a backup.
        """
        ...


class Keyring(Protocol):
    """The key that the vault seals with, and how it is changed for another."""

    def begin(self) -> None:
        """Seal with a fresh key from now on; what the former sealed still opens, come what may.

        With a change under way already, nothing. Raises `CallError` where the keys are not ours.
        """
        ...

    def finish(self) -> None:
        """Forget the former key: nothing is sealed with it any more."""
        ...


class Authorities(Protocol):
    """Durable copies of what proves us to vendors, for as long as each is good."""

    async def load(self, name: str) -> Authority | None:
        """What was saved under this name; None once it has expired or where it does not open."""
        ...

    async def save(self, name: str, authority: Authority) -> None:
        """Keep it, sealed, in place of a former one: durable when this returns.

        Never raises: one that cannot be written is told in the log and used all the same.
        """
        ...

    async def seal_anew(self) -> None:
        """Seal all of them with the vault's present key."""
        ...


class Vault(Protocol):
    """Seals secrets for the store."""

    def seal(self, plain: bytes, context: str) -> bytes:
        """Encrypt; `context` (app and purpose) is bound to the result."""
        ...

    def open(self, sealed: bytes, context: str) -> bytes:
        """Decrypt; raises `ValueError` for a wrong key, context or damaged text."""
        ...
