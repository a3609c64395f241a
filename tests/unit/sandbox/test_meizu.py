"""Each of Meizu's rules is broken once and refused, and kept once and accepted."""

from __future__ import annotations

import hashlib
import json
from typing import Any
from urllib.parse import urlencode

import pytest

from tocsin.clock import Chance, ManualClock
from tocsin.sandbox.devices import DeviceBook, State
from tocsin.sandbox.exchange import Call, Connection, Judgement
from tocsin.sandbox.vendors.meizu.server import APP_ID, PATH, SECRET, Meizu, MeizuSettings

FORM = ("content-type", "application/x-www-form-urlencoded")
CALLBACK = "https://push.example/v3/offline_push_report/meizu"
IDS = "pushid-00000001,pushid-00000002"

GOOD: dict[str, Any] = {
    "noticeBarInfo": {
        "noticeMsgType": 1,
        "noticeBarType": 0,
        "title": "t" * 32,
        "content": "c" * 100,
    },
    "clickTypeInfo": {"clickType": 0, "parameters": {"ext": "x"}},
    "pushTimeInfo": {"offLine": 1, "validTime": 72},
    "advanceInfo": {"notifyKey": "aZ09_-xy"},
    "extra": {"callback": CALLBACK, "callback.param": "p" * 64, "callback.type": 3},
}


class Bench:
    def __init__(self, **settings: Any) -> None:
        self.clock = ManualClock()
        self.book = DeviceBook(self.clock)
        told = MeizuSettings(**{"callbacks": (CALLBACK,), **settings})
        self.meizu = Meizu(told, self.book, self.clock, Chance(1))

    def ask(
        self, where: str = "", value: Any = None, *, ids: str = IDS, **request: Any
    ) -> Judgement:
        message = json.loads(json.dumps(GOOD))
        if where:
            part = message
            *way, last = where.split("/")
            for name in way:
                part = part.setdefault(name, {})
            part[last] = value
        text = request.get("text", json.dumps(message))
        form: dict[str, str] = {"appId": APP_ID, "pushIds": ids, "messageJson": text}
        form |= request.get("form", {})
        plain = "".join(f"{name}={form[name]}" for name in sorted(form))
        secret = request.get("secret", SECRET)
        form["sign"] = hashlib.md5((plain + secret).encode()).hexdigest()
        form |= request.get("after", {})
        body = urlencode({name: text for name, text in form.items() if text})
        call = Call(
            request.get("method", "POST"),
            request.get("path", PATH),
            request.get("headers", [FORM]),
            request.get("body", body.encode()),
            Connection(1, "http/1.1", None),
        )
        return self.meizu.judge(call)

    def code(self, where: str = "", value: Any = None, **request: Any) -> str:
        return str(answer(self.ask(where, value, **request))["code"])


def answer(verdict: Judgement) -> Any:
    assert verdict.status == 200
    found = json.loads(verdict.body)
    assert (found["code"] == "200") == verdict.accepted
    return found


KEPT: list[tuple[str, Any]] = [
    ("", None),
    ("noticeBarInfo/noticeMsgType", 0),
    ("noticeBarInfo/noticeBarType", 2),
    ("noticeExpandInfo", {"noticeExpandType": 1, "noticeExpandContent": "long"}),
    ("noticeExpandInfo", {"noticeExpandType": 2, "noticeExpandImgUrl": "https://e.com/i"}),
    ("clickTypeInfo", {"clickType": 1, "activity": "com.e.Order"}),
    ("clickTypeInfo", {"clickType": 2, "url": "app://order/1"}),
    ("pushTimeInfo", {"offLine": 0, "validTime": 1}),
    ("advanceInfo", {}),
    ("pushTimeInfo/offLine", True),
    ("pushTimeInfo/offLine", False),
    ("advanceInfo", {"suspend": True, "clearNoticeBar": False}),
    ("advanceInfo/notificationType", {"vibrate": True, "lights": False, "sound": 1}),
    ("vipInfo", {"subtitle": "s" * 16}),
    ("extra", {}),
    ("somethingNew", 1),
]


@pytest.mark.evidence("the sandbox takes what the vendors' SDKs send")
@pytest.mark.parametrize(("where", "value"), KEPT)
def test_what_keeps_the_rules_is_accepted(where: str, value: Any) -> None:
    found = answer(Bench().ask(where, value))
    assert (found["code"], found["value"]) == ("200", {})


BROKEN: list[tuple[str, Any, str]] = [
    ("noticeBarInfo", None, "1005"),
    ("noticeBarInfo/title", "", "1005"),
    ("noticeBarInfo/title", " ", "1005"),
    ("noticeBarInfo/title", "t" * 33, "1005"),
    ("noticeBarInfo/title", "😀" * 17, "1005"),
    ("noticeBarInfo/title", 7, "1005"),
    ("noticeBarInfo/content", " ", "1005"),
    ("noticeBarInfo/content", "c" * 101, "1005"),
    ("noticeBarInfo/noticeMsgType", 2, "1005"),
    ("noticeBarInfo/noticeMsgType", "1", "1005"),
    ("noticeBarInfo/noticeBarType", 1, "1005"),
    ("noticeExpandInfo", {"noticeExpandType": 3}, "1005"),
    ("noticeExpandInfo", {"noticeExpandType": 1}, "1005"),
    ("noticeExpandInfo", {"noticeExpandType": 2, "noticeExpandImgUrl": "x"}, "1005"),
    ("clickTypeInfo", {"clickType": 1}, "1005"),
    ("clickTypeInfo", {"clickType": 2, "url": "order"}, "1005"),
    ("clickTypeInfo", {"clickType": 3, "customAttribute": "x"}, "1005"),
    ("clickTypeInfo", {"clickType": 0, "parameters": "text"}, "1005"),
    ("pushTimeInfo", {"offLine": 2}, "1005"),
    ("pushTimeInfo", {"validTime": 0}, "1005"),
    ("pushTimeInfo", {"validTime": 73}, "1005"),
    ("pushTimeInfo", {"validTime": 1.5}, "1005"),
    ("advanceInfo", {"notifyKey": "123456789"}, "1005"),
    ("advanceInfo", {"notifyKey": "a b"}, "1005"),
    ("advanceInfo", {"suspend": 2}, "1005"),
    ("advanceInfo", {"notificationType": {"vibrate": 2}}, "1005"),
    ("vipInfo", {"subtitle": "s" * 17}, "1005"),
    ("extra/callback", "push.example", "1005"),
    ("extra/callback", "https://e.com/" + "x" * 120, "1005"),
    ("extra/callback", "", "1005"),
    ("extra", {"callback.param": "p"}, "1005"),
    ("extra", {"callback.type": 3}, "1005"),
    ("extra/callback", "https://e.com/", "110004"),
    ("extra/callback.param", "p" * 65, "1005"),
    ("extra/callback.type", 4, "1005"),
    ("clickTypeInfo/parameters", {"ext": "x" * 4096}, "1005"),
]


@pytest.mark.evidence(
    "every rule of Meizu's pages has a request that breaks it and is refused",
    topic="Channels and sandbox",
    planted="a receipt's parameter or type without an address; each rule of a message left "
    "out in turn; any signature; 101 pushIds",
)
@pytest.mark.parametrize(("where", "value", "code"), BROKEN)
def test_what_breaks_a_rule_is_refused(where: str, value: Any, code: str) -> None:
    bench = Bench()
    verdict = bench.ask(where, value)
    assert answer(verdict)["code"] == code
    assert not [target for target in verdict.targets if target.accepted]
    assert not [device for device in bench.book.all_of("meizu") if device.shown]


@pytest.mark.evidence("every rule of Meizu's pages has a request that breaks it and is refused")
@pytest.mark.parametrize(
    ("request_", "code"),
    [
        ({"form": {"appId": "1"}}, "110000"),
        ({"secret": "another"}, "1006"),
        ({"after": {"sign": "0" * 32}}, "1006"),
        ({"after": {"sign": ""}}, "1005"),
        ({"after": {"pushIds": IDS + "3"}}, "1006"),
        ({"after": {"unsigned": "1"}}, "1006"),
        ({"form": {"signed": "1"}}, "200"),
        ({"ids": ""}, "1005"),
        ({"ids": "pushid-00000001,"}, "1005"),
        ({"ids": "pushid-00000001,pushid-00000001"}, "1005"),
        ({"ids": ",".join(f"pushid-{it:08}" for it in range(100))}, "200"),
        ({"ids": ",".join(f"pushid-{it:08}" for it in range(101))}, "110032"),
        ({"text": "{"}, "1005"),
        ({"text": "[]"}, "1005"),
        ({"body": b"\xff\xfe=%ff&="}, "1005"),
        ({"headers": []}, "1005"),
        ({"headers": [("content-type", "application/json")]}, "1005"),
        ({"headers": [(FORM[0], FORM[1] + ";charset=UTF-8")]}, "200"),
    ],
)
def test_parameters_and_their_signature(request_: dict[str, Any], code: str) -> None:
    assert Bench().code(**request_) == code


@pytest.mark.evidence("every rule of Meizu's pages has a request that breaks it and is refused")
def test_calls_that_do_not_exist() -> None:
    assert Bench().ask(path="/garcia/api/server/push/pushTask/pushToApp").status == 404
    assert Bench().ask(method="GET").status == 405


@pytest.mark.evidence("every rule of Meizu's pages has a request that breaks it and is refused")
@pytest.mark.parametrize(
    ("state", "code"),
    [
        ("dead", "110002"),
        ("expired", "110002"),
        ("other_app", "110003"),
        ("other_environment", "110003"),
    ],
)
def test_what_was_not_taken_stands_in_value(state: State, code: str) -> None:
    bench = Bench()
    bench.book.put("meizu", "pushid-00000002", state)
    verdict = bench.ask()
    assert answer(verdict)["value"] == {code: ["pushid-00000002"]}
    assert [(it.accepted, it.reason) for it in verdict.targets] == [(True, ""), (False, code)]


def test_a_malformed_id_and_one_of_another_app_are_illegal() -> None:
    bench = Bench()
    bench.book.put("meizu", "pushid-00000002", "live", app="1")
    verdict = bench.ask(ids="short,pushid-00000002")
    assert answer(verdict)["value"] == {"110003": ["short", "pushid-00000002"]}


def test_switched_off_has_the_number_of_too_fast() -> None:
    bench = Bench(switched_off=("pushid-00000001",), targets_per_s=2)
    assert answer(bench.ask())["value"] == {"110010": ["pushid-00000001"]}
    assert bench.code() == "110010"


@pytest.mark.evidence("every rule of Meizu's pages has a request that breaks it and is refused")
async def test_the_pace_is_in_targets() -> None:
    bench = Bench(targets_per_s=2)
    assert [bench.code(), bench.code()] == ["200", "110010"]
    await bench.clock.advance(1.0)
    assert bench.code() == "200"


@pytest.mark.evidence("every rule of Meizu's pages has a request that breaks it and is refused")
async def test_the_sixth_within_a_minute_is_folded() -> None:
    bench = Bench()
    one = {"ids": "pushid-00000001"}
    assert [answer(bench.ask(**one))["value"] for _ in range(5)] == [{}] * 5
    verdict = bench.ask(**one)
    assert answer(verdict)["value"] == {"520": ["pushid-00000001"]}
    assert [it.accepted for it in verdict.targets] == [True]
    await bench.clock.advance(60.0)
    assert answer(bench.ask(**one))["value"] == {}


@pytest.mark.evidence("every rule of Meizu's pages has a request that breaks it and is refused")
async def test_a_devices_quota_of_public_pushes() -> None:
    bench = Bench(device_per_day=1)
    public = ("noticeBarInfo/noticeMsgType", 0)
    assert answer(bench.ask(*public))["value"] == {}
    assert set(answer(bench.ask(*public))["value"]) == {"110011"}
    assert answer(bench.ask())["value"] == {}
    await bench.clock.advance(86_400)
    assert answer(bench.ask(*public))["value"] == {}


async def test_the_screen_shows_the_newest_of_a_notify_key() -> None:
    bench = Bench()
    bench.ask()
    bench.ask("noticeBarInfo/title", "newer")
    bench.book.put("meizu", "pushid-00000002", "off")
    bench.ask("pushTimeInfo", {"offLine": 0})
    bench.ask("noticeBarInfo/title", "newest")
    one, two = (bench.book.known("meizu", f"pushid-0000000{it}") for it in (1, 2))
    assert one is not None
    assert two is not None
    assert [(it.title, it.replaced) for it in one.shown.values()] == [("newest", 3)]
    bench.book.put("meizu", "pushid-00000002", "live")
    assert [(it.title, it.replaced) for it in two.shown.values()] == [("newest", 2)]


async def test_what_is_not_kept_for_later_is_gone() -> None:
    bench = Bench()
    bench.book.put("meizu", "pushid-00000001", "off")
    bench.ask("pushTimeInfo", {"offLine": 0})
    device = bench.book.put("meizu", "pushid-00000001", "live")
    assert not device.shown


def test_what_the_log_wants_to_know() -> None:
    verdict = Bench().ask()
    assert verdict.correlation == "p" * 64
    assert verdict.collapse == "aZ09_-xy"
    assert (verdict.topic, verdict.push_type) == ("private", "notification")
    assert verdict.message_id == answer(verdict)["msgId"] != ""


def test_a_refusal_on_demand_is_of_the_call_or_of_its_devices() -> None:
    call = Call("POST", PATH, [FORM], b"pushIds=a,b", Connection(1, "", None))
    verdict = Bench().meizu.refusal("110009", call)
    assert answer(verdict)["code"] == "110009"
    assert [it.token for it in verdict.targets] == ["a", "b"]
    found = json.loads(Bench().meizu.refusal("value 110005", call).body)
    assert (found["code"], found["value"]) == ("200", {"110005": ["a", "b"]})
