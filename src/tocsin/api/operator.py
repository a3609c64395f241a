"""The operator's operations: apps, administrators, UserSigs, and the key that seals secrets.

The operator is whoever may read the data folder, never an app's administrator. The command line
runs the operations itself, or through the admin socket of the running service (`api/admin.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from tocsin.api.account_operations import AccountOperations
from tocsin.api.app_keys import drop_former_key, rotate_key
from tocsin.api.app_names import find_names
from tocsin.api.credential_operations import CredentialOperations, Prove, convert
from tocsin.api.doctor import Doctor
from tocsin.api.folder_operations import FolderOperations
from tocsin.api.wire_accounts import is_user_id
from tocsin.channels.credentials import seal_anew
from tocsin.clock import Clock, secret_bytes
from tocsin.domain import usersig
from tocsin.domain.account import Profile, import_accounts
from tocsin.domain.app import App, Credential
from tocsin.domain.erasure import RetentionTimes, keyed_name
from tocsin.domain.names import check_prefix, refuse_reserved
from tocsin.domain.origin import normal_origins
from tocsin.domain.quota import PROFILES, QuotaLimits
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
    """An app's own `QuotaLimits`. Absent: the limit of the profile `compatible`; 0: no limit."""

    pushes_per_day: Count = STANDARD.pushes_per_day
    push_gap_s: Span = STANDARD.push_gap_s
    batch_per_s: Count = STANDARD.batch_per_s
    recall_gap_s: Span = STANDARD.recall_gap_s
    scale: Annotated[float, Meta(ge=0, le=1e6)] = STANDARD.scale
    accounts_max: Count = STANDARD.accounts_max


class AppFacts(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The members of an app that an operator sets. Absent: unchanged, or a new app's default."""

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
"""The members of an app that are shown; its keys are shown only on request."""


EXPORT_BYTES_MAX = 8 * 1024 * 1024
"""Books that an export keeps in memory."""


class OperatorService(CredentialOperations, AccountOperations, FolderOperations):
    """Carries out the operator's operations. Each is durable when it returns."""

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
        kept: RetentionTimes | None = None,
        secret: bytes = b"",
        app_secrets: AppSecrets | None = None,
    ) -> None:
        """`secret` keys the hash of names in receipts, `forget_index` drops an app's index."""
        super().__init__(store, vault, prove)
        self._secrets = app_secrets or AppSecrets(vault)
        self._clock = clock
        self._bus = bus
        self._doctor = doctor or Doctor(store, clock)
        self._hold = hold
        self._backups = backups
        self._erasing = Erasing(store, bus, clock, erasures)
        self._removing = Removing(store, bus, forget_index)
        self._kept = kept or RetentionTimes()
        # An export walks through the books of many pushes, which nobody else looks at then.
        self._books = BooksReader(store, clock, bytes_max=EXPORT_BYTES_MAX)
        self._keyed = partial(keyed_name, secret)
        self._keyring = keyring
        self._authorities = authorities

    def watch(
        self, channels: Channels, presence: Presence, forget_index: ForgetIndex | None = None
    ) -> None:
        """Use what only a running service has: its channels and its connected devices.

        `forget_index` drops the index that the running service works with.
        """
        self._channels = channels
        self._presence = presence
        if forget_index is not None:
            self._removing.forget_index = forget_index

    async def app_add(self, sdkappid: int, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Create an app, or change one: absent facts stay. `done` says "added" or "changed".

        A key that was made here is in this answer only.
        """
        given = convert(facts, AppFacts)
        if given.origins is not None:
            given = msgspec.structs.replace(given, origins=normal_origins(given.origins))
        if not 1 <= sdkappid <= SDKAPPID_MAX:
            raise CallError(70402, f"sdkappid must be 1 to {SDKAPPID_MAX}")
        _check_admins(given.admins or ())
        stored = await self._store.app(sdkappid)
        is_new = stored is None
        _check_names(stored, given)
        made_key = secret_bytes(32).hex() if is_new and given.key is None else ""
        change = self._change(sdkappid, given, made_key)
        prefix = given.own_registration_ids
        if stored is not None and prefix and prefix != stored.own_registration_ids:
            decide = _unless_taken(prefix, change)
            app = await self._store.reserve_prefix(sdkappid, prefix, decide)
        else:
            app = await self._store.update_app(sdkappid, change)
        await self._import_admins(app)
        shown = {"done": "added" if is_new else "changed", **shown_app(app)}
        return {**shown, "key": made_key} if made_key else shown

    def _change(self, sdkappid: int, given: AppFacts, made_key: str) -> Callable[[App | None], App]:
        # Sealing draws a nonce, so it happens here and not in the decision.
        key = self._secrets.seal_key(sdkappid, given.key or made_key)
        appkey = self._secrets.seal_appkey(sdkappid, secret_bytes(32).hex())

        def change(app: App | None) -> App:
            members = {name: getattr(given, name) for name in AppFacts.__struct_fields__}
            members = {name: value for name, value in members.items() if value is not None}
            members.pop("key", None)
            if given.own_limits is not None:
                members["own_limits"] = QuotaLimits(**msgspec.structs.asdict(given.own_limits))
            if app is None:
                app = App(sdkappid=sdkappid, key=key, appkey=appkey)
            elif app.is_being_removed:
                go_on = f"tocsin app remove {sdkappid} goes on; then it can be added again"
                raise CallError(70402, f"app {sdkappid} is being removed: {go_on}")
            elif given.key is not None:
                # A given key counts at once: the key that it replaces verifies nothing any more.
                members.update(key=key, former_key=b"")
            return msgspec.structs.replace(app, **members)

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

        With `prefix`, the UserIDs that conflict with that prefix. The first of each are named.
        """
        app = await self._app(sdkappid)
        check_prefix(prefix)
        prefix = prefix or app.own_registration_ids
        names = await find_names(self._store, sdkappid, prefix)
        return {"own_registration_ids": app.own_registration_ids, "prefix": prefix, **names}

    async def doctor(self) -> list[dict[str, Any]]:
        """A finding for each check: `check`, `level`, `said` and `todo`.

        `level` is ok, warn or bad. Where a service is running, that service makes the checks.
        """
        apps = {app["sdkappid"]: app for app in await self.app_list()}
        credentials = {number: await self.credential_list(number) for number in apps}
        is_serving = self._presence is not None
        findings = await self._doctor.examine(apps, credentials, is_serving=is_serving)
        return [msgspec.structs.asdict(finding) for finding in findings]

    async def app_remove(self, sdkappid: int) -> dict[str, Any]:
        """Begin or continue the removal of an app with all its data.

        Answers the counts of removed rows, and in `is_gone` whether nothing is left; else call
        again. Refuses an app that the configuration declares, which the next start would add again
        (70402).
        """
        records = await self._store.credentials(sdkappid)
        app = await self._app(sdkappid)
        if not app.is_being_removed and any(record.is_declared for record in records):
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
        """Give an app a new key, or the given one; the former key verifies until it is dropped.

        The new key is in this answer only.
        """
        return {
            "sdkappid": sdkappid,
            "key": await rotate_key(self._store, self._secrets, sdkappid, key),
        }

    async def app_key_drop_former(self, sdkappid: int) -> dict[str, Any]:
        """End the overlap: UserSigs that the former key signed are refused from now on."""
        return {"sdkappid": sdkappid, "dropped": await drop_former_key(self._store, sdkappid)}

    async def secret_rotate(self) -> dict[str, Any]:
        """Change the key that seals the store's secrets, and seal every secret with the new key.

        If this stops half way, both keys are kept, and the next call continues.
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
        """Seal one app's secrets anew; secrets that changed meanwhile are sealed anew already."""
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
        resealed = {name: getattr(sealed, name) for name in ("settings", "proxy")}

        def change(stored: Credential | None, _: int) -> Credential | None:
            if stored is None:
                return None
            same = {
                name: value
                for name, value in resealed.items()
                if getattr(stored, name) == getattr(record, name)
            }
            return msgspec.structs.replace(stored, **same)

        await self._store.update_credential(record.app, record.number, change)


def shown_app(app: App) -> dict[str, Any]:
    """An app as JSON, without its keys."""
    shown = {name: getattr(app, name) for name in SHOWN}
    shown["has_former_key"] = bool(app.former_key)
    # Through JSON, so that the answer in this process equals that over the socket.
    plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(shown))
    return plain


def _check_names(stored: App | None, given: AppFacts) -> None:
    """Refuse a malformed prefix, and new administrators whose names begin with the prefix."""
    prefix = given.own_registration_ids
    check_prefix(prefix or "")
    app = stored or App(sdkappid=0, key=b"", appkey=b"")
    if prefix is not None:
        app = msgspec.structs.replace(app, own_registration_ids=prefix)
    for name in given.admins or ():
        if stored is None or name not in stored.admins:
            refuse_reserved(app, name)


def _unless_taken(
    prefix: str, change: Callable[[App | None], App]
) -> Callable[[App, Sequence[str]], App]:
    """The same change, refused if UserIDs begin with the prefix already."""

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
