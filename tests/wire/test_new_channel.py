"""A vendor begun by `make new-channel`, in a copy of the tree: what holds at once, what is left."""

from __future__ import annotations

import datetime as dt
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.new_channel import FILES, LINES, Refused, filled, write
from tests.architecture.rules_secrets import tracked_files
from tests.contract.test_channel_papers import limits_told
from tests.patience import PATIENCE_S
from tocsin.channels.registry import VENDORS
from tocsin.conversation import Limits

REPO = Path(__file__).parents[2]
TODAY = dt.date(2026, 11, 26)

UNFILLED = [
    "test_channel.py::test_the_table_has_a_row_for_each_kind_of_answer[acme]",
    "test_channel_papers.py::test_the_sources_are_the_vendors_own_and_have_their_date[acme]",
    "test_channel_papers.py::test_the_file_speaks_to_the_vendor_and_names_its_pages[acme]",
    "test_channel_papers.py::test_the_page_says_where_the_credential_comes_from[acme]",
    "test_channel_papers.py::test_the_page_names_every_setting[acme]",
    "test_channel_papers.py::test_the_page_tells_every_limit[acme]",
    "test_channel_papers.py::test_the_page_tells_what_each_answer_means_and_what_to_do[acme]",
    "test_channel_papers.py::test_the_page_is_found_in_the_table_of_vendors[acme]",
    "test_channel_papers.py::test_the_clients_page_says_what_its_token_is[acme]",
    "test_channel_papers.py::test_it_has_golden_conversations_each_with_its_source[acme]",
    "test_channel_papers.py::test_each_golden_conversation_has_a_second_source[acme]",
    "test_trial.py::test_a_good_credential_is_told_so_and_reaches_nobody[acme]",
    "test_trial.py::test_a_wrong_one_is_told_so_with_what_to_do[acme]",
    "test_trial.py::test_every_hint_is_for_something_that_the_vendor_says[acme]",
    (
        "test_trial.py::"
        "test_a_refused_credential_raises_an_alarm_and_a_line_that_says_what_to_fix[acme]"
    ),
]
"""The contract suite's failures, each for something that only the vendor's pages can tell."""

LIMITS = Limits(
    payload_max_bytes=4096,
    devices_max=1000,
    lifetime_max_s=86_400,
    rate_per_s=500.0,
    in_flight_max=16,
)
CHANNEL = "src/tocsin/channels/vendors/acme.py"
PAGE = "docs/channels/acme.md"
WHERE = "Acme's developer console shows both under the app, once push is switched on for it."
CODES = "0, 1001, 400, 401, 403, 404, 413, 429, 500, 502, 503"
FOUND_OUT = [
    (CHANNEL, "https://acme.example/push", "https://dev.acme.com/push"),
    (CHANNEL, "https://push.acme.example", "https://push.acme.com"),
    (
        CHANNEL,
        '(200, "0"): Outcome.ACCEPTED,\n',
        '(200, "0"): Outcome.ACCEPTED,\n    (200, "1001"): Outcome.TOKEN_DEAD,\n',
    ),
    ("tests/unit/channels/kit_acme.py", "drops=frozenset()", 'drops=frozenset({"200 1001"})'),
    (CHANNEL, "str] = {}", 'str] = {"401": "app_secret is not that of app_id"}'),
    ("tests/wire/golden/acme/notification.json", "acme.example", "dev.acme.com"),
    ("docs/CHANNELS.md", "|  |  |\n", "| up to 1000 devices each | the app secret itself |\n"),
    (
        "docs/clients.md",
        "| `fcm` | registration token",
        "| `acme` | app token | `Acme.getToken()` |\n| `fcm` | registration token",
    ),
    (PAGE, "acme.example", "dev.acme.com"),
    (PAGE, "## Credential\n", f"## Credential\n\n{WHERE}\n"),
    (PAGE, "is |\n|---|---|\n", "is |\n|---|---|\n| `app_id`, `app_secret` | of the app |\n"),
    (PAGE, "Figure |\n|---|---|\n", "\n".join(["Figure |", "|---|---|", *limits_told(LIMITS), ""])),
    (
        PAGE,
        "do |\n|---|---|---|\n",
        f"do |\n|---|---|---|\n| {CODES} | as it says | ask Acme |\n",
    ),
]
"""What somebody who has read the vendor's pages would write: file, what stands there, what then."""


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tree with a vendor `acme` begun in it, by the command."""
    root = tmp_path_factory.mktemp("tree")
    for path in tracked_files(REPO):
        there = root / path.relative_to(REPO)
        there.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, there)
    done = run(root, "scripts/new_channel.py", "acme")
    assert done.returncode == 0, done.stderr
    assert 'make contract ARGS="-k acme"' in done.stdout
    assert all(filled(path, {"@name@": "acme"}) in done.stdout for path in FILES.values())
    return root


def run(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root / "src"), "PYTHONDONTWRITEBYTECODE": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=3 * PATIENCE_S,
    )


def failures_of(root: Path, *arguments: str) -> tuple[int, list[str], str]:
    """The exit code, the tests that failed, and all that was said."""
    done = run(root, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments)
    failed = re.findall(r"^(?:FAILED|ERROR) tests/\w+/(\S+)", done.stdout, re.MULTILINE)
    return done.returncode, failed, done.stdout


@pytest.mark.evidence(
    "a vendor begun by `make new-channel` keeps the architecture rules and passes its own tests",
    topic="Vendors",
    planted="the generated pages not written anew",
)
@pytest.mark.slow
def test_what_was_written_keeps_the_architecture_rules_and_its_own_tests(copy: Path) -> None:
    own = ["channels/test_acme.py", "channels/test_mapping_acme.py", "sandbox/test_acme.py"]
    code, failed, told = failures_of(
        copy,
        *("tests/architecture", *(f"tests/unit/{path}" for path in own)),
        "tests/wire/test_vendors.py::test_a_golden_conversation[acme notification]",
    )
    assert (code, failed) == (0, []), told
    checked = ["src", "tests/unit/channels", "tests/unit/sandbox"]
    for tool in (["ruff", "check"], ["ruff", "format", "--check"]):
        done = run(copy, "-m", *tool, "-q", *checked)
        assert done.returncode == 0, done.stdout


@pytest.mark.evidence(
    "… and fails the contract suite by name until it is filled in",
    topic="Vendors",
    planted="a made-up code for dead tokens in the skeleton",
)
@pytest.mark.slow
def test_the_contract_suite_names_what_is_left_until_it_is_filled(copy: Path) -> None:
    suite = ["test_channel.py", "test_channel_papers.py", "test_trial.py"]
    # Those of the new vendor, and those over the list of all.
    asked = [*(f"tests/contract/{name}" for name in suite), "-k", "acme or registry or nobody_else"]
    code, failed, told = failures_of(copy, *asked)
    assert (code, failed) == (1, UNFILLED), told
    reasons = re.findall(r"^E\s+AssertionError: (.*)$", told, re.MULTILINE)
    assert len(reasons) == len(UNFILLED)
    assert all("acme" in reason for reason in reasons), reasons
    for path, there, then in FOUND_OUT:
        text = (copy / path).read_text(encoding="utf-8")
        assert there in text, (path, there)
        (copy / path).write_text(text.replace(there, then), encoding="utf-8")
    code, failed, told = failures_of(copy, *asked)
    assert (code, failed) == (0, []), told


@pytest.fixture
def lists(tmp_path: Path) -> Path:
    """The files that the command adds lines to."""
    for path in {line.path for line in LINES}:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(REPO / path, tmp_path / path)
    return tmp_path


@pytest.mark.evidence(
    "a bad or taken name is refused with what would do, and nothing is written over",
    topic="Vendors",
    planted="only the name's beginning looked at; files that are there not looked for",
)
@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("", "say which vendor: make new-channel NAME=acme"),
        ("Acme", "small letters and digits"),
        ("push-me", "small letters and digits"),
        ("7push", "a letter first"),
        ("a", "2 to 20"),
        ("../etc", "small letters and digits"),
        ("json", "a word of Python's own"),
        ("class", "a word of Python's own"),
        ("wait", "means something here already"),
        ("meizu", "is there already"),
        ("online", "is there already, in src/tocsin/domain/device.py"),
    ],
)
def test_a_name_that_will_not_do_is_refused_with_what_would(
    name: str, says: str, lists: Path
) -> None:
    before = texts(lists)
    with pytest.raises(Refused, match=re.escape(says)):
        write(lists, name, TODAY)
    assert texts(lists) == before


@pytest.mark.evidence(
    "a bad or taken name is refused with what would do, and nothing is written over",
)
def test_nothing_is_written_over(lists: Path) -> None:
    mine = lists / "docs" / "channels" / "acme.md"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine", encoding="utf-8")
    with pytest.raises(Refused, match=r"acme is there already, in docs/channels/acme\.md"):
        write(lists, "acme", TODAY)
    assert mine.read_text(encoding="utf-8") == "mine"


@pytest.mark.evidence(
    "its lines stand in their place",
    topic="Vendors",
    planted="sorted the other way; a row parted from its remark",
)
@pytest.mark.parametrize("name", ["aa", "gcm", "virgo", "zz", "a" * 20])
def test_its_lines_stand_in_their_place_whatever_the_name(name: str, lists: Path) -> None:
    write(lists, name, TODAY)
    known = [vendor.NAME for vendor in VENDORS]
    for path, pattern in {
        "src/tocsin/channels/registry.py": r"^    (\w+),$",
        "docs/CHANNELS.md": r"^\| [\w ]+ \(`(\w+)`\)",
    }.items():
        text = (lists / path).read_text(encoding="utf-8").rpartition("VENDORS: tuple")[2]
        assert re.findall(pattern, text, re.MULTILINE) == sorted([*known, name])
    counters = (lists / "src/tocsin/sandbox/registry.py").read_text(encoding="utf-8")
    named = re.findall(r'^ +(?:Row\()?"(\w+)",', counters, re.MULTILINE)
    assert named == sorted(named)
    assert name in named
    # A row keeps the remark above it.
    assert re.search(r'# Its console has an id .*\n    Row\("vivo"', counters)
    for path, text in texts(lists).items():
        assert not re.search(r"@\w+@", text), path
        if path.endswith(".py"):
            compile(text, path, "exec")


def texts(root: Path) -> dict[str, str]:
    found: Iterator[Path] = (path for path in sorted(root.rglob("*")) if path.is_file())
    return {path.relative_to(root).as_posix(): path.read_text(encoding="utf-8") for path in found}
