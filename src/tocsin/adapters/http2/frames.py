"""Frames of HTTP/2: their numbers, how they are written, and what a peer has done wrong with one.

Sections are those of RFC 9113.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import Final

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""What a client says first (section 3.4)."""

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS = 0, 1, 2, 3, 4
PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 5, 6, 7, 8, 9

END_STREAM, ACK = 0x1, 0x1
END_HEADERS, PADDED, WITH_PRIORITY = 0x4, 0x8, 0x20

HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS = 1, 2, 3
INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE, MAX_HEADER_LIST_SIZE = 4, 5, 6

NO_ERROR, PROTOCOL_ERROR, FLOW_CONTROL_ERROR, STREAM_CLOSED, FRAME_SIZE_ERROR = 0, 1, 3, 5, 6
REFUSED_STREAM, CANCEL, COMPRESSION_ERROR, ENHANCE_YOUR_CALM = 7, 8, 9, 11

HEAD_BYTES: Final = 9
FRAME_BYTES_MIN: Final = 16_384
"""The longest frame that everybody takes, until SETTINGS say more."""
FRAME_BYTES_MAX: Final = (1 << 24) - 1
WINDOW: Final = 65_535
"""The window that everybody begins with."""
WINDOW_MAX: Final = (1 << 31) - 1
STREAM_MAX: Final = (1 << 31) - 1
REASON_BYTES_MAX: Final = 100
"""What is kept of the reason that a GOAWAY brings; APNs says there what it holds against us."""

read_head: Final = struct.Struct(">BHBBL").unpack_from
"""The length's upper byte and its lower two, the kind, the flags, the stream."""
_write_head: Final = struct.Struct(">BHBBL").pack
_NUMBER: Final = struct.Struct(">L")
_SETTING: Final = struct.Struct(">HL")
_GOAWAY: Final = struct.Struct(">LL")


class PeerFault(Exception):
    """What a peer has done against the protocol: it ends the connection."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class StreamFault(Exception):
    """What a peer has done against the protocol on one stream: it ends that stream alone."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """One frame, ready to be sent."""
    size = len(payload)
    return _write_head(size >> 16, size & 0xFFFF, kind, flags, stream) + payload


def settings_frame(values: Mapping[int, int]) -> bytes:
    """Our settings."""
    return frame(SETTINGS, 0, 0, b"".join(_SETTING.pack(*pair) for pair in values.items()))


def window_frame(stream: int, count: int) -> bytes:
    """Lets the peer send `count` bytes more."""
    return frame(WINDOW_UPDATE, 0, stream, _NUMBER.pack(count))


def reset_frame(stream: int, code: int) -> bytes:
    """Ends a stream at once."""
    return frame(RST_STREAM, 0, stream, _NUMBER.pack(code))


def goaway_frame(code: int) -> bytes:
    """Ends the connection; we have taken no stream of the peer's."""
    return frame(GOAWAY, 0, 0, _GOAWAY.pack(0, code))


def read_settings(payload: bytes) -> Iterator[tuple[int, int]]:
    """The peer's settings in their order, each one legal."""
    if len(payload) % 6:
        raise PeerFault(FRAME_SIZE_ERROR, "SETTINGS of a wrong length")
    for name, value in _SETTING.iter_unpack(payload):
        if name == INITIAL_WINDOW_SIZE and value > WINDOW_MAX:
            raise PeerFault(FLOW_CONTROL_ERROR, "SETTINGS with a window that is too large")
        if name == MAX_FRAME_SIZE and not FRAME_BYTES_MIN <= value <= FRAME_BYTES_MAX:
            raise PeerFault(PROTOCOL_ERROR, "SETTINGS with a frame size that is not allowed")
        if name == ENABLE_PUSH and value:
            raise PeerFault(PROTOCOL_ERROR, "a server that asks for pushes")
        yield name, value


def read_number(payload: bytes) -> int:
    """The payload of RST_STREAM and WINDOW_UPDATE."""
    if len(payload) != 4:
        raise PeerFault(FRAME_SIZE_ERROR, "a frame of a wrong length")
    return int(_NUMBER.unpack(payload)[0])


def read_goaway(payload: bytes) -> tuple[int, str]:
    """The last stream that the peer looked at, and what it says of its reason."""
    if len(payload) < 8:
        raise PeerFault(FRAME_SIZE_ERROR, "GOAWAY of a wrong length")
    last, code = _GOAWAY.unpack_from(payload)
    words = payload[8 : 8 + REASON_BYTES_MAX].decode("latin-1")
    return (
        last & STREAM_MAX,
        f"code {code}: {words}" if words.strip() and words.isprintable() else f"code {code}",
    )


def without_padding(flags: int, payload: bytes) -> bytes:
    """The payload of DATA and HEADERS without its padding (section 6.1)."""
    if not flags & PADDED:
        return payload
    if not payload or payload[0] >= len(payload):
        raise PeerFault(PROTOCOL_ERROR, "more padding than the frame holds")
    return payload[1 : len(payload) - payload[0]]
