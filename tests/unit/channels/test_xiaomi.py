from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qsl

import msgspec
import pytest

from tests.unit.channels.kit import AUTHORITY, BATCH_CORRELATION, NOW, authorized, batch, message
from tests.unit.channels.kit_xiaomi import xiaomi_accepted, xiaomi_error, xiaomi_settings
from tocsin.channels.vendors import xiaomi
from tocsin.conversation import Authority, Batch, Denied, Request, Response, Unanswered
from tocsin.domain.message import AndroidPart
from tocsin.domain.outcome import NEVER_AGAIN_S, Outcome, Receipt

Answer = Response | Unanswered


def made(given: Batch | None = None, **settings: Any) -> Request:
    chosen = xiaomi_settings(**settings)
    return next(xiaomi.deliver(chosen, AUTHORITY, given or batch(1), NOW))


def form_of(request: Request) -> dict[str, str]:
    pairs = parse_qsl(request.body.decode(), keep_blank_values=True, strict_parsing=True)
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


def form(settings: dict[str, Any] | None = None, ttl_s: int = 3600, **parts: Any) -> dict[str, str]:
    return form_of(made(batch(1, message=message(**parts), ttl_s=ttl_s), **(settings or {})))


class Talk:
    """A conversation stepped by hand; `answer` sees each list of regIds."""

    def __init__(self, given: Batch) -> None:
        self.asked: list[list[str]] = []
        self._talk = xiaomi.deliver(xiaomi_settings(), AUTHORITY, given, NOW)

    def run(self, answer: Any) -> Sequence[Receipt]:
        try:
            request = next(self._talk)
            while True:
                self.asked.append(form_of(request)["registration_id"].split(","))
                said = answer(self.asked[-1])
                if isinstance(said, Unanswered):
                    request = self._talk.throw(said)
                else:
                    request = self._talk.send(said)
        except StopIteration as end:
            receipts: Sequence[Receipt] = end.value
            return receipts


def token(number: int) -> str:
    return f"{number:064x}"


def outcomes(receipts: Sequence[Receipt]) -> list[Outcome]:
    return [receipt.outcome for receipt in receipts]


def test_nothing_is_fetched_and_the_secret_is_the_authority() -> None:
    found = authorized(xiaomi, xiaomi_settings())
    assert isinstance(found, Authority)
    assert found.value == "key=XiaomiAppSecretOfATest=="


@pytest.mark.evidence("forms name their charset", topic="Vendors", planted="the charset left out")
def test_a_list_is_one_form() -> None:
    request = made(batch(3))
    assert (request.method, request.path) == ("POST", "/v4/message/regid")
    assert request.origin == "https://api.xmpush.xiaomi.com"
    assert dict(request.headers) == {
        "authorization": AUTHORITY.value,
        "content-type": "application/x-www-form-urlencoded;charset=UTF-8",
    }
    assert form_of(request) == {
        "registration_id": ",".join(map(token, (1, 2, 3))),
        "restricted_package_name": "com.example.app",
        "pass_through": "0",
        "title": "Hello",
        "description": "A word to all",
        "notify_type": "-1",
        "notify_id": form_of(request)["notify_id"],
        "time_to_live": "3600000",
        "extra.channel_id": "high_system",
        "extra.notify_effect": "1",
        "extra.id": "1_2_3_4_5",
        "extra.task_id": "1_2_3_4_5",
    }
    assert 0 < int(form_of(request)["notify_id"]) <= 2_147_483_647


@pytest.mark.parametrize(
    ("region", "host"),
    [
        ("china", "api.xmpush.xiaomi.com"),
        ("europe", "fr-api.xmpush.global.xiaomi.com"),
        ("india", "idmb-api.xmpush.global.xiaomi.com"),
        ("russia", "ru-api.xmpush.global.xiaomi.com"),
        ("global", "sgp-api.xmpush.global.xiaomi.com"),
    ],
)
def test_each_region_has_its_host(region: str, host: str) -> None:
    assert made(region=region).origin == f"https://{host}"


@pytest.mark.parametrize("size", [48, 49, 50, 200])
def test_title_and_text_stay_below_xiaomis_bounds(size: int) -> None:
    sent = form(title="中" * size, desc="😀" * size)
    assert len(sent["title"]) == min(size, 49)
    assert len(sent["description"].encode("utf-16-le")) // 2 <= 127
    assert sent["title"].endswith("...") == (size > 49)
    assert sent["description"].endswith("...") == (size * 2 > 127)


def test_one_text_is_shown_twice_and_none_is_not_sent() -> None:
    assert form(title="Only this", desc="")["description"] == "Only this"
    assert form(title=" ", desc="Only that")["title"] == "Only that"
    silent = batch(2, message=message(title="", desc=" "))
    receipts = Talk(silent).run(lambda _: pytest.fail("asked"))
    assert outcomes(receipts) == [Outcome.NOT_PERMITTED] * 2
    assert {it.code for it in receipts} == {"-13"}


@pytest.mark.evidence(
    "Xiaomi's payload is encoded once",
    topic="Vendors",
    planted="`%` quoted before the form did; a sandbox that decodes it again",
)
@pytest.mark.parametrize("ext", ['{"a":"b c%"}', '{"a":"ü&b=c"}', "%7B", "a+b"])
def test_ext_travels_encoded_once_by_the_form(ext: str) -> None:
    """As payload and as an extra: whoever decodes the form has it as it was given."""
    sent = form(ext=ext)
    assert (sent["payload"], sent["extra.ext"]) == (ext, ext)


def test_an_ext_that_is_too_long_for_an_extra_travels_as_payload_alone() -> None:
    assert "extra.ext" in form(ext="x" * 993)
    assert "extra.ext" not in form(ext="x" * 994)
    assert form(ext="x" * 994)["payload"] == "x" * 994


@pytest.mark.parametrize(
    ("ttl_s", "channel", "ms"),
    [
        (0, "high_system", 1000),
        (60, "high_system", 60_000),
        (86_401, "high_system", 86_400_000),
        (86_401, "p1", 86_401_000),
        (864_001, "p2", 864_000_000),
    ],
)
def test_a_public_push_lives_a_day_and_a_private_one_ten(ttl_s: int, channel: str, ms: int) -> None:
    settings = {"private_channel_ids": "p1, p2", "android_channel_id": channel}
    assert form(settings, ttl_s)["time_to_live"] == str(ms)


def test_a_private_channel_gets_its_template_and_a_public_one_none() -> None:
    settings = {
        "private_channel_ids": "p1",
        "template_id": "T100",
        "template_param": '{"who":"{{Title}}","what":"said: {{Desc}}"}',
    }
    private: dict[str, Any] = {"android": AndroidPart(xiaomi_channel_id="p1")}
    sent = form(settings, title="Ann😀", desc="w" * 200, **private)
    assert sent["extra.template_id"] == "T100"
    param = json.loads(sent["extra.template_param"])
    assert param == {"who": "Ann", "what": ("said: " + "w" * 119 + "...")}
    assert "extra.template_id" not in form(settings)


def test_a_template_text_is_never_empty() -> None:
    settings = {"private_channel_ids": "high_system", "template_id": "T100"}
    param = json.loads(form(settings, title="😀", desc="x")["extra.template_param"])
    assert param == {"title": "-", "content": "x"}


def test_a_click_opens_what_the_credential_names() -> None:
    assert form()["extra.notify_effect"] == "1"
    page = {"click": "page", "intent_uri": "intent:#Intent;component=com.e/.Order;end"}
    ids = ";S.id=1_2_3_4_5;S.task_id=1_2_3_4_5;end"
    sent = form(page, ext="a;b")
    assert sent["extra.notify_effect"] == "2"
    assert sent["extra.intent_uri"] == "intent:#Intent;component=com.e/.Order;S.ext=a%3Bb" + ids
    assert form(page)["extra.intent_uri"] == page["intent_uri"].removesuffix(";end") + ids
    sent = form({"click": "web", "web_uri": "https://e.com/"})
    assert (sent["extra.notify_effect"], sent["extra.web_uri"]) == ("3", "https://e.com/")


def test_receipts_are_asked_for_where_there_is_an_address() -> None:
    assert not [name for name in form() if "callback" in name]
    sent = form({"callback_url": "https://push.example/v3/offline_push_report/xiaomi"})
    assert sent["extra.callback"] == "https://push.example/v3/offline_push_report/xiaomi"
    assert sent["extra.callback.param"] == BATCH_CORRELATION
    assert len(sent["extra.callback.param"]) <= 64
    assert sent["extra.callback.type"] == "243"


def test_what_the_answer_names_is_dead_and_the_rest_accepted() -> None:
    for named in (f"{token(2)},{token(4)}", [token(2), token(4), 7]):
        receipts = Talk(batch(4)).run(lambda _, it=named: xiaomi_accepted(bad_regids=it))
        dead = [receipt.device for receipt in receipts if receipt.outcome is Outcome.TOKEN_DEAD]
        assert dead == [2, 4]
        assert outcomes(receipts).count(Outcome.ACCEPTED) == 2


@pytest.mark.evidence(
    "what may have been shown is not shown again for another device's quota",
    topic="Trouble, vendor by vendor",
    planted="the whole list tried again",
)
@pytest.mark.parametrize(
    ("told", "outcome"),
    [
        ("", Outcome.ACCEPTED),
        ("no_channel:3", Outcome.QUOTA_DAY),
        ("no_channel:2 a:1", Outcome.QUOTA_DAY),
        ("no_channel:2", Outcome.UNKNOWN),
        ("no_channel:0", Outcome.ACCEPTED),
        (7, Outcome.ACCEPTED),
    ],
)
def test_what_went_over_the_channels_quota_was_not_sent(told: Any, outcome: Outcome) -> None:
    answer = xiaomi_accepted(channel_exceed_quota=told)
    receipts = Talk(batch(3)).run(lambda _: answer)
    assert outcomes(receipts) == [outcome] * 3
    # Who was taken would see it twice, and it would count against their day.
    is_final = outcome is Outcome.UNKNOWN
    assert [it.retry_after_s == NEVER_AGAIN_S for it in receipts] == [is_final] * 3


def test_a_push_without_a_class_that_is_refused_for_it_waits_for_another_day() -> None:
    talk = xiaomi.deliver(xiaomi_settings(android_channel_id=""), AUTHORITY, batch(1), NOW)
    next(talk)
    with pytest.raises(StopIteration) as end:
        talk.send(xiaomi_error(27001))
    assert outcomes(end.value.value) == [Outcome.QUOTA_DAY]


@pytest.mark.evidence(
    "a regId that Xiaomi does not name is found, the others reached once",
    topic="Vendors",
    planted="one half forgotten",
)
def test_one_unnamed_dead_regid_is_found_and_the_others_are_reached_once() -> None:
    talk = Talk(batch(1000))
    taken: list[str] = []

    def answer(tokens: list[str]) -> Response:
        if token(700) in tokens:
            return xiaomi_error(66007)
        taken.extend(tokens)
        return xiaomi_accepted()

    receipts = talk.run(answer)
    assert len(talk.asked) <= xiaomi.REQUESTS_MAX
    assert [it.device for it in receipts] == list(range(1, 1001))
    assert [it.device for it in receipts if it.outcome is Outcome.TOKEN_DEAD] == [700]
    accepted = [token(it.device) for it in receipts if it.outcome is Outcome.ACCEPTED]
    assert sorted(taken) == sorted(accepted)
    assert len(accepted) == 999


def test_where_nobody_is_taken_the_whole_list_looks_dead() -> None:
    """Which accuses the credential in `domain/outcome.py`, so that no token is dropped."""
    talk = Talk(batch(1000))
    receipts = talk.run(lambda _: xiaomi_error(66007))
    assert len(talk.asked) == xiaomi.REQUESTS_MAX
    assert outcomes(receipts) == [Outcome.TOKEN_DEAD] * 1000


def test_what_the_search_leaves_over_is_tried_later() -> None:
    dead = {token(number) for number in range(1, 400, 7)}
    talk = Talk(batch(1000))
    receipts = talk.run(
        lambda tokens: xiaomi_error(66007) if dead & set(tokens) else xiaomi_accepted()
    )
    found = set(outcomes(receipts))
    assert found == {Outcome.TOKEN_DEAD, Outcome.ACCEPTED, Outcome.HELD}
    for receipt in receipts:
        if receipt.outcome is not Outcome.HELD:
            is_dead = token(receipt.device) in dead
            assert (receipt.outcome is Outcome.TOKEN_DEAD) == is_dead


def test_no_answer_in_the_middle_of_a_search_is_doubt_for_those_asked_alone() -> None:
    answers = iter(
        [
            xiaomi_error(66007),
            xiaomi_accepted(),
            xiaomi_error(66007),
            Unanswered(Denied(Outcome.UNKNOWN, "-8", "no answer")),
        ]
    )
    receipts = Talk(batch(8)).run(lambda _: next(answers))
    assert outcomes(receipts) == [
        *[Outcome.ACCEPTED] * 4,
        *[Outcome.UNKNOWN] * 2,
        *[Outcome.HELD] * 2,
    ]


def test_a_recall_in_the_middle_of_a_search_stops_the_rest() -> None:
    answers = iter([xiaomi_error(66007), Unanswered(Denied(Outcome.RECALLED, "0", ""))])
    receipts = Talk(batch(4)).run(lambda _: next(answers))
    assert outcomes(receipts) == [Outcome.RECALLED] * 4


def test_a_search_that_is_slowed_down_ends_there() -> None:
    answers = iter([xiaomi_error(66007), xiaomi_accepted(), xiaomi_error(66007)])
    talk = Talk(batch(8))
    receipts = talk.run(lambda _: next(answers, xiaomi_error(200002)))
    assert len(talk.asked) == 4
    assert outcomes(receipts) == [Outcome.ACCEPTED] * 4 + [Outcome.THROTTLED] * 4


@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        (b'{"code":"0","result":"ok"}', Outcome.ACCEPTED),
        (b'{"code":0}', Outcome.ACCEPTED),
        (b'{"code":0,"data":[]}', Outcome.ACCEPTED),
        (b'{"code":0,"result":"error"}', Outcome.UNKNOWN),
        (b'{"code":true}', Outcome.UNKNOWN),
        (b'{"code":null}', Outcome.UNKNOWN),
        (b'{"code":"zero"}', Outcome.UNKNOWN),
        (b'{"code":66007.5}', Outcome.UNKNOWN),
        (b'{"code":99999}', Outcome.BAD_REQUEST),
        (b'{"code":0,"data":{"bad_regids":{"a":1}}}', Outcome.ACCEPTED),
    ],
)
def test_answers_of_odd_shapes(body: bytes, outcome: Outcome) -> None:
    receipts = Talk(batch(2)).run(lambda _: Response(200, {}, body))
    assert outcomes(receipts) == [outcome] * 2


@pytest.mark.parametrize(
    "wrong",
    [
        {"app_secret": ""},
        {"app_secret": "line\nbreak"},
        {"package_name": "no package"},
        {"click": "page"},
        {"click": "web"},
        {"click": "elsewhere"},
        {"region": "mars"},
        {"callback_url": "https://e.com/" + "x" * 250},
        {"callback_url": "ftp://e.com/"},
        {"template_param": "no JSON"},
        {"template_param": '{"a":1}'},
        {"template_param": json.dumps({str(it): "x" for it in range(10)})},
    ],
)
def test_wrong_settings_are_refused_without_being_quoted(wrong: dict[str, str]) -> None:
    right = msgspec.to_builtins(xiaomi_settings())
    assert msgspec.convert(right, xiaomi.Settings) == xiaomi_settings()
    with pytest.raises(ValueError, match=r"^[^=]+$") as caught:
        msgspec.convert({**right, **wrong}, xiaomi.Settings)
    assert "SecretOfATest" not in str(caught.value)
