"""Each of Xiaomi's rules is broken once and refused, and kept once and accepted."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import pytest

from tocsin.clock import Chance, ManualClock
from tocsin.sandbox.devices import DeviceBook, State
from tocsin.sandbox.exchange import Call, Connection, Judgement
from tocsin.sandbox.vendors.xiaomi.server import PACKAGE, SECRET, Xiaomi, XiaomiSettings

PROOF = ("authorization", f"key={SECRET}")
FORM = ("content-type", "application/x-www-form-urlencoded")
PATH = "/v4/message/regid"
RAW = f"android.resource://{PACKAGE}/raw/"
CALLBACK = "https://push.example/v3/offline_push_report/xiaomi"

GOOD = {
    "registration_id": "regid-00000001,regid-00000002",
    "restricted_package_name": PACKAGE,
    "title": "t" * 49,
    "description": "d" * 127,
    "payload": "%7B%22a%22%3A1%7D",
    "pass_through": "0",
    "notify_type": "-1",
    "notify_id": "2147483647",
    "time_to_live": "86400000",
    "extra.channel_id": "news",
    "extra.notify_effect": "1",
    "extra.sound_uri": RAW + "bell",
    "extra.callback": CALLBACK,
    "extra.callback.param": "p" * 64,
    "extra.callback.type": "243",
}


class Bench:
    def __init__(self, **settings: Any) -> None:
        self.clock = ManualClock()
        self.book = DeviceBook(self.clock)
        self.xiaomi = Xiaomi(XiaomiSettings(**settings), self.book, self.clock, Chance(1))

    def ask(self, form: Mapping[str, str | None] | None = None, **request: Any) -> Judgement:
        merged = {**GOOD, **(form or {})}
        body = urlencode({name: text for name, text in merged.items() if text is not None})
        call = Call(
            request.get("method", "POST"),
            request.get("path", PATH),
            request.get("headers", [PROOF, FORM]),
            request.get("body", body.encode()),
            Connection(1, "http/1.1", None),
        )
        return self.xiaomi.judge(call)

    def code(self, form: Mapping[str, str | None] | None = None, **request: Any) -> int:
        return int(answer(self.ask(form, **request))["code"])


def answer(verdict: Judgement) -> Any:
    assert verdict.status == 200
    found = json.loads(verdict.body)
    assert (found["result"] == "ok") == (found["code"] == 0) == verdict.accepted
    return found


def private(**form: str | None) -> dict[str, str | None]:
    return {"extra.channel_id": "high_system", **form}


def template(param: str) -> dict[str, str | None]:
    return private(**{"extra.template_id": "T100", "extra.template_param": param})


KEPT: list[dict[str, str | None]] = [
    {},
    {"registration_id": ",".join(f"regid-{it:08}" for it in range(1000))},
    {"restricted_package_name": f"com.other,{PACKAGE}"},
    {"notify_id": "0"},
    {"notify_type": "7"},
    {"notify_id": None, "time_to_live": None, "pass_through": None, "notify_type": None},
    private(time_to_live="864000000"),
    {"extra.notify_effect": "2", "extra.intent_uri": "intent:#Intent;end"},
    {"extra.notify_effect": "3", "extra.web_uri": "https://e.com/"},
    {"extra.notification_style_type": "2", "extra.notification_bigPic_uri": "http://f6/p.png"},
    {f"extra.k{it}": "v" for it in range(10)},
    {"extra.key": "v" * 1020},
    {"payload": "x" * 3000},
    {"payload": '{"a":"b c%"}'},
    template(json.dumps({str(it): "v" * 128 for it in range(9)})),
    {"extra.callback": None, "extra.callback.param": None, "extra.callback.type": None},
    {"something_new": "1"},
]


@pytest.mark.parametrize("form", KEPT)
def test_what_keeps_the_rules_is_accepted(form: dict[str, str | None]) -> None:
    assert Bench().code(form) == 0


BROKEN: list[tuple[dict[str, str | None], int]] = [
    ({"registration_id": None}, 10016),
    ({"registration_id": ""}, 10017),
    ({"registration_id": "regid-00000001,"}, 10017),
    ({"registration_id": "regid-00000001,regid-00000001"}, 10017),
    ({"registration_id": ",".join(f"regid-{it:08}" for it in range(1001))}, 10017),
    ({"restricted_package_name": None}, 10016),
    ({"restricted_package_name": "com.other"}, 22022),
    ({"title": None}, 10016),
    ({"title": " "}, 10017),
    ({"title": "t" * 50}, 65009),
    ({"title": "😀" * 25}, 65009),
    ({"description": None}, 10016),
    ({"description": "\t"}, 10017),
    ({"description": "d" * 128}, 65009),
    ({"payload": "x" * 4000}, 65009),
    ({"pass_through": "1"}, 10017),
    ({"notify_type": "8"}, 10017),
    ({"notify_type": "-2"}, 10017),
    ({"notify_type": "loud"}, 10017),
    ({"notify_id": "2147483648"}, 10017),
    ({"notify_id": "-1"}, 10017),
    ({"time_to_live": "0"}, 10017),
    ({"time_to_live": "60s"}, 10017),
    ({"time_to_live": "86400001"}, 10017),
    ({"time_to_live": "86400001", "extra.channel_id": None}, 10017),
    (private(time_to_live="864000001"), 10017),
    ({"time_to_send": "soon"}, 10017),
    ({"time_to_send": "0"}, 10017),
    ({"extra.channel_id": "unheard_of"}, 27001),
    ({"extra.notify_effect": "4"}, 10017),
    ({"extra.notify_effect": "2"}, 10017),
    ({"extra.notify_effect": "2", "extra.intent_uri": "https://e.com/"}, 10017),
    ({"extra.notify_effect": "3"}, 10017),
    ({"extra.notify_effect": "3", "extra.web_uri": "http://[bad"}, 10017),
    ({"extra.notify_foreground": "2"}, 10017),
    ({"extra.notification_style_type": "3"}, 10017),
    ({"extra.notification_style_type": "2"}, 10017),
    ({"extra.only_send_once": "2"}, 10017),
    ({"extra.flow_control": "0"}, 10017),
    ({"extra.sound_uri": "bell"}, 10017),
    ({"extra.sound_uri": "android.resource://com.other/raw/bell"}, 10017),
    ({"extra.sound_uri": RAW}, 10017),
    ({"extra.callback": "push.example"}, 10017),
    ({"extra.callback": "https://e.com/" + "x" * 250}, 10017),
    ({"extra.callback": None}, 10017),
    ({"extra.callback": None, "extra.callback.type": None}, 10017),
    ({"extra.callback": None, "extra.callback.param": None}, 10017),
    ({"extra.callback.param": "p" * 65}, 10017),
    ({"extra.callback.type": "2048"}, 10017),
    ({f"extra.k{it}": "v" for it in range(11)}, 65009),
    ({"extra.key": "v" * 1021}, 65009),
    (private(**{"extra.template_id": "T100"}), 65035),
    (private(**{"extra.template_param": "{}"}), 65035),
    (private(**{"extra.template_id": "T9", "extra.template_param": "{}"}), 65036),
    (template("no JSON"), 65037),
    (template('{"a":1}'), 65037),
    (template('{"a":""}'), 65037),
    (template(json.dumps({"a": "v" * 129})), 65037),
    (template(json.dumps({str(it): "v" for it in range(10)})), 65037),
    (template('{"a":"😀"}'), 65038),
]


@pytest.mark.evidence(
    "every rule of Xiaomi's pages has a request that breaks it and is refused",
    topic="Channels and sandbox",
    planted="any number as `time_to_send`; a receipt's parameter, then its type, without an"
    " address; ten days for public pushes; ten variables, and emoji, in a template;"
    " the quota of a device not asked",
)
@pytest.mark.parametrize(("form", "code"), BROKEN)
def test_what_breaks_a_rule_is_refused(form: dict[str, str | None], code: int) -> None:
    bench = Bench()
    verdict = bench.ask(form)
    assert answer(verdict)["code"] == code
    assert not [target for target in verdict.targets if target.accepted]
    assert not [device for device in bench.book.all_of("xiaomi") if device.shown]


@pytest.mark.evidence("every rule of Xiaomi's pages has a request that breaks it and is refused")
@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ([FORM], 21301),
        ([("authorization", SECRET), FORM], 21301),
        ([("authorization", f"Key={SECRET}"), FORM], 21301),
        ([("authorization", "key=another"), FORM], 22000),
        ([PROOF], 10012),
        ([PROOF, ("content-type", "application/json")], 10012),
        ([PROOF, ("content-type", f"{FORM[1]}; charset=utf-8")], 0),
    ],
)
def test_who_proves_nothing_is_refused(headers: list[tuple[str, str]], code: int) -> None:
    assert Bench().code(headers=headers) == code


@pytest.mark.evidence("every rule of Xiaomi's pages has a request that breaks it and is refused")
def test_calls_that_do_not_exist() -> None:
    assert Bench().ask(path="/v1/message/regid").status == 404
    assert Bench().ask(path="/v4/message/all").status == 404
    assert Bench().ask(method="GET").status == 405
    assert [Bench().code(path=f"/v{it}/message/regid") for it in (2, 3, 4)] == [0, 0, 0]
    two = {"restricted_package_name": f"com.other,{PACKAGE}"}
    assert Bench().code(two, path="/v2/message/regid") == 22022


def test_a_body_that_is_no_text_is_a_refusal() -> None:
    assert Bench().code(body=b"\xff\xfe=%ff&=") == 10016


@pytest.mark.evidence("every rule of Xiaomi's pages has a request that breaks it and is refused")
def test_a_class_and_a_template_may_be_compulsory() -> None:
    assert Bench().code({"extra.channel_id": None}) == 0
    assert Bench(requires_channel=True).code({"extra.channel_id": None}) == 27001
    assert Bench().code(private()) == 0
    assert Bench(requires_template=True).code(private()) == 65035
    assert Bench(requires_template=True).code(template('{"a":"b"}')) == 0
    assert Bench(requires_template=True).code() == 0


@pytest.mark.parametrize("state", ["dead", "expired", "other_app", "other_environment"])
def test_an_unknown_regid_is_named_or_not_or_takes_the_list_along(state: State) -> None:
    for how, code, named in (("named", 0, "regid-00000002"), ("silent", 0, None)):
        bench = Bench(bad_regids=how)
        bench.book.put("xiaomi", "regid-00000002", state)
        verdict = bench.ask()
        assert answer(verdict)["code"] == code
        assert answer(verdict)["data"].get("bad_regids") == named
        assert [(it.accepted, it.reason) for it in verdict.targets] == [
            (True, ""),
            (False, "bad_regid"),
        ]
    bench = Bench(bad_regids="refused")
    bench.book.put("xiaomi", "regid-00000002", state)
    assert bench.code() == 66007


def test_a_list_of_unknown_regids_is_refused() -> None:
    bench = Bench()
    bench.book.put("xiaomi", "regid-00000001", "live", app="com.other")
    assert bench.code({"registration_id": "regid-00000001,short"}) == 66007


def test_the_screen_shows_the_newest_of_a_notify_id() -> None:
    bench = Bench()
    bench.ask()
    bench.ask({"title": "newer"})
    bench.book.put("xiaomi", "regid-00000002", "off")
    bench.ask({"title": "newest"})
    one, two = (bench.book.known("xiaomi", f"regid-0000000{it}") for it in (1, 2))
    assert one is not None
    assert two is not None
    assert [(it.title, it.replaced) for it in one.shown.values()] == [("newest", 2)]
    assert [(it.title, it.replaced) for it in two.shown.values()] == [("newer", 1)]
    bench.book.put("xiaomi", "regid-00000002", "live")
    assert [it.title for it in two.shown.values()] == ["newest"]


@pytest.mark.evidence("every rule of Xiaomi's pages has a request that breaks it and is refused")
async def test_too_many_targets_a_second() -> None:
    bench = Bench(targets_per_s=2)
    assert [bench.code(), bench.code()] == [0, 200002]
    await bench.clock.advance(1.0)
    assert bench.code() == 0


@pytest.mark.evidence("every rule of Xiaomi's pages has a request that breaks it and is refused")
async def test_quotas_are_of_a_day() -> None:
    bench = Bench(device_per_day=2, unclassed_per_day=1)
    one = {"registration_id": "regid-00000001"}
    assert [bench.code(one), bench.code(one), bench.code(one)] == [0, 0, 200001]
    verdict = bench.ask()
    assert answer(verdict)["data"]["channel_exceed_quota"] == "news:1"
    assert [it.accepted for it in verdict.targets] == [False, True]
    assert bench.code(private(registration_id="regid-00000001")) == 0
    unclassed = {**one, "extra.channel_id": None}
    assert [bench.code(unclassed), bench.code(unclassed)] == [0, 200001]
    await bench.clock.advance(86_400)
    assert bench.code(one) == 0


@pytest.mark.evidence("every rule of Xiaomi's pages has a request that breaks it and is refused")
def test_the_apps_quota_counts_targets() -> None:
    bench = Bench(public_per_day=3)
    assert bench.code() == 0
    assert answer(bench.ask())["data"]["channel_exceed_quota"] == "news:1"
    assert bench.code() == 200001


def test_what_the_log_wants_to_know() -> None:
    verdict = Bench().ask()
    assert verdict.correlation == "p" * 64
    assert verdict.collapse == "2147483647"
    assert (verdict.topic, verdict.push_type) == ("news", "notification")
    assert verdict.message_id.startswith("scm")
    assert verdict.message_id == answer(verdict)["data"]["id"]


def test_a_refusal_on_demand_has_the_code_asked_for() -> None:
    call = Call("POST", PATH, [PROOF, FORM], b"registration_id=a,b", Connection(1, "", None))
    verdict = Bench().xiaomi.refusal("26006", call)
    assert answer(verdict)["code"] == 26006
    assert [it.token for it in verdict.targets] == ["a", "b"]
    assert answer(Bench().xiaomi.refusal("nonsense", call))["code"] == 10012
