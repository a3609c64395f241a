"""A recall whose overwrite has to wait for a vendor that is held back."""

from __future__ import annotations

from typing import Any

import pytest

from tests.sim.works import APP, Works
from tocsin.domain.message import Message
from tocsin.domain.outcome import State
from tocsin.domain.task import Phase
from tocsin.sandbox.faults import Rule

TROUBLES: dict[str, dict[str, Any]] = {
    "its token service is down": {"path": "/oauth2/*", "status": 500, "until_s": 180},
    "it asks for a pause": {"path": "/v1/*", "status": 503, "times": 1, "retry_after_s": 120},
}


@pytest.mark.evidence(
    "a recall's overwrite reaches the others however long one vendor is held back",
    topic="Trouble, vendor by vendor",
    planted="the job that waits counted as one that breaks its workers",
)
@pytest.mark.parametrize("trouble", TROUBLES.values(), ids=TROUBLES.keys())
async def test_the_other_vendors_devices_get_the_overwrite_in_the_end(
    trouble: dict[str, Any],
) -> None:
    """Half a minute of looking for the recalled push's end is no job that breaks its workers."""
    works = await Works().open({"huawei": 3, "fcm": 2})
    works.sandbox.faults.add(Rule(vendor="huawei", kind="status", **trouble))
    number = await works.push(ttl_s=3600)
    await works.go_on(20)
    (recalled,) = await works.store.tasks(APP)
    assert recalled.number == number
    await works.accepting.recall(await app_of(works), recalled.task_id, Message(title="corrected"))
    await works.go_on(600, step_s=1)
    overwrite = next(it for it in await works.store.tasks(APP) if it.overwrites == number)
    assert overwrite.phase is Phase.DONE
    ledger = await works.ledger(overwrite.number)
    assert ledger.faults == []
    assert ledger.states[State.SENT] == 2
    assert (await works.ledger(number)).states[State.RECALLED] == 3


async def app_of(works: Works) -> Any:
    app = await works.store.app(APP)
    assert app is not None
    return app
