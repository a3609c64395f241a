"""What every vendor's file promises, whichever vendor it is: one suite over the registry."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any, get_type_hints

import msgspec
import pytest
from msgspec import Meta

from tests.unit.channels.kit import (
    AUTHORITY,
    NOW,
    OpenGate,
    ScriptedHttp,
    batch,
    delivery,
    driver,
    first_step,
    given,
    heard,
    kit_of,
    message,
    refusal,
    settings_of,
)
from tocsin.channels.registry import (
    VENDORS,
    ListVendor,
    SingleVendor,
    find,
    prepare_of,
    takes_lists,
    takes_one,
)
from tocsin.conversation import Authority, Fault, Request, Response, StaleCredential
from tocsin.domain.device import PUSH_PLATFORMS
from tocsin.domain.outcome import POLICIES, POSTED, Outcome, Receipt
from tocsin.log import configure

AnyVendor = SingleVendor | ListVendor

each_list = pytest.mark.parametrize(
    "vendor", [it for it in VENDORS if takes_lists(it)], ids=lambda vendor: vendor.NAME
)
each_vendor = pytest.mark.parametrize("vendor", VENDORS, ids=lambda vendor: vendor.NAME)

BODIES = [b"", b"{", b"[]", b"null", b"<html>", b"\xff", b'{"reason":7}']

ANSWERS = {vendor.NAME: [row for row in vendor.OUTCOMES if row[0] != POSTED] for vendor in VENDORS}
"""The rows that answers lead to; `test_late.py` of the unit tests has those of receipts."""

STATUSES = (100, 204, 301, 400, 401, 403, 404, 410, 418, 429, 500, 599)


@pytest.mark.evidence(
    "every answer leads to its outcome",
    topic="Channels and sandbox",
    planted="the reason not looked at; DeviceTokenNotForTopic, and a 404 that names no "
    "device, killing tokens",
)
@each_vendor
def test_every_reason_yields_its_outcome(vendor: AnyVendor, subtests: pytest.Subtests) -> None:
    for status, reason in ANSWERS[vendor.NAME]:
        with subtests.test(f"{status} {reason}".strip()):
            yields_its_outcome(vendor, status, reason)


def yields_its_outcome(vendor: AnyVendor, status: int, reason: str) -> None:
    """A list vendor's code is its own, the reason; a single vendor's is the status."""
    outcome = vendor.OUTCOMES[status, reason]
    answer = refusal(vendor, status, reason)
    code = reason if reason and takes_lists(vendor) else str(status)
    if outcome is Outcome.AUTH_EXPIRED:
        with pytest.raises(StaleCredential) as caught:
            heard(vendor, answer, (delivery(),))
        assert caught.value.code == code or (takes_lists(vendor) and not reason)
        return
    (receipt,) = heard(vendor, answer, (delivery(5),))
    assert (receipt.outcome, receipt.device, receipt.epoch) == (outcome, 5, 3)
    if outcome is not Outcome.ACCEPTED:
        # The row without a reason stands for codes that nobody has heard of.
        assert receipt.code == code or (takes_lists(vendor) and not reason)
        assert reason in f"{receipt.code} {receipt.info}"


@each_vendor
def test_the_table_has_a_row_for_each_kind_of_answer(vendor: AnyVendor) -> None:
    """Success, and for every status that has rows one for reasons nobody has heard of yet."""
    statuses = {status for status, _ in vendor.OUTCOMES}
    assert {status for status, reason in vendor.OUTCOMES if not reason} == statuses
    assert set(vendor.OUTCOMES.values()) <= set(POLICIES)
    kinds = {Outcome.ACCEPTED, Outcome.TOKEN_DEAD, Outcome.CREDENTIALS_WRONG}
    kinds |= {Outcome.THROTTLED, Outcome.SERVER_ERROR, Outcome.BAD_REQUEST}
    if takes_lists(vendor):
        # Status 200 says only that the vendor has read us; its own code says the rest.
        assert vendor.OUTCOMES[200, ""] is not Outcome.ACCEPTED
    else:
        assert vendor.OUTCOMES[200, ""] is Outcome.ACCEPTED
        kinds.add(Outcome.AUTH_EXPIRED)
    missing = kinds - set(vendor.OUTCOMES.values())
    assert not missing, f"{vendor.NAME}: no row of OUTCOMES leads to {sorted(missing)}"


@pytest.mark.evidence(
    "which codes cost a token or stop the channel is written down twice",
    topic="Trouble, vendor by vendor",
    planted="Xiaomi's 65003 dropping tokens; Meizu's 110009 stopping the channel",
)
@each_vendor
def test_only_what_its_pages_list_costs_a_token_or_stops_the_channel(vendor: AnyVendor) -> None:
    """A row that slips into one of these does harm at once, so each is written down twice."""
    kit = kit_of(vendor)
    assert rows_to(vendor, Outcome.TOKEN_DEAD) == kit.drops
    assert rows_to(vendor, Outcome.TOKEN_MISMATCH) == kit.suspects
    assert rows_to(vendor, Outcome.CREDENTIALS_WRONG) == kit.stops


def rows_to(vendor: AnyVendor, outcome: Outcome) -> set[str]:
    rows = ANSWERS[vendor.NAME]
    return {f"{it[0]} {it[1]}".strip() for it in rows if vendor.OUTCOMES[it] is outcome}


@each_vendor
def test_no_answer_makes_reading_fail(vendor: AnyVendor, subtests: pytest.Subtests) -> None:
    for status, body in product(STATUSES, BODIES):
        with subtests.test(f"{status} {body!r}"):
            is_read(vendor, status, body)


def is_read(vendor: AnyVendor, status: int, body: bytes) -> None:
    """An answer that nobody expects is read, and costs no token."""
    answer = Response(status, {"retry-after": "later"}, body)
    try:
        (receipt,) = heard(vendor, answer, (delivery(),))
    except StaleCredential:
        return
    assert receipt.outcome is not Outcome.ACCEPTED
    # Only the vendor's own words kill a token, never a bare status; but a Web Push address is
    # the subscription, and RFC 8030 says what its status means.
    if (vendor.NAME, status) not in (("webpush", 404), ("webpush", 410)):
        assert receipt.outcome is not Outcome.TOKEN_DEAD


@each_list
def test_a_success_that_cannot_be_read_is_doubt(
    vendor: ListVendor, subtests: pytest.Subtests
) -> None:
    """The list may have been taken: to say anything else would lose or double it."""
    for body in BODIES:
        with subtests.test(repr(body)):
            receipts = heard(vendor, Response(200, {}, body), (delivery(1), delivery(2)))
            assert [receipt.outcome for receipt in receipts] == [Outcome.UNKNOWN] * 2


@each_vendor
def test_retry_after_is_handed_on(vendor: AnyVendor) -> None:
    for status in (429, 503):
        (receipt,) = heard(vendor, Response(status, {"retry-after": "17"}), (delivery(),))
        assert receipt.retry_after_s == 17


@pytest.mark.evidence("payload limits")
@each_vendor
def test_the_payload_limit_holds_at_every_size(vendor: AnyVendor) -> None:
    """Texts are shortened, so it is tried with what never is."""
    settings, sizes = settings_of(vendor), []
    for size in range(0, 6000, 250):
        told = message(ext="é" * size)
        made = first_step(vendor, settings, delivery(message=told))
        if isinstance(made, Receipt):
            assert made.outcome is Outcome.TOO_LARGE
        else:
            assert size * 2 <= vendor.LIMITS.payload_max_bytes
            sizes.append(size)
    assert max(sizes) * 2 > (0 if takes_lists(vendor) else 0.8 * vendor.LIMITS.payload_max_bytes)


@each_vendor
def test_a_request_never_differs_for_the_same_delivery(vendor: AnyVendor) -> None:
    """A repeat must be the same notification: same id, same collapse id, same body."""
    settings = settings_of(vendor)
    made = [first_step(vendor, settings, delivery(4), NOW + it) for it in (0, 0, 60)]
    assert timeless(made[0]) == timeless(made[1]) == timeless(made[2])


def timeless(made: Request | Receipt) -> Request:
    """The request without the header in which some vendors want to read the time."""
    assert isinstance(made, Request)
    headers = tuple(pair for pair in made.headers if pair[0] != "timestamp")
    return msgspec.structs.replace(made, headers=headers)


@pytest.mark.evidence(
    "an id is made where the vendor is told one",
    topic="The laws",
    planted="none for vivo; one for Xiaomi; the channel's word not asked",
)
@each_vendor
def test_an_id_of_a_delivery_is_made_where_the_vendor_is_told_one(vendor: AnyVendor) -> None:
    told = []
    for name in ("11111111-one", "22222222-two"):
        request = first_step(vendor, settings_of(vendor), delivery(correlation=name))
        assert isinstance(request, Request)
        told.append((request.headers, request.body))
    assert (told[0] != told[1]) == vendor.LIMITS.names_deliveries


@pytest.mark.evidence("an id is made where the vendor is told one")
@pytest.mark.parametrize(
    "vendor",
    [it for it in VENDORS if takes_lists(it) and not it.LIMITS.names_deliveries],
    ids=lambda vendor: vendor.NAME,
)
def test_a_list_needs_no_ids_where_the_vendor_is_told_none(vendor: ListVendor) -> None:
    made = []
    for name in ("", "11111111-one"):
        listed = given(vendor, 3, correlation=name)
        talk = vendor.deliver(settings_of(vendor), AUTHORITY, listed, NOW)
        made.append(next(talk))
        talk.close()
    assert made[0] == made[1]


@each_vendor
def test_the_limits_are_set_and_sane(vendor: AnyVendor) -> None:
    limits = vendor.LIMITS
    assert 1 <= limits.devices_max <= 1000
    assert takes_lists(vendor) != takes_one(vendor)
    assert hasattr(vendor, "deliver") == takes_lists(vendor)
    assert 0 < limits.in_flight_max <= 2000
    assert 1000 <= limits.payload_max_bytes <= 8192
    assert limits.lifetime_max_s >= 86_400
    assert 5 <= limits.deadline_s <= 30


@pytest.mark.evidence("a push to everyone goes out in full lists")
@each_list
async def test_one_list_is_one_request(vendor: ListVendor) -> None:
    """However many devices, and never more than the vendor takes."""
    size = vendor.LIMITS.devices_max
    for count, requests in ((2, 1), (size, 1), (size + 1, 2)):
        http = ScriptedHttp(always(kit_of(vendor).accepted))
        # The pace of some vendors is slower than two lists at once.
        one = driver(vendor, http, rate_per_s=1e6)
        if prepare_of(vendor) is not None:
            await one.deliver(batch(2), OpenGate())
            http.requests.clear()
        receipts = await one.deliver(batch(count), OpenGate())
        assert [receipt.device for receipt in receipts] == list(range(1, count + 1))
        assert {receipt.outcome for receipt in receipts} == {Outcome.ACCEPTED}
        assert len(http.requests) == requests


@each_vendor
def test_every_setting_says_what_it_is(vendor: AnyVendor) -> None:
    """The settings become the options of `tocsin credential add`."""
    for name, kind in _fields(vendor):
        metas = [it for it in getattr(kind, "__metadata__", ()) if isinstance(it, Meta)]
        assert metas, name
        assert metas[0].description, name
    secrets = [name for name, kind in _fields(vendor) if _is_secret(kind)]
    assert secrets
    assert vendor.Settings.__struct_fields__[0] == secrets[0]


def _fields(vendor: AnyVendor) -> list[tuple[str, Any]]:
    return list(get_type_hints(vendor.Settings, include_extras=True).items())


def _is_secret(kind: Any) -> bool:
    return any((meta.extra or {}).get("is_secret") for meta in kind.__metadata__)


def secrets_of(vendor: AnyVendor) -> set[str]:
    settings = settings_of(vendor)
    secrets = {getattr(settings, name) for name, kind in _fields(vendor) if _is_secret(kind)}
    return secrets - {""}


@each_vendor
async def test_one_receipt_a_device_in_order_whatever_the_vendor_says(vendor: AnyVendor) -> None:
    said = [refusal(vendor, status, reason) for status, reason in ANSWERS[vendor.NAME]]
    answered = [it for it in said if it.status not in (401, 403)]
    answers: Iterator[Response | Fault] = iter(
        [*answered, Fault("unsent", ""), Fault("maybe_sent", "")] * 10
    )
    http = ScriptedHttp(lambda _: next(answers))
    for count in (1, 3, 40):
        receipts = await driver(vendor, http).deliver(given(vendor, count), OpenGate())
        assert [receipt.device for receipt in receipts] == list(range(1, count + 1))


@each_vendor
async def test_no_secret_is_ever_logged(vendor: AnyVendor) -> None:
    canaries = secrets_of(vendor)
    canaries = {line for text in canaries for line in text.splitlines() if line}
    stream = io.StringIO()
    configure("debug", json=True, stream=stream)
    for answer in [refusal(vendor, *row) for row in ANSWERS[vendor.NAME]]:
        http = ScriptedHttp(always(answer))
        canary = {"token": "CANARYtoken", "message": message(title="CANARY", desc="CANARY")}
        await driver(vendor, http).deliver(given(vendor, 25, **canary), OpenGate())
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
async def test_an_authority_outlives_its_renewal_and_tells_no_key(vendor: AnyVendor) -> None:
    settings = settings_of(vendor)
    talk = vendor.authorize(settings, NOW)
    try:
        request = next(talk)
        talk.send(kit_of(vendor).authority[request.path])
    except StopIteration as end:
        found = end.value
    assert isinstance(found, Authority)
    assert NOW < found.renew_at < found.expires_at
    for secret in secrets_of(vendor):
        assert secret not in found.value or not kit_of(vendor).authority
