"""Each of OPPO's rules is broken once and refused with its code, and kept once and accepted."""

from __future__ import annotations

import hashlib
import json
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.unit.sandbox.oppo_bench import (
    FORM,
    HOUR_S,
    NOW,
    ONE,
    TWO,
    Bench,
    code,
    data,
    shown,
    single,
)
from tocsin.sandbox.devices import State
from tocsin.sandbox.vendors.oppo.server import (
    AUTH_PATH,
    BATCH_PATH,
    BROADCAST_PATH,
    FEEDBACK_PATH,
    SAVE_PATH,
    UNICAST_PATH,
    Oppo,
)

SOON = int(NOW * 1000)
"""As OPPO writes a time."""


# tokens


@pytest.mark.evidence("every rule of OPPO's pages has a request that breaks it and is refused")
async def test_a_good_signature_is_given_a_token_for_a_day() -> None:
    bench = Bench()
    proof = bench.proof()
    path, form = bench.form(ONE)
    for later_s, expected in ((86_399, 0), (1, 11)):
        await bench.clock.advance(later_s)
        assert code(bench.ask(path, form | proof)) == expected
    given = bench.auth()
    assert data(given)["create_time"] == (NOW + 86_400) * 1000
    assert not given.logged


@pytest.mark.evidence(
    "every rule of OPPO's pages has a request that breaks it and is refused",
    topic="Channels and sandbox",
    planted="the app's secret signing; a time window that ends before it begins, or is not "
    "named; a badge taken away; an audit of any form; the private class without a "
    "template",
)
@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"app_key": None, "sign": "x"}, 15),
        ({"app_key": "other"}, 14),
        ({"timestamp": None, "sign": "x"}, 18),
        ({"timestamp": str(int(NOW))}, 19),
        ({"timestamp": "now"}, 19),
        ({"timestamp": str(int((NOW - 601) * 1000))}, 19),
        ({"timestamp": str(int((NOW + 601) * 1000))}, 19),
        ({"timestamp": str(int((NOW - 600) * 1000))}, 0),
        ({"sign": None}, 17),
        ({"sign": "0" * 64}, 16),
    ],
)
def test_a_signature_is_looked_at(changes: dict[str, Any], expected: int) -> None:
    assert code(Bench().auth(**changes)) == expected


def test_the_app_secret_does_not_sign() -> None:
    bench = Bench()
    known, stamp = bench.oppo.credential, str(int(NOW * 1000))
    signed = f"{known.app_key}{stamp}{known.app_secret}".encode()
    assert code(bench.auth(sign=hashlib.sha256(signed).hexdigest())) == 16


def test_several_tokens_live_side_by_side_and_all_can_be_made_stale() -> None:
    bench = Bench()
    first, second = bench.proof(), bench.proof()
    path, form = bench.form(ONE)
    assert [code(bench.ask(path, form | it)) for it in (first, second)] == [0, 0]
    assert bench.oppo.expire_all() == 2
    assert code(bench.ask(path, form | first)) == 11


def test_a_token_may_stand_in_a_header() -> None:
    bench = Bench()
    path, form = bench.form(ONE)
    assert code(bench.ask(path, form, [*FORM, *bench.proof().items()])) == 0


@pytest.mark.parametrize("path", [UNICAST_PATH, BATCH_PATH, SAVE_PATH, BROADCAST_PATH])
def test_nothing_goes_without_a_token(path: str) -> None:
    assert code(Bench().ask(path, {})) == 29
    assert code(Bench().ask(path, {"auth_token": "made-up"})) == 11


def test_the_door() -> None:
    bench = Bench()
    assert bench.ask("/server/v1/other", {}).status == 404
    assert code(bench.ask(UNICAST_PATH, {}, method="GET")) == 12
    assert code(bench.ask(UNICAST_PATH, b"{}", [("content-type", "application/json")])) == 25
    assert code(bench.ask(UNICAST_PATH, b"message=%ff")) == 25
    assert code(bench.ask(UNICAST_PATH, "message=é".encode("latin-1"))) == 25


# the message


@pytest.mark.evidence("every rule of OPPO's pages has a request that breaks it and is refused")
@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"title": None}, 40),
        ({"content": ""}, 40),
        ({"title": "x" * 51}, 41),
        ({"sub_title": "x" * 11}, 41),
        ({"content": "x" * 51}, 41),
        ({"content": "x" * 129, "style": 2}, 41),
        ({"content": "x" * 51, "style": 3, "big_picture_id": "p"}, 41),
        ({"style": 4}, 41),
        ({"style": 3}, 41),
        ({"click_action_type": 3}, 41),
        ({"click_action_type": 6}, 41),
        ({"click_action_type": 1}, 40),
        ({"click_action_type": 2}, 40),
        ({"click_action_type": 4}, 40),
        ({"click_action_type": 5}, 40),
        ({"click_action_type": 4, "click_action_activity": "x" * 501}, 41),
        ({"click_action_type": 2, "click_action_url": "x" * 2001}, 41),
        ({"action_parameters": '{"ext":"' + "x" * 3991 + '"}'}, 41),
        ({"action_parameters": "ext"}, 41),
        ({"action_parameters": "[]"}, 41),
        ({"off_line_ttl": 0}, 41),
        ({"show_ttl": 86_401}, 41),
        ({"network_type": 2}, 41),
        ({"notify_id": -1}, 41),
        ({"notify_id": 2**31}, 41),
        ({"call_back_url": "https://e.com/" + "x" * 187}, 41),
        ({"call_back_url": "e.com"}, 41),
        ({"call_back_parameter": "x" * 101}, 41),
        ({"channel_id": "unknown"}, 41),
        ({"category": "NEW_ONE"}, 67),
        ({"notify_level": 2}, 67),
        ({"category": "NEWS", "notify_level": 3}, 67),
        ({"category": "NEWS", "notify_level": 16}, 67),
        ({"category": "IM"}, 54),
        ({"category": "IM", "private_msg_template_id": "T999"}, 41),
        ({"private_msg_template_id": "T100", "private_title_parameters": "title"}, 41),
        ({"private_msg_template_id": "T100", "private_content_parameters": '{"a":{}}'}, 41),
        ({"title": "a sensitive-word"}, 41),
        ({"off_line": "maybe"}, 41),
        ({"badge": 1}, 41),
        ({"badge_operation_type": 2}, 41),
        ({"badge_operation_type": 0, "badge_message_count": -1}, 41),
        ({"show_time_type": 2}, 41),
        ({"show_time_type": 1}, 40),
        ({"show_time_type": 1, "show_start_time": SOON}, 40),
        ({"show_time_type": 1, "show_start_time": SOON, "show_end_time": SOON}, 41),
        ({"show_time_type": 1, "show_start_time": 1, "show_end_time": SOON}, 41),
        ({"show_time_type": 1, "show_start_time": SOON, "show_end_time": 10**13}, 41),
        ({"auditResponse": "fine"}, 41),
        ({"auditResponse": []}, 41),
    ],
)
def test_a_wrong_message_is_refused_alone_among_others_and_saved(
    changes: dict[str, Any], expected: int
) -> None:
    bench = Bench()
    assert code(bench.send(**changes)) == expected
    assert code(bench.send(ONE, TWO, **changes)) == expected
    assert code(bench.save(**changes)) == expected
    assert not shown(bench)


PRIVATE = {"category": "IM", "private_msg_template_id": "T100"}


@pytest.mark.evidence("every rule of OPPO's pages has a request that breaks it and is refused")
@pytest.mark.parametrize(
    "changes",
    [
        {"title": "🔔" * 50, "content": "通" * 50, "sub_title": "x" * 10},
        {"content": "x" * 128, "style": 2},
        {"content": "x" * 50, "style": 3, "big_picture_id": "p"},
        {"click_action_type": 1, "click_action_activity": "x" * 500},
        {"click_action_type": 5, "click_action_url": "x" * 2000},
        {"action_parameters": '{"ext":"' + "x" * 3990 + '"}'},
        {"off_line": False},
        {"off_line_ttl": 864_001},
        {"call_back_url": "https://e.com/" + "x" * 186, "call_back_parameter": "x" * 100},
        {"channel_id": "offers", "category": "MARKETING", "notify_level": 2},
        {**PRIVATE, "notify_level": 16, "private_title_parameters": '{"title":"x"}'},
        {"notify_id": 2**31 - 1, "network_type": 1, "show_ttl": 86_400},
        {"show_time_type": 1, "show_start_time": SOON, "show_end_time": SOON + 1},
        {"show_time_type": 0, "badge_operation_type": 1},
        {"badge_operation_type": 0, "badge_message_count": 0, "auditResponse": {}},
    ],
)
def test_a_message_at_its_bounds_is_taken(changes: dict[str, Any]) -> None:
    bench = Bench()
    assert code(bench.send(**changes)) == 0
    assert code(bench.send(ONE, TWO, **changes)) == 0
    assert code(bench.save(**changes)) == 0


def test_an_app_may_be_bound_to_channels_and_not_to_templates() -> None:
    bench = Bench(requires_channel=True, requires_template=False)
    assert code(bench.send()) == 41
    assert code(bench.send(channel_id="offers", category="IM")) == 0


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ({}, 40),
        ({"message": "{"}, 41),
        ({"message": json.dumps(single(ONE) | {"target_type": 5})}, 41),
        ({"message": json.dumps(single(ONE) | {"other": 1})}, 41),
        ({"message": json.dumps(single(ONE) | {"notification": "{}"})}, 41),
        ({"message": json.dumps(single(ONE)) + "," + json.dumps(single(TWO))}, 41),
    ],
)
def test_a_single_push_is_one_message(form: dict[str, str], expected: int) -> None:
    bench = Bench()
    assert code(bench.ask(UNICAST_PATH, form | bench.proof())) == expected


def test_a_call_takes_so_many_messages() -> None:
    bench = Bench(batch_max=2)
    assert code(bench.send(ONE, TWO)) == 0
    assert code(bench.send(ONE, TWO, Oppo.token(3))) == 41
    assert code(bench.ask(BATCH_PATH, {"messages": "[]"} | bench.proof())) == 41


# devices


STATES: list[tuple[State, str | None, int]] = [
    ("live", None, 0),
    ("off", None, 0),
    ("muted", None, 0),
    ("dead", None, 10000),
    ("expired", None, 10000),
    ("other_app", None, 10001),
    ("other_environment", None, 10001),
    ("live", "another", 10001),
]


@pytest.mark.parametrize(("state", "app", "expected"), STATES)
def test_what_a_device_is(state: State, app: str | None, expected: int) -> None:
    bench = Bench()
    bench.book.put("oppo", ONE, state, app=app)
    alone = bench.send()
    assert code(alone) == expected
    assert [(it.token, it.accepted) for it in alone.targets] == [(ONE, not expected)]
    one, two = data(bench.send(ONE, TWO))
    assert one.get("errorCode", 0) == expected
    assert "errorCode" not in two
    named = data(bench.listed(ONE, TWO))
    codes = {int(name): tokens for name, tokens in named.items() if name.isdigit()}
    assert codes == ({expected: [ONE]} if expected else {})


def test_an_id_of_no_form_or_of_nobody_is_not_valid() -> None:
    assert code(Bench().send("nobody")) == 10000
    assert code(Bench(knows_all=True).send()) == 10000


def test_who_is_off_is_shown_it_later_if_it_was_kept() -> None:
    bench = Bench()
    bench.book.put("oppo", ONE, "off")
    bench.send(title="kept", notify_id=1)
    bench.send(title="now or never", notify_id=2, off_line=False)
    bench.book.put("oppo", ONE, "live")
    assert shown(bench) == ["kept"]


def test_a_second_one_takes_the_first_ones_place() -> None:
    bench = Bench()
    for title in ("one", "two"):
        bench.send(title=title)
    assert shown(bench) == ["two"]


def test_what_was_sent_before_is_taken_and_not_shown() -> None:
    bench = Bench()
    first, again = (bench.send(app_message_id="a-1") for _ in range(2))
    assert [code(it) for it in (first, again)] == [0, 0]
    assert [it.targets[0].accepted for it in (first, again)] == [True, False]
    assert bench.send(app_message_id="a-2").targets[0].accepted
    assert bench.send(TWO, app_message_id="a-1").targets[0].accepted


# lists of what was saved


def test_a_list_names_whom_it_does_not_reach() -> None:
    bench = Bench()
    bench.book.put("oppo", TWO, "dead")
    verdict = bench.listed(ONE, TWO, Oppo.token(3), ONE, call_back_parameter="7-1")
    assert code(verdict) == 0
    named = data(verdict)
    assert named.pop("message_id") == verdict.message_id
    assert named.pop("task_id")
    assert named == {"10000": [TWO], "10004": [ONE]}
    expected = [(ONE, True), (TWO, False), (Oppo.token(3), True)]
    assert [(it.token, it.accepted) for it in verdict.targets] == expected
    assert (verdict.collapse, verdict.correlation, verdict.push_type) == ("77", "7-1", "public")
    assert shown(bench) == ["Hello"]


@pytest.mark.evidence("every rule of OPPO's pages has a request that breaks it and is refused")
@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"message_id": None}, 40),
        ({"target_type": None}, 40),
        ({"target_value": None}, 40),
        ({"target_type": "1"}, 41),
        ({"other": "x"}, 41),
        ({"target_value": f"{ONE};"}, 41),
        ({"target_value": ";".join(Oppo.token(it) for it in range(1001))}, 41),
        ({"target_value": ";".join(Oppo.token(it) for it in range(1000))}, 0),
        ({"message_id": "0" * 24}, 31),
    ],
)
def test_a_wrong_list(changes: dict[str, Any], expected: int) -> None:
    bench = Bench()
    saved = data(bench.save())["message_id"]
    form = {"message_id": saved, "target_value": f"{ONE};{TWO}"} | changes
    assert code(bench.broadcast(**form)) == expected


def test_saving_reaches_nobody() -> None:
    bench = Bench()
    verdict = bench.save()
    assert not verdict.logged
    assert not verdict.targets


def test_of_one_name_one_message_is_kept() -> None:
    bench = Bench()
    first, again = (data(bench.save(app_message_id="7-1.0"))["message_id"] for _ in range(2))
    assert first == again != data(bench.save(app_message_id="7-1.1"))["message_id"]
    strict = Bench(repeated_save="refused")
    assert [code(strict.save(app_message_id="7-1.0")) for _ in range(2)] == [0, 32]
    assert [code(strict.save()) for _ in range(2)] == [0, 0]


# pace and quota


@pytest.mark.evidence("every rule of OPPO's pages has a request that breaks it and is refused")
async def test_the_pace_counts_targets() -> None:
    bench = Bench(targets_per_s=2)
    assert [code(bench.send(ONE, TWO)), code(bench.send()), code(bench.send())] == [0, 55, 55]
    await bench.clock.advance(1)
    assert code(bench.listed(ONE, TWO)) == 0
    verdict = bench.listed(ONE, TWO)
    assert code(verdict) == 55
    assert [it.accepted for it in verdict.targets] == [False, False]


@pytest.mark.evidence("every rule of OPPO's pages has a request that breaks it and is refused")
async def test_the_days_quota_is_the_public_class_and_ends_at_midnight_in_china() -> None:
    bench = Bench(public_per_day=3)
    assert code(bench.send(ONE, TWO)) == 0
    assert code(bench.listed(ONE, TWO)) == 33
    assert [code(bench.send()) for _ in range(2)] == [0, 33]
    assert code(bench.send(ONE, TWO, **PRIVATE)) == 0
    assert code(bench.listed(ONE, **PRIVATE)) == 33
    await bench.clock.advance(16 * HOUR_S - 1)
    assert code(bench.send()) == 33
    await bench.clock.advance(1)
    assert code(bench.send()) == 0


@pytest.mark.evidence("every rule of OPPO's pages has a request that breaks it and is refused")
async def test_what_is_over_a_devices_quota_is_taken_and_not_shown() -> None:
    bench = Bench(device_per_day=2)
    for number in range(4):
        assert code(bench.send(notify_id=number)) == 0
    assert len(shown(bench)) == 2
    bench.send(notify_id=9, **PRIVATE)
    assert len(shown(bench)) == 3
    await bench.clock.advance(24 * HOUR_S)
    bench.send(notify_id=10)
    assert len(shown(bench)) == 4


# faults by rule


def test_a_fault_by_rule_speaks_as_oppo() -> None:
    bench = Bench()
    for path, is_logged in ((UNICAST_PATH, True), (SAVE_PATH, False), (AUTH_PATH, False)):
        verdict = bench.oppo.refusal("13", bench.call(path, {}))
        assert (code(verdict), verdict.logged) == (13, is_logged)


def test_a_code_of_devices_is_said_of_the_first_one() -> None:
    bench = Bench()
    path, form = bench.form(ONE)
    assert code(bench.oppo.refusal("10001", bench.call(path, form | bench.proof()))) == 10001
    path, form = bench.form(ONE, TWO)
    verdict = bench.oppo.refusal("10001", bench.call(path, form | bench.proof()))
    assert [it.get("errorCode") for it in data(verdict)] == [10001, None]
    saved = data(bench.save())["message_id"]
    form = {"message_id": saved, "target_type": "2", "target_value": f"{ONE};{TWO}"}
    verdict = bench.oppo.refusal("10000", bench.call(BROADCAST_PATH, form | bench.proof()))
    assert data(verdict)["10000"] == [ONE]
    assert [it.accepted for it in verdict.targets] == [False, True]
    assert (shown(bench, ONE), shown(bench, TWO)) == ([], ["Hello"])


def test_the_first_device_is_found_for_rules() -> None:
    bench = Bench()
    for tokens in ((ONE,), (ONE, TWO)):
        path, form = bench.form(*tokens)
        assert bench.oppo.token_of(bench.call(path, form)) == ONE
    assert bench.oppo.token_of(bench.call(BROADCAST_PATH, {"target_value": f"{ONE};{TWO}"})) == ONE
    assert bench.oppo.token_of(bench.call(SAVE_PATH, {})) == ""
    assert ONE != TWO == Oppo.token(2)


# what other clients write


@pytest.mark.evidence("the sandbox takes what the vendors' SDKs send")
@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"fix_speed": False}, 0),
        ({"fix_speed": 0}, 0),
        ({"fix_speed": True, "fix_speed_rate": 1000}, 0),
        ({"fix_speed": True}, 40),
        ({"fix_speed": True, "fix_speed_rate": 999}, 41),
        ({"fix_speed": True, "fix_speed_rate": 10_001}, 41),
        ({"fix_speed": 2}, 41),
        ({"push_time_type": 0, "time_zone": "GMT+08:00"}, 0),
        ({"push_time_type": 1, "push_start_time": SOON}, 0),
        ({"push_time_type": 1}, 40),
        ({"push_time_type": 2}, 41),
    ],
)
def test_pace_and_time_of_a_push(changes: dict[str, Any], expected: int) -> None:
    assert code(Bench().send(**changes)) == expected
    assert code(Bench().save(**changes)) == expected


@pytest.mark.evidence("the sandbox takes what the vendors' SDKs send")
@pytest.mark.parametrize(("kind", "expected"), [(2, 0), ("2", 0), ("5", 41), (5, 41)])
def test_the_kind_of_target_may_be_text(kind: int | str, expected: int) -> None:
    bench = Bench()
    form = {"message": json.dumps({**single(ONE), "target_type": kind})}
    assert code(bench.ask(UNICAST_PATH, form | bench.proof())) == expected


@pytest.mark.evidence(
    "OPPO tells on request which registration ids died within a day",
    topic="Vendors",
    planted="those of all time told",
)
async def test_the_dead_of_the_last_day_are_told_on_request() -> None:
    bench = Bench()

    def dead() -> Any:
        return data(bench.ask(f"{FEEDBACK_PATH}?{urlencode(bench.proof())}", b"", [], "GET"))

    bench.book.put("oppo", ONE, "dead")
    bench.book.put("oppo", TWO)
    assert dead() == {"registration_ids": [ONE], "totalCount": 1}
    await bench.clock.advance(24 * HOUR_S)
    bench.book.put("oppo", TWO, "gone")
    assert dead() == {"registration_ids": [TWO], "totalCount": 1}
    given = bench.ask(FEEDBACK_PATH, b"", bench.proof().items(), "GET")
    assert (code(given), given.logged) == (0, False)
    assert code(bench.ask(FEEDBACK_PATH, b"", [], "GET")) == 29
    assert code(bench.ask(f"{FEEDBACK_PATH}?auth_token=x", b"", [], "GET")) == 11
    assert code(bench.ask(FEEDBACK_PATH, bench.proof())) == 12
