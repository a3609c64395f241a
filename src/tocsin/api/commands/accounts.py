"""Accounts and who is online (trtc.io/document/34953 to 34957, 35477)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec import UNSET
from pyroaring import BitMap

from tocsin.api.commands.call import CommandCall, Services, change_accounts
from tocsin.api.wire import Answer, FailedAccount
from tocsin.api.wire_accounts import (
    NO_ACCOUNT_INFO,
    ImportAnswer,
    OnlineAnswer,
    OnlineRequest,
    OnlineStatus,
    PlatformStatus,
    ResultAnswer,
    ResultItem,
    is_fitting,
    is_user_id,
    read_items,
    read_online_request,
    read_profile,
    read_profiles,
    read_user_id,
)
from tocsin.domain.account import (
    Account,
    import_accounts,
    kick_account,
    strictly,
)
from tocsin.domain.device import Device
from tocsin.domain.names import refuse_reserved
from tocsin.domain.presence import Status, account_status, device_status
from tocsin.errors import TEXTS
from tocsin.pipeline.erase import KICKED

UNKNOWN_PLATFORM = "Unknown"


async def account_import(services: Services, call: CommandCall) -> Answer:
    profile = read_profile(call.body)
    (account,) = await services.store.accounts(call.app.sdkappid, [profile.name])
    if account is None:
        # The decision refuses a reserved name too, but without the reason.
        refuse_reserved(call.app, profile.name)
    decide = strictly(import_accounts([profile], services.clock.now()))
    await change_accounts(services, call, [profile.name], decide)
    return Answer()


async def multiaccount_import(services: Services, call: CommandCall) -> ImportAnswer:
    profiles = read_profiles(call.body)
    good = [each for each in profiles if is_user_id(each.name) and is_fitting(each)]
    failed: set[str] = set()
    if good:
        decide = import_accounts(good, services.clock.now())
        failures = await change_accounts(services, call, [each.name for each in good], decide)
        failed = {name for name, _ in failures}
    names = [each.name for each in profiles if each.name in failed or each not in good]
    return ImportAnswer(failed=list(dict.fromkeys(names)))


async def account_delete(services: Services, call: CommandCall) -> ResultAnswer:
    names = read_items(call.body, "DeleteItem")
    codes = dict((await services.erasing.erase(call.app, names)).failures)
    return ResultAnswer(items=[_result(name, codes.get(name, 0)) for name in names])


def _result(name: str, code: int) -> ResultItem:
    info = NO_ACCOUNT_INFO if code == 70107 else TEXTS.get(code, "")
    return ResultItem(name=name, code=code, info=info)


async def account_check(services: Services, call: CommandCall) -> ResultAnswer:
    names = read_items(call.body, "CheckItem")
    accounts = await services.store.accounts(call.app.sdkappid, names)
    return ResultAnswer(
        items=[
            ResultItem(name=name, status="NotImported" if account is None else "Imported")
            for name, account in zip(names, accounts, strict=True)
        ]
    )


async def kick(services: Services, call: CommandCall) -> Answer:
    name = read_user_id(call.body)
    await change_accounts(services, call, [name], kick_account(name, services.clock.now()))
    services.bus.publish(KICKED, f"{call.app.sdkappid}/{name}".encode())
    return Answer()


async def query_online_status(services: Services, call: CommandCall) -> OnlineAnswer:
    return await _states(
        services,
        call,
        lambda name, status, detail: OnlineStatus(account=name, status=status, detail=detail),
    )


async def querystate(services: Services, call: CommandCall) -> OnlineAnswer:
    return await _states(
        services,
        call,
        lambda name, status, detail: OnlineStatus(account=name, state=status, detail=detail),
    )


Detail = list[PlatformStatus]


async def _states(
    services: Services, call: CommandCall, build: Callable[[str, Status, Detail], OnlineStatus]
) -> OnlineAnswer:
    request = read_online_request(call.body)
    accounts = await services.store.accounts(call.app.sdkappid, request.accounts)
    owned = await _devices_by_owner(services, call, [each for each in accounts if each is not None])
    connected = services.presence.connected(call.app.sdkappid)
    now = services.clock.now()
    results: list[OnlineStatus] = []
    failures: list[FailedAccount] = []
    for name, account in zip(request.accounts, accounts, strict=True):
        if account is None:
            failures.append(FailedAccount(70107, name))
            continue
        devices = owned.get(account.number, [])
        statuses = [device_status(device, connected, now) for device in devices]
        result = build(name, account_status(statuses), _detail(request, devices, statuses))
        if not request.with_detail:
            result.detail = UNSET
        results.append(result)
    return OnlineAnswer(results=results, failures=failures)


async def _devices_by_owner(
    services: Services, call: CommandCall, accounts: Sequence[Account]
) -> dict[int, list[Device]]:
    """The devices of each account: those it is logged in on, or the one registered under it."""
    numbers = BitMap([account.number for account in accounts])
    owned: dict[int, list[Device]] = {}
    for device in await services.store.devices_of(call.app.sdkappid, numbers):
        for owner in {device.user, device.account} & set(numbers):
            owned.setdefault(owner, []).append(device)
    return owned


def _detail(
    request: OnlineRequest, devices: Sequence[Device], statuses: Sequence[Status]
) -> Detail:
    return [
        PlatformStatus(
            platform=device.platform or UNKNOWN_PLATFORM,
            status=status,
            instance=device.number if request.with_instance else UNSET,
        )
        for device, status in zip(devices, statuses, strict=True)
    ]
