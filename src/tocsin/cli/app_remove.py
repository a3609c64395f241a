"""`tocsin app remove`: an end to an app and to all that is kept of it."""

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

    From the first moment nobody may call for it, connected devices are cut off and nothing more is
    sent. The rest goes in small steps beside a running service. Ended half way, it goes on when it
    is called again. The sdkappid may be added again; certificate IDs and TaskIds go on counting, so
    that nothing old is taken for something new.
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
        told = {"sdkappid": sdkappid, "removed": removed}
        screen.result(told, lambda: screen.line(f"removed app {sdkappid}: {counts}"))

    run(screen, work())
