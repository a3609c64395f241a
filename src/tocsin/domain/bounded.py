"""Tables that strangers can fill: bounded in entries, with keys of a fixed length, so in bytes."""

from __future__ import annotations

import hashlib
import ipaddress
from collections import OrderedDict
from typing import Generic, TypeVar

import msgspec

Key = TypeVar("Key")
Value = TypeVar("Value")

KEY_BYTES = 16
"""Of a key made by `short_key`: nobody finds two callers with the same one."""


class Bounded(Generic[Key, Value]):
    """A table of at most `entries_max` entries: the one used least recently goes first."""

    def __init__(self, entries_max: int) -> None:
        self._entries_max = entries_max
        self._entries: OrderedDict[Key, Value] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Key) -> Value | None:
        """The entry, which counts as used by this; None where there is none."""
        value = self._entries.get(key)
        if value is not None:
            self._entries.move_to_end(key)
        return value

    def put(self, key: Key, value: Value) -> None:
        """Keep an entry, in the place of an earlier one of this key."""
        self._entries[key] = value
        self._entries.move_to_end(key)
        if len(self._entries) > self._entries_max:
            self._entries.popitem(last=False)

    def pop(self, key: Key) -> Value | None:
        """Take an entry out; None where there is none."""
        return self._entries.pop(key, None)


def short_key(*parts: int | str | bytes, size: int = KEY_BYTES) -> bytes:
    """A key of `size` bytes for these parts, however long they are.

    Text that a stranger chose may be of any length, so no table keeps it as it came.
    """
    # Packed, the parts have their lengths with them: ("a", "bc") is not ("ab", "c").
    return hashlib.blake2b(msgspec.msgpack.encode(parts), digest_size=size).digest()


def network_of(address: str) -> str:
    """What counts as one address: of IPv6 the network of 64 bits that one subscriber has.

    What is no address, such as a proxy may forward, is taken as it is.
    """
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((int(parsed), 64), strict=False))
