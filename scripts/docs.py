"""Write the generated pages and the example of settings from the tables in the code: `make docs`.

A test compares each page with the page that this file makes, so a table and its page cannot part.
Each table is imported when its page is made: a table that cannot be imported spoils no other page.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
# Run as a file, this one finds its neighbours (`scripts.evidence`) like the tests do.
sys.path.append(str(ROOT))


class Page(NamedTuple):
    """One generated file: its path, the table it is made from, and how."""

    name: str
    module: str
    table: str
    render: Callable[[Any], str]


def errors_page(codes: Sequence[Any]) -> str:
    rows = [(row.number, f"`{row.name}`", row.text, row.help) for row in codes]
    return page(
        "Error codes",
        "Every `ErrorCode` that an answer can carry; 0 is OK. Numbers keep their meaning for ever, "
        "texts may change. `ErrorInfo` says more where more is known.",
        table(("Code", "Name", "Says", "What to do"), rows),
    )


def metrics_page(metrics: Sequence[Any]) -> str:
    rows = [
        (f"`{row.exported}`", row.kind, ", ".join(f"`{name}`" for name in row.labels), row.help)
        for row in metrics
    ]
    return page(
        "Metrics",
        "What `GET /metrics` shows, in Prometheus' text format, beside the figures of the process "
        "itself (`process_*`, `python_info`). Spans are in seconds, sizes in bytes. It listens at "
        "`metrics.listen` ([settings](settings.md)), by default on loopback: "
        "`curl http://127.0.0.1:9464/metrics`. With `metrics.token` set, callers say "
        "`Authorization: Bearer TOKEN`. What alerts look at (`alarms`, `breaker_state`, "
        "`credential_stopped`, `data_free_bytes`, `loop_errors`) is there from the first look on, "
        "with 0.",
        table(("Name", "Kind", "Labels", "Meaning"), rows),
    )


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell(text) for text in line) + " |" for line in lines)


def cell(text: object) -> str:
    return str(text).replace("|", "\\|").replace("\n", " ")


def page(title: str, about: str, *parts: str) -> str:
    made = "<!-- Made by `make docs` from the tables in the code. Edit those instead. -->"
    return "\n\n".join([f"# {title}", made, about, *parts]) + "\n"


def made_there(made: Callable[[], str]) -> str:
    """A page that the module of its table words by itself."""
    return made()


PAGES = (
    Page("docs/evidence.md", "scripts.evidence", "page", made_there),
    Page("docs/commands.md", "scripts.commands_page", "page", made_there),
    Page("docs/errors.md", "tocsin.errors", "CODES", errors_page),
    Page("docs/frames.md", "tocsin.online.published", "page", made_there),
    Page("docs/frames.schema.json", "tocsin.online.published", "schema_file", made_there),
    Page("docs/metrics.md", "tocsin.metrics", "TABLE", metrics_page),
    Page("docs/settings.md", "tocsin.cli.settings_page", "page", made_there),
    Page("tocsin.example.toml", "tocsin.cli.settings_page", "example", made_there),
    Page("docs/cli.md", "tocsin.cli.page", "page", made_there),
)


def rendered(of: Page) -> str:
    return of.render(getattr(import_module(of.module), of.table))


def main() -> None:
    for each in PAGES:
        (ROOT / each.name).write_text(rendered(each), encoding="utf-8")
        sys.stdout.write(f"{each.name}\n")


if __name__ == "__main__":
    main()
