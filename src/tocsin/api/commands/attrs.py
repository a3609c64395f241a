"""Attributes: their names in the app, their values in accounts (1047/60562 to 60566)."""

from __future__ import annotations

from tocsin.api.commands.call import CommandCall, Services, change_accounts
from tocsin.api.wire import Answer, ListedAnswer, error_list
from tocsin.api.wire_labels import (
    AttrsAnswer,
    NamesAnswer,
    UserAttrs,
    read_accounts,
    read_attr_names,
    read_attr_types,
    read_removed_attrs,
    read_set_attrs,
)
from tocsin.domain.account import Failure, attr_keys, remove_attrs, set_attrs
from tocsin.domain.app import App
from tocsin.domain.attribute import name_attrs
from tocsin.errors import CallError


async def set_attr_name(services: Services, call: CommandCall) -> Answer:
    await name_slots(services, call, read_attr_names(call.body), read_attr_types(call.body))
    return Answer()


async def get_attr_name(_services: Services, call: CommandCall) -> NamesAnswer:
    app = call.app
    types = {slot: app.attr_types.get(slot, 0) for slot in app.attr_names}
    return NamesAnswer(names=app.attr_names, types=types)


async def set_attr(services: Services, call: CommandCall) -> ListedAnswer:
    entries = read_set_attrs(call.body)
    names = [name for name, _ in entries]
    keys = attr_keys(call.app, entries)
    failures = await change_accounts(services, call, names, set_attrs(entries), keys)
    return ListedAnswer(failures=error_list(failures))


async def get_attr(services: Services, call: CommandCall) -> AttrsAnswer:
    user_attrs, failures = await read_user_attrs(services, call)
    return AttrsAnswer(user_attrs=user_attrs, failures=error_list(failures))


async def remove_attr(services: Services, call: CommandCall) -> ListedAnswer:
    entries = read_removed_attrs(call.body)
    names = [name for name, _ in entries]
    failures = await change_accounts(services, call, names, remove_attrs(entries))
    return ListedAnswer(failures=error_list(failures))


async def name_slots(
    services: Services, call: CommandCall, names: dict[str, str], types: dict[str, int]
) -> None:
    """Name slots of the app."""

    def change(app: App | None) -> App:
        if app is None:
            raise CallError(70020)
        return name_attrs(app, names, types)

    await services.store.update_app(call.app.sdkappid, change)


async def read_user_attrs(
    services: Services, call: CommandCall
) -> tuple[list[UserAttrs], list[Failure]]:
    """The attributes of the accounts that exist, in the order of the call, and the failures."""
    names = read_accounts(call.body)
    accounts = await services.store.accounts(call.app.sdkappid, names)
    names_by_slot = call.app.attr_names
    user_attrs: list[UserAttrs] = []
    failures: list[Failure] = []
    for name, account in zip(names, accounts, strict=True):
        if account is None:
            failures.append((name, 70107))
        else:
            attrs = {
                names_by_slot[slot]: value
                for slot, value in account.attrs.items()
                if slot in names_by_slot
            }
            user_attrs.append(UserAttrs(name, attrs))
    return user_attrs, failures
