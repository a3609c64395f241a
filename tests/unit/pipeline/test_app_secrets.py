"""An app's secrets: opened once, opened anew when they change, and sealed for their purpose."""

from __future__ import annotations

import msgspec
import pytest

from tocsin.adapters.vault import AesVault
from tocsin.domain.app import App
from tocsin.pipeline.app_secrets import AppSecrets, has_secrets, with_sealed

KEY, FORMER_KEY, APPKEY = "key-of-the-app", "former-key", "client-key"


class CountingVault:
    """A vault that counts what it opens."""

    def __init__(self, vault: AesVault) -> None:
        self._vault = vault
        self.opened = 0

    def seal(self, plain: bytes, context: str) -> bytes:
        return self._vault.seal(plain, context)

    def open(self, sealed: bytes, context: str) -> bytes:
        self.opened += 1
        return self._vault.open(sealed, context)


def app_of(secrets: AppSecrets, sdkappid: int = 1) -> App:
    return App(
        sdkappid=sdkappid,
        key=secrets.seal_key(sdkappid, KEY),
        former_key=secrets.seal_key(sdkappid, FORMER_KEY),
        appkey=secrets.seal_appkey(sdkappid, APPKEY),
    )


@pytest.mark.evidence(
    "an app's secrets are opened in one module, once each, and anew when they change",
    topic="Credentials",
    planted="the key opened by the API itself; a changed key looked up by the app's number",
)
def test_a_secret_is_opened_once_and_anew_when_it_changes() -> None:
    vault = CountingVault(AesVault(bytes(32)))
    secrets = AppSecrets(vault)
    app = app_of(secrets)
    for _ in range(3):
        assert (secrets.key(app), secrets.former_key(app)) == (KEY, FORMER_KEY)
        assert secrets.appkey(app) == APPKEY
    assert vault.opened == 3
    changed = msgspec.structs.replace(app, key=secrets.seal_key(1, "another"))
    assert secrets.key(changed) == "another"
    assert vault.opened == 4


def test_an_app_without_a_secret_has_an_empty_one() -> None:
    secrets = AppSecrets(AesVault(bytes(32)))
    app = App(sdkappid=1, key=b"", appkey=b"")
    assert (secrets.key(app), secrets.former_key(app), secrets.appkey(app)) == ("", "", "")
    assert not has_secrets(app)
    assert has_secrets(app_of(secrets))
    assert secrets.opens(app)
    assert secrets.seal_anew(app) == {}


def test_a_secret_opens_for_its_own_app_and_purpose_only() -> None:
    secrets = AppSecrets(AesVault(bytes(32)))
    app = app_of(secrets)
    swapped = msgspec.structs.replace(app, appkey=app.key)
    of_another = msgspec.structs.replace(app, sdkappid=2)
    for other in (swapped, of_another):
        assert not secrets.opens(other)
        with pytest.raises(ValueError, match="wrong secret key or damaged"):
            secrets.appkey(other)
    assert not AppSecrets(AesVault(b"x" * 32)).opens(app)


def test_secrets_are_sealed_anew_wherever_they_stand_by_now() -> None:
    former, present = AesVault(bytes(32)), AesVault(b"x" * 32, bytes(32))
    app = app_of(AppSecrets(former))
    secrets = AppSecrets(present)
    fresh = secrets.seal_anew(app)
    assert len(fresh) == 3
    # Meanwhile the key was rotated: what was the key is the former key.
    rotated = msgspec.structs.replace(app, key=secrets.seal_key(1, "new"), former_key=app.key)
    sealed = with_sealed(rotated, fresh)
    alone = AppSecrets(AesVault(b"x" * 32))
    assert (alone.key(sealed), alone.former_key(sealed)) == ("new", KEY)
    assert alone.appkey(sealed) == APPKEY
