"""Figures are counted as the table says, and the table holds no row that nobody counts."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.architecture.tree import Breach, Source, dotted, package
from tocsin.metrics import TABLE

METHODS = {"count": "counter", "set": "gauge", "add": "gauge", "observe": "histogram"}
"""What is called on the metrics, and which kind of row it is for."""

WHERE = "src/tocsin/metrics.py"


def figures_are_in_the_table(root: Path) -> list[Breach]:
    """Each call names a row of its kind and gives exactly its labels."""
    rows = {row.name: row for row in TABLE}
    breaches = []
    for source in package(root):
        for call, method, name in _figures(source):
            row = rows.get(name)
            given = {keyword.arg for keyword in call.keywords if keyword.arg}
            if row is None:
                breaches.append(source.breach(call, f"no row {name!r} in metrics.TABLE"))
            elif row.kind != METHODS[method]:
                breaches.append(source.breach(call, f"{name} is a {row.kind}, not to {method}"))
            elif given != set(row.labels):
                breaches.append(source.breach(call, f"{name} has labels {row.labels}"))
    return breaches


def every_row_is_counted(root: Path) -> list[Breach]:
    """A row that nothing raises would stand at zero and look like good news."""
    counted = {name for source in package(root) for _, _, name in _figures(source)}
    return [
        Breach(WHERE, 1, f"nothing counts {row.name}") for row in TABLE if row.name not in counted
    ]


def _figures(source: Source) -> Iterator[tuple[ast.Call, str, str]]:
    for node in source.nodes:
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        holder = dotted(node.func.value).rsplit(".", 1)[-1].lstrip("_")
        first = node.args[0] if node.args else None
        is_figure = holder == "metrics" and node.func.attr in METHODS
        if is_figure and isinstance(first, ast.Constant) and isinstance(first.value, str):
            yield node, node.func.attr, first.value


METRIC_RULES = (figures_are_in_the_table, every_row_is_counted)
