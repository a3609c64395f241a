"""Reports the service's state to a service manager: systemd's sd_notify, datagrams to a socket.

Without `NOTIFY_SOCKET` nothing is sent and nothing fails. The watchdog is fed only while the event
loop runs and the store answers, so that systemd restarts a service that hangs.

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
"""How often the watchdog is fed in the time that it waits, so that one message may come late."""


class ServiceManager:
    """The service manager that started this process, if one did."""

    def __init__(self, environment: Mapping[str, str], clock: Clock) -> None:
        """`environment` is the process's; a variable that cannot be read counts as absent."""
        self._clock = clock
        self._log = get_logger(__name__)
        self._socket_path = environment.get("NOTIFY_SOCKET", "")
        self.watchdog_s = _watchdog_s(environment) if self._socket_path else 0.0
        """Seconds without a message after which systemd restarts the service; 0: no watchdog."""

    def ready(self, status: str) -> None:
        """Reports that the start is over; `status` is a line for people."""
        self._send("READY=1", f"STATUS={status}")

    def reloading(self) -> None:
        """Reports that a reload has begun."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={int(self._clock.monotonic() * 1e6)}")

    def reloaded(self) -> None:
        """Reports that the reload is over, whatever its result: the service serves."""
        self._send("READY=1")

    def stopping(self) -> None:
        """Reports that the service takes no more work and will end."""
        self._send("STOPPING=1", "STATUS=stopping")

    async def feed(self, proof: Callable[[], Awaitable[object]]) -> None:
        """Feeds the watchdog each time that `proof` has answered, until cancelled.

        While `proof` does not answer or raises `StoreError` the watchdog is not fed, and the
        manager restarts this process after `watchdog_s`.
        """
        if not self.watchdog_s:
            return await _for_ever(self._clock)
        while True:
            try:
                await proof()
            except StoreError as fault:
                self._log.warning("the watchdog is not fed", reason=str(fault))
            else:
                self._send("WATCHDOG=1")
            await self._clock.sleep(self.watchdog_s / FEEDS)

    def _send(self, *lines: str) -> None:
        path = self._socket_path
        if not path:
            return
        # A path that begins with @ names a socket of the abstract namespace, not a file.
        address = f"\0{path[1:]}" if path.startswith("@") else path
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as datagrams:
            # A manager that does not read must not hold up the service.
            datagrams.settimeout(0)
            try:
                datagrams.sendto("\n".join(lines).encode(), address)
            except OSError as fault:
                self._log.warning("the service manager was not told", reason=str(fault))


def _watchdog_s(environment: Mapping[str, str]) -> float:
    pid = environment.get("WATCHDOG_PID", "")
    if pid and pid != str(os.getpid()):
        # The variables are meant for the process that started this one.
        return 0.0
    microseconds = environment.get("WATCHDOG_USEC", "")
    is_number = microseconds.isascii() and microseconds.isdigit()
    return int(microseconds) / 1e6 if is_number else 0.0


async def _for_ever(clock: Clock) -> None:
    while True:
        await clock.sleep(3600)
