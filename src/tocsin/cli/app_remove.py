"""`tocsin app remove`: removes an app and everything that is kept of it."""

from __future__ import annotations

from tocsin.cli.app_add import SdkAppId
from tocsin.cli.confirm import Yes, confirm
from tocsin.cli.operator import DEFAULT_DATA, Data, operator_of
from tocsin.cli.screen import Json, Screen, run

COUNTED = ("accounts", "devices", "tasks")


def app_remove(
    sdkappid: SdkAppId,
    *,
    is_sure: Yes = False,
    data: Data = DEFAULT_DATA,
    is_json: Json = False,
) -> None:
    """Remove an app: accounts, devices, pushes and their books, credentials, tags, index, keys.

    At once every call for the app is refused, its devices are disconnected and nothing more is
    sent. The rest is removed in small steps beside a running service. An interrupted command goes
    on when it is repeated. The sdkappid may be added again; certificate IDs and TaskIds go on
    counting, so that no old one is taken for a new one.
    """
    screen = Screen(is_json=is_json)
    question = f"Remove app {sdkappid} with all its accounts, devices, pushes and credentials?"
    confirm(screen, question, is_sure=is_sure)

    async def work() -> None:
        removed = dict.fromkeys(COUNTED, 0)
        is_gone = False
        async with operator_of(data) as operator:
            while not is_gone:
                step = await operator.app_remove(sdkappid)
                is_gone = step["is_gone"]
                for name in COUNTED:
                    removed[name] += step[name]
                if not is_gone:
                    so_far = ", ".join(f"{count:,} {name}" for name, count in removed.items())
                    screen.note(f"[dim]removed so far: {so_far}[/]")
        counts = ", ".join(f"{count:,} {name}" for name, count in removed.items())
        result = {"sdkappid": sdkappid, "removed": removed}
        screen.result(result, lambda: screen.line(f"removed app {sdkappid}: {counts}"))

    run(screen, work())
