"""What a service manager is told: systemd's sd_notify, which is a text to a socket that it names.

Without `NOTIFY_SOCKET` nothing is told and nothing fails. The watchdog is fed by who is alive, not
by a timer: the event loop has to run, and whatever `proof` asks has to answer.

https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html, read on 2026-11-30.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Awaitable, Callable, Mapping

from tocsin.clock import Clock
from tocsin.errors import StoreError
from tocsin.log import get_logger

FEEDS = 3
"""How often the watchdog is fed in the time that it waits: one may come late."""


class ServiceManager:
    """Whoever started this process and wants to know how it is."""

    def __init__(self, environment: Mapping[str, str], clock: Clock) -> None:
        """`environment` is the process's; what is there and cannot be read is as good as absent."""
        self._clock = clock
        self._log = get_logger(__name__)
        self._place = environment.get("NOTIFY_SOCKET", "")
        self.watchdog_s = _watchdog_s(environment) if self._place else 0.0
        """Seconds without a word after which it takes us for dead; 0: it does not watch."""

    def ready(self, status: str) -> None:
        """The start is over; `status` is a line for people."""
        self._tell("READY=1", f"STATUS={status}")

    def reloading(self) -> None:
        """A reload has begun."""
        self._tell("RELOADING=1", f"MONOTONIC_USEC={int(self._clock.monotonic() * 1e6)}")

    def reloaded(self) -> None:
        """The reload is over, whatever it came to: the service serves as before."""
        self._tell("READY=1")

    def stopping(self) -> None:
        """The service takes no more work and is about to end."""
        self._tell("STOPPING=1", "STATUS=stopping")

    async def feed(self, proof: Callable[[], Awaitable[object]]) -> None:
        """Say that we live, until cancelled, each time that `proof` has answered.

        A proof that never answers, or raises `StoreError`, feeds nobody: the manager ends this
        process after `watchdog_s` and starts another.
        """
        if not self.watchdog_s:
            return await _for_ever(self._clock)
        while True:
            try:
                await proof()
            except StoreError as fault:
                self._log.warning("the watchdog is not fed", reason=str(fault))
            else:
                self._tell("WATCHDOG=1")
            await self._clock.sleep(self.watchdog_s / FEEDS)

    def _tell(self, *lines: str) -> None:
        if not self._place:
            return
        # A name that begins with @ is no file: the abstract namespace, told by a zero byte.
        place = f"\0{self._place[1:]}" if self._place.startswith("@") else self._place
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as door:
            # A manager that does not read must not hold up the service.
            door.settimeout(0)
            try:
                door.sendto("\n".join(lines).encode(), place)
            except OSError as fault:
                self._log.warning("the service manager was not told", reason=str(fault))


def _watchdog_s(environment: Mapping[str, str]) -> float:
    whose = environment.get("WATCHDOG_PID", "")
    if whose and whose != str(os.getpid()):
        # Meant for the process that started this one.
        return 0.0
    told = environment.get("WATCHDOG_USEC", "")
    return int(told) / 1e6 if told.isascii() and told.isdigit() else 0.0


async def _for_ever(clock: Clock) -> None:
    while True:
        await clock.sleep(3600)
