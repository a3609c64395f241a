"""Stores the apps and credentials that the configuration declares, at each start and reload."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tocsin.api.declared_apps import DeclaredApp, DeclaredCredential, read_apps
from tocsin.api.operator import OperatorService
from tocsin.domain.app import Credential
from tocsin.errors import CallError
from tocsin.log import get_logger
from tocsin.pipeline.app_secrets import AppSecrets
from tocsin.settings import ConfigError, WrongSetting
from tocsin.store import Store


class AppDeclarations:
    """Makes the store equal to the configuration; only differences are written.

    A credential is found again by its name, so it is never made twice and keeps its certificate
    ID. One that leaves the configuration stays in the store: devices may still name it.
    """

    def __init__(
        self,
        operator: OperatorService,
        store: Store,
        app_secrets: AppSecrets,
        environment: Mapping[str, str],
    ) -> None:
        self._operator = operator
        self._store = store
        self._secrets = app_secrets
        self._environment = environment
        self._log = get_logger(__name__)

    async def take(self, apps: Sequence[Mapping[str, Any]]) -> list[str]:
        """Store these apps; answers a line for each difference.

        Raises `ConfigError` with all faults of the configuration, its files and variables, before
        anything is stored.
        """
        declared, faults = read_apps(apps, self._environment)
        if faults:
            raise ConfigError(faults)
        await self._check(declared)
        done = []
        for app in declared:
            done += await self._app(app)
            for credential in app.credentials:
                done += await self._credential(app.sdkappid, credential)
        names = {
            app.sdkappid: {credential.name for credential in app.credentials} for app in declared
        }
        for sdkappid in await self._store.apps():
            await self._leave(sdkappid, names.get(sdkappid, set()))
        return done

    async def _check(self, declared: Sequence[DeclaredApp]) -> None:
        """Refuse credentials that contradict stored ones, before anything is stored."""
        faults = []
        for app in declared:
            records = await self._records(app.sdkappid)
            for credential in app.credentials:
                record = _of(credential, records)
                where = f"apps {app.sdkappid} {credential.name}"
                if record is None and credential.number:
                    what = f"there is no credential {credential.number} without a name of its own"
                    faults.append(WrongSetting(path=f"{where}: number", what=what))
                elif record is not None and record.channel != credential.vendor:
                    what = f"credential {record.number} is of {record.channel}: choose another name"
                    faults.append(WrongSetting(path=f"{where}: vendor", what=what))
        if faults:
            raise ConfigError(faults)

    async def _records(self, sdkappid: int) -> list[Credential]:
        if await self._store.app(sdkappid) is None:
            return []
        return await self._store.credentials(sdkappid)

    async def _app(self, app: DeclaredApp) -> list[str]:
        stored = await self._store.app(app.sdkappid)
        facts = dict(app.facts)
        if stored is not None:
            facts = {
                name: value
                for name, value in facts.items()
                if name == "key" or getattr(stored, name) != value
            }
            if facts.get("key") == self._secrets.key(stored):
                del facts["key"]
            if not facts:
                return []
        try:
            result = await self._operator.app_add(app.sdkappid, facts)
        except CallError as fault:
            path = f"apps {app.sdkappid}"
            raise ConfigError([WrongSetting(path=path, what=fault.info)]) from fault
        self._log.info("app declared", app=app.sdkappid, done=result["done"], members=sorted(facts))
        return [f"app {app.sdkappid} {result['done']}"]

    async def _credential(self, sdkappid: int, credential: DeclaredCredential) -> list[str]:
        record = _of(credential, await self._store.credentials(sdkappid))
        result = await self._operator.declare_credential(
            sdkappid,
            0 if record is None else record.number,
            credential.name,
            {"channel": credential.vendor, **credential.facts},
        )
        if result["done"] == "unchanged":
            return []
        self._log.info(
            "credential declared",
            app=sdkappid,
            certificate=result["number"],
            name=credential.name,
            done=result["done"],
        )
        return [f"credential {result['number']} ({credential.name}) {result['done']}"]

    async def _leave(self, sdkappid: int, names: set[str]) -> None:
        for record in await self._store.credentials(sdkappid):
            if record.is_declared and record.name not in names:
                await self._operator.leave_credential(sdkappid, record.number)
                self._log.warning(
                    "credential is not in the configuration any more",
                    app=sdkappid,
                    certificate=record.number,
                    name=record.name,
                    advice=f"it goes on sending: tocsin credential delete {record.number} ends it",
                )


def _of(credential: DeclaredCredential, records: Sequence[Credential]) -> Credential | None:
    """The stored credential of this name, else of this number if it has no name."""
    for record in records:
        if record.name == credential.name:
            return record
    for record in records:
        if record.number == credential.number and not record.name:
            return record
    return None
