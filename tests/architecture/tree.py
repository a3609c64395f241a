"""The parsed source files below a root, as the architecture rules read them, and a breach."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
"""The checkout these tests stand in."""

PACKAGE = "src/tocsin"


@dataclass(frozen=True)
class Breach:
    """One place that breaks an architecture rule, printed so that an editor can jump to it."""

    path: str
    line: int
    why: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.why}"


@dataclass(frozen=True)
class Source:
    """One Python file; `path` is relative to the root, with forward slashes."""

    path: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, self.path)

    @cached_property
    def nodes(self) -> tuple[ast.AST, ...]:
        """Every node of the tree: some twenty rules look through them, so they are listed once."""
        return tuple(ast.walk(self.tree))

    @property
    def lines(self) -> list[str]:
        return self.text.splitlines()

    @property
    def is_init(self) -> bool:
        return self.path.endswith("/__init__.py")

    @property
    def module(self) -> str:
        """Dotted name: `tocsin.domain.task`; the package's own name for an `__init__.py`."""
        return self.path.removeprefix("src/").removesuffix(".py").replace("/", ".")

    @property
    def package(self) -> str:
        """The file or folder directly under the package that this file is or lies in."""
        return package_of(self.module)

    def breach(self, node: ast.AST | int, why: str) -> Breach:
        line = node if isinstance(node, int) else getattr(node, "lineno", 1)
        return Breach(self.path, line, why)


def package_of(module: str) -> str:
    """`tocsin.domain.task` lies in the package `domain`."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def sources(root: Path, *folders: str) -> list[Source]:
    """Each Python file below the folders of `root`, in order of path."""
    found = []
    for folder in folders:
        for path in sorted((root / folder).rglob("*.py")):
            name = path.relative_to(root).as_posix()
            found.append(_parsed_once(name, path.read_text(encoding="utf-8")))
    return found


@cache
def _parsed_once(name: str, text: str) -> Source:
    # Every rule reads the whole tree; the same text under the same name is the same source.
    return Source(name, text)


def package(root: Path) -> list[Source]:
    """The files of the service itself."""
    return sources(root, PACKAGE)


def everything(root: Path) -> list[Source]:
    """All Python of ours, tests and tools included."""
    return sources(root, PACKAGE, "tests", "benchmarks", "scripts")


@dataclass(frozen=True)
class Import:
    """One imported module, by its absolute dotted name."""

    node: ast.stmt
    module: str


def imports(source: Source, known: frozenset[str] = frozenset()) -> list[Import]:
    """Every import of a file wherever it stands; `from x import y` is `x.y` if that is known."""
    found = []
    for node in source.nodes:
        if isinstance(node, ast.Import):
            found += [Import(node, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(source, node)
            for alias in node.names:
                child = f"{base}.{alias.name}"
                found.append(Import(node, child if child in known or base == "tocsin" else base))
    return found


def _absolute(source: Source, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    # One dot is the package a file lies in, each further dot one package up; an `__init__.py`
    # counts as a file of its own package, which its path already says.
    package_parts = source.module.split(".")[: -node.level]
    return ".".join([*package_parts, *([node.module] if node.module else [])])


def dotted(node: ast.expr) -> str:
    """`a.b.c` of a name or attribute chain, or nothing for any other expression."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        base = dotted(node.value)
        return f"{base}.{node.attr}" if base else ""
    return ""
