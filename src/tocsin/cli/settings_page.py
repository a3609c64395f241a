"""Makes docs/settings.md and tocsin.example.toml from the tree of settings."""

from __future__ import annotations

from typing import Any

import msgspec

from tocsin.config import settings

APPS = """
## Apps and credentials

`[[apps]]` declares an app, `[[apps.credentials]]` its credentials, so that a container comes up
with both; see [credentials](credentials.md#without-a-command). `TOCSIN_APPS` holds the same as a
JSON array.
"""
APPS_EXAMPLE = """\
# Apps and their credentials, without a command: docs/credentials.md.
# [[apps]]
# sdkappid = 1400000001
# key_file = "/run/secrets/app-key"
# admins = ["admin"]
# [[apps.credentials]]
# name = "apple"
# vendor = "apns"
# file = "/run/secrets/AuthKey_ABC123DEFG.p8"
# settings = { team_id = "TEAM123456", bundle_id = "com.example.app" }
"""
ABOUT = """# Settings

<!-- Made by `make docs` from `src/tocsin/config.py`. Edit that instead. -->

Sources in order: defaults, the file given with `--config`, the environment, the command line. In
the environment a list has commas between.

`tocsin check-config tocsin.toml` prints everything that is wrong in one run; `tocsin show-config`
prints the settings in force.

`tocsin reload` (and SIGHUP) takes the settings marked with "yes" while the service runs. A change
of any other setting is named there and in the log, and waits for a restart. Environment variables
are those of the process: they change with a restart alone.

| Setting | Environment | Default | Reload | What it does |
|---|---|---|---|---|
"""


def page() -> str:
    """docs/settings.md."""
    lines = []
    for each in settings():
        default = _toml(each.default)
        now = "yes" if each.is_reloadable else ""
        names = f"`{each.path}` | `{each.variable}`"
        lines.append(f"| {names} | `{default}` | {now} | {each.sentence} |\n")
    return ABOUT + "".join(lines) + APPS


def example() -> str:
    """tocsin.example.toml: every setting with its default, commented out."""
    lines = ["# Every setting with its default. Take out the # of what you change.", ""]
    section = ""
    for each in settings():
        head, _, name = each.path.rpartition(".")
        if head != section:
            section = head
            lines += [f"[{section}]", ""]
        lines += [f"# {each.sentence} ({each.kind})", f"#{name} = {_toml(each.default)}", ""]
    return "\n".join([*lines, APPS_EXAMPLE])


def _toml(value: Any) -> str:
    return msgspec.json.encode(value).decode()
