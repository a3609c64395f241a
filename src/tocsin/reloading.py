"""Takes settings into a running service: at its start, and again at each reload."""

from __future__ import annotations

import sys

from tocsin.config import Config
from tocsin.errors import SetupError
from tocsin.log import LogFile, configure

LOG_ADVICE = "log.file names a file in a folder that is there and that this user may write to"


def start_log(config: Config) -> None:
    """Log as the settings say, to a file opened anew; raises `SetupError` where that cannot be."""
    log = config.log
    file = LogFile(path=log.file, max_bytes=log.file_max_bytes, kept=log.files_kept)
    try:
        configure(
            log.level,
            json=log.format == "json",
            stream=sys.stderr,
            file=file if log.file else None,
        )
    except OSError as fault:
        what = f"cannot log to {log.file}: {fault.strerror or fault}"
        raise SetupError(what, LOG_ADVICE) from fault
