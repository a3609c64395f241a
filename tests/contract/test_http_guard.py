"""What a guarded request promises, over real sockets: the checked address, and nothing else."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import pytest
from msgspec import structs

from tests.wire.faulty_server import FaultyServer, Seen, faulty_server, request_to
from tocsin.adapters.http import OutgoingHttp
from tocsin.adapters.http_guard import is_public, look_up
from tocsin.conversation import Fault, Request, Response


def names(*addresses: str) -> Names:
    return Names(list(addresses))


class Names:
    def __init__(self, addresses: list[str]) -> None:
        self.addresses = addresses
        self.asked = 0

    async def __call__(self, host: str, port: int) -> list[str]:
        del host, port
        self.asked += 1
        return self.addresses


def on_this_machine(address: str) -> bool:
    """What the tests let through in the place of public addresses."""
    return address.startswith("127.") or address == "::1"


@contextlib.asynccontextmanager
async def guarded(found: Names | None = None) -> AsyncIterator[OutgoingHttp]:
    async with contextlib.AsyncExitStack() as stack:
        if found is None:
            http = OutgoingHttp(None, look_up, is_public)
        else:
            http = OutgoingHttp(None, found, on_this_machine)
        await http.start(stack)
        yield http


def asked(server: FaultyServer, name: str = "1") -> Request:
    return structs.replace(request_to(server, name), is_guarded=True)


@pytest.mark.evidence(
    "a browser's endpoint is resolved once, judged, and connected to",
    topic="Vendors",
    planted="one public address among private ones enough",
)
async def test_the_checked_address_is_connected_to_under_the_origins_name() -> None:
    found = names("127.0.0.1")
    async with faulty_server() as server, guarded(found) as http:
        for number in range(3):
            answered = await http.send(asked(server, str(number)), 5)
            assert isinstance(answered, Response)
            assert answered.status == 200
        assert [seen.headers[":authority"] for seen in server.seen] == [
            f"localhost:{server.port}"
        ] * 3
        assert len(server.links) == 1
    assert found.asked == 1


@pytest.mark.evidence("a browser's endpoint is resolved once, judged, and connected to")
@pytest.mark.parametrize("address", ["127.0.0.77", "::1"])
async def test_no_second_look_up_leads_elsewhere(address: str) -> None:
    """The system says where localhost is, but the checked address is another one."""
    async with faulty_server() as server, guarded(names(address)) as http:
        answered = await http.send(asked(server), 5)
        assert isinstance(answered, Fault)
        assert answered.kind == "unsent"
        # Nobody listens there. Whoever had come to the server would be stopped in another way.
        assert "Connect call failed" in answered.reason


async def test_a_server_must_still_prove_the_name() -> None:
    async with faulty_server() as server, guarded(names("127.0.0.1")) as http:
        origin = f"https://push.example.com:{server.port}"
        answered = await http.send(structs.replace(asked(server), origin=origin), 5)
        assert isinstance(answered, Fault)
        assert answered.kind == "unsent"
        assert server.seen == []


@pytest.mark.evidence("a browser's endpoint is resolved once, judged, and connected to")
@pytest.mark.evidence("what we refuse to connect to is that device's alone, and final")
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "2130706433", "0x7f000001", "127.1"])
async def test_this_machine_is_refused_in_every_spelling(host: str) -> None:
    async with faulty_server() as server, guarded() as http:
        origin = f"https://{host}:{server.port}"
        answered = await http.send(structs.replace(asked(server), origin=origin), 5)
        assert isinstance(answered, Fault)
        assert answered.kind == "refused"
        assert server.links == []
        unguarded = structs.replace(
            request_to(server, "1"), origin=f"https://localhost:{server.port}"
        )
        assert isinstance(await http.send(unguarded, 5), Response)


async def test_an_open_connection_of_others_is_not_used() -> None:
    """What the operator's own requests reach stays theirs."""
    async with faulty_server() as server, guarded() as http:
        assert isinstance(await http.send(request_to(server, "1"), 5), Response)
        assert isinstance(await http.send(asked(server, "2"), 5), Fault)
        assert [seen.request_id for seen in server.seen] == ["1"]


async def test_a_redirection_is_an_answer_and_is_not_followed() -> None:
    def answer(server: FaultyServer, seen: Seen) -> None:
        where = [("location", f"https://localhost:{server.port}/elsewhere")]
        server.links[seen.link].reply(seen.stream, 307, b"", where)

    async with faulty_server() as server, guarded(names("127.0.0.1")) as http:
        server.answer = answer
        answered = await http.send(asked(server), 5)
        assert isinstance(answered, Response)
        assert answered.status == 307
        assert len(server.seen) == 1
