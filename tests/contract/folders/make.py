"""Prints a data folder's database as SQL: README.md says which, and how it was made."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import sys
import tempfile
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

from tocsin.adapters.sqlite.store import SqliteStore
from tocsin.clock import ManualClock
from tocsin.domain.account import Profile, import_accounts
from tocsin.domain.app import App
from tocsin.domain.device import Registration, Route, register

AT = 1_767_225_600.0
POINT = "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"
"""The browser of RFC 8291, appendix A."""
HOST = "https://push.example.com"
AUTH = "BTBZMqHH6r4Tts7J_aSIgg"
FCM = "fcm-token-of-nobody:APA91b-example"


def apns(letter: str) -> str:
    """A well-formed token of nobody's."""
    return f"{letter}1" * 32


def spaced(token: str) -> str:
    """As the console of Xcode printed it once."""
    return f"<{' '.join(token[at : at + 8] for at in range(0, 64, 8))}>"


def subscription(
    number: int, *, host: str = "https://push.example.com", turned: bool = False
) -> str:
    told: dict[str, Any] = {
        "endpoint": f"{host}/{number}",
        "expirationTime": None,
        "keys": {"p256dh": POINT, "auth": AUTH},
    }
    return json.dumps({name: told[name] for name in reversed(told)} if turned else told)


DEVICES: tuple[tuple[int, str, str, dict[str, Any]], ...] = (
    (1, "a-first", "ann", {"route": Route("apns", 1, apns("a"))}),
    (1, "a-last", "bob", {"route": Route("apns", 1, apns("a").upper())}),
    (1, "b-alone", "cid", {"route": Route("apns", 1, spaced(apns("b")))}),
    (1, "c-first", "dan", {"route": Route("apns", 1, f"{apns('c')[:32]}\n{apns('c')[32:]}")}),
    (1, "c-last", "eve", {"route": Route("apns", 1, apns("c"))}),
    (1, "too-short", "fay", {"route": Route("apns", 1, "abc"), "voip_token": "d" * 64}),
    (1, "no-hex", "gus", {"route": Route("apns", 1, "z" * 64)}),
    (1, "google", "hal", {"route": Route("fcm", 2, FCM)}),
    (1, "list", "ian", {"route": Route("xiaomi", 3, "one,two")}),
    (1, "browser-first", "joe", {"route": Route("webpush", 4, subscription(1))}),
    (1, "browser-last", "kim", {"route": Route("webpush", 4, subscription(1, turned=True))}),
    (
        1,
        "browser-port",
        "leo",
        {"route": Route("webpush", 4, subscription(2, host="https://Push.example.com:443"))},
    ),
    (
        1,
        "calls-only",
        "mia",
        {"voip_token": spaced(apns("e")), "live_tokens": {"ride": apns("e").upper(), "old": "?"}},
    ),
    (1, "nothing", "ned", {}),
    (1, "f-development", "oda", {"route": Route("apns", 1, apns("f"), "development")}),
    (1, "f-production", "pam", {"route": Route("apns", 1, apns("f"))}),
    (2, "a-elsewhere", "ann", {"route": Route("apns", 1, apns("a").upper())}),
)
"""App, RegistrationID, user, and what is told of tokens; each registers a minute after the last."""


def _made(app: int, _known: App | None) -> App:
    return App(sdkappid=app, key=b"", appkey=b"", admins=("admin",))


async def fill(folder: Path) -> None:
    clock = ManualClock()
    async with AsyncExitStack() as stack:
        store = SqliteStore(folder, clock)
        await store.start(stack)
        for app in (1, 2):
            await store.update_app(app, partial(_made, app))
        for number, (app, name, user, told) in enumerate(DEVICES):
            at = AT + 60 * number
            await store.update_accounts(app, [user], [], import_accounts([Profile(user)], at))
            ask = Registration(registration_id=name, fresh_secret="s", user=user, **told)
            await store.update_device(app, name, user, ask.route, register(ask, at))


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        asyncio.run(fill(Path(name)))
        connection = sqlite3.connect(Path(name) / "tocsin.db")
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        lines = [*connection.iterdump(), f"PRAGMA user_version = {version};"]
        connection.close()
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
