"""Header compression of HTTP/2: our own encoder, and a bounded decoder (RFC 7541).

The encoder knows what our requests look like. A field whose value stays the same from one request
to the next goes into the dynamic table once and is one byte afterwards: topic, authorization and
what a task's requests have in common. Everything else is written as it is; paths hold the devices'
tokens and are marked as never to be indexed, by whoever passes them on either (section 7.1.3).
Nothing is Huffman coded: that would cost more time than the bytes do.
"""

from __future__ import annotations

import re
from collections import deque
from typing import Final, TypeAlias

# The names by which the library itself chooses its decoder in Rust over the one in Python.
from jh2.connection import (  # type: ignore[import-untyped]
    Decoder,
    HPACKError,
    OversizedHeaderListError,
)

from tocsin.adapters.http2.frames import COMPRESSION_ERROR, ENHANCE_YOUR_CALM, PeerFault

Field: TypeAlias = tuple[str, str]

TABLE_BYTES: Final = 4_096
"""The dynamic table's size until SETTINGS say otherwise; we never use more."""
LIST_BYTES_MAX: Final = 65_536
"""Headers of one answer, not compressed."""
VALUE_MAX: Final = 16_384
"""One header of a request."""
_ENTRY_BYTES: Final = 32
"""What an entry counts beside its name and value (section 4.1)."""
_STATIC_MAX: Final = 61
_NAMES: Final = {
    ":authority": 1,
    ":method": 2,
    ":path": 4,
    "accept": 19,
    "authorization": 23,
    "content-encoding": 26,
    "content-length": 28,
    "content-type": 31,
    "user-agent": 58,
}
"""Names of the static table that our requests have (appendix A)."""
_WHOLE: Final = {
    (":method", "GET"): b"\x82",
    (":method", "POST"): b"\x83",
    (":scheme", "http"): b"\x86",
    (":scheme", "https"): b"\x87",
}
_LITERAL, _NEVER_INDEXED, _INDEXING, _INDEXED, _RESIZE = 0x00, 0x10, 0x40, 0x80, 0x20
_NAME: Final = re.compile(r":?[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_UNWRITABLE: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_VARYING: Final = frozenset({"content-length"})
"""Names whose values repeat by chance: they would only push others out of the table."""


class Encoder:
    """Writes the headers of requests on one connection."""

    def __init__(self) -> None:
        self._whole: dict[Field, bytes] = dict(_WHOLE)
        """Fields by the index that stands for them now; each insertion moves the indexes."""
        self._entries: deque[tuple[Field, int]] = deque()
        self._places: dict[Field, int] = {}
        """How many entries had been inserted before each entry of the table."""
        self._inserted = 0
        self._size = 0
        self._size_max = TABLE_BYTES
        self._resizes: list[int] = []
        self._last: dict[str, str] = {}
        """Each name's value in the request before."""
        self._names: dict[str, bytes] = {}

    def resize(self, size: int) -> None:
        """Use a table of at most `size` bytes, as the peer's SETTINGS ask."""
        size = min(size, TABLE_BYTES)
        if size == self._size_max and not self._resizes:
            return
        self._size_max = size
        # The smallest size since the last request is said first: it emptied the table (4.2).
        self._resizes = [min([size, *self._resizes]), size]
        self._evict(0)

    def encode(self, path: str, fields: tuple[Field, ...]) -> bytes:
        """The headers of a request, pseudo-headers first, with its path before all of them.

        Raises `ValueError` if one of them cannot be written, and has then changed nothing.
        """
        if not (path.isascii() and path.isprintable() and path[:1] == "/") or " " in path:
            raise ValueError("the path holds what cannot be written")
        whole = self._whole
        for field in fields:
            if field not in whole:
                _check(field)
        # An insertion moves the indexes of the fields behind it.
        parts = [whole.get(field) or self._written(field) for field in fields]
        resized = self._resized() if self._resizes else b""
        return b"".join((resized, b"\x14", _string(path), *parts))

    def _written(self, field: Field) -> bytes:
        place = self._places.get(field)
        if place is not None:
            index = _STATIC_MAX + self._inserted - place
            written = self._whole[field] = _integer(index, 7, _INDEXED)
            return written
        name, value = field
        size = len(name.encode()) + len(value.encode()) + _ENTRY_BYTES
        is_kept = self._last.get(name) == value and name not in _VARYING
        if is_kept and size <= self._size_max // 2:
            self._insert(field, size)
            return self._name(name, 6, _INDEXING) + _string(value)
        if len(self._last) < TABLE_BYTES:
            self._last[name] = value
        prefix = self._names.get(name)
        if prefix is None:
            prefix = self._name(name, 4, _LITERAL)
            if len(self._names) < TABLE_BYTES:
                self._names[name] = prefix
        return prefix + _string(value)

    def _insert(self, field: Field, size: int) -> None:
        self._evict(size)
        self._places[field] = self._inserted
        self._entries.append((field, size))
        self._inserted += 1
        self._size += size

    def _evict(self, size: int) -> None:
        """Make room for `size` bytes, as the peer does at the same moment."""
        while self._entries and self._size + size > self._size_max:
            field, freed = self._entries.popleft()
            del self._places[field]
            self._size -= freed
        self._whole.clear()
        self._whole.update(_WHOLE)

    def _resized(self) -> bytes:
        said = [_integer(size, 5, _RESIZE) for size in dict.fromkeys(self._resizes)]
        self._resizes = []
        return b"".join(said)

    @staticmethod
    def _name(name: str, bits: int, kind: int) -> bytes:
        """A field's beginning: its kind and its name, by index or as text."""
        lower = name.lower()
        index = _NAMES.get(lower, 0)
        return _integer(index, bits, kind) if index else bytes((kind,)) + _string(lower)


class BoundedDecoder:
    """Reads the headers of answers on one connection."""

    def __init__(self) -> None:
        self._decoder = Decoder(LIST_BYTES_MAX)

    def decode(self, block: bytes) -> list[tuple[bytes, bytes, bool]]:
        """Names and values; what cannot be read ends the connection, whose table is lost."""
        if not _is_whole(block):
            raise PeerFault(COMPRESSION_ERROR, "headers that end too early")
        try:
            fields: list[tuple[bytes, bytes, bool]] = self._decoder.decode(block, True)  # noqa: FBT003 - by position alone
        except OversizedHeaderListError:
            raise PeerFault(ENHANCE_YOUR_CALM, "headers that are too long") from None
        except HPACKError:
            raise PeerFault(COMPRESSION_ERROR, "headers that cannot be read") from None
        return fields


def _is_whole(block: bytes) -> bool:
    """Whether every length lies within the block: the library panics where one does not."""
    at, end = 0, len(block)
    try:
        while at < end:
            first = block[at]
            at += 1
            if first & 0x80:
                limit, strings = 0x7F, 0
            elif first & 0x40:
                limit, strings = 0x3F, 1
            elif first & 0x20:
                limit, strings = 0x1F, 0
            else:
                limit, strings = 0x0F, 1
            index = first & limit
            if index == limit:
                at, _ = _read_integer(block, at, limit)
            for _ in range(strings if index else 2 * strings):
                size = block[at] & 0x7F
                at += 1
                if size == 0x7F:
                    at, size = _read_integer(block, at, 0x7F)
                at += size
    except IndexError:
        return False
    return at == end


def _read_integer(block: bytes, at: int, number: int) -> tuple[int, int]:
    """Where a long number ends, and the number; it raises `IndexError` if it does not end."""
    shift = 0
    while True:
        octet = block[at]
        at += 1
        number += (octet & 0x7F) << shift
        shift += 7
        if octet < 0x80:
            return at, number


def _check(field: Field) -> None:
    name, value = field
    # Encoding raises a `ValueError` too: half a surrogate pair is no text.
    if not _NAME.fullmatch(name) or _UNWRITABLE.search(value) or len(value.encode()) > VALUE_MAX:
        raise ValueError("a header holds what cannot be written")


def _string(text: str) -> bytes:
    """A text as its length and its bytes (section 5.2)."""
    raw = text.encode()
    size = len(raw)
    return bytes((size,)) + raw if size < 127 else _integer(size, 7, 0) + raw


def _integer(number: int, bits: int, kind: int) -> bytes:
    """A number that begins in the last `bits` of a byte whose others say the kind (5.1)."""
    limit = (1 << bits) - 1
    if number < limit:
        return bytes((kind | number,))
    written = bytearray((kind | limit,))
    number -= limit
    while number >= 128:
        written.append(number & 127 | 128)
        number >>= 7
    written.append(number)
    return bytes(written)
