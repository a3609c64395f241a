"""Origins in the spelling that browsers send."""

from __future__ import annotations

import pytest

from tocsin.domain.origin import ORIGINS_MAX, normal_origin, normal_origins
from tocsin.errors import CallError


@pytest.mark.evidence("an origin is one that browsers send")
@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("https://app.example.com", "https://app.example.com"),
        ("HTTPS://App.Example.com:443", "https://app.example.com"),
        ("https://app.example.com:0443", "https://app.example.com"),
        ("http://app.example.com:443", "http://app.example.com:443"),
        ("http://localhost:5173", "http://localhost:5173"),
        ("http://localhost:80", "http://localhost"),
        ("http://192.0.2.7:8080", "http://192.0.2.7:8080"),
        ("http://[2001:DB8::1]:8080", "http://[2001:db8::1]:8080"),
        ("https://xn--bcher-kva.example", "https://xn--bcher-kva.example"),
        ("capacitor://localhost", "capacitor://localhost"),
    ],
)
def test_an_origin_has_one_spelling(text: str, origin: str) -> None:
    assert normal_origin(text) == origin
    assert normal_origin(origin) == origin


@pytest.mark.evidence(
    "an origin is one that browsers send",
    topic="Strangers and browsers",
    planted="`https://*.example.com` taken",
)
@pytest.mark.parametrize(
    "text",
    [
        "*",
        "null",
        "app.example.com",
        "https://",
        "https://app.example.com/",
        "https://app.example.com/path",
        "https://app.example.com?x",
        "https://user@app.example.com",
        "https://*.example.com",
        "https://app.example.com:0",
        "https://app.example.com:65536",
        "https://app.example.com:",
        "https://b\u00fccher.example",
        "https://app.example.com\n",
        " https://app.example.com",
        "https://a.example, https://b.example",
        "https://-x.example",
        "1https://app.example.com",
        "https://" + "x" * 300,
    ],
)
def test_what_no_browser_sends_is_refused(text: str) -> None:
    with pytest.raises(CallError) as refused:
        normal_origin(text)
    assert refused.value.code == 70402
    assert "https://app.example.com" in refused.value.info
    assert len(refused.value.info) < 600


def test_a_list_has_each_once_and_a_bound() -> None:
    told = ("https://b.example", "https://a.example:443", "", "https://B.example")
    assert normal_origins(told) == ("https://b.example", "https://a.example")
    assert normal_origins(("",)) == ()
    most = tuple(f"https://{number}.example" for number in range(ORIGINS_MAX))
    assert normal_origins(most) == most
    with pytest.raises(CallError):
        normal_origins((*most, "https://more.example"))
