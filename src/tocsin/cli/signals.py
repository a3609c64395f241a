"""Handles SIGINT, SIGTERM and SIGHUP for commands."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable

ENDING = (signal.SIGINT, signal.SIGTERM)
TOGETHER_S = 0.5
"""Signals within so many seconds count as one: a program in between, such as `timeout` or a package
manager's runner, passes on a signal that the whole group of processes has received, too."""


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
    """Let SIGTERM end the running command as Ctrl-C does: the command closes what it opened."""
    if threading.current_thread() is not threading.main_thread():
        # Only the main thread may handle signals; a caller in another one ends the command itself.
        return
    task = asyncio.current_task()
    assert task is not None
    running = task

    def end() -> None:
        # Once: a second cancel would interrupt the closing.
        if not running.cancelling():
            running.cancel()

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, end)


class Hangups:
    """Turns SIGHUP into a request to reload, until the process has ended; SIGHUP never ends it.

    The loop's own handlers do not suffice: before the loop starts and after it has closed there are
    none, and the system ends a process that receives a signal without a handler.
    """

    def __init__(self) -> None:
        self._asked: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_early = False
        _handle(self._take)

    def attach(self) -> asyncio.Event:
        """The event that each SIGHUP sets on the running loop; set if one came before."""
        self._asked, self._loop = asyncio.Event(), asyncio.get_running_loop()
        if self._is_early:
            self._asked.set()
        return self._asked

    def ignore(self) -> None:
        """Ignore SIGHUP from now on: the service has ended, and the process is about to."""
        _handle(signal.SIG_IGN)

    def _take(self, _number: int, _frame: object) -> None:
        if self._loop is None or self._asked is None:
            self._is_early = True
        elif not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._asked.set)


def _handle(handler: Callable[[int, object], None] | signal.Handlers) -> None:
    # Only the main thread may handle signals; a service in another one reloads by its socket.
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGHUP, handler)
