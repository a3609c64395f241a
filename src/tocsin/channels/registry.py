"""Every vendor, in alphabetical order. Whoever adds one adds its file and a line here."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any, Protocol

from tocsin.channels import apns, fcm
from tocsin.domain.message import Message
from tocsin.domain.outcome import Outcome, Receipt
from tocsin.ports import Authority, Delivery, Denied, Limits, Request, Response


class Vendor(Protocol):
    """The shape of a vendor's file, for vendors that take one device a request."""

    @property
    def NAME(self) -> str: ...  # noqa: N802 - a module's constant

    @property
    def LIMITS(self) -> Limits: ...  # noqa: N802 - a module's constant

    @property
    def Settings(self) -> type[Any]: ...  # noqa: N802 - a module's class

    @property
    def OUTCOMES(self) -> Mapping[tuple[int, str], Outcome]: ...  # noqa: N802 - a module's constant

    def replaces(self, settings: Any, message: Message) -> bool:
        """Whether a second delivery of this message replaces the first on the device."""
        ...

    def authorize(
        self, settings: Any, now: float
    ) -> Generator[Request, Response, Authority | Denied]:
        """The conversation that ends in what proves us, or in why there is nothing."""
        ...

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


VENDORS: tuple[Vendor, ...] = (
    apns,
    fcm,
)


def find(name: str) -> Vendor | None:
    """The vendor of this name."""
    return next((vendor for vendor in VENDORS if name == vendor.NAME), None)
