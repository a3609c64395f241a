"""Every vendor, in alphabetical order. Whoever adds one adds its file and a line here."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, Protocol, TypeGuard

import msgspec
from msgspec.structs import replace

from tocsin.channels.shared import is_shown
from tocsin.channels.vendors import (
    apns,
    fcm,
    harmony,
    honor,
    huawei,
    meizu,
    oppo,
    vivo,
    webpush,
    xiaomi,
)
from tocsin.conversation import (
    Authority,
    Batch,
    Delivery,
    Denied,
    Limits,
    Posted,
    Request,
    Response,
)
from tocsin.domain.device import ENVIRONMENTS, Route
from tocsin.domain.message import Message
from tocsin.domain.outcome import BatchReceipts, Outcome, Receipt


class Vendor(Protocol):
    """What all vendors' files have in common."""

    @property
    def NAME(self) -> str: ...  # noqa: N802 - a module's constant

    @property
    def NOBODY(self) -> str: ...  # noqa: N802 - a module's constant

    @property
    def LIMITS(self) -> Limits: ...  # noqa: N802 - a module's constant

    @property
    def HOSTS(self) -> tuple[str, ...]:  # noqa: N802 - a module's constant
        """Names of the vendor's own servers, which its SDKs have fixed: the one that we send to by
        default first. `*.` stands for one label.
        """
        ...

    @property
    def Settings(self) -> type[Any]: ...  # noqa: N802 - a module's class

    @property
    def OUTCOMES(self) -> Mapping[tuple[int, str], Outcome]: ...  # noqa: N802 - a module's constant

    @property
    def HINTS(self) -> Mapping[str, str]: ...  # noqa: N802 - a module's constant

    def normal_token(self, token: str) -> str | None:
        """The token in its one spelling; None where no device can have such a one.

        What it answers is its own normal form. A vendor that knows a device by less than the whole
        token says by what in `identity`, see `normal_route`.
        """
        ...

    def replaces(self, settings: Any, message: Message) -> bool:
        """Whether a second delivery of this message replaces the first on the device."""
        ...

    def authorize(
        self, settings: Any, now: float
    ) -> Generator[Request, Response, Authority | Denied]:
        """The conversation that ends in what proves us, or in why there is nothing."""
        ...


class SingleVendor(Vendor, Protocol):
    """A vendor that takes one device a request."""

    def request(
        self, settings: Any, credential: Authority, delivery: Delivery, now: float
    ) -> Request | Receipt:
        """One device's request; a receipt where none is to be sent.

        It names the vendor's own address: the driver puts a credential's origin in its place.
        """
        ...

    def read(self, delivery: Delivery, response: Response) -> Receipt:
        """What an answer means. Raises `StaleCredential` when our authority has expired."""
        ...


class ListVendor(Vendor, Protocol):
    """A vendor that takes up to `LIMITS.devices_max` devices, more than one, in a request.

    One whose messages are saved before they are sent also has `prepare`, see `Prepare`; one that
    takes fewer devices by some settings has `devices_max`, see `devices_max_of`.
    """

    def deliver(
        self, settings: Any, credential: Authority, batch: Batch, now: float
    ) -> Generator[Request, Response, BatchReceipts]:
        """The conversation about one list, as long as a call may be and never empty.

        Yields requests and is sent the responses; ends with one receipt per delivery, in order.
        All deliveries of a batch carry the same message, ttl and collapse text. Where a request got
        no answer or may not begin, `Unanswered` is thrown in: whoever lets it pass has the whole
        batch booked so. Raises `StaleCredential` when our authority has expired, as long as no
        device has been accepted: the driver then starts anew with another one.
        """
        ...


Prepare = Callable[[Any, Authority, Batch, float], Generator[Request, Response, str | Denied]]
"""`prepare(settings, credential, batch, now)`: saves the message with the vendor, and ends with
what `deliver` finds in `batch.prepared` for every batch of the same task and language."""

Recall = Callable[
    [Any, Authority, Sequence[Delivery], float], Generator[Request, Response, BatchReceipts]
]
"""`recall(settings, credential, deliveries, now)`: withdraws what these devices were given
under the deliveries' collapse text; ends with one receipt each. A single vendor is handed one
delivery at a time. `Unanswered` and `StaleCredential` as in `deliver`.
"""

ReadPost = Callable[[Mapping[str, str], bytes], Posted]
"""`report(headers, body)`: what a vendor's call to us says, whoever made it. Never raises."""

IsSigned = Callable[[Any, Mapping[str, str], bytes, float], bool]
"""`is_signed(settings, headers, body, now)`: whether the vendor itself made that call. True where
these settings hold nothing to check it with."""

MadeOf = Callable[[Any, str], tuple[str, ...]]
"""`made_of(settings, auth_origin)`: all that `authorize` makes an authority of. Credentials that
have the same share one, whatever else their settings say."""

VENDORS: tuple[SingleVendor | ListVendor, ...] = (
    apns,
    fcm,
    harmony,
    honor,
    huawei,
    meizu,
    oppo,
    vivo,
    webpush,
    xiaomi,
)


def find(name: str) -> SingleVendor | ListVendor | None:
    """The vendor of this name."""
    return next((vendor for vendor in VENDORS if name == vendor.NAME), None)


def normal_route(route: Route) -> Route | None:
    """The route with its token in its one spelling and what tells its device from others.

    None where no device can have such a token. One of a vendor that we no longer have stays as it
    is; an environment that nobody has means the usual one.
    """
    vendor = find(route.channel)
    if vendor is None:
        return route
    token = vendor.normal_token(route.token)
    if token is None:
        return None
    identity: Callable[[str], str] | None = getattr(vendor, "identity", None)
    is_known = route.environment in ENVIRONMENTS
    return replace(
        route,
        token=token,
        environment=route.environment if is_known else ENVIRONMENTS[0],
        identity="" if identity is None else identity(token),
    )


def real_hosts() -> dict[str, tuple[str, ...]]:
    """Every vendor's own host names, by the vendor's name."""
    return {vendor.NAME: vendor.HOSTS for vendor in VENDORS}


def takes_lists(vendor: SingleVendor | ListVendor) -> TypeGuard[ListVendor]:
    """Which of the two forms a vendor's file has."""
    return vendor.LIMITS.devices_max > 1


def takes_one(vendor: SingleVendor | ListVendor) -> TypeGuard[SingleVendor]:
    """The other form."""
    return vendor.LIMITS.devices_max == 1


def says_something_of(vendor: Vendor) -> Callable[[Any, Message], bool]:
    """A vendor's `says_something`; most show title and text, and may hand Ext to the app."""
    found: Callable[[Any, Message], bool] | None = getattr(vendor, "says_something", None)
    takes_data = vendor.LIMITS.takes_data
    return found or (lambda _, message: is_shown(message) or (takes_data and bool(message.ext)))


def expiry_of(vendor: Vendor) -> Callable[[Any], float | None]:
    """A vendor's `expires_at`: when settings end, Unix seconds; never for most vendors."""
    found: Callable[[Any], float | None] = getattr(vendor, "expires_at", lambda _: None)
    return found


def subscription_key_of(vendor: Vendor) -> Callable[[Any], str]:
    """A vendor's `subscription_key`: the public key that devices subscribe with; else empty."""
    found: Callable[[Any], str] = getattr(vendor, "subscription_key", lambda _: "")
    return found


def way_of(vendor: Vendor) -> Callable[[str], str] | None:
    """A vendor's `way`: which of many servers a token leads to; None where the vendor is one."""
    found: Callable[[str], str] | None = getattr(vendor, "way", None)
    return found


def nobody_of(vendor: Vendor) -> Callable[[str], str]:
    """A vendor's `nobody`: a token that no device has, of this way; else its `NOBODY`."""
    found: Callable[[str], str] = getattr(vendor, "nobody", lambda _: vendor.NOBODY)
    return found


def recall_of(vendor: Vendor) -> Recall | None:
    """A vendor's `recall`, where it withdraws what it was given."""
    found: Recall | None = getattr(vendor, "recall", None)
    return found


def report_of(vendor: Vendor) -> ReadPost | None:
    """A vendor's `report`, where it posts receipts to us."""
    found: ReadPost | None = getattr(vendor, "report", None)
    return found


def is_signed_of(vendor: Vendor) -> IsSigned | None:
    """A vendor's `is_signed`, where it can sign what it posts."""
    found: IsSigned | None = getattr(vendor, "is_signed", None)
    return found


def made_of_of(vendor: Vendor) -> MadeOf:
    """A vendor's `made_of`; of one without it, all settings and where they are shown."""
    found: MadeOf | None = getattr(vendor, "made_of", None)
    if found is not None:
        return lambda settings, auth_origin: (vendor.NAME, *found(settings, auth_origin))
    return lambda settings, auth_origin: (
        vendor.NAME,
        auth_origin,
        msgspec.json.encode(settings).decode(),
    )


def prepare_of(vendor: ListVendor) -> Prepare | None:
    """A list vendor's `prepare`, where it has one."""
    found: Prepare | None = getattr(vendor, "prepare", None)
    return found


def devices_max_of(vendor: ListVendor, settings: Any) -> int:
    """Devices in a call: what `devices_max(settings)` says, of a vendor whose settings lower it."""
    found: Callable[[Any], int] | None = getattr(vendor, "devices_max", None)
    return vendor.LIMITS.devices_max if found is None else found(settings)
