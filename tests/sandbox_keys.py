"""The keys of the sandboxes that one test process starts: made once, since they take a while."""

from __future__ import annotations

import atexit
import functools
import tempfile


@functools.cache
def keys_folder() -> str:
    """A folder of keys for `SandboxSettings.folder`, gone when the process ends."""
    folder = tempfile.TemporaryDirectory(prefix="tocsin-keys-")
    atexit.register(folder.cleanup)
    return folder.name
