"""A client for the sandbox's admin server, for the command line and the demo."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from types import TracebackType
from typing import Any, Self

from tocsin.client.json_http import JsonHttp, Method, Refused

DEVICES_MAX = 5000
"""Device states set in one call."""
PAGE = 10_000


class SandboxClient:
    """Speaks to a running sandbox: its credentials, device book, faults and log."""

    def __init__(self, url: str) -> None:
        self._http = JsonHttp(url)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._http.close()

    async def describe(self) -> dict[str, Any]:
        """Addresses, authority and credentials: everything a sender needs."""
        return await self._ask("GET", "/v1/sandbox")

    async def faults(self) -> list[dict[str, Any]]:
        """The rules in force with their counters."""
        return list((await self._ask("GET", "/v1/faults"))["faults"])

    async def add_fault(self, **rule: Any) -> int:
        """Put a rule in force; answers its number."""
        return int((await self._ask("POST", "/v1/faults", rule))["number"])

    async def clear_faults(self, number: int | None = None) -> None:
        """Take one rule, or all of them, out of force."""
        await self._ask("DELETE", "/v1/faults" if number is None else f"/v1/faults/{number}")

    async def put_devices(self, devices: Iterable[Mapping[str, Any]]) -> None:
        """Set device states: items with `vendor`, `token` and `state`."""
        listed = list(devices)
        for start in range(0, len(listed), DEVICES_MAX):
            body = {"devices": listed[start : start + DEVICES_MAX]}
            await self._ask("POST", "/v1/devices", body)

    async def tokens(self, vendor: str, count: int, *, offset: int = 0) -> list[str]:
        """So many devices' tokens of a vendor; the same numbers give the same devices."""
        tokens: list[str] = []
        while len(tokens) < count:
            page = min(PAGE, count - len(tokens))
            params = {"vendor": vendor, "offset": str(offset + len(tokens)), "count": str(page)}
            tokens += (await self._ask("GET", "/v1/tokens", params=params))["tokens"]
        return tokens

    async def counts(self) -> dict[str, Any]:
        """Totals over the log."""
        return await self._ask("GET", "/v1/log/counts")

    async def set_receipts(self, **settings: Any) -> None:
        """Where vendors report to (`url`), how promptly (`delay_s`), whom to trust (`ca_pem`)."""
        await self._ask("POST", "/v1/receipts", settings)

    async def receipts(self) -> dict[str, Any]:
        """Totals of the receipts posted, and how many wait."""
        return dict((await self._ask("GET", "/v1/receipts"))["stats"])

    async def log(self, *, after: int = 0, **asked: str) -> AsyncIterator[dict[str, Any]]:
        """Log entries in order, later than the sequence `after`."""
        reached: int | None = after
        while reached is not None:
            params = {"after": str(reached), "count": str(PAGE), **asked}
            answer = await self._ask("GET", "/v1/log", params=params)
            for entry in answer["entries"]:
                yield entry
            reached = answer["after"]

    async def _ask(
        self, method: Method, path: str, body: Any = None, *, params: Any = None
    ) -> dict[str, Any]:
        answer = await self._http.call(method, path, body, params=params)
        if not isinstance(answer, dict) or "error" in answer:
            why = answer.get("error", "") if isinstance(answer, dict) else "no JSON object"
            raise Refused(0, str(why), path)
        return answer


def credential_facts(channel: str, description: Mapping[str, Any]) -> dict[str, Any]:
    """The facts that `credential_add` takes for a channel, from the sandbox's description.

    The settings are those for the vendor itself; only the address and the authority differ.
    """
    vendor = description[channel]
    credential = vendor["credential"]
    return {
        "channel": channel,
        "settings": {name: credential[name] for name in _SETTINGS.get(channel, credential)},
        "origin": vendor["url"],
        "auth_origin": vendor.get("auth_url", ""),
        "ca": description["ca_pem"],
    }


_SETTINGS = {
    "apns": ("private_key", "key_id", "team_id", "bundle_id"),
    "fcm": ("private_key", "client_email", "project_id", "private_key_id", "token_uri"),
}
"""The settings among the members of those credentials that have other members too."""
