"""The command line as its readers meet it: help that teaches, faults that advise, JSON for all."""

from __future__ import annotations

import asyncio
import functools
import re
import shlex
from pathlib import Path
from typing import Any

import msgspec
import pytest
import typer
from typer.testing import CliRunner, Result

from tests.sandbox_keys import keys_folder
from tocsin.cli.credentials import stopped_text
from tocsin.cli.main import FIRST_STEPS, ROWS, SANDBOX_EXAMPLES, build
from tocsin.cli.page import helps
from tocsin.cli.push import losses_of
from tocsin.cli.screen import EXIT_REFUSED, EXIT_UNREACHABLE, EXIT_USAGE, Screen
from tocsin.cli.serve import show_started
from tocsin.config import Config
from tocsin.sandbox.server import Sandbox, SandboxSettings

EXAMPLES = [*FIRST_STEPS, *SANDBOX_EXAMPLES, *(it for row in ROWS for it in row.examples)]
NOWHERE = ("--url", "http://127.0.0.1:9", "--app", "1", "--as", "admin", "--usersig", "x")
"""Port 9 is `discard`: nothing listens there."""


def call(*words: str) -> Result:
    return CliRunner().invoke(build(), list(words), prog_name="tocsin")


@functools.cache
def built() -> Any:
    """The command line, built once: a hundred examples are parsed by it."""
    return typer.main.get_command(build())


def parse(words: list[str]) -> None:
    """Parse without running anything; raises what the command line would complain of."""
    command = built()
    context = command.make_context("tocsin", list(words))
    while rest := [*context._protected_args, *context.args]:
        name, command, rest = command.resolve_command(context, rest)
        context = command.make_context(name, rest, parent=context)


@pytest.mark.evidence(
    "every example of the help parses",
    topic="Command line and demo",
    planted="an option that is not there",
)
def test_every_example_of_the_help_parses(
    subtests: pytest.Subtests, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, example in enumerate(EXAMPLES):
        folder = tmp_path / str(number)
        folder.mkdir()
        monkeypatch.chdir(folder)
        with subtests.test(example):
            parse_example(example)


def parse_example(example: str) -> None:
    """Parse an example of the help, in a folder with the files that it names."""
    inner = re.search(r"\$\((.*)\)", example)
    words = shlex.split((inner.group(1) if inner else example).partition("|")[0])
    for word in words:
        if re.fullmatch(r"[\w-]+\.(pem|toml|json|p8)", word) and "--keep" not in words:
            Path(word).write_text("")
    assert words.pop(0) == "tocsin"
    parse(words)


def test_every_command_says_what_it_does_and_shows_how() -> None:
    for words, text in helps():
        first = text.split("\n\n")[1].strip()
        assert len(first) > 10, words
        if words.count(" ") and not re.search(r"^Commands:", text, re.MULTILINE):
            assert "Examples:" in text, words
            assert "--json" in text, words


@pytest.mark.evidence(
    "a mistyped `--data` makes no folder and fills none, but for `serve` and `app add --new`",
    topic="The data folder",
    planted="every command let make the folder",
)
@pytest.mark.parametrize(
    ("words", "exit_code", "says"),
    [
        (("send", "--title", "T"), EXIT_USAGE, "--to ACCOUNT"),
        (("send", "--title", "T", "--all", "--tag", "x"), EXIT_USAGE, "in one way"),
        (("send", "--title", "T", "--attr", "city"), EXIT_USAGE, "NAME=VALUE"),
        (("send", "--title", "T", "--all", *NOWHERE), EXIT_UNREACHABLE, "tocsin serve"),
        (("sandbox", "faults", "list", "--sandbox", "http://127.0.0.1:9"), 3, "tocsin sandbox"),
        (("credential", "add", "apns", "--sandbox", "http://127.0.0.1:9"), 3, ": tocsin sandbox"),
        (("task", "recall", "TASK", "--desc", "D"), EXIT_USAGE, "--title TEXT"),
        (("account", "delete", "ann"), EXIT_USAGE, "--yes"),
        (("task", "list", "--data", "nowhere"), EXIT_REFUSED, "data folder nowhere does not exist"),
        (("task", "list", "--data", "."), EXIT_REFUSED, "tocsin serve --data ."),
        (("app", "list", "--data", "nowhere"), EXIT_REFUSED, "nowhere does not exist"),
        (("app", "add", "1", "--data", "nowhere"), EXIT_REFUSED, "tocsin app add --new"),
        (("app", "list", "--data", "."), EXIT_REFUSED, ". is no data folder"),
        (("demo", "--break", "everything"), EXIT_USAGE, "lost-job"),
        (("credential", "add", "apns", "--key-id", "K"), EXIT_USAGE, "--bundle-id: is needed"),
        (("credential", "add", "apns", "--private-key", "@nowhere.p8"), EXIT_USAGE, "nowhere.p8"),
        (("credential", "set", "1", "private_key=@nofile"), EXIT_REFUSED, "data does not exist"),
        (("credential", "set", "1", "private_key"), EXIT_REFUSED, "data does not exist"),
    ],
)
def test_a_fault_says_what_to_do_and_has_its_exit_code(
    words: tuple[str, ...],
    exit_code: int,
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "400")
    result = call(*words)
    assert result.exit_code == exit_code, result.output
    assert says in result.stderr
    assert result.stdout == ""
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("key", ["ab" * 31, "not hexadecimal"])
def test_a_command_that_opens_the_folder_says_what_is_wrong_with_its_key(
    key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOCSIN_SECRET_KEY", key)
    result = call("app", "list", "--data", str(tmp_path / "data"))
    assert (result.exit_code, result.stdout) == (EXIT_USAGE, "")
    assert result.stderr.startswith("error: secret.key (TOCSIN_SECRET_KEY): *** is wrong: 64 hex")
    assert "\ntry:" in result.stderr


def test_a_database_that_is_broken_is_not_said_to_be_in_use(tmp_path: Path) -> None:
    (tmp_path / "tocsin.db").write_bytes(bytes(range(256)) * 32)
    result = call("app", "list", "--data", str(tmp_path))
    assert (result.exit_code, result.stdout) == (EXIT_REFUSED, "")
    assert "cannot be used" in result.stderr
    assert "damaged" in result.stderr


@pytest.mark.evidence(
    "a mistyped `--data` makes no folder and fills none, but for `serve` and `app add --new`",
)
def test_an_app_is_said_to_be_added_once_and_changed_after(tmp_path: Path) -> None:
    words = ("app", "add", "1400000001", "--data", str(tmp_path / "data"))
    assert call(*words, "--new").stdout.startswith("added\n")
    assert call(*words, "--disable").stdout.startswith("changed\n")
    told = msgspec.json.decode(call(*words, "--no-push", "--json").stdout)
    assert [told[name] for name in ("done", "is_enabled", "is_push_enabled")] == [
        "changed",
        False,
        False,
    ]


@pytest.mark.evidence(
    "`tocsin --version` says what `tocsin version` does",
    topic="Command line and demo",
    planted="another text",
)
def test_the_version_is_an_option_too() -> None:
    assert call("--version").stdout == call("version").stdout
    assert call("--version").stdout.startswith("tocsin ")


def test_a_fault_is_json_too_where_json_was_asked_for() -> None:
    result = call("send", "--title", "T", "--json")
    told = msgspec.json.decode(result.stderr)
    assert told["error"] == "say whom the push is for, in one way"
    assert "--all" in told["advice"]


def test_check_config_names_the_setting_and_its_neighbour(tmp_path: Path) -> None:
    file = tmp_path / "tocsin.toml"
    file.write_text("[server]\nprot = 1\n")
    result = call("check-config", str(file), "--json")
    assert result.exit_code == EXIT_REFUSED
    (fault,) = msgspec.json.decode(result.stdout)["faults"]
    assert (fault["path"], fault["near"]) == ("server.prot", "server.port")
    file.write_text("[server]\nport = 1\n")
    assert call("check-config", str(file)).exit_code == 0


@pytest.mark.evidence(
    "everything that is wrong with the settings is told in one run, with value, what is "
    "allowed and the nearest name",
)
def test_check_config_looks_at_the_files_that_are_named(tmp_path: Path) -> None:
    call("tls", "self-signed", "--out", str(tmp_path))
    file = tmp_path / "tocsin.toml"
    named = f"""
server.tls_cert = "{tmp_path}/tls-cert.pem"
server.tls_key = "{tmp_path}/tls-key.pem"
log.file = "{tmp_path}/log"
"""
    file.write_text(named)
    assert call("check-config", str(file)).exit_code == 0
    (tmp_path / "tls-key.pem").write_text("spoilt")
    file.write_text(
        f"""{named.replace("/log", "/nowhere/log")}
http.proxy_ca = "/nowhere.pem"
[[apps]]
sdkappid = 1
key_file = "/nowhere/key"
"""
    )
    told = msgspec.json.decode(call("check-config", str(file), "--json").stdout)["faults"]
    assert [it["path"] for it in told] == [
        "server.tls_cert",
        "http.proxy_ca",
        "log.file",
        "apps[0].key_file",
    ]
    assert "/nowhere/key No such file or directory" in told[-1]["text"]


@pytest.mark.evidence(
    "a start suggests `app add` only while there is no app",
    topic="Settings, log and reload",
    planted="said at every start",
)
@pytest.mark.parametrize("apps", [0, 1])
def test_a_start_suggests_an_app_while_there_is_none(
    apps: int, capsys: pytest.CaptureFixture[str]
) -> None:
    status = {"urls": ["http://[::1]:8080", "http://127.0.0.1:8080"], "apps": apps}
    show_started(Screen(is_json=False), status, Config(data="d"))
    said = capsys.readouterr()
    assert "listening on http://[::1]:8080 and http://127.0.0.1:8080" in said.out
    assert ("tocsin app add" in said.err) == (apps == 0)


@pytest.mark.evidence(
    "`show-config` shows no secret",
    topic="Command line and demo",
    planted="the mask left out",
)
def test_show_config_masks_secrets(tmp_path: Path) -> None:
    file = tmp_path / "tocsin.toml"
    key = "ab" * 32
    file.write_text(f'[secret]\nkey = "{key}"\n[server]\nport = 1234\n')
    told = call("show-config", "--config", str(file), "--json").stdout
    assert msgspec.json.decode(told)["server"]["port"] == 1234
    assert key not in told
    assert key not in call("show-config", "--config", str(file)).output


@pytest.mark.evidence("HTTPS with a certificate of one's own")
def test_a_self_signed_certificate_is_not_overwritten_unasked(tmp_path: Path) -> None:
    words = ("tls", "self-signed", "--out", str(tmp_path), "--name", "push.test", "--json")
    told = msgspec.json.decode(call(*words).stdout)
    key = Path(told["key"])
    assert key.stat().st_mode & 0o777 == 0o600
    before = key.read_bytes()
    assert call(*words).exit_code == EXIT_USAGE
    assert key.read_bytes() == before
    assert call(*words, "--force").exit_code == 0
    assert key.read_bytes() != before


async def test_faults_are_added_listed_and_cleared_in_a_running_sandbox() -> None:
    async with Sandbox(SandboxSettings(folder=keys_folder())) as sandbox:
        door = ("--sandbox", sandbox.admin_url, "--json")
        added = await on_thread("sandbox", "faults", "add", "status", "--status", "503", *door)
        number = msgspec.json.decode(added.stdout)["number"]
        assert [it.rule.status for it in sandbox.faults.armed()] == [503]
        listed = msgspec.json.decode((await on_thread("sandbox", "faults", "list", *door)).stdout)
        assert [it["number"] for it in listed] == [number]
        wrong = await on_thread("sandbox", "faults", "add", "earthquake", *door)
        assert wrong.exit_code == EXIT_REFUSED
        await on_thread("sandbox", "faults", "clear", str(number), *door)
        assert sandbox.faults.armed() == []


async def on_thread(*words: str) -> Result:
    """A command beside the event loop that serves it."""
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(None, lambda: call(*words))


def test_tables_align_and_show_markup_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen(is_json=False)
    screen.table(("NAME", "COUNT"), [("[bold]x", 5), ("long name", 12_000)])
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert lines == ["NAME       COUNT", "[bold]x        5", "long name  12000"]


@pytest.mark.parametrize(
    ("stopped", "text"),
    [
        (None, ""),
        (("down", "503 Shutdown", None, ""), "down: 503 Shutdown"),
        (("paused", "429", 1_764_547_205.0, ""), "paused until 00:00:05Z: 429"),
        (("down", "not reached", None, "", "no proxy"), "down: not reached (no proxy)"),
        (
            ("down", "no answer", 1_764_547_205.0, "https://push.example"),
            "down for https://push.example until 00:00:05Z: no answer",
        ),
    ],
)
def test_why_a_credential_is_stopped_is_told_in_a_line(stopped: Any, text: str) -> None:
    names = ("state", "reason", "until", "part", "detail")
    told = None if stopped is None else dict(zip(names, stopped, strict=False))
    assert stopped_text(told) == text


def test_a_push_says_to_how_many_its_text_was_shortened() -> None:
    books = {"without_device": {}, "states": {"sent": 3}, "failures": {}, "repeated": 0}
    assert list(losses_of({**books, "shortened": 2})) == [("text shortened", 2)]
    assert list(losses_of({**books, "shortened": 0})) == list(losses_of(books)) == []
