"""`tocsin secret`: changes the key that seals the secrets of a data folder."""

from __future__ import annotations

from tocsin.cli.operator import DEFAULT_DATA, Data, operator_of
from tocsin.cli.screen import Json, Screen, run


def secret_rotate(*, data: Data = DEFAULT_DATA, is_json: Json = False) -> None:
    """Change the key that seals the app keys and credentials of a data folder, and seal all again.

    A running service uses the new key at once. A command that is interrupted leaves both keys in
    place, and the next one goes on from there. After the next start the service does not recognise
    receipts of pushes that were sent before the change.
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
