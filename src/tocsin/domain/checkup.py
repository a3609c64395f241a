"""What `tocsin doctor` looks at, how each thing is, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from msgspec import Struct

MIB = 1 << 20

DISK_WARN_BYTES = 1024 * MIB
DISK_BAD_BYTES = 256 * MIB
LOG_WARN_BYTES = 256 * MIB
LOG_BAD_BYTES = 1024 * MIB
"""Of SQLite's write-ahead log: it is copied into the database from 4 MiB on, and grows only while
something keeps that from happening."""
FILES_WARN_SHARE = 0.7
FILES_BAD_SHARE = 0.9
"""Of the files that the process may have open."""
SKEW_SEEN_S = 2.0
"""A Date has whole seconds, and an answer takes a while to come."""
SKEW_WARN_S = 10.0
SKEW_BAD_S = 60.0
"""Between our clock and a vendor's: tokens that we sign, and UserSigs, are judged by the clock."""
LATE_WARN_S = 60.0
LATE_BAD_S = 600.0
"""How long work that could be done has waited."""
ENDS_WARN_S = 14 * 86_400.0
"""Before the end of our own TLS certificate."""

Level = Literal["ok", "warn", "bad"]


class Finding(Struct, frozen=True, kw_only=True):
    """One line: what was looked at, how it is, what was seen, and what to do; empty when `ok`."""

    check: str
    level: Level
    said: str
    todo: str = ""


class Machine(Struct, frozen=True, kw_only=True):
    """What the machine has for the service."""

    disk_free_bytes: int
    database_bytes: int
    log_bytes: int
    """SQLite's write-ahead log."""
    files_used: int
    files_max: int


CREDENTIALS: dict[str, tuple[Level, str]] = {
    "ready": ("ok", ""),
    "disabled": ("ok", ""),
    "expiring": ("warn", "get a new one, then: {set} --file FILE"),
    "expired": ("bad", "get a new one, then: {set} --file FILE"),
    "unreadable": ("bad", "put the right secret.key back, or delete it and add it anew"),
    "refused": ("bad", "{check} says what to compare at the vendor's"),
    "down": ("warn", "is there a way to the vendor from here? {check} tries it"),
    "paused": ("warn", "nothing: it goes on by itself; lower its pace with {set} --rate-per-s N"),
    "doubtful": ("warn", "nothing: it goes on once answers come; {check} tries it"),
}
"""State of a credential to how it is, and what to do."""


def judge_disk(machine: Machine) -> Finding:
    """Whether there is room for what comes."""
    free = machine.disk_free_bytes
    said = f"{_mib(free)} free; the database has {_mib(machine.database_bytes)}"
    level = _level(-free, warn=-DISK_WARN_BYTES, bad=-DISK_BAD_BYTES)
    todo = "make room on the data folder's disk, or move the folder: writes fail when it is full"
    return _finding("disk", level, said, todo)


def judge_writes(trouble: str) -> Finding:
    """Whether the database takes what is written; `trouble` says why not, empty where it does."""
    todo = "make room on the data folder's disk, or make it writable; it heals by itself"
    level: Level = "bad" if trouble else "ok"
    return _finding("writing", level, trouble or "nothing was refused", todo)


def judge_log(machine: Machine) -> Finding:
    """Whether the write-ahead log is copied into the database."""
    level = _level(machine.log_bytes, warn=LOG_WARN_BYTES, bad=LOG_BAD_BYTES)
    todo = "end what reads the database from outside (a copy, a shell), else restart the service"
    return _finding("write-ahead log", level, _mib(machine.log_bytes), todo)


def judge_files(machine: Machine) -> Finding:
    """Whether connections can still be taken."""
    used, most = machine.files_used, machine.files_max
    level = _level(used / most, warn=FILES_WARN_SHARE, bad=FILES_BAD_SHARE)
    todo = "raise the limit before the start: ulimit -n N (LimitNOFILE=N in a systemd unit)"
    return _finding("open files", level, f"{used} of {most}", todo)


def judge_clocks(skews: Mapping[str, float], *, has_credentials: bool) -> list[Finding]:
    """Our clock against each vendor's, by its newest answer; above 0 ours is ahead."""
    if not skews and has_credentials:
        said = "not compared: no vendor's answer has told the time since the start"
        return [_finding("clock", "warn", said, "tocsin doctor --ask asks the vendors")]
    found = []
    for host, skew_s in sorted(skews.items()):
        level = _level(abs(skew_s), warn=SKEW_WARN_S, bad=SKEW_BAD_S)
        side = "ahead of" if skew_s > 0 else "behind"
        said = (
            f"{abs(skew_s):.0f} s {side} {host}'s" if abs(skew_s) >= SKEW_SEEN_S else f"as {host}'s"
        )
        todo = "set this machine's clock, and keep it set: timedatectl set-ntp true"
        found.append(_finding("clock", level, said, todo))
    return found


def judge_backlog(waiting: int, late_s: float, *, is_serving: bool) -> Finding:
    """Whether what waits is done in time; `late_s` is how long the oldest of it could have been."""
    if not is_serving:
        level: Level = "warn" if waiting else "ok"
        return _finding("backlog", level, f"{waiting} jobs wait", "start the service")
    said = f"{waiting} jobs, " + (f"late by {late_s:.0f} s" if late_s >= 1 else "none late")
    level = _level(late_s, warn=LATE_WARN_S, bad=LATE_BAD_S)
    todo = (
        "a push that waits says for what: tocsin task list, tocsin task show TASKID; if for none "
        "of its credentials, the machine is too slow: see tocsin_store_commit_seconds"
    )
    return _finding("backlog", level, said, todo)


def judge_app(app: Mapping[str, Any]) -> list[Finding]:
    """What is wrong with an app as such."""
    number = app["sdkappid"]
    if app["is_being_removed"]:
        said = "its removal has begun and not ended"
        return [_finding(f"app {number}", "warn", said, f"tocsin app remove {number}")]
    if not app["admins"]:
        todo = f"tocsin app add {number} --admin NAME"
        return [_finding(f"app {number}", "warn", "it has no administrator to call it", todo)]
    return []


def judge_credential(sdkappid: int, shown: Mapping[str, Any]) -> Finding:
    """One credential, as it is shown."""
    number, state = shown["number"], shown["state"]
    level, todo = CREDENTIALS.get(state, ("warn", "tocsin credential list"))
    which = f"{number} --app {sdkappid}"
    asked = {"set": f"tocsin credential set {which}", "check": f"tocsin credential check {which}"}
    stopped = shown.get("stopped") or {}
    why = shown.get("fault") or stopped.get("reason") or ""
    said = f"{state}: {why}" if why else state
    name = f"credential {number} of {sdkappid}, {shown['channel']}"
    return _finding(name, level, said, todo.format(**asked))


def judge_end(check: str, ends_at: float, now: float, todo: str) -> Finding:
    """Something that ends by itself, such as our own certificate."""
    left_s = ends_at - now
    level = _level(-left_s, warn=-ENDS_WARN_S, bad=0.0)
    said = f"ends in {left_s / 86_400:.0f} days" if left_s > 0 else "has ended"
    return _finding(check, level, said, todo)


def _level(value: float, *, warn: float, bad: float) -> Level:
    """How a value is that had better be small."""
    if value >= bad:
        return "bad"
    return "warn" if value >= warn else "ok"


def _finding(check: str, level: Level, said: str, todo: str) -> Finding:
    return Finding(check=check, level=level, said=said, todo="" if level == "ok" else todo)


def _mib(count: int) -> str:
    return f"{count / MIB:,.0f} MiB"
