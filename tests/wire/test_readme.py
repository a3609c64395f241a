"""The README holds: its blocks, pasted from top to bottom into two terminals, and its figures."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.architecture.tree import REPO
from tests.wire.terminal import Terminal, terminal
from tocsin.demo.display import COLUMNS, LEGEND
from tocsin.demo.verdict import CHECKS
from tocsin.demo.world import Sizes, tokens_needed
from tocsin.sandbox.kept_port import keep_port

TEXT = (REPO / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```sh\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)
NAMED = ("curl", "make", "python3")
"""The programs that the README asks for."""
USUAL = ("bash", "dirname", "env", "sh", "sleep")
"""Those that every Debian has and that a shell or a launcher asks for."""


def answer(heading: str) -> str:
    """The first JSON block below a heading."""
    section = TEXT.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    found = re.search(r"```json\n(.*?)```", section, re.DOTALL)
    assert found is not None
    return found.group(1).strip()


def checkout(folder: Path) -> None:
    """What `make` leaves behind, as far as the later blocks need it."""
    tools = folder / ".venv/bin"
    tools.mkdir(parents=True)
    words = {"tocsin": "-m tocsin.cli.main", "python": ""}
    for name, module in words.items():
        launcher = tools / name
        path = f"PYTHONPATH={REPO / 'src'}"
        launcher.write_text(f'#!/bin/sh\n{path} exec {sys.executable} {module} "$@"\n')
        launcher.chmod(0o755)


def only_named(folder: Path) -> str:
    """A PATH with the programs that the README names, and no others."""
    folder.mkdir()
    for name in (*NAMED, *USUAL):
        found = shutil.which(name)
        assert found is not None, f"{name} is not installed"
        (folder / name).symlink_to(found)
    return str(folder)


async def good(window: Terminal, block: str) -> str:
    status, shown = await window.paste(block)
    assert status == 0, shown
    return shown


@pytest.fixture
def ports() -> Iterator[dict[str, str]]:
    """Ports that nobody else takes here, by the README's."""
    with keep_port("127.0.0.1") as first, keep_port("127.0.0.1") as second:
        yield {"8080": str(first.getsockname()[1]), "8090": str(second.getsockname()[1])}


@pytest.mark.evidence(
    "the README's blocks, pasted into two terminals from top to bottom, answer what it "
    "says, with only the programs that it names",
    topic="Command line and demo",
    planted="the service ended before the lines that need it (`kill %1`, then the next "
    "block); job numbers that are not there; a count printed before it is known",
)
async def test_the_blocks_pasted_in_two_terminals_answer_what_the_readme_says(
    tmp_path: Path, ports: dict[str, str]
) -> None:
    commands, *blocks = BLOCKS
    assert [line.split("#")[0].split() for line in commands.splitlines()] == [
        ["make", "demo"],
        ["make", "test"],
    ]

    def as_printed(block: str) -> str:
        """The block on ports that are free here."""
        block = block.replace("tocsin sandbox ", f"tocsin sandbox --port {ports['8090']} ")
        for usual, free in ports.items():
            block = block.replace(usual, free)
        return block

    ten, listen, send, program, phones, end = map(as_printed, blocks)
    assert len(ten.splitlines()) == 10
    folder = tmp_path / "tocsin"
    checkout(folder)
    environment = {"PATH": only_named(tmp_path / "bin"), "HOME": str(tmp_path), "LANG": "C.UTF-8"}
    async with (
        terminal(folder, environment) as first,
        terminal(folder, environment) as second,
    ):
        shown = await good(first, ten)
        assert f"\n{answer('Ten lines of curl')}\n" in shown
        assert re.search(r'"ErrorCode":0,"TaskId":"[0-9a-f_]+"', shown)
        assert re.search(r"^[0-9a-f_]+ +push +", shown, re.MULTILINE)
        listening = await second.begin(listen)
        await second.until("registered", listening)
        await good(first, send)
        await second.until("Hello.*from Tocsin", listening)
        assert f"\n{promised('It prints')}\n" in await good(first, program)
        shown = await good(first, phones)
        states = re.findall(r"^ +[12] +(apns|huawei) +good ", shown, re.MULTILINE)
        assert states == ["apns", "huawei"]
        assert await second.interrupt() != 0
        shown = await good(first, end)
        # Both jobs were there to be ended, and nothing is left of them.
        assert "no such job" not in shown
        left = await good(first, "jobs")
        assert "tocsin" not in left


def promised(words: str) -> str:
    found = re.search(rf"{words} `(.*?)`", TEXT)
    assert found is not None
    return found.group(1)


def figure(text: str) -> int:
    return 0 if text in ("·", "\N{EN DASH}") else int(text.replace(",", ""))


def rows() -> dict[str, list[str]]:
    """The README's table: the row's name to its cells."""
    table = re.search(r"```text\n( +devices .*?)```", TEXT, re.DOTALL)
    assert table is not None
    heading, _rule, *lines = table.group(1).splitlines()
    assert re.split(r"  +", heading.strip()) == [*COLUMNS, "devices a call"]
    cells = [re.split(r"  +", line.strip()) for line in lines if line.strip()]
    return {name: row for name, *row in cells}


def looked_at() -> dict[str, int]:
    """How much each check of the README had to look at."""
    found = re.findall(r"^  held   (.{10}) +(.*) \(([\d,]+) compared\)$", TEXT, re.MULTILINE)
    for name, meaning, _ in found:
        assert CHECKS[name.strip()] == meaning
    return {name.strip(): figure(count) for name, _, count in found}


@pytest.mark.evidence(
    "the README's table, checks and text are of one run of the demo, and its rows come to "
    "their sums",
    topic="Command line and demo",
    planted="one device more in a row",
)
@pytest.mark.parametrize(("place", "column"), list(enumerate(COLUMNS)), ids=list(COLUMNS))
def test_the_rows_of_the_vendors_come_to_the_row_of_all(place: int, column: str) -> None:
    table = rows()
    vendors = [row for name, row in table.items() if name not in ("all vendors", "online")]
    total = sum(figure(row[place]) for row in vendors)
    assert figure(table["all vendors"][place]) == total, column


@pytest.mark.evidence(
    "the README's table, checks and text are of one run of the demo, and its rows come to "
    "their sums",
)
def test_the_table_the_checks_and_the_text_are_of_one_run() -> None:
    table, sizes = rows(), Sizes()
    columns = list(COLUMNS)
    everything = dict(zip(columns, map(figure, table["all vendors"]), strict=False))
    online = dict(zip(columns, map(figure, table["online"]), strict=False))
    counts = {name: figure(row[0]) for name, row in table.items()}
    assert counts == {**tokens_needed(sizes), "all vendors": 9_100, "online": sizes.sockets}
    checks = looked_at()
    assert checks["tokens"] == everything["devices"]
    assert checks["waits"] == everything["put off"]
    assert checks["sockets"] == online["sent"]
    # The log has a line for each device taken, refused or put off, whoever was asked twice too.
    assert checks["vendor log"] >= everything["sent"] + everything["refused"]
    both = sizes.sockets_with_token
    devices = everything["devices"] + online["devices"] - both
    said = f"registers {devices:,} devices: {everything['devices'] - both:,} with a token"
    assert said in " ".join(TEXT.split())
    assert f"{both} connected by WebSocket, and {both} with both" in " ".join(TEXT.split())


def test_what_the_demo_calls_its_devices_is_what_the_readme_does() -> None:
    meaning = dict(LEGEND)["devices"]
    assert meaning.format(both="100 of the 200", all="9,200").endswith("9,200 in all")
