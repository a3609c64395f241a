"""What stands in writing about every vendor, held against its file: its page and golden folder."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import pytest

from tocsin.channels.registry import VENDORS, ListVendor, SingleVendor, report_of
from tocsin.conversation import Limits
from tocsin.domain.outcome import POSTED

AnyVendor = SingleVendor | ListVendor

REPO = Path(__file__).parents[2]
DAY_S, HOUR_S = 86_400, 3600
MADE_UP = re.compile(r"https?://[\w.-]*\bexample\b")
"""An address that is nobody's: a source or a server is the vendor's own."""
MIN_REASON_CHARS = len("none: ") + 20
READ = re.compile(r"\(read 20\d\d-\d\d")
RANGE = re.compile(r"(\d+) to (\d+)")

each_vendor = pytest.mark.parametrize("vendor", VENDORS, ids=lambda vendor: vendor.NAME)


def page_of(vendor: AnyVendor) -> str:
    path = REPO / "docs" / "channels" / f"{vendor.NAME}.md"
    assert path.exists(), f"{vendor.NAME} has no page: write docs/channels/{path.name}"
    return path.read_text(encoding="utf-8")


def section(page: str, heading: str) -> str:
    """What stands under a heading; nothing where the page has none of that name."""
    _, found, rest = page.partition(f"\n## {heading}\n")
    return rest.partition("\n## ")[0].strip() if found else ""


def rows(text: str) -> list[list[str]]:
    """The cells of all tables, without their heads."""
    lines = [line.strip() for line in text.splitlines()]
    starts = [number for number, line in enumerate(lines) if re.fullmatch(r"[|\- ]+", line)]
    heads = {number - 1 for number in starts} | set(starts)
    return [
        [cell.strip() for cell in line.strip("|").split(" | ")]
        for number, line in enumerate(lines)
        if line.startswith("|") and number not in heads
    ]


def limits_told(limits: Limits) -> list[str]:
    """The rows that tell a vendor's limits."""
    life_s, pace = limits.lifetime_max_s, f"{limits.rate_per_s:g} targets a second"
    is_days = life_s % DAY_S == 0 and life_s > DAY_S
    life = f"{life_s // DAY_S} days" if is_days else f"{life_s // HOUR_S} hours"
    figures = {
        "payload": f"{limits.payload_max_bytes} bytes",
        "devices in a request": limits.devices_max,
        "lifetime": life,
        "pace, unless the credential names one": pace if limits.rate_per_s else "none",
        "requests under way": limits.in_flight_max,
        "time for an answer": f"{limits.deadline_s:g} seconds",
    }
    return [f"| {name} | {figure} |" for name, figure in figures.items()]


def names(cell: str, code: str) -> bool:
    """Whether a table's first cell is about this code, alone, among others or in a range."""
    text = cell.replace("`", "")
    if re.search(rf"(?<![\w-]){re.escape(code)}(?![\w-])", text):
        return True
    ranges = [(int(first), int(last)) for first, last in RANGE.findall(text)]
    return code.isdigit() and any(first <= int(code) <= last for first, last in ranges)


def untold(vendor: AnyVendor, heading: str, codes: list[str]) -> list[str]:
    """The codes that no table under this heading explains."""
    told = [cells for cells in rows(section(page_of(vendor), heading)) if all(cells)]
    return [code for code in codes if not any(names(cells[0], code) for cells in told)]


@pytest.mark.parametrize(
    ("cell", "told"),
    [
        ("`7`, 8", ["7", "8"]),
        ("10 to 12, 9", ["9", "10", "11", "12"]),
        ("`value` 7 (told as `value 7`)", ["7", "value 7"]),
        ("-1, others", ["-1", "others"]),
        ("17, x7, 7-8", ["17", "x7", "7-8"]),
    ],
)
def test_a_cell_names_what_stands_in_it_and_nothing_else(cell: str, told: list[str]) -> None:
    asked = ["7", "8", "9", "10", "11", "12", "1", "-1", "17", "x7", "7-8", "value 7", "others"]
    assert [code for code in asked if names(cell, code)] == [code for code in asked if code in told]


@each_vendor
def test_the_sources_are_the_vendors_own_and_have_their_date(vendor: AnyVendor) -> None:
    page, name = page_of(vendor), f"{vendor.NAME}.md"
    intro = page.partition("\n## ")[0]
    assert re.search(r"\]\(https?://", intro), f"{name} links no page of {vendor.NAME}"
    assert READ.search(intro), f"{name} does not say when its sources were read: (read 2026-11)"
    assert not MADE_UP.search(intro), f"{name} links {MADE_UP.findall(intro)}: name real pages"


@pytest.mark.evidence("a vendor is listed, and its sources and servers are its own")
@each_vendor
def test_the_file_speaks_to_the_vendor_and_names_its_pages(vendor: AnyVendor) -> None:
    path = REPO / "src" / "tocsin" / "channels" / "vendors" / f"{vendor.NAME}.py"
    texts = [
        node.value
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    found = [address for text in texts for address in MADE_UP.findall(text)]
    assert not found, f"{vendor.NAME}.py still names {found}: the vendor's own address goes there"


@each_vendor
def test_the_page_says_where_the_credential_comes_from(vendor: AnyVendor) -> None:
    told = section(page_of(vendor), "Credential").partition("\n|")[0]
    assert len(told) > 60, f'{vendor.NAME}.md does not say under "## Credential" where to get it'


@pytest.mark.evidence(
    "each vendor's page names every setting and limit, and what each code means and what to do",
    topic="Vendors",
    planted="Meizu's `region` misspelt, its lists one longer; vivo's 10097 and OPPO's "
    "`user_daily_limit` left out",
)
@each_vendor
def test_the_page_names_every_setting(vendor: AnyVendor) -> None:
    page = page_of(vendor)
    missing = [it for it in vendor.Settings.__struct_fields__ if f"`{it}`" not in page]
    assert not missing, f"{vendor.NAME}.md does not name the settings {missing}"


@pytest.mark.evidence(
    "each vendor's page names every setting and limit, and what each code means and what to do",
)
@each_vendor
def test_the_page_tells_every_limit(vendor: AnyVendor) -> None:
    told = section(page_of(vendor), "Limits").splitlines()
    missing = [row for row in limits_told(vendor.LIMITS) if row not in told]
    assert not missing, f'{vendor.NAME}.md has not under "## Limits": {missing}'


@pytest.mark.evidence(
    "each vendor's page names every setting and limit, and what each code means and what to do",
)
@each_vendor
def test_the_page_tells_what_each_answer_means_and_what_to_do(vendor: AnyVendor) -> None:
    codes = [
        reason or str(status)
        for status, reason in vendor.OUTCOMES
        if status != POSTED and (status, reason) != (200, "")
    ]
    missing = untold(vendor, "Answers", codes)
    assert not missing, f'{vendor.NAME}.md explains no {missing} in a table under "## Answers"'


@pytest.mark.evidence(
    "each vendor's page names every setting and limit, and what each code means and what to do",
)
@each_vendor
def test_the_page_tells_what_each_receipt_means_and_what_happens(vendor: AnyVendor) -> None:
    codes = [code or "others" for status, code in vendor.OUTCOMES if status == POSTED]
    assert bool(codes) == (report_of(vendor) is not None)
    missing = untold(vendor, "Receipts", codes)
    assert not missing, f'{vendor.NAME}.md explains no {missing} in a table under "## Receipts"'


@pytest.mark.evidence(
    "a vendor is listed, and its sources and servers are its own",
    topic="Vendors",
    planted="Meizu under another name; its file speaking to example.com",
)
@each_vendor
def test_the_page_is_found_in_the_table_of_vendors(vendor: AnyVendor) -> None:
    page = (REPO / "docs" / "CHANNELS.md").read_text(encoding="utf-8")
    link = f"[channels/{vendor.NAME}.md](channels/{vendor.NAME}.md)"
    found = [cells for cells in rows(page) if link in cells]
    assert len(found) == 1, f"docs/CHANNELS.md has no row that links channels/{vendor.NAME}.md"
    assert all(found[0]), f"docs/CHANNELS.md: the row of {vendor.NAME} has an empty cell"
    assert f"(`{vendor.NAME}`)" in found[0][0]


@pytest.mark.evidence("it has each close code, wait, limit and channel")
@each_vendor
def test_the_clients_page_says_what_its_token_is(vendor: AnyVendor) -> None:
    page = (REPO / "docs" / "clients.md").read_text(encoding="utf-8")
    found = [it for it in rows(section(page, "Vendors' tokens")) if it[0] == f"`{vendor.NAME}`"]
    assert len(found) == 1, f"docs/clients.md has no row for the token of {vendor.NAME}"
    assert all(found[0]), f"docs/clients.md: the row of {vendor.NAME} has an empty cell"


@each_vendor
def test_it_has_golden_conversations_each_with_its_source(vendor: AnyVendor) -> None:
    folder = REPO / "tests" / "wire" / "golden" / vendor.NAME
    files = sorted(folder.glob("*.json"))
    assert files, f"tests/wire/golden/{vendor.NAME}/ has no conversation"
    for path in files:
        told, name = json.loads(path.read_text(encoding="utf-8")), f"{vendor.NAME}/{path.name}"
        source = told["source"]
        assert source.startswith("https://"), f"{name}: the source is the address of a page"
        assert READ.search(source), f"{name}: the source says when it was read: (read 2026-11)"
        assert not MADE_UP.search(source), f"{name} has the source {source}: name a real page"
        assert told["what"], f"{name} does not say what it shows"


def second_source_fault(told: dict[str, Any]) -> str:
    """What is wrong with the second source of a conversation; empty where nothing is.

    Channel and sandbox were written by the same hand from the first one: whoever else has seen the
    vendor do it can say that it was read aright. Where nobody has, the file says so and why.
    """
    second = told.get("second_source", "")
    if second.startswith("none: "):
        return "" if len(second) > MIN_REASON_CHARS else "does not say why there is none"
    if not second.startswith("https://"):
        return "names no second source: an address, or none: and why"
    if not READ.search(second):
        return "does not say when its second source was read: (read 2026-11)"
    if MADE_UP.search(second):
        return f"has the second source {second}: name a real page"
    if address_of(second) == address_of(told["source"]):
        return "names the same source twice"
    return ""


def address_of(source: str) -> str:
    return source.partition(" (")[0].rstrip("/")


@pytest.mark.evidence(
    "each golden conversation names a second source, or why there is none",
    topic="Vendors",
    planted="one file without; the same page twice",
)
@each_vendor
def test_each_golden_conversation_has_a_second_source(vendor: AnyVendor) -> None:
    folder = REPO / "tests" / "wire" / "golden" / vendor.NAME
    for path in sorted(folder.glob("*.json")):
        told = json.loads(path.read_text(encoding="utf-8"))
        fault = second_source_fault(told)
        assert not fault, f"{vendor.NAME}/{path.name} {fault}"


@pytest.mark.evidence("each golden conversation names a second source, or why there is none")
@pytest.mark.parametrize(
    ("second", "fault"),
    [
        ("https://github.com/a/b (read 2026-11)", ""),
        ("none: no library and no forum shows such an answer", ""),
        (None, "names no second source"),
        ("", "names no second source"),
        ("somebody told us", "names no second source"),
        ("none: ", "does not say why"),
        ("none", "names no second source"),
        ("https://github.com/a/b", "does not say when"),
        ("https://acme.example/b (read 2026-11)", "name a real page"),
        ("https://vendor.com/page (read 2026-12)", "the same source twice"),
        ("https://vendor.com/page/ (read 2026-11)", "the same source twice"),
    ],
)
def test_a_second_source_is_another_one_or_says_why_there_is_none(
    second: str | None, fault: str
) -> None:
    told = {"source": "https://vendor.com/page (read 2026-11)"}
    if second is not None:
        told["second_source"] = second
    found = second_source_fault(told)
    assert (fault in found) if fault else not found


def test_nobody_else_has_a_page_or_golden_conversations() -> None:
    known = [vendor.NAME for vendor in VENDORS]
    assert sorted(path.stem for path in (REPO / "docs" / "channels").glob("*.md")) == known
    golden = REPO / "tests" / "wire" / "golden"
    assert {path.parent.name for path in golden.glob("*/*.json")} == set(known)
