"""Pages say what the code says, and links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from scripts import docs
from tests.architecture.rules_docs import links_resolve
from tests.architecture.tree import REPO


@pytest.mark.evidence(
    "generated pages are what their tables make",
    topic="Set-up and architecture",
    planted="a row taken out of the metrics table",
)
@pytest.mark.evidence(
    "every member of a frame has a sentence, in the schema and on the page, which are what "
    "the types make",
)
@pytest.mark.parametrize("page", docs.PAGES, ids=lambda page: page.name)
def test_a_generated_page_is_what_its_table_makes(page: docs.Page) -> None:
    kept = (REPO / page.name).read_text(encoding="utf-8")
    assert kept == docs.rendered(page), "run `make docs`"


def test_links_resolve() -> None:
    breaches = links_resolve(REPO)
    assert not breaches, "\n" + "\n".join(map(str, breaches))


def test_a_cell_does_not_break_its_table() -> None:
    made = docs.table(("a", "b"), [("x|y", "two\nlines")])
    assert made.splitlines()[2] == "| x\\|y | two lines |"


def test_the_makefile_documents_each_target() -> None:
    text = (REPO / "Makefile").read_text(encoding="utf-8")
    (phony,) = re.findall(r"^\.PHONY: (.+)$", text, re.MULTILINE)
    documented = re.findall(r"^([a-z-]+):.*## .+$", text, re.MULTILINE)
    assert sorted(phony.split()) == sorted(documented)


def plant(root: Path, text: str) -> None:
    (root / "docs").mkdir()
    (root / "docs" / "there.md").write_text("# A part\n\n## Another, `too`\n", encoding="utf-8")
    (root / "README.md").write_text(text, encoding="utf-8")


@pytest.mark.parametrize(
    "text",
    [
        "[x](docs/gone.md)",
        "[x](docs/there.md#nowhere)",
        "![x](docs/gone.png)",
        "\n\n[x]: docs/gone.md\n",
        "[x](#nowhere)",
    ],
)
def test_a_dead_link_is_caught(text: str, tmp_path: Path) -> None:
    plant(tmp_path, text)
    (breach,) = links_resolve(tmp_path)
    assert breach.path == "README.md"


def test_living_links_pass(tmp_path: Path) -> None:
    plant(
        tmp_path,
        "# Top\n[a](docs/there.md) [b](docs/there.md#another-too) [c](https://example.org/x)\n"
        "[d](#top)\n```\n[no](link.md)\n```\n`[e](f.md)`\n",
    )
    assert links_resolve(tmp_path) == []
