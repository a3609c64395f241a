"""Each of vivo's rules is broken once and refused with its number, and kept once and accepted."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import msgspec
import pytest

from tocsin.clock import Chance, ManualClock
from tocsin.sandbox.devices import DeviceBook, State
from tocsin.sandbox.exchange import Call, Connection, Judgement
from tocsin.sandbox.vendors.vivo.server import (
    APP_ID,
    AUTH_PATH,
    LIST_PATH,
    SAVE_PATH,
    SEND_PATH,
    Vivo,
    VivoSettings,
)

NOW = 1_767_225_600.0
"""Eight o'clock in the morning in China."""
JSON = [("content-type", "application/json")]
HOUR_S = 3600
ADDRESS = "https://e.com/"


class Bench:
    def __init__(self, *, knows_all: bool = False, **settings: Any) -> None:
        self.clock = ManualClock(NOW)
        self.book = DeviceBook(self.clock, knows_all=knows_all)
        self.vivo = Vivo(VivoSettings(**settings), self.book, self.clock, Chance(1))

    def ask(self, path: str, body: Any, headers: Any = JSON, method: str = "POST") -> Judgement:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        call = Call(method, path, list(headers), data, Connection(1, "http/1.1", None))
        return self.vivo.judge(call)

    def auth(self, **changes: Any) -> Judgement:
        known = self.vivo.credential
        stamp = int(self.clock.now() * 1000)
        told = {"appId": known.app_id, "appKey": known.app_key, "timestamp": stamp} | changes
        text = f"{told['appId']}{told['appKey']}{told['timestamp']}{known.app_secret}"
        told.setdefault("sign", hashlib.md5(text.encode(), usedforsecurity=False).hexdigest())
        return self.ask(AUTH_PATH, {name: it for name, it in told.items() if it is not None})

    def proved(self) -> list[tuple[str, str]]:
        return [*JSON, ("authtoken", told(self.auth())["authToken"])]

    def send(self, path: str = SEND_PATH, **changes: Any) -> Judgement:
        body = message(self) | ({"regId": Vivo.token(1)} if path == SEND_PATH else {}) | changes
        return self.ask(
            path, {name: it for name, it in body.items() if it is not None}, self.proved()
        )

    def listed(self, tokens: list[str], **changes: Any) -> Judgement:
        number = told(self.send(SAVE_PATH, **changes))["taskId"]
        body = {"appId": int(APP_ID), "taskId": number, "regIds": tokens, "requestId": "r-1"}
        return self.ask(LIST_PATH, body, self.proved())


def message(bench: Bench) -> dict[str, Any]:
    return {
        "appId": bench.vivo.credential.app_id,
        "title": "Hello",
        "content": "A word to all",
        "notifyType": 4,
        "timeToLive": 3600,
        "skipType": 1,
        "classification": 1,
        "notifyId": 77,
        "requestId": "r-1",
    }


def told(verdict: Judgement) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(verdict.body)
    return found


def result(verdict: Judgement) -> int:
    """vivo's number; the HTTP status says nothing."""
    assert verdict.status == 200
    number = told(verdict)["result"]
    assert isinstance(number, int)
    assert verdict.accepted is False
    return number


# tokens


@pytest.mark.evidence("every rule of vivo's pages has a request that breaks it and is refused")
async def test_a_good_signature_is_given_a_token_for_a_day() -> None:
    bench = Bench()
    proof = bench.proved()
    body = message(bench) | {"regId": Vivo.token(1)}
    for later_s, number in ((86_399, 0), (1, 10000)):
        await bench.clock.advance(later_s)
        assert result(bench.ask(SEND_PATH, body, proof)) == number
    assert not bench.auth().logged


@pytest.mark.evidence(
    "every rule of vivo's pages has a request that breaks it and is refused",
    topic="Channels and sandbox",
    planted="a receipt address that is none; a profile of 65; the limit of a device, and of"
    " the same text, not asked, or asked for system and test messages; open all "
    "night",
)
@pytest.mark.parametrize(
    ("changes", "number"),
    [
        ({"appId": "1"}, 10201),
        ({"appKey": "other"}, 10203),
        ({"timestamp": int((NOW - 601) * 1000)}, 10205),
        ({"timestamp": int((NOW + 601) * 1000)}, 10205),
        ({"sign": "0" * 32}, 10207),
        ({"sign": None}, 10200),
        ({"appId": None, "sign": ""}, 10200),
        ({"timestamp": "now", "sign": ""}, 10200),
    ],
)
def test_a_wrong_signature(changes: dict[str, Any], number: int) -> None:
    assert result(Bench().auth(**changes)) == number


def test_several_tokens_live_side_by_side_and_all_can_be_made_stale() -> None:
    bench = Bench()
    first, second = bench.proved(), bench.proved()
    body = message(bench) | {"regId": Vivo.token(1)}
    assert [result(bench.ask(SEND_PATH, body, it)) for it in (first, second)] == [0, 0]
    assert bench.vivo.expire_all() == 2
    assert result(bench.ask(SEND_PATH, body, first)) == 10000


def test_too_many_tokens_a_second() -> None:
    bench = Bench(auth_per_s=2)
    assert [result(bench.auth()) for _ in range(3)] == [0, 0, 10072]


@pytest.mark.parametrize("path", [SEND_PATH, SAVE_PATH, LIST_PATH])
def test_nothing_goes_without_a_token(path: str) -> None:
    assert result(Bench().ask(path, {})) == 10000


@pytest.mark.parametrize(
    ("path", "method", "headers", "status"),
    [
        ("/message/other", "POST", JSON, 404),
        (SEND_PATH, "GET", JSON, 405),
        (SEND_PATH, "POST", [("content-type", "text/plain")], 415),
    ],
)
def test_the_door(path: str, method: str, headers: Any, status: int) -> None:
    assert Bench().ask(path, {}, headers, method).status == status


# the message


@pytest.mark.evidence("every rule of vivo's pages has a request that breaks it and is refused")
@pytest.mark.parametrize(
    ("changes", "number"),
    [
        ({"title": None}, 10055),
        ({"content": ""}, 10055),
        ({"title": "x" * 41}, 10056),
        ({"title": "🔔" * 21}, 10056),
        ({"content": "x" * 101}, 10058),
        ({"notifyType": 5}, 10054),
        ({"notifyType": "4"}, 10050),
        ({"timeToLive": 59}, 10059),
        ({"timeToLive": 86_401}, 10059),
        ({"requestId": None}, 10066),
        ({"requestId": "x" * 65}, 10066),
        ({"notifyId": 0}, 10067),
        ({"notifyId": 2**31}, 10067),
        ({"networkType": 0}, 10063),
        ({"pushMode": 2}, 10063),
        ({"skipType": 5}, 10060),
        ({"skipType": 2}, 10061),
        ({"skipType": 4}, 10061),
        ({"skipType": 2, "skipContent": "x" * 1001}, 10062),
        ({"skipType": 3, "skipContent": "x" * 1025}, 10062),
        ({"clientCustomMap": {"ext": "x" * 1022}}, 10065),
        ({"clientCustomMap": {str(it): "x" for it in range(11)}}, 10065),
        ({"clientCustomMap": {"ext": {}}}, 10050),
        ({"extra": {"callback": ADDRESS + "x" * 115}}, 10064),
        ({"extra": {"callback": "push.example"}}, 10064),
        ({"extra": {"callback.id": "x" * 129}}, 10064),
        ({"extra": {"callback.id": "1", "callback.param": "x" * 193}}, 10064),
        ({"profileId": "x" * 65}, 10063),
        ({"sendOnline": "no"}, 10050),
        ({"foregroundShow": "no"}, 10050),
        ({"addBadge": 1}, 10050),
        ({"auditReview": {}}, 10050),
        ({"extra": {"callback.param": "x"}}, 10064),
        ({"extra": {"other": "x"}}, 10064),
        ({"classification": 2}, 10095),
        ({"category": "NEW_ONE"}, 10096),
        ({"category": "NEWS"}, 10097),
        ({"category": "IM", "classification": 0}, 10097),
        ({"badgeSet": 1}, 10050),
        ({"appId": None}, 10050),
        ({"appId": "1"}, 10094),
        ({"title": "a sensitive-word"}, 10103),
        ({"content": "测试"}, 10104),
    ],
)
def test_a_wrong_message_is_refused_alone_and_saved(changes: dict[str, Any], number: int) -> None:
    for path in (SEND_PATH, SAVE_PATH):
        bench = Bench()
        assert result(bench.send(path, **changes)) == number
        assert not any(device.shown for device in bench.book.all_of("vivo"))


@pytest.mark.evidence("every rule of vivo's pages has a request that breaks it and is refused")
@pytest.mark.parametrize(
    "changes",
    [
        {"title": "x" * 40, "content": "x" * 100},
        {"timeToLive": 60},
        {"timeToLive": 86_400, "requestId": "x" * 64, "notifyId": 2**31 - 1},
        {"skipType": 2, "skipContent": "x" * 1000},
        {"clientCustomMap": {"ext": "x" * 1021}},
        {"extra": {"callback.id": "x" * 128, "callback.param": "x" * 192}},
        {"extra": {"callback": ADDRESS + "x" * 114}, "profileId": "x" * 64},
        {"auditReview": [{}], "sendOnline": True, "foregroundShow": False, "networkType": 1},
        {"classification": 0, "category": "NEWS", "addBadge": True},
        {"content": "测试", "pushMode": 1},
    ],
)
def test_a_message_at_its_bounds_is_taken(changes: dict[str, Any]) -> None:
    for path in (SEND_PATH, SAVE_PATH):
        assert result(Bench(test_users=(Vivo.token(1),)).send(path, **changes)) == 0


def test_a_device_is_named_for_one_and_not_for_a_list() -> None:
    assert result(Bench().send(regId=None)) == 10053
    assert result(Bench().send(SAVE_PATH, regId="x")) == 10053


def test_an_app_without_system_messages() -> None:
    assert result(Bench(allows_system=False).send()) == 10082
    assert result(Bench(allows_system=False).send(classification=0)) == 0


# lists


@pytest.mark.evidence("every rule of vivo's pages has a request that breaks it and is refused")
@pytest.mark.evidence("and refuses what the vendors refuse")
@pytest.mark.parametrize(
    ("body", "number"),
    [
        ({"regIds": ["a"]}, 10152),
        ({"regIds": [str(it) for it in range(1001)]}, 10152),
        ({"regIds": ["a", "a"]}, 10153),
        ({"regIds": ["a", ""]}, 10153),
        ({"requestId": ""}, 10154),
        ({"requestId": "x" * 65}, 10154),
        ({"taskId": "0"}, 10304),
        ({"taskId": None}, 10150),
        ({"appId": None}, 10150),
        ({"appId": 1}, 10094),
        ({"regIds": "a,b"}, 10150),
    ],
)
def test_a_wrong_list(body: dict[str, Any], number: int) -> None:
    bench = Bench()
    saved = told(bench.send(SAVE_PATH))["taskId"]
    asked = {"appId": APP_ID, "taskId": saved, "regIds": ["a", "b"], "requestId": "r"} | body
    asked = {name: it for name, it in asked.items() if it is not None}
    assert result(bench.ask(LIST_PATH, asked, bench.proved())) == number


def test_a_list_names_whom_it_does_not_reach() -> None:
    bench = Bench(knows_all=True)
    states: dict[str, State] = {"a": "live", "b": "dead", "c": "other_app", "d": "off"}
    for token, state in states.items():
        bench.book.put("vivo", token, state)
    verdict = bench.listed([*states, "e"])
    assert result(verdict) == 0
    assert told(verdict)["invalidUsers"] == [
        {"userid": "b", "status": 2},
        {"userid": "c", "status": 1},
        {"userid": "e", "status": 1},
    ]
    assert [(it.token, it.accepted) for it in verdict.targets] == [
        ("a", True),
        ("b", False),
        ("c", False),
        ("d", True),
        ("e", False),
    ]
    assert (verdict.collapse, verdict.correlation, verdict.push_type) == ("77", "r-1", "system")


def test_saving_reaches_nobody() -> None:
    bench = Bench()
    verdict = bench.send(SAVE_PATH)
    assert not verdict.logged
    assert not verdict.targets


# devices


@pytest.mark.parametrize(
    ("state", "app", "number"),
    [
        ("live", None, 0),
        ("off", None, 0),
        ("dead", None, 10302),
        ("expired", None, 10302),
        ("other_app", None, 10302),
        ("live", "1", 10302),
        # That the app was removed shows only on the phone, and is told by a receipt.
        ("muted", None, 10311),
        ("inactive", None, 10311),
        ("gone", None, 0),
    ],
)
def test_what_a_device_is(state: State, app: str | None, number: int) -> None:
    bench = Bench()
    bench.book.put("vivo", Vivo.token(1), state, app=app)
    verdict = bench.send()
    assert result(verdict) == number
    assert [it.accepted for it in verdict.targets] == [number == 0]


def test_a_second_one_takes_the_first_ones_place() -> None:
    bench = Bench()
    for title in ("one", "two"):
        bench.send(title=title)
    device = bench.book.known("vivo", Vivo.token(1))
    assert device is not None
    assert [(it.title, it.replaced) for it in device.shown.values()] == [("two", 1)]


def test_a_test_reaches_test_users_only() -> None:
    bench = Bench(test_users=(Vivo.token(1),))
    assert "invalidUser" not in told(bench.send(pushMode=1))
    other = bench.send(pushMode=1, regId=Vivo.token(2))
    assert told(other)["invalidUser"] == {"userid": Vivo.token(2), "status": 4}
    assert [it.accepted for it in other.targets] == [False]


# hours, pace and quota


@pytest.mark.evidence("every rule of vivo's pages has a request that breaks it and is refused")
@pytest.mark.parametrize(
    ("hours", "number"), [(0, 0), (14.9, 0), (15, 10071), (22.9, 10071), (23, 0)]
)
async def test_operation_messages_go_by_day(hours: float, number: int) -> None:
    bench = Bench()
    await bench.clock.advance(hours * HOUR_S)
    assert result(bench.send(classification=0)) == number
    assert result(bench.send()) == 0


@pytest.mark.evidence("every rule of vivo's pages has a request that breaks it and is refused")
async def test_the_pace_counts_targets() -> None:
    bench = Bench(targets_per_s=2)
    assert [result(bench.listed(["a", "b"])), result(bench.send())] == [0, 10072]
    await bench.clock.advance(1)
    assert result(bench.send()) == 0


@pytest.mark.evidence("every rule of vivo's pages has a request that breaks it and is refused")
async def test_the_days_quota_ends_at_midnight_in_china() -> None:
    bench = Bench(operation_per_day=3, system_per_day=2)
    assert result(bench.listed(["a", "b"], classification=0)) == 0
    assert result(bench.listed(["a", "b"], classification=0)) == 10252
    assert [result(bench.send(classification=0)) for _ in range(2)] == [0, 10070]
    assert [result(bench.send()) for _ in range(3)] == [0, 0, 10073]
    await bench.clock.advance(16 * HOUR_S)
    assert result(bench.send()) == 0


@pytest.mark.evidence("every rule of vivo's pages has a request that breaks it and is refused")
@pytest.mark.parametrize(
    ("settings", "changes", "expected"),
    [
        ({"device_per_day": 2}, {"classification": 0}, ["", "", "2000"]),
        ({"drops_identical": True}, {"classification": 0}, ["", "2124", "2124"]),
        ({"device_per_day": 2, "drops_identical": True}, {}, ["", "", ""]),
        (
            {"device_per_day": 1, "drops_identical": True, "test_users": (Vivo.token(1), "b")},
            {"classification": 0, "pushMode": 1},
            ["", "", ""],
        ),
        ({}, {"classification": 0}, ["", "", ""]),
    ],
)
async def test_what_a_device_had_enough_of_is_told_so_and_not_shown(
    settings: dict[str, Any], changes: dict[str, Any], expected: list[str]
) -> None:
    bench = Bench(**settings)

    def ask(token: str) -> Judgement:
        told = {**changes, "notifyId": None}
        return bench.listed([token, "c"], **told) if token == "b" else bench.send(**told)

    for token in (Vivo.token(1), "b"):
        verdicts = [ask(token) for _ in expected]
        assert [result(it) for it in verdicts] == [0, 0, 0]
        assert [it.targets[0].receipt_code for it in verdicts] == expected
        assert verdicts[-1].targets[0].accepted
        device = bench.book.known("vivo", token)
        assert device is not None
        assert len(device.shown) == expected.count("")
    await bench.clock.advance(24 * HOUR_S)
    assert ask("b").targets[0].receipt_code == ""


def test_another_text_is_shown() -> None:
    bench = Bench(drops_identical=True)
    for changes in ({"title": "a"}, {"title": "b"}, {"title": "b", "content": "c"}):
        verdict = bench.send(classification=0, **changes)
        assert verdict.targets[0].receipt_code == ""


def test_a_fault_by_rule_speaks_as_vivo() -> None:
    bench = Bench()
    for path, is_logged in ((SEND_PATH, True), (SAVE_PATH, False), (AUTH_PATH, False)):
        call = Call("POST", path, [], b"{}", Connection(1, "http/1.1", None))
        verdict = bench.vivo.refusal("10045", call)
        assert (result(verdict), verdict.logged) == (10045, is_logged)


def test_the_first_device_of_a_list_is_found_for_rules() -> None:
    bench = Bench()
    for body in (b'{"regIds": ["ab", "c"]}', b'{"regId":"ab"}'):
        assert (
            bench.vivo.token_of(Call("POST", SEND_PATH, [], body, Connection(1, "", None))) == "ab"
        )


@pytest.mark.evidence(
    "the sandbox takes what the vendors' SDKs send",
    topic="Vendors",
    planted="a list's `appId` compared as it came; `networkType` a number only; `HIGH` "
    "refused from the start; any `fix_speed_rate`; `target_type` a number only; "
    "switches 0 and 1 only",
)
@pytest.mark.parametrize("app_id", [int(APP_ID), APP_ID])
def test_the_app_may_be_a_number_or_its_text_in_every_body(app_id: int | str) -> None:
    bench = Bench()
    proof = [*JSON, ("authtoken", told(bench.auth(appId=app_id))["authToken"])]
    single = {**message(bench), "appId": app_id, "regId": "a"}
    assert result(bench.ask(SEND_PATH, single, proof)) == 0
    saved = told(bench.ask(SAVE_PATH, {**message(bench), "appId": app_id}, proof))["taskId"]
    asked = {"appId": app_id, "taskId": saved, "regIds": ["a", "b"], "requestId": "r"}
    assert result(bench.ask(LIST_PATH, asked, proof)) == 0


@pytest.mark.evidence("the sandbox takes what the vendors' SDKs send")
@pytest.mark.parametrize(
    ("changes", "number"),
    [
        ({"networkType": "-1"}, 0),
        ({"networkType": "1"}, 0),
        ({"networkType": "2"}, 10050),
        ({"networkType": 2}, 10063),
        ({"timedDisplay": {"beginTime": 1, "endTime": 2}}, 0),
        ({"appId": "abc"}, 10050),
    ],
)
def test_what_other_clients_write(changes: dict[str, Any], number: int) -> None:
    assert result(Bench().send(**changes)) == number
