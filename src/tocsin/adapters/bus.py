"""The bus of one process: subjects and the listeners that are there right now."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tocsin.ports import Bus

Listener = Callable[[bytes], None]


class LocalBus:
    """Calls listeners in the next turn of the event loop.

    So a publisher is never held up by a listener, never sees its failure, and cannot start a
    chain of calls inside its own.
    """

    def __init__(self) -> None:
        self._listeners: dict[str, dict[int, Listener]] = {}
        self._next = 0

    def publish(self, subject: str, payload: bytes = b"") -> None:
        listeners = self._listeners.get(subject)
        if listeners:
            loop = asyncio.get_running_loop()
            for ticket in list(listeners):
                loop.call_soon(self._deliver, subject, ticket, payload)

    def subscribe(self, subject: str, listener: Listener) -> Callable[[], None]:
        self._next += 1
        ticket = self._next
        self._listeners.setdefault(subject, {})[ticket] = listener

        def stop() -> None:
            listeners = self._listeners.get(subject, {})
            listeners.pop(ticket, None)
            if not listeners:
                self._listeners.pop(subject, None)

        return stop

    def _deliver(self, subject: str, ticket: int, payload: bytes) -> None:
        # A listener that stopped between the publishing and now hears nothing more.
        listener = self._listeners.get(subject, {}).get(ticket)
        if listener is not None:
            listener(payload)


def _fits(bus: LocalBus) -> Bus:
    return bus
