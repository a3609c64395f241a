"""Each of Honor's rules is broken once and refused as Honor would, and kept once and accepted."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import msgspec
import pytest

from tocsin.clock import Chance, ManualClock
from tocsin.sandbox.devices import DeviceBook, State
from tocsin.sandbox.exchange import Call, Connection, Judgement
from tocsin.sandbox.receipts import CONSOLE
from tocsin.sandbox.vendors.honor.server import TOKEN_PATH, Honor, HonorSettings

NOW = 1_767_225_600.0
SEND = "/api/v1/104413210/sendMessage"
FORM = [("content-type", "application/x-www-form-urlencoded")]
CLICK = {"type": 3}
DRAWN = {"title": "t", "body": "b", "clickAction": CLICK}


class Bench:
    """One Honor with its book, asked without sockets."""

    def __init__(self, **settings: Any) -> None:
        self.clock = ManualClock(NOW)
        self.book = DeviceBook(self.clock)
        self.honor = Honor(HonorSettings(**settings), self.book, self.clock, Chance(1))
        self.bearer = ""

    def ask(self, path: str, headers: list[tuple[str, str]], body: bytes, method: str) -> Judgement:
        return self.honor.judge(Call(method, path, headers, body, Connection(1, "http/1.1", None)))

    def token(self, method: str = "POST", **changed: str | None) -> Judgement:
        known = self.honor.credential
        form = {
            "grant_type": "client_credentials",
            "client_id": known.client_id,
            "client_secret": known.client_secret,
            **changed,
        }
        body = urlencode({name: it for name, it in form.items() if it is not None}).encode()
        return self.ask(TOKEN_PATH, FORM, body, method)

    def send(
        self, body: Any, *, path: str = SEND, method: str = "POST", **headers: str | None
    ) -> Judgement:
        if not self.bearer:
            self.bearer = told(self.token())["access_token"]
        given: dict[str, str | None] = {
            "authorization": f"Bearer {self.bearer}",
            "content-type": "application/json",
            "timestamp": str(int(self.clock.now() * 1000)),
            **{name.replace("_", "-"): it for name, it in headers.items()},
        }
        data = body if isinstance(body, bytes) else msgspec.json.encode(body)
        pairs = [(name, it) for name, it in given.items() if it is not None]
        return self.ask(path, pairs, data, method)


def told(verdict: Judgement) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(verdict.body)
    return found


def push(tokens: Any = ("token-1",), **drawn: Any) -> dict[str, Any]:
    notification = {name: it for name, it in {**DRAWN, **drawn}.items() if it is not None}
    return {"android": {"notification": notification}, "token": tokens}


def with_android(**parts: Any) -> dict[str, Any]:
    return {"android": {"notification": DRAWN, **parts}, "token": ["token-1"]}


# bearers


def test_a_bearer_for_the_right_client() -> None:
    answer = told(Bench().token())
    assert (answer["expires_in"], answer["token_type"]) == (3600, "Bearer")


@pytest.mark.evidence("every rule of Honor's pages has a request that breaks it and is refused")
@pytest.mark.parametrize(
    ("changed", "status", "error"),
    [
        ({"grant_type": "password"}, 400, "unsupported_grant_type"),
        ({"grant_type": None}, 400, "unsupported_grant_type"),
        ({"client_id": "1"}, 401, "invalid_client"),
        ({"client_secret": "1"}, 401, "invalid_client"),
        ({"client_secret": None}, 401, "invalid_client"),
        ({"method": "GET"}, 400, "invalid_request"),
    ],
)
def test_no_bearer_for_another(changed: dict[str, Any], status: int, error: str) -> None:
    verdict = Bench().token(**changed)
    assert (verdict.status, told(verdict)["error"]) == (status, error)


def test_a_bearer_must_be_asked_for_with_a_form() -> None:
    bench = Bench()
    verdict = bench.ask(TOKEN_PATH, [("content-type", "application/json")], b"{}", "POST")
    assert told(verdict)["error"] == "invalid_request"


async def test_a_bearer_lives_for_its_time() -> None:
    bench = Bench()
    assert bench.send(push()).status == 200
    await bench.clock.advance(3599)
    assert told(bench.send(push()))["code"] == 200
    await bench.clock.advance(2)
    refused = bench.send(push())
    assert (refused.status, told(refused)["code"]) == (401, 401)


@pytest.mark.evidence("every rule of Honor's pages has a request that breaks it and is refused")
@pytest.mark.parametrize("scheme", ["Basic", "bearer", ""])
def test_a_bearer_goes_by_its_name_only(scheme: str) -> None:
    bench = Bench()
    assert bench.send(push()).status == 200
    assert bench.send(push(), authorization=f"{scheme} {bench.bearer}").status == 401


def test_bearers_can_be_made_stale() -> None:
    bench = Bench()
    bench.send(push())
    assert bench.honor.expire_all() == 1
    assert bench.send(push()).status == 401


# what must be right before the message is looked at


@pytest.mark.evidence("every rule of Honor's pages has a request that breaks it and is refused")
@pytest.mark.parametrize(
    ("request_", "status", "code"),
    [
        ({"authorization": None}, 401, 401),
        ({"authorization": "Bearer stranger"}, 401, 401),
        ({"authorization": "Basic eA=="}, 401, 401),
        ({"content_type": "text/plain"}, 400, 400),
        ({"timestamp": None}, 200, 10001),
        ({"timestamp": "yesterday"}, 200, 10207),
        ({"timestamp": "1767225600"}, 200, 10207),
        ({"timestamp": str(int((NOW - 601) * 1000))}, 200, 10207),
        ({"timestamp": str(int((NOW + 601) * 1000))}, 200, 10207),
        ({"path": "/api/v1/999/sendMessage"}, 200, 10205),
        ({"path": "/api/v2/104413210/sendMessage"}, 404, 404),
        ({"method": "GET"}, 405, 405),
    ],
)
def test_a_call_that_is_not_let_in(request_: dict[str, Any], status: int, code: int) -> None:
    verdict = Bench().send(push(), **request_)
    assert (verdict.status, told(verdict)["code"]) == (status, code)
    assert not verdict.accepted


# the message


GOOD: list[tuple[str, Any]] = [
    ("one", push()),
    ("a thousand", push([f"token-{it}" for it in range(1000)])),
    ("data only", {"data": "x", "token": ["token-1"]}),
    ("data for Android only", {"android": {"data": "x"}, "token": ["token-1"]}),
    ("texts above", {
        "notification": {"title": "t", "body": "b"},
        "android": {"notification": {"clickAction": CLICK}},
        "token": ["token-1"],
    }),
    ("page", push(clickAction={"type": 1, "intent": "intent://a#Intent;end"})),
    ("action", push(clickAction={"type": 1, "action": "a.b.C"})),
    ("url", push(clickAction={"type": 2, "url": "https://e.com"})),
    ("image", push(image="https://e.com/i.png", importance="NORMAL")),
    ("marketing", push(importance="LOW")),
    ("big", push(style=1, bigTitle="t", bigBody="b")),
    ("badge", push(badge={"addNum": 99, "setNum": 0, "badgeClass": "a.B"})),
    ("all ids", push(notifyId=2**31 - 1, tag="t", group="g")),
    ("when", push(when="2026-11-01T10:00:00.000000001Z")),
    ("buttons", push(buttons=[{}, {}, {}])),
    ("shortest life", with_android(ttl="1s")),
    ("longest life", with_android(ttl="1296000s")),
    ("test", with_android(targetUserType=1, biTag="x")),
    ("something new", with_android(colour="red")),
    ("4096 bytes", {"data": "x" * (4096 - 11), "token": ["token-1"]}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "body"), GOOD, ids=[row[0] for row in GOOD])
def test_a_message_in_order(name: str, body: Any) -> None:
    verdict = Bench().send(body)
    answer = told(verdict)
    assert (verdict.status, answer["code"], answer["message"]) == (200, 200, "success"), name
    assert answer["data"]["sendResult"] is True
    assert answer["data"]["failTokens"] == answer["data"]["expireTokens"] == []
    assert [it.token for it in verdict.targets] == list(body["token"])
    assert all(it.accepted for it in verdict.targets)


BAD: list[tuple[str, Any, int]] = [
    ("bad json", b'{"token":', 80100003),
    ("no object", [], 80100003),
    ("no tokens", {"data": "x"}, 10300),
    ("empty tokens", push([]), 10300),
    ("empty token", push([""]), 10300),
    ("token as number", push([7]), 10300),
    ("tokens as text", push("token-1"), 10300),
    ("a token twice", push(["token-1", "token-1"]), 80300006),
    ("1001 tokens", push([f"token-{it}" for it in range(1001)]), 80300010),
    ("4097 bytes", {"data": "x" * (4097 - 11), "token": ["token-1"]}, 80300008),
    ("nothing", {"token": ["token-1"]}, 80100003),
    ("data as object", {"data": {}, "token": ["token-1"]}, 80100003),
    ("no title", push(title=None), 80100003),
    ("no body", push(body=""), 80100003),
    ("title as number", push(title=7), 80100003),
    ("notification as text", {"android": {"notification": "x"}, "token": ["t"]}, 80100003),
    ("android as list", {"android": [], "token": ["t"]}, 80100003),
    ("no click", push(clickAction=None), 80100003),
    ("click of no type", push(clickAction={}), 80100003),
    ("click of type 4", push(clickAction={"type": 4}), 80100003),
    ("page without a page", push(clickAction={"type": 1}), 80100003),
    ("url without a url", push(clickAction={"type": 2}), 80100003),
    ("plain http", push(clickAction={"type": 2, "url": "http://e.com"}), 80100003),
    ("image over http", push(image="http://e.com"), 80100003),
    ("image in marketing", push(image="https://e.com", importance="LOW"), 80200050),
    ("importance", push(importance="HIGH"), 80100003),
    ("style", push(style=3), 80100003),
    ("big text that differs", push(style=1, bigTitle="t", bigBody="c"), 80100003),
    ("big text that is missing", push(style=1), 80100003),
    ("badge without class", push(badge={"addNum": 1}), 80100003),
    ("badge adds 0", push(badge={"addNum": 0, "badgeClass": "a"}), 80100003),
    ("badge adds 100", push(badge={"addNum": 100, "badgeClass": "a"}), 80100003),
    ("badge is 100", push(badge={"setNum": 100, "badgeClass": "a"}), 80100003),
    ("badge is true", push(badge={"setNum": True, "badgeClass": "a"}), 80100003),
    ("notifyId as text", push(notifyId="7"), 80100003),
    ("notifyId of 32 bits", push(notifyId=2**31), 80100003),
    ("tag as number", push(tag=7), 80100003),
    ("group as number", push(group=7), 80100003),
    ("when", push(when="tomorrow"), 80100003),
    ("four buttons", push(buttons=[{}] * 4), 80100003),
    ("buttons that are no list", push(buttons={}), 80100003),
    ("ttl as number", with_android(ttl=60), 80100003),
    ("ttl without s", with_android(ttl="60"), 80100003),
    ("ttl 0", with_android(ttl="0s"), 80100003),
    ("ttl over 15 days", with_android(ttl="1296001s"), 80100003),
    ("biTag as number", with_android(biTag=7), 80100003),
    ("user type", with_android(targetUserType=2), 80100003),
    ("sensitive title", push(title="a sensitive-word"), 80200056),
    ("sensitive body", push(body="a sensitive-word"), 80200056),
]


@pytest.mark.evidence(
    "every rule of Honor's pages has a request that breaks it and is refused",
    topic="Channels and sandbox",
    planted="any scheme before the bearer; buttons that are no list; the limit of a device "
    "not asked, or asked for service and test messages",
)
@pytest.mark.parametrize(("name", "body", "code"), BAD, ids=[row[0] for row in BAD])
def test_a_message_that_breaks_a_rule(name: str, body: Any, code: int) -> None:
    bench = Bench()
    verdict = bench.send(body)
    assert (verdict.status, told(verdict)["code"]) == (200, code), name
    assert verdict.reason == str(code)
    assert not any(it.accepted for it in verdict.targets)
    assert not any(device.shown for device in bench.book.all_of("honor"))


def test_service_messages_need_a_right() -> None:
    bench = Bench(allows_service=False)
    assert told(bench.send(push(importance="NORMAL")))["code"] == 80200022
    assert told(bench.send(push(importance="LOW")))["code"] == 200


@pytest.mark.evidence("every rule of Honor's pages has a request that breaks it and is refused")
async def test_test_messages_are_a_thousand_a_day() -> None:
    bench = Bench(test_per_day=2)
    one = with_android(targetUserType=1)
    assert [told(bench.send(one))["code"] for _ in range(3)] == [200, 200, 80200047]
    assert told(bench.send(push()))["code"] == 200
    await bench.clock.advance(86_400)
    bench.bearer = ""
    assert told(bench.send(one))["code"] == 200


@pytest.mark.evidence("every rule of Honor's pages has a request that breaks it and is refused")
@pytest.mark.parametrize(
    ("limit", "body", "expected"),
    [
        (2, push(importance="LOW"), ["", "", "40000009"]),
        (2, push(importance="NORMAL"), ["", "", ""]),
        (2, with_android(notification={**DRAWN, "importance": "LOW"}, targetUserType=1), [""] * 3),
        (None, push(importance="LOW"), ["", "", ""]),
    ],
)
async def test_what_is_over_a_devices_limit_is_told_so_and_not_shown(
    limit: int | None, body: Any, expected: list[str]
) -> None:
    bench = Bench(marketing_per_day=limit)
    verdicts = [bench.send(body) for _ in expected]
    assert [told(it)["code"] for it in verdicts] == [200] * 3
    assert [it.targets[0].receipt_code for it in verdicts] == expected
    device = bench.book.known("honor", "token-1")
    assert device is not None
    assert len(device.shown) == expected.count("")
    await bench.clock.advance(86_400)
    bench.bearer = ""
    assert bench.send(body).targets[0].receipt_code == ""


@pytest.mark.evidence("every rule of Honor's pages has a request that breaks it and is refused")
async def test_too_many_targets_a_second() -> None:
    bench = Bench(targets_per_s=10)
    many = push([f"token-{it}" for it in range(10)])
    assert bench.send(many).status == 200
    over = bench.send(push())
    assert (over.status, told(over)["code"]) == (503, 503)
    await bench.clock.advance(1)
    assert bench.send(push()).status == 200


# the device book


@pytest.mark.parametrize(
    ("state", "app", "listed"),
    [
        ("live", None, ""),
        ("live", "104413210", ""),
        ("off", None, ""),
        ("dead", None, "expireTokens"),
        ("expired", None, "expireTokens"),
        ("other_app", None, "failTokens"),
        ("other_environment", None, "failTokens"),
        ("live", "another", "failTokens"),
    ],
)
def test_what_the_device_book_says(state: State, app: str | None, listed: str) -> None:
    bench = Bench()
    bench.book.put("honor", "token-1", state, app=app)
    verdict = bench.send(push(["token-0", "token-1", "token-2"]))
    data = told(verdict)["data"]
    for name in ("expireTokens", "failTokens"):
        assert data[name] == (["token-1"] if name == listed else [])
    assert told(verdict)["code"] == (80100000 if listed == "failTokens" else 200)
    assert [(it.accepted, it.reason) for it in verdict.targets] == [
        (True, ""),
        (not listed, listed),
        (True, ""),
    ]


def test_who_was_taken_is_told_of_at_the_consoles_address() -> None:
    bench = Bench()
    bench.book.put("honor", "gone", "gone")
    verdict = bench.send(push(["live", "gone"]))
    assert (told(verdict)["code"], verdict.receipt_to) == (200, CONSOLE)
    assert all(target.accepted for target in verdict.targets)
    live, gone = (bench.book.known("honor", token) for token in ("live", "gone"))
    assert live is not None
    assert gone is not None
    assert (len(live.shown), len(gone.shown)) == (1, 0)
    # What is handed through to the app has a number of its own.
    silent = bench.send({"data": "{}", "android": {}, "token": ["live"]})
    assert bench.honor.fate(live, verdict.push_type) == "40000002"
    assert bench.honor.fate(live, silent.push_type) == "40000001"


def test_a_list_of_dead_tokens_only() -> None:
    bench = Bench()
    for token in ("token-1", "token-2"):
        bench.book.put("honor", token, "dead")
    verdict = bench.send(push(["token-1", "token-2"]))
    assert told(verdict)["code"] == 80300007
    assert [it.accepted for it in verdict.targets] == [False, False]


def test_the_same_tag_and_number_replace_what_is_shown() -> None:
    bench = Bench()
    for body in ("one", "two"):
        verdict = bench.send(push(tag="task-7", notifyId=7, body=body))
    bench.send(push(body="three"))
    device = bench.book.known("honor", "token-1")
    assert device is not None
    assert verdict.collapse == "task-7"
    assert [(it.body, it.replaced) for it in device.shown.values()] == [("two", 1), ("three", 0)]


async def test_what_waits_for_a_device_that_is_off_expires() -> None:
    bench = Bench()
    bench.book.put("honor", "token-1", "off")
    bench.send(with_android(ttl="60s"))
    bench.send({"android": {"notification": {**DRAWN, "tag": "x", "notifyId": 1}, "ttl": "90s"},
                "token": ["token-1"]})  # fmt: skip
    await bench.clock.advance(61)
    device = bench.book.put("honor", "token-1", "live")
    assert [it.key for it in device.shown.values()] == ["x"]


@pytest.mark.parametrize(
    ("code", "status"), [("80200056", 200), ("503", 503), ("401", 401), ("80300007", 200)]
)
def test_each_code_on_demand(code: str, status: int) -> None:
    call = Call("POST", SEND, [], b"", Connection(1, "http/1.1", None))
    verdict = Bench().honor.refusal(code, call)
    assert (verdict.status, told(verdict)["code"]) == (status, int(code))


def test_a_refusal_of_the_token_service_on_demand() -> None:
    call = Call("POST", TOKEN_PATH, [], b"", Connection(1, "http/1.1", None))
    assert told(Bench().honor.refusal("invalid_client", call))["error"] == "invalid_client"


def test_the_first_token_stands_for_the_list_in_fault_rules() -> None:
    body = msgspec.json.encode(push(["token-4", "token-5"]))
    call = Call("POST", SEND, [], body, Connection(1, "http/1.1", None))
    assert Bench().honor.token_of(call) == "token-4"


@pytest.mark.evidence(
    "and refuses what the vendors refuse",
    topic="Vendors",
    planted="any text taken as Honor's data; another app's list taken",
)
@pytest.mark.parametrize(
    ("data", "code"),
    [
        ('{"ext":"x"}', 200),
        ("{}", 200),
        ("x", 80100003),
        ('["a"]', 80100003),
        ('"text"', 80100003),
        ("{'a':1}", 80100003),
    ],
)
def test_data_beside_a_notification_is_a_json_object(data: str, code: int) -> None:
    """What is handed through alone may be any text."""
    beside = with_android(data=data)
    assert told(Bench().send(beside))["code"] == code
    assert told(Bench().send({**push(), "data": data}))["code"] == code
    alone = {"data": data, "android": {}, "token": ["token-1"]}
    assert told(Bench().send(alone))["code"] == 200
