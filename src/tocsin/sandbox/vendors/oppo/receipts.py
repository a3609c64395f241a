"""What OPPO posts to the address that a message names: an array with an entry for each event.

OPPO's page on receipts (消息回执, read 2026-11 in a copy). The `taskId` of single pushes is the
message's id, it says; here it always is.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from tocsin.sandbox.devices import State
from tocsin.sandbox.receipts import Event, Post, told_id

RECEIPTS_MAX = 1000
ARRIVED, INVALID, DAILY_LIMIT = "push_arrive", "regid_invalid", "user_daily_limit"
FATES: dict[State, str] = {
    "live": ARRIVED,
    # It says of an arrival that nothing need be shown.
    "muted": ARRIVED,
    # So is called who was removed, and who has been without a network for a month.
    "gone": INVALID,
    "inactive": INVALID,
}
"""State of a device to its event; of all others there is none."""
_JSON = (("content-type", "application/json;charset=UTF-8"),)


def post(app_key: str, events: Sequence[Event]) -> Post:
    """The call that tells of these; devices to whom the same happened at once share an entry."""
    tokens: dict[tuple[str, str, str, int], list[str]] = {}
    for it in events:
        key = (it.message_id, told_id(it), it.code, int(it.at * 1000))
        tokens.setdefault(key, []).append(it.token)
    entries = [
        {
            "messageId": message_id,
            "appId": app_key,
            "taskId": message_id,
            "registrationIds": ", ".join(named),
            "eventTime": str(at_ms),
            "param": param,
            "eventType": event,
        }
        for (message_id, param, event, at_ms), named in tokens.items()
    ]
    return Post(_JSON, msgspec.json.encode(entries))
