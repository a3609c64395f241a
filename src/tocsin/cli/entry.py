"""Where the console script begins: before everything else is imported, which takes half a second.

A hangup in that time would end `tocsin serve`. It is ignored: no settings have been read yet, so
there is nothing to read anew.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Sequence
from importlib import import_module


def _run() -> None:
    # Imported by its name, so that the file with all commands comes after the signal.
    import_module("tocsin.cli.main").main()


def main(words: Sequence[str] | None = None, run: Callable[[], None] = _run) -> None:
    """The console script; `words` are the command line's, without the program's name."""
    if (sys.argv[1:] if words is None else words)[:1] == ["serve"]:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    run()
