"""What the `Http` port promises, asked of each adapter over real sockets and TLS."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable

import pytest
import uvloop
from msgspec import structs

from tests.patience import PATIENCE_S
from tests.wire.faulty_server import (
    ID_HEADER,
    FaultyServer,
    Seen,
    answer_never,
    faulty_server,
    request_to,
)
from tests.wire.throwaway_ca import ThrowawayCa
from tocsin.adapters.http import OutgoingHttp
from tocsin.adapters.http_limits import HttpLimits
from tocsin.conversation import Fault, Request, Response

ALPNS = [pytest.param(("h2",), id="http2"), pytest.param(("http/1.1",), id="http1")]


@contextlib.asynccontextmanager
async def open_http(limits: HttpLimits | None = None) -> AsyncIterator[OutgoingHttp]:
    async with contextlib.AsyncExitStack() as stack:
        http = OutgoingHttp(limits)
        await http.start(stack)
        yield http


def kind(answer: Response | Fault) -> str:
    return answer.kind if isinstance(answer, Fault) else str(answer.status)


@pytest.mark.parametrize("alpn", ALPNS)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
@pytest.mark.parametrize("body", [b"", b"\x00\xff" * 40_000])
async def test_a_request_arrives_as_it_was_given(
    alpn: tuple[str, ...], method: str, body: bytes
) -> None:
    headers = ((ID_HEADER, "1"), ("authorization", "bearer abc"), ("x-empty", ""), ("x-name", "é"))
    async with faulty_server(alpn=alpn) as server, open_http() as http:
        asked = request_to(
            server, "1", method=method, path="/3/device/a%20b?c=1", headers=headers, body=body
        )
        answered = await http.send(asked, PATIENCE_S)
        (seen,) = server.seen
    assert isinstance(answered, Response)
    assert (answered.status, answered.body) == (200, b"ok")
    assert (seen.method, seen.path, seen.body) == (method, "/3/device/a%20b?c=1", body)
    assert dict(headers).items() <= seen.headers.items()
    added = {name for name in seen.headers if not name.startswith(":")} - dict(headers).keys()
    assert added <= {"host", "user-agent", "content-length"}


@pytest.mark.parametrize("alpn", ALPNS)
async def test_header_names_are_lower_case_and_repeated_ones_are_joined(
    alpn: tuple[str, ...],
) -> None:
    def answer(server: FaultyServer, seen: Seen) -> None:
        name = "x-twice" if alpn == ("h2",) else "X-Twice"
        server.links[seen.link].reply(
            seen.stream, 429, b"", [(name, "a"), (name, "b:c"), ("retry-after", "7")]
        )

    async with faulty_server(alpn=alpn) as server, open_http() as http:
        server.answer = answer
        answered = await http.send(request_to(server, "1"), PATIENCE_S)
    assert isinstance(answered, Response)
    assert answered.status == 429
    assert answered.headers["x-twice"] == "a, b:c"
    assert answered.headers["retry-after"] == "7"


@pytest.mark.parametrize("alpn", ALPNS)
async def test_many_requests_are_under_way_at_once_and_each_gets_its_own_answer(
    alpn: tuple[str, ...],
) -> None:
    waiting: list[Seen] = []

    def answer(server: FaultyServer, seen: Seen) -> None:
        waiting.append(seen)
        if len(waiting) == 30:
            for held in reversed(waiting):
                server.reply(held, 200, held.request_id.encode())

    async with faulty_server(alpn=alpn) as server, open_http() as http:
        server.answer = answer
        sent = [http.send(request_to(server, f"id-{n}"), PATIENCE_S) for n in range(30)]
        answers = await asyncio.gather(*sent)
    bodies = [answered.body for answered in answers if isinstance(answered, Response)]
    assert bodies == [f"id-{n}".encode() for n in range(30)]
    assert not server.doubles()


async def test_http1_connections_per_origin_are_bounded_and_the_rest_waits() -> None:
    limits = HttpLimits(connections=3)
    async with faulty_server(alpn=("http/1.1",)) as server, open_http(limits) as http:
        answers = await asyncio.gather(
            *[http.send(request_to(server, str(n)), PATIENCE_S) for n in range(40)]
        )
        assert Counter(map(kind, answers)) == {"200": 40}
        # One more was greeted, and chose this protocol.
        assert len({seen.link for seen in server.seen}) == 3


async def test_http2_lanes_share_the_load_and_are_kept() -> None:
    limits = HttpLimits(http2_connections=2)
    async with faulty_server() as server, open_http(limits) as http:
        for burst in range(3):
            sent = [
                http.send(request_to(server, f"{burst}-{n}", http2=True), PATIENCE_S)
                for n in range(20)
            ]
            assert Counter(map(kind, await asyncio.gather(*sent))) == {"200": 20}
        assert Counter(seen.link for seen in server.seen) == {0: 30, 1: 30}


async def test_the_deadline_ends_a_request_and_the_connection_serves_the_others() -> None:
    def answer(server: FaultyServer, seen: Seen) -> None:
        if seen.request_id != "never":
            server.reply(seen, 200)

    async with faulty_server() as server, open_http() as http:
        server.answer = answer
        never = asyncio.create_task(http.send(request_to(server, "never"), 3))
        await server.until(lambda: bool(server.seen))
        assert kind(await http.send(request_to(server, "other"), PATIENCE_S)) == "200"
        assert kind(await never) == "maybe_sent"
        assert kind(await http.send(request_to(server, "later"), PATIENCE_S)) == "200"
        assert len(server.links) == 1


async def test_a_deadline_that_has_passed_sends_nothing() -> None:
    async with faulty_server() as server, open_http() as http:
        assert kind(await http.send(request_to(server, "1"), 0)) == "unsent"
        assert not server.links


@pytest.mark.parametrize("alpn", ALPNS)
async def test_a_body_over_the_bound_is_cut_off_and_in_doubt(alpn: tuple[str, ...]) -> None:
    def answer(server: FaultyServer, seen: Seen) -> None:
        server.reply(seen, 200, b"x" * int(seen.path[1:]))

    limits = HttpLimits(body_max_bytes=100_000)
    async with faulty_server(alpn=alpn) as server, open_http(limits) as http:
        server.answer = answer
        at_bound = await http.send(request_to(server, "1", path="/100000"), PATIENCE_S)
        assert isinstance(at_bound, Response)
        assert len(at_bound.body) == 100_000
        over = await http.send(request_to(server, "2", path="/100001"), PATIENCE_S)
        assert isinstance(over, Fault)
        assert over.kind == "maybe_sent"
        assert "100000 bytes" in over.reason
        assert kind(await http.send(request_to(server, "3", path="/5"), PATIENCE_S)) == "200"


@pytest.mark.evidence(
    "no answer is waited for longer than `http.answer_max_s`",
    topic="Channels and sandbox",
    planted="the limit not asked",
)
async def test_no_answer_is_waited_for_longer_than_the_limit() -> None:
    async with faulty_server() as server, open_http(HttpLimits(answer_max_s=0)) as http:
        assert kind(await http.send(request_to(server, "1"), PATIENCE_S)) == "unsent"
    async with faulty_server() as server, open_http(HttpLimits(answer_max_s=0.2)) as http:
        server.answer = answer_never
        assert kind(await http.send(request_to(server, "1"), PATIENCE_S)) == "maybe_sent"


async def test_a_request_that_cannot_be_written_is_refused_here() -> None:
    async with faulty_server() as server, open_http() as http:
        for broken in (
            request_to(server, "a\r\nx-planted: 1"),
            request_to(server, "b", path="/line\nbreak"),
            request_to(server, "c", path="/é"),
        ):
            assert kind(await http.send(broken, PATIENCE_S)) == "refused"
        for origin in ("ftp://localhost", "nonsense://"):
            broken = request_to(server, "d", origin=origin)
            assert kind(await http.send(broken, PATIENCE_S)) == "refused"
        assert kind(await http.send(request_to(server, "good"), PATIENCE_S)) == "200"
        assert server.opened == {"good": 1}


async def test_each_request_trusts_only_its_own_authorities() -> None:
    async with faulty_server() as server, open_http() as http:
        assert kind(await http.send(request_to(server, "right"), PATIENCE_S)) == "200"
        for ca in (ThrowawayCa().pem, None, "not a certificate"):
            assert (
                kind(
                    await http.send(structs.replace(request_to(server, "wrong"), ca=ca), PATIENCE_S)
                )
                == "unsent"
            )
        assert server.opened == {"right": 1}


async def test_a_client_identity_has_connections_of_its_own() -> None:
    callers = ThrowawayCa("callers")
    async with faulty_server(client_ca=callers.pem) as server, open_http() as http:
        names = ("one", "two", "one")
        identities = {name: callers.identity(name) for name in names}
        for number, name in enumerate(names):
            asked = request_to(server, str(number), identity=identities[name])
            assert kind(await http.send(asked, PATIENCE_S)) == "200"
        assert [seen.link for seen in server.seen] == [0, 1, 0]
        assert [link.peer for link in server.links] == ["one", "two"]
        assert kind(await http.send(request_to(server, "nobody"), PATIENCE_S)) != "200"
        assert server.opened["nobody"] == 0


async def test_requests_of_different_pools_never_share_a_connection() -> None:
    async with faulty_server() as server, open_http(HttpLimits(http2_connections=1)) as http:
        for number, pool in enumerate(("team one", "team two", "team one", "")):
            asked = request_to(server, str(number), http2=True, pool=pool)
            assert kind(await http.send(asked, PATIENCE_S)) == "200"
        assert [seen.link for seen in server.seen] == [0, 1, 0, 2]


async def test_idle_groups_of_connections_give_way_to_new_ones() -> None:
    callers = ThrowawayCa("callers")
    limits = HttpLimits(groups_max=2)
    async with faulty_server(client_ca=callers.pem) as server, open_http(limits) as http:
        for number in range(4):
            asked = request_to(server, str(number), identity=callers.identity(str(number)))
            assert kind(await http.send(asked, PATIENCE_S)) == "200"
        await server.until(lambda: sum(link.is_open for link in server.links) <= 2)

        server.answer = answer_never
        held = [
            asyncio.create_task(http.send(request_to(server, name, identity=pem), PATIENCE_S))
            for name, pem in [(name, callers.identity(name)) for name in ("a", "b")]
        ]
        await server.until(lambda: server.opened["a"] + server.opened["b"] == 2)
        third = request_to(server, "c", identity=callers.identity("c"))
        assert kind(await http.send(third, PATIENCE_S)) == "unsent"
        for task in held:
            task.cancel()
        assert [type(end) for end in await asyncio.gather(*held, return_exceptions=True)] == [
            asyncio.CancelledError
        ] * 2


async def test_closing_ends_what_is_under_way_and_nothing_begins_afterwards() -> None:
    async with faulty_server() as server:
        server.answer = answer_never
        async with open_http() as http:
            held = asyncio.create_task(http.send(request_to(server, "held"), 30))
            await server.until(lambda: bool(server.seen))
        assert kind(await held) == "maybe_sent"
        assert kind(await http.send(request_to(server, "late"), PATIENCE_S)) == "unsent"
        assert server.opened == {"held": 1}


async def test_a_cancelled_caller_is_cancelled_and_harms_no_other() -> None:
    async with faulty_server() as server, open_http() as http:
        server.answer = answer_never
        held = asyncio.create_task(http.send(request_to(server, "held"), 30))
        await server.until(lambda: bool(server.seen))
        held.cancel()
        with pytest.raises(asyncio.CancelledError):
            await held
        server.answer = lambda server, seen: server.reply(seen, 200)
        assert kind(await http.send(request_to(server, "next"), PATIENCE_S)) == "200"


def test_the_loop_of_the_service_drives_it_too() -> None:
    async def main() -> Counter[str]:
        async with faulty_server() as server, open_http() as http:
            sent = [
                http.send(request_to(server, str(n), http2=True), PATIENCE_S) for n in range(200)
            ]
            return Counter(map(kind, await asyncio.gather(*sent)))

    new_loop: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=new_loop) as runner:
        assert runner.run(main()) == {"200": 200}


async def test_plain_http_is_served_too() -> None:
    async with faulty_server(is_plain=True) as server, open_http() as http:
        asked = Request("GET", f"http://127.0.0.1:{server.port}", "/", ((ID_HEADER, "1"),))
        assert kind(await http.send(asked, PATIENCE_S)) == "200"


@pytest.mark.evidence("a request that waits for a stream begins only if the gate is still open")
@pytest.mark.parametrize("alpn", ALPNS)
async def test_who_may_no_longer_begin_is_not_sent_and_the_connection_serves_on(
    alpn: tuple[str, ...],
) -> None:
    async with faulty_server(alpn=alpn) as server, open_http() as http:
        assert kind(await http.send(request_to(server, "1"), 5, lambda: True)) == "200"
        assert kind(await http.send(request_to(server, "2"), 5, lambda: False)) == "unsent"
        assert kind(await http.send(request_to(server, "3"), PATIENCE_S)) == "200"
        assert [seen.headers[ID_HEADER] for seen in server.seen] == ["1", "3"]


@pytest.mark.evidence(
    "a peer that answers no PING loses its connection",
    topic="Channels and sandbox",
    planted="no PING sent",
)
async def test_a_peer_that_falls_silent_loses_the_connection_before_the_deadline() -> None:
    async with faulty_server() as server, open_http(HttpLimits(quiet_max_s=0.1)) as http:
        server.answer = answer_never
        live = asyncio.create_task(http.send(request_to(server, "live", http2=True), 0.5))
        assert kind(await live) == "maybe_sent"
        # It had answered our PINGs, so its connection is kept.
        link = server.h2_link(0)
        assert link.is_open
        link.feed = lambda data: None  # type: ignore[method-assign]
        silent = await http.send(request_to(server, "silent", http2=True), PATIENCE_S)
        assert isinstance(silent, Fault)
        assert (silent.kind, "PING" in silent.reason) == ("maybe_sent", True)
        assert len(server.links) == 1
