"""What an operator can do about what a vendor answered, in a sentence."""

from __future__ import annotations

from collections.abc import Mapping

from tocsin.channels.registry import Vendor
from tocsin.domain.outcome import Outcome

GENERAL: Mapping[Outcome, str] = {
    Outcome.CREDENTIALS_WRONG: "compare the settings with the vendor's console",
    Outcome.AUTH_EXPIRED: "compare the settings with the vendor's console",
    Outcome.NOT_PERMITTED: "apply to the vendor for what it does not allow yet",
    Outcome.BAD_REQUEST: "compare the settings with the vendor's console; then report it to us",
    Outcome.BLOCKED_CONTENT: "the vendor does not take this text: see its rules for content",
    Outcome.THROTTLED: "lower the credential's rate_per_s, or ask the vendor for more",
    Outcome.QUOTA_DAY: "wait for the vendor's midnight, or ask it for more",
    Outcome.TIME_WINDOW: "wait for the vendor's opening hours",
    Outcome.SERVER_ERROR: "the vendor is in trouble: try again later",
    Outcome.UNKNOWN: "no answer came: try again later",
    Outcome.UNSENT: "look at network, firewall and DNS of this machine",
}


def advice(vendor: Vendor, outcome: Outcome, code: str, info: str) -> str:
    """What to do; empty where nothing needs doing.

    The vendor's own `HINTS` come first: by the code, or by words of what the vendor said.
    """
    for key, hint in vendor.HINTS.items():
        if key == code or (not key.lstrip("-").isdigit() and key in info):
            return hint
    return GENERAL.get(outcome, "")
