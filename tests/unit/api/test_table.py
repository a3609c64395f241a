"""The command table and the page that is made from it."""

from __future__ import annotations

import pytest

from tocsin.api.commands.table import BY_PATH, COMMANDS
from tocsin.domain.quota import PROFILES

TIMPUSH = {
    "push", "batch", "revoke", "set_attr_name", "get_attr_name", "set_attr", "get_attr",
    "remove_attr", "add_tag", "get_tag", "remove_tag", "clear_all_tags",
}  # fmt: skip
OLD = {
    "im_push", "im_set_attr_name", "im_get_attr_name", "im_set_attr", "im_get_attr",
    "im_remove_attr", "im_add_tag", "im_get_tag", "im_remove_tag", "im_remove_all_tags",
}  # fmt: skip
LOGIN = {"account_import", "multiaccount_import", "account_delete", "account_check", "kick"}
OPENIM = {"query_online_status", "querystate"} | OLD


@pytest.mark.evidence(
    "every promised command is there",
    topic="The wire",
    planted="revoke under another name",
)
def test_every_promised_command_is_there_once() -> None:
    promised = {
        *(f"/v4/timpush/{name}" for name in TIMPUSH),
        *(f"/v4/all_member_push/{name}" for name in OLD),
        *(f"/v4/im_open_login_svc/{name}" for name in LOGIN),
        *(f"/v4/openim/{name}" for name in OPENIM),
    }
    assert set(BY_PATH) == promised
    assert len(COMMANDS) == len(promised)


def test_handlers_bear_the_names_of_their_commands() -> None:
    assert [each.handle.__name__ for each in COMMANDS] == [each.name for each in COMMANDS]


def test_the_profile_unlimited_has_no_rates() -> None:
    unlimited, compatible = PROFILES["unlimited"], PROFILES["compatible"]
    assert {each.rate_of(unlimited) for each in COMMANDS} == {0}
    words = {each.name: each.rate for each in COMMANDS if each.rate_of(compatible)}
    rates = {each.name: each.rate_of(compatible) for each in COMMANDS}
    assert all(words[name] == f"{rates[name]:g}/s" for name in words)
