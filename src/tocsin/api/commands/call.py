"""The arguments of a command's handler: the services, and the call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from msgspec import Struct

from tocsin.clock import Clock
from tocsin.domain.account import AccountsEdit, AccountsView, Failure, TermKey
from tocsin.domain.app import App
from tocsin.pipeline.accept import Accepting
from tocsin.pipeline.erase import Erasing
from tocsin.ports import Bus, Presence
from tocsin.store import Store


class CommandCall(Struct, frozen=True):
    """A call whose caller is an administrator and whose body is a JSON object."""

    app: App
    identifier: str
    body: dict[str, Any]


class Services(Struct, frozen=True, kw_only=True):
    """The services that handlers of commands use."""

    store: Store
    accepting: Accepting
    erasing: Erasing
    presence: Presence
    bus: Bus
    clock: Clock


async def change_accounts(
    services: Services,
    call: CommandCall,
    names: Sequence[str],
    decide: Callable[[AccountsView], AccountsEdit],
    keys: Sequence[TermKey] = (),
) -> list[Failure]:
    """Carry out a decision about the named accounts; answers the failures."""
    app = call.app.sdkappid
    failures: list[Failure] = await services.store.update_accounts(
        app, list(dict.fromkeys(names)), keys, decide
    )
    return failures
