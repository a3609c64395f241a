"""RegistrationIDs and UserIDs never meet: who may choose which name, by whichever door."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.online.rig import APP, APPKEY, Rig
from tocsin.domain.account import NAME_MAX_BYTES, Profile, delete_accounts, import_accounts
from tocsin.domain.app import App
from tocsin.domain.device import Registration, register
from tocsin.domain.hello import Hello
from tocsin.domain.names import check_prefix, is_made, is_reserved, may_be_own
from tocsin.errors import CallError

MADE = "6F9619FF-8B86-4011-B42D-00CF4FC964FF"


def hello(**more: Any) -> Hello:
    return Hello(sdkappid=APP, appkey=APPKEY, **more)


async def refused(rig: Rig, ask: Hello) -> int:
    """The code of a hello that has to be refused and to change nothing."""
    before = await everything(rig)
    with pytest.raises(CallError) as caught:
        await rig.registrar.register(ask, "10.0.0.1")
    assert await everything(rig) == before
    return caught.value.code


async def everything(rig: Rig) -> object:
    accounts = await rig.store.scan_accounts(APP, 0, 100)
    devices = [await rig.store.device(APP, account.name) for account in accounts]
    return accounts, devices, await rig.store.last_change(APP)


async def failed_import(rig: Rig, *names: str) -> list[str]:
    decide = import_accounts([Profile(name) for name in names], 0)
    failures = await rig.store.update_accounts(APP, names, [], decide)
    assert {code for _, code in failures} <= {70402}
    return [name for name, _ in failures]


@pytest.mark.evidence(
    "a device chooses its RegistrationID only with the app's prefix, and no UserID has it "
    "or the form of a made one",
    topic="The wire",
    planted="the check left out of registration, of the login and of the import; the made "
    "form and the bare prefix let through; the registrar not saying that the device"
    " brought the name",
)
@pytest.mark.parametrize("name", ["boss", "own-1", "own-", MADE, MADE.lower()])
async def test_without_the_switch_no_device_chooses_its_name(name: str) -> None:
    rig = await Rig(own="").open("ann")
    assert await refused(rig, hello(registration_id=name)) == 800103
    assert await refused(rig, hello(registration_id=name, secret="0" * 64)) == 800103
    login = {"user": "ann", "usersig": rig.usersig("ann"), "registration_id": name}
    assert await refused(rig, hello(**login)) == 800103


@pytest.mark.evidence(
    "a device chooses its RegistrationID only with the app's prefix, and no UserID has it "
    "or the form of a made one",
)
@pytest.mark.parametrize("name", ["boss", "own", "own-", "OWN-1", "xown-1", MADE])
async def test_with_the_switch_only_names_with_the_prefix_may_be_chosen(name: str) -> None:
    rig = await Rig(own="own-").open()
    assert await refused(rig, hello(registration_id=name)) == 800103
    device = (await rig.registrar.register(hello(registration_id="own-1"), "10.0.0.1")).device
    assert device.registration_id == "own-1"


async def test_a_form_that_begins_with_the_prefix_is_still_the_services() -> None:
    rig = await Rig(own="6F9619FF").open()
    assert await refused(rig, hello(registration_id=MADE)) == 800103


async def test_names_registered_before_stay_and_stay_reserved() -> None:
    rig = await Rig(own="").open("ann")
    ask = Registration(registration_id="boss", fresh_secret="s")
    await rig.store.update_device(APP, "boss", "", None, register(ask, 0))
    assert await failed_import(rig, "boss", "bob") == ["boss"]
    again = await rig.registrar.register(hello(registration_id="boss", secret="s"), "10.0.0.1")
    assert (again.device.registration_id, again.secret) == ("boss", "")
    assert await refused(rig, hello(registration_id="boss", secret="x")) == 800101


async def test_a_name_whose_device_is_gone_is_not_taken_over() -> None:
    """Its user's account was deleted and took the device along; the name is still an account."""
    rig = await Rig(own="").open("ann")
    ask = Registration(registration_id="boss", fresh_secret="s", user="ann")
    await rig.store.update_device(APP, "boss", "ann", None, register(ask, 0))
    await rig.store.update_accounts(APP, ["ann"], [], delete_accounts(["ann"]))
    assert await refused(rig, hello(registration_id="boss")) == 800103


@pytest.mark.evidence(
    "a device chooses its RegistrationID only with the app's prefix, and no UserID has it "
    "or the form of a made one",
)
async def test_a_usersig_makes_no_user_of_a_reserved_name() -> None:
    rig = await Rig(own="own-").open()
    for name in ("own-1", "own-"):
        assert await refused(rig, hello(user=name, usersig=rig.usersig(name))) == 70402
    ask = {"user": "own-1", "usersig": rig.usersig("own-1"), "registration_id": "own-2"}
    assert await refused(rig, hello(**ask)) == 70402


@pytest.mark.evidence(
    "a device chooses its RegistrationID only with the app's prefix, and no UserID has it "
    "or the form of a made one",
)
async def test_no_import_takes_a_reserved_name() -> None:
    rig = await Rig(own="own-").open()
    assert await failed_import(rig, "own-1", "own-", MADE, "ann", "own") == ["own-1", "own-", MADE]
    (ann, own) = await rig.store.accounts(APP, ["ann", "own"])
    assert ann is not None
    assert own is not None


async def test_what_the_service_makes_can_be_no_user_id() -> None:
    rig = await Rig(own="").open()
    for _ in range(20):
        name = (await rig.registrar.register(hello(), "10.0.0.1")).device.registration_id
        assert is_made(name)
        assert len(name) > NAME_MAX_BYTES
    app = App(sdkappid=APP, key=b"", appkey=b"")
    assert (is_reserved(app, MADE), may_be_own(app, MADE)) == (True, False)


@pytest.mark.parametrize("prefix", ["a", "x" * 17, "a b", "é-", "a/", "a%"])
def test_what_is_no_prefix(prefix: str) -> None:
    with pytest.raises(CallError):
        check_prefix(prefix)


@pytest.mark.parametrize("prefix", ["", "ab", "dev-", "a.b:c_d", "x" * 16])
def test_what_is_a_prefix(prefix: str) -> None:
    check_prefix(prefix)
