"""What SIGINT, SIGTERM and SIGHUP do to a command."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable

ENDING = (signal.SIGINT, signal.SIGTERM)
TOGETHER_S = 0.5
"""Signals within so long are one: whoever stands between, such as `timeout` or a package manager's
runner, sends on what the whole group of processes has been sent, too."""


def stop_on_signals() -> asyncio.Event:
    """The event that the first signal sets. A second signal ends the process at once."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()

    def stop() -> None:
        if not stopped.is_set():
            stopped.set()
            loop.call_later(TOGETHER_S, end_at_once)

    def end_at_once() -> None:
        for number in ENDING:
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL)

    for number in ENDING:
        loop.add_signal_handler(number, stop)
    return stopped


def cancel_on_terminate() -> None:
    """Let SIGTERM end the running command as Ctrl-C does: what it opened is closed."""
    if threading.current_thread() is not threading.main_thread():
        # Signals are the main thread's; whoever runs a command beside it ends it by itself.
        return
    task = asyncio.current_task()
    assert task is not None
    running = task

    def end() -> None:
        # Once: a second one would interrupt the closing of what is open.
        if not running.cancelling():
            running.cancel()

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, end)


class Hangups:
    """SIGHUP asks a service to reload, from now on until the process has ended; it ends none.

    The loop's own handlers would not do: there is none before it starts and after it has closed,
    and the system ends a process that a signal without a handler comes to.
    """

    def __init__(self) -> None:
        self._asked: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_early = False
        _handle(self._take)

    def attach(self) -> asyncio.Event:
        """The event that each further one sets on the running loop; set if one came before."""
        self._asked, self._loop = asyncio.Event(), asyncio.get_running_loop()
        if self._is_early:
            self._asked.set()
        return self._asked

    def ignore(self) -> None:
        """The service has ended: what comes now, while the process does, asks for nothing."""
        _handle(signal.SIG_IGN)

    def _take(self, _number: int, _frame: object) -> None:
        if self._loop is None or self._asked is None:
            self._is_early = True
        elif not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._asked.set)


def _handle(handler: Callable[[int, object], None] | signal.Handlers) -> None:
    # Signals are the main thread's; whoever runs a service beside it reloads by the socket.
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGHUP, handler)
