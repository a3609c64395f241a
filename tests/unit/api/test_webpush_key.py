"""The public call that tells a web page what to subscribe with."""

from __future__ import annotations

import pytest
from starlette.applications import Starlette

from tests.unit.api.test_credential_verbs import (
    HUAWEI,
    OTHER_PRIVATE,
    PRIVATE,
    PUBLIC,
    webpush_settings,
)
from tests.unit.api.world import APP, OTHER_APP, World, ask
from tocsin.api import pages
from tocsin.api.cors import Cors
from tocsin.api.webpush_key import WebPushKeyPage

HERE = f"/v1/apps/{APP}/webpush/public-key"


@pytest.fixture
def page(world: World) -> Starlette:
    return pages.create(WebPushKeyPage(world.store, world.vault, Cors(world.store)).routes())


@pytest.mark.evidence(
    "the public half of a VAPID key pair is shown wherever the credential is, and told to "
    "whoever asks, changed keys at once",
)
async def test_a_page_is_told_the_newest_key_without_a_proof(world: World, page: Starlette) -> None:
    assert (await ask(page, "GET", HERE)).status == 404
    for key in (PRIVATE, OTHER_PRIVATE):
        facts = {"channel": "webpush", "settings": webpush_settings(key)}
        await world.operator.credential_add(APP, facts)
    await world.operator.credential_add(APP, HUAWEI)
    told = await ask(page, "GET", HERE)
    assert (told.status, told.json()) == (200, {"credential": 2, "public_key": PUBLIC})
    first = (await ask(page, "GET", f"{HERE}?credential=1")).json()
    assert (first["credential"], len(first["public_key"])) == (1, 87)
    assert first["public_key"] != PUBLIC
    for asked in ("3", "9"):
        assert (await ask(page, "GET", f"{HERE}?credential={asked}")).status == 404
    await world.operator.credential_set(APP, 2, {"is_enabled": False})
    assert (await ask(page, "GET", HERE)).json()["credential"] == 1


@pytest.mark.evidence(
    "the public half of a VAPID key pair is shown wherever the credential is, and told to "
    "whoever asks, changed keys at once",
)
async def test_a_changed_key_is_told_at_once(world: World, page: Starlette) -> None:
    facts = {"channel": "webpush", "settings": webpush_settings(PRIVATE)}
    await world.operator.credential_add(APP, facts)
    assert (await ask(page, "GET", HERE)).json()["public_key"] != PUBLIC
    told = {"settings": {"private_key": OTHER_PRIVATE}}
    await world.operator.credential_set(APP, 1, told)
    assert (await ask(page, "GET", HERE)).json()["public_key"] == PUBLIC


async def test_no_key_is_told_of_an_app_that_is_not_there_or_is_off(
    world: World, page: Starlette
) -> None:
    for app, status in ((OTHER_APP, 404), ("x" * 99, 404), ("9" * 99, 404)):
        assert (await ask(page, "GET", f"/v1/apps/{app}/webpush/public-key")).status == status
    await world.operator.app_add(APP, {"is_enabled": False})
    assert (await ask(page, "GET", HERE)).status == 403


async def test_what_does_not_open_is_no_key(world: World, page: Starlette) -> None:
    facts = {"channel": "webpush", "settings": webpush_settings(PRIVATE)}
    await world.operator.credential_add(APP, facts)
    world.vault.use(bytes(range(32)))
    assert (await ask(page, "GET", HERE)).status == 404
