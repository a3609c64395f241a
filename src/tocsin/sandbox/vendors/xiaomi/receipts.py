"""What Xiaomi posts to the address that a push names: a form with one entry for each message.

dev.mi.com, pages 1558 and 1559 (read 2026-11). What a push gets that asks for no types is not on
the page; arrivals and clicks are taken. A sum with a bit that Xiaomi does not know gets no receipts
at all, as a sender of 246 found out (blog.csdn.net/zhou_Tian/article/details/108751167).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from urllib.parse import urlencode

import msgspec

from tocsin.sandbox.devices import State
from tocsin.sandbox.receipts import Event, Post, number_of, told_id

RECEIPTS_MAX = 1000
ARRIVED, CLICKED, INVALID, TTL_OVER = 1, 2, 16, 1024
TYPES = ARRIVED | CLICKED | INVALID | 32 | 64 | 128 | TTL_OVER
FATES: dict[State, str] = {
    "live": str(ARRIVED),
    # It arrives there too, and the receipt says beside it that nothing is shown.
    "muted": str(ARRIVED),
    # Told at once and not when the message has lived: nobody wants to wait for that.
    "inactive": str(TTL_OVER),
    "off": "",
}
"""State of a device to the type of its receipt; all others are invalid."""
_FORM = (("content-type", "application/x-www-form-urlencoded"),)


def types_asked(form: dict[str, str]) -> int:
    """The sum of the types that a push gets receipts of."""
    asked = int(form.get("extra.callback.type", ARRIVED | CLICKED))
    return 0 if asked & ~TYPES else asked


def post(events: Sequence[Event], bar_status: Callable[[Event], str]) -> Post:
    """The call that tells of these; those of one message are of the same type, time and status."""
    targets: dict[str, list[str]] = {}
    firsts: dict[str, Event] = {}
    for it in events:
        targets.setdefault(it.message_id, []).append(it.token)
        firsts.setdefault(it.message_id, it)
    entries = {
        name: {
            "type": number_of(it),
            "targets": ",".join(targets[name]),
            "param": told_id(it),
            "jobkey": "",
            "barStatus": bar_status(it),
            "timestamp": int(it.at * 1000),
        }
        for name, it in firsts.items()
    }
    return Post(_FORM, urlencode({"data": msgspec.json.encode(entries)}).encode())
