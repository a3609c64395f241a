"""What vendors post to us, as their files read it: signatures, members, and nothing that raises."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.unit.channels.kit_huawei import huawei_settings
from tocsin.channels import huawei
from tocsin.channels.shared import RECEIPTS_MAX, Told, is_signed_by_huawei, read_receipts
from tocsin.domain.outcome import Outcome
from tocsin.ports import LateReceipt, Response

VECTORS = Path(__file__).parents[2] / "vectors" / "signatures.json"
VECTOR = msgspec.json.decode(VECTORS.read_bytes())["huawei_receipt"]
SIGNED_AT = int(VECTOR["timestamp_ms"]) / 1000
HEAD = f"timestamp={VECTOR['timestamp_ms']};nonce={VECTOR['nonce']};value={VECTOR['value']}"
SETTINGS = huawei_settings(callback_user=VECTOR["user"], callback_key=VECTOR["key"])


def is_signed(head: str | None, now: float = SIGNED_AT, settings: Any = SETTINGS) -> bool:
    headers = {} if head is None else {"x-huawei-callback-id": head}
    return huawei.is_signed(settings, headers, b"{}", now)


def test_huaweis_signature_is_the_known_answer() -> None:
    assert is_signed(HEAD)
    assert is_signed(HEAD.replace(";", "; "))


@pytest.mark.parametrize(
    "head",
    [
        None,
        "",
        ";;;",
        "value=",
        HEAD.replace("timestamp=1", "timestamp=2"),
        HEAD.replace("nonce=a", "nonce=b"),
        HEAD.replace("value=K", "value=k"),
        HEAD + "x",
        HEAD.rstrip("="),
        HEAD.replace(VECTOR["value"], "ü"),
        HEAD.replace(VECTOR["timestamp_ms"], "now"),
    ],
)
def test_any_other_head_is_refused(head: str | None) -> None:
    assert not is_signed(head)


def test_another_key_or_user_is_refused_and_without_a_key_nothing_is_asked() -> None:
    now = SIGNED_AT
    headers = {"x-huawei-callback-id": HEAD}
    assert not is_signed_by_huawei(headers, now, user="user2", key=VECTOR["key"])
    assert not is_signed_by_huawei(headers, now, user=VECTOR["user"], key="secret2")
    assert is_signed(None, settings=huawei_settings())


def test_a_signature_is_good_for_an_hour_either_way() -> None:
    assert is_signed(HEAD, SIGNED_AT + 3600)
    assert is_signed(HEAD, SIGNED_AT - 3600)
    assert not is_signed(HEAD, SIGNED_AT + 3601)
    assert not is_signed(HEAD, SIGNED_AT - 3601)


def test_a_receipt_of_huawei() -> None:
    status = {
        "token": "t",
        "appid": "104551789",
        "biTag": "7-1-00",
        "status": 0,
        "timestamp": 1_700_000_000_123,
        "requestId": "157440955549500001002006",
    }
    gone = {**status, "status": "2", "timestamp": "1700000000123"}
    posted = huawei.report({}, msgspec.json.encode({"statuses": [status, gone]}))
    at = 1_700_000_000.123
    assert posted.receipts == (
        LateReceipt(correlation="7-1-00", token="t", outcome=Outcome.ACCEPTED, code="0", at=at),
        LateReceipt(correlation="7-1-00", token="t", outcome=Outcome.TOKEN_DEAD, code="2", at=at),
    )
    assert posted.unreadable == 0


def test_a_call_holds_so_many_receipts_and_the_rest_is_not_looked_at() -> None:
    one = Told(code=0, correlation="7-1-00", token="t", at_ms=1000)
    for count, unreadable in ((RECEIPTS_MAX, 0), (RECEIPTS_MAX + 2, 1)):
        told = iter([one] * count)
        posted = read_receipts(huawei.OUTCOMES, told, Response(200))
        assert (len(posted.receipts), posted.unreadable) == (RECEIPTS_MAX, unreadable)
        assert len(list(told)) == unreadable
