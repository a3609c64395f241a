"""What a vendor promises that has a message saved before a list is sent it: one suite over them.

A save reaches nobody. So whatever goes wrong in it is no doubt and no device's fault.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from tests.unit.channels.kit import (
    AUTHORITY,
    NOW,
    OpenGate,
    ScriptedHttp,
    driver,
    given,
    kit_of,
    refusal,
    settings_of,
    walked,
)
from tocsin.channels.registry import VENDORS, ListVendor, Prepare, prepare_of, takes_lists
from tocsin.conversation import Batch, Denied, Fault, Request, Response, StaleCredential, Unanswered
from tocsin.domain.outcome import POSTED, Outcome, Receipt

SAVERS = [it for it in VENDORS if takes_lists(it) and prepare_of(it) is not None]

each_saver = pytest.mark.parametrize("vendor", SAVERS, ids=lambda vendor: vendor.NAME)

ROWS = [
    pytest.param(vendor, *row, outcome, id=f"{vendor.NAME} {row[0]} {row[1]}".strip())
    for vendor in SAVERS
    for row, outcome in vendor.OUTCOMES.items()
    if row[0] != POSTED
]
STALE = [row for row in ROWS if row.values[-1] is Outcome.AUTH_EXPIRED]
OF_PUSHES = {Outcome.ACCEPTED, Outcome.TOKEN_DEAD, Outcome.UNDELIVERABLE, Outcome.UNKNOWN}
"""What only a push can come to; the vendors' own tests have such codes said of a save."""
REFUSED = [row for row in ROWS if row not in STALE and row.values[-1] not in OF_PUSHES]


def saving(vendor: ListVendor, batch: Batch) -> Any:
    prepare: Prepare | None = prepare_of(vendor)
    assert prepare is not None
    return prepare(settings_of(vendor), AUTHORITY, batch, NOW)


def delivering(vendor: ListVendor, batch: Batch) -> Any:
    return vendor.deliver(settings_of(vendor), AUTHORITY, batch, NOW)


def unsaved(vendor: ListVendor, count: int) -> Batch:
    return msgspec.structs.replace(given(vendor, count), prepared="")


def test_some_vendors_save_first() -> None:
    assert {vendor.NAME for vendor in SAVERS} >= {"oppo", "vivo"}


@each_saver
def test_nothing_is_saved_for_one_device(vendor: ListVendor) -> None:
    assert walked(saving(vendor, unsaved(vendor, 1))) == ([], "")
    accepted = kit_of(vendor).accepted
    asked, receipts = walked(delivering(vendor, unsaved(vendor, 1)), accepted)
    assert len(asked) == 1
    assert outcomes(receipts) == [Outcome.ACCEPTED]


@pytest.mark.evidence(
    "a save reaches nobody: what goes wrong in it is no doubt and no device's fault",
)
@each_saver
def test_a_list_without_a_saved_message_saves_it_first(vendor: ListVendor) -> None:
    accepted = kit_of(vendor).accepted
    asked, receipts = walked(delivering(vendor, unsaved(vendor, 2)), accepted, accepted)
    (save,), saved = walked(saving(vendor, unsaved(vendor, 2)), accepted)
    assert asked[0] == save
    assert saved == kit_of(vendor).prepared
    (sent,), _ = walked(delivering(vendor, given(vendor, 2)), accepted)
    assert asked[1:] == [sent]
    assert sent.path != save.path
    assert outcomes(receipts) == [Outcome.ACCEPTED] * 2


@pytest.mark.evidence(
    "a save reaches nobody: what goes wrong in it is no doubt and no device's fault",
    topic="Vendors",
    planted="a recall told as unsent; an unreadable save left in doubt; what was prepared "
    "saved again",
)
@pytest.mark.parametrize(("vendor", "status", "reason", "outcome"), REFUSED)
def test_a_message_that_is_not_saved_reaches_nobody(
    vendor: ListVendor, status: int, reason: str, outcome: Outcome
) -> None:
    answers = [refusal(vendor, status, reason)] * 3
    saves, denied = walked(saving(vendor, unsaved(vendor, 2)), *answers)
    assert isinstance(denied, Denied)
    assert denied.outcome is outcome
    asked, receipts = walked(delivering(vendor, unsaved(vendor, 2)), *answers)
    assert asked == saves
    assert outcomes(receipts) == [outcome] * 2


@pytest.mark.evidence(
    "a save reaches nobody: what goes wrong in it is no doubt and no device's fault",
)
@each_saver
@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"<html>", b"\xff"])
@pytest.mark.parametrize("status", [200, 502])
def test_a_save_that_cannot_be_read_is_trouble_of_the_vendors(
    vendor: ListVendor, status: int, body: bytes
) -> None:
    asked, receipts = walked(delivering(vendor, unsaved(vendor, 2)), Response(status, {}, body))
    assert len(asked) == 1
    assert outcomes(receipts) == [Outcome.SERVER_ERROR] * 2


@pytest.mark.parametrize(("vendor", "status", "reason", "outcome"), STALE)
def test_a_stale_token_is_the_drivers_business(
    vendor: ListVendor, status: int, reason: str, outcome: Outcome
) -> None:
    answer = refusal(vendor, status, reason)
    for batch in (unsaved(vendor, 1), unsaved(vendor, 2), given(vendor, 2)):
        with pytest.raises(StaleCredential) as caught:
            walked(delivering(vendor, batch), answer)
        assert caught.value.code == (reason or str(status))


@pytest.mark.evidence(
    "a save reaches nobody: what goes wrong in it is no doubt and no device's fault",
)
@each_saver
def test_a_save_that_brings_no_answer_leaves_no_doubt(vendor: ListVendor) -> None:
    talk = delivering(vendor, unsaved(vendor, 2))
    next(talk)
    with pytest.raises(StopIteration) as end:
        talk.throw(Unanswered(Denied(Outcome.UNKNOWN, "-8", "no answer")))
    assert outcomes(end.value.value) == [Outcome.UNSENT] * 2


@pytest.mark.evidence(
    "a save reaches nobody: what goes wrong in it is no doubt and no device's fault",
)
@each_saver
def test_a_recall_during_a_save_stays_one(vendor: ListVendor) -> None:
    talk = delivering(vendor, unsaved(vendor, 2))
    next(talk)
    with pytest.raises(Unanswered):
        talk.throw(Unanswered(Denied(Outcome.RECALLED, "0", "")))


@each_saver
async def test_a_message_is_saved_once_for_all_its_lists(vendor: ListVendor) -> None:
    http = ScriptedHttp(lambda _: kit_of(vendor).accepted)
    one = driver(vendor, http, rate_per_s=1e6)
    for count in (2000, 3, 1):
        receipts = await one.deliver(unsaved(vendor, count), OpenGate())
        assert set(outcomes(receipts)) == {Outcome.ACCEPTED}
    save, listed, *rest, single = [it.path for it in http.requests if it.path not in tokens(vendor)]
    assert rest == [listed] * (2000 // vendor.LIMITS.devices_max)
    assert len({save, listed, single}) == 3


@each_saver
async def test_a_list_that_brings_no_answer_is_in_doubt(vendor: ListVendor) -> None:
    answers: list[Response | Fault] = [kit_of(vendor).accepted, Fault("maybe_sent", "reset")]

    def reply(request: Request) -> Response | Fault:
        return answers.pop(0)

    one = driver(vendor, ScriptedHttp(reply))
    receipts = await one.deliver(unsaved(vendor, 3), OpenGate())
    assert outcomes(receipts) == [Outcome.UNKNOWN] * 3


def outcomes(receipts: Sequence[Receipt]) -> list[Outcome]:
    return [receipt.outcome for receipt in receipts]


def tokens(vendor: ListVendor) -> set[str]:
    """The paths of its token service."""
    return set(kit_of(vendor).authority)
