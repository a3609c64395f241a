"""Where the service listens: several addresses on one port, both families, and free ports."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import msgspec
import pytest

from tocsin.config import DEFAULT_METRICS, Config, MetricsSettings, ServerSettings
from tocsin.errors import SetupError
from tocsin.sandbox.kept_port import keep_port
from tocsin.service.listening import listen, listen_for_metrics, place, urls_of


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")


@contextmanager
def listening(*hosts: str, port: int = 0) -> Iterator[list[socket.socket]]:
    sockets = listen(Config(server=ServerSettings(host=hosts, port=port)))
    with ExitStack() as stack:
        for each in sockets:
            stack.enter_context(each)
        yield sockets


def reach(sockets: list[socket.socket], host: str) -> str:
    """Connect to this address on the common port; answers the caller's address as it is seen."""
    port = sockets[0].getsockname()[1]
    with socket.create_connection((host, port), timeout=5) as caller:
        own = caller.getsockname()[0]
        family = caller.family
        (there,) = [it for it in sockets if it.family == family]
        accepted, peer = there.accept()
        accepted.close()
        assert peer[0] == own
        return str(own)


@pytest.mark.evidence(
    "`::` serves IPv4 and IPv6, several addresses have one port, and IPv4 callers keep "
    "their address",
    topic="Settings, log and reload",
    planted="the socket for IPv4 left out; one socket for both, whose callers are `::ffff:…`",
)
@needs_ipv6
def test_two_colons_are_every_address_and_callers_keep_their_own() -> None:
    with listening("::") as sockets:
        assert reach(sockets, "127.0.0.1") == "127.0.0.1"
        assert reach(sockets, "::1") == "::1"


@pytest.mark.evidence(
    "`::` serves IPv4 and IPv6, several addresses have one port, and IPv4 callers keep "
    "their address",
)
@needs_ipv6
def test_several_addresses_have_one_port() -> None:
    with listening("127.0.0.1", "::1") as sockets:
        port = sockets[0].getsockname()[1]
        urls = urls_of(Config(), sockets)
        assert urls == [f"http://127.0.0.1:{port}", f"http://[::1]:{port}"]
        assert reach(sockets, "::1") == "::1"


@needs_ipv6
def test_both_wildcards_may_be_named() -> None:
    with listening("0.0.0.0", "::") as sockets:
        assert len(sockets) == 2
        assert reach(sockets, "127.0.0.1") == "127.0.0.1"


@pytest.mark.evidence(
    "a named address is had or the start refused, with nothing left open",
    topic="Settings, log and reload",
    planted=None,
)
def test_one_address_that_cannot_be_had_leaves_none_open() -> None:
    with keep_port("127.0.0.1") as kept, socket.socket() as taken:
        port = kept.getsockname()[1]
        taken.bind(("127.0.0.2", port))
        taken.listen()
        with pytest.raises(SetupError, match=rf"127\.0\.0\.2:{port}"):
            listen(Config(server=ServerSettings(host=("127.0.0.1", "127.0.0.2"), port=port)))
        socket.create_server(("127.0.0.1", port)).close()


@pytest.mark.evidence("a named address is had or the start refused, with nothing left open")
def test_the_default_address_of_the_metrics_is_not_insisted_on() -> None:
    """A second service on the machine starts, too."""
    config = Config()
    host, _, port = DEFAULT_METRICS.rpartition(":")
    with ExitStack() as stack:
        # Something else of this machine may have it: just what is tried.
        with suppress(OSError):
            stack.enter_context(socket.create_server((host, int(port))))
        assert listen_for_metrics(config) is None


@pytest.mark.evidence("a named address is had or the start refused, with nothing left open")
def test_an_address_that_was_named_for_the_metrics_is_insisted_on() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        at = place(*taken.getsockname()[:2])
        config = Config(metrics=MetricsSettings(listen=at))
        with pytest.raises(SetupError, match=at):
            listen_for_metrics(config)
    off = msgspec.structs.replace(config, metrics=MetricsSettings(listen=""))
    assert listen_for_metrics(off) is None
