"""An app's rows, deleted in steps until nothing of it is left."""

from __future__ import annotations

from tocsin.adapters.sqlite.tables import Tables, json_text
from tocsin.store import ROWS_REMOVED_MIN, RowsRemoved

HEAVY = ROWS_REMOVED_MIN
"""What a row that holds a set counts against a step's limit: it may be megabytes."""

DOOMED = {
    # Jobs first: without its job a push goes nowhere, and no other row needs them.
    "job": ("rowid", 5),
    "dedup": ("app, key", 1),
    "handle": ("app, task, device", 1),
    "report": ("rowid", HEAVY),
    "block": ("rowid", HEAVY),
    "audience": ("rowid", HEAVY),
    "inbox": ("app, account, task", 1),
    "broad": ("app, task", 1),
    "unmerged": ("app, task", 1),
    "task": ("rowid", 5),
    "device": ("rowid", 1),
    "device_change": ("app, number", 1),
    "account": ("app, name", 1),
    "deleted_account": ("app, name", 1),
    "term": ("app, kind, name", 1),
    "change": ("rowid", 5),
    "snapshot": ("app, mark", 1),
    "credential": ("rowid", 1),
    "push_use": ("app", 1),
}
"""Every table with rows of an app but the app's own and those of `KEPT`, in the order in which they
are emptied: what tells its rows apart, and what a row counts against a step's limit."""

KEPT = ("tally", "collapse_unmarked")
"""Numbers that the app gave, and no more: they are given to nothing else, even if the app is added
again, so that nothing old is taken for something new."""

# The names are those above: nothing that anybody has told.
_DELETES = tuple(
    f"DELETE FROM {name} WHERE ({key}) IN (SELECT {key} FROM {name} WHERE app = ?1 LIMIT ?2)"  # noqa: S608
    for name, (key, _) in DOOMED.items()
)
_LOOKS = tuple(f"SELECT 1 FROM {name} WHERE app = ? LIMIT 1" for name in DOOMED)  # noqa: S608
_NAMES = "SELECT name FROM account WHERE app = ? ORDER BY name LIMIT ?"
_DELETE_ACCOUNTS = """
DELETE FROM account WHERE app = ?1 AND name IN (SELECT value FROM json_each(?2))
"""
_DELETE_APP = "DELETE FROM app WHERE app = ?"


def remove_rows(tables: Tables, app: int, limit: int) -> RowsRemoved:
    """Delete rows worth `limit` at most, the first tables first."""
    assert tables.app(app).is_being_removed, app
    assert limit >= ROWS_REMOVED_MIN, limit
    counts: dict[str, int] = {}
    left = limit
    for (name, (_, weight)), statement in zip(DOOMED.items(), _DELETES, strict=True):
        most = left // weight
        if not most:
            break
        if name == "account":
            counts[name] = _delete_accounts(tables, app, most)
        else:
            counts[name] = tables.run(statement, app, most)
        left = 0 if counts[name] == most else left - counts[name] * weight
    tables.forget_rows(app)
    tally = tables.change_tally(app)
    tally.accounts -= counts.get("account", 0)
    if counts.get("term"):
        # The tags that are left are carried by nobody: their accounts went before them.
        tally.tags_carried = 0
    return RowsRemoved(
        tasks=counts.get("task", 0),
        devices=counts.get("device", 0),
        accounts=counts.get("account", 0),
        is_empty=not any(counts.values()),
    )


def _delete_accounts(tables: Tables, app: int, most: int) -> int:
    names = [name for (name,) in tables.all(_NAMES, app, most)]
    for name in names:
        # So that nobody is answered from memory.
        tables.accounts[app, name] = None
    return tables.run(_DELETE_ACCOUNTS, app, json_text(names)) if names else 0


def remove_app(tables: Tables, app: int) -> bool:
    """Delete the app's row, if it is the last; answers whether it was."""
    assert tables.app(app).is_being_removed, app
    if any(tables.one(statement, app) for statement in _LOOKS):
        return False
    tables.run(_DELETE_APP, app)
    tables.forget_app(app)
    return True
