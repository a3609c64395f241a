"""Write the skeleton of a vendor: `make new-channel NAME=acme`.

What it writes runs, keeps the architecture rules and speaks a protocol that is nobody's, with a
sandbox that answers it. What is not known of the vendor is left out or plainly made up, and the
contract suite fails on it by name: `docs/CHANNELS.md`, "Adding a vendor", goes on from there.
"""

from __future__ import annotations

import ast
import datetime as dt
import keyword
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
RESERVED = ("all", "fanout", "index", "none", "sandbox", "wait")
"""Words that stand where a channel's name does: in queues, commands and metrics."""
NAME = re.compile(r"[a-z][a-z0-9]{1,19}")

FILES = {
    "channel.py.txt": "src/tocsin/channels/vendors/@name@.py",
    "package.py.txt": "src/tocsin/sandbox/vendors/@name@/__init__.py",
    "sandbox.py.txt": "src/tocsin/sandbox/vendors/@name@/server.py",
    "kit.py.txt": "tests/unit/channels/kit_@name@.py",
    "test_channel.py.txt": "tests/unit/channels/test_@name@.py",
    "test_mapping.py.txt": "tests/unit/channels/test_mapping_@name@.py",
    "test_sandbox.py.txt": "tests/unit/sandbox/test_@name@.py",
    "golden.json.txt": "tests/wire/golden/@name@/notification.json",
    "page.md.txt": "docs/channels/@name@.md",
}
"""Template in `scripts/skeleton/` to what it becomes."""


class Refused(Exception):
    """The name will not do; says what would."""


class Line(NamedTuple):
    """A line that goes into a list of the tree, and how it finds its place there."""

    path: str
    text: str
    before: Callable[[str, str], int]
    """The index of the line in the file's text before which it goes, for this vendor's name."""


def main(arguments: list[str]) -> int:
    name = arguments[0] if arguments else ""
    try:
        written = write(ROOT, name, dt.datetime.now(dt.UTC).date())
    except Refused as no:
        print(f"new-channel: {no}", file=sys.stderr)
        return 2
    tidy(ROOT, [path for path in written if path.endswith(".py")])
    print("\n".join(["Written:", *(f"  {path}" for path in written), "", next_steps(name)]))
    return 0


def next_steps(name: str) -> str:
    return f"""Next, with the vendor's pages at hand:
  make contract ARGS="-k {name}"   names what is to be filled in, a failing test for each
  docs/CHANNELS.md                 "Adding a vendor" goes through it, a command a step"""


def write(root: Path, name: str, today: dt.date) -> list[str]:
    """Write the files and the lines of a vendor below `root`; the paths of both."""
    check(root, name)
    given = {
        "@name@": name,
        "@Name@": name.capitalize(),
        "@NAME@": name.upper(),
        "@month@": f"{today:%Y-%m}",
        "@number@": str(next_platform(root)),
        "@capabilities@": 'Capabilities(devices_max=1000, removal="answer")',
    }
    made = {filled(path, given): filled(template(it), given) for it, path in FILES.items()}
    changed: dict[str, str] = {}
    for line in LINES:
        text = changed.get(line.path) or (root / line.path).read_text(encoding="utf-8")
        lines = text.splitlines(keepends=True)
        lines.insert(line.before(text, name), filled(line.text, given) + "\n")
        changed[line.path] = "".join(lines)
    # Nothing is written before everything is known to have its place.
    for path, text in {**made, **changed}.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding="utf-8")
    return [*made, *changed]


def check(root: Path, name: str) -> None:
    """Refuse a name that cannot be a module's, or is taken."""
    if not name:
        raise Refused("say which vendor: make new-channel NAME=acme")
    if not NAME.fullmatch(name):
        raise Refused(
            f"{name!r} is no name for a channel: 2 to 20 small letters and digits, a letter first, "
            "as in NAME=acme"
        )
    if keyword.iskeyword(name) or name in sys.stdlib_module_names:
        raise Refused(f"{name} is a word of Python's own: take another name, as in NAME={name}push")
    if name in RESERVED:
        raise Refused(f"{name} means something here already: take another name, as in NAME={name}s")
    taken = [filled(path, {"@name@": name}) for path in FILES.values()]
    there = [path for path in taken if (root / path).exists()]
    if f'"{name}"' in (root / PLATFORMS).read_text(encoding="utf-8"):
        there.append(PLATFORMS)
    if there:
        raise Refused(f"{name} is there already, in {there[0]}: take another name")


def next_platform(root: Path) -> int:
    """The first PushPlatform number that no channel has."""
    text = (root / PLATFORMS).read_text(encoding="utf-8")
    return 1 + max(int(number) for number in re.findall(r'^    "\w+": (\d+),$', text, re.MULTILINE))


def template(name: str) -> str:
    return (ROOT / "scripts" / "skeleton" / name).read_text(encoding="utf-8")


def filled(text: str, given: dict[str, str]) -> str:
    for mark, word in given.items():
        text = text.replace(mark, word)
    return text


def tidy(root: Path, paths: list[str]) -> None:
    """Imports in order and lines in shape, whatever the name's length; then the generated pages."""
    ruff = [sys.executable, "-m", "ruff"]
    subprocess.run([*ruff, "check", "--fix", "-q", "--select", "I", *paths], cwd=root, check=True)
    subprocess.run([*ruff, "format", "-q", *paths], cwd=root, check=True)
    docs = [sys.executable, "scripts/docs.py"]
    environment = {**os.environ, "PYTHONPATH": str(root / "src")}
    subprocess.run(docs, cwd=root, check=True, env=environment, stdout=subprocess.DEVNULL)


# where a line goes


def among(start: str) -> Callable[[str, str], int]:
    """Before the first such line that is of a later name, else after the last one."""

    def before(text: str, name: str) -> int:
        pattern = re.compile(rf"\s*{start}(\w+)")
        lines = text.splitlines()
        named = [(at, it[1]) for at, it in enumerate(map(pattern.match, lines)) if it]
        return next((at for at, other in named if other > name), named[-1][0] + 1)

    return before


def in_table(table: str) -> Callable[[str, str], int]:
    """Before the first row of a tuple that is of a later name, with the remark above that row."""

    def before(text: str, name: str) -> int:
        lines, rows = text.splitlines(), list(_rows(ast.parse(text), table))
        later = next((row for other, row in rows if other > name), None)
        if later is None:
            return rows[-1][1].end_lineno or 0
        at = later.lineno - 1
        while lines[at - 1].lstrip().startswith("#"):
            at -= 1
        return at

    return before


def _rows(tree: ast.Module, table: str) -> Iterator[tuple[str, ast.expr]]:
    """The rows of a tuple with their names: a module's, or the first argument of a row."""
    for node in tree.body:
        if isinstance(node, ast.AnnAssign):
            target: ast.expr = node.target
        elif isinstance(node, ast.Assign):
            target = node.targets[0]
        else:
            continue
        if not isinstance(target, ast.Name) or target.id != table:
            continue
        assert isinstance(node.value, ast.Tuple)
        for row in node.value.elts:
            named = row.args[0] if isinstance(row, ast.Call) else row
            name = named.id if isinstance(named, ast.Name) else getattr(named, "value", "")
            yield str(name), row


def at_the_end_of(start: str) -> Callable[[str, str], int]:
    """Before the brace that closes what begins with `start`."""

    def before(text: str, name: str) -> int:
        del name
        lines = text.splitlines()
        first = next(at for at, line in enumerate(lines) if line.startswith(start))
        return next(at for at in range(first, len(lines)) if lines[at] == "}")

    return before


def at_the_line(start: str) -> Callable[[str, str], int]:
    """Before the first line that begins so; `tidy` makes one import of both."""

    def before(text: str, name: str) -> int:
        del name
        return next(at for at, line in enumerate(text.splitlines()) if line.startswith(start))

    return before


PLATFORMS = "src/tocsin/domain/device.py"
_REGISTRY = "src/tocsin/channels/registry.py"
_SERVERS = "src/tocsin/sandbox/registry.py"
_VENDOR = "| @Name@ (`@name@`) | [channels/@name@.md](channels/@name@.md) |  |  |"
LINES = (
    Line(
        _REGISTRY,
        "from tocsin.channels.vendors import @name@",
        at_the_line("from tocsin.channels.vendors import"),
    ),
    Line(_REGISTRY, "    @name@,", in_table("VENDORS")),
    Line(
        _SERVERS,
        "from tocsin.sandbox.vendors.@name@.server import @Name@, @Name@Settings",
        among(r"from tocsin\.sandbox\.vendors\."),
    ),
    Line(
        _SERVERS,
        '    Row("@name@", @Name@Settings, _usual(@Name@), @capabilities@),',
        in_table("SERVERS"),
    ),
    Line(PLATFORMS, '    "@name@": @number@,', at_the_end_of("PUSH_PLATFORMS")),
    Line("docs/CHANNELS.md", _VENDOR, among(r"\| [\w ]+ \(`")),
)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
