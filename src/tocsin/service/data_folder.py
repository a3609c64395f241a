"""Checks a data folder before it is opened: its database and its secret key belong together.

A folder that has lost a part looks like a new one. Serving it would make a second key beside
secrets that only the first key opens, or number accounts and pushes from 1 again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from tocsin.adapters.erasures import FILE as ERASURES
from tocsin.adapters.vault import (
    FORMER_VARIABLE,
    KEY_VARIABLE,
    AesVault,
    create_key,
    has_key,
    load_keys,
    remove_drafts,
)
from tocsin.config import Config
from tocsin.domain.app import App
from tocsin.errors import SetupError
from tocsin.pipeline.app_secrets import AppSecrets, has_secrets

INDEX = "index"
KEY_FILE = "secret.key"
RESTORING = "restoring"
"""Folder in which a restore builds the database; removed when the database is in its place."""
MODE_ADVICE = (
    "chmod 600 DIR/secret.key if it is the right one, else put the right one back; "
    "what was sealed with another key stays sealed"
)
KEY_ADVICE = (
    f"put the right one back, or set {KEY_VARIABLE} to its content (and {FORMER_VARIABLE} to that "
    "of the one before it); without it the app keys and credentials of this folder are lost: begin "
    "with another --data"
)
EMPTIED_ADVICE = (
    "put the database back (tocsin restore brings a backup into a new folder), or begin anew with "
    "another --data"
)


def folder_keys(folder: Path, config: Config, apps: Sequence[App]) -> list[bytes]:
    """The folder's secret key, followed by a former key; a new key where nothing is sealed yet.

    Raises `SetupError` if the key is missing or of the wrong form, may be read by others, or does
    not open the secrets of `apps`. Then nothing is written.
    """
    path = folder / KEY_FILE
    environment = key_environment(config)
    is_sealed = any(has_secrets(app) for app in apps)
    try:
        if not has_key(path, environment):
            if is_sealed:
                raise SetupError(f"the data folder {folder} has lost its {KEY_FILE}", KEY_ADVICE)
            # The folder holds keys, so only its owner may read it.
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            create_key(path)
        keys = read_keys(folder, config)
        remove_drafts(path)
    except OSError as fault:
        raise unusable(folder, fault) from fault
    except ValueError as fault:
        raise SetupError(f"the secret key cannot be used: {fault}", MODE_ADVICE) from fault
    refuse_another(keys, apps, KEY_VARIABLE if environment else str(path))
    return keys


def refuse_another(keys: Sequence[bytes], apps: Sequence[App], where: str) -> None:
    """Raises `SetupError` if the keys do not open every secret of `apps`."""
    app_secrets = AppSecrets(AesVault(*keys))
    unopened = [app for app in apps if not app_secrets.opens(app)]
    if unopened:
        whose = f"{len(unopened)} of the {len(apps)} apps" if len(apps) > 1 else "the app"
        what = f"{where} is another key: it does not open what {whose} sealed"
        raise SetupError(what, KEY_ADVICE)


def missing(folder: Path) -> SetupError:
    """The fault of a folder without a database: making one would hide a mistyped name."""
    what = "is no data folder: it has no database" if folder.is_dir() else "does not exist"
    return SetupError(
        f"{folder} {what}",
        "name the service's folder: --data DIR (or TOCSIN_DATA). A new one is made by tocsin serve "
        "--data DIR, and without a service by tocsin app add --new",
    )


def read_keys(folder: Path, config: Config) -> list[bytes]:
    """The secret key and a former key; raises like `load_keys`."""
    return load_keys(folder / KEY_FILE, key_environment(config))


def refuse_emptied(folder: Path, *, has_database: bool) -> None:
    """Raises `SetupError` for a folder that has lost its database, or has an empty one instead.

    Other files of the folder show that there was a database. A first start that was killed leaves
    none of them.
    """
    staging = folder / RESTORING
    if staging.is_dir() and (any(staging.glob("*.db")) or not has_database):
        raise SetupError(
            f"a restore into {folder} was not finished",
            f"run it again (tocsin restore BACKUP --replace --data {folder}), or remove {staging} "
            "to go on with what was there before",
        )
    witness = ERASURES if (folder / ERASURES).exists() else ""
    if any(folder.glob("replaced-*/")):
        witness = "replaced-…/"
    if any((folder / INDEX).glob("*/manifest")):
        witness = f"{INDEX}/"
    if witness and not has_database:
        raise SetupError(
            f"the data folder {folder} has lost its database: {witness} says that it had one",
            EMPTIED_ADVICE,
        )


def unusable(folder: Path, fault: OSError) -> SetupError:
    """The fault of a folder that cannot be read or written."""
    return SetupError(
        f"the data folder {folder} cannot be used: {fault}",
        "a folder that this user may write to: --data DIR",
    )


def key_environment(config: Config) -> Mapping[str, str]:
    """The keys that the settings give, by the name of their environment variable."""
    keys = {KEY_VARIABLE: config.secret.key, FORMER_VARIABLE: config.secret.former_key}
    return {name: text for name, text in keys.items() if text}
