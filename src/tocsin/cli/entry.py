"""The entry point of the console script, which runs before the half second of imports.

SIGHUP in that time would end `tocsin serve`. It is ignored: no settings have been read yet, so none
can be read again.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Sequence
from importlib import import_module


def _run() -> None:
    # Imported here, so that the file with all commands is read after the signal is ignored.
    import_module("tocsin.cli.main").main()


def main(words: Sequence[str] | None = None, run: Callable[[], None] = _run) -> None:
    """The console script; `words` are the command line's, without the program's name."""
    if (sys.argv[1:] if words is None else words)[:1] == ["serve"]:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    run()
