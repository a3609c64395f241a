"""Apps and credentials of the configuration: stored without a command, and never twice."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.unit.api.world import APP, KEY, World
from tests.unit.channels.kit_shape import ec_key, rsa_key
from tocsin.api.declared_apps import read_apps
from tocsin.api.declaring import AppDeclarations
from tocsin.errors import CallError
from tocsin.pipeline.app_secrets import AppSecrets
from tocsin.settings import ConfigError

APNS = {"key_id": "KEY1234567", "team_id": "TEAM123456", "bundle_id": "com.example.app"}


class Container:
    """A configuration with its files and variables, taken into a store that stays."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.world = World()
        self.variables: dict[str, str] = {}
        self.app: dict[str, Any] = {"sdkappid": APP, "key": KEY, "admins": ["admin"]}

    def file(self, name: str, text: str) -> str:
        path = self.folder / name
        path.write_text(text)
        return str(path)

    def credential(self, **members: Any) -> dict[str, Any]:
        """Declare one of APNs with its key in a file, with these members changed."""
        made = {"name": "apple", "vendor": "apns", "settings": dict(APNS), **members}
        if "files" not in made and "variables" not in made:
            made["files"] = {"private_key": self.file("apple.p8", ec_key())}
        self.app.setdefault("credentials", []).append(made)
        return made

    async def start(self) -> list[str]:
        """What a start or a reload takes."""
        world = self.world
        declaring = AppDeclarations(
            world.operator, world.store, AppSecrets(world.vault), self.variables
        )
        return await declaring.take([self.app])

    async def listed(self) -> list[dict[str, Any]]:
        return await self.world.operator.credential_list(APP)


@pytest.fixture
def container(tmp_path: Path) -> Container:
    return Container(tmp_path)


@pytest.mark.evidence(
    "a container comes up with app and credentials without a command, and a restart makes "
    "no second one",
)
async def test_a_first_start_has_its_app_and_credentials_and_a_second_changes_nothing(
    container: Container,
) -> None:
    container.credential()
    container.credential(name="apple-beta", is_enabled=False, rate_per_s=5)
    assert await container.start() == [
        f"app {APP} added",
        "credential 1 (apple) added",
        "credential 2 (apple-beta) added",
    ]
    assert await container.start() == []
    first, second = await container.listed()
    assert (first["name"], first["source"], first["version"]) == ("apple", "configuration", 1)
    assert (second["is_enabled"], second["rate_per_s"]) == (False, 5)
    world = container.world
    answer = await world.call(
        "timpush/get_attr_name", {}, usersig=world.usersig("admin"), identifier="admin"
    )
    assert answer["ErrorCode"] == 0, "its administrator may call"


@pytest.mark.evidence(
    "a change in a declared file is taken at a reload under the same certificate ID; what "
    "is taken out is left and told",
    topic="Settings, log and reload",
    planted="settings merged into the stored ones; the name forgotten with the declaration",
)
async def test_a_change_in_a_file_is_taken_and_keeps_the_certificate_id(
    container: Container,
) -> None:
    container.credential()
    await container.start()
    container.file("apple.p8", ec_key.__wrapped__())
    assert await container.start() == ["credential 1 (apple) changed"]
    (shown,) = await container.listed()
    assert (shown["number"], shown["version"]) == (1, 2)


@pytest.mark.evidence(
    "a change in a declared file is taken at a reload under the same certificate ID; what "
    "is taken out is left and told",
)
async def test_what_is_taken_out_of_the_file_is_its_default_again(container: Container) -> None:
    settings = container.credential(settings={**APNS, "environment": "development"})["settings"]
    await container.start()
    del settings["environment"]
    container.app["credentials"][0]["origin"] = "https://apns.test"
    assert await container.start() == ["credential 1 (apple) changed"]
    (shown,) = await container.listed()
    assert shown["settings"]["environment"] == "production"
    assert shown["origin"] == "https://apns.test"


@pytest.mark.evidence(
    "a change in a declared file is taken at a reload under the same certificate ID; what "
    "is taken out is left and told",
)
async def test_a_credential_that_is_taken_out_is_left_and_told(
    container: Container, capsys: pytest.CaptureFixture[str]
) -> None:
    made = container.credential()
    await container.start()
    container.app["credentials"] = []
    assert await container.start() == []
    (shown,) = await container.listed()
    assert (shown["source"], shown["is_enabled"]) == ("left", True)
    await container.world.operator.credential_set(APP, 1, {"is_enabled": False})
    container.app["credentials"] = [made]
    assert await container.start() == ["credential 1 (apple) changed"], "and no second one"
    (shown,) = await container.listed()
    assert (shown["source"], shown["is_enabled"]) == ("configuration", True)


@pytest.mark.evidence(
    "a command does not change what the configuration declares",
    topic="Settings, log and reload",
    planted="the refusal left out, in one verb and the other",
)
async def test_a_command_does_not_change_what_the_next_reload_would_change_back(
    container: Container,
) -> None:
    container.credential()
    await container.start()
    operator = container.world.operator
    with pytest.raises(CallError) as refused:
        await operator.credential_set(APP, 1, {"is_enabled": False})
    assert "declared in the configuration as apple: change it there" in refused.value.info
    with pytest.raises(CallError, match="declared"):
        await operator.credential_delete(APP, 1)
    assert len(await container.listed()) == 1


async def test_one_that_a_command_made_may_be_adopted(container: Container) -> None:
    await container.start()
    facts = {"channel": "apns", "settings": {**APNS, "private_key": ec_key()}}
    await container.world.operator.credential_add(APP, facts)
    container.credential(number=1)
    assert await container.start() == ["credential 1 (apple) changed"]
    (shown,) = await container.listed()
    assert shown["source"] == "configuration"
    container.app["credentials"][0]["number"] = 0
    assert await container.start() == [], "its name finds it from then on"


@pytest.mark.evidence("wrong apps are told all at once without their secrets, and change nothing")
@pytest.mark.parametrize(
    "members",
    [
        {"name": "google", "number": 7},
        {"name": "apple", "vendor": "fcm", "settings": {}, "variables": {}},
    ],
)
async def test_what_does_not_fit_to_the_store_changes_nothing(
    container: Container, members: dict[str, Any]
) -> None:
    container.credential()
    await container.start()
    if members["name"] == "apple":
        account = {"private_key": rsa_key(), "client_email": "a@b", "project_id": "p"}
        members = {**members, "variable": "ACCOUNT"}
        container.variables["ACCOUNT"] = msgspec.json.encode(account).decode()
        container.app["credentials"] = []
    container.credential(**members)
    container.app["profile"] = "unlimited"
    with pytest.raises(ConfigError):
        await container.start()
    (shown,) = await container.world.operator.app_list()
    assert shown["profile"] == "compatible"
    assert len(await container.listed()) == 1


def in_base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.mark.evidence(
    "a container comes up with app and credentials without a command, and a restart makes "
    "no second one",
)
@pytest.mark.parametrize("write", [str, in_base64, lambda text: text.replace("\n", "\\n")])
def test_secrets_may_stand_in_variables_as_people_write_them(
    container: Container, write: Any
) -> None:
    container.variables["APPLE_KEY"] = write(ec_key())
    container.variables["APP_KEY"] = KEY
    container.app["key_variable"] = "APP_KEY"
    del container.app["key"]
    container.credential(variables={"private_key": "APPLE_KEY"})
    (app,), faults = read_apps([container.app], container.variables)
    assert faults == []
    assert app.facts["key"] == KEY
    assert app.credentials[0].facts["settings"]["private_key"] == ec_key()


def test_a_vendors_own_file_is_read_by_what_is_in_it(container: Container) -> None:
    account = {"private_key": rsa_key(), "client_email": "a@b", "project_id": "p", "type": "x"}
    text = msgspec.json.encode(account).decode()
    for named in ({"file": container.file("account.json", text)}, {"variable": "ACCOUNT"}):
        container.variables["ACCOUNT"] = in_base64(text)
        container.app["credentials"] = [{"name": "google", "vendor": "fcm", **named}]
        (app,), faults = read_apps([container.app], container.variables)
        assert faults == []
        assert app.credentials[0].facts["settings"]["project_id"] == "p"


@pytest.mark.evidence(
    "wrong apps are told all at once without their secrets, and change nothing",
    topic="Settings, log and reload",
    planted="stored before the rest was looked at; unknown members shown",
)
def test_everything_wrong_is_told_at_once_and_no_secret_is_quoted() -> None:
    wrong: list[Mapping[str, Any]] = [
        {
            "sdkappid": "x",
            "key": "hush",
            "admns": [],
            "profile": "huge",
            "credentials": [
                {"name": "a b", "vendor": "apns", "settings": "hush"},
                {"name": "b", "vendor": "apnz"},
                {"name": "c", "vendor": "apns", "settings": {"privat_key": "hush"}},
                {"name": "d", "vendor": "apns", "files": {"private_key": "/nowhere/hidden"}},
                {"name": "e", "vendor": "apns", "variables": {"private_key": "NOT_SET"}},
                {"name": "f", "vendor": "meizu", "proxy": "http://me:hush@proxy"},
                {"vendor": "fcm"},
            ],
        },
        {"sdkappid": 2, "key": KEY, "admins": ["ä"], "origins": ["https://a.example", "*"]},
        {"sdkappid": 2},
    ]
    _, faults = read_apps(wrong, {})
    text = "\n".join(map(str, faults))
    for said in (
        'apps[0].sdkappid: "x" is wrong',
        "apps[0].admns: unknown setting; did you mean admins?",
        "apps[0].key: Expected str of length >= 8",
        "apps[0].profile: Invalid enum value",
        "apps[0].credentials[0].name: *** is wrong: a name of",
        "apps[0].credentials[0].settings: *** is wrong: a table",
        'apps[0].credentials[1].vendor: "apnz" is wrong: one of apns, fcm',
        "did you mean apns?",
        "apps[0].credentials[2]: apns has no setting privat_key; did you mean private_key?",
        "apps[0].credentials[3].files.private_key: /nowhere/hidden No such file",
        "apps[0].credentials[4].variables.private_key: the variable NOT_SET is not set",
        "apps[0].credentials[5].proxy: *** is wrong",
        "apps[0].credentials[6].name: is needed",
        "apps[1].admins: ",
        "apps[1].origins: origin '*' must be scheme://host",
        "apps[2].key: one of key, key_file, key_variable is needed",
    ):
        assert said in text, said
    assert "hush" not in text
