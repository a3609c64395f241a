"""The sandbox without sockets: requests go straight to the vendors' desks, on any clock.

What a vendor says is the same; what the wire does to it is `tests/wire`'s business.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from tocsin.client.sandbox import credential_facts
from tocsin.clock import Clock
from tocsin.conversation import Fault, Request, Response
from tocsin.sandbox.exchange import Call, Connection
from tocsin.sandbox.server import Sandbox

BROWSERS = "sandbox.push.services.mozilla.com"
"""Only the word of a service that browsers come with counts against our key."""


def address(vendor: str) -> str:
    """Where a vendor seems to be."""
    return f"https://{BROWSERS if vendor == 'webpush' else f'{vendor}.sandbox.test'}"


def facts_of(vendor: str, sandbox: Sandbox, **settings: Any) -> dict[str, Any]:
    """A credential for it, as `tocsin credential add --sandbox` would add it."""
    facts = credential_facts(vendor, sandbox.describe())
    told = {**facts["settings"], **settings}
    if "token_uri" in told:
        told["token_uri"] = f"{address('fcm')}/token"
    return {**facts, "settings": told, "origin": address(vendor), "auth_origin": address(vendor)}


class DirectHttp:
    """An `Http` whose other end is a sandbox in the same process."""

    def __init__(self, sandbox: Sandbox, clock: Clock, latency_s: float = 0.0) -> None:
        self._sandbox = sandbox
        self._clock = clock
        self.latency_s = latency_s
        self.dead: set[str] = set()
        """Vendors that never answer and take nothing."""
        self.unreachable: set[str] = set()
        """Vendors that nothing can be sent to: no name, no route, or a proxy that is down."""
        self.requests: Counter[str] = Counter()
        sandbox.stand_at(address)
        self._names = {address(name): name for name in sandbox.endpoints}
        self._links = {
            name: Connection(number, "h2", None) for number, name in enumerate(sandbox.endpoints)
        }

    async def send(
        self,
        request: Request,
        deadline_s: float,
        may_begin: Callable[[], bool] | None = None,
    ) -> Response | Fault:
        if may_begin is not None and not may_begin():
            return Fault("unsent", "not begun")
        vendor = self._names[request.origin]
        self.requests[vendor] += 1
        if vendor in self.unreachable:
            return Fault("unsent", "no way out")
        if vendor in self.dead:
            await self._clock.sleep(deadline_s)
            return Fault("maybe_sent", "no answer in time")
        await self._clock.sleep(self.latency_s)
        call = Call(
            request.method,
            request.path,
            [(name.lower(), value) for name, value in request.headers],
            request.body,
            self._links[vendor],
            stream=self.requests[vendor],
        )
        reply = self._sandbox.endpoints[vendor](call)
        effect = reply.effect
        if effect is not None and effect.silent:
            await self._clock.sleep(deadline_s)
            return Fault("maybe_sent", "no answer in time")
        if effect is not None and (effect.drop or effect.reset_code is not None):
            return Fault("maybe_sent", "the connection ended without an answer")
        return Response(reply.status, dict(reply.headers), reply.body)
