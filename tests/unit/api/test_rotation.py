"""Changing the key that seals: everything opens before, during and after, whatever ends it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from tests.unit.api.test_operator import apns_settings
from tests.unit.api.world import APP, KEY, World
from tocsin.adapters.vault import AesVault, FileKeyring, load_keys
from tocsin.api.operator import OperatorService
from tocsin.channels.credentials import open_settings
from tocsin.channels.proxied import open_proxy
from tocsin.channels.vendors import apns
from tocsin.errors import CallError, StoreError

NEW = 1_400_000_009
PROXY = "http://me:hush@proxy.corp:3128"


class Safe:
    """A data folder with two apps and two credentials."""

    def __init__(self, world: World, path: Path) -> None:
        self.world = world
        self.path = path
        self.store = world.store

    def operator(self) -> OperatorService:
        """As after a start: with what the key file says now."""
        keys = load_keys(self.path, {})
        vault = AesVault(*keys)
        ring = FileKeyring(self.path, keys, vault)
        return OperatorService(self.store, vault, self.world.clock, ring, bus=self.world.bus)

    async def opened(self, vault: AesVault) -> int:
        """How many secrets this vault opens; raises where it cannot."""
        count = 0
        for sdkappid in await self.store.apps():
            app = await self.store.app(sdkappid)
            assert app is not None
            vault.open(app.key, f"{sdkappid}/key")
            vault.open(app.appkey, f"{sdkappid}/appkey")
            for record in await self.store.credentials(sdkappid):
                assert open_settings(vault, record, apns)
                assert open_proxy(vault, record) == PROXY
                count += 1
            count += 2
        return count

    async def opens(self) -> int:
        return await self.opened(AesVault(*load_keys(self.path, {})))


@pytest.fixture
async def safe(world: World, tmp_path: Path) -> Safe:
    path = tmp_path / "secret.key"
    path.write_text(bytes(32).hex() + "\n")
    path.chmod(0o600)
    made = Safe(world, path)
    operator = made.operator()
    await operator.app_add(NEW, {"key": "another key"})
    for _ in range(2):
        told = {"channel": "apns", "settings": apns_settings(), "proxy": PROXY}
        await operator.credential_add(APP, told)
    return made


@pytest.mark.evidence("a proxy's password is sealed, sealed anew, and shown nowhere")
async def test_everything_is_sealed_anew_and_the_former_key_opens_nothing(safe: Safe) -> None:
    former = load_keys(safe.path, {})
    operator = safe.operator()
    assert await operator.secret_rotate() == {"apps": 2, "secrets": 6}
    (fresh,) = load_keys(safe.path, {})
    assert [fresh] != former
    assert await safe.opened(AesVault(fresh)) == 6
    with pytest.raises(ValueError, match="wrong secret key"):
        await safe.opened(AesVault(*former))
    # The operator that did it goes on with the new key, and so does one that starts later.
    assert (await operator.app_show(APP))["appkey"]
    app = await safe.store.app(APP)
    assert app is not None
    assert AesVault(fresh).open(app.key, f"{APP}/key") == KEY.encode()
    record = (await safe.store.credentials(APP))[0]
    assert record.version == 1, "no driver has to start anew"


@pytest.mark.evidence(
    "the sealing key changes, whatever ends the change half way",
    topic="Credentials",
    planted="the former key taken out first",
)
@pytest.mark.parametrize("writes", range(4))
async def test_whatever_write_fails_everything_opens_and_the_next_call_ends_it(
    safe: Safe, writes: int
) -> None:
    left = writes

    def failing(verb: str) -> None:
        nonlocal left
        if verb in ("update_app", "update_credential"):
            left -= 1
            if left < 0:
                raise StoreError(verb)

    fault, safe.store._fault = safe.store._fault, failing
    with pytest.raises(StoreError):
        await safe.operator().secret_rotate()
    safe.store._fault = fault
    assert len(load_keys(safe.path, {})) == 2
    assert await safe.opens() == 6
    await safe.operator().secret_rotate()
    assert len(load_keys(safe.path, {})) == 1
    assert await safe.opens() == 6


async def test_a_secret_that_does_not_open_keeps_both_keys(safe: Safe) -> None:
    def damage(known: object, _: int) -> object:
        return msgspec.structs.replace(known, settings=b"\x01" + bytes(40))  # type: ignore[type-var]

    await safe.store.update_credential(APP, 1, damage)  # type: ignore[arg-type]
    with pytest.raises(CallError, match="both keys are kept"):
        await safe.operator().secret_rotate()
    assert len(load_keys(safe.path, {})) == 2


@pytest.mark.evidence(
    "a former app key is sealed anew with the rest, also one that became it meanwhile",
    topic="Operations",
    planted="left out",
)
async def test_a_former_app_key_is_sealed_anew_too(safe: Safe) -> None:
    operator = safe.operator()
    await operator.app_key_rotate(APP)
    await operator.secret_rotate()
    assert await former_key(safe) == KEY.encode()


@pytest.mark.evidence(
    "a former app key is sealed anew with the rest, also one that became it meanwhile",
)
async def test_a_key_that_becomes_the_former_one_meanwhile_still_opens(safe: Safe) -> None:
    operator = safe.operator()
    update, is_first = safe.store.update_app, True

    async def slow(app: int, change: object) -> object:
        nonlocal is_first
        if is_first:
            is_first = False
            await operator.app_key_rotate(APP)
        return await update(app, change)  # type: ignore[arg-type]

    safe.store.update_app = slow  # type: ignore[method-assign, assignment]
    await operator.secret_rotate()
    assert await former_key(safe) == KEY.encode()


async def former_key(safe: Safe) -> bytes:
    """The former key, opened with what the key file says now."""
    app = await safe.store.app(APP)
    assert app is not None
    return AesVault(*load_keys(safe.path, {})).open(app.former_key, f"{APP}/key")


async def test_what_is_changed_meanwhile_stays_changed(safe: Safe) -> None:
    """A new app key comes in between the look and the write."""
    operator = safe.operator()
    update, is_first = safe.store.update_app, True

    async def slow(app: int, change: object) -> object:
        nonlocal is_first
        if is_first:
            is_first = False
            await operator.app_add(APP, {"key": "a newer key"})
        return await update(app, change)  # type: ignore[arg-type]

    safe.store.update_app = slow  # type: ignore[method-assign, assignment]
    await operator.secret_rotate()
    app = await safe.store.app(APP)
    assert app is not None
    vault = AesVault(*load_keys(safe.path, {}))
    assert vault.open(app.key, f"{APP}/key") == b"a newer key"
    assert await safe.opens() == 6
