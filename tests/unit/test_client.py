"""The client's values: what it sends, before any socket is opened."""

from __future__ import annotations

import pytest

from tocsin.client.device import DeviceIdentity
from tocsin.client.rest import AccountFault, Client, condition, failures_of, notice
from tocsin.clock import ManualClock
from tocsin.domain.hello import GivenRoute
from tocsin.domain.usersig import verify

KEY = "5bd2850fff3ecb11d7c805251c51ee463a25727bddc2385f3fa8bfee1bb93b5e"


def test_a_condition_has_only_the_members_that_are_asked_about() -> None:
    assert condition() == {}
    assert condition(tags_and=["vip"], attrs_or={"city": "Oslo"}) == {
        "TagsAnd": ["vip"],
        "AttrsOr": {"city": "Oslo"},
    }


def test_a_notice_takes_further_members_as_the_wire_spells_them() -> None:
    assert notice("T", "D") == {"Title": "T", "Desc": "D"}
    info = notice("T", "D", ext="{}", ApnsInfo={"BadgeMode": 1})
    assert info == {"Title": "T", "Desc": "D", "Ext": "{}", "ApnsInfo": {"BadgeMode": 1}}


@pytest.mark.parametrize("answer", [{}, {"ErrorList": []}, {"ErrorList": None}])
def test_no_error_list_means_that_nobody_failed(answer: dict[str, None]) -> None:
    assert failures_of(answer) == []


def test_an_error_list_may_lack_its_texts() -> None:
    answer = {"ErrorList": [{"To_Account": "ghost", "ErrorCode": 70107}]}
    assert failures_of(answer) == [AccountFault("ghost", 70107)]


def test_a_client_without_usersig_and_key_cannot_call() -> None:
    with pytest.raises(ValueError, match="usersig"):
        Client("http://localhost", 1, "admin")


def test_a_client_with_the_key_signs_for_itself_and_renews_in_time() -> None:
    clock = ManualClock()
    client = Client("http://localhost", 1400000001, "admin", key=KEY, clock=clock)
    first = client.usersig
    assert client.usersig == first
    verify(first, sdkappid=1400000001, identifier="admin", key=KEY, now=clock.now())
    later = ManualClock(clock.now() + 80_000)
    renewed = Client("http://localhost", 1400000001, "admin", key=KEY, clock=later).usersig
    assert renewed != first
    verify(renewed, sdkappid=1400000001, identifier="admin", key=KEY, now=later.now() + 3600)


async def test_a_usersig_is_renewed_before_it_runs_out() -> None:
    clock = ManualClock()
    client = Client("http://localhost", 1400000001, "admin", key=KEY, clock=clock)
    first = client.usersig
    await clock.advance(50_000)
    assert client.usersig != first


def test_a_hello_says_only_what_there_is_to_say() -> None:
    identity = DeviceIdentity(sdkappid=1, appkey="k")
    assert identity.hello() == {"sdkappid": 1, "appkey": "k"}
    identity.route = GivenRoute(channel="fcm", credential=2, token="t" * 40)
    assert identity.hello()["route"] == {
        "channel": "fcm",
        "credential": 2,
        "token": "t" * 40,
        "environment": "production",
    }
    identity.voip_token, identity.live_tokens = "v", {"order-77": "u"}
    identity.live_start_tokens = {"OrderAttributes": "s"}
    said = identity.hello()
    assert (said["voip_token"], said["live_tokens"]) == ("v", {"order-77": "u"})
    assert said["live_start_tokens"] == {"OrderAttributes": "s"}
