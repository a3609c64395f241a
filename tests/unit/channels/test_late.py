"""What vendors post to us, as their files read it: what every reporter promises, and signatures.

What one vendor's receipts are besides stands in its `test_late_<vendor>.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.channels.kit import kit_of
from tests.unit.channels.kit_harmony import harmony_settings
from tests.unit.channels.kit_huawei import huawei_settings
from tests.unit.channels.kit_shape import RECEIPT, ReceiptKit
from tocsin.channels.registry import (
    VENDORS,
    IsSigned,
    ListVendor,
    SingleVendor,
    is_signed_of,
    report_of,
)
from tocsin.channels.shared import (
    ESCAPES_MAX,
    RECEIPTS_MAX,
    UNREADABLE,
    RawReceipt,
    is_signed_by_huawei,
    read_receipts,
)
from tocsin.channels.vendors import harmony, huawei, meizu, xiaomi
from tocsin.conversation import LateReceipt, Posted, Response
from tocsin.domain.outcome import POLICIES, POSTED, Outcome

AnyVendor = SingleVendor | ListVendor

REPORTERS = [vendor for vendor in VENDORS if report_of(vendor)]
each_reporter = pytest.mark.parametrize("vendor", REPORTERS, ids=lambda vendor: vendor.NAME)


def kit(vendor: AnyVendor) -> ReceiptKit:
    found = kit_of(vendor).receipts
    assert found is not None, f"kit_{vendor.NAME}.py does not say how receipts are tried"
    return found


ROWS = [
    pytest.param(vendor, code, outcome, id=f"{vendor.NAME} {code or 'other'}")
    for vendor in REPORTERS
    for (status, code), outcome in vendor.OUTCOMES.items()
    if status == POSTED
]


def report(vendor: AnyVendor, body: bytes) -> Posted:
    read = report_of(vendor)
    assert read is not None
    return read({}, body)


def body_of(vendor: AnyVendor, code: str) -> bytes:
    return kit(vendor).body(code)


@pytest.mark.evidence(
    "every receipt code leads to its row",
    topic="Receipts",
    planted="the type of Meizu's entries not read",
)
@pytest.mark.parametrize(("vendor", "code", "outcome"), ROWS)
def test_every_row_is_reached_by_a_receipt_of_its_code(
    vendor: AnyVendor, code: str, outcome: Outcome
) -> None:
    told = code or kit(vendor).unheard_of
    posted = report(vendor, body_of(vendor, told))
    assert (posted.answer.status, posted.unreadable) == (200, 0)
    (receipt,) = posted.receipts
    assert (receipt.outcome, receipt.code) == (outcome, told)
    assert (receipt.correlation, receipt.token) == (RECEIPT.correlation, RECEIPT.token)
    assert receipt.at == (RECEIPT.at_ms / 1000 if kit(vendor).tells_time else None)


@pytest.mark.evidence(
    "only evidence drops a token",
    topic="Receipts",
    planted='Honor\'s "not displayed", vivo\'s "unsubscribed", OPPO\'s invalid one the other way',
)
@each_reporter
def test_only_evidence_drops_a_token(vendor: AnyVendor) -> None:
    rows = {code: it for (status, code), it in vendor.OUTCOMES.items() if status == POSTED}
    assert {code for code, it in rows.items() if POLICIES[it].drops_token} == kit(vendor).dead
    assert rows[""] is Outcome.UNDELIVERABLE
    assert Outcome.ACCEPTED in rows.values()


@each_reporter
def test_a_success_is_answered_in_the_vendors_own_form(vendor: AnyVendor) -> None:
    code = next(it for (status, it), _ in vendor.OUTCOMES.items() if status == POSTED and it)
    answer = msgspec.json.decode(report(vendor, body_of(vendor, code)).answer.body)
    assert isinstance(answer, dict)
    assert answer


@pytest.mark.evidence("no body makes reading fail")
@each_reporter
@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b"7", b"\xff", b"<html>", b"data=&cb=", b"[" * 5000]
)
def test_what_is_no_call_of_this_vendor_is_told_so(vendor: AnyVendor, body: bytes) -> None:
    assert report(vendor, body) == UNREADABLE


NAMES = st.sampled_from(
    (
        *("statuses", "token", "biTag", "status", "timestamp", "deliveryStatus", "result"),
        *("type", "targets", "param", "ackType", "subCode", "ackTime", "m-1", "m-2"),
        *("eventType", "registrationIds", "eventTime"),
    )
)
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=8),
    st.sampled_from(
        ("0", "1", "2", "0001", "-0", "9" * 400, "a,b,,c", "push_arrive", RECEIPT.correlation, "²")
    ),
)
JSONS = st.recursive(
    VALUES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=6),
    max_leaves=24,
)


@st.composite
def calls(draw: st.DrawFn, vendor: AnyVendor) -> bytes:
    """Bodies of no sense, of a little, and nearly right ones."""
    if draw(st.booleans()):
        body = bytearray(body_of(vendor, draw(st.sampled_from(("0", "1", "2", "16")))))
        for _ in range(draw(st.integers(0, 3))):
            start = draw(st.integers(0, len(body)))
            body[start : start + draw(st.integers(0, 6))] = draw(st.binary(max_size=4))
        return bytes(body)
    told = msgspec.json.encode(draw(JSONS))
    form = urlencode({draw(st.sampled_from(("data", "cb"))): told}).encode()
    return draw(st.sampled_from((told, form)) | st.binary(max_size=64))


@pytest.mark.evidence(
    "no body makes reading fail",
    topic="Receipts",
    planted="entries that are no objects let in; deep nesting not caught",
)
@each_reporter
@settings(max_examples=150)
@given(data=st.data())
def test_no_body_makes_reading_fail(vendor: AnyVendor, data: st.DataObject) -> None:
    posted = report(vendor, data.draw(calls(vendor)))
    assert posted.answer.status in (200, 400)
    assert posted == UNREADABLE or posted.answer.status == 200
    for receipt in posted.receipts:
        assert isinstance(receipt, LateReceipt)
        assert 0 < len(receipt.code) <= 20
        assert receipt.code.isascii()
        assert {type(receipt.correlation), type(receipt.token)} == {str}
        assert receipt.at is None or 0 <= receipt.at < 1e13
        assert (receipt.at is None) != kit(vendor).tells_time


@pytest.mark.evidence(
    "one call costs a bounded effort",
    topic="Receipts",
    planted="either bound taken out; the escapes of all fields counted",
)
def test_a_call_holds_so_many_receipts_and_the_rest_is_not_looked_at() -> None:
    one = RawReceipt(code=0, correlation="7-1-00", token="t", at_ms=1000)
    for count, unreadable in ((RECEIPTS_MAX, 0), (RECEIPTS_MAX + 2, 1)):
        told = iter([one] * count)
        posted = read_receipts(huawei.OUTCOMES, told, Response(200))
        assert (len(posted.receipts), posted.unreadable) == (RECEIPTS_MAX, unreadable)
        assert len(list(told)) == unreadable


@pytest.mark.evidence("one call costs a bounded effort")
@pytest.mark.parametrize(
    ("vendor", "field"), [(meizu, "cb"), (xiaomi, "data")], ids=lambda it: getattr(it, "NAME", it)
)
def test_a_form_holds_so_many_escapes_and_other_fields_are_not_looked_at(
    vendor: AnyVendor, field: str
) -> None:
    """Each escape is read by itself, and one that is none takes longest."""
    report = report_of(vendor)
    assert report is not None
    others = f"{field}2=%&" + "%=%41&" * (ESCAPES_MAX // 2)
    for escape in ("%41", "%"):
        for over in (0, 1):
            told = f'{{"a":"{escape * (ESCAPES_MAX + over)}"}}'
            body = f"{others}{field}={told}&{others}".encode()
            assert (report({}, body) == UNREADABLE) == bool(over)


# signatures

VECTORS = Path(__file__).parents[2] / "vectors" / "signatures.json"
VECTOR = msgspec.json.decode(VECTORS.read_bytes())["huawei_receipt"]
SIGNED_AT = int(VECTOR["timestamp_ms"]) / 1000
HEAD = f"timestamp={VECTOR['timestamp_ms']};nonce={VECTOR['nonce']};value={VECTOR['value']}"
MAKERS: dict[str, Any] = {"harmony": harmony_settings, "huawei": huawei_settings}

each_signer = pytest.mark.parametrize("vendor", [harmony, huawei], ids=lambda vendor: vendor.NAME)


def is_signed(
    vendor: AnyVendor, head: str | None, now: float = SIGNED_AT, made: Any = None
) -> bool:
    headers = {} if head is None else {"x-huawei-callback-id": head}
    check: IsSigned | None = is_signed_of(vendor)
    assert check is not None
    told = made or MAKERS[vendor.NAME](callback_user=VECTOR["user"], callback_key=VECTOR["key"])
    return check(told, headers, b"{}", now)


def test_nobody_else_signs() -> None:
    assert [vendor.NAME for vendor in VENDORS if is_signed_of(vendor)] == ["harmony", "huawei"]


@pytest.mark.evidence("signatures of the known answers")
@each_signer
def test_huaweis_signature_is_the_known_answer(vendor: AnyVendor) -> None:
    assert is_signed(vendor, HEAD)
    assert is_signed(vendor, HEAD.replace(";", "; "))


@pytest.mark.evidence("a bad signature is refused and changes nothing")
@each_signer
@pytest.mark.parametrize(
    "head",
    [
        None,
        "",
        ";;;",
        "value=",
        HEAD.replace("timestamp=1", "timestamp=2"),
        HEAD.replace("nonce=a", "nonce=b"),
        HEAD.replace("value=K", "value=k"),
        HEAD + "x",
        HEAD.rstrip("="),
        HEAD.replace(VECTOR["value"], "ü"),
        HEAD.replace(VECTOR["timestamp_ms"], "now"),
    ],
)
def test_any_other_head_is_refused(vendor: AnyVendor, head: str | None) -> None:
    assert not is_signed(vendor, head)


@each_signer
def test_another_key_or_user_is_refused_and_without_a_key_nothing_is_asked(
    vendor: AnyVendor,
) -> None:
    now = SIGNED_AT
    headers = {"x-huawei-callback-id": HEAD}
    assert not is_signed_by_huawei(headers, now, user="user2", key=VECTOR["key"])
    assert not is_signed_by_huawei(headers, now, user=VECTOR["user"], key="secret2")
    assert is_signed(vendor, None, made=MAKERS[vendor.NAME]())


@each_signer
def test_a_user_without_a_key_would_check_nothing(vendor: AnyVendor) -> None:
    with pytest.raises(ValueError, match="callback_key"):
        MAKERS[vendor.NAME](callback_user="user1")


@pytest.mark.evidence("a bad signature is refused and changes nothing")
@each_signer
def test_a_signature_is_good_for_an_hour_either_way(vendor: AnyVendor) -> None:
    assert is_signed(vendor, HEAD, SIGNED_AT + 3600)
    assert is_signed(vendor, HEAD, SIGNED_AT - 3600)
    assert not is_signed(vendor, HEAD, SIGNED_AT + 3601)
    assert not is_signed(vendor, HEAD, SIGNED_AT - 3601)


def test_a_receipt_of_huawei() -> None:
    status = {
        "token": "t",
        "appid": "104551789",
        "biTag": "7-1-00",
        "status": 0,
        "timestamp": 1_700_000_000_123,
        "requestId": "157440955549500001002006",
    }
    gone = {**status, "status": "2", "timestamp": "1700000000123"}
    posted = huawei.report({}, msgspec.json.encode({"statuses": [status, gone]}))
    at = 1_700_000_000.123
    assert posted.receipts == (
        LateReceipt(correlation="7-1-00", token="t", outcome=Outcome.ACCEPTED, code="0", at=at),
        LateReceipt(correlation="7-1-00", token="t", outcome=Outcome.TOKEN_DEAD, code="2", at=at),
    )
    assert posted.unreadable == 0
