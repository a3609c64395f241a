"""What vivo posts about a push: a map with one device under the push's task number.

A push provider's runbook and doopush's service (2026-11). Which `ackType` stands for which kind of
loss is not known: 1 is held back here, 2 not matched, 3 not shown.
"""

from __future__ import annotations

import msgspec

from tocsin.sandbox.devices import State
from tocsin.sandbox.receipts import CONSOLE, Event, Post, told_id
from tocsin.sandbox.vendors.vivo.rules import VivoPush

ARRIVED, TOO_OFTEN, IDENTICAL = "0", "2000", "2124"
# Of those that are muted or inactive vivo speaks in its answer.
FATES: dict[State, str] = {"live": ARRIVED, "gone": "2183"}
"""State of a device to the sub-code of its receipt; of all others there is none."""
ACK_TYPES = {
    **dict.fromkeys(("1001", "2000", "0012"), "1"),
    **dict.fromkeys(("0001", "0002", "0006"), "2"),
}
"""Sub-code to the kind of loss; all others were not shown."""
_JSON = (("content-type", "application/json;charset=UTF-8"),)


def receipt_to(push: VivoPush, known_id: str) -> str:
    """Where a push wants its receipts: at the console's address, at one that it names, or nowhere.

    There are none of test pushes (server interface 2.9.2, "advanced: extra").
    """
    if push.push_mode:
        return ""
    if "callback.id" in push.extra:
        return CONSOLE if push.extra["callback.id"] == known_id else ""
    return push.extra.get("callback", "")


def post(event: Event) -> Post:
    """The call that tells of one device; a code `ackType 1` stands for one without a sub-code."""
    entry = {
        "param": told_id(event),
        "targets": event.token,
        "ackTime": int(event.at * 1000),
        "ackType": ACK_TYPES.get(event.code, "3"),
        "subCode": event.code,
    }
    if event.code == ARRIVED or event.code.startswith("ackType "):
        entry |= {"ackType": event.code.removeprefix("ackType "), "subCode": ""}
    return Post(_JSON, msgspec.json.encode({event.message_id: entry}))
