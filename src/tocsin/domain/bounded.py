"""The one bounded cache, and keys of a fixed length for entries that strangers cause."""

from __future__ import annotations

import hashlib
import ipaddress
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

import msgspec

Key = TypeVar("Key")
Value = TypeVar("Value")

KEY_BYTES = 16
"""Of a key made by `short_key`: nobody finds two callers with the same one."""


class BoundedCache(Generic[Key, Value]):
    """Keeps at most `entries_max` entries of at most `bytes_max` bytes together.

    The entry that was used least recently is evicted first; `get` and `put` use an entry, `in`
    does not. The entry that was put last is kept whatever its size, so its caller can rely on it.
    For use by one thread.
    """

    def __init__(
        self,
        entries_max: int,
        *,
        bytes_max: int | None = None,
        size_of: Callable[[Value], int] | None = None,
    ) -> None:
        """`size_of` answers the bytes of a value; it is called once for each `put`."""
        assert entries_max > 0
        assert (bytes_max is None) == (size_of is None), "bytes_max goes together with size_of"
        self._entries_max = entries_max
        self._bytes_max = bytes_max
        self._size_of = size_of
        self._entries: OrderedDict[Key, Value] = OrderedDict()
        self._sizes: dict[Key, int] = {}
        self.total_bytes = 0
        """Bytes of all entries; 0 where no `size_of` is given."""

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: object) -> bool:
        return key in self._entries

    def get(self, key: Key) -> Value | None:
        """The value of `key`; None where there is no entry."""
        value = self._entries.get(key)
        if value is not None:
            self._entries.move_to_end(key)
        return value

    def put(self, key: Key, value: Value) -> None:
        """Adds or replaces the entry of `key`, then evicts what exceeds the bounds.

        The size of a value is measured here: put a value again after it has grown.
        """
        self._entries[key] = value
        self._entries.move_to_end(key)
        if len(self._entries) > self._entries_max:
            self._evict()
        if self._size_of is not None and self._bytes_max is not None:
            size = self._size_of(value)
            self.total_bytes += size - self._sizes.get(key, 0)
            self._sizes[key] = size
            while self.total_bytes > self._bytes_max and len(self._entries) > 1:
                self._evict()

    def pop(self, key: Key) -> Value | None:
        """Removes an entry and answers its value; None where there is none."""
        self.total_bytes -= self._sizes.pop(key, 0)
        return self._entries.pop(key, None)

    def clear(self) -> None:
        """Removes every entry."""
        self._entries.clear()
        self._sizes.clear()
        self.total_bytes = 0

    def items(self) -> Iterator[tuple[Key, Value]]:
        """Every entry, the one that is evicted first in front. No entry counts as used by this."""
        return iter(list(self._entries.items()))

    def _evict(self) -> None:
        key, _ = self._entries.popitem(last=False)
        self.total_bytes -= self._sizes.pop(key, 0)


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
