"""What SIGINT and SIGTERM do to a command."""

from __future__ import annotations

import asyncio
import signal
import threading

ENDING = (signal.SIGINT, signal.SIGTERM)


def stop_on_signals() -> asyncio.Event:
    """The event that the first signal sets. A second signal ends the process at once."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()

    def stop() -> None:
        stopped.set()
        for number in ENDING:
            loop.remove_signal_handler(number)
            # The kernel's own ending needs no event loop: the next signal works though ours hangs.
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
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
