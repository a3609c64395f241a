"""Reads the files that a command's options name; an unusable file is a `CommandFault`."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from tocsin.channels import credential_files
from tocsin.channels.credential_files import UnusableFile
from tocsin.cli.screen import EXIT_USAGE, CommandFault


def read_settings(path: Path, names: Collection[str], password: str) -> dict[str, Any]:
    """The settings with these names, from a file."""
    try:
        return credential_files.read_settings(path, names, password)
    except UnusableFile as fault:
        raise CommandFault(str(fault), exit_code=EXIT_USAGE) from fault


def read_value(path: Path) -> str:
    """The value that a file holds."""
    try:
        return credential_files.read_value(path)
    except UnusableFile as fault:
        raise CommandFault(str(fault), exit_code=EXIT_USAGE) from fault
