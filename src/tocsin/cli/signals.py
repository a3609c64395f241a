"""What SIGINT and SIGTERM do to a command."""

from __future__ import annotations

import asyncio
import signal
import threading

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
