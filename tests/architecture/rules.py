"""The layers and the imports between them, as functions from a root folder to its breaches.

Each rule can be pointed at any folder, so that a canary can plant a fault in a small tree of its
own and see it caught (`test_canaries.py`).
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.architecture.tree import Breach, Import, Source, dotted, imports, package, package_of

LAYERS: tuple[tuple[str, ...], ...] = (
    (
        "clock",
        "errors",
        "log",
        "metrics",
        "settings",
        "shared_read",
    ),
    ("domain",),
    ("conversation", "ports", "store"),
    ("adapters", "channels", "online", "pipeline", "sandbox"),
    ("api", "config", "http_server"),
    ("service",),
    ("cli", "demo", "client"),
)
"""The packages and single files of each layer, the lowest layer first."""

USERS_MIN = 2
"""Packages that need a module at the top of the tree."""

NEIGHBOURLY = (0, 2, 6)
"""Layers whose packages may import each other."""

PUBLIC_ONLY = ("client", "demo")
"""Packages that speak the public API and so know nothing of how it is served."""

INSIDE = (
    "adapters",
    "api",
    "channels",
    "config",
    "conversation",
    "http_server",
    "online",
    "pipeline",
    "ports",
    "service",
    "store",
)

OPENING = "tocsin.service.opening"
"""Where an adapter is chosen, and with it the client library that only this one needs."""

HTTP_PACKAGES = ("adapters/http", "client", "demo")

LIBRARY_PLACES: dict[str, tuple[str, ...]] = {
    "aiohttp": HTTP_PACKAGES,
    "apsw": ("adapters/sqlite",),
    "httpx": HTTP_PACKAGES,
    "pycurl": ("adapters/http1",),
    "pyreqwest": HTTP_PACKAGES,
    "requests": HTTP_PACKAGES,
    "urllib.request": HTTP_PACKAGES,
    "http.client": HTTP_PACKAGES,
}
"""The only files and packages that import each client library."""


ENTRY = "tocsin.cli.entry"
"""Where the console script begins."""


def layer_of(name: str) -> int | None:
    for layer, names in enumerate(LAYERS):
        if name in names:
            return layer
    return None


def every_package_has_a_layer(root: Path) -> list[Breach]:
    """A new file or folder in the package is given a layer before anything is built on it."""
    return [
        source.breach(1, f"package {source.package!r} has no layer; name it in LAYERS")
        for source in package(root)
        if not source.is_init and layer_of(source.package) is None
    ]


def top_modules_are_shared(root: Path) -> list[Breach]:
    """A module at the top of the tree serves two packages or more; else it belongs into one."""
    users: dict[str, set[str]] = {}
    for source, found in _own_imports(root):
        users.setdefault(package_of(found.module), set()).add(source.package)
    return [
        source.breach(1, f"only {sorted(users.get(source.package, set()))} need it: move it there")
        for source in package(root)
        if source.module.count(".") == 1
        and not source.is_init
        and len(users.get(source.package, set()) - {source.package}) < USERS_MIN
    ]


def imports_go_down(root: Path) -> list[Breach]:
    """An import goes to a lower layer or stays in its package; packages of a layer do not meet."""
    breaches = []
    for source, found in _own_imports(root):
        why = _why_not(source.package, package_of(found.module))
        if why:
            breaches.append(source.breach(found.node, f"{why}: {found.module}"))
    return breaches


def _why_not(here: str, there: str) -> str | None:
    if here == there or not here or not there:
        return None
    above, below = layer_of(here), layer_of(there)
    if above is None or below is None:
        return None
    if below > above:
        return f"{here} (layer {above}) imports upwards from {there} (layer {below})"
    if below == above and above not in NEIGHBOURLY:
        return f"{here} and {there} are both of layer {above} and never import each other"
    if here in PUBLIC_ONLY and there in INSIDE:
        return f"{here} speaks only the public API and imports nothing of {there}"
    return None


def no_circles(root: Path) -> list[Breach]:
    """No module reaches itself by imports, not even inside one folder."""
    by_name = {source.module: source for source in package(root)}
    graph: dict[str, dict[str, ast.stmt]] = {name: {} for name in by_name}
    for source, found in _own_imports(root):
        if found.module in by_name and found.module != source.module:
            graph[source.module].setdefault(found.module, found.node)
    breaches = []
    for name in sorted(graph):
        circle = _way_back(graph, name)
        # Each circle is told once, by its first member.
        if circle and name == min(circle):
            node = graph[name][circle[1]]
            breaches.append(by_name[name].breach(node, f"circle: {' -> '.join(circle)}"))
    return breaches


def _way_back(graph: dict[str, dict[str, ast.stmt]], start: str) -> list[str]:
    """The shortest chain of imports from a module to itself, or nothing."""
    chains, seen = [[start]], {start}
    while chains:
        chain = chains.pop(0)
        for following in sorted(graph[chain[-1]]):
            if following == start:
                return [*chain, start]
            if following not in seen:
                seen.add(following)
                chains.append([*chain, following])
    return []


def init_files_are_empty(root: Path) -> list[Breach]:
    """Names are imported from the file that defines them."""
    return [
        source.breach(1, "an __init__.py is empty: import names from where they are defined")
        for source in package(root)
        if source.is_init and source.text.strip()
    ]


def imports_stand_at_the_top(root: Path) -> list[Breach]:
    """Nothing is imported inside a function, class or condition, except where a store is chosen.

    The console script's entry takes what a signal does before it imports all commands.
    """
    breaches = []
    for source in package(root):
        if source.module in (OPENING, ENTRY):
            continue
        top = {id(node) for node in source.tree.body}
        for node in source.nodes:
            if isinstance(node, ast.Import | ast.ImportFrom) and id(node) not in top:
                breaches.append(source.breach(node, "imports stand at the top of the file"))
            if isinstance(node, ast.Call) and _is_dynamic_import(node):
                breaches.append(source.breach(node, "only the opening imports by name at run time"))
    return breaches


def _is_dynamic_import(call: ast.Call) -> bool:
    return dotted(call.func).rsplit(".", 1)[-1] in ("import_module", "__import__")


def libraries_keep_to_their_places(root: Path) -> list[Breach]:
    """A client library is imported only in the places that `LIBRARY_PLACES` lists."""
    breaches = []
    for source in package(root):
        here = source.path.removeprefix("src/tocsin/").removesuffix(".py")
        for found in _outside_imports(source):
            for library, places in LIBRARY_PLACES.items():
                if not _is_inside(found.module, library, "."):
                    continue
                if not any(_is_inside(here, place, "/") for place in places):
                    breaches.append(source.breach(found.node, f"{library} only in {places}"))
    return breaches


def _is_inside(name: str, parent: str, separator: str) -> bool:
    return name == parent or name.startswith(parent + separator)


def _outside_imports(source: Source) -> list[Import]:
    # `from urllib import request` names the library by its two halves.
    libraries = frozenset(LIBRARY_PLACES)
    return imports(source, libraries)


def _own_imports(root: Path) -> Iterator[tuple[Source, Import]]:
    files = package(root)
    known = frozenset(source.module for source in files)
    for source in files:
        for found in imports(source, known):
            if found.module.split(".")[0] == "tocsin":
                yield source, found


FAULT_INJECTION = "tocsin.adapters.fault_injection"
FAULTY_SERVICE = "tocsin.cli.faulty_service"
DEMO_STAGE = "tocsin.demo.processes"


def only_the_demo_injects_faults(root: Path) -> list[Breach]:
    """Whatever its settings and its environment say, `tocsin serve` can inject no fault.

    One module imports the faults, nothing imports that module, only the demo names it to start it
    as a process, and nobody else puts anything between the service and its adapters.
    """
    breaches = []
    for source, found in _own_imports(root):
        if found.module == FAULT_INJECTION and source.module != FAULTY_SERVICE:
            breaches.append(source.breach(found.node, f"only {FAULTY_SERVICE} injects faults"))
        if found.module == FAULTY_SERVICE:
            breaches.append(source.breach(found.node, f"only a process runs {FAULTY_SERVICE}"))
    for source in package(root):
        for node in source.nodes:
            if _names_a_fault(node) and source.module != DEMO_STAGE:
                breaches.append(source.breach(node, f"only {DEMO_STAGE} starts a faulty service"))
            if _makes_interceptors(node) and source.module not in (OPENING, FAULTY_SERVICE):
                breaches.append(source.breach(node, f"only {FAULTY_SERVICE} has interceptors"))
    return breaches


def _names_a_fault(node: ast.AST) -> bool:
    text = node.value if isinstance(node, ast.Constant) else None
    return isinstance(text, str) and any(name in text for name in (FAULT_INJECTION, FAULTY_SERVICE))


def _makes_interceptors(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and dotted(node.func).endswith("Interceptors")


LAYER_RULES = (
    every_package_has_a_layer,
    top_modules_are_shared,
    imports_go_down,
    no_circles,
    init_files_are_empty,
    imports_stand_at_the_top,
    libraries_keep_to_their_places,
    only_the_demo_injects_faults,
)
