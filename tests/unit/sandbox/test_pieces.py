"""Small parts of the sandbox: buckets, frames, names, payload sizes."""

from __future__ import annotations

import msgspec
import pytest

from tocsin.sandbox.buckets import Buckets, Flow
from tocsin.sandbox.http2 import frame, without_ping_acks
from tocsin.sandbox.vendors.apns.rules import BEFORE_TOKEN, CHECKS, REASONS
from tocsin.sandbox.vendors.fcm.rules import FcmRequest, Violation, payload_bytes, read, snake_case


def test_a_window_begins_with_its_first_request() -> None:
    buckets = Buckets(2, 60.0)
    assert [buckets.take("a", at) for at in (5.0, 64.0, 64.9)] == [True, True, False]
    assert buckets.opens_in_s("a", 64.9) == pytest.approx(0.1)
    assert buckets.take("b", 64.9)
    assert buckets.take("a", 65.0)


def test_no_limit_is_no_limit() -> None:
    buckets = Buckets(None, 60.0)
    assert all(buckets.take("a", 0.0) for _ in range(1000))


def test_ping_answers_are_left_out_and_pings_are_not() -> None:
    ack = b"\x00\x00\x08\x06\x01\x00\x00\x00\x0012345678"
    ping = frame(6, b"12345678")
    settings = frame(4, b"")
    assert without_ping_acks(settings + ack + ping + ack) == settings + ping


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"collapseKey": 1}, {"collapse_key": 1}),
        ({"data": {"someKey": "x"}}, {"data": {"someKey": "x"}}),
        ({"apns": {"payload": {"aPs": {"bC": 1}}}}, {"apns": {"payload": {"aPs": {"bC": 1}}}}),
        ([{"aB": 1}], [{"a_b": 1}]),
    ],
)
def test_names_in_camel_case(given: object, expected: object) -> None:
    assert snake_case(given) == expected


def test_payload_bytes_are_counted_in_utf8() -> None:
    body = {"message": {"topic": "t", "data": {"ä": "é"}, "notification": {"title": "😀"}}}
    send = read(msgspec.json.encode(body))
    assert isinstance(send, FcmRequest)
    assert payload_bytes(send.message) == 2 + 2 + len("title") + 4


def test_a_body_that_is_no_text_is_refused() -> None:
    assert isinstance(read(b"\xff\xfe"), Violation)


def test_each_check_is_asked_once() -> None:
    assert len(set(BEFORE_TOKEN + CHECKS)) == len(BEFORE_TOKEN + CHECKS)
    assert all(400 <= status < 600 for status in REASONS.values())


def test_a_list_may_be_longer_than_a_second_and_is_paid_off_before_the_next() -> None:
    flow = Flow(500)
    assert flow.take(1000, 10.0)
    assert not flow.take(1, 10.0)
    assert not flow.take(1, 11.0)
    assert flow.take(1, 11.1)
    assert Flow(None).take(10_000, 0.0)
