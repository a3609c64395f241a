"""Which addresses a stranger may send us to, in every way that they can be written."""

from __future__ import annotations

import asyncio

import pytest

from tocsin.adapters.http_guard import (
    KEPT_MAX,
    KEPT_S,
    Guard,
    NotAllowed,
    NotFound,
    is_public,
    look_up,
)

PUBLIC = "93.184.215.14"
OTHER = "142.250.184.206"
INSIDE = (
    "127.0.0.1",
    "127.255.255.254",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "100.127.255.255",
    "0.0.0.0",
    "0.1.2.3",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "192.0.0.8",
    "192.88.99.1",
    "192.0.2.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:93.184.215.14",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "fc00::1",
    "fd12:3456::1",
    "ff02::1",
    "2001:db8::1",
    "2001::1",
    "2002:7f00:1::",
    "2002:5db8:d70e::",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::1",
    "100::1",
    "not an address",
    "",
)


@pytest.mark.parametrize("address", INSIDE)
def test_what_is_not_public_is_refused(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "address", [PUBLIC, OTHER, "2607:f8b0:4004:800::200e", "64:ff9b::5db8:d70e", "100.128.0.1"]
)
def test_what_everybody_can_reach_is_let_through(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "host", ["2130706433", "0x7f000001", "0x7f.1", "127.1", "0177.0.0.1", "127.0.0.1", "0"]
)
async def test_numbers_in_any_spelling_are_read_as_they_would_be_connected_to(host: str) -> None:
    with pytest.raises(NotAllowed):
        await Guard(look_up, is_public).address_of(f"https://{host}", 5, 0)


@pytest.mark.parametrize(
    "origin",
    [
        "http://push.example.com",
        "ftp://push.example.com",
        "https://",
        "https://[::1",
        "https://push.example.com:port",
        "https://[::1]",
        "https://[::ffff:127.0.0.1]:8443",
        "https://[fe80::1]",
    ],
)
async def test_an_origin_that_is_refused_by_its_form_or_number(origin: str) -> None:
    with pytest.raises(NotAllowed):
        await Guard(look_up, is_public).address_of(origin, 5, 0)


class Names:
    """A name server by script: each look-up takes the next answer, the last one stays."""

    def __init__(self, *answers: list[str]) -> None:
        self._answers = list(answers)
        self.asked: list[tuple[str, int]] = []

    async def __call__(self, host: str, port: int) -> list[str]:
        self.asked.append((host, port))
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]


ORIGIN = "https://push.example.com:8443"


async def test_a_name_is_looked_up_once_and_its_address_kept_for_a_while() -> None:
    names = Names([PUBLIC], ["127.0.0.1"])
    guard = Guard(names, is_public)
    assert await guard.address_of(ORIGIN, 5, 0) == PUBLIC
    assert await guard.address_of(ORIGIN, 5, KEPT_S - 1) == PUBLIC
    assert names.asked == [("push.example.com", 8443)]
    with pytest.raises(NotAllowed):
        await guard.address_of(ORIGIN, 5, KEPT_S)


async def test_an_address_stays_as_long_as_the_name_still_has_it() -> None:
    guard = Guard(Names([PUBLIC, OTHER], [OTHER, PUBLIC], [OTHER]), is_public)
    found = [await guard.address_of(ORIGIN, 5, it * KEPT_S) for it in range(3)]
    assert found == [PUBLIC, PUBLIC, OTHER]


async def test_one_address_inside_refuses_the_name() -> None:
    for answer in ([PUBLIC, "10.0.0.1"], ["::1", PUBLIC]):
        with pytest.raises(NotAllowed):
            await Guard(Names(answer), is_public).address_of(ORIGIN, 5, 0)


async def test_a_name_without_an_address_may_have_one_later() -> None:
    with pytest.raises(NotFound):
        await Guard(Names([]), is_public).address_of(ORIGIN, 5, 0)


async def test_a_refusal_is_not_kept() -> None:
    guard = Guard(Names(["10.0.0.1"], [PUBLIC]), is_public)
    with pytest.raises(NotAllowed):
        await guard.address_of(ORIGIN, 5, 0)
    assert await guard.address_of(ORIGIN, 5, 0) == PUBLIC


async def test_what_is_kept_is_bounded() -> None:
    names = Names([PUBLIC])
    guard = Guard(names, is_public)
    for number in range(KEPT_MAX + 1):
        await guard.address_of(f"https://a{number}.example.com", 5, 0)
    names.asked.clear()
    await guard.address_of(f"https://a{KEPT_MAX}.example.com", 5, 0)
    assert names.asked == []
    await guard.address_of("https://a0.example.com", 5, 0)
    assert len(names.asked) == 1


async def test_a_name_server_that_never_answers_ends_at_the_deadline() -> None:
    async def silent(host: str, port: int) -> list[str]:
        del host, port
        await asyncio.Event().wait()
        return []

    with pytest.raises(NotFound, match="in time"):
        await Guard(silent, is_public).address_of(ORIGIN, 0.01, 0)


@pytest.mark.parametrize(
    ("fault", "refusal"),
    [(OSError("no such name"), NotFound), (UnicodeError("label too long"), NotAllowed)],
)
async def test_a_name_that_cannot_be_looked_up(fault: Exception, refusal: type[Exception]) -> None:
    """A name server that is down is an outage; what can be no name stays none."""

    async def failing(host: str, port: int) -> list[str]:
        del host, port
        raise fault

    guard = Guard(failing, is_public)
    with pytest.raises(refusal):
        await guard.address_of(ORIGIN, 5, 0)
