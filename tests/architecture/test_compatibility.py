"""Every decision in docs/compatibility.md names a test, and each of these tests exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tocsin.api.commands.table import BY_PATH, COMMANDS
from tocsin.api.commands.unserved import FAMILY_OF

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "compatibility.md"
HERE = "tests/unit/api/"
NAMED = re.compile(r"`((?:[\w/]+/)?test_\w+\.py)::(test_\w+)`")


README = ROOT / "README.md"
COUNT = re.compile(r"\| ([\w\- ]+) \| (\d+) \| (\d+) \|")
EVERYTHING = re.compile(r"/v4/(\w+)/\*")
COMMAND = re.compile(r"/v4/\w+/\w+")


def rows() -> list[str]:
    lines = PAGE.read_text().splitlines()
    return [line for line in lines if line.startswith("| ") and not line.endswith("| Test |")]


def counted() -> dict[str, tuple[int, int]]:
    """By family: paths that are served, and those that are known and not."""
    families = [command.family for command in COMMANDS] + list(FAMILY_OF.values())
    return {
        family: (
            sum(command.family == family for command in COMMANDS),
            sum(name == family for name in FAMILY_OF.values()),
        )
        for family in families
    }


def claimed_too_much(text: str) -> list[str]:
    """Whole services of which a part is not served, and commands that are not."""
    partly = {path.split("/")[2] for path in FAMILY_OF}
    services = [name for name in EVERYTHING.findall(text) if name in partly]
    return services + [path for path in COMMAND.findall(text) if path not in BY_PATH]


def names_in(file: Path) -> set[str]:
    tree = ast.parse(file.read_text())
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in tree.body if isinstance(node, kinds)}


def missing(line: str) -> list[str]:
    found = NAMED.findall(line.rsplit("|", 2)[1])
    faults = [] if found else ["names no test"]
    for file, name in found:
        path = ROOT / (file if "/" in file else HERE + file)
        if not path.exists() or name not in names_in(path):
            faults.append(f"{file}::{name}")
    return faults


@pytest.mark.evidence(
    "each decision on what the documents leave open has a test that `docs/compatibility.md` names",
    topic="The wire",
    planted="a row whose test is gone",
)
def test_every_row_names_tests_that_exist() -> None:
    assert len(rows()) > 60
    assert {line: missing(line) for line in rows() if missing(line)} == {}


@pytest.mark.evidence(
    "what is served is counted on the page that says so, and the README claims no more",
    topic="Strangers and browsers",
    planted="a command taken out of its family; `/v4/timpush/*` in the README",
)
def test_what_is_served_is_counted_from_the_command_tables() -> None:
    section = PAGE.read_text().split("\n## ")[1]
    told = {name: (int(served), int(not_)) for name, served, not_ in COUNT.findall(section)}
    assert told == counted()
    sums = f"{len(BY_PATH)} paths of the platform's REST API, and {len(FAMILY_OF)} that are known"
    assert sums in section
    assert f"lists the {len(BY_PATH)} with" in section
    assert PAGE.read_text().index("## What is served") < 1000, "the page begins with it"


@pytest.mark.evidence(
    "what is served is counted on the page that says so, and the README claims no more",
)
def test_the_readme_claims_no_more_than_is_served() -> None:
    text = README.read_text()
    assert claimed_too_much(text) == []
    assert "docs/compatibility.md#what-is-served" in text


def test_a_claim_of_too_much_is_found() -> None:
    assert claimed_too_much("all of `/v4/timpush/*`") == ["timpush"]
    assert claimed_too_much("POST /v4/openim/sendmsg?") == ["/v4/openim/sendmsg"]
    assert claimed_too_much("`/v4/all_member_push/*`, /v4/timpush/push, /v4/online/x") == [
        "/v4/online/x"
    ]


@pytest.mark.evidence(
    "each decision on what the documents leave open has a test that `docs/compatibility.md` names",
)
def test_a_row_with_a_test_that_is_gone_is_found() -> None:
    assert missing("| a | b | `test_auth.py::test_nothing_of_the_kind` |")
    assert missing("| a | b | `test_nope.py::test_x` |")
    assert missing("| a | b | |")
