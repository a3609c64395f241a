"""The output and exit codes of commands: tables for people, JSON for machines, advice for both."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Annotated, Any, NoReturn

import msgspec
import typer
import uvloop
from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.markup import escape

from tocsin.cli.signals import cancel_on_terminate
from tocsin.client.json_http import Refused, Unreachable
from tocsin.errors import CODES, CallError, SetupError, StoreError
from tocsin.settings import ConfigError

EXIT_REFUSED = 1
"""The service refused, or a check failed."""
EXIT_USAGE = 2
EXIT_UNREACHABLE = 3
"""The service did not answer."""

Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON value instead of text, for machines.")
]


class CommandFault(Exception):
    """A command cannot go on: the problem, the advice, and the exit code."""

    def __init__(self, problem: str, advice: str = "", *, exit_code: int = EXIT_REFUSED) -> None:
        super().__init__(problem)
        self.problem = problem
        self.advice = advice
        self.exit_code = exit_code


class Screen:
    """Prints results to stdout, notes and faults to stderr, so that a pipe gets results only."""

    def __init__(self, *, is_json: bool) -> None:
        self.is_json = is_json
        self.out = Console(highlight=False, soft_wrap=True)
        self.err = Console(stderr=True, highlight=False, soft_wrap=True)

    def result(self, value: Any, show: Callable[[], None]) -> None:
        """Print `value` as JSON, or call `show` to print it for a person."""
        if self.is_json:
            self.json(value)
        else:
            show()

    def json(self, value: Any) -> None:
        """Print a JSON value on one line."""
        typer.echo(msgspec.json.encode(value).decode())

    def line(self, text: str) -> None:
        """Print a line of markup on stdout."""
        self.out.print(text)

    def note(self, text: str) -> None:
        """Print a line of markup on stderr; nothing for machines."""
        if not self.is_json:
            self.err.print(text)

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Print a table with numbers to the right. Lines are never cut: a pipe may need them."""
        listed = [list(row) for row in rows]
        cells = [list(columns), *([_cell(value) for value in row] for row in listed)]
        widths = [max(map(cell_len, column)) for column in zip(*cells, strict=True)]
        numeric = [
            bool(listed) and all(isinstance(row[index], int) for row in listed)
            for index in range(len(columns))
        ]
        for number, line in enumerate(cells):
            padded = [
                " " * (width - cell_len(text)) + text if is_number else set_cell_size(text, width)
                for text, width, is_number in zip(line, widths, numeric, strict=True)
            ]
            text = escape("  ".join(padded).rstrip())
            self.out.print(text if number else f"[bold]{text}[/]")

    def facts(self, facts: Mapping[str, object]) -> None:
        """Print names and values, one pair a line."""
        width = max(map(cell_len, facts), default=0)
        for name, value in facts.items():
            self.out.print(f"[dim]{escape(set_cell_size(name, width))}[/]  {escape(_cell(value))}")

    def fail(self, fault: CommandFault) -> NoReturn:
        """Print the problem and the advice, and end the command."""
        if self.is_json:
            message = {"error": fault.problem, "advice": fault.advice}
            typer.echo(msgspec.json.encode(message).decode(), err=True)
        else:
            self.err.print(f"[bold red]error:[/] {escape(fault.problem)}")
            if fault.advice:
                self.err.print(f"[dim]try:[/]   {escape(fault.advice)}")
        raise typer.Exit(fault.exit_code)


def _cell(value: object) -> str:
    match value:
        case None | "":
            return "-"
        case bool():
            return "yes" if value else "no"
        case list() | tuple():
            return ", ".join(map(str, value)) or "-"
        case dict():
            return ", ".join(f"{name}={each}" for name, each in value.items()) or "-"
        case _:
            return str(value)


def guarded(command: Callable[..., None]) -> Callable[..., None]:
    """The command, so that faults outside `run` are printed like faults inside.

    A file that cannot be read or written is such a fault.
    """

    @functools.wraps(command)
    def guard(*arguments: Any, **named: Any) -> None:
        try:
            _refuse_impossible(named)
            command(*arguments, **named)
        except CommandFault as fault:
            Screen(is_json=named.get("is_json", False)).fail(fault)
        except BrokenPipeError:
            raise
        except OSError as fault:
            problem = f"{fault.filename}: {fault.strerror}" if fault.filename else str(fault)
            Screen(is_json=named.get("is_json", False)).fail(CommandFault(problem, CHECK_FILE))

    return guard


def _refuse_impossible(values: Mapping[str, Any]) -> None:
    """Refuse values that no call can carry: bytes that are no text, and numbers beyond 64 bits."""
    for name, value in values.items():
        option = name.replace("_", "-")
        for each in value if isinstance(value, list | tuple) else [value]:
            if isinstance(each, str) and _is_no_text(each):
                problem = f"{option} holds bytes that are no UTF-8"
                raise CommandFault(problem, "type it in UTF-8", exit_code=EXIT_USAGE)
            if isinstance(each, int) and abs(each) > NUMBER_MAX:
                raise CommandFault(f"{option} must be at most {NUMBER_MAX}", exit_code=EXIT_USAGE)


def _is_no_text(value: str) -> bool:
    """Whether the value comes from bytes of the command line that are no UTF-8 (PEP 383)."""
    return any("\ud800" <= each <= "\udfff" for each in value)


NUMBER_MAX = 2**63 - 1
CHECK_FILE = "name a file that this user may read or write"
CHECK_FOLDER = "is its disk full or damaged, its owner another? Else name another --data folder"
START_SERVICE = "is the service running there? Start one: tocsin serve --data DIR --port 8080"
READ_SETTINGS = "docs/settings.md and tocsin.example.toml list every setting"
START_SANDBOX = "is the sandbox running there? Start one: tocsin sandbox"


def run(
    screen: Screen,
    work: Coroutine[Any, Any, None],
    *,
    advice: str = START_SERVICE,
    is_server: bool = False,
    options: Mapping[str, str] | None = None,
) -> None:
    """Run a command to its end; print every expected fault and end with its exit code.

    `advice` is printed when the service does not answer. `options` maps a member of a call to the
    option that sets it, so that a refusal of the member names the option. Servers run on uvloop:
    they live long enough to be worth its import, and do little else than sockets.
    """
    factory = uvloop.new_event_loop if is_server else None
    try:
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(work if is_server else _foreground(work))
    except (Refused, CallError) as fault:
        if problem := by_option(fault.info, options or {}):
            screen.fail(CommandFault(problem, exit_code=EXIT_USAGE))
        if isinstance(fault, CallError):
            screen.fail(CommandFault(f"{fault.code} {fault.info}", _help_of(fault.code)))
        screen.fail(CommandFault(str(fault), _help_of(fault.code)))
    except ConfigError as fault:
        screen.fail(CommandFault(str(fault), READ_SETTINGS, exit_code=EXIT_USAGE))
    except SetupError as fault:
        screen.fail(CommandFault(fault.what, fault.advice))
    except StoreError as fault:
        screen.fail(CommandFault(f"the data folder cannot be used: {fault}", CHECK_FOLDER))
    except Unreachable as fault:
        screen.fail(CommandFault(f"no answer from {fault}", advice, exit_code=EXIT_UNREACHABLE))
    except CommandFault as fault:
        screen.fail(fault)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    except asyncio.CancelledError:
        raise typer.Exit(143) from None


def by_option(text: str, options: Mapping[str, str]) -> str:
    """`--key: at least 8 characters` from `key: at least 8 characters`; empty without an option."""
    path, colon, problem = text.partition(": ")
    member, dot, rest = path.partition(".")
    option = options.get(member.partition("[")[0])
    return f"{option}{' ' if dot else ''}{rest}: {problem}" if colon and option else ""


async def _foreground(work: Coroutine[Any, Any, None]) -> None:
    cancel_on_terminate()
    await work


BAD_VALUE = 70402
"""The code of an impossible value; the command's help names the possible ones."""


def _help_of(code: int) -> str:
    if code == BAD_VALUE:
        return "--help says what each option may be"
    return next((row.help for row in CODES if row.number == code), "")
