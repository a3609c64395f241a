"""Nothing private is kept in the tree, and the lock files name no place to fetch from."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.architecture.rules_secrets import nothing_private_is_kept, tracked_files
from tests.architecture.tree import REPO

THESE = ("tests/architecture/rules_secrets.py", "tests/architecture/test_secrets_of_repo.py")
"""The files that spell the patterns out."""


@pytest.mark.evidence(
    "no secrets and no machine's paths in the tree",
    topic="Set-up and architecture",
    planted="somebody's home folder in the glossary",
)
def test_nothing_private_is_kept() -> None:
    breaches = [each for each in nothing_private_is_kept(REPO) if each.path not in THESE]
    assert not breaches, "\n" + "\n".join(map(str, breaches))


def test_the_tree_is_read_at_all() -> None:
    names = {path.relative_to(REPO).as_posix() for path in tracked_files(REPO)}
    assert {"pyproject.toml", "Makefile", "src/tocsin/log.py"} <= names


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-dev.lock"])
def test_each_locked_package_has_one_version_and_its_hashes(name: str) -> None:
    text = (REPO / name).read_text(encoding="utf-8").replace("\\\n", " ")
    lines = text.splitlines()
    assert lines
    for line in lines:
        assert re.match(r"^[a-z0-9._-]+==\S+ .*--hash=sha256:[0-9a-f]{64}", line), line[:60]


def test_the_service_and_the_tests_run_on_the_same_versions() -> None:
    service = set((REPO / "requirements.lock").read_text(encoding="utf-8").split("\n"))
    tests = set((REPO / "requirements-dev.lock").read_text(encoding="utf-8").split("\n"))
    pinned = {line.rstrip(" \\") for line in service if "==" in line}
    assert pinned <= {line.rstrip(" \\") for line in tests}


CANARIES = {
    "key.pem": "-----BEGIN PRIVATE KEY-----\n" + "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49" * 3 + "\n",
    "key.py": 'K = "-----BEGIN EC PRIVATE KEY-----\\n'
    + "MHcCAQEEIPx9ZQ8kqLkq7Yq0mQ1sF2hN" * 2
    + '"',
    "a.lock": "--index-url https://packages.example.org/simple\n",
    "b.lock": "# from https://pypi." + "org/simple\n",
    "note.md": "run /home/maria/tocsin/run.sh\n",
    "path.toml": 'where = "/' + 'root/tocsin"\n',
    "fcm.json": '{"key": "AIza' + "A" * 35 + '"}',
}


@pytest.mark.parametrize("name", CANARIES)
def test_a_planted_trace_is_caught(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(CANARIES[name], encoding="utf-8")
    (breach, *_) = nothing_private_is_kept(tmp_path)
    assert breach.path == name


def test_what_is_no_trace_passes(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(
        "Put your key at /home/user/key.p8; it begins with -----BEGIN PRIVATE KEY-----.\n",
        encoding="utf-8",
    )
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "x.cfg").write_text("home = /" + "root/x\n", encoding="utf-8")
    assert nothing_private_is_kept(tmp_path) == []
