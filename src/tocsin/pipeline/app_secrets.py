"""Opens and seals the secrets of apps: nothing else does (a test)."""

from __future__ import annotations

import msgspec

from tocsin.domain.app import App
from tocsin.domain.bounded import BoundedCache
from tocsin.ports import Vault

OPENED_MAX = 2048
"""Opened secrets that are kept, of at most 256 characters each: two of 1,000 apps and some."""


class AppSecrets:
    """The keys that sign an app's UserSigs, and the client key that its devices register with.

    Opened secrets are kept by their sealed text, so that a changed secret is opened anew. The verbs
    that open raise `ValueError` for a secret that was sealed with another key or is damaged.
    """

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._opened: BoundedCache[tuple[str, bytes], str] = BoundedCache(OPENED_MAX)

    def key(self, app: App) -> str:
        """The key that signs UserSigs; empty where the app has none."""
        return self._open(app.key, _key_context(app.sdkappid))

    def former_key(self, app: App) -> str:
        """The key that still verifies UserSigs beside `key`; empty where there is none."""
        return self._open(app.former_key, _key_context(app.sdkappid))

    def appkey(self, app: App) -> str:
        """The client key; empty where the app has none."""
        return self._open(app.appkey, _appkey_context(app.sdkappid))

    def seal_key(self, sdkappid: int, key: str) -> bytes:
        """What `App.key` holds. The sealed text differs at each call."""
        return self._vault.seal(key.encode(), _key_context(sdkappid))

    def seal_appkey(self, sdkappid: int, appkey: str) -> bytes:
        """What `App.appkey` holds. The sealed text differs at each call."""
        return self._vault.seal(appkey.encode(), _appkey_context(sdkappid))

    def seal_anew(self, app: App) -> dict[bytes, bytes]:
        """Every secret of the app, sealed with the present key, by its former sealed text."""
        number = app.sdkappid
        fresh = {}
        for sealed in filter(None, (app.key, app.former_key)):
            fresh[sealed] = self.seal_key(number, self._open(sealed, _key_context(number)))
        if app.appkey:
            fresh[app.appkey] = self.seal_appkey(number, self.appkey(app))
        return fresh

    def opens(self, app: App) -> bool:
        """Whether the vault's keys open every secret of the app."""
        try:
            self.key(app), self.former_key(app), self.appkey(app)
        except ValueError:
            return False
        return True

    def _open(self, sealed: bytes, context: str) -> str:
        if not sealed:
            return ""
        secret = self._opened.get((context, sealed))
        if secret is None:
            secret = self._vault.open(sealed, context).decode()
            self._opened.put((context, sealed), secret)
        return secret


def has_secrets(app: App) -> bool:
    """Whether anything of the app is sealed."""
    return bool(app.key or app.former_key or app.appkey)


def with_sealed(app: App, fresh: dict[bytes, bytes]) -> App:
    """The app with those of its secrets that `seal_anew` has sealed.

    Replaced by their sealed text and not by their name: `key` may have become `former_key` since.
    """
    sealed = {"key": app.key, "former_key": app.former_key, "appkey": app.appkey}
    return msgspec.structs.replace(
        app, **{name: fresh[text] for name, text in sealed.items() if text in fresh}
    )


def _key_context(sdkappid: int) -> str:
    return f"{sdkappid}/key"


def _appkey_context(sdkappid: int) -> str:
    return f"{sdkappid}/appkey"
