"""Faults get into a service by arguments alone: no setting and no environment variable does it."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import pytest

from tocsin.adapters.fault_injection import NAMES, faulty_http, faulty_store
from tocsin.adapters.http import OutgoingHttp
from tocsin.adapters.sqlite.store import SqliteStore
from tocsin.config import load
from tocsin.service.opening import Interceptors, open_service


@pytest.mark.evidence(
    "`tocsin serve` can inject no fault, whatever its settings and its environment are",
    topic="Command line and demo",
    planted="the variable `TOCSIN_BREAK` read again at the opening; the faulty service imported by "
    "a command",
)
async def test_no_environment_variable_injects_a_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in NAMES:
        # The variable of former releases, and every likely one.
        for word in ("BREAK", "FAULT", "FAULTS", "FAULT_INJECTION", "INJECT", "PLANTED"):
            monkeypatch.setenv(f"TOCSIN_{word}", name)
        config = load(data=tmp_path, environment=os.environ)
        async with open_service(config) as service:
            assert type(service.store) is SqliteStore
            assert type(service.http) is OutgoingHttp


@pytest.mark.evidence(
    "`tocsin serve` can inject no fault, whatever its settings and its environment are"
)
async def test_an_argument_injects_a_fault(tmp_path: Path) -> None:
    config = load(data=tmp_path, environment={})
    for name in NAMES:
        interceptors = Interceptors(
            store=partial(faulty_store, name=name), http=partial(faulty_http, name=name)
        )
        async with open_service(config, interceptors=interceptors) as service:
            is_untouched = (type(service.store) is SqliteStore, type(service.http) is OutgoingHttp)
            assert sorted(is_untouched) == [False, True]
