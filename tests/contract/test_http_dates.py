"""The time that vendors' answers tell: kept for each server, and only of servers we know."""

from __future__ import annotations

import contextlib
from email.utils import formatdate

import pytest
from msgspec import structs

from tests.contract.test_http_guard import names, on_this_machine
from tests.patience import PATIENCE_S
from tests.wire.faulty_server import FaultyServer, Seen, faulty_server, request_to
from tocsin.adapters.http import OutgoingHttp
from tocsin.adapters.http_dates import ORIGINS_MAX, SeenDates
from tocsin.clock import ManualClock


@pytest.mark.evidence(
    "our clock is held against each vendor's newest answer, and not against servers that "
    "anybody may name",
    topic="Daily verbs",
    planted="guarded requests noted too",
)
async def test_the_newest_answer_of_each_server_is_held_against_our_clock() -> None:
    clock = ManualClock()
    dates = SeenDates(clock)
    wrong_by_s = iter((5.0, -90.0, 7.0))

    def answer(server: FaultyServer, seen: Seen) -> None:
        date = formatdate(clock.now() - next(wrong_by_s), usegmt=True)
        server.links[seen.link].reply(seen.stream, 200, b"", [("date", date)])

    async with faulty_server() as server, contextlib.AsyncExitStack() as stack:
        http = OutgoingHttp(None, names("127.0.0.1"), on_this_machine, dates=dates)
        await http.start(stack)
        server.answer = answer
        for expected in (5.0, -90.0):
            await http.send(request_to(server, str(expected)), PATIENCE_S)
            assert dates.skews() == {"localhost": expected - 0.5}
        # Its server is whoever a browser names: it may say what it likes.
        await http.send(structs.replace(request_to(server, "3"), is_guarded=True), PATIENCE_S)
        assert dates.skews() == {"localhost": -90.5}


@pytest.mark.evidence(
    "our clock is held against each vendor's newest answer, and not against servers that "
    "anybody may name",
)
def test_what_is_no_date_is_left_out_and_servers_are_bounded() -> None:
    dates = SeenDates(ManualClock())
    for text in ("", "yesterday", "Mon, 99 Foo 2026 99:99:99 GMT"):
        dates.note("https://a.example", {"date": text})
        assert dates.skews() == {}
    dates.note("https://a.example", {})
    for number in range(ORIGINS_MAX + 10):
        dates.note(f"https://h{number}.example", {"date": formatdate(0, usegmt=True)})
    assert len(dates.skews()) == ORIGINS_MAX
