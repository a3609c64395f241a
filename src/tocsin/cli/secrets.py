"""`tocsin secret`: the key that seals what the data folder keeps secret."""

from __future__ import annotations

from tocsin.cli.operator import DEFAULT_DATA, Data, operator_of
from tocsin.cli.screen import Json, Screen, run


def secret_rotate(*, data: Data = DEFAULT_DATA, is_json: Json = False) -> None:
    """Change the key that seals the app keys and credentials of a data folder, and seal all anew.

    A running service goes on with the new key at once. Whatever ends this half way, both keys are
    kept, and the next call goes on from there. Receipts of pushes that were sent before are not
    recognised any more once the service has been started again.
    """
    screen = Screen(is_json=is_json)

    async def work() -> None:
        async with operator_of(data) as operator:
            done = await operator.secret_rotate()
        screen.result(
            done,
            lambda: screen.line(
                f"sealed [bold]{done['secrets']}[/] secrets of {done['apps']} apps anew"
            ),
        )

    run(screen, work())
