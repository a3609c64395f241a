"""What every vendor's file promises, whichever vendor it is: one suite over the registry."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Iterator
from typing import Any, get_type_hints

import pytest
from msgspec import Meta

from tests.unit.channels.kit import (
    AUTHORITY,
    NOW,
    OpenGate,
    ScriptedHttp,
    batch,
    bearer,
    delivery,
    driver,
    message,
    refusal,
    settings_of,
)
from tocsin.channels.registry import VENDORS, Vendor, find
from tocsin.domain.device import PUSH_PLATFORMS
from tocsin.domain.outcome import POLICIES, Outcome, Receipt
from tocsin.log import configure
from tocsin.ports import Authority, Fault, Request, Response, StaleCredential

each_vendor = pytest.mark.parametrize("vendor", VENDORS, ids=lambda vendor: vendor.NAME)

ROWS = [
    pytest.param(vendor, status, reason, outcome, id=f"{vendor.NAME} {status} {reason}".strip())
    for vendor in VENDORS
    for (status, reason), outcome in vendor.OUTCOMES.items()
]


@pytest.mark.parametrize(("vendor", "status", "reason", "outcome"), ROWS)
def test_every_reason_yields_its_outcome(
    vendor: Vendor, status: int, reason: str, outcome: Outcome
) -> None:
    answer = refusal(vendor, status, reason)
    if outcome is Outcome.AUTH_EXPIRED:
        with pytest.raises(StaleCredential) as caught:
            vendor.read(delivery(), answer)
        assert caught.value.code == str(status)
        return
    receipt = vendor.read(delivery(5), answer)
    assert (receipt.outcome, receipt.device, receipt.epoch) == (outcome, 5, 3)
    if outcome is not Outcome.ACCEPTED:
        assert receipt.code == str(status)
        assert reason in receipt.info


@each_vendor
def test_the_table_has_a_row_for_each_kind_of_answer(vendor: Vendor) -> None:
    """Success, and for every status that has rows one for reasons nobody has heard of yet."""
    statuses = {status for status, _ in vendor.OUTCOMES}
    assert vendor.OUTCOMES[200, ""] is Outcome.ACCEPTED
    assert {status for status, reason in vendor.OUTCOMES if not reason} == statuses
    assert set(vendor.OUTCOMES.values()) <= set(POLICIES)
    kinds = {Outcome.TOKEN_DEAD, Outcome.AUTH_EXPIRED, Outcome.CREDENTIALS_WRONG}
    kinds |= {Outcome.THROTTLED, Outcome.SERVER_ERROR, Outcome.BAD_REQUEST}
    assert kinds <= set(vendor.OUTCOMES.values())


@each_vendor
@pytest.mark.parametrize("status", [100, 204, 301, 400, 401, 403, 404, 410, 418, 429, 500, 599])
@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"<html>", b"\xff", b'{"reason":7}'])
def test_no_answer_makes_reading_fail(vendor: Vendor, status: int, body: bytes) -> None:
    answer = Response(status, {"retry-after": "later"}, body)
    try:
        receipt = vendor.read(delivery(), answer)
    except StaleCredential:
        return
    assert receipt.outcome is not Outcome.ACCEPTED
    # Only the vendor's own words kill a token, never a bare status.
    assert receipt.outcome is not Outcome.TOKEN_DEAD


@each_vendor
def test_retry_after_is_handed_on(vendor: Vendor) -> None:
    for status in (429, 503):
        receipt = vendor.read(delivery(), Response(status, {"retry-after": "17"}))
        assert receipt.retry_after_s == 17


@each_vendor
def test_the_payload_limit_holds_at_every_size(vendor: Vendor) -> None:
    settings, sizes = settings_of(vendor), []
    for size in range(0, 6000, 250):
        told = message(desc="é" * size)
        made = vendor.request(settings, AUTHORITY, delivery(message=told), NOW)
        if isinstance(made, Receipt):
            assert made.outcome is Outcome.TOO_LARGE
        else:
            assert size * 2 <= vendor.LIMITS.payload_max_bytes
            sizes.append(size)
    assert max(sizes) * 2 > 0.8 * vendor.LIMITS.payload_max_bytes


@each_vendor
def test_a_request_never_differs_for_the_same_delivery(vendor: Vendor) -> None:
    """A repeat must be the same notification: same id, same collapse id, same body."""
    settings = settings_of(vendor)
    made = [vendor.request(settings, AUTHORITY, delivery(4), NOW + it) for it in (0, 0, 60)]
    assert made[0] == made[1] == made[2]
    assert isinstance(made[0], Request)


@each_vendor
def test_the_limits_are_set_and_sane(vendor: Vendor) -> None:
    limits = vendor.LIMITS
    assert limits.devices_max == 1
    assert 0 < limits.in_flight_max <= 2000
    assert 1000 <= limits.payload_max_bytes <= 8192
    assert limits.lifetime_max_s >= 86_400
    assert 5 <= limits.deadline_s <= 30


@each_vendor
def test_every_setting_says_what_it_is(vendor: Vendor) -> None:
    """The settings become the options of `tocsin credential add`."""
    for name, kind in _fields(vendor):
        metas = [it for it in getattr(kind, "__metadata__", ()) if isinstance(it, Meta)]
        assert metas, name
        assert metas[0].description, name
    secrets = [name for name, kind in _fields(vendor) if _is_secret(kind)]
    assert secrets
    assert vendor.Settings.__struct_fields__[0] == secrets[0]


def _fields(vendor: Vendor) -> list[tuple[str, Any]]:
    return list(get_type_hints(vendor.Settings, include_extras=True).items())


def _is_secret(kind: Any) -> bool:
    return any((meta.extra or {}).get("is_secret") for meta in kind.__metadata__)


@each_vendor
async def test_one_receipt_a_device_in_order_whatever_the_vendor_says(vendor: Vendor) -> None:
    said = [refusal(vendor, status, reason) for status, reason in vendor.OUTCOMES]
    answered = [it for it in said if it.status not in (401, 403)]
    answers: Iterator[Response | Fault] = iter(
        [*answered, Fault("unsent", ""), Fault("maybe_sent", "")] * 10
    )
    http = ScriptedHttp(lambda _: next(answers))
    for count in (1, 3, 40):
        receipts = await driver(vendor, http).deliver(batch(count), OpenGate())
        assert [receipt.device for receipt in receipts] == list(range(1, count + 1))


@each_vendor
async def test_no_secret_is_ever_logged(vendor: Vendor) -> None:
    settings = settings_of(vendor)
    canaries = {getattr(settings, name) for name, kind in _fields(vendor) if _is_secret(kind)}
    canaries = {line for text in canaries for line in text.splitlines() if line}
    stream = io.StringIO()
    configure("debug", json=True, stream=stream)
    try:
        for answer in [refusal(vendor, *row) for row in vendor.OUTCOMES]:
            http = ScriptedHttp(always(answer))
            canary = {"token": "CANARYtoken", "message": message(title="CANARY", desc="CANARY")}
            await driver(vendor, http).deliver(batch(25, **canary), OpenGate())
    finally:
        logging.getLogger().handlers.clear()
    told = stream.getvalue()
    assert "breaker opened" in told
    assert not [it for it in {*canaries, "CANARY", "bearer-1"} if it in told]


def always(answer: Response) -> Callable[[Request], Response]:
    return lambda _: answer


def test_the_registry_is_in_order_and_its_names_are_known() -> None:
    names = [vendor.NAME for vendor in VENDORS]
    assert names == sorted(names)
    assert set(names) <= set(PUSH_PLATFORMS)
    assert [find(name) for name in names] == list(VENDORS)
    assert find("pigeon") is None


@each_vendor
async def test_an_authority_outlives_its_renewal_and_tells_no_key(vendor: Vendor) -> None:
    settings = settings_of(vendor)
    talk = vendor.authorize(settings, NOW)
    try:
        next(talk)
        talk.send(bearer("of-a-test"))
    except StopIteration as end:
        found = end.value
    assert isinstance(found, Authority)
    assert NOW < found.renew_at < found.expires_at
    assert settings.private_key not in found.value
