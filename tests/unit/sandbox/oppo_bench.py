"""The sandbox's OPPO with its book, asked without sockets."""

from __future__ import annotations

import hashlib
import json
from typing import Any
from urllib.parse import urlencode

import msgspec

from tocsin.clock import Chance, ManualClock
from tocsin.sandbox.devices import DeviceBook
from tocsin.sandbox.exchange import Call, Connection, Judgement
from tocsin.sandbox.vendors.oppo.server import (
    AUTH_PATH,
    BATCH_PATH,
    BROADCAST_PATH,
    SAVE_PATH,
    UNICAST_PATH,
    Oppo,
    OppoSettings,
)

NOW = 1_767_225_600.0
"""Eight o'clock in the morning in China."""
FORM = [("content-type", "application/x-www-form-urlencoded")]
HOUR_S = 3600
ONE, TWO = Oppo.token(1), Oppo.token(2)


class Bench:
    def __init__(self, *, knows_all: bool = False, **settings: Any) -> None:
        self.clock = ManualClock(NOW)
        self.book = DeviceBook(self.clock, knows_all=knows_all)
        self.oppo = Oppo(OppoSettings(**settings), self.book, self.clock, Chance(1))

    def call(self, path: str, form: Any, headers: Any = FORM, method: str = "POST") -> Call:
        body = form if isinstance(form, bytes) else urlencode(form).encode()
        return Call(method, path, list(headers), body, Connection(1, "http/1.1", None))

    def ask(self, path: str, form: Any, headers: Any = FORM, method: str = "POST") -> Judgement:
        return self.oppo.judge(self.call(path, form, headers, method))

    def auth(self, **changes: Any) -> Judgement:
        known = self.oppo.credential
        stamp = str(int(self.clock.now() * 1000))
        told = {"app_key": known.app_key, "timestamp": stamp} | changes
        text = f"{told['app_key']}{told['timestamp']}{known.master_secret}"
        told.setdefault("sign", hashlib.sha256(text.encode()).hexdigest())
        return self.ask(AUTH_PATH, kept(told))

    def proof(self) -> dict[str, str]:
        return {"auth_token": data(self.auth())["auth_token"]}

    def form(self, *tokens: str, **changes: Any) -> tuple[str, dict[str, str]]:
        """A single push, or several in one call."""
        messages = [single(token, **changes) for token in tokens]
        if len(messages) == 1:
            return UNICAST_PATH, {"message": json.dumps(messages[0])}
        return BATCH_PATH, {"messages": json.dumps(messages)}

    def send(self, *tokens: str, **changes: Any) -> Judgement:
        path, form = self.form(*(tokens or (ONE,)), **changes)
        return self.ask(path, form | self.proof())

    def save(self, **changes: Any) -> Judgement:
        told = {name: texted(it) for name, it in kept(notification() | changes).items()}
        return self.ask(SAVE_PATH, told | self.proof())

    def listed(self, *tokens: str, **changes: Any) -> Judgement:
        saved = data(self.save(**changes))["message_id"]
        return self.broadcast(message_id=saved, target_value=";".join(tokens))

    def broadcast(self, **form: Any) -> Judgement:
        return self.ask(BROADCAST_PATH, kept({"target_type": "2", **form}) | self.proof())


def kept(members: dict[str, Any]) -> dict[str, Any]:
    return {name: it for name, it in members.items() if it is not None}


def texted(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def notification() -> dict[str, Any]:
    return {
        "title": "Hello",
        "content": "A word to all",
        "notify_id": 77,
        "off_line": True,
        "off_line_ttl": 3600,
        "click_action_type": 0,
    }


def single(token: str, **changes: Any) -> dict[str, Any]:
    return {
        "target_type": 2,
        "target_value": token,
        "verify_registration_id": True,
        "notification": kept(notification() | changes),
    }


def told(verdict: Judgement) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(verdict.body)
    return found


def data(verdict: Judgement) -> Any:
    return told(verdict)["data"]


def code(verdict: Judgement) -> int:
    """OPPO's code; the HTTP status says nothing."""
    assert verdict.status == 200
    found = told(verdict)["code"]
    assert isinstance(found, int)
    return found


def shown(bench: Bench, token: str = ONE) -> list[str]:
    device = bench.book.known("oppo", token)
    return [] if device is None else [it.title for it in device.shown.values()]
