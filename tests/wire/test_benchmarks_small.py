"""The benchmarks run and yield rows. No figure is looked at: a test must not depend on speed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.patience import PATIENCE_S
from tocsin.channels.registry import VENDORS

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed")
@pytest.mark.skipif(find_spec("aioapns") is None, reason="aioapns is not installed")
def test_each_benchmark_yields_its_rows() -> None:
    words = [sys.executable, "-m", "benchmarks", "--small", "--json"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, timeout=3 * PATIENCE_S, check=False)
    assert done.returncode == 0, done.stderr.decode()
    rows = json.loads(done.stdout)["rows"]
    measures = " ".join(row["measure"] for row in rows)
    for expected in ("AND/OR/NOT", "get_tag warm", "get_tag cold", "add_tag", "APNs pushes"):
        assert expected in measures
    for vendor in VENDORS:
        assert f"{vendor.NAME}, " in measures
    assert all(row["ours"] > 0 and row["other"] > 0 and row["beside"] for row in rows)
