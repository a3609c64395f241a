"""`tocsin credential show`: one credential without its secrets."""

from __future__ import annotations

from tocsin.cli.credentials import AppOption, Number, day_of, only_app, stopped_text
from tocsin.cli.operator import DEFAULT_DATA, Data, operator_of
from tocsin.cli.screen import Json, Screen, run


def credential_show(
    number: Number, *, app: AppOption = 0, data: Data = DEFAULT_DATA, is_json: Json = False
) -> None:
    """Show one credential: its settings without the secrets, its state, and its public half.

    Pages subscribe with the `public_key` of a Web Push credential (applicationServerKey).
    """
    screen = Screen(is_json=is_json)

    async def work() -> None:
        async with operator_of(data) as operator:
            sdkappid = app or await only_app(operator)
            shown = await operator.credential_show(sdkappid, number)

        def show() -> None:
            facts = dict(shown)
            settings = facts.pop("settings", {})
            facts["expires_at"] = day_of(facts.get("expires_at"))
            facts["stopped"] = stopped_text(facts.get("stopped"))
            screen.facts(facts | {f"setting {name}": value for name, value in settings.items()})

        screen.result(shown, show)

    run(screen, work())
