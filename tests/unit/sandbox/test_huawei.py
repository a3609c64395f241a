"""Each of Huawei's rules is broken once and refused, and kept once and accepted."""

from __future__ import annotations

import copy
import json
from typing import Any
from urllib.parse import urlencode

import pytest

from tocsin.clock import Chance, ManualClock
from tocsin.sandbox.devices import DeviceBook, State
from tocsin.sandbox.exchange import Call, Connection, Judgement
from tocsin.sandbox.vendors.huawei.server import APP_ID, APP_SECRET, DAY_S, Huawei, HuaweiSettings

PATH = f"/v1/{APP_ID}/messages:send"
FORM = ("content-type", "application/x-www-form-urlencoded")
JSON = ("content-type", "application/json")
CLIENT = {"grant_type": "client_credentials", "client_id": APP_ID, "client_secret": APP_SECRET}
GONE: Any = object()

GOOD: dict[str, Any] = {
    "validate_only": False,
    "message": {
        "data": "{}",
        "notification": {"title": "t", "body": "b"},
        "android": {
            "ttl": "1296000s",
            "category": "IM",
            "bi_tag": "tag",
            "receipt_id": "RCP1",
            "collapse_key": -1,
            "notification": {
                "click_action": {"type": 3},
                "importance": "NORMAL",
                "notify_id": 2**31 - 1,
                "image": "https://e.com/i",
                "badge": {"add_num": 99, "class": "Main"},
                "sound": "/raw/bell",
                "default_sound": False,
                "style": 1,
                "big_title": "t",
                "big_body": "b",
            },
        },
        "token": [Huawei.token(1), Huawei.token(2)],
    },
}
REVIEW: dict[str, Any] = {"reviewer": "tuibian", "type": 0, "result": {}}
M, A, N = "message", "message.android", "message.android.notification"


def with_(changes: dict[str, Any]) -> dict[str, Any]:
    """The good message with places of it changed."""
    body = copy.deepcopy(GOOD)
    for where, value in changes.items():
        *path, last = where.split(".")
        part = body
        for name in path:
            part = part[name]
        if value is GONE:
            del part[last]
        else:
            part[last] = value
    return body


class Bench:
    def __init__(self, **settings: Any) -> None:
        self.clock = ManualClock()
        self.book = DeviceBook(self.clock)
        self.huawei = Huawei(HuaweiSettings(**settings), self.book, self.clock, Chance(1))
        self.bearer = json.loads(self.fetch(CLIENT).body)["access_token"]

    def fetch(self, form: dict[str, str], **changed: Any) -> Judgement:
        given = {"method": "POST", "path": "/oauth2/v3/token", "headers": [FORM]} | changed
        body = urlencode(form).encode()
        return self.huawei.judge(Call(**given, body=body, connection=Connection(1, "", None)))

    def ask(self, changes: dict[str, Any] | None = None, **changed: Any) -> Judgement:
        proof = ("authorization", f"Bearer {self.bearer}")
        given = {"method": "POST", "path": PATH, "headers": [proof, JSON]} | changed
        given.setdefault("body", json.dumps(with_(changes or {})).encode())
        return self.huawei.judge(Call(**given, connection=Connection(1, "", None)))

    def code(self, changes: dict[str, Any] | None = None, **changed: Any) -> str:
        verdict = self.ask(changes, **changed)
        accepted = [target.accepted for target in verdict.targets]
        code = str(json.loads(verdict.body)["code"])
        assert all(accepted) and accepted if code == "80000000" else not any(accepted)
        return code


def test_what_keeps_every_rule_is_taken() -> None:
    bench = Bench()
    verdict = bench.ask()
    assert json.loads(verdict.body)["code"] == "80000000"
    assert (verdict.status, verdict.correlation) == (200, "tag")
    assert [target.accepted for target in verdict.targets] == [True, True]
    device = bench.book.known("huawei", Huawei.token(1))
    assert device is not None
    assert [shown.title for shown in device.shown.values()] == ["t"]


@pytest.mark.evidence("the sandbox takes what the vendors' SDKs send")
@pytest.mark.parametrize(("allows_high", "code"), [(True, "80000000"), (False, "80300011")])
def test_high_urgency_is_refused_only_without_the_right(allows_high: bool, code: str) -> None:
    """Huawei's own samples send it with a notification and with data."""
    bench = Bench(allows_high=allows_high)
    assert bench.code({f"{A}.urgency": "HIGH"}) == code
    assert Bench().code({f"{A}.urgency": "HIGH"}) == "80000000"
    assert bench.code({f"{A}.urgency": "NORMAL"}) == "80000000"


REFUSED = [
    ({f"{M}.token": []}, "80300010"),
    ({f"{M}.token": ["t"] * 1001}, "80300010"),
    ({f"{M}.token": GONE}, "80100003"),
    ({f"{M}.topic": "news"}, "80100003"),
    ({f"{M}.token": "t"}, "80100001"),
    ({f"{M}.colour": "red"}, "80100001"),
    ({M: GONE}, "80100001"),
    ({f"{M}.data": "x" * 4096}, "80300008"),
    ({f"{M}.notification.title": GONE}, "80100001"),
    ({f"{M}.notification.body": ""}, "80100001"),
    ({f"{M}.android": GONE, f"{M}.notification": GONE, f"{M}.data": GONE}, "80100003"),
    ({f"{M}.android": GONE}, "80100001"),
    ({f"{A}.ttl": "86400"}, "80100001"),
    ({f"{A}.ttl": "1296001s"}, "80100001"),
    ({f"{A}.ttl": "0s"}, "80100004"),
    ({f"{A}.ttl": "-5s"}, "80100004"),
    ({f"{A}.collapse_key": 101}, "80100013"),
    ({f"{A}.collapse_key": -2}, "80100013"),
    ({f"{A}.category": "GOSSIP"}, "80100001"),
    ({f"{A}.category": "PLAY_VOICE"}, "80100001"),
    ({f"{A}.urgency": "LOW"}, "80100001"),
    ({f"{A}.receipt_id": "RCP9"}, "80300013"),
    ({f"{A}.target_user_type": 2}, "80100001"),
    ({f"{A}.fast_app_target": 3}, "80100001"),
    ({f"{A}.bi_tag": 7}, "80100001"),
    ({f"{M}.notification.image": "http://e.com/i"}, "80100001"),
    ({f"{M}.notification.colour": "red"}, "80100001"),
    ({"validate_only": "yes"}, "80100001"),
    ({"review": {}}, "80100018"),
    ({"review": [{}]}, "80100018"),
    ({"review": [REVIEW | {"reviewer": "me"}]}, "80100018"),
    ({"review": [REVIEW | {"type": 1}]}, "80100018"),
    ({f"{N}.category": "IM"}, "80100001"),
    ({f"{N}.importance": "MAX"}, "80100001"),
    ({f"{N}.click_action": GONE}, "80100001"),
    ({f"{N}.click_action": {"type": 4}}, "80100001"),
    ({f"{N}.click_action": {"type": 1}}, "80100001"),
    ({f"{N}.click_action": {"type": 1, "intent": "i", "action": "a"}}, "80100001"),
    ({f"{N}.click_action": {"type": 2, "url": "http://e.com"}}, "80100001"),
    ({f"{N}.badge": {"add_num": 1}}, "80100001"),
    ({f"{N}.badge": {"add_num": 0, "class": "Main"}}, "80100001"),
    ({f"{N}.badge": {"set_num": 100, "class": "Main"}}, "80100001"),
    ({f"{N}.notify_id": 2**31}, "80100001"),
    ({f"{N}.notify_id": -2}, "80100001"),
    ({f"{N}.style": 2}, "80100001"),
    ({f"{N}.big_body": GONE}, "80100001"),
    ({f"{N}.style": 3}, "80100001"),
    ({f"{N}.image": "http://e.com/i"}, "80100001"),
    ({f"{N}.default_sound": GONE}, "80100001"),
    ({f"{N}.sound": "bell"}, "80100001"),
    ({f"{N}.style": 3, f"{N}.inbox_content": []}, "80100001"),
    ({f"{N}.style": 3, f"{N}.inbox_content": ["a"] * 6}, "80100001"),
    ({f"{N}.style": 3, f"{N}.inbox_content": ["a" * 1025]}, "80100001"),
    ({f"{N}.big_title": ""}, "80100001"),
    ({f"{N}.color": "red"}, "80100001"),
    ({f"{N}.when": "tomorrow"}, "80100001"),
    ({f"{N}.profile_id": "x" * 65}, "80100001"),
    ({f"{N}.visibility": "SOMEWHERE"}, "80100001"),
    ({f"{N}.title_loc_args": "x"}, "80100001"),
    ({f"{N}.body_loc_key": 7}, "80100001"),
    ({f"{N}.multi_lang_key": {"k": dict.fromkeys(("a", "b", "c", "d"), "x")}}, "80100001"),
    ({f"{N}.multi_lang_key": {"k": "x"}}, "80100001"),
    ({f"{N}.foreground_show": "no"}, "80100001"),
    ({f"{N}.buttons": [{}] * 4}, "80100001"),
    ({f"{N}.buttons": {}}, "80100001"),
    ({f"{M}.notification.title": "a sensitive-word"}, "80100016"),
]


@pytest.mark.evidence(
    "every rule of Huawei's pages has a request that breaks it and is refused",
    topic="Channels and sandbox",
    planted="any scheme before the bearer; http in the common image; a sound, colour or "
    "time of any form; a review of any form; four languages; PLAY_VOICE shown; test"
    " messages not counted, or counted for the device; the limits of a device not "
    "asked",
)
@pytest.mark.parametrize(("changes", "code"), REFUSED)
def test_a_rule_that_is_broken_is_refused(changes: dict[str, Any], code: str) -> None:
    assert Bench().code(changes) == code


@pytest.mark.evidence("every rule of Huawei's pages has a request that breaks it and is refused")
@pytest.mark.parametrize(
    "changes",
    [
        {f"{M}.notification": GONE, f"{A}.notification": GONE},
        {f"{N}.click_action": {"type": 1, "action": "a"}},
        {f"{N}.click_action": {"type": 2, "url": "https://e.com"}},
        {f"{N}.badge": {"set_num": 0, "class": "Main"}},
        {f"{N}.style": 3, f"{N}.inbox_content": ["a" * 1024, *"bcde"]},
        {f"{N}.buttons": [{}] * 3, f"{N}.notify_id": -1, f"{N}.profile_id": "x" * 64},
        {f"{N}.color": "#FFeeff", f"{N}.when": "2014-10-02T15:01:23.045123456Z"},
        {f"{N}.title_loc_key": "t", f"{N}.title_loc_args": ["1"]},
        {f"{N}.body_loc_key": "b", f"{N}.body_loc_args": ["1", "2"]},
        {f"{N}.multi_lang_key": {"t": {"en": "t", "zh": "t", "fr": "t"}, "b": {"en": "b"}}},
        {"review": [REVIEW]},
        {f"{M}.notification": GONE, f"{N}.title": "t", f"{N}.body": "b"},
    ],
)
def test_other_shapes_are_taken(changes: dict[str, Any]) -> None:
    assert Bench().code(changes) == "80000000"


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff"])
def test_what_is_no_message_is_refused(body: bytes) -> None:
    assert Bench().code(body=body) in ("80100001", "80100003")


def test_a_trial_shows_nothing() -> None:
    bench = Bench()
    verdict = bench.ask({"validate_only": True})
    assert json.loads(verdict.body)["code"] == "80000000"
    assert (verdict.accepted, verdict.targets) == (False, ())


# who sends


@pytest.mark.evidence("every rule of Huawei's pages has a request that breaks it and is refused")
def test_bearers_expire_and_belong_to_one_app() -> None:
    bench = Bench()
    assert bench.code(headers=[JSON]) == "80200001"
    assert bench.code(headers=[("authorization", "Bearer no"), JSON]) == "80200001"
    for scheme in ("Basic", "bearer", ""):
        proof = ("authorization", f"{scheme} {bench.bearer}")
        assert bench.code(headers=[proof, JSON]) == "80200001"
    assert bench.code(path="/v1/1/messages:send") == "80300002"
    assert bench.code(headers=[("authorization", f"Bearer {bench.bearer}")]) == "80100003"
    assert bench.ask(path="/v2/x").status == bench.ask(method="GET").status == 404
    assert bench.code() == "80000000"
    assert bench.huawei.expire_all() == 1
    assert (bench.ask().status, bench.code()) == (401, "80200003")


async def test_a_bearer_lives_an_hour() -> None:
    bench = Bench()
    await bench.clock.advance(3599)
    assert bench.code() == "80000000"
    await bench.clock.advance(1)
    assert bench.code() == "80200003"


@pytest.mark.evidence("every rule of Huawei's pages has a request that breaks it and is refused")
@pytest.mark.parametrize(
    ("form", "request_", "status"),
    [
        ({"grant_type": "password"}, {}, 400),
        ({"client_id": "1"}, {}, 401),
        ({"client_secret": "guess"}, {}, 401),
        ({}, {"method": "GET"}, 400),
        ({}, {"headers": [JSON]}, 400),
    ],
)
def test_a_bearer_is_for_the_apps_secret_only(
    form: dict[str, str], request_: dict[str, Any], status: int
) -> None:
    verdict = Bench().fetch({**CLIENT, **form}, **request_)
    assert (verdict.status, verdict.logged) == (status, False)
    assert "access_token" not in json.loads(verdict.body)


# devices and pace


@pytest.mark.parametrize("state", ["dead", "expired", "other_app", "other_environment"])
def test_dead_tokens_are_named_and_the_others_served(state: State) -> None:
    bench = Bench()
    bench.book.put("huawei", Huawei.token(2), state)
    verdict = bench.ask()
    told = json.loads(verdict.body)
    assert (verdict.status, told["code"]) == (200, "80100000")
    parts = json.loads(told["msg"])
    assert parts == {"success": 1, "failure": 1, "illegal_tokens": [Huawei.token(2)]}
    assert [target.accepted for target in verdict.targets] == [True, False]
    bench.book.put("huawei", Huawei.token(1), state)
    assert bench.code() == "80300007"


@pytest.mark.evidence("every rule of Huawei's pages has a request that breaks it and is refused")
async def test_more_targets_than_allowed_are_flow_control() -> None:
    bench = Bench(targets_per_s=3)
    assert [bench.code(), bench.code()] == ["80000000", "80000000"]
    verdict = bench.ask()
    assert (verdict.status, [it.accepted for it in verdict.targets]) == (503, [False, False])
    await bench.clock.advance(1)
    assert bench.code() == "80000000"


TRIAL = {f"{A}.target_user_type": 1}
OFFER = {f"{A}.category": "MARKETING"}


@pytest.mark.evidence("every rule of Huawei's pages has a request that breaks it and is refused")
async def test_test_messages_are_five_hundred_a_day() -> None:
    assert HuaweiSettings().test_per_day == 500
    bench = Bench(test_per_day=2)
    assert [bench.code(TRIAL) for _ in range(3)] == ["80000000", "80000000", "80300029"]
    assert bench.code() == "80000000"
    await bench.clock.advance(DAY_S)
    bench.bearer = json.loads(bench.fetch(CLIENT).body)["access_token"]
    assert bench.code(TRIAL) == "80000000"


@pytest.mark.evidence("every rule of Huawei's pages has a request that breaks it and is refused")
@pytest.mark.parametrize(
    ("settings", "changes", "told"),
    [
        ({"marketing_per_day": 2}, OFFER, ["", "", "256"]),
        ({"device_per_day": 2}, {}, ["", "", "102"]),
        ({"marketing_per_day": 2}, {}, ["", "", ""]),
        ({"marketing_per_day": 2, "device_per_day": 2}, OFFER | TRIAL, ["", "", ""]),
        ({}, OFFER, ["", "", ""]),
    ],
)
async def test_what_is_over_a_devices_limit_is_told_so_and_not_shown(
    settings: dict[str, int], changes: dict[str, Any], told: list[str]
) -> None:
    bench = Bench(**settings)
    one = changes | {f"{M}.token": [Huawei.token(1)], f"{N}.notify_id": -1}
    verdicts = [bench.ask(one) for _ in told]
    assert [it.targets[0].receipt_code for it in verdicts] == told
    assert all(it.targets[0].accepted for it in verdicts)
    device = bench.book.known("huawei", Huawei.token(1))
    assert device is not None
    assert len(device.shown) == told.count("")
    await bench.clock.advance(DAY_S)
    bench.bearer = json.loads(bench.fetch(CLIENT).body)["access_token"]
    assert bench.ask(one).targets[0].receipt_code == ""


@pytest.mark.parametrize("code", ["80100002", "80100017", "80600003", "81000001", "503"])
def test_any_code_can_be_asked_for(code: str) -> None:
    call = Call("POST", PATH, [], b"{}", Connection(1, "", None))
    verdict = Bench().huawei.refusal(code, call)
    assert json.loads(verdict.body)["code"] == code
    assert verdict.status >= 400
