"""The operator's verbs: apps, their administrators, UserSigs, and the key that seals.

They belong to whoever may read the data folder, never to an app's administrator: the command line
carries them out itself, or through the admin socket of the running service (`api/admin.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from tocsin.api.account_verbs import AccountVerbs
from tocsin.api.app_keys import drop_former_key, rotate_key
from tocsin.api.app_names import find_names
from tocsin.api.credentials import CredentialVerbs, Prove, convert
from tocsin.api.doctor import Doctor
from tocsin.api.folder_verbs import FolderVerbs
from tocsin.api.wire_accounts import is_user_id
from tocsin.channels.credentials import seal_anew
from tocsin.clock import Clock, secret_bytes
from tocsin.domain import usersig
from tocsin.domain.account import Profile, import_accounts
from tocsin.domain.app import App, Credential
from tocsin.domain.erasure import Kept, keyed_name
from tocsin.domain.names import check_prefix, refuse_reserved
from tocsin.domain.origin import normal_origins
from tocsin.domain.quota import PROFILES, Limits
from tocsin.errors import CallError
from tocsin.pipeline.app_secrets import AppSecrets, with_sealed
from tocsin.pipeline.books import BooksReader
from tocsin.pipeline.erase import Erasing
from tocsin.pipeline.hold import Hold
from tocsin.pipeline.remove import ForgetIndex, Removing, no_index
from tocsin.ports import Authorities, Backups, Bus, Channels, Erasures, Keyring, Presence, Vault
from tocsin.store import Store

ADMINS_MAX = 10
"""Administrators of an app (trtc.io/document/50301, read 2026-11)."""
SDKAPPID_MAX = 2**32 - 1
EXPIRE_MAX_S = 100 * 365 * 86_400

Spell = Annotated[int, Meta(ge=1, le=30 * 86_400)]


STANDARD = PROFILES["compatible"]
Count = Annotated[int, Meta(ge=0, le=2**53)]
Span = Annotated[float, Meta(ge=0, le=86_400)]


class LimitFacts(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`Limits` as they may be told. Absent: as with the profile `compatible`; 0 is none."""

    pushes_per_day: Count = STANDARD.pushes_per_day
    push_gap_s: Span = STANDARD.push_gap_s
    batch_per_s: Count = STANDARD.batch_per_s
    recall_gap_s: Span = STANDARD.recall_gap_s
    scale: Annotated[float, Meta(ge=0, le=1e6)] = STANDARD.scale
    accounts_max: Count = STANDARD.accounts_max


class AppFacts(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What may be said of an app. Absent: as it is, or the default of a new one."""

    key: Annotated[str, Meta(min_length=8, max_length=256)] | None = None
    admins: tuple[str, ...] | None = None
    profile: Literal["compatible", "unlimited", "own"] | None = None
    own_limits: LimitFacts | None = None
    device_policy: Literal["last", "all"] | None = None
    ack_s: Annotated[int, Meta(ge=1, le=3600)] | None = None
    ttl_s: Spell | None = None
    is_enabled: bool | None = None
    is_push_enabled: bool | None = None
    can_delete_accounts: bool | None = None
    reimport_after_s: Annotated[int, Meta(ge=0, le=100 * 365 * 86_400)] | None = None
    own_registration_ids: str | None = None
    origins: tuple[str, ...] | None = None


SHOWN = (
    "sdkappid",
    "admins",
    "profile",
    "own_limits",
    "device_policy",
    "ack_s",
    "ttl_s",
    "is_enabled",
    "is_being_removed",
    "is_push_enabled",
    "can_delete_accounts",
    "reimport_after_s",
    "own_registration_ids",
    "origins",
    "attr_names",
    "attr_types",
)
"""What of an app is shown; its keys only where they are asked for."""


EXPORT_BYTES_MAX = 8 * 1024 * 1024
"""Books that an export keeps in memory."""


class OperatorService(CredentialVerbs, AccountVerbs, FolderVerbs):
    """Carries out what an operator says. Each verb is durable when it answers."""

    def __init__(
        self,
        store: Store,
        vault: Vault,
        clock: Clock,
        keyring: Keyring | None = None,
        prove: Prove | None = None,
        *,
        authorities: Authorities | None = None,
        bus: Bus,
        doctor: Doctor | None = None,
        forget_index: ForgetIndex = no_index,
        hold: Hold | None = None,
        erasures: Erasures | None = None,
        backups: Backups | None = None,
        kept: Kept | None = None,
        secret: bytes = b"",
        app_secrets: AppSecrets | None = None,
    ) -> None:
        """`secret` is what names in receipts are hashed with, `forget_index` drops an app's."""
        super().__init__(store, vault, prove)
        self._secrets = app_secrets or AppSecrets(vault)
        self._clock = clock
        self._bus = bus
        self._doctor = doctor or Doctor(store, clock)
        self._hold = hold
        self._backups = backups
        self._erasing = Erasing(store, bus, clock, erasures)
        self._removing = Removing(store, bus, forget_index)
        self._kept = kept or Kept()
        # An export walks through the books of many pushes, which nobody else looks at then.
        self._books = BooksReader(store, clock, bytes_max=EXPORT_BYTES_MAX)
        self._keyed = partial(keyed_name, secret)
        self._keyring = keyring
        self._authorities = authorities

    def watch(
        self, channels: Channels, presence: Presence, forget_index: ForgetIndex | None = None
    ) -> None:
        """Tell what only a running service knows: what stops a credential, and who is connected.

        `forget_index` drops the index that the running service works with.
        """
        self._channels = channels
        self._presence = presence
        if forget_index is not None:
            self._removing.forget_index = forget_index

    async def app_add(self, sdkappid: int, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Create an app, or change one: what is not told stays. Answers it, and which it was.

        A key that was made here is in the answer, this once.
        """
        told = convert(facts, AppFacts)
        if told.origins is not None:
            told = msgspec.structs.replace(told, origins=normal_origins(told.origins))
        if not 1 <= sdkappid <= SDKAPPID_MAX:
            raise CallError(70402, f"sdkappid must be 1 to {SDKAPPID_MAX}")
        _check_admins(told.admins or ())
        known = await self._store.app(sdkappid)
        is_new = known is None
        _check_names(known, told)
        made_key = secret_bytes(32).hex() if is_new and told.key is None else ""
        change = self._change(sdkappid, told, made_key)
        prefix = told.own_registration_ids
        if known is not None and prefix and prefix != known.own_registration_ids:
            decide = _unless_taken(prefix, change)
            app = await self._store.reserve_prefix(sdkappid, prefix, decide)
        else:
            app = await self._store.update_app(sdkappid, change)
        await self._import_admins(app)
        shown = {"done": "added" if is_new else "changed", **shown_app(app)}
        return {**shown, "key": made_key} if made_key else shown

    def _change(self, sdkappid: int, told: AppFacts, made_key: str) -> Callable[[App | None], App]:
        # Sealing draws a nonce, so it happens here and not in the decision.
        key = self._secrets.seal_key(sdkappid, told.key or made_key)
        appkey = self._secrets.seal_appkey(sdkappid, secret_bytes(32).hex())

        def change(app: App | None) -> App:
            said = {name: getattr(told, name) for name in AppFacts.__struct_fields__}
            said = {name: value for name, value in said.items() if value is not None}
            said.pop("key", None)
            if told.own_limits is not None:
                said["own_limits"] = Limits(**msgspec.structs.asdict(told.own_limits))
            if app is None:
                app = App(sdkappid=sdkappid, key=key, appkey=appkey)
            elif app.is_being_removed:
                go_on = f"tocsin app remove {sdkappid} goes on; then it can be added again"
                raise CallError(70402, f"app {sdkappid} is being removed: {go_on}")
            elif told.key is not None:
                # Told outright it counts at once, and what it replaces proves nothing any more.
                said.update(key=key, former_key=b"")
            return msgspec.structs.replace(app, **said)

        return change

    async def _import_admins(self, app: App) -> None:
        if not app.admins:
            return
        profiles = [Profile(name) for name in app.admins]
        decide = import_accounts(profiles, self._clock.now())
        failures = await self._store.update_accounts(app.sdkappid, app.admins, (), decide)
        for name, code in failures:
            raise CallError(code, f"{name} cannot be an administrator")

    async def app_list(self) -> list[dict[str, Any]]:
        """Every app, without its keys."""
        apps = [await self._store.app(number) for number in await self._store.apps()]
        return [shown_app(app) for app in apps if app is not None]

    async def app_show(self, sdkappid: int) -> dict[str, Any]:
        """One app, with the client key that its devices register with."""
        app = await self._app(sdkappid)
        return {**shown_app(app), "appkey": self._secrets.appkey(app)}

    async def app_names(self, sdkappid: int, prefix: str = "") -> dict[str, Any]:
        """RegistrationIDs that devices chose, and UserIDs that begin with the app's prefix.

        With `prefix`, the UserIDs that would stand in its way. The first of each are named.
        """
        app = await self._app(sdkappid)
        check_prefix(prefix)
        asked = prefix or app.own_registration_ids
        found = await find_names(self._store, sdkappid, asked)
        return {"own_registration_ids": app.own_registration_ids, "prefix": asked, **found}

    async def doctor(self) -> list[dict[str, Any]]:
        """A line for each thing that was looked at: `check`, `level`, `said` and `todo`.

        `level` is ok, warn or bad. Where a service is running it is that service that looks.
        """
        apps = {app["sdkappid"]: app for app in await self.app_list()}
        credentials = {number: await self.credential_list(number) for number in apps}
        is_serving = self._presence is not None
        found = await self._doctor.examine(apps, credentials, is_serving=is_serving)
        return [msgspec.structs.asdict(it) for it in found]

    async def app_remove(self, sdkappid: int) -> dict[str, Any]:
        """Go on with the removal of an app and of all that it has, or begin it.

        Answers what was removed, and in `is_gone` whether nothing is left; else ask again. An app
        whose credentials the configuration declares would come back: it is refused (70402).
        """
        records = await self._store.credentials(sdkappid)
        app = await self._app(sdkappid)
        if not app.is_being_removed and any(it.is_declared for it in records):
            raise CallError(
                70402,
                f"the configuration declares app {sdkappid}, and the next start would bring it "
                "back: take it out of there first, then: tocsin reload",
            )
        return msgspec.structs.asdict(await self._removing.remove(sdkappid))

    async def usersig(self, sdkappid: int, name: str, expire_s: int) -> str:
        """A UserSig for any name of the app."""
        app = await self._app(sdkappid)
        if not is_user_id(name):
            raise CallError(70402, "a name has 1 to 32 printable ASCII characters")
        if not 1 <= expire_s <= EXPIRE_MAX_S:
            raise CallError(70402, f"expire_s must be 1 to {EXPIRE_MAX_S}")
        key = self._secrets.key(app)
        if not key:
            raise CallError(70016)
        return usersig.sign(sdkappid, key, name, expire_s, self._clock.now())

    async def app_key_rotate(self, sdkappid: int, key: str = "") -> dict[str, Any]:
        """Give an app a new key, or the told one; the former one verifies until it is dropped.

        The new key is in the answer, this once.
        """
        return {
            "sdkappid": sdkappid,
            "key": await rotate_key(self._store, self._secrets, sdkappid, key),
        }

    async def app_key_drop_former(self, sdkappid: int) -> dict[str, Any]:
        """End the overlap: UserSigs that the former key signed are refused from now on."""
        return {"sdkappid": sdkappid, "dropped": await drop_former_key(self._store, sdkappid)}

    async def secret_rotate(self) -> dict[str, Any]:
        """Change the key that seals the store's secrets, and seal every one anew.

        Whatever ends it half way, both keys are kept, and the next call goes on from there.
        """
        assert self._keyring is not None
        self._keyring.begin()
        try:
            counts = [await self._seal_anew(app) for app in await self._store.apps()]
        except ValueError as fault:
            raise CallError(70402, f"{fault}; both keys are kept until it opens") from None
        if self._authorities is not None:
            await self._authorities.seal_anew()
        self._keyring.finish()
        return {"apps": len(counts), "secrets": sum(counts)}

    async def _seal_anew(self, sdkappid: int) -> int:
        """One app's keys and credentials; what was changed meanwhile is sealed anew already."""
        fresh = self._secrets.seal_anew(await self._app(sdkappid))

        def change(app: App | None) -> App:
            assert app is not None
            return with_sealed(app, fresh)

        await self._store.update_app(sdkappid, change)
        records = await self._store.credentials(sdkappid)
        for record in records:
            await self._seal_credential_anew(record)
        return len(fresh) + len(records)

    async def _seal_credential_anew(self, record: Credential) -> None:
        sealed = seal_anew(self._vault, record)
        secrets = {name: getattr(sealed, name) for name in ("settings", "proxy")}

        def change(known: Credential | None, _: int) -> Credential | None:
            if known is None:
                return None
            same = {it: secrets[it] for it in secrets if getattr(known, it) == getattr(record, it)}
            return msgspec.structs.replace(known, **same)

        await self._store.update_credential(record.app, record.number, change)


def shown_app(app: App) -> dict[str, Any]:
    """An app as it is shown, without its keys."""
    shown = {name: getattr(app, name) for name in SHOWN}
    shown["has_former_key"] = bool(app.former_key)
    # Through JSON, so that it is the same whether it was asked in this process or over the socket.
    plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(shown))
    return plain


def _check_names(known: App | None, told: AppFacts) -> None:
    """Refuse a prefix that is none, and new administrators whose names it is kept for."""
    prefix = told.own_registration_ids
    check_prefix(prefix or "")
    app = known or App(sdkappid=0, key=b"", appkey=b"")
    if prefix is not None:
        app = msgspec.structs.replace(app, own_registration_ids=prefix)
    for name in told.admins or ():
        if known is None or name not in known.admins:
            refuse_reserved(app, name)


def _unless_taken(
    prefix: str, change: Callable[[App | None], App]
) -> Callable[[App, Sequence[str]], App]:
    """The same change, refused where UserIDs begin with the prefix already."""

    def decide(app: App, users: Sequence[str]) -> App:
        if users:
            raise CallError(
                70402,
                f"UserIDs begin with {prefix} already ({', '.join(users)}): choose another prefix, "
                f"or delete these accounts; tocsin app names {app.sdkappid} --prefix {prefix} "
                "lists them",
            )
        return change(app)

    return decide


def _check_admins(names: tuple[str, ...]) -> None:
    if len(names) > ADMINS_MAX:
        raise CallError(70402, f"admins: an app has at most {ADMINS_MAX}")
    for name in names:
        if not is_user_id(name):
            raise CallError(70402, "admins: a name has 1 to 32 printable ASCII characters")
