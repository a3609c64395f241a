"""The operator's verbs, and the admin socket that carries them."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.unit.api.world import ADMIN, APP, KEY, World, ask
from tocsin.api.admin import create
from tocsin.domain.usersig import verify
from tocsin.errors import CallError

NEW = 1_400_000_009


def apns_settings() -> dict[str, Any]:
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return {
        "private_key": pem.decode(),
        "key_id": "ABC123DEFG",
        "team_id": "DEF123GHIJ",
        "bundle_id": "com.example.app",
    }


async def test_an_app_without_a_key_gets_one_and_is_told_once(world: World) -> None:
    made = await world.operator.app_add(NEW, {"admins": ["boss"]})
    assert len(bytes.fromhex(made["key"])) == 32
    assert made["profile"] == "compatible"
    again = await world.operator.app_add(NEW, {"ttl_s": 60})
    assert "key" not in again
    assert (again["ttl_s"], again["admins"]) == (60, ["boss"])
    token = await world.operator.usersig(NEW, "boss", 60)
    verify(token, sdkappid=NEW, identifier="boss", key=made["key"], now=world.clock.now())
    (account,) = await world.store.accounts(NEW, ["boss"])
    assert account is not None, "an administrator's account exists"


@pytest.mark.evidence(
    "keys are shown only where asked for",
    topic="The wire",
    planted="the client key in the list of apps; the key beside it in one app",
)
async def test_keys_are_sealed_and_shown_only_where_asked(world: World) -> None:
    app = await world.store.app(APP)
    assert app is not None
    assert KEY.encode() not in app.key
    assert world.vault.open(app.key, f"{APP}/key") == KEY.encode()
    shown = await world.operator.app_show(APP)
    assert KEY not in str(shown)
    assert world.vault.open(app.appkey, f"{APP}/appkey").decode() == shown["appkey"]
    assert "appkey" not in (await world.operator.app_list())[0]


@pytest.mark.parametrize(
    "facts",
    [
        {"nope": 1},
        {"key": "short"},
        {"key": 5},
        {"admins": "boss"},
        {"admins": [""]},
        {"admins": ["x" * 33]},
        {"admins": [str(number) for number in range(11)]},
        {"profile": "other"},
        {"ack_s": 0},
        {"ttl_s": -1},
    ],
)
async def test_bad_facts_change_nothing(world: World, facts: dict[str, Any]) -> None:
    before = await world.dump()
    with pytest.raises(CallError) as caught:
        await world.operator.app_add(APP, facts)
    assert caught.value.code == 70402
    assert await world.dump() == before


@pytest.mark.evidence(
    "a prefix that UserIDs have is refused in the step that would set it",
    topic="The wire",
    planted="UserIDs not looked at; devices' names taken for UserIDs; the range without its end",
)
async def test_a_prefix_that_meets_user_ids_is_refused_and_says_what_to_do(world: World) -> None:
    names = ["dev-1", "dev-2", "device"]
    await world.call("im_open_login_svc/multiaccount_import", {"Accounts": names})
    before = await world.dump()
    with pytest.raises(CallError) as caught:
        await world.operator.app_add(APP, {"own_registration_ids": "dev-", "ttl_s": 77})
    assert caught.value.code == 70402
    for said in ("dev-1, dev-2", "another prefix", f"tocsin app names {APP} --prefix dev-"):
        assert said in caught.value.info
    assert await world.dump() == before
    shown = await world.operator.app_add(APP, {"own_registration_ids": "dev_", "ttl_s": 77})
    assert (shown["own_registration_ids"], shown["ttl_s"]) == ("dev_", 77)
    # Once they are gone the prefix is free, and the change to it is one step.
    await world.call(
        "im_open_login_svc/account_delete", {"DeleteItem": [{"UserID": name} for name in names]}
    )
    shown = await world.operator.app_add(APP, {"own_registration_ids": "dev-"})
    assert shown["own_registration_ids"] == "dev-"


@pytest.mark.parametrize(
    "facts",
    [
        {"own_registration_ids": "d"},
        {"own_registration_ids": "two words"},
        {"own_registration_ids": 5},
        {"own_registration_ids": "adm-", "admins": ["adm-1"]},
        {"admins": ["6F9619FF-8B86-4011-B42D-00CF4FC964FF"]},
    ],
)
async def test_a_bad_prefix_changes_nothing(world: World, facts: dict[str, Any]) -> None:
    before = await world.dump()
    for sdkappid in (APP, NEW):
        with pytest.raises(CallError) as caught:
            await world.operator.app_add(sdkappid, facts)
        assert caught.value.code == 70402
    assert await world.dump() == before


async def test_chosen_names_and_conflicts_are_listed(world: World) -> None:
    for name, user in (("boss", "ann"), ("dev-1", ""), ("x" * 33, "")):
        await world.device(name, user)
    await world.device("6F9619FF-8B86-4011-B42D-00CF4FC964FF")
    await world.call("im_open_login_svc/multiaccount_import", {"Accounts": ["dev-2"]})
    found = await world.operator.app_names(APP, "dev-")
    assert (found["own"], found["own_registration_ids"]) == (3, "")
    assert {it["registration_id"]: it["bars_user_id"] for it in found["names"]} == {
        "boss": True,
        "dev-1": True,
        "x" * 33: False,
    }
    assert [it["user"] for it in found["names"]] == ["ann", "", ""]
    assert [it["has_prefix"] for it in found["names"]] == [False, True, False]
    assert (found["conflicts"], found["user_ids"]) == (1, ["dev-2"])
    pages = create(world.operator, world.store, world.presence, dict, books=world.books)
    asked = await ask(pages, "GET", f"/v1/apps/{APP}/names?prefix=dev-")
    assert asked.json() == found
    assert (await world.operator.app_names(APP))["user_ids"] == []


async def test_credentials_are_sealed_numbered_and_never_shown(world: World) -> None:
    settings = apns_settings()
    facts = {"channel": "apns", "settings": settings, "origin": "https://127.0.0.1:1"}
    first = await world.operator.credential_add(APP, facts)
    second = await world.operator.credential_add(APP, facts)
    assert (first["number"], second["number"]) == (1, 2)
    listed = await world.operator.credential_list(APP)
    assert [each["number"] for each in listed] == [1, 2]
    assert settings["private_key"] not in str(listed)
    assert b"PRIVATE" not in (await world.store.credentials(APP))[0].settings
    await world.operator.credential_delete(APP, 1)
    assert [it["number"] for it in await world.operator.credential_list(APP)] == [2]
    third = await world.operator.credential_add(APP, facts)
    assert third["number"] == 3, "numbers are never used again"


async def test_bad_credentials_are_refused_without_quoting_a_secret(world: World) -> None:
    canary = "canary-of-a-private-key"
    for facts in (
        {"channel": "nope", "settings": {}},
        {"channel": "apns", "settings": {}},
        {"channel": "apns", "settings": {**apns_settings(), "private_key": canary}},
        {"channel": "apns", "settings": {**apns_settings(), "key_id": 5}},
        {"channel": "apns"},
    ):
        with pytest.raises(CallError) as caught:
            await world.operator.credential_add(APP, facts)
        assert caught.value.code == 70402
        assert canary not in caught.value.info
    assert await world.operator.credential_list(APP) == []
    with pytest.raises(CallError):
        await world.operator.credential_delete(APP, 1)


async def test_usersigs_are_made_for_names_only(world: World) -> None:
    for name, expire_s in [("", 60), ("x" * 33, 60), (ADMIN, 0), (ADMIN, 10**12)]:
        with pytest.raises(CallError):
            await world.operator.usersig(APP, name, expire_s)
    with pytest.raises(CallError):
        await world.operator.usersig(NEW, ADMIN, 60)


@pytest.mark.evidence(
    "an app's key is changed with an overlap of two, for callers and devices alike, and the"
    " new one signs",
)
async def test_a_usersig_is_signed_with_the_new_key(world: World) -> None:
    made = await world.operator.app_key_rotate(APP)
    token = await world.operator.usersig(APP, ADMIN, 60)
    verify(token, sdkappid=APP, identifier=ADMIN, key=made["key"], now=world.clock.now())
    assert (await world.operator.app_show(APP))["has_former_key"]


@pytest.mark.parametrize(
    ("sdkappid", "key", "says"),
    [
        (NEW, "", "70020"),
        (APP, "short", "8 to 256"),
        (APP, "x" * 257, "8 to 256"),
        (APP, KEY, "the present key"),
    ],
)
async def test_a_key_that_cannot_be_the_next_changes_nothing(
    world: World, sdkappid: int, key: str, says: str
) -> None:
    before = await world.dump()
    with pytest.raises(CallError) as caught:
        await world.operator.app_key_rotate(sdkappid, key)
    assert says in f"{caught.value.code} {caught.value.info}"
    assert await world.dump() == before


@pytest.mark.evidence(
    "there are never three, and a key that is told outright has no overlap",
    topic="Operations",
    planted="the former key left standing",
)
async def test_two_keys_overlap_and_never_three(world: World) -> None:
    await world.operator.app_key_rotate(APP)
    with pytest.raises(CallError, match="tocsin app key drop-former") as caught:
        await world.operator.app_key_rotate(APP)
    assert caught.value.code == 70402
    await world.operator.app_key_drop_former(APP)
    await world.operator.app_key_rotate(APP, "chosen by the operator")


async def test_the_admin_socket_speaks_every_verb(world: World) -> None:
    status = {"url": "http://127.0.0.1:1", "pid": 1, "version": "0"}
    pages = create(world.operator, world.store, world.presence, lambda: status, books=world.books)

    async def told(method: str, path: str, body: Any = None) -> Any:
        asked = await ask(pages, method, path, body)
        assert asked.status == 200, asked
        return asked.json()

    assert await told("GET", "/v1/status") == status
    added = await told("POST", f"/v1/apps/{NEW}", {"admins": ["boss"]})
    assert added["sdkappid"] == NEW
    listed = (await told("GET", "/v1/apps"))["apps"]
    assert [app["sdkappid"] for app in listed] == [APP, NEW]
    assert (await told("GET", f"/v1/apps/{NEW}"))["appkey"]
    said = {"name": "boss", "expire_s": 60}
    assert (await told("POST", f"/v1/apps/{NEW}/usersig", said))["usersig"]
    assert (await told("POST", f"/v1/apps/{NEW}/key/rotate", {}))["key"]
    assert (await told("POST", f"/v1/apps/{NEW}/key/drop_former", {}))["dropped"]
    facts = {"channel": "apns", "settings": apns_settings()}
    made = await told("POST", f"/v1/apps/{NEW}/credentials", facts)
    shown = {**made, "state": "ready"}
    assert (await told("GET", f"/v1/apps/{NEW}/credentials"))["credentials"] == [shown]
    assert await told("GET", f"/v1/apps/{NEW}/credentials/1") == shown
    assert await told("DELETE", f"/v1/apps/{NEW}/credentials/1") == {}
    assert await told("GET", f"/v1/apps/{NEW}/tasks") == {"tasks": [], "next": None}


@pytest.mark.parametrize(
    ("method", "path", "body", "expected"),
    [
        ("GET", f"/v1/apps/{NEW}", None, (404, 70020)),
        ("GET", f"/v1/apps/{10**30}", None, (400, 70402)),
        ("GET", "/v1/nope", None, (404, 60009)),
        ("DELETE", "/v1/apps", None, (405, 60002)),
        ("POST", f"/v1/apps/{APP}", b"{", (400, 90001)),
        ("POST", f"/v1/apps/{APP}", b"[]", (400, 90001)),
        ("POST", f"/v1/apps/{APP}/usersig", b"{}", (400, 70402)),
        ("DELETE", f"/v1/apps/{APP}/credentials/1", None, (400, 70402)),
        ("GET", f"/v1/apps/{NEW}/tasks", None, (404, 70020)),
    ],
)
async def test_faults_on_the_admin_socket_are_envelopes(
    world: World, method: str, path: str, body: bytes | None, expected: tuple[int, int]
) -> None:
    pages = create(world.operator, world.store, world.presence, dict, books=world.books)
    asked = await ask(pages, method, path, raw=body)
    answer = asked.json()
    assert (asked.status, answer["ErrorCode"]) == expected
    assert answer["ActionStatus"] == "FAIL"
