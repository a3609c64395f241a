"""Changes an app's key with an overlap: the former key verifies UserSigs until it is dropped.

Back ends that sign UserSigs change to the new key one after the other. So a UserSig is right if
the present or the former key has signed it.
"""

from __future__ import annotations

import msgspec

from tocsin.clock import secret_bytes
from tocsin.domain.app import App
from tocsin.errors import CallError
from tocsin.pipeline.app_secrets import AppSecrets
from tocsin.store import Store

KEY_MIN, KEY_MAX = 8, 256
"""Characters of a key."""


async def rotate_key(store: Store, app_secrets: AppSecrets, sdkappid: int, key: str = "") -> str:
    """Make a new key, or take the given one; the present key becomes the former one.

    Answers the new key. Raises `CallError` 70020 for an unknown app, and 70402 for a key of the
    wrong length, for the present key, and while a former one still verifies.
    """
    if key and not KEY_MIN <= len(key) <= KEY_MAX:
        raise CallError(70402, f"the new key must have {KEY_MIN} to {KEY_MAX} characters")
    key = key or secret_bytes(32).hex()
    sealed = app_secrets.seal_key(sdkappid, key)

    def change(app: App | None) -> App:
        if app is None:
            raise CallError(70020)
        if app.former_key:
            drop = f"tocsin app key drop-former {sdkappid}"
            raise CallError(70402, f"a former key still verifies; end that first: {drop}")
        if app_secrets.key(app) == key:
            raise CallError(70402, "that is the present key already: name another one, or none")
        return msgspec.structs.replace(app, key=sealed, former_key=app.key)

    await store.update_app(sdkappid, change)
    return key


async def drop_former_key(store: Store, sdkappid: int) -> bool:
    """Drop the former key; answers whether there was one."""
    had: list[bool] = []

    def change(app: App | None) -> App:
        if app is None:
            raise CallError(70020)
        had.append(bool(app.former_key))
        return msgspec.structs.replace(app, former_key=b"")

    await store.update_app(sdkappid, change)
    return had[-1]
