"""The sandbox's log: the evidence for "nothing lost, nothing doubled".

Each request is one entry, and a list one for each of its devices. An entry is written the moment
the vendor decides, before the answer leaves: so whoever got no answer can still find out here
whether the push was taken.
"""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from pathlib import Path
from typing import BinaryIO, Literal

import msgspec
from msgspec import Struct

ENTRIES_MAX = 1_000_000
FLUSH_EVERY = 256

Field = Literal["vendor", "token", "correlation", "collapse", "message_id", "digest", "topic"]


class Entry(Struct, frozen=True, gc=False):
    """One request, or one device of its list, and what became of it."""

    sequence: int
    at: float
    vendor: str
    connection: int
    stream: int
    token: str
    message_id: str
    correlation: str
    collapse: str
    push_type: str
    topic: str
    digest: str
    """Of the body: two requests with the same text for the same device look alike here."""
    status: int
    """As judged; 0 where no answer was sent on purpose."""
    reason: str
    accepted: bool
    """True: the vendor took it and would show it, whatever the sender was told."""
    fault: str = ""
    request: int = 0
    """The sequence of the request's first entry: a list's devices share it, and so a list can be
    counted as the one call that it is."""


class Counts(Struct):
    """Totals since the start or the last reset."""

    requests: int = 0
    accepted: int = 0
    refused: int = 0
    by_vendor: dict[str, int] = {}
    accepted_by_vendor: dict[str, int] = {}
    by_reason: dict[str, int] = {}
    by_fault: dict[str, int] = {}
    is_complete: bool = True
    """False when entries had to be dropped from memory; the file has them all."""


class Log:
    """Entries in memory (the newest `entries_max`) and, if asked for, all of them in a file."""

    def __init__(self, path: Path | None = None, *, entries_max: int = ENTRIES_MAX) -> None:
        self._entries: deque[Entry] = deque(maxlen=entries_max)
        self._encoder = msgspec.json.Encoder()
        self._unflushed = 0
        self._file: BinaryIO | None = None if path is None else _opened(path)
        self._sequence = 0
        self._restart_counts()

    def _restart_counts(self) -> None:
        self._requests = Counter[str]()
        self._accepted = Counter[str]()
        self._reasons = Counter[str]()
        self._faults = Counter[str]()

    def __len__(self) -> int:
        return sum(self._requests.values())

    def next_sequence(self) -> int:
        """The number of the entry about to be written."""
        self._sequence += 1
        return self._sequence

    def add(self, entry: Entry) -> None:
        self._entries.append(entry)
        self._requests[entry.vendor] += 1
        if entry.accepted:
            self._accepted[entry.vendor] += 1
        if entry.reason:
            self._reasons[f"{entry.vendor} {entry.status} {entry.reason}"] += 1
        if entry.fault:
            self._faults[entry.fault] += 1
        if self._file is not None:
            self._file.write(self._encoder.encode(entry) + b"\n")
            self._unflushed += 1
            if self._unflushed >= FLUSH_EVERY:
                self.flush()

    def entries(
        self,
        *,
        vendor: str = "",
        token: str = "",
        after: int = 0,
        accepted: bool | None = None,
    ) -> Iterator[Entry]:
        """Entries in order, later than sequence `after`, of one vendor or token if named."""
        return (
            entry
            for entry in self._entries
            if entry.sequence > after
            and (not vendor or entry.vendor == vendor)
            and (not token or entry.token == token)
            and (accepted is None or entry.accepted == accepted)
        )

    def counts(self) -> Counts:
        requests, accepted = sum(self._requests.values()), sum(self._accepted.values())
        return Counts(
            requests=requests,
            accepted=accepted,
            refused=requests - accepted,
            by_vendor=dict(self._requests),
            accepted_by_vendor=dict(self._accepted),
            by_reason=dict(self._reasons),
            by_fault=dict(self._faults),
            is_complete=len(self._entries) == requests,
        )

    def accepted_by(self, *fields: Field) -> Counter[tuple[str, ...]]:
        """How often the vendors took a push, per combination of `fields`.

        `accepted_by("token", "collapse")` is the ledger of law 2: above one means a repeat.
        """
        return count_accepted(self._entries, *fields)

    def duplicates(self, *fields: Field) -> dict[tuple[str, ...], int]:
        """Combinations accepted more than once; by default per vendor, token and collapse id."""
        counted = self.accepted_by(*(fields or ("vendor", "token", "collapse")))
        return {key: count for key, count in counted.items() if count > 1}

    def clear(self) -> None:
        """Forget entries and counts; the file and the sequence go on."""
        self._entries.clear()
        self._restart_counts()

    def flush(self) -> None:
        if self._file is not None:
            self._file.flush()
            self._unflushed = 0

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def count_accepted(entries: Iterable[Entry], *fields: Field) -> Counter[tuple[str, ...]]:
    """The same count over any entries, those of a file for instance."""
    return Counter(
        tuple(getattr(entry, field) for field in fields) for entry in entries if entry.accepted
    )


def read_entries(path: Path) -> Iterator[Entry]:
    """The entries of a log file. A last line cut short by a crash is left out."""
    decoder = msgspec.json.Decoder(Entry)
    with path.open("rb") as lines:
        for line in lines:
            if line.endswith(b"\n"):
                yield decoder.decode(line)


def _opened(path: Path) -> BinaryIO:
    """The file to append to; a new one only its owner may read, for it tells tokens."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "ab")


def digest_of(body: bytes) -> str:
    return blake2b(body, digest_size=8).hexdigest()
