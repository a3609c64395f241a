"""What a command is told, and how it says what of that is wrong: options, limits, secrets."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from tests.unit.test_cli import EXAMPLES, call
from tocsin.cli.main import build
from tocsin.cli.screen import EXIT_REFUSED, EXIT_USAGE
from tocsin.clock import SystemClock
from tocsin.domain.usersig import verify


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with one app and one credential."""
    data = tmp_path_factory.mktemp("made")
    added = call("app", "add", "5", "--new", "--data", str(data))
    assert added.exit_code == 0, added.output
    words = ("credential", "add", "huawei", "--app-id", "1", "--app-secret", "-")
    secret = CliRunner().invoke(build(), [*words, "--data", str(data)], input="hush\n")
    assert secret.exit_code == 0, secret.output
    assert "warning" not in secret.output
    return data


@pytest.mark.evidence(
    "no command ends in a traceback over what it was told, and a refusal names the option "
    "that was typed",
    topic="Command line and demo",
    planted="faults outside `run` not caught; the validator's own words passed on; bytes "
    "that are no UTF-8 and numbers beyond 64 bits handed on",
)
@pytest.mark.parametrize(
    ("words", "exit_code", "says"),
    [
        (("app", "add", "5", "--key", "short"), EXIT_USAGE, "--key: at least 8 characters"),
        (("app", "add", "5", "--key-file", "nofile"), EXIT_USAGE, "--key-file: nofile No such"),
        (("app", "add", "5", "--key", "@nofile"), EXIT_USAGE, "--key: nofile No such"),
        (("app", "add", "5", "--ack-s", "0"), EXIT_USAGE, "--ack-s"),
        (("app", "add", "5", "--limit", "batch_per_s=-1"), EXIT_USAGE, "--limit batch_per_s: must"),
        (("app", "add", "5", "--limit", "speed=1"), EXIT_USAGE, "pushes_per_day, push_gap_s"),
        (("app", "add", "5", "--limit", "scale=1", "--profile", "unlimited"), EXIT_USAGE, "own"),
        (("app", "add", "5", "--admin", "x" * 33), EXIT_USAGE, "--admin: a name has 1 to 32"),
        (("credential", "set", "1", "private_key=@nofile"), EXIT_USAGE, "nofile No such file"),
        (("credential", "set", "1", "private_key"), EXIT_USAGE, "is not NAME=VALUE"),
        (
            ("credential", "set", "1", "foo=bar"),
            EXIT_REFUSED,
            "huawei has no setting foo; it has app_",
        ),
        (("credential", "set", "1", "app_id=x"), EXIT_REFUSED, "app_id"),
        (("credential", "client-config", "--out", "/nowhere/x"), EXIT_REFUSED, "/nowhere/x: No"),
        (("device", "show", "\udcff"), EXIT_USAGE, "registration-id holds bytes that are no UTF-8"),
        (("app", "add", "5", "--admin", "\udcff"), EXIT_USAGE, "admin holds bytes that are no"),
        (("account", "list", "--after", "9" * 20), EXIT_USAGE, "after must be at most"),
        (("usersig", "6", "admin"), EXIT_REFUSED, "70020"),
    ],
)
def test_a_refusal_names_what_was_typed_and_is_no_traceback(
    words: tuple[str, ...], exit_code: int, says: str, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(made)
    monkeypatch.setenv("COLUMNS", "400")
    result = call(*words, "--data", str(made))
    assert (result.exit_code, result.stdout) == (exit_code, ""), result.output
    assert says in result.stderr
    assert "$." not in result.stderr


@pytest.mark.evidence(
    "secrets come from files or standard input, one in the command is warned of, and no "
    "example has one",
    topic="Command line and demo",
    planted="no warning; an example with `--key KEY`",
)
def test_a_secret_comes_from_a_file_or_standard_input_and_outright_with_a_warning(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("key.txt").write_text("of a file\n")
    words = ("app", "add", "5", "--data", str(made))
    signed = [signature_of(made, *words, *told) for told in (("--key-file", "key.txt"),)]
    signed.append(signature_of(made, *words, "--key", "@key.txt"))
    signed.append(signature_of(made, *words, "--key-file", "-", told="of a file\n"))
    signed.append(signature_of(made, *words, "--key", "-", told="of a file\n"))
    assert signed == ["of a file"] * 4
    said = call(*words, "--key", "outright!")
    assert said.exit_code == 0
    assert "warning: --key: others on this machine can read" in said.stderr
    monkeypatch.setenv("TOCSIN_KEY", "of the environment")
    assert "warning" not in call(*words).output


def signature_of(data: Path, *words: str, told: str = "") -> str:
    """Which key an app has after a command, by the UserSig that is made with it."""
    done = CliRunner().invoke(build(), words, input=told)
    assert done.exit_code == 0, done.output
    assert "warning" not in done.output
    sig = call("usersig", "5", "admin", "--data", str(data)).stdout.strip()
    token = verify(sig, sdkappid=5, identifier="admin", key="of a file", now=SystemClock().now())
    return "of a file" if token.identifier == "admin" else ""


@pytest.mark.evidence(
    "limits of one's own, account deletion and the time before a new import are options",
    topic="Command line and demo",
    planted="limits that were told before forgotten",
)
def test_what_an_operator_is_promised_is_an_option_of_app_add(made: Path) -> None:
    words = ("app", "add", "7", "--json", "--data", str(made))
    options = ("--limit", "pushes_per_day=500", "--no-account-delete", "--reimport-after-s", "60")
    told = msgspec.json.decode(call(*words, *options).stdout)
    assert (told["profile"], told["own_limits"]["pushes_per_day"]) == ("own", 500)
    assert (told["can_delete_accounts"], told["reimport_after_s"]) == (False, 60)
    again = msgspec.json.decode(call(*words, "--limit", "batch_per_s=7").stdout)
    limits = again["own_limits"]
    assert (limits["pushes_per_day"], limits["batch_per_s"], limits["scale"]) == (500, 7, 1)
    back = msgspec.json.decode(call(*words, "--account-delete", "--profile", "compatible").stdout)
    assert (back["profile"], back["can_delete_accounts"]) == ("compatible", True)


SECRETS = re.compile(
    r"(?:--(?:key|appkey|[a-z-]*secret|password|usersig|private-key|certificate)[ =]|"
    r"\b[a-z_]*(?:secret|private_key|password)=)(?!@|-(?:\s|$))\S+"
)
DOCUMENTS = [Path("README.md"), *Path("docs").rglob("*.md"), *Path("examples").rglob("*.md")]


@pytest.mark.evidence(
    "secrets come from files or standard input, one in the command is warned of, and no "
    "example has one",
)
def test_no_example_has_a_secret_in_the_command() -> None:
    for planted in ("app add 1 --key KEY", "set 2 app_secret=x", "--password hush"):
        assert SECRETS.search(f"tocsin {planted}"), planted
    lines = [(path, line) for path in DOCUMENTS for line in path.read_text().splitlines()]
    lines += [(Path(), line) for line in EXAMPLES]
    commands = [(path, line) for path, line in lines if re.search(r"\btocsin [a-z]", line)]
    assert len(commands) > 100
    assert [(path, line) for path, line in commands if SECRETS.search(line)] == []
