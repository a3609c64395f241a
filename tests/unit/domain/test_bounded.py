"""Tables that strangers can fill, and the keys of their entries."""

from __future__ import annotations

import sys

import pytest

from tocsin.domain.bounded import Bounded, network_of, short_key


def test_the_entry_used_least_recently_goes_first() -> None:
    table: Bounded[str, int] = Bounded(2)
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
