"""What the vendors' servers have in common: one app, its bearer tokens, its devices, its answers.

What a message may contain, and which code goes with which fault, is each vendor's own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, ClassVar
from urllib.parse import parse_qs, parse_qsl

import msgspec

from tocsin.clock import Chance, Clock
from tocsin.sandbox.bearers import Bearers
from tocsin.sandbox.devices import DeviceBook, SandboxDevice, Shown
from tocsin.sandbox.exchange import Call, Judgement, Target

STREAMS = 100
"""MAX_CONCURRENT_STREAMS of a new connection, where a vendor does not say."""


Headers = tuple[tuple[str, str], ...]


class AppServer:
    """A vendor's server with one app. A vendor adds `judge`, `refusal` and `token`."""

    name: str
    _first_token: ClassVar[re.Pattern[bytes]]
    """Finds the first device token in a body, in its first group."""

    def __init__(self, app: str, book: DeviceBook, clock: Clock, chance: Chance) -> None:
        """`app` is what the vendor knows the app by: a device of another app is not reached."""
        self._app = app
        self._book = book
        self._clock = clock
        self._chance = chance
        self.bearers = Bearers(f"{self.name}-sandbox-", chance)

    def opening_streams(self) -> int:
        return STREAMS

    def token_of(self, call: Call) -> str:
        match = self._first_token.search(call.body)
        return match[1].decode("latin-1") if match else ""

    def expire_all(self) -> int:
        """Make every bearer token given out so far stale; answers how many there were."""
        return self.bearers.expire_all()

    def access(self, url: str) -> dict[str, Any]:
        """What a sender must know beside the credential, of a server that listens at `url`."""
        return {"auth_url": url}

    # devices

    def _device(self, token: str) -> SandboxDevice | None:
        """The device of a token, or None where the vendor has never heard of it."""
        return self._book.look(self.name, token)

    def _is_foreign(self, device: SandboxDevice) -> bool:
        """Whether the device's token belongs to another app, or to another environment."""
        is_elsewhere = device.state in ("other_app", "other_environment")
        return is_elsewhere or device.app not in ("", self._app)

    def _show_on(self, token: str, shown: Shown, life_s: float) -> None:
        """Show a message on a device that was found; it waits `life_s` for one that is off."""
        device = self._device(token)
        assert device is not None
        self._book.show(device, shown, shown.at + life_s)

    # ids and answers

    def _request_id(self, now: float) -> str:
        return f"{int(now * 1000)}{self._chance.bits(32):08x}"

    def _client_fault(self, call: Call, client_id: str, client_secret: str) -> str:
        """What is wrong with a call for a bearer token, by OAuth 2.0 (RFC 6749, 4.4 and 5.2)."""
        if call.method != "POST" or not is_form(call):
            return "invalid_request"
        form = {name: it[-1] for name, it in parse_qs(call.body.decode("latin-1")).items()}
        if form.get("grant_type") != "client_credentials":
            return "unsupported_grant_type"
        given = (form.get("client_id"), form.get("client_secret"))
        return "" if given == (client_id, client_secret) else "invalid_client"

    def _give_bearer(self, headers: Headers, life_s: int) -> Judgement:
        """The answer with a new bearer token, as OAuth 2.0 writes it."""
        bearer = self.bearers.give(self._clock.now(), life_s)
        answer = {"access_token": bearer, "expires_in": life_s, "token_type": "Bearer"}
        return unlogged(Judgement(200, headers, msgspec.json.encode(answer)))


def is_form(call: Call) -> bool:
    """Whether the body of a call says that it is a form."""
    content_type = dict(call.headers).get("content-type", "")
    return content_type.split(";", maxsplit=1)[0].strip() == "application/x-www-form-urlencoded"


def is_json(call: Call) -> bool:
    """Whether the body of a call says that it is JSON."""
    return dict(call.headers).get("content-type", "").startswith("application/json")


def form_of(call: Call) -> dict[str, str]:
    """The members of a form, empty ones too."""
    return dict(parse_qsl(call.body.decode("utf-8", "replace"), keep_blank_values=True))


def json_answer(status: int, headers: Headers, answer: Any, reason: str = "") -> Judgement:
    """The answer as JSON; `reason` is what stands in the log."""
    return Judgement(status, headers, msgspec.json.encode(answer), reason=reason)


def refused(verdict: Judgement, tokens: Iterable[str]) -> Judgement:
    """The verdict, with every device refused for its reason."""
    verdict.targets = tuple(
        Target(token, accepted=False, reason=verdict.reason) for token in tokens
    )
    return verdict


def unlogged(verdict: Judgement) -> Judgement:
    """The verdict of a call that is no push."""
    verdict.logged = False
    return verdict
