"""Checks of single pushes: plain arithmetic over their books and the demo's own lists.

`vendor_checks.py` compares the books with the vendors' logs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

from tocsin.demo.evidence import Evidence, FailedCheck, some
from tocsin.demo.world import World, waiting_devices


def check_ledger(evidence: Evidence) -> Iterable[FailedCheck]:
    """The three ledgers add up, according to the service and to our own sums."""
    books, where = evidence.ledger, evidence.plan.label
    for fault in books["faults"]:
        yield FailedCheck("ledger", where, str(fault))
    without = sum(books["without_device"].values())
    if books["audience"] != without + books["with_devices"]:
        yield FailedCheck(
            "ledger",
            where,
            f"audience {books['audience']}, but {without} without device and "
            f"{books['with_devices']} with devices",
        )
    states = sum(books["states"].values())
    if books["planned"] != states:
        yield FailedCheck(
            "ledger", where, f"{books['planned']} devices planned, {states} in a state"
        )
    failed = books["states"].get("failed", 0)
    by_code = sum(books["failures"].values())
    if by_code < failed:
        yield FailedCheck("ledger", where, f"{failed} devices failed, only {by_code} with a code")
    if books["states"].get("open", 0):
        yield FailedCheck("ledger", where, f"{books['states']['open']} devices open after the end")
    yield from _as_listed(evidence)
    yield from _in_one_state(evidence)


def _as_listed(evidence: Evidence) -> Iterable[FailedCheck]:
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
                problem = f"{counted} devices {name}, {listed} listed"
                yield FailedCheck("ledger", evidence.plan.label, problem)


def _in_one_state(evidence: Evidence) -> Iterable[FailedCheck]:
    counted = Counter(name for members in evidence.states.values() for name in members)
    twice = {name for name, count in counted.items() if count > 1}
    if twice:
        yield FailedCheck("ledger", evidence.plan.label, f"{some(twice)} in two states at once")


def check_audience(evidence: Evidence) -> Iterable[FailedCheck]:
    """The frozen audience is the one that a loop over our own lists yields, and not empty."""
    where, expected = evidence.plan.label, evidence.plan.expected
    read = Counter(evidence.audience)
    if not read or not expected:
        yield FailedCheck("audience", where, "is empty")
    if evidence.ledger["audience"] != len(expected):
        yield FailedCheck(
            "audience",
            where,
            f"{evidence.ledger['audience']} accounts, brute force says {len(expected)}",
        )
    twice = {name for name, count in read.items() if count > 1}
    for problem, names in (
        ("listed twice", twice),
        ("missing", expected - set(read)),
        ("too many", set(read) - expected),
    ):
        if names:
            yield FailedCheck("audience", where, f"{some(names)} {problem}")


def check_recall(evidence: Evidence) -> Iterable[FailedCheck]:
    """The recalled push was stopped in its middle."""
    for state in ("sent", "recalled"):
        if not evidence.ledger["states"].get(state, 0):
            yield FailedCheck("recall", evidence.plan.label, f"no device is {state}")


def check_outcome(evidence: Evidence, world: World) -> Iterable[FailedCheck]:
    """Each device ended in the state that the state of its phone foretells.

    Not for a recalled push and its overwrite: their devices end wherever the recall meets them.
    """
    plan = evidence.plan
    everybody = {it.registration_id for it in world.in_audience(plan.expected)}
    waiting = waiting_devices(world, plan)
    refused = (everybody & world.whose("refused")) - waiting
    # A lost answer may have been a yes, whatever the vendor answers to the repeat.
    doubt = refused & evidence.repeated
    foretold = {
        "sent": everybody - waiting - refused,
        "failed": refused - doubt,
        "in_doubt": doubt,
        "expired": waiting,
    }
    for state in sorted({*foretold, *evidence.states}):
        booked, right = evidence.states.get(state, set()), foretold.get(state, set())
        for problem, names in (("missing", right - booked), ("too many", booked - right)):
            if names:
                yield FailedCheck("outcome", plan.label, f"{state}: {some(names)} {problem}")


def check_sockets(evidence: Evidence, shown: Mapping[str, int]) -> Iterable[FailedCheck]:
    """Connected devices were shown each push once; by a vendor too only where two legs are booked.

    `shown` is how often each RegistrationID was shown this push.
    """
    where = evidence.plan.label
    twice = {name for name, count in shown.items() if count > 1}
    if twice:
        yield FailedCheck("sockets", where, f"{some(twice)} shown the push twice")
    by_vendor = {
        name for channel, names in evidence.legs.items() if channel != "online" for name in names
    }
    both = (set(shown) & by_vendor) - evidence.legs.get("online", set())
    if both:
        yield FailedCheck(
            "sockets", where, f"{some(both)} shown by socket and vendor, not two legs"
        )


def check_reports(
    evidence: Evidence,
    reached: Collection[str],
    clicked: Collection[str],
    refused: Collection[str] = (),
) -> Iterable[FailedCheck]:
    """Devices that reported an arrival are booked as sent and reached; no click is made up."""
    where = evidence.plan.label
    if refused:
        yield FailedCheck(
            "reports", where, f"{some(refused)} said it arrived, and was not believed"
        )
    for problem, names in (
        ("sent", evidence.states.get("sent", set())),
        ("reached", evidence.reached),
    ):
        lost = set(reached) - names
        if lost:
            yield FailedCheck(
                "reports", where, f"{some(lost)} said it arrived, not booked as {problem}"
            )
    wrong = set(clicked) ^ evidence.clicked
    if wrong:
        yield FailedCheck("reports", where, f"{some(wrong)} clicked and not booked, or the reverse")


def check_tags(
    expected: Mapping[str, Sequence[str]], read: Mapping[str, Sequence[str]]
) -> Iterable[FailedCheck]:
    """get_tag answers each account's tags, in the order first added."""
    wrong = {name for name, tags in expected.items() if list(read.get(name, ())) != list(tags)}
    if wrong:
        yield FailedCheck("tags", "", f"{some(wrong)} read back differently")
