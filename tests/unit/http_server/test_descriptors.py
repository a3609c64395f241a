"""What the limit of open files is used for."""

from __future__ import annotations

import resource

import pytest

from tocsin.errors import SetupError
from tocsin.http_server.descriptors import CALLS, DEVICES_MAX, plan_files, raise_limit


@pytest.mark.evidence("the limit of open files is raised, and divided")
def test_the_default_takes_what_there_is() -> None:
    plan = plan_files(20_000, devices_max=0, vendor_connections=32)
    assert plan.devices_max + CALLS == plan.places
    assert 19_000 < plan.places < 19_700
    assert plan_files(1 << 20, devices_max=0, vendor_connections=32).devices_max == DEVICES_MAX


@pytest.mark.parametrize("limit", [64, 256, 1024])
def test_few_files_are_divided_too(limit: int) -> None:
    plan = plan_files(limit, devices_max=0, vendor_connections=32)
    assert plan.places >= limit // 2
    assert 0 < plan.devices_max < plan.places < limit


@pytest.mark.evidence("the limit of open files is raised, and divided")
def test_more_devices_than_files_are_refused_with_what_to_do() -> None:
    with pytest.raises(SetupError) as refused:
        plan_files(1024, devices_max=5000, vendor_connections=32)
    needed = 5000 + CALLS + 480
    assert f"takes {needed} open files" in str(refused.value)
    assert f"ulimit -n {needed}" in refused.value.advice
    assert plan_files(needed, devices_max=5000, vendor_connections=32).devices_max == 5000
    with pytest.raises(SetupError):
        plan_files(needed - 1, devices_max=5000, vendor_connections=32)


@pytest.mark.evidence(
    "the limit of open files is raised, and divided",
    topic="Connections",
    planted="no reserve",
)
def test_the_limit_is_raised_as_far_as_it_may() -> None:
    former = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (200, former[1]))
        limit = raise_limit()
        assert limit == resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 200
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, former)
