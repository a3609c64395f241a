"""The operator's operations on credentials, which prove an app to its vendors."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta, Struct

from tocsin.api.shown_credential import shown_credential, state_of
from tocsin.api.v1 import shown_stoppage
from tocsin.channels.client_config import client_config
from tocsin.channels.credentials import open_settings, seal_settings, vendor_of
from tocsin.channels.proxied import open_proxy, seal_proxy
from tocsin.channels.registry import expiry_of
from tocsin.channels.trial import Trial
from tocsin.clock import Clock
from tocsin.domain.app import App, Credential
from tocsin.domain.plain_fault import said_plainly
from tocsin.errors import CallError
from tocsin.ports import Channels, Vault
from tocsin.store import Store

Form = TypeVar("Form")
Rate = Annotated[float, Meta(ge=0)]
Prove = Callable[[Credential, Any, str], Awaitable[Trial]]
"""Tries a credential with these settings at its vendor, through this proxy if any."""


class CredentialFacts(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A credential to be added: the vendor's settings, and members that only the operator sets."""

    channel: str
    settings: dict[str, Any]
    origin: str = ""
    auth_origin: str = ""
    ca: str | None = None
    proxy: str = ""
    rate_per_s: Rate = 0.0


class CredentialChange(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A change of a credential. Absent members stay; `settings` names single settings."""

    settings: dict[str, Any] = {}
    origin: str | None = None
    auth_origin: str | None = None
    ca: str | None = None
    proxy: str | None = None
    rate_per_s: Rate | None = None
    is_enabled: bool | None = None


class CredentialOperations:
    """Each operation is durable when it returns, and in force at once."""

    _clock: Clock

    def __init__(self, store: Store, vault: Vault, prove: Prove | None = None) -> None:
        self._store = store
        self._vault = vault
        self._prove = prove
        self._channels: Channels | None = None
        """The running channels, which know why a credential is stopped; None in other processes."""

    async def credential_add(self, sdkappid: int, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Add a vendor's credential; answers the credential with its certificate ID, masked."""
        return await self._add(sdkappid, facts, {})

    async def _add(
        self, sdkappid: int, facts: Mapping[str, Any], named: Mapping[str, Any]
    ) -> dict[str, Any]:
        await self._app(sdkappid)
        new = convert(facts, CredentialFacts)
        sealed = self._sealed(sdkappid, new.channel, new.settings)
        proxy = self._sealed_proxy(sdkappid, new.proxy)

        def change(_: Credential | None, number: int) -> Credential:
            return Credential(
                app=sdkappid,
                number=number,
                channel=new.channel,
                settings=sealed,
                origin=new.origin,
                auth_origin=new.auth_origin,
                ca=new.ca,
                proxy=proxy,
                rate_per_s=new.rate_per_s,
                **named,
            )

        added = await self._update(sdkappid, 0, change)
        assert added is not None
        return self._shown(added)

    async def credential_set(
        self, sdkappid: int, number: int, facts: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Change a credential; its certificate ID and the devices that name it stay.

        Answers the credential, and in `done` "changed" or "unchanged". A call without a difference
        keeps the version, and so everything that the running channel has learnt.
        """
        record = await self._credential(sdkappid, number)
        _refuse_declared(record)
        return await self._change_credential(record, convert(facts, CredentialChange))

    async def declare_credential(
        self, sdkappid: int, number: int, name: str, facts: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Add a credential that the configuration declares under a name, or change it (`number`).

        Answers as `credential_set`, with "added" in `done` for a new credential.
        """
        changes = {name: value for name, value in facts.items() if name != "channel"}
        if not number:
            members = {**facts, "ca": facts["ca"] or None}
            is_enabled = members.pop("is_enabled")
            named = {"name": name, "is_declared": True, "is_enabled": is_enabled}
            return {"done": "added", **await self._add(sdkappid, members, named)}
        record = await self._credential(sdkappid, number)
        return await self._change_credential(record, convert(changes, CredentialChange), name)

    async def leave_credential(self, sdkappid: int, number: int) -> None:
        """Keep a credential that is declared no longer; commands may change it from now on."""

        def change(stored: Credential | None, _: int) -> Credential | None:
            return None if stored is None else msgspec.structs.replace(stored, is_declared=False)

        await self._update(sdkappid, number, change)

    async def _change_credential(
        self, record: Credential, change: CredentialChange, name: str = ""
    ) -> dict[str, Any]:
        """Change a credential; with a name, one that the configuration declares."""
        sdkappid, number = record.app, record.number
        changed = self._differences(record, change)
        if name and (record.name != name or not record.is_declared):
            changed.update(name=name, is_declared=True)
        if not changed:
            return {"done": "unchanged", **self._shown(record)}

        def decide(stored: Credential | None, _: int) -> Credential:
            if stored is None or stored.version != record.version:
                raise CallError(70402, f"credential {number} was changed meanwhile: try again")
            return msgspec.structs.replace(stored, version=stored.version + 1, **changed)

        updated = await self._update(sdkappid, number, decide)
        assert updated is not None
        return {"done": "changed", **self._shown(updated)}

    async def _update(
        self,
        sdkappid: int,
        number: int,
        change: Callable[[Credential | None, int], Credential | None],
    ) -> Credential | None:
        updated = await self._store.update_credential(sdkappid, number, change)
        if self._channels is not None:
            # The next push must be planned with the new credential.
            self._channels.forget(sdkappid)
        return updated

    def _differences(self, record: Credential, change: CredentialChange) -> dict[str, Any]:
        """The members of a credential that become different, with their new values."""
        given = {
            name: getattr(change, name)
            for name in ("origin", "auth_origin", "ca", "rate_per_s", "is_enabled")
        }
        values = {name: value for name, value in given.items() if value is not None}
        if values.get("ca") == "":
            values["ca"] = None
        changed = {name: value for name, value in values.items() if value != getattr(record, name)}
        former = self._opened(record)
        merged = {**msgspec.to_builtins(former), **change.settings}
        settings = self._sealed(record.app, record.channel, merged)
        if self._opened(msgspec.structs.replace(record, settings=settings)) != former:
            changed["settings"] = settings
        if change.proxy is not None and change.proxy != self._opened_proxy(record):
            changed["proxy"] = self._sealed_proxy(record.app, change.proxy)
        return changed

    async def credential_list(self, sdkappid: int) -> list[dict[str, Any]]:
        """The app's credentials, without their secrets.

        Where the channels run, `stopped` says why a credential does not send and until when at the
        latest; null where it sends. `state` says so in one word.
        """
        await self._app(sdkappid)
        shown = [self._shown(each) for each in await self._store.credentials(sdkappid)]
        if self._channels is not None:
            stoppages = await self._channels.stoppages(sdkappid)
            stopped = {number: shown_stoppage(each) for number, each in stoppages.items()}
            shown = [{**each, "stopped": stopped.get(each["number"])} for each in shown]
        now = self._clock.now()
        return [{**each, "state": state_of(each, now)} for each in shown]

    async def credential_show(self, sdkappid: int, number: int) -> dict[str, Any]:
        """One credential of the list; raises `CallError` 70402 where there is none."""
        for shown in await self.credential_list(sdkappid):
            if shown["number"] == number:
                return shown
        raise CallError(70402, f"no credential {number}")

    async def credential_delete(self, sdkappid: int, number: int) -> None:
        """Delete a credential; nothing is sent to its devices by this vendor any more."""
        await self._app(sdkappid)

        def change(stored: Credential | None, _: int) -> None:
            if stored is None:
                raise CallError(70402, f"no credential {number}")
            _refuse_declared(stored)

        await self._update(sdkappid, number, change)

    async def credential_check(self, sdkappid: int, number: int) -> dict[str, Any]:
        """Try a credential at its vendor with one push to nobody; changes nothing.

        Answers `verdict` (good, wrong, refused, unclear), the vendor's `code` and text (`said`),
        and what to do (`advice`).
        """
        record = await self._credential(sdkappid, number)
        settings = self._opened(record)
        assert self._prove is not None
        trial = await self._prove(record, settings, self._opened_proxy(record))
        return {
            "number": number,
            "channel": record.channel,
            "is_enabled": record.is_enabled,
            "expires_at": expiry_of(vendor_of(record.channel))(settings),
            **msgspec.to_builtins(trial),
        }

    async def client_config(self, sdkappid: int, numbers: Sequence[int] = ()) -> dict[str, str]:
        """The client's `timpush-configs.json`, from these credentials or each vendor's newest."""
        await self._app(sdkappid)
        records = await self._store.credentials(sdkappid)
        missing = set(numbers) - {record.number for record in records}
        if missing:
            raise CallError(70402, f"no credential {min(missing)}")
        # Of several of one vendor the last one counts: by the order of `numbers`, else by number.
        chosen = [
            record
            for record in records
            if record.number in numbers or (not numbers and record.is_enabled)
        ]
        chosen.sort(
            key=lambda record: list(numbers).index(record.number) if numbers else record.number
        )
        by_vendor = {record.channel: record for record in chosen}
        return client_config((record, self._opened(record)) for record in by_vendor.values())

    async def _credential(self, sdkappid: int, number: int) -> Credential:
        await self._app(sdkappid)
        for record in await self._store.credentials(sdkappid):
            if record.number == number:
                return record
        raise CallError(70402, f"no credential {number}")

    async def _app(self, sdkappid: int) -> App:
        app = await self._store.app(sdkappid)
        if app is None:
            raise CallError(70020)
        return app

    def _sealed(self, sdkappid: int, channel: str, values: Mapping[str, Any]) -> bytes:
        try:
            return seal_settings(self._vault, sdkappid, channel, values)
        except ValueError as fault:
            raise CallError(70402, str(fault)) from None

    def _sealed_proxy(self, sdkappid: int, proxy: str) -> bytes:
        try:
            return seal_proxy(self._vault, sdkappid, proxy)
        except ValueError as fault:
            raise CallError(70402, f"proxy: {fault}") from None

    def _opened_proxy(self, record: Credential) -> str:
        try:
            return open_proxy(self._vault, record)
        except ValueError as fault:
            raise CallError(70402, f"proxy: {fault}") from None

    def _opened(self, record: Credential) -> Any:
        try:
            return open_settings(self._vault, record, vendor_of(record.channel))
        except ValueError as fault:
            raise CallError(70402, str(fault)) from None

    def _shown(self, record: Credential) -> dict[str, Any]:
        return shown_credential(self._vault, record)


def _refuse_declared(record: Credential) -> None:
    """Refuse a change by a command that the next reload would undo."""
    if record.is_declared:
        raise CallError(
            70402,
            f"credential {record.number} is declared in the configuration as {record.name}: "
            "change it there, then tocsin reload",
        )


def convert(facts: Mapping[str, Any], form: type[Form]) -> Form:
    """Convert the operator's facts; raises `CallError` 70402, which says what is wrong."""
    try:
        return msgspec.convert(dict(facts), form)
    except msgspec.ValidationError as fault:
        raise CallError(70402, said_plainly(str(fault))) from None
