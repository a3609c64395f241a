from __future__ import annotations

from tests.unit.channels.kit import AUTHORITY, NOW, delivery
from tests.unit.channels.kit_apns import apns_settings
from tocsin.channels.vendors import apns
from tocsin.conversation import Request


def test_two_teams_never_share_a_connection() -> None:
    pools = []
    for team in ("TEAM123456", "TEAM654321"):
        made = apns.request(apns_settings(team_id=team), AUTHORITY, delivery(), NOW)
        assert isinstance(made, Request)
        pools.append(made.pool)
    assert pools == ["TEAM123456", "TEAM654321"]
