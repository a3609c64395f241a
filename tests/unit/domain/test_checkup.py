"""What the doctor makes of what it sees: each threshold from both sides, and something to do."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tocsin.domain import checkup
from tocsin.domain.checkup import (
    MIB,
    Finding,
    Machine,
    judge_app,
    judge_backlog,
    judge_clocks,
    judge_credential,
    judge_disk,
    judge_end,
    judge_files,
    judge_log,
    judge_writes,
)

FINE = Machine(
    disk_free_bytes=10_000 * MIB,
    database_bytes=500 * MIB,
    log_bytes=MIB,
    files_used=10,
    files_max=1000,
)
DAY_S = 86_400.0


def machine(**changed: int) -> Machine:
    return msgspec.structs.replace(FINE, **changed)


@pytest.mark.evidence(
    "`tocsin doctor` has a line for all that is wrong, each that is not fine with what to "
    "do, and ends with 1 where one is bad",
)
@pytest.mark.parametrize(
    ("found", "level"),
    [
        (judge_disk(FINE), "ok"),
        (judge_disk(machine(disk_free_bytes=1024 * MIB + 1)), "ok"),
        (judge_disk(machine(disk_free_bytes=1024 * MIB)), "warn"),
        (judge_disk(machine(disk_free_bytes=256 * MIB)), "bad"),
        (judge_writes(""), "ok"),
        (judge_writes("FullError: database or disk is full"), "bad"),
        (judge_log(FINE), "ok"),
        (judge_log(machine(log_bytes=256 * MIB)), "warn"),
        (judge_log(machine(log_bytes=1024 * MIB)), "bad"),
        (judge_files(FINE), "ok"),
        (judge_files(machine(files_used=700)), "warn"),
        (judge_files(machine(files_used=900)), "bad"),
        (judge_backlog(5000, 59.0, is_serving=True), "ok"),
        (judge_backlog(1, 60.0, is_serving=True), "warn"),
        (judge_backlog(1, 600.0, is_serving=True), "bad"),
        (judge_backlog(0, 0.0, is_serving=False), "ok"),
        (judge_backlog(1, 9e9, is_serving=False), "warn"),
        (judge_end("x", 15 * DAY_S, 0, "renew"), "ok"),
        (judge_end("x", 13 * DAY_S, 0, "renew"), "warn"),
        (judge_end("x", 5, 5, "renew"), "bad"),
        *((judge_clocks({"h": skew_s}, has_credentials=True)[0], level)
          for skew_s, level in ((0.4, "ok"), (-9.9, "ok"), (10.0, "warn"), (-59.0, "warn"),
                                (60.0, "bad"), (-61.0, "bad"))),
    ],
)  # fmt: skip
def test_a_threshold_is_what_it_says(found: Finding, level: str) -> None:
    assert found.level == level
    assert bool(found.todo) == (level != "ok"), "every line that is not fine says what to do"
    assert found.said


def test_a_clock_that_is_wrong_names_the_side_and_the_vendor() -> None:
    ahead, behind = judge_clocks({"b.example": -120, "a.example": 61.2}, has_credentials=True)
    assert ahead.said == "61 s ahead of a.example's"
    assert behind.said == "120 s behind b.example's"
    (same,) = judge_clocks({"a.example": -1.9}, has_credentials=True)
    assert same.said == "as a.example's"


def test_a_clock_that_nobody_has_told_is_compared_with_none() -> None:
    assert judge_clocks({}, has_credentials=False) == []
    (found,) = judge_clocks({}, has_credentials=True)
    assert (found.level, "--ask" in found.todo) == ("warn", True)


@pytest.mark.evidence(
    "`tocsin doctor` has a line for all that is wrong, each that is not fine with what to "
    "do, and ends with 1 where one is bad",
)
@pytest.mark.parametrize("state", [*checkup.CREDENTIALS, "of a later release"])
def test_each_state_of_a_credential_is_judged(state: str) -> None:
    shown: dict[str, Any] = {"number": 7, "channel": "fcm", "state": state}
    shown["stopped"] = {"reason": "503 from the vendor"}
    found = judge_credential(1400000001, shown)
    assert (found.level == "ok") == (state in ("ready", "disabled"))
    assert bool(found.todo) == (found.level != "ok")
    assert "{" not in found.todo
    assert found.said == f"{state}: 503 from the vendor"
    assert found.check == "credential 7 of 1400000001, fcm"


def test_states_are_those_that_credentials_have() -> None:
    assert {"ready", "disabled", "expiring", "expired", "unreadable"} <= set(checkup.CREDENTIALS)
    assert {"refused", "down", "paused", "doubtful"} <= set(checkup.CREDENTIALS)


def test_an_app_is_told_that_is_half_gone_or_has_nobody_to_call() -> None:
    app = {"sdkappid": 5, "is_being_removed": False, "admins": ["boss"]}
    assert judge_app(app) == []
    (lonely,) = judge_app({**app, "admins": []})
    (going,) = judge_app({**app, "is_being_removed": True})
    assert (lonely.level, lonely.todo) == ("warn", "tocsin app add 5 --admin NAME")
    assert (going.level, going.todo) == ("warn", "tocsin app remove 5")
