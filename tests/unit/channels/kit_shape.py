"""What a list vendor's kit holds: one file `kit_<vendor>.py` a vendor, listed in `kit.py`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from tocsin.ports import Response


class VendorKit(NamedTuple):
    """How a test speaks as this vendor."""

    settings: Callable[..., Any]
    """Its `Settings`, good ones; keyword arguments change single fields."""
    refusal: Callable[[int, str], Response]
    """The answer to a list of one, with this status and reason of `OUTCOMES`, in its own shape."""
    authority: Mapping[str, Response]
    """The answers of its token service, by path; empty for a vendor without one."""
    accepted: Response
    """The answer to a list of which every device was taken."""
    prepared: str = ""
    """What its `prepare` would have left in the batch."""
    receipt: Callable[[str], bytes] | None = None
    """The body of a call that tells one receipt of this code, of `RECEIPT`'s id, token and time;
    None for a vendor that reports nothing."""


class RECEIPT:
    """What a kit's receipt tells besides its code."""

    correlation = "7-1-0011223344556677"
    token = "token-of-a-receipt"
    at_ms = 1_700_000_000_123
