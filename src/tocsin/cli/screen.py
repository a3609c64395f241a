"""What a command says and how it ends: tables for people, JSON for machines, advice for both."""

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
"""The service, or a check, said no."""
EXIT_USAGE = 2
EXIT_UNREACHABLE = 3
"""Nobody answered."""

Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON value instead of text, for machines.")
]


class Fault(Exception):
    """A command cannot go on: what is wrong, what to do about it, and the exit code."""

    def __init__(self, what: str, advice: str = "", *, exit_code: int = EXIT_REFUSED) -> None:
        super().__init__(what)
        self.what = what
        self.advice = advice
        self.exit_code = exit_code


class Screen:
    """Where a command's result goes. Notes and faults go to stderr, so a pipe gets results only."""

    def __init__(self, *, is_json: bool) -> None:
        self.is_json = is_json
        self.out = Console(highlight=False, soft_wrap=True)
        self.err = Console(stderr=True, highlight=False, soft_wrap=True)

    def result(self, value: Any, show: Callable[[], None]) -> None:
        """Print `value` as JSON, or have it shown to a person."""
        if self.is_json:
            self.json(value)
        else:
            show()

    def json(self, value: Any) -> None:
        """One JSON value on one line."""
        typer.echo(msgspec.json.encode(value).decode())

    def line(self, text: str) -> None:
        """A line of markup on stdout."""
        self.out.print(text)

    def note(self, text: str) -> None:
        """A line of markup beside the result; nothing for machines."""
        if not self.is_json:
            self.err.print(text)

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """A table whose numbers stand to the right. Lines are never cut: they may be piped on."""
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
        """Names and values, one pair a line."""
        width = max(map(cell_len, facts), default=0)
        for name, value in facts.items():
            self.out.print(f"[dim]{escape(set_cell_size(name, width))}[/]  {escape(_cell(value))}")

    def fail(self, fault: Fault) -> NoReturn:
        """Say what is wrong and what to do, and end the command."""
        if self.is_json:
            told = {"error": fault.what, "advice": fault.advice}
            typer.echo(msgspec.json.encode(told).decode(), err=True)
        else:
            self.err.print(f"[bold red]error:[/] {escape(fault.what)}")
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
    """The command, so that a fault which it meets outside `run` is told like those inside.

    A file that cannot be read or written is one, wherever a command names it.
    """

    @functools.wraps(command)
    def guard(*told: Any, **named: Any) -> None:
        try:
            _refuse_beyond_words(named)
            command(*told, **named)
        except Fault as fault:
            Screen(is_json=named.get("is_json", False)).fail(fault)
        except BrokenPipeError:
            raise
        except OSError as fault:
            what = f"{fault.filename}: {fault.strerror}" if fault.filename else str(fault)
            Screen(is_json=named.get("is_json", False)).fail(Fault(what, CHECK_FILE))

    return guard


def _refuse_beyond_words(told: Mapping[str, Any]) -> None:
    """Refuse what no call can carry: bytes that are no text, and numbers beyond 64 bits."""
    for name, value in told.items():
        option = name.replace("_", "-")
        for each in value if isinstance(value, list | tuple) else [value]:
            if isinstance(each, str) and _is_no_text(each):
                what = f"{option} holds bytes that are no UTF-8"
                raise Fault(what, "type it in UTF-8", exit_code=EXIT_USAGE)
            if isinstance(each, int) and abs(each) > NUMBER_MAX:
                raise Fault(f"{option} must be at most {NUMBER_MAX}", exit_code=EXIT_USAGE)


def _is_no_text(told: str) -> bool:
    """Whether it was made from bytes of the command line that are no UTF-8 (PEP 383)."""
    return any("\ud800" <= each <= "\udfff" for each in told)


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
    """Run a command to its end, turning every expected fault into words and an exit code.

    `advice` is what to do when nobody answers; `options` says which option told a member, so that
    a refusal of one names what was typed. Servers run on uvloop: they live long enough to
    earn its import, and do little else than sockets.
    """
    factory = uvloop.new_event_loop if is_server else None
    try:
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(work if is_server else _foreground(work))
    except (Refused, CallError) as fault:
        if told := by_option(fault.info, options or {}):
            screen.fail(Fault(told, exit_code=EXIT_USAGE))
        if isinstance(fault, CallError):
            screen.fail(Fault(f"{fault.code} {fault.info}", _help_of(fault.code)))
        screen.fail(Fault(str(fault), _help_of(fault.code)))
    except ConfigError as fault:
        screen.fail(Fault(str(fault), READ_SETTINGS, exit_code=EXIT_USAGE))
    except SetupError as fault:
        screen.fail(Fault(fault.what, fault.advice))
    except StoreError as fault:
        screen.fail(Fault(f"the data folder cannot be used: {fault}", CHECK_FOLDER))
    except Unreachable as fault:
        screen.fail(Fault(f"no answer from {fault}", advice, exit_code=EXIT_UNREACHABLE))
    except Fault as fault:
        screen.fail(fault)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    except asyncio.CancelledError:
        raise typer.Exit(143) from None


def by_option(said: str, options: Mapping[str, str]) -> str:
    """`--key: at least 8 characters`, from the same of the member `key`; empty if it is of none."""
    path, colon, what = said.partition(": ")
    member, dot, rest = path.partition(".")
    option = options.get(member.partition("[")[0])
    return f"{option}{' ' if dot else ''}{rest}: {what}" if colon and option else ""


async def _foreground(work: Coroutine[Any, Any, None]) -> None:
    cancel_on_terminate()
    await work


BAD_VALUE = 70402
"""Whatever an operator said that cannot be: of commands, their help says what can."""


def _help_of(code: int) -> str:
    if code == BAD_VALUE:
        return "--help says what each option may be"
    return next((row.help for row in CODES if row.number == code), "")
