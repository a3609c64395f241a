"""Credentials as records: changed in place, shown without secrets, written for the client."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any

import pytest

from tests.unit.api.test_operator import apns_settings
from tests.unit.api.world import APP, World, ask
from tests.unit.channels.kit import ScriptedHttp
from tocsin.api.admin import create
from tocsin.api.shown_credential import state_of
from tocsin.channels.batch_run import DriverTools
from tocsin.channels.credentials import VendorChannels, open_settings
from tocsin.channels.proxied import open_proxy
from tocsin.channels.vendors import huawei
from tocsin.clock import Chance
from tocsin.conversation import Response, Stoppage
from tocsin.domain.app import Credential
from tocsin.errors import CallError
from tocsin.metrics import Metrics

HUAWEI: dict[str, Any] = {
    "channel": "huawei",
    "settings": {"app_secret": "a-secret", "app_id": "1045", "badge_class": "com.example.Main"},
    "rate_per_s": 50.0,
    "origin": "https://127.0.0.1:1",
    "ca": "PEM",
}

PROXY = "http://me:hush@proxy.corp:3128"


async def record(world: World, number: int = 1) -> Credential:
    return (await world.store.credentials(APP))[number - 1]


async def opened(world: World, number: int = 1) -> Any:
    return open_settings(world.vault, await record(world, number), huawei)


async def test_each_verb_is_in_force_at_once_at_the_channels_at_work(world: World) -> None:
    async with AsyncExitStack() as stack:
        http = ScriptedHttp(lambda _: Response(200))
        channels = VendorChannels(
            world.store, world.vault, DriverTools(http, world.clock, Chance(1), Metrics())
        )
        await channels.start(stack)
        world.operator.watch(channels, world.presence)
        assert await channels.facts(APP) == {}
        await world.operator.credential_add(APP, HUAWEI)
        assert set(await channels.facts(APP)) == {1}
        await world.operator.credential_set(APP, 1, {"is_enabled": False})
        assert await channels.facts(APP) == {}
        await world.operator.credential_set(APP, 1, {"is_enabled": True})
        assert set(await channels.facts(APP)) == {1}
        await world.operator.credential_delete(APP, 1)
        assert await channels.facts(APP) == {}


@pytest.mark.evidence(
    "settings change in place, and running drivers follow",
    topic="Credentials",
    planted="the version not raised",
)
async def test_single_settings_change_and_the_certificate_id_stays(world: World) -> None:
    added = await world.operator.credential_add(APP, HUAWEI)
    told = {"settings": {"app_secret": "another"}, "is_enabled": False}
    changed = await world.operator.credential_set(APP, added["number"], told)
    assert (changed["number"], changed["is_enabled"], changed["version"]) == (1, False, 2)
    found = await opened(world)
    assert (found.app_secret, found.app_id) == ("another", "1045")
    row = await record(world)
    assert (row.rate_per_s, row.origin, row.ca) == (50.0, "https://127.0.0.1:1", "PEM")


async def test_addresses_and_pace_are_taken_back_by_empty_ones(world: World) -> None:
    await world.operator.credential_add(APP, HUAWEI)
    await world.operator.credential_set(APP, 1, {"origin": "", "ca": "", "rate_per_s": 0})
    row = await record(world)
    assert (row.origin, row.ca, row.rate_per_s) == ("", None, 0)


@pytest.mark.evidence(
    "a change that changes nothing leaves the version, and unknown settings are refused by name",
)
@pytest.mark.parametrize(
    ("number", "facts", "why"),
    [
        (9, {}, "no credential 9"),
        (1, {"settings": {"app_id": "letters"}}, "digits"),
        (1, {"settings": {"app_secret": ""}}, "app_secret is empty"),
        (1, {"pace": 7}, "pace"),
        (1, {"rate_per_s": -1}, "rate_per_s: must be at least 0"),
        (1, {"settings": {"app_secrte": "x"}}, "no setting app_secrte; did you mean app_secret?"),
        (1, {"proxy": "http://me:hush@h"}, "proxy: a proxy's URL names its port"),
    ],
)
async def test_a_bad_change_changes_nothing(
    world: World, number: int, facts: dict[str, Any], why: str
) -> None:
    await world.operator.credential_add(APP, HUAWEI)
    before = await record(world)
    with pytest.raises(CallError, match=why) as caught:
        await world.operator.credential_set(APP, number, facts)
    assert caught.value.code == 70402
    assert await record(world) == before


@pytest.mark.evidence(
    "a change that changes nothing leaves the version, and unknown settings are refused by name",
    topic="Credentials",
    planted="the version raised in any case; unknown names left out without a word",
)
async def test_a_change_that_changes_nothing_leaves_the_version(world: World) -> None:
    await world.operator.credential_add(APP, {**HUAWEI, "proxy": PROXY})
    before = await record(world)
    same: list[dict[str, Any]] = [
        {},
        {"settings": {"app_secret": "a-secret"}},
        {"settings": HUAWEI["settings"], "rate_per_s": 50, "is_enabled": True, "ca": "PEM"},
        {"origin": HUAWEI["origin"], "proxy": PROXY},
    ]
    for told in same:
        answer = await world.operator.credential_set(APP, 1, told)
        assert (answer["done"], answer["version"]) == ("unchanged", 1)
        assert await record(world) == before
    other: list[dict[str, Any]] = [{"proxy": "none"}, {"proxy": ""}, {"is_enabled": False}]
    for number, told in enumerate(other, 2):
        answer = await world.operator.credential_set(APP, 1, told)
        assert (answer["done"], answer["version"]) == ("changed", number)


@pytest.mark.evidence(
    "a change that changes nothing leaves the version, and unknown settings are refused by name",
)
@pytest.mark.parametrize("name", ["app_secrte", "rate_per_s"])
async def test_a_setting_that_the_vendor_does_not_have_is_added_nowhere(
    world: World, name: str
) -> None:
    told = {**HUAWEI, "settings": {**HUAWEI["settings"], name: "x"}}
    with pytest.raises(CallError, match=f"huawei has no setting {name}; (did you mean|it has) "):
        await world.operator.credential_add(APP, told)
    assert await world.store.credentials(APP) == []


@pytest.mark.evidence(
    "a proxy's password is sealed, sealed anew, and shown nowhere",
    topic="Credentials",
    planted="shown as it is, by the credential and by `show-config`; left under the former key",
)
async def test_a_proxy_is_sealed_and_shown_without_its_password(world: World) -> None:
    added = await world.operator.credential_add(APP, {**HUAWEI, "proxy": PROXY})
    (listed,) = await world.operator.credential_list(APP)
    changed = await world.operator.credential_set(APP, 1, {"rate_per_s": 7})
    for shown in (added, listed, changed):
        assert shown["proxy"] == "http://me:***@proxy.corp:3128"
        assert "hush" not in str(shown)
    row = await record(world)
    assert b"hush" not in row.proxy
    assert b"proxy" not in row.proxy
    assert open_proxy(world.vault, row) == PROXY
    for told in ("none", ""):
        assert (await world.operator.credential_set(APP, 1, {"proxy": told}))["proxy"] == told
        assert open_proxy(world.vault, await record(world)) == told


async def test_two_changes_at_once_do_not_undo_each_other(world: World) -> None:
    await world.operator.credential_add(APP, HUAWEI)
    update, is_first = world.store.update_credential, True

    async def slow(app: int, number: int, change: Any) -> Any:
        nonlocal is_first
        if is_first:
            is_first = False
            await world.operator.credential_set(APP, 1, {"settings": {"app_id": "77"}})
        return await update(app, number, change)

    world.store.update_credential = slow  # type: ignore[method-assign]
    with pytest.raises(CallError, match="try again"):
        await world.operator.credential_set(APP, 1, {"settings": {"category": "IM"}})
    found = await opened(world)
    assert (found.app_id, found.category) == ("77", "")


async def test_secrets_are_masked_and_what_does_not_open_is_told(world: World) -> None:
    await world.operator.credential_add(APP, HUAWEI)
    (shown,) = await world.operator.credential_list(APP)
    assert shown["settings"]["app_secret"] == "***"
    assert shown["settings"]["app_id"] == "1045"
    assert "a-secret" not in str(shown)
    assert shown["expires_at"] is None
    world.vault.use(bytes(range(32)))
    (shown,) = await world.operator.credential_list(APP)
    assert "wrong secret key" in shown["fault"]


@pytest.mark.evidence(
    "a stopped credential is shown by the list, by the pushes that wait for it, in the log "
    "and in the metrics",
    topic="Credentials",
    planted="told in each look; the former state left standing; every stopped credential of"
    " the app named, whether waited for or not",
)
async def test_the_list_says_what_stops_a_credential_where_its_channel_is_at_work(
    world: World,
) -> None:
    for _ in range(2):
        await world.operator.credential_add(APP, HUAWEI)
    assert "stopped" not in (await world.operator.credential_list(APP))[0]
    world.operator.watch(world.channels, world.presence)
    world.channels.stopped = {1: Stoppage("down", "503", float("inf"), detail="no way out")}
    one, two = await world.operator.credential_list(APP)
    told = {"state": "down", "reason": "503", "until": None, "part": "", "detail": "no way out"}
    assert one["stopped"] == told
    assert two["stopped"] is None


@pytest.mark.evidence("the client's file", topic="Credentials", planted="settings left out")
async def test_the_clients_file_has_certificate_ids_and_what_the_sdks_need(world: World) -> None:
    await world.operator.credential_add(APP, HUAWEI)
    await world.operator.credential_add(APP, {"channel": "apns", "settings": apns_settings()})
    xiaomi = {"app_secret": "s", "package_name": "com.example", "app_id": "28", "app_key": "k"}
    await world.operator.credential_add(APP, {"channel": "xiaomi", "settings": xiaomi})
    meizu = {"app_secret": "s", "app_id": "100"}
    await world.operator.credential_add(APP, {"channel": "meizu", "settings": meizu})
    newer = {**HUAWEI["settings"], "badge_class": ""}
    await world.operator.credential_add(APP, {"channel": "huawei", "settings": newer})
    rest = {
        "meizuPushAppId": "100",
        "meizuPushBussinessId": "4",
        "xiaomiPushAppId": "28",
        "xiaomiPushAppKey": "k",
        "xiaomiPushBussinessId": "3",
    }
    config = await world.operator.client_config(APP)
    assert config == {"huaweiPushBussinessId": "5", **rest}
    assert "s" not in config.values()
    config = await world.operator.client_config(APP, [1])
    assert config == {
        "huaweiBadgeClassName": "com.example.Main",
        "huaweiPushBussinessId": "1",
    }
    await world.operator.credential_set(APP, 5, {"is_enabled": False})
    assert (await world.operator.client_config(APP))["huaweiPushBussinessId"] == "1"
    with pytest.raises(CallError, match="no credential 9"):
        await world.operator.client_config(APP, [1, 9])


async def test_the_admin_socket_carries_them(world: World) -> None:
    pages = create(world.operator, world.store, world.presence, dict, books=world.books)
    await world.operator.credential_add(APP, HUAWEI)

    async def told(path: str, body: Any) -> Any:
        asked = await ask(pages, "POST", f"/v1/apps/{APP}/{path}", body)
        assert asked.status == 200, asked.json()
        return asked.json()

    changed = await told("credentials/1", {"settings": {"category": "IM"}})
    assert changed["settings"]["category"] == "IM"
    config = (await told("client_config", {}))["config"]
    assert config["huaweiPushBussinessId"] == "1"
    bad = await ask(pages, "POST", f"/v1/apps/{APP}/client_config", {"numbers": ["x"]})
    assert bad.status == 400


def webpush_settings(private_key: str) -> dict[str, Any]:
    return {"private_key": private_key, "subject": "mailto:push@example.com"}


PUBLIC = "BP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A8"
PRIVATE = "q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94"
"""Key pairs of RFC 8291, 5 (read 2026-11)."""
OTHER_PRIVATE = "yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw"


@pytest.mark.evidence(
    "the public half of a VAPID key pair is shown wherever the credential is, and told to "
    "whoever asks, changed keys at once",
    topic="Daily verbs",
    planted="remembered without the version; the oldest told",
)
async def test_the_public_half_is_shown_wherever_a_credential_is(world: World) -> None:
    facts = {"channel": "webpush", "settings": webpush_settings(OTHER_PRIVATE)}
    added = await world.operator.credential_add(APP, facts)
    await world.operator.credential_add(APP, HUAWEI)
    assert added["public_key"] == PUBLIC
    assert OTHER_PRIVATE not in str(added)
    listed = await world.operator.credential_list(APP)
    assert [it.get("public_key") for it in listed] == [PUBLIC, None]
    assert (await world.operator.credential_show(APP, 1))["public_key"] == PUBLIC
    with pytest.raises(CallError, match="no credential 9"):
        await world.operator.credential_show(APP, 9)


@pytest.mark.evidence(
    "a credential is shown in the worst of its states",
    topic="Daily verbs",
    planted="what stops it told before its end",
)
async def test_a_credential_is_in_the_worst_of_its_states(world: World) -> None:
    shown: dict[str, Any] = {"is_enabled": True, "expires_at": None}
    day, now = 86_400.0, world.clock.now()
    stopped = {"stopped": {"state": "down"}}
    for told, state in (
        ({}, "ready"),
        ({"expires_at": now + 31 * day}, "ready"),
        ({"expires_at": now + 29 * day}, "expiring"),
        ({"expires_at": now + 29 * day, **stopped}, "down"),
        ({"expires_at": now, **stopped}, "expired"),
        ({"expires_at": now, "is_enabled": False}, "disabled"),
        ({"fault": "wrong secret key", "is_enabled": False}, "unreadable"),
    ):
        assert state_of(shown | told, now) == state
    await world.operator.credential_add(APP, HUAWEI)
    assert (await world.operator.credential_show(APP, 1))["state"] == "ready"
