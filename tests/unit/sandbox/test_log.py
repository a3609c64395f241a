"""The log: the oracle for what was taken twice or not at all."""

from __future__ import annotations

from pathlib import Path

from msgspec.structs import replace

from tocsin.sandbox.log import Entry, Log, count_accepted, digest_of, read_entries

TAKEN = Entry(
    sequence=0,
    at=1.0,
    vendor="apns",
    connection=1,
    stream=1,
    token="t",
    message_id="m",
    correlation="r",
    collapse="c",
    push_type="alert",
    topic="app",
    digest="d",
    status=200,
    reason="",
    accepted=True,
)


def write(log: Log, *entries: Entry) -> None:
    for entry in entries:
        log.add(replace(entry, sequence=log.next_sequence()))


def test_only_what_was_taken_counts_as_a_repeat() -> None:
    log = Log()
    write(log, TAKEN, replace(TAKEN, accepted=False, status=500), replace(TAKEN, token="u"))
    assert log.duplicates() == {}
    write(log, replace(TAKEN, status=0, fault="never"))
    assert log.duplicates() == {("apns", "t", "c"): 2}
    assert log.accepted_by("token") == {("t",): 2, ("u",): 1}


def test_counts_add_up_and_say_when_entries_were_dropped() -> None:
    log = Log(entries_max=2)
    write(log, TAKEN, TAKEN)
    assert log.counts().is_complete
    write(log, replace(TAKEN, accepted=False, status=410, reason="Unregistered", fault="x"))
    counts = log.counts()
    assert (counts.requests, counts.accepted, counts.refused) == (3, 2, 1)
    assert counts.by_reason == {"apns 410 Unregistered": 1}
    assert counts.by_fault == {"x": 1}
    assert not counts.is_complete
    assert len(list(log.entries())) == 2


def test_the_file_keeps_what_memory_forgot_and_survives_a_cut_line(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    log = Log(path, entries_max=1)
    write(log, TAKEN, TAKEN, TAKEN)
    log.clear()
    log.close()
    with path.open("ab") as file:
        file.write(b'{"sequence":4,')
    entries = list(read_entries(path))
    assert [entry.sequence for entry in entries] == [1, 2, 3]
    assert count_accepted(entries, "token", "collapse") == {("t", "c"): 3}


def test_a_digest_tells_bodies_apart() -> None:
    assert digest_of(b"a") == digest_of(b"a") != digest_of(b"b")
