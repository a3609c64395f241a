"""The files of a command's options; what cannot be used is said as a command says it."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from tocsin.channels import credential_files
from tocsin.channels.credential_files import UnusableFile
from tocsin.cli.screen import EXIT_USAGE, Fault


def read_settings(path: Path, names: Collection[str], password: str) -> dict[str, Any]:
    """What a file says of the settings with these names."""
    try:
        return credential_files.read_settings(path, names, password)
    except UnusableFile as fault:
        raise Fault(str(fault), exit_code=EXIT_USAGE) from fault


def read_value(path: Path) -> str:
    """A value that stands in a file of its own."""
    try:
        return credential_files.read_value(path)
    except UnusableFile as fault:
        raise Fault(str(fault), exit_code=EXIT_USAGE) from fault
