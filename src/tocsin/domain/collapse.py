"""Collapse ids: a later notification with the same one replaces the earlier on the device.

They are known to the vendor and the device alone, and two services may push to the same phones by
one credential: a wiped folder that counts its tasks from 1 again, or a second one beside it. So an
id carries a mark of the database that the push is kept in.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping

from msgspec import Struct

LENGTH = 20
"""Letters and digits, each of five bits: the most that every vendor takes."""


class CollapseMark(Struct, frozen=True):
    """What tells one database's collapse ids from another's, for as long as it exists."""

    mark: bytes
    """Random, made with the database. It is no secret: it proves nothing."""
    unmarked: Mapping[int, int] = {}
    """By app, the last task that was pushed under ids without the mark."""


def collapse_id(mark: CollapseMark, app: int, task: int) -> str:
    """The id of what a task shows: the same for each device, vendor and attempt."""
    if task <= mark.unmarked.get(app, 0):
        # It may stand on devices under this id, and a recall has to replace it.
        return f"t{app:x}-{task:x}"
    name = app.to_bytes(8, "big") + task.to_bytes(8, "big")
    digest = hmac.digest(mark.mark, name, hashlib.sha256)
    return base64.b32encode(digest)[:LENGTH].decode().lower()
