"""Our encoder against a decoder of others, and what goes into the table of headers."""

from __future__ import annotations

import hpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.adapters.http2.peer import decoded
from tocsin.adapters.http2.hpack import TABLE_BYTES, Encoder, Field

TOKEN = "/3/device/" + "a1" * 32
COMMON: tuple[Field, ...] = (
    (":method", "POST"),
    (":scheme", "https"),
    (":authority", "api.example"),
    ("authorization", "bearer " + "t" * 180),
    ("apns-topic", "com.example"),
)


def test_what_stays_the_same_is_one_byte_from_the_third_request_on() -> None:
    encoder, decoder = Encoder(), hpack.Decoder()
    sizes = []
    for _ in range(5):
        block = encoder.encode(TOKEN, COMMON)
        assert decoded(decoder, block) == [(":path", TOKEN), *COMMON]
        sizes.append(len(block))
    assert sizes[2] == sizes[4] == len(TOKEN) + 2 + len(COMMON)


@pytest.mark.evidence(
    "no table of headers, ours or a server's, ever holds a device's token",
    topic="Channels and sandbox",
    planted="the path written like any other header",
)
def test_a_path_is_never_indexed() -> None:
    encoder, decoder = Encoder(), hpack.Decoder()
    for _ in range(3):
        block = encoder.encode(TOKEN, COMMON)
        path = next(iter(decoder.decode(block)))
        assert isinstance(path, hpack.NeverIndexedHeaderTuple)
    entries = decoder.header_table.dynamic_entries
    assert entries
    assert not [entry for entry in entries if TOKEN.encode() in bytes(entry[1])]


def test_what_varies_stays_out_of_the_table() -> None:
    encoder, decoder = Encoder(), hpack.Decoder()
    for number in range(50):
        fields = (*COMMON, ("apns-id", str(number)), ("content-length", "7"))
        assert decoded(decoder, encoder.encode(TOKEN, fields)) == [(":path", TOKEN), *fields]
    names = {bytes(entry[0]) for entry in decoder.header_table.dynamic_entries}
    assert names == {b":authority", b"authorization", b"apns-topic"}


def test_names_are_written_in_lower_case() -> None:
    encoder, decoder = Encoder(), hpack.Decoder()
    assert decoded(decoder, encoder.encode("/", (("X-Name", "V"),)))[1] == ("x-name", "V")


@pytest.mark.parametrize("path", ["", "x", "/a b", "/é", "/a\n", "/a\x7f"])
def test_a_path_that_cannot_be_written_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="path"):
        Encoder().encode(path, COMMON)


@pytest.mark.parametrize(
    "field",
    [("x", "a\nb"), ("x", "a\rb"), ("x", "a\0b"), ("", "a"), ("x y", "a"), ("x", "\ud800")],
)
def test_a_header_that_cannot_be_written_changes_nothing(field: Field) -> None:
    encoder, decoder = Encoder(), hpack.Decoder()
    for _ in range(3):
        with pytest.raises(ValueError):  # noqa: PT011 - a lone surrogate has words of its own
            encoder.encode("/", (*COMMON, field))
        assert decoded(decoder, encoder.encode("/", COMMON))[1:] == list(COMMON)


NAMES = st.sampled_from(["a", "b", "x-topic", "authorization", "accept", "content-type"])
VALUES = st.sampled_from(["", "1", "é", "v" * 60, "w" * 130, "x" * 700, "y" * 3_000, "z" * 5_000])
FIELDS = st.lists(st.tuples(NAMES, VALUES), max_size=6).map(tuple)
SIZES = st.sampled_from([0, 1, 40, 200, 1_000, TABLE_BYTES, 1 << 20])


@given(st.lists(st.one_of(FIELDS, SIZES), max_size=40))
def test_any_requests_and_any_sizes_of_the_table_are_read_as_written(
    steps: list[tuple[Field, ...] | int],
) -> None:
    encoder, decoder = Encoder(), hpack.Decoder()
    for step in steps:
        if isinstance(step, int):
            encoder.resize(step)
            decoder.max_allowed_table_size = min(step, TABLE_BYTES)
        else:
            assert decoded(decoder, encoder.encode("/p", step)) == [(":path", "/p"), *step]
