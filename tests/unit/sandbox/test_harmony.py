"""Each of Huawei's rules for HarmonyOS is broken once and refused, and kept once and accepted."""

from __future__ import annotations

import functools
from typing import Any

import jwt
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from tests.unit.channels.kit_harmony import private_key
from tocsin.channels.shared import rsa_key
from tocsin.clock import Chance, ManualClock
from tocsin.sandbox.devices import DeviceBook, State
from tocsin.sandbox.exchange import Call, Connection, Judgement
from tocsin.sandbox.receipts import CONSOLE
from tocsin.sandbox.vendors.harmony.server import (
    AUDIENCE,
    KEY_ID,
    SUB_ACCOUNT,
    Harmony,
    HarmonySettings,
)

NOW = 1_767_225_600.0
PROJECT = HarmonySettings().project_id
CLIENT = HarmonySettings().client_id
JSON = ("content-type", "application/json;charset=utf-8")
DRAWN: dict[str, Any] = {
    "category": "IM",
    "title": "t",
    "body": "b",
    "clickAction": {"actionType": 0},
}


class Bench:
    """One Huawei with its book, asked without sockets."""

    def __init__(self, **settings: Any) -> None:
        self.clock = ManualClock(NOW)
        self.book = DeviceBook(self.clock)
        told = HarmonySettings(**settings)
        self.harmony = Harmony(told, private_key(), self.book, self.clock, Chance(1))

    def send(
        self,
        body: Any,
        *,
        project: str = PROJECT,
        push_type: str = "0",
        kind: str = JSON[1],
        **proof: Any,
    ) -> Judgement:
        path = f"/v3/{project}/messages:send"
        proved = signed(now=int(self.clock.now()), **proof)
        headers = [("authorization", proved), ("push-type", push_type), ("content-type", kind)]
        data = body if isinstance(body, bytes) else msgspec.json.encode(body)
        return self.harmony.judge(Call("POST", path, headers, data, Connection(1, "", None)))

    def receipt(self, body: Any, push_type: str) -> str:
        """What the receipt of a taken push says of its device, where that is not its state."""
        verdict = self.send(body, push_type=push_type)
        assert code(verdict) == "80000000"
        (target,) = verdict.targets
        return target.receipt_code


@functools.cache
def key() -> RSAPrivateKey:
    return rsa_key(private_key())


def signed(*, now: int = int(NOW), scheme: str = "Bearer", **changed: Any) -> str:
    told = {"iss": SUB_ACCOUNT, "aud": AUDIENCE, "iat": now, "exp": now + 3600, **changed}
    alg, head = told.pop("alg", "PS256"), {"kid": told.pop("kid", KEY_ID)}
    return f"{scheme} {jwt.encode(told, key(), algorithm=alg, headers=head)}"


def push(tokens: Any = ("token-1",), options: Any = None, **drawn: Any) -> dict[str, Any]:
    notification = {name: it for name, it in {**DRAWN, **drawn}.items() if it is not None}
    payload = {"notification": notification}
    return {"payload": payload, "target": {"token": tokens}, "pushOptions": options or {}}


def code(verdict: Judgement) -> str:
    return str(msgspec.json.decode(verdict.body)["code"])


@pytest.mark.evidence(
    "every rule of HarmonyOS's pages has a request that breaks it and is refused",
    topic="Channels and sandbox",
    planted="any scheme before the token; `iat` an hour ahead; unknown members let pass; "
    "`biTag` counted in letters; `collapseKey` with a background push; a fourth "
    "inbox line; a duration without a sound; a badge with a number beside it; the "
    "limits of a device not asked",
)
@pytest.mark.parametrize(
    ("proof", "expected"),
    [
        ({}, "80000000"),
        ({"alg": "RS256"}, "80200001"),
        ({"kid": "other"}, "80200001"),
        ({"iss": "other"}, "80200001"),
        ({"aud": "https://other"}, "80200001"),
        ({"exp": "soon"}, "80200001"),
        ({"iat": "now"}, "80200001"),
        ({"iat": int(NOW) + 301, "exp": int(NOW) + 3600}, "80200001"),
        ({"iat": int(NOW) + 300, "exp": int(NOW) + 3600}, "80000000"),
        ({"scheme": "Basic"}, "80200001"),
        ({"kind": "text/plain"}, "80100003"),
        ({"exp": int(NOW)}, "80200005"),
        ({"exp": int(NOW) + 86_401}, "80300036"),
        ({"project": "1"}, "80200001"),
    ],
)
def test_who_may_send(proof: dict[str, Any], expected: str) -> None:
    assert code(Bench().send(push(), **proof)) == expected


def background(options: Any = None, **payload: Any) -> dict[str, Any]:
    """For push type 6."""
    told = {"extraData": "x", **payload}
    return {"payload": told, "target": {"token": ["token-1"]}, "pushOptions": options or {}}


def badge(**more: Any) -> dict[str, Any]:
    """What only counts."""
    told = {"notification": {"badge": {"addNum": 1}, **more}}
    return {"payload": told, "target": {"token": ["token-1"]}}


GOOD = [
    push([f"token-{it}" for it in range(1000)]),
    push(badge={"addNum": 99, "setNum": 0}, notifyId=2**31 - 1, appMessageId="x" * 64),
    push(clickAction={"actionType": 1, "uri": "https://e.com", "data": {"a": 1}}),
    push(sound="a.mp3", soundDuration=60, image="https://e.com"),
    push(options={"ttl": 1_296_000, "biTag": "x" * 64, "testMessage": True}),
    push(options={"collapseKey": -1, "receiptId": "RCP1"}),
    push(options={"collapseKey": 100}),
    push(style=0, foregroundShow=False, profileId="x" * 64, notifyId=-1),
    push(style=1, bigTitle="t", bigBody="b"),
    push(style=3, inboxContent=["x" * 1024] * 3),
    push(clickAction={"actionType": 1, "action": "a"}),
    badge(),
]


@pytest.mark.evidence("every rule of HarmonyOS's pages has a request that breaks it and is refused")
@pytest.mark.parametrize("body", GOOD)
def test_a_message_in_order(body: Any) -> None:
    verdict = Bench().send(body)
    assert code(verdict) == "80000000"
    assert all(it.accepted for it in verdict.targets)


BAD = [
    (b"{", "80100003"),
    ([], "80100003"),
    (push([]), "80300010"),
    (push([7]), "80300010"),
    (push(["token-1", "token-1"]), "80300010"),
    (push([f"token-{it}" for it in range(1001)]), "80300010"),
    (push([f"token-{it}" for it in range(11)], {"testMessage": True}), "80300030"),
    (push(body="x" * 4096), "80300008"),
    (push(category="NEWS"), "80100003"),
    (push(title=None), "80100003"),
    (push(body=""), "80100003"),
    (push(clickAction=None), "80100003"),
    (push(clickAction={"actionType": 1}), "80100003"),
    (push(clickAction={"actionType": 0, "data": "{}"}), "80100003"),
    (push(badge={"addNum": 0}), "80100003"),
    (push(badge={"setNum": 100}), "80100003"),
    (push(image="http://e.com"), "80100003"),
    (push(notifyId=2**31), "80100003"),
    (push(appMessageId="x" * 65), "80100003"),
    (push(sound="a.mp3", category="MARKETING"), "80100003"),
    (push(sound="a.mp3", soundDuration=61), "80100003"),
    (push(sound="a.mp3", soundDuration=0), "80100003"),
    (push(soundDuration=5), "80100003"),
    (push(sound=""), "80100003"),
    (push(badge=7), "80100003"),
    (push(badge={"addNum": 1, "class": "Main"}), "80100003"),
    (push(clickAction={"actionType": 3, "uri": "x"}), "80100003"),
    (push(clickAction={"actionType": 0, "url": "x"}), "80100003"),
    (push(category="PLAY_VOICE"), "80100003"),
    (push(category=None), "80100003"),
    (push(notifyId=-2), "80100003"),
    (push(appMessageId=""), "80100003"),
    (push(style=9), "80100003"),
    (push(style=1, bigTitle="t"), "80100003"),
    (push(style=1, bigBody="b"), "80100003"),
    (push(style=3), "80100003"),
    (push(style=3, inboxContent=["x"] * 4), "80100003"),
    (push(style=3, inboxContent=["x" * 1025]), "80100003"),
    (push(foregroundShow="no"), "80100003"),
    (push(profileId="x" * 65), "80100003"),
    (push(colour="red"), "80100003"),
    (badge(notifyId=7), "80100003"),
    (badge(title="t"), "80100003"),
    (background(), "80100003"),
    (push() | {"more": 1}, "80100003"),
    ({"payload": {"more": 1}, "target": {"token": ["token-1"]}}, "80100003"),
    (push() | {"target": {"token": ["token-1"], "topic": "x"}}, "80300010"),
    (push(options={"ttl": 0}), "80100004"),
    (push(options={"ttl": "60s"}), "80100004"),
    (push(options={"ttl": 1_296_001}), "80100004"),
    (push(options={"biTag": "x" * 65}), "80100001"),
    (push(options={"biTag": "é" * 33}), "80100001"),
    (push(options={"receiptId": 7}), "80100001"),
    (push(options={"collapseKey": 101}), "80100001"),
    (push(options={"collapseKey": -2}), "80100001"),
    (push(options={"collapseKey": "x"}), "80100001"),
    (push(options={"backgroundMode": 0}), "80100001"),
    (push(options={"more": 1}), "80100001"),
    (push(options={"testMessage": 1}), "80100001"),
    (push(title="a sensitive-word"), "80100016"),
]


@pytest.mark.evidence("every rule of HarmonyOS's pages has a request that breaks it and is refused")
@pytest.mark.parametrize(("body", "expected"), BAD)
def test_a_message_that_breaks_a_rule(body: Any, expected: str) -> None:
    bench = Bench()
    verdict = bench.send(body)
    assert code(verdict) == expected
    assert not any(it.accepted for it in verdict.targets)
    assert not any(device.shown for device in bench.book.all_of("harmony"))


@pytest.mark.evidence("every rule of HarmonyOS's pages has a request that breaks it and is refused")
@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (background(), "80000000"),
        (background({"backgroundMode": 1}, proxyData="ENABLE"), "80000000"),
        (background(extraData=None), "80100003"),
        (background(extraData=""), "80100003"),
        (background(proxyData="OFF"), "80100003"),
        (background({"backgroundMode": 7}), "80100001"),
        (background({"collapseKey": 1}), "80100001"),
        (push(), "80100003"),
    ],
)
def test_a_background_push(body: Any, expected: str) -> None:
    assert code(Bench().send(body, push_type="6")) == expected


@pytest.mark.evidence("every rule of HarmonyOS's pages has a request that breaks it and is refused")
def test_push_types_rights_and_quotas() -> None:
    for push_type in ("", "1", "10"):
        assert code(Bench().send(push(), push_type=push_type)) == "80100003"
    assert code(Bench(background_right=False).send(background(), push_type="6")) == "80300002"
    assert code(Bench(badge_right=False).send(badge())) == "80300002"
    bench = Bench(test_per_day=1, targets_per_s=2)
    trial = push(options={"testMessage": True})
    assert [code(bench.send(trial)) for _ in range(2)] == ["80000000", "80300029"]
    assert bench.send(trial).status == 503


@pytest.mark.evidence("every rule of HarmonyOS's pages has a request that breaks it and is refused")
@pytest.mark.parametrize(
    ("body", "push_type", "limit", "window_s"),
    [
        (push(category="MARKETING"), "0", "256", 86_400),
        (background({"backgroundMode": 1}), "6", "102", 3600),
    ],
)
async def test_what_is_over_a_devices_limit_is_told_so_and_not_shown(
    body: Any, push_type: str, limit: str, window_s: int
) -> None:
    bench = Bench(marketing_per_day=2, im_wakes_per_hour=2)
    assert [bench.receipt(body, push_type) for _ in range(3)] == ["", "", limit]
    device = bench.book.known("harmony", "token-1")
    assert device is not None
    assert len(device.shown) == 2
    await bench.clock.advance(window_s - 1)
    assert bench.receipt(body, push_type) == limit
    await bench.clock.advance(1)
    assert bench.receipt(body, push_type) == ""


@pytest.mark.parametrize(
    ("body", "push_type"),
    [
        (push(), "0"),
        (push(category="MARKETING", options={"testMessage": True}), "0"),
        (background(), "6"),
        (background({"backgroundMode": 0}), "6"),
    ],
)
def test_what_has_no_limit_of_a_device(body: Any, push_type: str) -> None:
    bench = Bench(marketing_per_day=2, im_wakes_per_hour=2)
    assert [bench.receipt(body, push_type) for _ in range(3)] == [""] * 3


def test_a_badge_alone_is_not_drawn() -> None:
    bench = Bench()
    bench.send(badge())
    device = bench.book.known("harmony", "token-1")
    assert device is not None
    assert [it.is_silent for it in device.shown.values()] == [True]


@pytest.mark.parametrize(
    ("state", "reason"),
    [("live", ""), ("off", ""), ("dead", "tokenFormatError"), ("other_app", "noRight")],
)
def test_what_the_device_book_says(state: State, reason: str) -> None:
    bench = Bench()
    bench.book.put("harmony", "token-1", state)
    verdict = bench.send(push(["token-0", "token-1"]))
    assert [it.reason for it in verdict.targets] == ["", reason]
    assert code(verdict) == ("80100000" if reason else "80000000")
    alone = bench.send(push(["token-1"]))
    assert code(alone) == ("80300007" if reason else "80000000")
    if reason:
        told = msgspec.json.decode(msgspec.json.decode(alone.body)["msg"])
        assert told == {"success": 0, "failure": 1, "illegalTokens": {reason: ["token-1"]}}


def test_who_was_taken_is_told_of_at_the_consoles_address_and_shows_nothing_if_blind() -> None:
    bench = Bench()
    states: tuple[State, ...] = ("muted", "inactive", "gone")
    for state in states:
        bench.book.put("harmony", state, state)
    verdict = bench.send(push(("live", *states), {"biTag": "7-1-00"}))
    assert (code(verdict), verdict.receipt_to) == ("80000000", CONSOLE)
    assert (verdict.correlation, verdict.push_type) == ("7-1-00", "0")
    assert all(target.accepted for target in verdict.targets)
    shown = [bool(device.shown) for device in bench.book.all_of("harmony")]
    assert sorted(shown) == [False, False, False, True]


def test_the_same_number_replaces_what_is_shown() -> None:
    bench = Bench()
    for body in ("one", "two"):
        bench.send(push(notifyId=7, body=body))
        assert bench.send(push(["token-2"], notifyId=-1)).collapse == ""
    device = bench.book.known("harmony", "token-1")
    assert device is not None
    assert [(it.body, it.replaced) for it in device.shown.values()] == [("two", 1)]
    other = bench.book.known("harmony", "token-2")
    assert other is not None
    assert len(other.shown) == 2


def revoke(bench: Bench, body: Any, *, push_type: str = "0", client: str = CLIENT) -> Judgement:
    path = f"/v1/{client}/messages:revoke"
    headers = [("authorization", signed()), ("push-type", push_type), JSON]
    data = body if isinstance(body, bytes) else msgspec.json.encode(body)
    return bench.harmony.judge(Call("POST", path, headers, data, Connection(1, "", None)))


def test_a_revoke_takes_from_the_screen_and_from_what_waits() -> None:
    bench = Bench()
    bench.book.put("harmony", "token-2", "off")
    bench.send(push(["token-1", "token-2"], notifyId=7))
    bench.send(push(["token-1"], notifyId=8))
    verdict = revoke(bench, {"notifyId": 7, "token": ["token-1", "token-2"]})
    assert code(verdict) == "80000000"
    # Nothing was pushed, so the log's ledger of what was taken must not count it.
    assert [(it.accepted, it.reason) for it in verdict.targets] == [(False, "revoked")] * 2
    first, second = (bench.book.known("harmony", f"token-{it}") for it in (1, 2))
    assert first is not None
    assert second is not None
    assert (list(first.shown), second.held) == (["8"], [])


@pytest.mark.evidence("every rule of HarmonyOS's pages has a request that breaks it and is refused")
@pytest.mark.parametrize(
    ("told", "more", "expected"),
    [
        ({"notifyId": 7, "token": ["t"]}, {"client": "1"}, "80300002"),
        ({"notifyId": 7, "token": ["t"]}, {"push_type": "6"}, "80100001"),
        ({"notifyId": -1, "token": ["t"]}, {}, "80100001"),
        ({"notifyId": "7", "token": ["t"]}, {}, "80100003"),
        ({"token": ["t"]}, {}, "80100003"),
        ({"notifyId": 7, "token": ["t"], "more": 1}, {}, "80100003"),
        (b"{", {}, "80100003"),
        ({"notifyId": 7, "token": []}, {}, "80300010"),
        ({"notifyId": 7, "token": [str(it) for it in range(1001)]}, {}, "80300010"),
    ],
)
def test_a_revoke_that_breaks_a_rule(told: Any, more: dict[str, Any], expected: str) -> None:
    assert code(revoke(Bench(), told, **more)) == expected


def test_a_revoke_names_whom_it_cannot_ask() -> None:
    bench = Bench()
    bench.book.put("harmony", "gone", "dead")
    verdict = revoke(bench, {"notifyId": 7, "token": ["gone", "token-1"]})
    assert code(verdict) == "80100000"
    assert [it.reason for it in verdict.targets] == ["tokenFormatError", "revoked"]
