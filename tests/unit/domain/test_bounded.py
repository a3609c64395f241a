"""The bounded cache against a plain list, and the keys of entries that strangers cause."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tocsin.domain.bounded import BoundedCache, network_of, short_key


def test_the_entry_used_least_recently_goes_first() -> None:
    table: BoundedCache[str, int] = BoundedCache(2)
    table.put("a", 1)
    table.put("b", 2)
    assert table.get("a") == 1
    table.put("c", 3)
    assert (table.get("a"), table.get("b"), table.get("c")) == (1, None, 3)
    table.put("a", 4)
    table.put("d", 5)
    assert (table.get("a"), table.get("c"), table.get("d")) == (4, None, 5)
    assert table.pop("a") == 4
    assert table.pop("a") is None
    assert len(table) == 1


class Model:
    """What the cache promises, as a list of keys and values that is looked through each time."""

    def __init__(self, entries_max: int, bytes_max: int | None) -> None:
        self.entries_max = entries_max
        self.bytes_max = bytes_max
        self.entries: list[tuple[int, bytes]] = []

    @property
    def total_bytes(self) -> int:
        return 0 if self.bytes_max is None else sum(len(value) for _, value in self.entries)

    def get(self, key: int) -> bytes | None:
        value = self.pop(key)
        if value is not None:
            self.entries.append((key, value))
        return value

    def pop(self, key: int) -> bytes | None:
        value = dict(self.entries).get(key)
        self.entries = [entry for entry in self.entries if entry[0] != key]
        return value

    def put(self, key: int, value: bytes) -> None:
        self.pop(key)
        self.entries.append((key, value))
        while len(self.entries) > self.entries_max:
            self.entries.pop(0)
        while self.total_bytes > (self.bytes_max or 0) and len(self.entries) > 1:
            self.entries.pop(0)


KEYS = st.integers(0, 7)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), KEYS, st.binary(max_size=12)),
        st.tuples(st.sampled_from(["get", "pop", "in"]), KEYS, st.just(b"")),
        st.tuples(st.just("clear"), st.just(0), st.just(b"")),
    ),
    max_size=60,
)


@pytest.mark.evidence(
    "every cache is bounded in entries, and in bytes where it says so, by one class",
    topic="Set-up and architecture",
    planted="the newest entry evicted; a look that is no use; the size of a replaced value kept; "
    "one eviction where a large value needs three; a cache that evicts by hand",
)
@given(st.integers(1, 6), st.none() | st.integers(1, 30), STEPS)
def test_it_does_what_a_plain_list_does(
    entries_max: int, bytes_max: int | None, steps: list[tuple[str, int, bytes]]
) -> None:
    model = Model(entries_max, bytes_max)
    size_of = None if bytes_max is None else len
    cache: BoundedCache[int, bytes] = BoundedCache(
        entries_max, bytes_max=bytes_max, size_of=size_of
    )
    for verb, key, value in steps:
        match verb:
            case "put":
                model.put(key, value)
                cache.put(key, value)
            case "get":
                assert cache.get(key) == model.get(key)
            case "pop":
                assert cache.pop(key) == model.pop(key)
            case "in":
                assert (key in cache) == (key in dict(model.entries))
            case "clear":
                model.entries = []
                cache.clear()
        assert list(cache.items()) == model.entries
        assert (len(cache), cache.total_bytes) == (len(model.entries), model.total_bytes)


def test_a_large_value_evicts_as_many_as_it_needs() -> None:
    cache: BoundedCache[str, bytes] = BoundedCache(9, bytes_max=10, size_of=len)
    for key in ("a", "b", "c"):
        cache.put(key, b"123")
    cache.put("d", b"1234567")
    assert list(cache.items()) == [("c", b"123"), ("d", b"1234567")]


def test_the_value_that_was_put_last_is_kept_whatever_its_size() -> None:
    cache: BoundedCache[str, bytes] = BoundedCache(9, bytes_max=10, size_of=len)
    cache.put("a", b"12345")
    cache.put("b", b"x" * 11)
    assert (cache.get("a"), cache.get("b"), cache.total_bytes) == (None, b"x" * 11, 11)
    cache.put("c", b"1")
    assert (cache.get("b"), cache.get("c"), cache.total_bytes) == (None, b"1", 1)


def test_a_key_is_short_however_long_its_parts_are() -> None:
    keys = {short_key(1, "x" * size, b"y" * size) for size in (0, 1, 100_000)}
    assert len(keys) == 3
    assert {len(key) for key in keys} == {16}
    assert {sys.getsizeof(key) for key in keys} == {sys.getsizeof(b"") + 16}
    assert len(short_key("x", size=32)) == 32


def test_parts_do_not_run_into_each_other() -> None:
    told = [("a", "bc"), ("ab", "c"), ("abc",), (b"a", "bc"), (1, "a"), ("1", "a"), (1, "a", "")]
    assert len({short_key(*parts) for parts in told}) == len(told)


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("::1", "::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("what a proxy says", "what a proxy says"),
    ],
)
def test_one_subscriber_of_ipv6_is_one_address(address: str, network: str) -> None:
    assert network_of(address) == network
