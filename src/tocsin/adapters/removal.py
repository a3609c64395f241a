"""What the memory store deletes of an app that is being removed."""

from __future__ import annotations

from typing import Any

from tocsin.adapters.app_rows import AppRows, Journal
from tocsin.store import RowsRemoved

ROWS = (
    *("jobs", "dedups", "handles", "lines", "unmerged", "audiences", "tasks", "task_of"),
    *(
        "devices",
        "device_changes",
        "device_of",
        "route_of",
        "owned",
        "accounts",
        "names",
        "deleted_at",
    ),
    *("terms", "changes", "snapshot_marks", "credentials", "use"),
)
"""All that a app_rows has but the app's own row and the numbers that were given."""


def remove_rows(step: Journal, limit: int) -> RowsRemoved:
    """Delete up to `limit` rows."""
    app_rows = step.app_rows
    counts: dict[str, int] = {}
    left = limit
    for name in ROWS:
        rows: dict[Any, Any] = getattr(app_rows, name)
        keys = list(rows)[:left]
        for key in keys:
            if name == "devices":
                step.drop_device(rows[key])
            elif name == "accounts":
                step.drop(app_rows.names, rows[key].number)
                step.drop(rows, key)
            else:
                step.drop(rows, key)
        counts[name] = len(keys)
        left -= len(keys)
    return RowsRemoved(
        tasks=counts["tasks"],
        devices=counts["devices"],
        accounts=counts["accounts"],
        is_empty=not any(counts.values()),
    )


def has_rows(app_rows: AppRows) -> bool:
    """Whether anything is left but the app's own row."""
    return any(getattr(app_rows, name) for name in ROWS)
