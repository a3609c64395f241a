"""What the `Http` port promises where a proxy stands in the way, over real sockets and TLS."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from msgspec import structs

from tests.wire.connect_proxy import ConnectProxy, connect_proxy
from tests.wire.faulty_server import (
    FaultyServer,
    Seen,
    answer_never,
    answer_ok,
    faulty_server,
    request_to,
)
from tests.wire.throwaway_ca import ThrowawayCa
from tocsin.adapters.http import OutgoingHttp
from tocsin.adapters.http_guard import is_public
from tocsin.adapters.http_limits import HttpLimits, Proxies
from tocsin.conversation import Fault, Request, Response
from tocsin.domain.proxy import Bypass

HOST = "api.vendor.example"
REFUSED_STREAM = 7
NEVER_SENT = ("unsent", "refused")
ALPNS = [pytest.param(("h2",), id="http2"), pytest.param(("http/1.1",), id="http1")]


@contextlib.asynccontextmanager
async def open_http(
    proxies: Proxies, limits: HttpLimits | None = None
) -> AsyncIterator[OutgoingHttp]:
    async with contextlib.AsyncExitStack() as stack:
        http = OutgoingHttp(limits, proxies=proxies)
        await http.start(stack)
        yield http


@contextlib.asynccontextmanager
async def behind_a_proxy(
    alpn: tuple[str, ...] = ("h2",),
) -> AsyncIterator[tuple[FaultyServer, ConnectProxy]]:
    async with faulty_server(alpn=alpn) as server, connect_proxy(server.port) as proxy:
        yield server, proxy


def asked(server: FaultyServer, name: str, **changes: Any) -> Request:
    """A request to a vendor that only the proxy can find."""
    return request_to(server, name, **{"origin": f"https://{HOST}", **changes})


def kind(answer: Response | Fault) -> str:
    return answer.kind if isinstance(answer, Fault) else str(answer.status)


@pytest.mark.evidence(
    "a vendor is reached through a proxy, over HTTP/1.1 and HTTP/2, and its answer is its own",
    topic="Vendors",
    planted="the headers of CONNECT's answer taken for the vendor's; a credential's proxy "
    "not handed to its driver",
)
@pytest.mark.parametrize("alpn", ALPNS)
async def test_a_vendor_is_reached_through_the_proxy_and_its_answer_is_its_own(
    alpn: tuple[str, ...],
) -> None:
    is_http2 = alpn == ("h2",)
    async with behind_a_proxy(alpn) as (server, proxy), open_http(Proxies(default=proxy.url)) as it:
        for number in range(3):
            answered = await it.send(asked(server, str(number), http2=is_http2), 5)
            assert isinstance(answered, Response)
            assert (answered.status, answered.body) == (200, b"ok")
            assert "x-proxy" not in answered.headers
        targets = [one.target for one in proxy.asked]
        assert set(targets) == {f"{HOST}:443"}
        assert len(targets) == len(server.links)
        # What proves us to the vendor is nothing to the proxy, and the other way round.
        assert not any("x-request-id" in one.headers for one in proxy.asked)
        assert not any("proxy-authorization" in seen.headers for seen in server.seen)


async def test_many_requests_share_the_tunnels_of_their_lanes() -> None:
    limits = HttpLimits(http2_connections=2)
    async with (
        behind_a_proxy() as (server, proxy),
        open_http(Proxies(default=proxy.url), limits) as it,
    ):
        sent = [it.send(asked(server, str(number), http2=True), 10) for number in range(40)]
        assert {kind(answer) for answer in await asyncio.gather(*sent)} == {"200"}
        assert len(proxy.asked) == 2
        assert not server.doubles()


@pytest.mark.evidence(
    "user and password go to the proxy alone, and no two proxies or users share a connection",
    topic="Vendors",
    planted="the user not sent; connections grouped by whether there is a proxy",
)
async def test_the_proxy_is_told_who_we_are_and_the_vendor_is_not() -> None:
    async with behind_a_proxy() as (server, proxy), open_http(Proxies()) as it:
        proxy.user = "us er:p@ss:w/rd"
        url = proxy.with_user("us%20er:p%40ss%3Aw%2Frd")
        assert kind(await it.send(asked(server, "right", proxy=url), 5)) == "200"
        for wrong in (proxy.with_user("us%20er:other"), proxy.url):
            answered = await it.send(asked(server, "wrong", proxy=wrong), 5)
            assert isinstance(answered, Fault)
            assert answered.kind == "unsent"
            assert "407" in answered.reason
            assert f"through the proxy {proxy.url}" in answered.reason
            assert "other" not in answered.reason
        assert server.opened == {"right": 1}


def refused(proxy: ConnectProxy) -> None:
    proxy.refusal = "502 Bad Gateway"


def silent(proxy: ConnectProxy) -> None:
    proxy.is_silent = True


def dropping(proxy: ConnectProxy) -> None:
    proxy.is_dropping = True


@pytest.mark.evidence(
    "a proxy that fails before the tunnel stands leaves all unsent and is named; one that "
    "dies under a request leaves that in doubt",
    topic="Vendors",
    planted="the proxy left out of the reason",
)
@pytest.mark.parametrize("fail", [refused, silent, dropping])
@pytest.mark.parametrize("http2", [True, False])
async def test_a_tunnel_that_does_not_come_to_stand_leaves_everything_unsent(
    fail: Callable[[ConnectProxy], None], http2: bool
) -> None:
    limits = HttpLimits(connect_max_s=0.3)
    async with (
        behind_a_proxy() as (server, proxy),
        open_http(Proxies(default=proxy.with_user("name:hush-hush")), limits) as it,
    ):
        fail(proxy)
        sent = [it.send(asked(server, str(number), http2=http2), 5) for number in range(5)]
        for answered in await asyncio.gather(*sent):
            assert isinstance(answered, Fault)
            assert answered.kind == "unsent"
            assert answered.reason.endswith(f"through the proxy {proxy.url}")
            assert "hush" not in answered.reason
        assert not server.opened
        proxy.refusal, proxy.is_silent, proxy.is_dropping = "", False, False
        assert kind(await it.send(asked(server, "later", http2=http2), 5)) == "200"


@pytest.mark.evidence(
    "a proxy that fails before the tunnel stands leaves all unsent and is named; one that "
    "dies under a request leaves that in doubt",
)
async def test_a_proxy_that_nobody_listens_at_is_an_outage_that_can_end() -> None:
    async with behind_a_proxy() as (server, proxy), open_http(Proxies(default=proxy.url)) as it:
        await proxy.die()
        answered = await it.send(asked(server, "1"), 5)
        assert isinstance(answered, Fault)
        assert answered.kind == "unsent"
        assert f"through the proxy {proxy.url}" in answered.reason
        await proxy.listen()
        assert kind(await it.send(asked(server, "2"), 5)) == "200"
        assert server.opened == {"2": 1}


@pytest.mark.evidence(
    "a proxy that fails before the tunnel stands leaves all unsent and is named; one that "
    "dies under a request leaves that in doubt",
)
@pytest.mark.parametrize("http2", [True, False])
async def test_a_proxy_that_dies_under_a_request_leaves_it_in_doubt_and_repeats_nothing(
    http2: bool,
) -> None:
    async with behind_a_proxy() as (server, proxy), open_http(Proxies(default=proxy.url)) as it:
        assert kind(await it.send(asked(server, "before", http2=http2), 5)) == "200"
        server.answer = answer_never
        pending = asyncio.create_task(it.send(asked(server, "during", http2=http2), 5))
        await server.until(lambda: len(server.seen) == 2)
        await proxy.die()
        assert kind(await pending) == "maybe_sent"
        server.answer = answer_ok
        assert kind(await it.send(asked(server, "while dead", http2=http2), 5)) == "unsent"
        await proxy.listen()
        assert kind(await it.send(asked(server, "after", http2=http2), 5)) == "200"
        assert server.opened == {"before": 1, "during": 1, "after": 1}


@pytest.mark.evidence(
    "a vendor is reached through a proxy, over HTTP/1.1 and HTTP/2, and its answer is its own",
)
async def test_a_stream_refused_behind_a_proxy_is_still_unsent() -> None:
    """The words of the proxy must not be taken for the beginning of the vendor's answer."""

    def refuse(server: FaultyServer, seen: Seen) -> None:
        server.link_of(seen).reset(seen.stream, REFUSED_STREAM)

    async with behind_a_proxy() as (server, proxy), open_http(Proxies(default=proxy.url)) as it:
        server.answer = refuse
        assert kind(await it.send(asked(server, "1", http2=True), 5)) == "unsent"
        assert server.opened == {"1": 1}


@pytest.mark.evidence(
    "user and password go to the proxy alone, and no two proxies or users share a connection",
)
async def test_requests_through_different_proxies_never_share_a_connection() -> None:
    async with behind_a_proxy() as (server, one), connect_proxy(server.port) as two:
        limits = HttpLimits(http2_connections=1)
        async with open_http(Proxies(default=one.url), limits) as it:
            ways = ("", two.url, one.with_user("a:b"), one.with_user("a:c"), two.url, "")
            for number, way in enumerate(ways):
                request = asked(server, str(number), http2=True, proxy=way)
                assert kind(await it.send(request, 5)) == "200"
            assert [seen.link for seen in server.seen] == [0, 1, 2, 3, 1, 0]
            assert (len(one.asked), len(two.asked)) == (3, 1)


@pytest.mark.evidence(
    "hosts of `http.no_proxy`, this machine and `none` go direct",
    topic="Vendors",
    planted="the list not asked; `none` taken for a proxy",
)
async def test_none_goes_direct_and_so_do_loopback_and_the_hosts_that_are_named() -> None:
    async with behind_a_proxy() as (server, proxy):
        by = Proxies(default=proxy.url, bypass=Bypass(("nowhere.example",)))
        async with open_http(by) as it:
            for origin in (server.origin, f"https://127.0.0.1:{server.port}"):
                assert kind(await it.send(asked(server, "here", origin=origin), 5)) == "200"
                named = asked(server, "named", origin=origin, proxy=proxy.url)
                assert kind(await it.send(named, 5)) == "200"
            told = asked(server, "told", proxy="none")
            listed = asked(server, "listed", origin="https://push.nowhere.example")
            for request in (told, listed):
                # There is no such name: only a proxy could have found it.
                answered = await it.send(request, 5)
                assert isinstance(answered, Fault)
                assert "proxy" not in answered.reason
        assert proxy.asked == []


@pytest.mark.evidence(
    "a proxy with TLS proves its name",
    topic="Vendors",
    planted="its certificate not looked at",
)
async def test_a_proxy_with_tls_must_prove_its_name() -> None:
    ca = ThrowawayCa("proxies")
    async with (
        faulty_server() as server,
        connect_proxy(server.port, ca.server_context(alpn=["http/1.1"])) as proxy,
    ):
        url = proxy.url.replace("http:", "https:")
        async with open_http(Proxies(default=url, ca=ca.pem)) as it:
            assert kind(await it.send(asked(server, "1", http2=True), 5)) == "200"
        for wrong in (ThrowawayCa().pem, None):
            async with open_http(Proxies(default=url, ca=wrong)) as it:
                assert kind(await it.send(asked(server, "2", http2=True), 5)) == "unsent"
        assert server.opened == {"1": 1}


async def test_a_proxy_that_is_none_sends_nothing() -> None:
    async with faulty_server() as server, open_http(Proxies()) as it:
        for broken in ("ftp://h:1", "http://h", "socks5://h:1"):
            answered = await it.send(asked(server, "1", proxy=broken), 5)
            assert isinstance(answered, Fault)
            assert answered.kind == "unsent"


class Names:
    """Where the guard's names lead to."""

    def __init__(self, *addresses: str) -> None:
        self._addresses = list(addresses)

    async def __call__(self, host: str, port: int) -> list[str]:
        del host, port
        return self._addresses


@pytest.mark.evidence(
    "private addresses are refused behind a proxy too",
    topic="Vendors",
    planted="the guard not asked where there is a proxy; the proxy's address compared with "
    "the checked one",
)
@pytest.mark.parametrize(
    ("addresses", "target"),
    [(("203.0.114.7",), "203.0.114.7:443"), (("2606:4700::7",), "[2606:4700::7]:443")],
)
async def test_a_guarded_request_names_the_checked_address_to_the_proxy(
    addresses: tuple[str, ...], target: str
) -> None:
    async with behind_a_proxy() as (server, proxy), contextlib.AsyncExitStack() as stack:
        http = OutgoingHttp(None, Names(*addresses), is_public, Proxies(default=proxy.url))
        await http.start(stack)
        for number in range(2):
            answered = await http.send(asked(server, str(number), is_guarded=True), 5)
            assert kind(answered) == "200"
        # One tunnel to the address that was judged, and the peer still proves the name.
        assert [one.target for one in proxy.asked] == [target]
        assert server.seen[0].headers[":authority"] == HOST
        other = asked(server, "3", is_guarded=True, origin="https://other.example")
        assert kind(await http.send(other, 5)) == "unsent"


@pytest.mark.evidence("private addresses are refused behind a proxy too")
@pytest.mark.parametrize("address", ["10.0.0.1", "127.0.0.1", "169.254.169.254", "::1"])
async def test_a_guarded_request_to_a_private_address_never_comes_to_the_proxy(
    address: str,
) -> None:
    async with behind_a_proxy() as (server, proxy), contextlib.AsyncExitStack() as stack:
        http = OutgoingHttp(
            None, Names("203.0.114.7", address), is_public, Proxies(default=proxy.url)
        )
        await http.start(stack)
        assert kind(await http.send(asked(server, "1", is_guarded=True), 5)) in NEVER_SENT
        assert proxy.asked == []


async def test_a_guarded_request_shares_no_tunnel_with_others() -> None:
    async with behind_a_proxy() as (server, proxy), contextlib.AsyncExitStack() as stack:
        http = OutgoingHttp(None, Names("203.0.114.7"), is_public, Proxies(default=proxy.url))
        await http.start(stack)
        for is_guarded in (False, True):
            request = structs.replace(asked(server, str(is_guarded)), is_guarded=is_guarded)
            assert kind(await http.send(request, 5)) == "200"
        assert [one.target for one in proxy.asked] == [f"{HOST}:443", "203.0.114.7:443"]
