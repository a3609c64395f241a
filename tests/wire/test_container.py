"""A start as in a container: nothing can be written but the data folder, by a user without a name.

No root, no HOME, no TMPDIR that can be written, and every file system read-only. Where a process
may have mounts of its own the machine's own files are shown to it that way; the data folder is
bound in as a volume would be.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from tests.architecture.tree import REPO
from tests.wire.installed import told_by

USER = "10001"
"""As in the Containerfile."""
READ_ONLY = """
mount --bind "$1" "$1"
awk '{ print $5 }' /proc/self/mountinfo | while read -r point; do
    case $point in "$1" | /proc | /proc/* | /sys | /sys/* | /dev | /dev/*) continue ;; esac
    mount -o remount,bind,ro "$point" 2>/dev/null || true
done
if touch /tmp/a-file-that-must-not-be 2>/dev/null; then echo "/tmp can be written" >&2; exit 1; fi
data=$1; shift
exec setpriv --reuid=$USER_ID --regid=$USER_ID --clear-groups --no-new-privs \\
    --inh-caps=-all,+dac_read_search --ambient-caps=+dac_read_search \\
    --bounding-set=-all,+dac_read_search \\
    env -i PATH=/usr/bin:/bin TMPDIR=/nowhere PYTHONPATH="$SOURCE" PYTHONDONTWRITEBYTECODE=1 \\
    TOCSIN_DATA="$data" "$@"
"""
"""In a mount namespace of its own, as root. The one right that is left is to read what this machine
keeps for root: where its Python lies is no container's business."""
CONTAINED = ("unshare", "--mount", "sh", "-eu", "-c", READ_ONLY, "sh")
ENVIRONMENT = {"PATH": os.environ["PATH"], "USER_ID": USER, "SOURCE": str(REPO / "src")}


@pytest.fixture
def volume() -> Iterator[Path]:
    """An empty folder of the nameless user's; pytest's own are root's, with all above them."""
    folder = Path(tempfile.mkdtemp(prefix="tocsin-volume-"))
    try:
        if may_contain(folder):
            os.chown(folder, int(USER), int(USER))
            yield folder
        else:
            pytest.skip("a process may have no mounts of its own here")
    finally:
        shutil.rmtree(folder)


def may_contain(folder: Path) -> bool:
    """Whether this machine lets us."""
    words = (*CONTAINED, str(folder), sys.executable, "-c", "import tocsin.service.running")
    if os.geteuid() != 0 or any(shutil.which(it) is None for it in ("unshare", "setpriv")):
        return False
    return subprocess.run(words, env=ENVIRONMENT, capture_output=True, check=False).returncode == 0


@pytest.mark.evidence(
    "it starts as in a container: every file system read-only but its folder, a user "
    "without a name, no HOME, no TMPDIR",
    topic="Installing it",
    planted="a temporary file made at the start",
)
async def test_it_serves_and_keeps_everything_in_its_volume(volume: Path, tmp_path: Path) -> None:
    tocsin = (*CONTAINED, str(volume), sys.executable, "-m", "tocsin.cli.main")
    serve = (*tocsin, "serve", "--port", "0", "--host", "0.0.0.0", "--json")
    async with told_by(serve, tmp_path, ENVIRONMENT) as (process, told):
        assert told["data"] == str(volume)
        url = f"http://127.0.0.1:{told['url'].rpartition(':')[2]}"
        # As `podman exec` would: the same user, beside the service.
        add = (*tocsin, "app", "add", "1400000001", "--admin", "admin")
        added = await asyncio.create_subprocess_exec(
            *add, env=ENVIRONMENT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        assert (await added.communicate())[0]
        assert added.returncode == 0
        async with aiohttp.ClientSession() as session, session.get(f"{url}/readyz") as answer:
            assert answer.status == 200
        process.terminate()
        assert await process.wait() == 0, (tmp_path / "stderr.log").read_text()
    log = (tmp_path / "stderr.log").read_text()
    assert "Traceback" not in log
    assert "error" not in log
    for name in ("tocsin.db", "secret.key"):
        kept = await asyncio.to_thread((volume / name).stat)
        assert kept.st_uid == int(USER)


@pytest.mark.evidence(
    "the Containerfile runs a number on a named version, the compose file holds no secret "
    "and puts the sandbox on the service's loopback, and both name the present version",
    topic="Installing it",
    planted="`latest`; a file copied that is not in the build's context",
)
def test_the_containerfile_names_what_it_runs_and_as_whom() -> None:
    lines = (REPO / "Containerfile").read_text().splitlines()
    bases = [line.split()[1] for line in lines if line.startswith("FROM ")]
    # A version tag of a short name: which registry it comes from is the engine's business.
    assert all(re.fullmatch(r"python:3\.\d+-slim-\w+", base) for base in bases), bases
    assert {f"USER {USER}:{USER}", "VOLUME /data", "STOPSIGNAL SIGTERM"} <= set(lines)
    assert any(line.startswith("HEALTHCHECK ") for line in lines)
    copied = {name for line in lines if line.startswith("COPY ") for name in line.split()[1:-1]}
    kept = set(re.findall(r"^!(.*)$", (REPO / ".dockerignore").read_text(), re.MULTILINE))
    assert copied - {"--from=build", "/opt/tocsin"} == kept


@pytest.mark.evidence(
    "the Containerfile runs a number on a named version, the compose file holds no secret "
    "and puts the sandbox on the service's loopback, and both name the present version",
)
def test_the_compose_file_has_the_sandbox_on_the_services_loopback_and_no_secret() -> None:
    text = (REPO / "compose.yaml").read_text()
    service, sandbox = text.split("\n  sandbox:\n")[0], text.split("\n  sandbox:\n")[1]
    assert '- "127.0.0.1:8080:8080"' in service
    assert 'network_mode: "service:tocsin"' in sandbox
    for part in (service, sandbox):
        assert {"    read_only: true", "      - ALL"} <= set(part.splitlines())
    assert not re.search(r"(?i)environment:|env_file:|password|token|_key", text)


@pytest.mark.evidence(
    "the Containerfile runs a number on a named version, the compose file holds no secret "
    "and puts the sandbox on the service's loopback, and both name the present version",
)
def test_the_ways_to_install_name_the_present_version() -> None:
    version = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]["version"]
    for name in ("Containerfile", "compose.yaml", "docs/install.md"):
        named = re.findall(r"tocsin[:-](\d+\.\d+\.\d+)", (REPO / name).read_text())
        assert set(named) == {version}, name
