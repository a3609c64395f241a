"""The operator's verbs about credentials: what proves an app to its vendors."""

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

Facts = TypeVar("Facts")
Rate = Annotated[float, Meta(ge=0)]
Prove = Callable[[Credential, Any, str], Awaitable[Trial]]
"""Asks a vendor about a credential with these settings, through this proxy if any."""


class CredentialFacts(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A credential to be added: the vendor's settings, and what the operator alone may say."""

    channel: str
    settings: dict[str, Any]
    origin: str = ""
    auth_origin: str = ""
    ca: str | None = None
    proxy: str = ""
    rate_per_s: Rate = 0.0


class CredentialChange(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What shall be different. Absent: as it is; `settings` names single ones."""

    settings: dict[str, Any] = {}
    origin: str | None = None
    auth_origin: str | None = None
    ca: str | None = None
    proxy: str | None = None
    rate_per_s: Rate | None = None
    is_enabled: bool | None = None


class CredentialVerbs:
    """Each verb is durable when it answers, and in force at once."""

    _clock: Clock

    def __init__(self, store: Store, vault: Vault, prove: Prove | None = None) -> None:
        self._store = store
        self._vault = vault
        self._prove = prove
        self._channels: Channels | None = None
        """Those at work: only where there are any does anybody know what stops a credential."""

    async def credential_add(self, sdkappid: int, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Add a vendor's credential; answers it with its certificate ID, without its secrets."""
        return await self._add(sdkappid, facts, {})

    async def _add(
        self, sdkappid: int, facts: Mapping[str, Any], named: Mapping[str, Any]
    ) -> dict[str, Any]:
        await self._app(sdkappid)
        told = convert(facts, CredentialFacts)
        sealed = self._sealed(sdkappid, told.channel, told.settings)
        proxy = self._sealed_proxy(sdkappid, told.proxy)

        def change(_: Credential | None, number: int) -> Credential:
            return Credential(
                app=sdkappid,
                number=number,
                channel=told.channel,
                settings=sealed,
                origin=told.origin,
                auth_origin=told.auth_origin,
                ca=told.ca,
                proxy=proxy,
                rate_per_s=told.rate_per_s,
                **named,
            )

        added = await self._update(sdkappid, 0, change)
        assert added is not None
        return self._shown(added)

    async def credential_set(
        self, sdkappid: int, number: int, facts: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Change a credential; its certificate ID stays, and so do the devices that name it.

        Answers it, and in `done` whether it was "changed" or is "unchanged". What changes nothing
        leaves its version as it is, and so everything that the running channel has learnt.
        """
        record = await self._credential(sdkappid, number)
        _refuse_declared(record)
        return await self._change_credential(record, convert(facts, CredentialChange))

    async def declare_credential(
        self, sdkappid: int, number: int, name: str, facts: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Add a credential that the configuration declares under a name, or change it (`number`).

        Answers as `credential_set`, with "added" in `done` for a new one.
        """
        told = {it: value for it, value in facts.items() if it != "channel"}
        if not number:
            members = {**facts, "ca": facts["ca"] or None}
            is_enabled = members.pop("is_enabled")
            named = {"name": name, "is_declared": True, "is_enabled": is_enabled}
            return {"done": "added", **await self._add(sdkappid, members, named)}
        record = await self._credential(sdkappid, number)
        return await self._change_credential(record, convert(told, CredentialChange), name)

    async def leave_credential(self, sdkappid: int, number: int) -> None:
        """The configuration does not declare it any more: it stays, and commands may change it."""

        def change(known: Credential | None, _: int) -> Credential | None:
            return None if known is None else msgspec.structs.replace(known, is_declared=False)

        await self._update(sdkappid, number, change)

    async def _change_credential(
        self, record: Credential, told: CredentialChange, name: str = ""
    ) -> dict[str, Any]:
        """Change a record; with a name, as the configuration does."""
        sdkappid, number = record.app, record.number
        said = self._said(record, told)
        if name and (record.name != name or not record.is_declared):
            said.update(name=name, is_declared=True)
        if not said:
            return {"done": "unchanged", **self._shown(record)}

        def change(known: Credential | None, _: int) -> Credential:
            if known is None or known.version != record.version:
                raise CallError(70402, f"credential {number} was changed meanwhile: try again")
            return msgspec.structs.replace(known, version=known.version + 1, **said)

        changed = await self._update(sdkappid, number, change)
        assert changed is not None
        return {"done": "changed", **self._shown(changed)}

    async def _update(
        self,
        sdkappid: int,
        number: int,
        change: Callable[[Credential | None, int], Credential | None],
    ) -> Credential | None:
        updated = await self._store.update_credential(sdkappid, number, change)
        if self._channels is not None:
            # A push that follows the answer is planned with what the answer says.
            self._channels.forget(sdkappid)
        return updated

    def _said(self, record: Credential, told: CredentialChange) -> dict[str, Any]:
        """The fields of a record that become different, with their new values."""
        said: dict[str, Any] = {
            name: getattr(told, name)
            for name in ("origin", "auth_origin", "ca", "rate_per_s", "is_enabled")
        }
        said = {name: value for name, value in said.items() if value is not None}
        if said.get("ca") == "":
            said["ca"] = None
        said = {name: value for name, value in said.items() if value != getattr(record, name)}
        former = self._opened(record)
        values = {**msgspec.to_builtins(former), **told.settings}
        settings = self._sealed(record.app, record.channel, values)
        if self._opened(msgspec.structs.replace(record, settings=settings)) != former:
            said["settings"] = settings
        if told.proxy is not None and told.proxy != self._opened_proxy(record):
            said["proxy"] = self._sealed_proxy(record.app, told.proxy)
        return said

    async def credential_list(self, sdkappid: int) -> list[dict[str, Any]]:
        """The app's credentials, without their secrets.

        With the channels at work, `stopped` says of each why it does not send all that waits and
        until when at the latest; null where it does. `state` says it in a word.
        """
        await self._app(sdkappid)
        shown = [self._shown(each) for each in await self._store.credentials(sdkappid)]
        if self._channels is not None:
            found = await self._channels.stoppages(sdkappid)
            stopped = {number: shown_stoppage(stoppage) for number, stoppage in found.items()}
            shown = [{**each, "stopped": stopped.get(each["number"])} for each in shown]
        now = self._clock.now()
        return [{**each, "state": state_of(each, now)} for each in shown]

    async def credential_show(self, sdkappid: int, number: int) -> dict[str, Any]:
        """One credential as the list has it; raises `CallError` 70402 where there is none."""
        for shown in await self.credential_list(sdkappid):
            if shown["number"] == number:
                return shown
        raise CallError(70402, f"no credential {number}")

    async def credential_delete(self, sdkappid: int, number: int) -> None:
        """Delete a credential; its devices have no way to the vendor any more."""
        await self._app(sdkappid)

        def change(known: Credential | None, _: int) -> None:
            if known is None:
                raise CallError(70402, f"no credential {number}")
            _refuse_declared(known)

        await self._update(sdkappid, number, change)

    async def credential_check(self, sdkappid: int, number: int) -> dict[str, Any]:
        """Ask the vendor about a credential, with one push to nobody; changes nothing.

        Answers `verdict` (good, wrong, refused, unclear), the vendor's `code` and words (`said`),
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
        # Of several of one vendor the last counts: named ones by their order, else by number.
        chosen = [it for it in records if it.number in numbers or (not numbers and it.is_enabled)]
        chosen.sort(key=lambda it: list(numbers).index(it.number) if numbers else it.number)
        by_vendor = {record.channel: record for record in chosen}
        return client_config((it, self._opened(it)) for it in by_vendor.values())

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
    """Refuse to change by a command what the next reload would change back."""
    if record.is_declared:
        raise CallError(
            70402,
            f"credential {record.number} is declared in the configuration as {record.name}: "
            "change it there, then tocsin reload",
        )


def convert(facts: Mapping[str, Any], form: type[Facts]) -> Facts:
    """What an operator told, in its form; a refusal says what is wrong with it."""
    try:
        return msgspec.convert(dict(facts), form)
    except msgspec.ValidationError as fault:
        raise CallError(70402, said_plainly(str(fault))) from None
