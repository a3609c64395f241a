"""What is taken out of a vendor's words, and what is left of them."""

from __future__ import annotations

import pytest

from tests.unit.channels.kit import addressed_by, delivery, message, settings_of
from tocsin.channels.redactor import Redactor
from tocsin.channels.vendors import oppo, vivo, webpush
from tocsin.conversation import Denied
from tocsin.domain.outcome import Outcome

TOKEN = "3f9a2c71e05b84d6c1f07e3"
"""As short as vivo's."""
SECRET = "canary-oppo-master-secret"
PROOF = "oppo-token-of-today"


def cleaned(said: str, token: str = TOKEN) -> str:
    """What OPPO said of one push, as it may be kept."""
    told = message(title="Meet me at the harbour", desc="at 8", ext="")
    given = (delivery(token=token, message=told),)
    return Redactor(settings_of(oppo)).about(given, PROOF).clean(said)


@pytest.mark.evidence(
    "what a vendor quotes of tokens, texts and secrets is in no books and no logs",
)
@pytest.mark.parametrize(
    ("said", "kept"),
    [
        (f"bad id {TOKEN} of com.example.app", "bad id … of com.example.app"),
        (f"bad id [{TOKEN[:9]}], sorry", "bad id […], sorry"),
        (f"bad id *{TOKEN[-8:]}", "bad id *…"),
        (f"id={TOKEN}&id={TOKEN}", "id=…&id=…"),
        (f"sign of {SECRET} is wrong", "sign of … is wrong"),
        ("sign of master-secret", "sign of …"),
        (f"no such token: {PROOF}", "no such token: …"),
        ("'Meet me at the harbour' is blocked", "'…' is blocked"),
        ("'Meet me at the har' is blocked", "'…' is blocked"),
        ("Meet me at the bar", "Meet me at the bar"),
        # An id of nobody here.
        ("known as 1c9fe2ab77d04e5581aa03c2", "known as …"),
    ],
)
def test_what_is_quoted_is_taken_out(said: str, kept: str) -> None:
    assert cleaned(said) == kept


@pytest.mark.evidence(
    "what a vendor quotes of tokens, texts and secrets is in no books and no logs",
)
@pytest.mark.parametrize(
    "said",
    [
        "",
        "41",
        "Invalid Registration_id",
        "BadEnvironmentKeyIdInToken",
        "BAD_REQUEST message.android.notification.channel_id",
        "超出单日推送总量限制,请在1000条以内,稍后再试,谢谢合作,再见",
        "payload over 4096 bytes",
    ],
)
def test_all_other_words_are_kept(said: str) -> None:
    assert cleaned(said) == said


def test_an_address_of_a_browser_does_not_take_plain_words_along() -> None:
    """A subscription is JSON, and its members have names that anybody may use."""
    one = addressed_by(webpush, delivery(token="Zk93QmTr71"))
    words = Redactor(settings_of(webpush)).about((one,))
    assert words.clean("endpoint without expirationTime") == "endpoint without expirationTime"
    assert words.clean("gone: Zk93QmTr71") == "gone: …"


def test_a_code_is_no_better_than_a_text() -> None:
    words = Redactor(settings_of(vivo)).about((delivery(token=TOKEN),))
    found = words.cleaned(Denied(Outcome.BAD_REQUEST, f"regId {TOKEN}", f"{TOKEN} is odd", 7.0))
    assert found == Denied(Outcome.BAD_REQUEST, "regId …", "… is odd", 7.0)
