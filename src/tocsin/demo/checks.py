"""What must hold of each push by itself; every rule is plain arithmetic over what was read.

What the vendors' log says of it stands in `vendor_checks.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

from tocsin.demo.evidence import Evidence, Finding, some
from tocsin.demo.world import World, waiters


def check_ledger(evidence: Evidence) -> Iterable[Finding]:
    """The three ledgers add up, by the service's word and by our own sums."""
    books, where = evidence.ledger, evidence.act.label
    for fault in books["faults"]:
        yield Finding("ledger", where, str(fault))
    without = sum(books["without_device"].values())
    if books["audience"] != without + books["with_devices"]:
        yield Finding(
            "ledger",
            where,
            f"audience {books['audience']}, but {without} without device and "
            f"{books['with_devices']} with devices",
        )
    states = sum(books["states"].values())
    if books["planned"] != states:
        yield Finding("ledger", where, f"{books['planned']} devices planned, {states} in a state")
    failed = books["states"].get("failed", 0)
    by_code = sum(books["failures"].values())
    if by_code < failed:
        yield Finding("ledger", where, f"{failed} devices failed, only {by_code} with a code")
    if books["states"].get("open", 0):
        yield Finding("ledger", where, f"{books['states']['open']} devices open after the end")
    yield from _as_listed(evidence)
    yield from _in_one_state(evidence)


def _as_listed(evidence: Evidence) -> Iterable[Finding]:
    """Each count has as many names behind it."""
    books = evidence.ledger
    marks = {name: getattr(evidence, name) for name in ("reached", "clicked", "repeated")}
    pairs = [
        (books["states"], evidence.states),
        (books["legs"], evidence.legs),
        (books["failures"], evidence.failures),
        (books["undelivered"], evidence.undelivered),
        ({name: books[name] for name in marks}, marks),
    ]
    for counts, lists in pairs:
        for name in sorted({*counts, *lists}):
            counted, listed = counts.get(name, 0), len(lists.get(name, ()))
            if counted != listed:
                what = f"{counted} devices {name}, {listed} listed"
                yield Finding("ledger", evidence.act.label, what)


def _in_one_state(evidence: Evidence) -> Iterable[Finding]:
    counted = Counter(name for members in evidence.states.values() for name in members)
    twice = {name for name, count in counted.items() if count > 1}
    if twice:
        yield Finding("ledger", evidence.act.label, f"{some(twice)} in two states at once")


def check_audience(evidence: Evidence) -> Iterable[Finding]:
    """The frozen audience is what the brute force over our own lists says, and not empty."""
    where, expected = evidence.act.label, evidence.act.expected
    read = Counter(evidence.audience)
    if not read or not expected:
        yield Finding("audience", where, "is empty")
    if evidence.ledger["audience"] != len(expected):
        yield Finding(
            "audience",
            where,
            f"{evidence.ledger['audience']} accounts, brute force says {len(expected)}",
        )
    twice = {name for name, count in read.items() if count > 1}
    for what, names in (
        ("listed twice", twice),
        ("missing", expected - set(read)),
        ("too many", set(read) - expected),
    ):
        if names:
            yield Finding("audience", where, f"{some(names)} {what}")


def check_recall(evidence: Evidence) -> Iterable[Finding]:
    """The recalled push was stopped in its middle."""
    for state in ("sent", "recalled"):
        if not evidence.ledger["states"].get(state, 0):
            yield Finding("recall", evidence.act.label, f"no device is {state}")


def check_outcome(evidence: Evidence, world: World) -> Iterable[Finding]:
    """Where each device ended is what its own state foretells, device by device.

    Not of a recalled push and what replaced it: those end wherever the recall meets them.
    """
    act = evidence.act
    everybody = {it.registration_id for it in world.in_audience(act.expected)}
    waiting = waiters(world, act)
    refused = (everybody & world.whose("refused")) - waiting
    # An answer that was lost may have been a yes, whatever is said to the repeat.
    doubt = refused & evidence.repeated
    foretold = {
        "sent": everybody - waiting - refused,
        "failed": refused - doubt,
        "in_doubt": doubt,
        "expired": waiting,
    }
    for state in sorted({*foretold, *evidence.states}):
        found, right = evidence.states.get(state, set()), foretold.get(state, set())
        for what, names in (("missing", right - found), ("too many", found - right)):
            if names:
                yield Finding("outcome", act.label, f"{state}: {some(names)} {what}")


def check_sockets(evidence: Evidence, shown: Mapping[str, int]) -> Iterable[Finding]:
    """What the socket devices remember: each push once, and by a vendor too only on two legs.

    `shown` is how often each RegistrationID was shown this push.
    """
    where = evidence.act.label
    twice = {name for name, count in shown.items() if count > 1}
    if twice:
        yield Finding("sockets", where, f"{some(twice)} shown the push twice")
    by_vendor = {
        name for channel, names in evidence.legs.items() if channel != "online" for name in names
    }
    both = (set(shown) & by_vendor) - evidence.legs.get("online", set())
    if both:
        yield Finding("sockets", where, f"{some(both)} shown by socket and vendor, not two legs")


def check_reports(
    evidence: Evidence,
    reached: Collection[str],
    clicked: Collection[str],
    refused: Collection[str] = (),
) -> Iterable[Finding]:
    """Whoever said that the push arrived is booked as sent and reached, and no click is made up."""
    where = evidence.act.label
    if refused:
        yield Finding("reports", where, f"{some(refused)} said it arrived, and was not believed")
    for what, names in (
        ("sent", evidence.states.get("sent", set())),
        ("reached", evidence.reached),
    ):
        lost = set(reached) - names
        if lost:
            yield Finding("reports", where, f"{some(lost)} said it arrived, not booked as {what}")
    wrong = set(clicked) ^ evidence.clicked
    if wrong:
        yield Finding("reports", where, f"{some(wrong)} clicked and not booked, or the reverse")


def check_tags(
    expected: Mapping[str, Sequence[str]], read: Mapping[str, Sequence[str]]
) -> Iterable[Finding]:
    """get_tag answers each account's tags, in the order first added."""
    wrong = {name for name, tags in expected.items() if list(read.get(name, ())) != list(tags)}
    if wrong:
        yield Finding("tags", "", f"{some(wrong)} read back differently")
