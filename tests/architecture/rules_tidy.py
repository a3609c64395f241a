"""Budgets and banned words: what keeps a file readable and a failure repeatable."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tests.architecture.tree import Breach, Source, dotted, everything, imports, package, sources

LINE_COLUMNS_MAX = 100
FUNCTION_LINES_MAX = 70
FILE_LINES_MAX = 700
"""For files that hold one idea which needs so many; 300 is the aim. No file is split for length."""
POSITIONAL_MAX = 5

BROAD_EXCEPT_PLACES: tuple[str, ...] = (
    "src/tocsin/api/rest.py",
    "src/tocsin/channels/driver.py",
    "src/tocsin/pipeline/dispatch.py",
    "src/tocsin/pipeline/tick.py",
)
"""The outermost loops: each logs what it caught with its job or call, counts it and goes on."""

DOCUMENTED = (
    "src/tocsin/conversation.py",
    "src/tocsin/ports.py",
    "src/tocsin/store.py",
    "src/tocsin/domain/",
)
"""Where each public name is a promise to other packages and so has a docstring."""

UNREPEATABLE = {
    "asyncio.sleep": "sleep on the Clock",
    "datetime.datetime.now": "take `now` from the Clock",
    "datetime.datetime.today": "take `now` from the Clock",
    "datetime.datetime.utcnow": "take `now` from the Clock",
    "os.urandom": "draw from clock.py",
    "random": "draw from a Chance",
    "secrets": "draw from clock.py",
    "time.monotonic": "take it from the Clock",
    "time.perf_counter": "take it from the Clock",
    "time.sleep": "sleep on the Clock",
    "time.time": "take `now` from the Clock",
    "time.time_ns": "take `now` from the Clock",
    "uuid.uuid1": "draw from a Chance",
    "uuid.uuid4": "draw from a Chance",
}
"""Time and chance come in through clock.py and nowhere else."""

PATCHING = {
    "unittest.mock": "use a real double: the memory store, the sandbox, a manual clock",
    "monkeypatch.setattr": "hand the double in instead of patching it in",
    "mocker.patch": "hand the double in instead of patching it in",
}

STATEFUL = {
    "asyncio.Event",
    "asyncio.Lock",
    "asyncio.Queue",
    "asyncio.Semaphore",
    "collections.defaultdict",
    "collections.deque",
    "contextvars.ContextVar",
    "dict",
    "list",
    "prometheus_client.CollectorRegistry",
    "prometheus_client.Counter",
    "prometheus_client.Gauge",
    "prometheus_client.Histogram",
    "set",
    "threading.Lock",
}
"""Called at the top of a module, each of these makes state that everybody shares."""

PRAGMA = re.compile(r"\s*# (noqa|type: ignore|pragma)\b.*")
"""A word to a tool is not read as part of the line."""

LEFTOVER = re.compile(r"\b(FIXME|TODO|XXX|HACK)\b")

ENTRANCES = (
    "tocsin.api.commands.page",
    "tocsin.cli.entry",
    "tocsin.cli.faulty_service",
    "tocsin.cli.main",
    "tocsin.cli.page",
    "tocsin.cli.settings_page",
    "tocsin.online.published",
)
"""Files reached from outside: by the console script, by the demo's name for a child process, and by
scripts/docs.py."""


def files_and_lines_are_short(root: Path) -> list[Breach]:
    breaches = []
    for source in everything(root):
        if len(source.lines) > FILE_LINES_MAX:
            excess = f"{len(source.lines)} lines; {FILE_LINES_MAX} at most"
            breaches.append(source.breach(1, excess))
        for number, line in enumerate(source.lines, 1):
            # A line that is one word, such as a link, cannot be broken.
            if len(PRAGMA.sub("", line)) > LINE_COLUMNS_MAX and " " in line.strip():
                breaches.append(source.breach(number, f"{len(line)} columns"))
    return breaches


def functions_are_short(root: Path) -> list[Breach]:
    breaches = []
    for source in everything(root):
        for function in _functions(source):
            count = (function.end_lineno or function.lineno) - function.lineno + 1
            if count > FUNCTION_LINES_MAX:
                breaches.append(source.breach(function, f"{function.name} has {count} lines"))
    return breaches


def parameters_are_few(root: Path) -> list[Breach]:
    """Five positional parameters at most, not counting self; the rest are named by the caller."""
    breaches = []
    for source in everything(root):
        for function in _functions(source):
            names = [arg.arg for arg in function.args.posonlyargs + function.args.args]
            count = len([name for name in names if name not in ("self", "cls")])
            # Fixtures are asked for by name and never passed by position.
            if count > POSITIONAL_MAX and not source.path.startswith("tests/"):
                breaches.append(
                    source.breach(function, f"{function.name} takes {count} positional parameters")
                )
    return breaches


def promises_are_documented(root: Path) -> list[Breach]:
    """Each public class, function and method of the ports and the domain has a docstring."""
    breaches = []
    for source in package(root):
        if source.path.startswith(DOCUMENTED) and not source.is_init:
            breaches += [
                source.breach(node, f"{node.name} has no docstring")
                for node in _public(source.tree)
                if not ast.get_docstring(node)
            ]
            if not ast.get_docstring(source.tree):
                breaches.append(source.breach(1, "the file has no docstring"))
    return breaches


Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def _public(parent: ast.Module | ast.ClassDef) -> Iterator[Definition]:
    for node in parent.body:
        if isinstance(node, Definition) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):
                yield from _public(node)


def no_type_checking_blocks(root: Path) -> list[Breach]:
    """Where one seems needed, a value is on the wrong layer."""
    return [
        source.breach(node, "TYPE_CHECKING: move the value to a lower layer instead")
        for source in everything(root)
        for node, name in _names(source)
        if name == "typing.TYPE_CHECKING"
    ]


def time_and_chance_come_in(root: Path) -> list[Breach]:
    """Only clock.py reads the clock or the dice, so that a failure is a seed."""
    breaches = []
    for source in package(root):
        if source.package == "clock":
            continue
        yields = {id(call.func) for call, _ in _calls(source) if _waits_for_nothing(call)}
        breaches += [
            source.breach(node, f"{name}: {instead}")
            for node, name in _names(source)
            for banned, instead in UNREPEATABLE.items()
            if (name == banned or name.startswith(banned + ".")) and id(node) not in yields
        ]
    return breaches


def _waits_for_nothing(call: ast.Call) -> bool:
    """`sleep(0)` only lets others run."""
    first = call.args[0] if call.args else None
    return isinstance(first, ast.Constant) and first.value == 0


def nothing_is_printed(root: Path) -> list[Breach]:
    """What the service has to say goes to the log, what a command says to its console."""
    return [
        source.breach(node, "print: use the log, or the console of the command line")
        for source in sources(root, "src/tocsin", "tests")
        for node in source.nodes
        if isinstance(node, ast.Call) and dotted(node.func) == "print"
    ]


def doubles_are_real(root: Path) -> list[Breach]:
    """A double is a small real implementation that is handed in, never a patched name."""
    return [
        source.breach(node, f"{name}: {instead}")
        for source in everything(root)
        for node, name in _names(source)
        for banned, instead in PATCHING.items()
        if name == banned or name.startswith(banned + ".")
    ]


def tests_do_not_sleep(root: Path) -> list[Breach]:
    """A test waits for what it waits for; a sleep is either too short or too long."""
    return [
        source.breach(call, "a test that sleeps to wait for something is late or flaky")
        for source in sources(root, "tests")
        for call, name in _calls(source)
        if name in ("time.sleep", "asyncio.sleep") and not _waits_for_nothing(call)
    ]


def broad_excepts_have_a_place(root: Path) -> list[Breach]:
    """Whatever is not expected ends in an outermost loop and nowhere before."""
    breaches = []
    for source in package(root):
        for node in source.nodes:
            kind = node.type if isinstance(node, ast.ExceptHandler) else None
            kinds = kind.elts if isinstance(kind, ast.Tuple) else [kind] if kind else []
            bare = isinstance(node, ast.ExceptHandler) and kind is None
            broad = any(dotted(each) in ("Exception", "BaseException") for each in kinds)
            if isinstance(node, ast.Call) and dotted(node.func).endswith("suppress"):
                broad = any(dotted(each) in ("Exception", "BaseException") for each in node.args)
            if (bare or broad) and source.path not in BROAD_EXCEPT_PLACES:
                breaches.append(source.breach(node, "except Exception outside the named places"))
    return breaches


def modules_hold_no_state(root: Path) -> list[Breach]:
    """No global client, registry or settings: everything is handed in."""
    breaches = []
    for source in package(root):
        called = {id(call): name for call, name in _calls(source)}
        for node in source.tree.body:
            value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
            if value is not None and called.get(id(value)) in STATEFUL:
                breaches.append(source.breach(node, f"{called[id(value)]}() at module level"))
        breaches += [
            source.breach(node, "`global`: hand the value in")
            for node in source.nodes
            if isinstance(node, ast.Global)
        ]
    return breaches


def nothing_is_left_over(root: Path) -> list[Breach]:
    """What is worth noting in a comment is worth doing or an issue."""
    return [
        source.breach(token.start[0], f"left over: {token.string}")
        for source in everything(root)
        if LEFTOVER.search(source.text)
        for token in tokenize.generate_tokens(io.StringIO(source.text).readline)
        if token.type == tokenize.COMMENT and LEFTOVER.search(token.string)
    ]


def no_dead_files(root: Path) -> list[Breach]:
    """Each file of the package is imported by another one of it, or is an entrance."""
    files = package(root)
    known = frozenset(source.module for source in files)
    used = {
        found.module
        for source in files
        for found in imports(source, known)
        if found.module != source.module
    }
    return [
        source.breach(1, "nothing imports this file")
        for source in files
        if not source.is_init and source.module not in used | set(ENTRANCES)
    ]


EVICTING = {
    "src/tocsin/domain/bounded.py": "the one bounded cache",
    "src/tocsin/online/session.py": "one for each connection: a plain dictionary is smaller",
    "src/tocsin/sandbox/devices.py": "a phone's screen, on which the oldest message gives way",
}
"""Where entries are evicted by hand, with the reason."""


def caches_are_bounded_by_one_class(root: Path) -> list[Breach]:
    """Whatever keeps its newest entries is a `BoundedCache`."""
    return [
        source.breach(node, "evict with a BoundedCache (domain/bounded.py)")
        for source in package(root)
        if source.path not in EVICTING
        for node in source.nodes
        if _evicts(node)
    ]


def _evicts(node: ast.AST) -> bool:
    """`entries.popitem(last=False)`, `del entries[next(iter(entries))]`, or a pop of that key."""
    if isinstance(node, ast.Delete):
        keys = [it.slice for it in node.targets if isinstance(it, ast.Subscript)]
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        if node.func.attr == "popitem":
            return any(keyword.arg == "last" for keyword in node.keywords)
        keys = node.args if node.func.attr == "pop" else []
    else:
        return False
    return any(
        isinstance(key, ast.Call)
        and dotted(key.func) == "next"
        and key.args
        and isinstance(key.args[0], ast.Call)
        and dotted(key.args[0].func) == "iter"
        for key in keys
    )


VAULT_PLACES = {
    "src/tocsin/pipeline/app_secrets.py": "the keys of apps",
    "src/tocsin/channels/credentials.py": "the settings of credentials",
    "src/tocsin/channels/proxied.py": "the proxies of credentials",
    "src/tocsin/adapters/authorities.py": "what proves us to vendors, in files",
}
"""Each kind of secret is sealed and opened in one place."""


def secrets_are_opened_in_one_place(root: Path) -> list[Breach]:
    """Nobody else seals or opens, so that each secret has one context, one cache and one reader."""
    return [
        source.breach(node, f"secrets are sealed and opened in {', '.join(VAULT_PLACES)}")
        for source in package(root)
        if source.path not in VAULT_PLACES
        for node in source.nodes
        if isinstance(node, ast.Attribute)
        and node.attr in ("open", "seal")
        and dotted(node.value).lower().endswith("vault")
    ]


def _functions(source: Source) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in source.nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


@cache
def _names(source: Source) -> tuple[tuple[ast.AST, str], ...]:
    """Each name and attribute chain a file uses, with imported names spelled out in full."""
    return tuple(_found_names(source))


def _found_names(source: Source) -> Iterator[tuple[ast.AST, str]]:
    full = _imported_names(source)
    for node in source.nodes:
        if isinstance(node, ast.Import):
            yield from ((node, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield from ((node, f"{node.module}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Attribute):
            name = dotted(node)
            head, _, rest = name.partition(".")
            if rest:
                yield node, f"{full.get(head, head)}.{rest}"


@cache
def _calls(source: Source) -> tuple[tuple[ast.Call, str], ...]:
    """Each call of a file, with the full name of what is called."""
    return tuple(_found_calls(source))


def _found_calls(source: Source) -> Iterator[tuple[ast.Call, str]]:
    full = _imported_names(source)
    for node in source.nodes:
        if isinstance(node, ast.Call):
            head, _, rest = dotted(node.func).partition(".")
            name = full.get(head, head)
            yield node, f"{name}.{rest}" if rest else name


@cache
def _imported_names(source: Source) -> dict[str, str]:
    """What a file calls something, and what that is: `{"dt": "datetime.datetime"}`."""
    full = {}
    for node in source.nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                name = alias.name if alias.asname else alias.name.split(".")[0]
                full[alias.asname or name] = name
        elif isinstance(node, ast.ImportFrom) and not node.level:
            for alias in node.names:
                full[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return full


TIDY_RULES = (
    files_and_lines_are_short,
    functions_are_short,
    parameters_are_few,
    promises_are_documented,
    no_type_checking_blocks,
    time_and_chance_come_in,
    nothing_is_printed,
    doubles_are_real,
    tests_do_not_sleep,
    broad_excepts_have_a_place,
    modules_hold_no_state,
    nothing_is_left_over,
    no_dead_files,
    secrets_are_opened_in_one_place,
    caches_are_bounded_by_one_class,
)
