"""Frames: bounds, and faults that tell nothing."""

from __future__ import annotations

import contextlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tocsin.domain.hello import GivenRoute, Hello
from tocsin.domain.message import Message, Translation
from tocsin.domain.task import Task
from tocsin.errors import CallError
from tocsin.online.frames import FRAME_MAX_BYTES, PushFrame, decode, encode, push_of


@pytest.mark.parametrize(
    ("data", "code"),
    [
        ("{", 60003),
        (b"\xff\xfe", 60003),
        ("[]", 70402),
        ("null", 70402),
        ('{"type":"shout"}', 70402),
        ('{"id":"a"}', 70402),
        ('{"type":"ack"}', 70402),
        ('{"type":"ack","id":7}', 70402),
        ('{"type":"hello"}', 70402),
        ('{"type":"hello","sdkappid":-1}', 70402),
        ('{"type":"hello","sdkappid":4294967296}', 70402),
        ('{"type":"hello","sdkappid":1,"facts":{"model":"' + "x" * 129 + '"}}', 70402),
        ('{"type":"hello","sdkappid":1,"registration_id":"' + "x" * 65 + '"}', 70402),
        ('{"type":"ack","id":"' + "x" * FRAME_MAX_BYTES + '"}', 60002),
        ("[" * 12_000, 70402),
        ('{"a":' * 3000, 60003),
    ],
)
def test_a_bad_frame_is_refused_by_code(data: str | bytes, code: int) -> None:
    with pytest.raises(CallError) as refused:
        decode(data)
    assert refused.value.code == code


def test_a_frame_of_exactly_the_limit_is_read() -> None:
    head, tail = '{"type":"ack","id":"a","pad":"', '"}'
    pad = "x" * (FRAME_MAX_BYTES - len(head) - len(tail))
    assert decode(head + pad + tail).id == "a"  # type: ignore[union-attr]
    with pytest.raises(CallError):
        decode(head + pad + "x" + tail)


def test_the_limit_counts_bytes_and_not_letters() -> None:
    with pytest.raises(CallError) as refused:
        decode('{"type":"ack","id":"a","pad":"' + "語" * 6000 + '"}')
    assert refused.value.code == 60002


@given(st.one_of(st.binary(max_size=200), st.text(max_size=200)))
def test_no_bytes_do_worse_than_be_refused(data: bytes | str) -> None:
    # Whatever else it raised would fail the test.
    with contextlib.suppress(CallError):
        decode(data)


def test_a_hello_says_to_the_registrar_what_it_said() -> None:
    hello = decode(
        b'{"type":"hello","sdkappid":7,"appkey":"k","registration_id":"R","secret":"s",'
        b'"route":{"channel":"fcm","credential":3,"token":"t"},"facts":{"language":"de"}}'
    )
    assert isinstance(hello, Hello)
    assert hello.route == GivenRoute("fcm", 3, "t", "production")
    assert (hello.facts.language, hello.facts.model) == ("de", None)


def test_a_push_carries_the_chosen_language_and_the_task_id() -> None:
    message = Message(title="Hi", desc="there", translations=(Translation("de", "Hallo", "da"),))
    task = Task(
        app=1,
        number=1,
        task_id="t_1",
        kind="im_push",
        sender="admin",
        message=message,
        msg_body=b'[{"MsgType":"TIMTextElem"}]',
        accepted_at=10.9,
        expires_at=20.9,
    )
    told = msgspec.json.decode(encode(push_of(task, 0)))
    assert (told["type"], told["id"], told["title"], told["desc"]) == ("push", "t_1", "Hallo", "da")
    assert told["msg_body"] == [{"MsgType": "TIMTextElem"}]
    assert (told["sent_at"], told["expires_at"]) == (10, 20)
    assert msgspec.json.decode(encode(PushFrame(id="a", task_id="a"))).keys() == {
        "type",
        "id",
        "task_id",
    }
