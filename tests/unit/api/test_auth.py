"""The order of checks before a command, each with its code, and the lock-out."""

from __future__ import annotations

from typing import Any, cast

import pytest

from tests.unit.api.world import ADMIN, APP, KEY, World, ok
from tests.watched import Watched
from tocsin.api.auth import Authenticator
from tocsin.api.rest import RestApi
from tocsin.domain.usersig import sign
from tocsin.pipeline.app_secrets import AppSecrets

GET = "timpush/get_attr_name"
FINE = ok(AttrNames={}, AttrTypes={})


async def test_parameters_in_any_order_with_extra_ones_and_any_random(world: World) -> None:
    params = world.query(random="not a number").split("&")
    query = "&".join([*reversed(params), "extra=1", "empty="])
    assert await world.raw(GET, query=query) == FINE
    query = world.query().replace("*", "%2A")
    assert await world.raw(GET, query=query) == FINE
    without = [param for param in params if not param.startswith("random")]
    assert await world.raw(GET, query="&".join(without)) == FINE


@pytest.mark.evidence("lengths of URL parameters are judged before anything is looked up")
@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"sdkappid": None}, 60012),
        ({"sdkappid": ""}, 60012),
        ({"sdkappid": "x"}, 60025),
        ({"sdkappid": "-1"}, 60025),
        ({"sdkappid": "\uff11\uff14"}, 60025),
        ({"sdkappid": "1400009999"}, 70020),
        ({"sdkappid": "9" * 20}, 70020),
        ({"sdkappid": "9" * 21}, 60025),
        ({"contenttype": None}, 60025),
        ({"contenttype": "JSON"}, 60025),
        ({"identifier": None}, 60025),
        ({"identifier": ""}, 60025),
        ({"usersig": None}, 60025),
        ({"usersig": ""}, 70002),
        ({"usersig": "garbage!"}, 70003),
        ({"usersig": "x" * 8193}, 70003),
        ({"identifier": "ann"}, 70013),
        ({"identifier": "x" * 32}, 70013),
        ({"identifier": "x" * 33}, 60025),
        ({"identifier": "\u00e4" * 16}, 70013),
        ({"identifier": "\u00e4" * 17}, 60025),
        ({"contenttype": "json" * 9}, 60025),
        ({"random": "9" * 64}, 0),
        ({"random": "9" * 65}, 60025),
        ({"extra": "x" * 33_000}, 60002),
    ],
)
async def test_a_fault_in_the_url_gets_its_code(
    world: World, changed: dict[str, str | None], code: int
) -> None:
    assert (await world.call(GET, {}, **changed))["ErrorCode"] == code


async def test_signatures_that_do_not_prove_the_caller(world: World) -> None:
    now = world.clock.now()
    for token, code in [
        (sign(APP, KEY, ADMIN, 10, now - 11), 70001),
        (sign(APP, "another key", ADMIN, 10, now), 70009),
        (sign(APP + 1, KEY, ADMIN, 10, now), 70014),
        (world.usersig()[:-12], 70003),
    ]:
        assert (await world.call(GET, {}, usersig=token))["ErrorCode"] == code


async def test_a_usersig_with_userbuf_is_accepted(world: World) -> None:
    token = sign(APP, KEY, ADMIN, 10, world.clock.now(), userbuf=b"room=42")
    assert await world.call(GET, {}, usersig=token) == FINE


@pytest.mark.evidence(
    "only administrators call",
    topic="The wire",
    planted="the list of administrators not asked",
)
@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("timpush/get_tag", 90009),
        ("all_member_push/im_get_tag", 90009),
        ("openim/query_online_status", 90009),
        ("im_open_login_svc/account_check", 70403),
    ],
)
async def test_a_caller_who_is_no_administrator(world: World, command: str, code: int) -> None:
    token = world.usersig("ann")
    answer = await world.call(command, {}, identifier="ann", usersig=token)
    assert answer["ErrorCode"] == code


async def test_a_disabled_app_and_an_app_without_a_key(world: World) -> None:
    await world.operator.app_add(APP, {"is_enabled": False})
    assert (await world.call(GET, {}, contenttype="x"))["ErrorCode"] == 60016
    await world.operator.app_add(APP, {"is_enabled": True})
    assert await world.call(GET, {}) == FINE


@pytest.mark.evidence("the order of checks", topic="The wire", planted="rate before signature")
async def test_the_order_is_path_method_lengths_app_contenttype_signature_rate_body(
    world: World,
) -> None:
    """Each call has every fault from some check on; the first of them is answered."""
    await world.operator.app_add(APP, {"profile": "compatible"})
    bad_sig = world.query(usersig="x")
    no_admin = world.query(identifier="ann", usersig=world.usersig("ann"))
    long = b"x" * (1 << 20) + b"x"
    calls: list[tuple[str, str, str, bytes, int]] = [
        ("timpush/nope", "GET", "", long, 60009),
        ("timpush/push", "GET", "", long, 60002),
        ("timpush/push", "POST", f"identifier={'x' * 33}", long, 60025),
        ("timpush/push", "POST", "", long, 60012),
        ("timpush/push", "POST", "sdkappid=x", long, 60025),
        ("timpush/push", "POST", "sdkappid=5", long, 70020),
        ("timpush/push", "POST", f"sdkappid={APP}&usersig=", long, 60025),
        ("timpush/push", "POST", bad_sig, long, 70003),
        ("timpush/push", "POST", no_admin, long, 90009),
        ("timpush/push", "POST", world.query(), long, 60002),
        ("timpush/push", "POST", world.query(), b"x" * 10_241, 90056),
        ("timpush/push", "POST", world.query(), b"x" * 10_240, 90001),
        ("timpush/get_tag", "POST", world.query(), long, 60002),
        ("timpush/get_tag", "POST", world.query(), b"x", 90001),
    ]
    for command, method, query, body, code in calls:
        answer = await world.raw(command, body, query=query, method=method)
        assert answer["ErrorCode"] == code, (command, method, query[:20])
        assert ("TaskId" in answer) == (command == "timpush/push")
    # With the rate used up, it is asked after who calls and before the body.
    for _ in range(30):
        assert (await world.raw("timpush/batch", b"x"))["ErrorCode"] == 90001
    for query, code in ((bad_sig, 70003), (no_admin, 90009), (world.query(), 60007)):
        answer = await world.raw("timpush/batch", long, query=query)
        assert answer["ErrorCode"] == code, query[:20]


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS", "HEAD", "PATCH"])
async def test_another_method_is_answered_in_the_envelope(world: World, method: str) -> None:
    assert (await world.raw(GET, method=method))["ErrorCode"] == 60002


@pytest.mark.parametrize(
    "path", ["", "timpush", "timpush/", "timpush/get_tag/", "timpush/GET_TAG", "nope/push", "../x"]
)
async def test_an_unknown_path_is_60009(world: World, path: str) -> None:
    assert (await world.raw(path))["ErrorCode"] == 60009


# --- bodies ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body", [b"", b"{", b"null", b"5", b'"x"', b"[{}]", b"{}x", b"\xff", b'{"a":NaN}', b"[" * 9_999]
)
async def test_bad_json_is_90001_under_push_paths(world: World, body: bytes) -> None:
    for command in (GET, "timpush/push", "all_member_push/im_get_tag", "openim/querystate"):
        answer = await world.raw(command, body)
        assert answer["ErrorCode"] == 90001, command
        assert answer["ErrorInfo"] == "Fail to Parse json data of body, Please check it"


async def test_a_body_may_come_in_parts_under_any_content_type(world: World) -> None:
    body = [b'{"To_Acc', b"", b'ount":["ann"]}']
    for kind in (b"text/plain", b"", b"application/x-www-form-urlencoded"):
        answer = await world.raw("timpush/get_tag", body, headers=[(b"content-type", kind)])
        assert answer["ErrorCode"] == 0


@pytest.mark.evidence(
    "a body over the limit is not read to its end",
    topic="The wire",
    planted="the size looked at only when all had been read",
)
async def test_a_body_that_is_too_long_is_not_read_to_its_end(world: World) -> None:
    # Whoever reads one part more than a mebibyte finds no bytes, and fails.
    endless = [*([b"x" * 65_536] * 17), cast(bytes, None)]
    assert (await world.raw(GET, endless))["ErrorCode"] == 60002
    headers = [(b"content-length", b"1048577")]
    assert (await world.raw(GET, [], headers=headers))["ErrorCode"] == 60002


async def test_the_longest_body_is_read(world: World) -> None:
    body = b'{"To_Account":["ann"],"pad":"' + b"x" * ((1 << 20) - 31) + b'"}'
    assert len(body) == 1 << 20
    assert (await world.raw("timpush/get_tag", body))["ErrorCode"] == 0


# --- rates -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "rate"),
    [
        ("timpush/get_tag", 100),
        ("timpush/batch", 30),
        ("all_member_push/im_add_tag", 100),
        ("im_open_login_svc/account_import", 200),
        ("im_open_login_svc/account_check", 100),
        ("openim/query_online_status", 200),
    ],
)
async def test_a_call_too_many_in_a_second_is_60007(world: World, command: str, rate: int) -> None:
    await world.operator.app_add(APP, {"profile": "compatible"})
    codes = [(await world.call(command, {}))["ErrorCode"] for _ in range(rate + 5)]
    assert 60007 not in codes[:rate]
    assert codes[rate:] == [60007] * 5
    assert (await world.call("timpush/get_attr_name", {}))["ErrorCode"] == 0, "others are free"
    await world.clock.advance(1)
    assert (await world.call(command, {}))["ErrorCode"] != 60007


async def test_the_profile_unlimited_lifts_rates(world: World) -> None:
    codes = {(await world.call("timpush/batch", {}))["ErrorCode"] for _ in range(500)}
    assert 60007 not in codes


# --- what strangers may learn ------------------------------------------------------------------


@pytest.mark.evidence(
    "no account shows by timing before the UserSig is proven",
    topic="Strangers and browsers",
    planted="the account read first",
)
async def test_no_account_is_looked_up_before_the_signature_is_proven(world: World) -> None:
    """Else the time that a look takes tells which accounts there are."""
    watched = Watched(world.store)
    authenticator = Authenticator(watched.store, AppSecrets(world.vault), world.clock)
    world.api = RestApi(world.services, authenticator, world.metrics)
    for name in (ADMIN, "ann", "nobody", "x" * 33):
        for token in (world.usersig(name, key="another key"), "x", "x" * 9000):
            await world.call(GET, {}, identifier=name, usersig=token)
    assert set(watched.asked) == {"app"}
    # A name that is proven twice is looked up each time: what is remembered hides nothing.
    for _ in range(2):
        watched.asked.clear()
        await world.call(GET, {})
        assert watched.asked == ["app", "accounts"]


@pytest.mark.evidence(
    "lengths of URL parameters are judged before anything is looked up",
    topic="Strangers and browsers",
    planted="the bytes of a parameter not counted",
)
async def test_lengths_are_judged_before_anything_is_looked_up(world: World) -> None:
    watched = Watched(world.store)
    authenticator = Authenticator(watched.store, AppSecrets(world.vault), world.clock)
    world.api = RestApi(world.services, authenticator, world.metrics)
    long = {
        "identifier": "x" * 33,
        "usersig": "x" * 8193,
        "random": "9" * 65,
        "extra": "x" * 33_000,
    }
    for name, text in long.items():
        info = (await world.call(GET, {}, **{name: text}))["ErrorInfo"]
        assert info.startswith(("query string" if name == "extra" else name) + " is over "), info
    query = world.query() + "&a=" * 60
    assert (await world.raw(GET, query=query))["ErrorCode"] == 60002
    query = world.query() + "&a=" * 59
    assert (await world.raw(GET, query=query))["ErrorCode"] == 0
    assert watched.asked == ["app", "accounts"]
    escaped = world.usersig().replace("*", "%2a")
    assert await world.raw(GET, query=f"{world.query(usersig=None)}&usersig={escaped}") == FINE


# --- lock-out --------------------------------------------------------------------------------


@pytest.mark.evidence(
    "lock-out of one caller only, which a right UserSig passes",
    topic="The wire",
    planted="the address, then the identifier, left out of the key; the lock asked before "
    "the UserSig; an expired UserSig counted",
)
async def test_twenty_failed_signatures_lock_this_caller_only(world: World) -> None:
    bad = world.query(usersig=world.usersig(key="another key"))
    for _ in range(20):
        assert (await world.raw(GET, query=bad))["ErrorCode"] == 70009
    assert (await world.raw(GET, query=bad))["ErrorCode"] == 70050
    assert (await world.raw(GET, query=bad, address="192.0.2.2"))["ErrorCode"] == 70009
    other = world.query(identifier="ann", usersig=world.usersig("ann"))
    assert (await world.raw(GET, query=other))["ErrorCode"] == 90009
    other = world.query(identifier="ann", usersig=world.usersig("ann", key="another key"))
    assert (await world.raw(GET, query=other))["ErrorCode"] == 70009
    await world.clock.advance(60)
    assert (await world.raw(GET, query=bad))["ErrorCode"] == 70009


@pytest.mark.evidence("lock-out of one caller only, which a right UserSig passes")
async def test_a_right_signature_passes_whatever_failed_before(world: World) -> None:
    """Known or new, from the very address of the attacker, and it opens no lock for him."""
    known = world.query()
    assert await world.raw(GET, query=known) == FINE
    bad = world.query(usersig=world.usersig(key="another key"))
    for _ in range(25):
        await world.raw(GET, query=bad)
    assert await world.raw(GET, query=known) == FINE
    new = world.query(usersig=world.usersig(expire_s=77))
    assert await world.raw(GET, query=new) == FINE
    assert (await world.raw(GET, query=bad))["ErrorCode"] == 70050, "still locked out"


@pytest.mark.evidence("lock-out of one caller only, which a right UserSig passes")
async def test_while_locked_out_every_wrong_signature_looks_the_same(world: World) -> None:
    now = world.clock.now()
    wrong = [
        "garbage!",
        sign(APP, "another key", ADMIN, 10, now),
        sign(APP + 1, KEY, ADMIN, 10, now),
        sign(APP, KEY, "ann", 10, now),
    ]
    for _ in range(5):
        for token in wrong:
            assert (await world.call(GET, {}, usersig=token))["ErrorCode"] != 70050
    for token in wrong:
        assert (await world.call(GET, {}, usersig=token))["ErrorCode"] == 70050
    # What is no attack keeps the code that says what to do.
    expired = sign(APP, KEY, ADMIN, 1, now - 5)
    assert (await world.call(GET, {}, usersig=expired))["ErrorCode"] == 70001
    assert (await world.call(GET, {}, usersig=""))["ErrorCode"] == 70002


async def test_one_subscriber_of_ipv6_is_one_address(world: World) -> None:
    bad = world.query(usersig=world.usersig(key="another key"))
    for number in range(20):
        await world.raw(GET, query=bad, address=f"2001:db8:1:1::{number:x}")
    assert (await world.raw(GET, query=bad, address="2001:db8:1:1:f::"))["ErrorCode"] == 70050
    assert (await world.raw(GET, query=bad, address="2001:db8:1:2::1"))["ErrorCode"] == 70009


async def test_failures_that_are_far_apart_or_no_attack_do_not_lock(world: World) -> None:
    bad = world.query(usersig="x")
    for _ in range(19):
        await world.raw(GET, query=bad)
    await world.clock.advance(61)
    for _ in range(19):
        assert (await world.raw(GET, query=bad))["ErrorCode"] == 70003
    await world.clock.advance(61)
    expired = sign(APP, KEY, ADMIN, 1, world.clock.now() - 5)
    for _ in range(30):
        assert (await world.call(GET, {}, usersig=expired))["ErrorCode"] == 70001
        assert (await world.call(GET, {}, usersig=""))["ErrorCode"] == 70002
    assert await world.call(GET, {}) == FINE


# --- what is remembered ------------------------------------------------------------------------


async def test_a_remembered_usersig_still_expires_and_dies_with_its_key(world: World) -> None:
    token = world.usersig(expire_s=10)
    assert await world.call(GET, {}, usersig=token) == FINE
    await world.clock.advance(10)
    assert await world.call(GET, {}, usersig=token) == FINE, "the last second is valid"
    await world.clock.advance(1)
    assert (await world.call(GET, {}, usersig=token))["ErrorCode"] == 70001
    token = world.usersig()
    assert await world.call(GET, {}, usersig=token) == FINE
    await world.operator.app_add(APP, {"key": "a key that was changed"})
    assert (await world.call(GET, {}, usersig=token))["ErrorCode"] == 70009


@pytest.mark.evidence(
    "an app's key is changed with an overlap of two, for callers and devices alike, and the"
    " new one signs",
    topic="Operations",
    planted="devices asked for the new key alone",
)
async def test_both_keys_verify_until_the_former_is_dropped(world: World) -> None:
    former = world.usersig()
    assert await world.call(GET, {}, usersig=former) == FINE
    made = await world.operator.app_key_rotate(APP)
    fresh = world.usersig(key=made["key"])
    assert await world.call(GET, {}, usersig=former) == FINE
    assert await world.call(GET, {}, usersig=fresh) == FINE
    assert (await world.call(GET, {}, usersig=world.usersig(key="a third")))["ErrorCode"] == 70009
    assert (await world.operator.app_key_drop_former(APP))["dropped"]
    assert (await world.call(GET, {}, usersig=former))["ErrorCode"] == 70009
    assert await world.call(GET, {}, usersig=fresh) == FINE
    assert not (await world.operator.app_key_drop_former(APP))["dropped"]


@pytest.mark.evidence("there are never three, and a key that is told outright has no overlap")
async def test_a_key_that_is_told_outright_has_no_overlap(world: World) -> None:
    former = world.usersig()
    await world.operator.app_key_rotate(APP)
    await world.operator.app_add(APP, {"key": "told outright"})
    assert (await world.call(GET, {}, usersig=former))["ErrorCode"] == 70009
    assert await world.call(GET, {}, usersig=world.usersig(key="told outright")) == FINE


async def test_an_administrator_removed_is_refused_at_once(world: World) -> None:
    assert await world.call(GET, {}) == FINE
    await world.operator.app_add(APP, {"admins": ["boss"]})
    assert (await world.call(GET, {}))["ErrorCode"] == 90009
    token = world.usersig("boss")
    assert await world.call(GET, {}, identifier="boss", usersig=token) == FINE


# --- faults of ours ------------------------------------------------------------------------------

WRITES: list[tuple[str, str, Any]] = [
    ("update_accounts", "timpush/add_tag", {"To_Account": "ann", "Tags": ["x"]}),
    ("update_app", "timpush/set_attr_name", {"AttrNames": {"0": "x"}}),
    ("accept", "timpush/push", {"MsgRandom": 1, "OfflinePushInfo": {"Title": "x"}}),
    ("recall", "timpush/revoke", {"TaskId": "x", "OfflinePushInfo": {}}),
    ("update_accounts", "im_open_login_svc/account_import", {"UserID": "new"}),
]


@pytest.mark.parametrize(("verb", "command", "body"), WRITES)
async def test_a_store_that_fails_is_91000_and_nothing_changed(
    world: World, verb: str, command: str, body: Any
) -> None:
    before = await world.dump(["ann", "new"])
    world.faults.add(verb)
    assert (await world.call(command, body))["ErrorCode"] == 91000
    world.faults.clear()
    assert await world.dump(["ann", "new"]) == before
    assert (await world.call(command, body))["ErrorCode"] in (0, 90049)


async def test_an_unexpected_exception_is_91000_and_counted(world: World) -> None:
    name = "loop_errors"
    assert world.metrics.value(name, loop="api") == 0
    world.presence.devices = {-1}  # no device has this number: the double raises OverflowError
    answer = await world.call("openim/querystate", {"To_Account": ["ann"]})
    assert answer["ErrorCode"] == 91000
    assert world.metrics.value(name, loop="api") == 1


async def test_calls_are_counted_by_command_and_code(world: World) -> None:
    await world.call(GET, {})
    await world.raw("timpush/nope")
    assert world.metrics.value("calls", command=GET, code=0) == 1
    assert world.metrics.value("calls", command="unknown", code=60009) == 1
    assert world.metrics.value("call_seconds", command=GET) == 1
