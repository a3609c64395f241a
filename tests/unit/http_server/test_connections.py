"""Who gets a place, who gives one up, and what the log says of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tocsin.http_server.connections import (
    HEALTH_PLACES,
    NOTICE_EVERY_S,
    ConnectionPlace,
    Connections,
    client_of,
)
from tocsin.metrics import Metrics

STRANGER = "192.0.2.1"


class Book:
    """Connections of a server, and which of them were closed."""

    def __init__(self, places: int, per_network_max: int = 0) -> None:
        self.metrics = Metrics()
        self.later: list[tuple[float, Callable[[], None]]] = []
        self.connections = Connections(
            places,
            metrics=self.metrics,
            per_network_max=per_network_max,
            is_proxy=lambda host: host == "198.51.100.1",
            call_later=lambda delay_s, call: self.later.append((delay_s, call)),
        )
        self.closed: list[str] = []

    def waiting(self, name: str, host: str = STRANGER) -> ConnectionPlace:
        place = self.connections.admit(host)
        assert place is not None
        place.wait(lambda: self.closed.append(name))
        return place

    def idle(self, name: str) -> ConnectionPlace:
        place = self.waiting(name)
        place.work()
        place.is_proven = True
        place.wait(lambda: self.closed.append(name))
        return place

    def working(self, host: str = STRANGER) -> ConnectionPlace:
        place = self.connections.admit(host)
        assert place is not None
        place.work()
        return place


@pytest.mark.evidence(
    "when open files run out, whoever keeps us waiting is closed, and everybody else served",
)
async def test_who_keeps_us_waiting_gives_up_the_place_strangers_first() -> None:
    book = Book(4)
    book.working()
    for name in ("idle 1", "idle 2"):
        book.idle(name)
    book.waiting("silent")
    for name in ("new 1", "new 2", "new 3"):
        assert not book.waiting(name).is_cramped
    assert book.closed == ["silent", "new 1", "new 2"]
    assert book.connections.count == 4


@pytest.mark.evidence(
    "when open files run out, whoever keeps us waiting is closed, and everybody else served",
)
async def test_idle_ones_go_when_nobody_is_silent_the_longest_idle_first() -> None:
    book = Book(3)
    first, second = book.idle("first"), book.idle("second")
    book.working()
    first.work()
    first.wait(lambda: book.closed.append("first"))
    book.working()
    assert book.closed == ["second"]
    assert not second.is_cramped
    assert book.metrics.value("connections_closed", reason="files") == 1


@pytest.mark.evidence("health is answered when every connection is at work")
async def test_when_all_are_at_work_a_few_more_may_ask_for_health() -> None:
    book = Book(2)
    working = [book.working(), book.working()]
    cramped = [book.waiting(str(number)) for number in range(HEALTH_PLACES + 2)]
    assert all(each.is_cramped for each in cramped)
    assert book.closed == ["0", "1"], "there are never more than so many"
    assert book.connections.count == 2 + HEALTH_PLACES
    for place in (*cramped, working[0]):
        place.leave()
    assert not book.waiting("next").is_cramped


@pytest.mark.evidence(
    "a place is given back once, by sockets too",
    topic="Connections",
    planted="given back twice; a socket that keeps it",
)
async def test_a_place_is_given_back_once() -> None:
    book = Book(2)
    place = book.waiting("once")
    place.leave()
    place.leave()
    place.wait(lambda: book.closed.append("once"))
    assert book.connections.count == 0
    book.working()
    book.working()
    assert book.waiting("third").is_cramped, "who has left is not there to be closed"
    assert book.closed == []


@pytest.mark.evidence(
    "an address has its share; this machine and named proxies are not limited, their clients are",
    topic="Connections",
    planted="loopback counted; each IPv6 address for itself; the proxy counted; its clients not",
)
async def test_one_address_has_its_share() -> None:
    book = Book(100, per_network_max=2)
    place = book.working()
    book.working()
    assert book.connections.admit(STRANGER) is None
    assert book.connections.count == 2
    book.working("192.0.2.2")
    place.leave()
    book.working()
    assert book.metrics.value("connections_closed", reason="address") == 1


@pytest.mark.evidence(
    "an address has its share; this machine and named proxies are not limited, their clients are",
)
@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "", "x"])
async def test_this_machine_is_not_limited(host: str) -> None:
    book = Book(100, per_network_max=2)
    for _ in range(5):
        book.working(host)


@pytest.mark.evidence(
    "an address has its share; this machine and named proxies are not limited, their clients are",
)
async def test_a_named_proxy_is_not_limited_as_one_client() -> None:
    book = Book(100, per_network_max=2)
    for _ in range(5):
        book.working("198.51.100.1")


@pytest.mark.evidence(
    "an address has its share; this machine and named proxies are not limited, their clients are",
)
def test_an_ipv6_network_counts_as_one() -> None:
    assert client_of("2001:db8::1") == client_of("2001:db8::ffff:2")
    assert client_of("2001:db8::1") != client_of("2001:db8:0:1::1")
    assert client_of("::ffff:192.0.2.1") == client_of("192.0.2.1")


@pytest.mark.evidence(
    "a flood is one line a minute, with a number",
    topic="Connections",
    planted="a line for each connection",
)
async def test_a_flood_is_one_line_with_a_number(caplog: pytest.LogCaptureFixture) -> None:
    book = Book(1)
    for number in range(1000):
        book.waiting(str(number))
    ((_, tell),) = book.later
    tell()
    book.waiting("one more")
    assert len(caplog.records) == 1
    assert "'closed': 999" in caplog.records[0].getMessage()
    assert "ulimit" in caplog.records[0].getMessage()
    delay_s, tell = book.later[1]
    assert delay_s > NOTICE_EVERY_S - 1
    tell()
    assert "'closed': 1," in caplog.records[1].getMessage()


async def test_a_crowded_address_is_told_with_its_limit(caplog: pytest.LogCaptureFixture) -> None:
    book = Book(100, per_network_max=1)
    book.working()
    for _ in range(3):
        assert book.connections.admit(STRANGER) is None
    book.later[0][1]()
    (record,) = caplog.records
    assert "'closed': 3" in record.getMessage()
    assert "connections_per_address_max" in record.getMessage()
    assert STRANGER not in record.getMessage()


def test_every_reason_is_a_series_from_the_start() -> None:
    assert b'tocsin_connections_closed_total{reason="files"} 0.0' in Book(1).metrics.render()
