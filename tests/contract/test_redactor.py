"""A vendor that quotes our tokens, texts and secrets in its answers: neither books nor logs do."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from itertools import cycle
from typing import Any, get_type_hints

import msgspec
import pytest

from tests.unit.channels.kit import OpenGate, driver, given, kit_of, message, refusal, settings_of
from tocsin.channels.redactor import is_secret
from tocsin.channels.registry import VENDORS, ListVendor, SingleVendor
from tocsin.conversation import Request, Response
from tocsin.domain.outcome import POSTED
from tocsin.log import configure

AnyVendor = SingleVendor | ListVendor

each_vendor = pytest.mark.parametrize("vendor", VENDORS, ids=lambda vendor: vendor.NAME)
each_with_a_service = pytest.mark.parametrize(
    "vendor", [it for it in VENDORS if kit_of(it).authority], ids=lambda vendor: vendor.NAME
)

TOKEN = "Kx7Qm2Zt9RwB4nYv5Lp1"
"""Too short to be known by its length."""
TITLE, DESC = "Quartz jugs vex bold wyverns", "Zany foxes grab my plush kiwi"
MARK, PROOF = "%quote%", "%proof%"
PROOFS = ("authorization", "authtoken")
PART = 12
"""So much of a secret in a row is a quotation; less may be a word of anybody's."""


class Quoting:
    """A vendor that answers this, with a quotation in the place of its mark."""

    def __init__(self, vendor: AnyVendor, answer: Response, quote: str, *, is_open: bool) -> None:
        """`is_open` is its token service."""
        self._given = kit_of(vendor).authority if is_open else {}
        self._answer = answer
        self._quote = quote
        self.quoted: list[str] = []

    async def send(
        self,
        request: Request,
        deadline_s: float,
        may_begin: Callable[[], bool] | None = None,
    ) -> Response:
        given = self._given.get(request.path)
        if given is not None:
            return given
        proofs = [value for name, value in request.headers if name.lower() in PROOFS]
        quote = " ".join(proofs) if self._quote == PROOF else self._quote
        self.quoted.append(quote)
        body = self._answer.body.replace(MARK.encode(), msgspec.json.encode(quote)[1:-1])
        return msgspec.structs.replace(self._answer, body=body)


def secrets_of(vendor: AnyVendor) -> list[str]:
    """What the credential holds in confidence; of a key two lines."""
    settings = settings_of(vendor)
    hints = get_type_hints(vendor.Settings, include_extras=True)
    told = [getattr(settings, name) for name, hint in hints.items() if is_secret(hint)]
    lines = [line for text in told for line in text.splitlines() if line]
    return [line for line in lines if "-----" not in line][:2]


def marked(answer: Response) -> Iterator[bytes]:
    """The answer's JSON, if it is some, with the mark behind one of its texts: one for each."""
    try:
        body = msgspec.json.decode(answer.body)
    except msgspec.DecodeError:
        return
    for form in _marked(body):
        yield msgspec.json.encode(form)


def _marked(body: Any) -> Iterator[Any]:
    for name, value in body.items() if isinstance(body, dict) else ():
        if isinstance(value, str):
            yield body | {name: f"{value} {MARK}"}
        for inner in _marked(value):
            yield body | {name: inner}


def quoted_in(told: str, texts: list[str]) -> set[str]:
    """The parts of these texts that somebody has told."""
    parts = {text[start : start + PART] for text in texts for start in range(len(text) - PART + 1)}
    return {part for part in parts if part in told}


@pytest.mark.evidence(
    "what a vendor quotes of tokens, texts and secrets is in no books and no logs",
    topic="Channels and sandbox",
    planted="the words of a list, of one device, and of a token service kept as they came; "
    "the code not looked at; secrets not looked for, nor texts, nor long ids of "
    "nobody",
)
@each_vendor
async def test_no_answer_brings_what_it_quotes_into_books_or_logs(vendor: AnyVendor) -> None:
    """Each text of each answer quotes in its turn, and each time something else."""
    log = io.StringIO()
    configure("debug", json=True, stream=log)
    private, told = [TOKEN, TITLE, DESC, *secrets_of(vendor)], []
    settings = settings_of(vendor)
    quotes = cycle([*private, TOKEN[:15], PROOF])
    for status, reason in [row for row in vendor.OUTCOMES if row[0] != POSTED]:
        for body in marked(refusal(vendor, status, reason)):
            http = Quoting(vendor, Response(status, {}, body), next(quotes), is_open=True)
            one = driver(vendor, http, settings=settings)
            parts = {"token": TOKEN, "message": message(title=TITLE, desc=DESC)}
            receipts = await one.deliver(given(vendor, 1, **parts), OpenGate())
            await one.close()
            words = "".join(f"{it.code} {it.info}\n" for it in receipts)
            assert quoted_in(words, [*private, *http.quoted]) == set(), body
            told.append(words)
    assert told
    assert quoted_in(log.getvalue(), private) == set()


@pytest.mark.evidence(
    "what a vendor quotes of tokens, texts and secrets is in no books and no logs",
)
@each_with_a_service
async def test_no_token_service_brings_what_it_quotes_into_books_or_logs(
    vendor: AnyVendor,
) -> None:
    log, told = io.StringIO(), []
    configure("debug", json=True, stream=log)
    names = ("error", "error_description", "message", "desc")
    body: dict[str, Any] = dict.fromkeys(names, f"no client with {MARK}")
    body |= {"code": 16, "result": 10207}
    for secret in secrets_of(vendor):
        for status in (200, 400, 401, 500):
            answer = Response(status, {}, msgspec.json.encode(body))
            one = driver(vendor, Quoting(vendor, answer, secret, is_open=False))
            (receipt,) = await one.deliver(given(vendor, 1), OpenGate())
            await one.close()
            told.append(f"{receipt.code} {receipt.info}")
    for words in ("\n".join(told), log.getvalue()):
        assert "no client with" in words
        assert quoted_in(words, secrets_of(vendor)) == set()
