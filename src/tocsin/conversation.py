"""What is said between us and a vendor: requests and answers, batches, and what they came to.

Values without behaviour, beside the ports that take and answer them (`ports.py`): a vendor's file
imports these and the domain, and nothing else of ours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, overload

from msgspec import Struct
from msgspec.structs import replace

from tocsin.domain.message import Message
from tocsin.domain.outcome import BatchReceipts, Outcome, Receipt


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


class Deliveries(Sequence[Delivery]):
    """The deliveries of a list as columns: what differs, beside what all have in common.

    It is a sequence of deliveries, but makes each of them only when it is asked for.
    """

    __slots__ = ("_correlation_of", "common", "devices", "epochs", "tokens")

    def __init__(
        self,
        common: Delivery,
        devices: Sequence[int],
        tokens: Sequence[str],
        epochs: Sequence[int],
        correlation_of: Callable[[int], str] | None = None,
    ) -> None:
        """Device, token, epoch and correlation of `common` mean nothing."""
        self.common = common
        self.devices = devices
        self.tokens = tokens
        self.epochs = epochs
        self._correlation_of = correlation_of

    @overload
    def __getitem__(self, place: int) -> Delivery: ...
    @overload
    def __getitem__(self, place: slice) -> Deliveries: ...
    def __getitem__(self, place: int | slice) -> Delivery | Deliveries:
        columns = (self.devices[place], self.tokens[place], self.epochs[place])
        if isinstance(place, slice):
            return Deliveries(self.common, *columns, self._correlation_of)  # type: ignore[arg-type]
        device, token, epoch = columns
        assert isinstance(device, int)
        named = "" if self._correlation_of is None else self._correlation_of(device)
        return replace(self.common, device=device, token=token, epoch=epoch, correlation=named)

    def __len__(self) -> int:
        return len(self.devices)


def tokens_of(deliveries: Sequence[Delivery]) -> Sequence[str]:
    """The tokens of deliveries, in order."""
    if isinstance(deliveries, Deliveries):
        return deliveries.tokens
    return [delivery.token for delivery in deliveries]


def devices_of(deliveries: Sequence[Delivery]) -> Sequence[int]:
    """The numbers of the deliveries' devices, in order."""
    if isinstance(deliveries, Deliveries):
        return deliveries.devices
    return [delivery.device for delivery in deliveries]


def epochs_of(deliveries: Sequence[Delivery]) -> Sequence[int]:
    """The epochs of the deliveries' routes, in order."""
    if isinstance(deliveries, Deliveries):
        return deliveries.epochs
    return [delivery.epoch for delivery in deliveries]


class Batch(Struct, frozen=True, kw_only=True):
    """Deliveries that travel together, by one credential."""

    app: int
    task: int
    job: int
    deliveries: Sequence[Delivery]
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

    def came_to(self, found: Denied) -> BatchReceipts:
        """The receipts of a batch whose deliveries all came to the same."""
        return found.receipts(self.deliveries)

    def came_by_token(self, named: Mapping[str, Denied], rest: Denied) -> BatchReceipts:
        """The receipts of a batch whose answer names some tokens; `rest` is for all others."""
        return receipts_by_token(self.deliveries, named, rest)


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
        return self.of_device(delivery.device, delivery.epoch, is_of_all=is_of_all)

    def of_device(self, device: int, epoch: int, *, is_of_all: bool = False) -> Receipt:
        """What it means for a device whose route had this epoch."""
        return Receipt(
            device=device,
            outcome=self.outcome,
            code=self.code,
            info=self.info,
            retry_after_s=self.retry_after_s,
            epoch=epoch,
            is_of_all=is_of_all,
            way=self.way,
        )

    def receipts(self, deliveries: Sequence[Delivery], *, is_of_all: bool = True) -> BatchReceipts:
        """What it means for several of whom it was said together, in their order."""
        rest = self.of_device(0, 0, is_of_all=is_of_all)
        return BatchReceipts(devices_of(deliveries), epochs_of(deliveries), rest)


def receipts_by_token(
    deliveries: Sequence[Delivery],
    named: Mapping[str, Denied],
    rest: Denied,
    *,
    is_of_all: bool = False,
) -> BatchReceipts:
    """The receipts of deliveries some of whose tokens are named.

    `rest` is for all others, and `is_of_all` if it was said of the list and not of each of them.
    """
    receipts = rest.receipts(deliveries, is_of_all=is_of_all)
    if named:
        devices, epochs = receipts.devices, receipts.epochs
        of_named = {
            at: named[token].of_device(devices[at], epochs[at])
            for at, token in enumerate(tokens_of(deliveries))
            if token in named
        }
        receipts = BatchReceipts(devices, epochs, receipts.rest, of_named)
    return receipts


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


ANY_WAY = "*"
"""Stands for every way of a credential; see `Channel.tend`."""


def told_shortened(receipt: Receipt) -> Receipt:
    """The receipt of a shortened text; what reached no device was none."""
    if receipt.outcome not in (Outcome.ACCEPTED, Outcome.UNKNOWN):
        return receipt
    return replace(receipt, is_shortened=True)
