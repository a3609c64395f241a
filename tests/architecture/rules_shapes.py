"""Each vendor's file has the same shape, so that whoever has read one can find their way in all."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.architecture.tree import Breach, Source, imports, sources

FAMILY = "src/tocsin/channels/vendors"
REGISTRY = "src/tocsin/channels/registry.py"
SHARED = ("tocsin.channels.shared", "tocsin.channels.ios")
"""Pure pieces that several vendors' files are made of."""

ORDER = (
    "NAME",
    "NOBODY",
    "LIMITS",
    "HOSTS",
    "Settings",
    "OUTCOMES",
    "HINTS",
    "normal_token",
    "identity",
    "way",
    "nobody",
    "replaces",
    "says_something",
    "authorize",
    "made_of",
    "expires_at",
    "subscription_key",
    "devices_max",
    "prepare",
    "request",
    "read",
    "deliver",
    "recall",
    "report",
    "is_signed",
)
"""Every public name of a vendor's file, in the order in which it stands there."""

REQUIRED = (
    *("NAME", "NOBODY", "LIMITS", "HOSTS", "Settings", "OUTCOMES", "HINTS"),
    *("normal_token", "replaces", "authorize"),
)

PARAMETERS = {
    "normal_token": ("token",),
    "identity": ("token",),
    "way": ("token",),
    "nobody": ("way",),
    "replaces": ("settings", "message"),
    "says_something": ("settings", "message"),
    "authorize": ("settings", "now"),
    "made_of": ("settings", "auth_origin"),
    "expires_at": ("settings",),
    "subscription_key": ("settings",),
    "devices_max": ("settings",),
    "prepare": ("settings", "credential", "batch", "now"),
    "request": ("settings", "credential", "delivery", "now"),
    "read": ("delivery", "response"),
    "deliver": ("settings", "credential", "batch", "now"),
    "recall": ("settings", "credential", "deliveries", "now"),
    "report": ("headers", "body"),
    "is_signed": ("settings", "headers", "body", "now"),
}

SOURCED = re.compile(r"(?=.*https?://)(?=.*20\d\d-\d\d)", re.DOTALL)
"""A docstring that links the pages used and says when they were read."""

Named = tuple[str, ast.stmt]


def vendors(root: Path) -> list[Source]:
    return [source for source in sources(root, FAMILY) if Path(source.path).stem != "__init__"]


def vendors_have_one_shape(root: Path) -> list[Breach]:
    """The sections and names of style: all that are required, none besides, in order."""
    breaches = []
    for source in vendors(root):
        named = list(_named(source))
        names = [name for name, _ in named]
        breaches += [
            source.breach(1, f"a vendor's file has {name}")
            for name in REQUIRED
            if name not in names
        ]
        pair = {"request", "read"} & set(names)
        if pair not in (set(), {"request", "read"}) or bool(pair) == ("deliver" in names):
            breaches.append(source.breach(1, "either request and read, or deliver"))
        breaches += _out_of_order(source, named)
        breaches += _imported(source)
        if not SOURCED.match(ast.get_docstring(source.tree) or ""):
            breaches.append(source.breach(1, "the docstring links the pages used, with their date"))
    return breaches


def _imported(source: Source) -> list[Breach]:
    """Common names that a vendor's file imports: the registry would take them for its own."""
    found = (node for node in source.tree.body if isinstance(node, ast.ImportFrom))
    return [
        source.breach(node, f"{alias.asname or alias.name} is imported, and is no member of this")
        for node in found
        for alias in node.names
        if (alias.asname or alias.name) in ORDER
    ]


def vendors_take_the_same_parameters(root: Path) -> list[Breach]:
    """The driver calls every vendor alike."""
    breaches = []
    for source in vendors(root):
        for name, node in _named(source):
            if name in PARAMETERS and isinstance(node, ast.FunctionDef):
                given = tuple(arg.arg for arg in node.args.posonlyargs + node.args.args)
                if given != PARAMETERS[name]:
                    breaches.append(source.breach(node, f"{name} takes {PARAMETERS[name]}"))
    return breaches


def vendors_are_pure(root: Path) -> list[Breach]:
    """A vendor is a conversation: no await; of ours it knows ports, domain, shared pieces."""
    breaches = []
    for source in vendors(root):
        breaches += [
            source.breach(node, "no await and no async in a vendor's file")
            for node in source.nodes
            if isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncFor | ast.AsyncWith)
        ]
        breaches += [
            source.breach(found.node, f"a vendor's file imports nothing of {found.module}")
            for found in imports(source)
            if found.module.split(".")[0] == "tocsin"
            and found.module.split(".")[1] not in ("conversation", "ports", "domain")
            and not found.module.startswith(SHARED)
        ]
    return breaches


def the_registry_lists_every_vendor(root: Path) -> list[Breach]:
    """Whoever adds a vendor adds a line, in alphabetical order, and the reviewer sees it."""
    there = [Path(source.path).stem for source in vendors(root)]
    path = root / REGISTRY
    if not there and not path.exists():
        return []
    if not path.exists():
        return [Breach(REGISTRY, 1, f"no registry for {there}")]
    registry = Source(REGISTRY, path.read_text(encoding="utf-8"))
    listed = [
        (element.id, element)
        for node in registry.tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Tuple)
        for element in node.value.elts
        if isinstance(element, ast.Name)
    ]
    if [name for name, _ in listed] == sorted(there):
        return []
    return [registry.breach(1, f"lists {[name for name, _ in listed]}, there are {there}")]


def _named(source: Source) -> Iterator[Named]:
    for node in source.tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name, node
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id, node
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    yield target.id, node


def _out_of_order(source: Source, named: list[Named]) -> Iterator[Breach]:
    last = -1
    helper_seen = ""
    for name, node in named:
        is_constant = isinstance(node, ast.Assign | ast.AnnAssign)
        if name in ORDER:
            if helper_seen:
                yield source.breach(node, f"{name} after the private {helper_seen}; helpers last")
            if ORDER.index(name) < last:
                yield source.breach(node, f"{name} stands after {ORDER[last]}")
            last = max(last, ORDER.index(name))
        elif is_constant:
            # Further tables and figures stand beside what they explain.
            if name.upper() != name:
                yield source.breach(node, f"{name}: constants are capitals")
        elif name.startswith("_"):
            helper_seen = name
        else:
            yield source.breach(node, f"{name} is not one of the common names")


SHAPE_RULES = (
    vendors_have_one_shape,
    vendors_take_the_same_parameters,
    vendors_are_pure,
    the_registry_lists_every_vendor,
)
