"""One device is one device however its token is spelt: each vendor, on each store."""

from __future__ import annotations

import functools

import pytest

from tests.direct import address
from tests.sandbox_keys import keys_folder
from tests.unit.channels.kit import kit_of
from tocsin.adapters.bus import LocalBus
from tocsin.adapters.vault import AesVault
from tocsin.channels.registry import VENDORS, Vendor, normal_route
from tocsin.clock import Chance, ManualClock
from tocsin.domain.app import App, Credential
from tocsin.domain.device import Device, Registered, Route
from tocsin.domain.hello import Hello
from tocsin.domain.usersig import sign
from tocsin.errors import CallError
from tocsin.metrics import Metrics
from tocsin.pipeline.app_secrets import AppSecrets
from tocsin.pipeline.register import Registering
from tocsin.sandbox.server import Sandbox, SandboxSettings
from tocsin.store import Store

APP = 1
KEY = "a key for tests only"
each_vendor = pytest.mark.parametrize("vendor", VENDORS, ids=lambda vendor: vendor.NAME)


@functools.cache
def standing_sandbox() -> Sandbox:
    """A sandbox whose servers have addresses; its keys take half a second to make."""
    sandbox = Sandbox(SandboxSettings(seed=1, folder=keys_folder()), ManualClock())
    sandbox.stand_at(address)
    return sandbox


class Phones:
    """Phones of one vendor that register with the app."""

    def __init__(self, store: Store, clock: ManualClock, vendor: Vendor) -> None:
        self.store = store
        self.clock = clock
        self.vendor = vendor
        self._vault = AesVault(bytes(32))
        self._registrar = Registering(
            store=store,
            app_secrets=AppSecrets(self._vault),
            bus=LocalBus(),
            clock=clock,
            chance=Chance(1),
            metrics=Metrics(),
            normal_route=normal_route,
        )

    async def open(self) -> Phones:
        seal = self._vault.seal
        app = App(sdkappid=APP, key=seal(KEY.encode(), f"{APP}/key"), appkey=b"")
        await self.store.update_app(APP, lambda _: app)
        made = Credential(app=APP, number=1, channel=self.vendor.NAME, settings=b"")
        await self.store.update_credential(APP, 0, lambda _, __: made)
        return self

    def route(self, token: str) -> Route:
        return Route(self.vendor.NAME, 1, token)

    async def register(self, user: str, token: str, proof: Registered | None = None) -> Registered:
        """A login on a fresh install, or on the one that `proof` came from."""
        await self.clock.advance(1)
        hello = Hello(
            sdkappid=APP,
            user=user,
            usersig=sign(APP, KEY, user, 3600, self.clock.now()),
            registration_id=proof.device.registration_id if proof else "",
            secret=proof.secret if proof else "",
            route=self.route(token),
        )
        return await self._registrar.register(hello, "10.0.0.1")

    async def device(self, registered: Registered) -> Device:
        found = await self.store.device(APP, registered.device.registration_id)
        assert found is not None
        return found


@pytest.fixture
async def phones(store: Store, clock: ManualClock, vendor: Vendor) -> Phones:
    return await Phones(store, clock, vendor).open()


@each_vendor
def test_each_spelling_is_the_one_and_nobody_elses_is(vendor: Vendor) -> None:
    kit = kit_of(vendor)
    assert len(kit.spellings) > 3
    (one,) = {normal_route(Route(vendor.NAME, 1, text)) for text in kit.spellings}
    assert one is not None
    assert one.token == kit.spellings[0]
    assert normal_route(one) == one
    for text in kit.others:
        other = normal_route(Route(vendor.NAME, 1, text))
        assert other is not None
        assert other.device_key() != one.device_key()


@each_vendor
def test_what_the_sandbox_gives_a_device_is_a_token(vendor: Vendor) -> None:
    tokens = standing_sandbox().tokens(vendor.NAME, 0, 9)
    given = [normal_route(Route(vendor.NAME, 1, token)) for token in tokens]
    assert len({route.device_key() for route in given if route is not None}) == 9


@each_vendor
def test_the_environment_is_one_that_there_is(vendor: Vendor) -> None:
    token = kit_of(vendor).spellings[0]
    told = {name: normal_route(Route(vendor.NAME, 1, token, name)) for name in ENVIRONMENTS_TOLD}
    found = {name: route.environment for name, route in told.items() if route is not None}
    assert found == ENVIRONMENTS_TOLD


ENVIRONMENTS_TOLD = {
    "production": "production",
    "development": "development",
    "sandbox": "production",
    "": "production",
}


@pytest.mark.evidence(
    "a device is one however its token is spelt, for ten vendors, two users and a reinstall",
    topic="Books",
    planted="a hello's tokens taken as told; APNs tokens in the case that they came in; the"
    " identity left out of the key",
)
@each_vendor
async def test_a_token_belongs_to_the_user_who_registered_it_last(
    phones: Phones, vendor: Vendor
) -> None:
    first, *others = kit_of(vendor).spellings
    had = await phones.register("ann", first)
    for number, text in enumerate(others):
        has = await phones.register(f"user{number}", text)
        robbed, owner = await phones.device(had), await phones.device(has)
        assert robbed.route is None
        assert robbed.epoch == had.device.epoch + 1
        assert owner.route is not None
        assert owner.route.token == first
        assert await phones.store.token_owners(APP, [owner.route]) == [owner]
        had = has


@pytest.mark.evidence(
    "a device is one however its token is spelt, for ten vendors, two users and a reinstall",
)
@each_vendor
async def test_a_reinstalled_app_leaves_no_second_device_behind(
    phones: Phones, vendor: Vendor
) -> None:
    first, *others = kit_of(vendor).spellings
    installs = [await phones.register("ann", text) for text in (*others, first)]
    routes = [(await phones.device(install)).route for install in installs]
    assert [route is None for route in routes] == [True] * len(others) + [False]


@each_vendor
async def test_another_spelling_is_nothing_new(phones: Phones, vendor: Vendor) -> None:
    first, *others = kit_of(vendor).spellings
    install = await phones.register("ann", first)
    for text in others:
        again = await phones.register("ann", text, install)
        assert again.device == install.device


@pytest.mark.evidence(
    "a token that no device can have is refused and changes nothing",
    topic="Books",
    planted="APNs tokens of any length; commas let into the tokens of vendors that take "
    "lists as text",
)
@each_vendor
async def test_a_token_that_cannot_be_is_refused_and_changes_nothing(
    phones: Phones, vendor: Vendor
) -> None:
    kit = kit_of(vendor)
    install = await phones.register("ann", kit.spellings[0])
    for text in kit.impossible:
        with pytest.raises(CallError) as refused:
            await phones.register("bob", text, install)
        assert refused.value.code == 70402
        assert text.strip() == "" or text not in refused.value.info
    assert await phones.device(install) == install.device
    assert await phones.store.accounts(APP, ["bob"]) == [None]


@pytest.mark.evidence(
    "new keys of a browser's endpoint replace the old ones",
    topic="Books",
    planted="no identity for a subscription",
)
@pytest.mark.parametrize("vendor", [it for it in VENDORS if it.NAME == "webpush"], ids=["webpush"])
async def test_new_keys_of_an_endpoint_replace_the_old_ones(phones: Phones, vendor: Vendor) -> None:
    old = kit_of(vendor).spellings[0]
    new = old.replace("BTBZMqHH6r4Tts7J_aSIgg", "AAAAAAAAAAAAAAAAAAAAAA")
    assert new != old
    ann = await phones.register("ann", old)
    same = await phones.register("ann", new, ann)
    assert (same.device.number, same.device.epoch) == (ann.device.number, ann.device.epoch + 1)
    assert same.device.route is not None
    assert same.device.route.token == new
    bob = await phones.register("bob", old)
    assert (await phones.device(ann)).route is None
    assert bob.device.route is not None
    assert bob.device.route.token == old
