"""The waist of the house: every seam between the rules and the outside, on one page.

A port is owned by the side that uses it. Each verb states its promise: what is atomic, what may
be repeated, what a failure leaves behind. Adapters (`adapters/`), the online hub and the channel
driver fulfil these; only `wiring.py` knows which one is in use.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Literal, Protocol

from msgspec import Struct
from msgspec.structs import replace
from pyroaring import BitMap

from tocsin.domain.device import Device, DeviceFacts, Registered, Route
from tocsin.domain.message import Message
from tocsin.domain.outcome import Outcome, Receipt
from tocsin.domain.plan import ChannelFacts
from tocsin.domain.task import Stage, Task

# --- words of an HTTP conversation ---------------------------------------------------------


class Request(Struct, frozen=True):
    """One HTTP request to a vendor. Which HTTP version serves the origin is the adapter's work."""

    method: Literal["GET", "POST", "PUT", "DELETE"]
    origin: str
    """Scheme, host and port: `https://api.push.apple.com`."""
    path: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    ca: str | None = None
    """PEM text of the only authorities to trust; None means the system's."""
    identity: str | None = None
    """PEM text of a client certificate with its key: it proves the connection, not the request."""
    http2: bool = False
    """True where the vendor speaks HTTP/2 only."""
    pool: str = ""
    """Requests with different pools never share a connection: one APNs connection must not carry
    more than one team."""
    is_guarded: bool = False
    """True where the origin is a stranger's word: its name is looked up once, only public addresses
    are connected to, and what was checked is what is connected to. Others end as `unsent`."""
    proxy: str = ""
    """URL of the proxy to go through, with its user and password; `none`: no proxy. Empty: as the
    adapter's own settings say. Requests through different proxies never share a connection."""
    is_shortened: bool = False
    """Whether the text that it brings is shorter than the push's own: the receipts then say so."""


class Response(Struct, frozen=True):
    """What the vendor answered. Header names are lower case."""

    status: int
    headers: dict[str, str] = {}
    body: bytes = b""


class Fault(Struct, frozen=True):
    """No answer came.

    `unsent` is a promise that the vendor cannot have seen the request, `refused` that we ourselves
    would not send it: asking again changes nothing.
    """

    kind: Literal["unsent", "maybe_sent", "refused"]
    reason: str


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


# --- words of a channel ---------------------------------------------------------------------


class Limits(Struct, frozen=True, kw_only=True):
    """What a vendor allows. Figures are defaults; a credential may override the rate."""

    payload_max_bytes: int
    devices_max: int
    """Devices in one call; 1 means single sends."""
    lifetime_max_s: int
    rate_per_s: float = 0.0
    """Targets per second; 0 where the vendor names none."""
    in_flight_max: int = 200
    """Requests under way at once."""
    counts_badge_here: bool = False
    """Whether the vendor takes absolute badges only, so that we count."""
    takes_data: bool = True
    """Whether a message without a text reaches the app; others take notifications only."""
    names_deliveries: bool = True
    """Whether the vendor is told an id of each delivery; others know the list's alone."""
    deadline_s: float = 10.0
    """How long one request may take."""
    clock_offset_s: int = 0
    """Seconds that the vendor's clocks are ahead of UTC: its quotas of the day end at midnight."""


class Delivery(Struct, frozen=True, kw_only=True):
    """One task to one device by one channel."""

    device: int
    token: str
    message: Message
    """With the device's language chosen already."""
    task_id: str
    correlation: str
    """UUID text that names this delivery to the vendor; the same in every attempt. Empty where the
    vendor is told none."""
    collapse: str
    """At most 20 ASCII characters: a later delivery with the same one replaces this. A vendor that
    takes fewer, or a number, is given a digest of all of them."""
    badge: int | None = None
    """Absolute badge, where we count."""
    voip_token: str = ""
    live_token: str = ""
    """Of the Live Activity that the message is about; of its type, where it starts one."""
    handle: str = ""
    """Of an overwrite: what the vendor called the message to this device that is overwritten."""
    platform: str = ""
    """What the device says it is (`iPhone`, `Android`); empty where it does not say."""
    epoch: int = 0
    ttl_s: int
    expires_at: float
    is_trial: bool = False
    """Only to hear what the vendor says of us: sent as a test to the vendor's `NOBODY`."""


class Batch(Struct, frozen=True, kw_only=True):
    """Deliveries that travel together, by one credential."""

    app: int
    task: int
    job: int
    deliveries: tuple[Delivery, ...]
    language: int = -1
    """Number of the translation that all of them show; -1: the message's own text."""
    correlation: str = ""
    """At most 40 ASCII characters that name app and task to a vendor whose receipts name the
    whole list; the same in every attempt."""
    is_overwrite: bool = False
    """Whether it takes back another task, whose collapse text it has; with a message that is
    online only nothing is shown instead."""
    doubted_at: float | None = None
    """When an earlier attempt came to nothing that may have reached these devices, Unix seconds: it
    is repeated only after the way has proved itself since."""
    prepared: str = ""
    """What the vendor's `prepare` answered for this task and language."""

    def came_to(self, found: Denied) -> list[Receipt]:
        """The receipts of a batch whose deliveries all came to the same."""
        return found.receipts(self.deliveries)


class StaleCredential(Exception):
    """The vendor says that our credential has expired: the driver authorises once more."""

    def __init__(self, code: str, info: str) -> None:
        super().__init__(code, info)
        self.code = code
        self.info = info


class Authority(Struct, frozen=True):
    """What `authorize` yields: the value to send, and when to make a new one."""

    value: str
    renew_at: float
    """Unix seconds from which a new one is fetched; this one stays usable until replaced."""
    expires_at: float
    made_at: float = 0.0
    """When it was made, where `hold_s` counts from it."""
    hold_s: float = 0.0
    """The vendor takes no other one for so long: it is kept across restarts, and not replaced
    before, whatever is said of it."""


def told_shortened(receipt: Receipt) -> Receipt:
    """The receipt of a shortened text; what reached no device was none."""
    if receipt.outcome not in (Outcome.ACCEPTED, Outcome.UNKNOWN):
        return receipt
    return replace(receipt, is_shortened=True)


class Denied(Struct, frozen=True):
    """An outcome instead of what was asked for: no authority, nothing prepared, no answer."""

    outcome: Outcome
    code: str
    info: str
    retry_after_s: float | None = None
    way: str = ""
    """The way to the vendor that has to prove itself first; see `Receipt.way`."""

    def receipt(self, delivery: Delivery, *, is_of_all: bool = False) -> Receipt:
        """What it means for one delivery; `is_of_all` if it was said of more than this one."""
        return Receipt(
            device=delivery.device,
            outcome=self.outcome,
            code=self.code,
            info=self.info,
            retry_after_s=self.retry_after_s,
            epoch=delivery.epoch,
            is_of_all=is_of_all,
            way=self.way,
        )

    def receipts(self, deliveries: Iterable[Delivery]) -> list[Receipt]:
        """What it means for several of whom it was said together, in their order."""
        return [self.receipt(delivery, is_of_all=True) for delivery in deliveries]


ACCEPTED = Denied(Outcome.ACCEPTED, "0", "")
"""Nothing was denied."""


class Unanswered(Exception):
    """Thrown into a conversation whose request got no answer, or was not allowed to begin.

    `denied` says which, for every device that has no answer yet. A conversation that lets it pass
    has it booked for the whole batch; one that had answers for some devices before catches it.
    """

    def __init__(self, denied: Denied) -> None:
        super().__init__(denied.code, denied.info)
        self.denied = denied


class LateReceipt(Struct, frozen=True, kw_only=True):
    """What a vendor tells later about one delivery that it had accepted."""

    correlation: str
    """The `Batch.correlation` that the delivery travelled under."""
    token: str
    outcome: Outcome
    """`ACCEPTED`: it arrived on the device."""
    code: str
    """The vendor's own code, verbatim."""
    at: float | None
    """When it happened, Unix seconds, as the vendor says; None: it says nothing, so it is now."""
    is_click: bool = False


class Posted(Struct, frozen=True):
    """One call of a vendor that reports to us: what it tells, and what it expects to hear."""

    receipts: tuple[LateReceipt, ...]
    answer: Response
    unreadable: int = 0
    """Receipts that lack what a receipt has; the call as a whole where that cannot be read."""


ANY_WAY = "*"
"""Stands for every way of a credential; see `Channel.tend`."""


class Stoppage(Struct, frozen=True):
    """Why a credential does not send all that waits for it."""

    state: Literal["refused", "down", "paused", "doubtful"]
    """`refused`: the vendor does not take us; `down`: the vendor or the way to it fails; `paused`:
    the vendor asked for a pause; `doubtful`: repeats stop, since most answers stay away."""
    reason: str
    """The vendor's code and words, or ours."""
    until: float | None = None
    """When it is tried again at the latest, Unix seconds; None: nobody has said."""
    part: str = ""
    """The push service that it is about, where a credential has several; empty: all of it."""
    detail: str = ""
    """What our client said of it, such as which proxy is dead: for the operator alone."""


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

    async def deliver(self, batch: Batch, gate: Gate) -> list[Receipt]:
        """Deliver; one receipt per device, in the batch's order.

        Never raises for a vendor's "no". Asks `gate` before each request.
        """
        ...

    def repeat_replaces(self, message: Message) -> bool:
        """Whether a second delivery of this message replaces the first on the device."""
        ...

    @property
    def begun_max(self) -> int:
        """Devices that may be begun and not settled: enough to keep every request place busy."""
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


class Hello(Struct, frozen=True, kw_only=True):
    """A device at the door, over a socket or plain HTTP: what it shows and what it tells."""

    sdkappid: int
    appkey: str = ""
    """The app's client key: device level."""
    user: str = ""
    usersig: str = ""
    """Proof of `user`; makes `appkey` unnecessary."""
    registration_id: str = ""
    """Empty: the service makes one. Else one that is registered, or an own one of the app."""
    secret: str = ""
    is_logout: bool = False
    route: Route | None = None
    voip_token: str | None = None
    live_tokens: dict[str, str] = {}
    live_start_tokens: dict[str, str] = {}
    facts: DeviceFacts = DeviceFacts()
    address: str = ""
    """Where it calls from, for the limit on registrations."""


NormalRoute = Callable[[Route], Route | None]
"""A route with its token in the one spelling of its vendor, and what tells the device from others;
None where no device can have such a token. Pure, and changes nothing that it has answered."""


class Registrar(Protocol):
    """Registers devices and takes their reports, whichever door they come through."""

    async def register(self, hello: Hello) -> Registered:
        """Check appKey or UserSig and the device secret, then register.

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
