"""The wheel holds everything, and serves far from a checkout, under a manager such as systemd."""

from __future__ import annotations

import asyncio
import shutil
import signal
import socket
import subprocess
import sys
import zipfile
from pathlib import Path

import aiohttp
import pytest

from tests.architecture.tree import REPO
from tests.patience import PATIENCE_S
from tests.wire.installed import TOCSIN, build_wheel, environment_of, told_by, unpack

UNIT = REPO / "deploy/tocsin.service"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("dist"))


@pytest.mark.evidence(
    "every file of the package is in the wheel, and what an installation needs lies beside it",
    topic="Installing it",
    planted=None,
)
def test_every_file_of_the_package_is_in_the_wheel(wheel: Path) -> None:
    source = REPO / "src"
    ours = {
        str(path.relative_to(source))
        for path in (source / "tocsin").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert any(name.endswith(".sql") for name in ours)
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        scripts = archive.read(next(it for it in archive.namelist() if "entry_points" in it))
    assert names == ours
    assert b"tocsin=tocsin.cli.entry:main" in scripts


@pytest.mark.evidence(
    "every file of the package is in the wheel, and what an installation needs lies beside it",
)
def test_what_an_installation_needs_lies_beside_the_wheel(wheel: Path) -> None:
    beside = {path.name for path in wheel.parent.iterdir()} - {wheel.name}
    assert beside == {
        *("requirements.lock", "tocsin.example.toml", "tocsin.service"),
        *("Containerfile", "compose.yaml", wheel.name.replace("-py3-none-any.whl", ".tar.gz")),
    }


@pytest.mark.evidence(
    "the wheel serves, and runs its sandbox, far from a checkout",
    topic="Installing it",
    planted=None,
)
def test_it_is_the_wheel_that_is_run(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    unpack(wheel, site)
    asked = "import tocsin; print(tocsin.__path__[0])"
    whence = subprocess.run(
        [sys.executable, "-P", "-c", asked],
        env=environment_of(site, tmp_path),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert whence.stdout.strip() == str(site / "tocsin")


class Ear:
    """The service manager's end."""

    def __init__(self, folder: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(folder / "notify"))
        self._socket.setblocking(False)
        self.environment = {"NOTIFY_SOCKET": str(folder / "notify"), "WATCHDOG_USEC": "300000"}

    async def until(self, text: str) -> None:
        """Wait until it is told this, whatever else it is told."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(PATIENCE_S):
            while text not in (await loop.sock_recv(self._socket, 4096)).decode().splitlines():
                pass

    def close(self) -> None:
        self._socket.close()


@pytest.mark.evidence("the wheel serves, and runs its sandbox, far from a checkout")
@pytest.mark.evidence(
    "systemd is told of the start, a reload and the stop",
    topic="Installing it",
    planted="readiness not told",
)
async def test_a_service_of_the_wheel_serves_and_tells_its_manager(
    wheel: Path, tmp_path: Path
) -> None:
    site, data = tmp_path / "site", tmp_path / "data"
    unpack(wheel, site)
    ear = Ear(tmp_path)
    environment = environment_of(site, tmp_path)
    serve = (sys.executable, *TOCSIN, "serve", "--data", str(data), "--port", "0", "--json")
    async with told_by(serve, tmp_path, {**environment, **ear.environment}) as (process, told):
        async with aiohttp.ClientSession() as session, session.get(told["url"] + "/readyz") as got:
            assert got.status == 200
        await ear.until("READY=1")
        for _ in range(2):
            await ear.until("WATCHDOG=1")
        # What ExecReload and a stop of the unit send.
        process.send_signal(signal.SIGHUP)
        await ear.until("RELOADING=1")
        await ear.until("READY=1")
        process.send_signal(signal.SIGTERM)
        await ear.until("STOPPING=1")
        assert await process.wait() == 0
    ear.close()


@pytest.mark.evidence("the wheel serves, and runs its sandbox, far from a checkout")
async def test_the_sandbox_of_the_wheel_runs(wheel: Path, tmp_path: Path) -> None:
    unpack(wheel, tmp_path / "site")
    sandbox = (sys.executable, *TOCSIN, "sandbox", "--port", "0", "--json")
    environment = environment_of(tmp_path / "site", tmp_path)
    async with told_by(sandbox, tmp_path, environment) as (_process, told):
        assert told["apns"]["url"].startswith("https://127.0.0.1:")


@pytest.mark.evidence(
    "the unit is right, and withholds what a service does not need",
    topic="Installing it",
    planted="a directive misspelt",
)
@pytest.mark.optional
@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path: Path) -> None:
    # It asks whether the program is there, which it is not on this machine.
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/opt/tocsin/bin/tocsin", "/bin/true"))
    words = ["systemd-analyze", "verify", str(unit)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.evidence("the unit is right, and withholds what a service does not need")
def test_the_unit_withholds_what_a_service_does_not_need() -> None:
    lines = set(UNIT.read_text().splitlines())
    assert lines >= {
        *("Type=notify", "WatchdogSec=60", "ExecReload=kill -HUP $MAINPID"),
        *("DynamicUser=yes", "StateDirectory=tocsin", "ProtectSystem=strict"),
        *("NoNewPrivileges=yes", "CapabilityBoundingSet=", "LimitNOFILE=262144"),
    }
