"""A batch is judged as its receipts would be one by one, but for what only a batch can show."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from pyroaring import BitMap

from tocsin.domain.outcome import (
    POLICIES,
    Attempt,
    BatchReceipts,
    Outcome,
    Past,
    Receipt,
    State,
    Verdict,
    is_too_dead,
    judge,
)

WAITS_S = st.sampled_from([None, 0.0, 5.0, 90.0, 1e6])
SAID = st.builds(
    Receipt,
    device=st.just(0),
    outcome=st.sampled_from(Outcome),
    code=st.sampled_from(["0", "200", "-10"]),
    info=st.sampled_from(["", "too fast"]),
    retry_after_s=WAITS_S,
    gone_token=st.sampled_from(["", "", "", "gone"]),
    is_of_all=st.booleans(),
    way=st.sampled_from(["", "main"]),
)
"""What a vendor says; a few such sayings make a batch, as they do in a list."""
PAST = st.builds(
    Past,
    cause=st.sampled_from(["", Outcome.UNKNOWN.value, Outcome.SERVER_ERROR.value]),
    code=st.sampled_from(["0", "503"]),
    tries=st.integers(0, 4),
    doubts=st.integers(0, 4),
)
ATTEMPT = st.builds(
    Attempt,
    now=st.just(1e9),
    left_s=st.sampled_from([-1.0, 0.0, 4.0, 60.0, 86_400.0]),
    life_s=st.sampled_from([0.0, 60.0, 86_400.0]),
    fraction=st.sampled_from([0.0, 0.5, 0.99]),
    repeat_replaces=st.booleans(),
    number=st.integers(0, 5),
    past=PAST,
    doubted=st.builds(BitMap, st.sets(st.integers(1, 40))),
)


@st.composite
def batches(draw: st.DrawFn) -> list[Receipt]:
    kinds = draw(st.lists(SAID, min_size=1, max_size=4))
    # The same saying with other waits: they share all but the job that they come again in.
    kinds += [
        replace(kinds[0], retry_after_s=wait_s) for wait_s in draw(st.lists(WAITS_S, max_size=3))
    ]
    said = draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=40))
    return [replace(it, device=at, epoch=at % 3) for at, it in enumerate(said, 1)]


def columns(receipts: Sequence[Receipt]) -> BatchReceipts:
    """The same batch as a list has it: what the first came to, and who came to something else."""
    rest = replace(receipts[0], device=0, epoch=0)
    apart = {
        place: it for place, it in enumerate(receipts) if replace(it, device=0, epoch=0) != rest
    }
    return BatchReceipts([it.device for it in receipts], [it.epoch for it in receipts], rest, apart)


Shape = Callable[[Sequence[Receipt]], Sequence[Receipt]]
Fate = tuple[State, str, str] | tuple[str, int, str, int, int, str]


def fates(verdict: Verdict) -> dict[int, Fate]:
    """What becomes of each device: its state, or what it is tried again with."""
    found: dict[int, Fate] = {}
    for settled, devices in verdict.settled.items():
        for device in devices:
            assert device not in found
            found[device] = settled
    for later in verdict.again.values():
        past = later.past
        for device in later.devices:
            assert device not in found
            again = (past.cause, later.attempt, past.code, past.tries, past.doubts, later.way)
            found[device] = again
    return found


def waits(verdict: Verdict) -> dict[int, float]:
    return {device: it.after_s for it in verdict.again.values() for device in it.devices}


def breaks(receipt: Receipt) -> bool:
    return POLICIES[receipt.outcome].opens_breaker


@pytest.mark.parametrize("shape", [list, columns])
@given(receipts=batches(), attempt=ATTEMPT)
@settings(max_examples=400)
def test_each_device_comes_to_what_it_would_alone(
    shape: Shape, receipts: Sequence[Receipt], attempt: Attempt
) -> None:
    together = judge(shape(receipts), attempt)
    alone = [judge([receipt], attempt) for receipt in receipts]
    each = {device: fate for one in alone for device, fate in fates(one).items()}
    assert fates(together) == each
    assert set(each) == {receipt.device for receipt in receipts}
    assert set(together.repeated) == {device for one in alone for device in one.repeated}
    lone_waits = {device: wait for one in alone for device, wait in waits(one).items()}
    for later in together.again.values():
        # They wait for each other, but for nobody who waits twice as long.
        own = [lone_waits[device] for device in later.devices]
        assert later.after_s == max(own)
        assert len({int(wait).bit_length() for wait in own}) == 1


@pytest.mark.parametrize("shape", [list, columns])
@given(receipts=batches(), attempt=ATTEMPT)
@settings(max_examples=400)
def test_tokens_and_breaker_are_judged_by_the_whole_batch(
    shape: Shape, receipts: Sequence[Receipt], attempt: Attempt
) -> None:
    verdict = judge(shape(receipts), attempt)
    suspects = [it for it in receipts if it.outcome is Outcome.TOKEN_MISMATCH or it.gone_token]
    accepted = any(it.outcome is Outcome.ACCEPTED for it in receipts)
    accuses = is_too_dead(len(suspects), len(receipts))
    dead = [it for it in receipts if it.outcome is Outcome.TOKEN_DEAD]
    assert sorted(verdict.dead, key=device_of) == dead
    assert sorted(verdict.suspects, key=device_of) == ([] if accuses else suspects)
    assert bool(verdict.accusation) == (accuses and not accepted)
    reasons = {f"{it.code} {it.info}".strip() for it in receipts if breaks(it)}
    assert verdict.breaker in (reasons or {""})


def device_of(receipt: Receipt) -> int:
    return receipt.device
