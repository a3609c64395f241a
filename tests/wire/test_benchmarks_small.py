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


ALWAYS = ("a device connects", "AND/OR/NOT", "get_tag warm", "get_tag cold")
BESIDE = {
    "redis-server": ("add_tag",),
    "nginx": ("APNs pushes", *(f"{vendor.NAME}, " for vendor in VENDORS)),
}
"""Measures that are left out where this program is absent: there is nothing to run beside them."""


@pytest.mark.evidence(
    "figures come out of one command, every vendor's too",
    topic="Command line and demo",
    planted="a benchmark that raises; a vendor left out of the table",
)
@pytest.mark.evidence(
    "tests hold with nginx, redis-server and Node present or absent (`.ci/run` runs them at"
    " both ends)",
    topic="Installing it",
    planted="a row asked for that is left out; a judge for Node run without Node",
)
@pytest.mark.slow
@pytest.mark.optional
@pytest.mark.skipif(find_spec("aioapns") is None, reason="aioapns is not installed")
def test_each_benchmark_yields_its_rows() -> None:
    words = [sys.executable, "-m", "benchmarks", "--small", "--json"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, timeout=3 * PATIENCE_S, check=False)
    assert done.returncode == 0, done.stderr.decode()
    told = json.loads(done.stdout)
    rows, remarks = told["rows"], " ".join(told["remarks"])
    measures = " ".join(row["measure"] for row in rows)
    for expected in ALWAYS:
        assert expected in measures
    for program, only_beside in BESIDE.items():
        is_here = shutil.which(program) is not None
        assert (f"{program} is not installed" in remarks) is not is_here
        assert [it in measures for it in only_beside] == [is_here] * len(only_beside)
    assert all(row["ours"] > 0 and row["other"] > 0 and row["beside"] for row in rows)
