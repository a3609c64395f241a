"""Names: the name of a class stands for one thing in the whole package."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

from tests.architecture.tree import Breach, Source, package

COMMON_SHAPE = ("Settings",)
"""Each file of `channels/` that knows a vendor has its own: that is the shape of the family."""


def class_names_are_defined_once(root: Path) -> list[Breach]:
    """A public class has a name of its own, so that a reader can look it up without its file."""
    breaches = []
    for name, places in _classes(root).items():
        first, *others = places
        breaches += [
            source.breach(node, f"class {name} is defined in {first[0].path} too")
            for source, node in others
        ]
    return breaches


def _classes(root: Path) -> dict[str, list[tuple[Source, ast.ClassDef]]]:
    classes: dict[str, list[tuple[Source, ast.ClassDef]]] = defaultdict(list)
    for source in package(root):
        for node in source.nodes:
            if not isinstance(node, ast.ClassDef) or node.name.startswith("_"):
                continue
            if not (source.package == "channels" and node.name in COMMON_SHAPE):
                classes[node.name].append((source, node))
    return classes
