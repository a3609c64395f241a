"""The one shape of what a device says: declared once, bounded where it is read, stored as ever."""

from __future__ import annotations

import ast
from typing import Any

import msgspec
import pytest

from tests.architecture.tree import REPO, package
from tocsin.domain.device import Registration, Route
from tocsin.domain.hello import DeviceFacts, GivenRoute, Hello, RegistrationRequest

SERVICE = ("domain", "ports", "online", "api", "pipeline")
ONCE = ("is_logout", "voip_token", "live_tokens", "live_start_tokens", "appkey", "usersig")


def declaring(member: str) -> set[str]:
    """The classes of the service that declare a member of this name."""
    return {
        node.name
        for source in package(REPO)
        if source.package in SERVICE and member in source.text
        for node in ast.walk(source.tree)
        if isinstance(node, ast.ClassDef)
        for each in node.body
        if isinstance(each, ast.AnnAssign) and ast.unparse(each.target) == member
    }


@pytest.mark.evidence(
    "a member of a hello is declared once, for the wire, the ports and the rules",
    topic="Clients",
    planted="`is_logout` declared again in `Registration`",
)
def test_what_a_device_says_is_declared_once() -> None:
    """Beside the row that is stored of it, and of the app."""
    says = {RegistrationRequest.__name__, Hello.__name__}
    for member in ONCE:
        assert len(declaring(member) & says) == 1, member
        assert declaring(member) - says <= {"Device", "App"}, member
    for fact in set(DeviceFacts.__struct_fields__) - {"language", "badge", "platform"}:
        assert declaring(fact) == {"DeviceFacts", "Device"}, fact
    assert declaring("environment") == {"GivenRoute"}
    for form in (Hello, Registration):
        assert set(RegistrationRequest.__struct_fields__) <= set(form.__struct_fields__)


@pytest.mark.parametrize(
    ("more", "place"),
    [
        ({"route": {"channel": "fcm", "credential": 1, "token": "x" * 1025}}, "$.route.token"),
        ({"route": {"channel": "x" * 33, "credential": 1, "token": "t"}}, "$.route.channel"),
        ({"facts": {"model": "x" * 129}}, "$.facts.model"),
        ({"facts": {"badge": -1}}, "$.facts.badge"),
        ({"live_tokens": {"a": "x" * 1025}}, "$.live_tokens[...]"),
        ({"secret": "x" * 129}, "$.secret"),
        ({"known": ["x" * 161]}, "$.known[0]"),
        ({"type": "bye"}, "$.type"),
    ],
)
def test_what_a_device_says_is_bounded_whoever_reads_it(more: dict[str, Any], place: str) -> None:
    with pytest.raises(msgspec.ValidationError) as refused:
        msgspec.json.decode(msgspec.json.encode({"sdkappid": 1, **more}), type=Hello)
    assert str(refused.value).endswith(f"at `{place}`")


def test_a_device_does_not_say_what_tells_it_from_others() -> None:
    """That is for the vendor's file to find in its token."""
    route = {"channel": "webpush", "credential": 1, "token": "t", "identity": "somebody else's"}
    hello = msgspec.convert({"sdkappid": 1, "route": route}, Hello)
    assert hello.route == GivenRoute("webpush", 1, "t")
    assert "identity" not in GivenRoute.__struct_fields__


def test_a_route_is_stored_as_it_was() -> None:
    route = Route("fcm", 3, "t", "development", "i")
    stored = b'["fcm",3,"t","development","i"]'
    assert msgspec.json.encode(route) == stored
    assert msgspec.json.decode(stored, type=Route) == route
    assert msgspec.json.decode(b'["fcm",3,"t"]', type=Route) == Route("fcm", 3, "t")
