"""What the endpoint writes into the log about a request."""

from __future__ import annotations

from tests.unit.sandbox.test_receipts import Scene
from tocsin.clock import ManualClock


def test_the_devices_of_a_list_share_the_number_of_their_request() -> None:
    it = Scene(ManualClock())
    it.push(1, 2, 3)
    it.push(4)
    it.push(1, 2)
    found = [(entry.sequence, entry.request) for entry in it.log.entries()]
    assert found == [(1, 1), (2, 1), (3, 1), (4, 4), (5, 5), (6, 5)]
