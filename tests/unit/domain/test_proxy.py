"""A proxy's URL, and the hosts that are reached without one."""

from __future__ import annotations

import pytest

from tocsin.domain.proxy import Bypass, Proxy, check_proxy, masked_proxy, parse_proxy


@pytest.mark.parametrize(
    ("text", "proxy", "shown"),
    [
        ("http://proxy.corp:3128", Proxy("http://proxy.corp:3128"), "http://proxy.corp:3128"),
        ("https://Proxy:443/", Proxy("https://proxy:443"), "https://proxy:443"),
        ("http://[::1]:8080", Proxy("http://[::1]:8080"), "http://[::1]:8080"),
        (
            "http://us%20er:p%40ss%3A%2F@10.0.0.1:80",
            Proxy("http://10.0.0.1:80", "us er", "p@ss:/"),
            "http://us er:***@10.0.0.1:80",
        ),
        ("http://name@h:1", Proxy("http://h:1", "name"), "http://name:***@h:1"),
    ],
)
def test_a_proxys_url(text: str, proxy: Proxy, shown: str) -> None:
    check_proxy(text)
    assert parse_proxy(text) == proxy
    assert masked_proxy(text) == shown


@pytest.mark.parametrize("text", ["", "none"])
def test_none_and_nothing_are_shown_as_they_are(text: str) -> None:
    check_proxy(text)
    assert masked_proxy(text) == text


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("proxy.corp:3128", "begins with http"),
        ("socks5://hush:hush@h:1", "begins with http"),
        ("http://", "names a host"),
        ("http://hush:hush@:1", "names a host"),
        ("http://ho st:1", "names a host"),
        ("http://hush:hush@h", "names its port"),
        ("http://hush:hush@h:0", "names its port"),
        ("http://hush:hush@h:99999", "no URL"),
        ("http://[hush:hush@h:1", "no URL"),
        ("http://hush:hush@h:1/path", "ends after its port"),
        ("http://hush:hush@h:1?x=y", "ends after its port"),
        ("http://hush:hush/@h:1", "no URL"),
        ("http://hush:hu%0Dsh@h:1", "cannot be sent"),
        ("http://hu%3Ash:hush@h:1", "cannot be sent"),
        ("http://:hush@h:1", "cannot be sent"),
        ("None", "begins with http"),
    ],
)
def test_what_is_no_proxys_url_is_told_without_quoting_it(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why) as caught:
        check_proxy(text)
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    ("host", "is_direct"),
    [
        ("localhost", True),
        ("a.localhost", True),
        ("LocalHost.", True),
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("host.example", True),
        ("below.host.example", True),
        ("ahost.example", False),
        ("example", False),
        ("corp", True),
        ("x.corp", True),
        ("x.wild", True),
        ("10.200.0.1", True),
        ("11.0.0.1", False),
        ("192.168.1.7", True),
        ("192.168.1.8", False),
        ("fd00::7", True),
        ("api.push.apple.com", False),
    ],
)
def test_hosts_domains_and_networks_are_reached_directly(host: str, is_direct: bool) -> None:
    entries = ("Host.example", ".corp", "*.wild", "10.0.0.0/8", "192.168.1.7", "fd00::/8")
    assert Bypass(entries).covers(host) == is_direct


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "::1"])
def test_this_machine_is_never_asked_of_a_proxy(host: str) -> None:
    assert Bypass().covers(host)


@pytest.mark.parametrize(
    "entry", ["", "*", "http://h", "h:80", "10.0.0.0/33", "10.0.0.256", "a b", "host/8"]
)
def test_an_entry_that_is_neither_is_named(entry: str) -> None:
    with pytest.raises(ValueError, match="neither a host") as caught:
        Bypass(("good.example", entry))
    assert repr(entry) in str(caught.value)
