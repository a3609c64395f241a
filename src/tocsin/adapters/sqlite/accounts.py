"""Accounts and terms: whole documents by name, in few statements however many are named.

Each statement gives up the interpreter's lock and has to get it back, so a hundred accounts are
read by one statement that answers one row, and written by one.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from pyroaring import BitMap

from tocsin.adapters.sqlite.cache import Missing
from tocsin.adapters.sqlite.devices import delete_devices_of
from tocsin.adapters.sqlite.tables import TERMS_MAX, Tables, integers, json_text
from tocsin.domain.account import (
    TAG,
    Account,
    AccountsEdit,
    AccountsView,
    Change,
    Term,
    TermKey,
)

_BY_NAME = """
SELECT '[' || group_concat(a.doc) || ']'
FROM json_each(?2) AS asked CROSS JOIN account AS a ON a.app = ?1 AND a.name = asked.value
"""
_NAMES = """
SELECT a.number, a.name
FROM carray(?2) AS asked CROSS JOIN account AS a INDEXED BY account_number
ON a.app = ?1 AND a.number = asked.value
"""
_SCAN = """
SELECT '[' || group_concat(doc) || ']' FROM (
    SELECT doc FROM account INDEXED BY account_number
    WHERE app = ?1 AND number > ?2 ORDER BY number LIMIT ?3
)
"""
_PREFIXED = """
SELECT name FROM account
WHERE app = ?1 AND name >= ?2 AND name < ?2 || char(1114111) AND doc ->> 2 = ?3
ORDER BY name LIMIT ?4
"""
_CREATE = """
INSERT INTO account (app, name, number, doc)
SELECT ?1, each.value ->> 1, each.value ->> 0, each.value FROM json_each(?2) AS each
"""
_REPLACE = """
INSERT INTO account (app, name, number, doc)
SELECT ?1, each.value ->> 1, each.value ->> 0, each.value FROM json_each(?2) AS each WHERE true
ON CONFLICT (app, name) DO UPDATE SET doc = excluded.doc WHERE number = excluded.number
"""
_DELETE = "DELETE FROM account WHERE app = ? AND name = ? AND number = ?"
_DELETED_AT = """
SELECT d.name, d.at
FROM json_each(?2) AS asked CROSS JOIN deleted_account AS d ON d.app = ?1 AND d.name = asked.value
"""
_SET_DELETED_AT = "INSERT OR REPLACE INTO deleted_account (app, name, at) VALUES (?, ?, ?)"
_RETURNED = """
DELETE FROM deleted_account WHERE app = ?1 AND name IN (SELECT value FROM json_each(?2))
"""
_TERMS = """
SELECT t.number, t.kind, t.name, t.account_type, t.holders
FROM json_each(?2) AS asked CROSS JOIN term AS t
ON t.app = ?1 AND t.kind = asked.value ->> 0 AND t.name = asked.value ->> 1
"""
_CREATE_TERMS = """
INSERT INTO term (app, number, kind, name, account_type, holders)
SELECT ?1, each.value ->> 0, each.value ->> 1, each.value ->> 2, each.value ->> 3, each.value ->> 4
FROM json_each(?2) AS each
"""
_EMPTY_TERMS = """
SELECT number, kind, name FROM term INDEXED BY term_empty
WHERE app = ? AND holders = 0 ORDER BY number LIMIT ?
"""
_DELETE_TERM = "DELETE FROM term WHERE app = ? AND kind = ? AND name = ?"
_APPEND_CHANGE = "INSERT INTO change (app, position, doc) VALUES (?, ?, ?)"
_CHANGES = """
SELECT position, doc FROM change WHERE app = ? AND position > ? ORDER BY position LIMIT ?
"""
_CUT_CHANGES = "DELETE FROM change WHERE app = ? AND position <= ?"
_DROP_MARKS = "DELETE FROM snapshot WHERE app = ? AND mark <> ?"
_ADD_MARK = "INSERT OR REPLACE INTO snapshot (app, mark, position) VALUES (?, ?, ?)"
_MARKED = "SELECT position FROM snapshot WHERE app = ? AND mark = ?"


def read_accounts(tables: Tables, app: int, names: Sequence[str]) -> dict[str, Account]:
    """The accounts that exist, from the table."""
    docs = tables.value(_BY_NAME, app, json_text(list(dict.fromkeys(names)))) if names else None
    return {account.name: account for account in _decode(docs)}


def find_accounts(tables: Tables, app: int, names: Sequence[str]) -> dict[str, Account]:
    """The accounts that exist, from memory where it knows them: for the writer."""
    known = dict(zip(names, tables.known_accounts(app, names), strict=True))
    missing = [name for name, account in known.items() if isinstance(account, Missing)]
    read = read_accounts(tables, app, missing) if missing else {}
    found: dict[str, Account] = {}
    for name, account in known.items():
        present = read.get(name) if isinstance(account, Missing) else account
        if present is not None:
            found[name] = present
    return found


def read_names(tables: Tables, app: int, numbers: BitMap) -> dict[int, str]:
    return dict(tables.all(_NAMES, app, integers(numbers))) if numbers else {}


def scan_accounts(tables: Tables, app: int, after: int, limit: int) -> list[Account]:
    return _decode(tables.value(_SCAN, app, after, limit))


def read_prefixed(
    tables: Tables, app: int, prefix: str, account_type: int, limit: int
) -> list[str]:
    """Names of accounts of a type that begin with a prefix, in their order."""
    return [name for (name,) in tables.all(_PREFIXED, app, prefix, account_type, limit)]


def _decode(docs: str | None) -> list[Account]:
    return msgspec.json.decode(docs, type=list[Account]) if docs else []


def read_terms(tables: Tables, app: int, keys: Sequence[TermKey]) -> dict[TermKey, Term]:
    """The terms that exist, from the table."""
    rows = tables.all(_TERMS, app, json_text(list(dict.fromkeys(keys)))) if keys else []
    terms = (Term(*row) for row in rows)
    return {(term.kind, term.name): term for term in terms}


def find_terms(tables: Tables, app: int, keys: Sequence[TermKey]) -> dict[TermKey, Term]:
    """The terms that exist, from memory where it knows them: for the writer."""
    found = tables.known_terms(app, keys)
    missing = [key for key in keys if key not in found]
    for key, term in (read_terms(tables, app, missing) if missing else {}).items():
        found[key] = tables.remember(tables.terms, (app, *key), term, TERMS_MAX)
    return found


def view_accounts(
    tables: Tables, app: int, names: Sequence[str], keys: Sequence[TermKey]
) -> AccountsView:
    """What a decision about these accounts has to know."""
    row = tables.app(app)
    accounts = find_accounts(tables, app, names)
    carried = (key for account in accounts.values() for key in account.term_keys())
    wanted = list(dict.fromkeys([*keys, *carried]))
    gone = [name for name in names if name not in accounts]
    times = tables.all(_DELETED_AT, app, json_text(gone)) if gone else []
    tally = tables.tally(app)
    return AccountsView(
        app=row,
        accounts=accounts,
        terms=find_terms(tables, app, wanted),
        tags_carried=tally.tags_carried,
        next_account=tally.account + 1,
        next_term=tally.term + 1,
        account_count=tally.accounts,
        deleted_at=dict(times),
    )


def write_accounts(tables: Tables, app: int, edit: AccountsEdit, now: float) -> None:
    """Write what a decision about accounts says."""
    if edit.deleted:
        _delete(tables, app, edit.deleted)
        if edit.keeps_names:
            names = [account.name for account in edit.deleted]
            tables.many(_SET_DELETED_AT, [(app, name, now) for name in names])
    if edit.accounts:
        _write(tables, app, edit.accounts)
    if edit.terms:
        _write_terms(tables, app, edit.terms)
    if edit.changes:
        tally = tables.change_tally(app)
        tally.change += 1
        tables.run(_APPEND_CHANGE, app, tally.change, msgspec.msgpack.encode(edit.changes))


def _delete(tables: Tables, app: int, accounts: Sequence[Account]) -> None:
    for account in accounts:
        assert tables.run(_DELETE, app, account.name, account.number) == 1, account.name
        tables.accounts[app, account.name] = None
    tables.change_tally(app).accounts -= len(accounts)
    delete_devices_of(tables, app, [account.number for account in accounts])


def _write(tables: Tables, app: int, accounts: Sequence[Account]) -> None:
    last = tables.tally(app).account
    born = [account for account in accounts if account.number > last]
    known = [account for account in accounts if account.number <= last]
    if born:
        tables.give(app, "account", (account.number for account in born))
        tables.run(_CREATE, app, json_text(born))
        tables.run(_RETURNED, app, json_text([account.name for account in born]))
        tables.change_tally(app).accounts += len(born)
    if known:
        changed = tables.run(_REPLACE, app, json_text(known))
        assert changed == len(known), "an account's number is not its own"
    for account in accounts:
        tables.accounts[app, account.name] = account


def _write_terms(tables: Tables, app: int, terms: Sequence[Term]) -> None:
    before = find_terms(tables, app, [(term.kind, term.name) for term in terms])
    born = [term for term in terms if (term.kind, term.name) not in before]
    known = [term for term in terms if (term.kind, term.name) in before]
    tally = tables.change_tally(app)
    for term in terms:
        if term.kind == TAG:
            was = before.get((term.kind, term.name))
            tally.tags_carried += (term.uses > 0) - (was is not None and was.uses > 0)
    if born:
        tables.give(app, "term", (term.number for term in born))
        tables.run(_CREATE_TERMS, app, json_text(born))
    for term in known:
        assert term.number == before[term.kind, term.name].number, "a term's number is not its own"
        tables.used_terms[app, term.kind, term.name] = term
    for term in terms:
        tables.remember(tables.terms, (app, term.kind, term.name), term, TERMS_MAX)


def retire_terms(tables: Tables, app: int, limit: int) -> list[int]:
    # What this transaction has yet to write is not touched: it retires the next time.
    rows = [
        row
        for row in tables.all(_EMPTY_TERMS, app, limit)
        if not tables.has_unwritten_uses(app, row)
    ]
    for _, kind, name in rows:
        tables.run(_DELETE_TERM, app, kind, name)
        tables.terms.pop((app, kind, name), None)
    return [number for number, _, _ in rows]


def read_changes(
    tables: Tables, app: int, after: int, limit: int
) -> list[tuple[int, list[Change]]]:
    rows = tables.all(_CHANGES, app, after, limit)
    return [(position, msgspec.msgpack.decode(doc, type=list[Change])) for position, doc in rows]


def cut_changes(tables: Tables, app: int, upto: int) -> None:
    tables.run(_CUT_CHANGES, app, upto)


def mark_snapshot(tables: Tables, app: int, marked: tuple[bytes, int], keep: bytes) -> None:
    assert tables.app(app).sdkappid == app
    tables.run(_DROP_MARKS, app, keep)
    tables.run(_ADD_MARK, app, *marked)


def marked_position(tables: Tables, app: int, mark: bytes) -> int | None:
    position: int | None = tables.value(_MARKED, app, mark)
    return position
