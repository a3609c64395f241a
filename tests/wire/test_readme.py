"""The README's lines work as printed, one block after the other in one terminal."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import sys
from pathlib import Path

from tests.house.tree import REPO
from tests.patience import PATIENCE_S

TEXT = (REPO / "README.md").read_text(encoding="utf-8")


def block(heading: str, language: str) -> str:
    """The first fenced block of a language below a heading."""
    section = TEXT.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    found = re.search(rf"```{language}\n(.*?)```", section, re.DOTALL)
    assert found is not None
    return found.group(1)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    return port


async def test_the_lines_of_curl_and_for_phones_answer_what_the_readme_says(tmp_path: Path) -> None:
    tocsin = tmp_path / ".venv/bin/tocsin"
    tocsin.parent.mkdir(parents=True)
    tocsin.write_text(f'#!/bin/sh\nexec {sys.executable} -m tocsin.cli.main "$@"\n')
    tocsin.chmod(0o755)
    lines = block("Ten lines of curl", "sh")
    assert len(lines.splitlines()) == 10
    lines += block("Phones", "sh").replace("tocsin sandbox ", "tocsin sandbox --port 8090 ")
    lines = lines.replace("8080", str(free_port())).replace("8090", str(free_port()))
    # Whatever goes wrong, the servers that the lines started end with them.
    lines = "trap 'kill $(jobs -p) 2>/dev/null' EXIT\n" + lines
    environment = {name: it for name, it in os.environ.items() if not name.startswith("TOCSIN_")}
    process = await asyncio.create_subprocess_exec(
        "bash",
        "-ec",
        lines,
        cwd=tmp_path,
        env={**environment, "PYTHONPATH": str(REPO / "src")},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(PATIENCE_S):
        out, err = await process.communicate()
    printed = out.decode()
    assert process.returncode == 0, printed + err.decode()
    assert block("Ten lines of curl", "json").strip() in printed
    assert re.search(r'"ErrorCode":0,"TaskId":"[0-9a-f_]+"', printed)
    assert re.search(r"^[0-9a-f_]+ +push +", printed, re.MULTILINE)
    assert re.findall(r"^ +[12] +(apns|huawei) +good ", printed, re.MULTILINE) == ["apns", "huawei"]
