"""The books against what the vendors saw: push by push, vendor by vendor, device by device.

The vendors' lines are sorted by the push that each names itself, so a push can neither borrow nor
lend one. What no name can tell, such as how long somebody waited, is read off the lines in order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from tocsin.demo.evidence import Case, Evidence, Finding, LogLine, Sight, some
from tocsin.demo.world import Trouble

EARLY_S = 0.05
"""So much sooner than asked is no offence: two processes read the clock."""


def check_vendor_log(case: Case) -> Iterable[Finding]:
    """Law 2's oracle: doubles only where the books say so, and books and log name the same."""
    yield from _strangers(case)
    numbers = {push.number for push in case.pushes}
    taken = [line for line in case.logs.lines if line.accepted]
    nameless = {line.token for line in taken if line.task not in numbers}
    if nameless:
        yield Finding("vendor log", "", f"{some(nameless)} taken for no push that we sent")
    counted = Counter(line.vendor for line in taken)
    totals = case.logs.counts["accepted_by_vendor"]
    for vendor in case.vendors:
        if counted[vendor] != totals.get(vendor, 0):
            what = f"{vendor} counts {totals.get(vendor, 0)} taken, its log has {counted[vendor]}"
            yield Finding("vendor log", "", what)
        if not counted[vendor]:
            yield Finding("vendor log", "", f"{vendor} took nothing at all")
    for push, vendor, sight in case.each_sight():
        yield from _compare(push, vendor, sight)


def _strangers(case: Case) -> Iterable[Finding]:
    lines = case.logs.lines
    strangers = {it.token for it in lines if (it.vendor, it.token) not in case.owners}
    if strangers:
        yield Finding("vendor log", "", f"{some(strangers)}: a token that nobody registered")
    called: dict[str, set[str]] = {}
    for line in lines:
        if line.names_device:
            called.setdefault(line.correlation, set()).add(line.token)
    shared = {name for name, tokens in called.items() if len(tokens) > 1}
    if shared:
        yield Finding("vendor log", "", f"{some(shared)}: one name for the pushes to two devices")


def _compare(push: Evidence, vendor: str, sight: Sight) -> Iterable[Finding]:
    """A device was sent to if the vendor took its push, and twice only where the books own up.

    Devices in doubt may have been taken or not: that is what the word means.
    """
    booked, taken = push.legs.get(vendor, set()), sight.accepted
    doubt = push.states.get("in_doubt", set())
    twice = {name for name, count in taken.items() if count > 1}
    for what, names in (
        (f"accepted by {vendor} oftener than booked", twice - push.repeated),
        (f"accepted by {vendor}, not booked as sent", set(taken) - booked - doubt),
        (f"booked as sent, unknown to {vendor}", booked - set(taken)),
    ):
        if names:
            yield Finding("vendor log", push.act.label, f"{some(names)} {what}")


def check_refusals(case: Case) -> Iterable[Finding]:
    """What a vendor refused is booked as failed, and whom it refused alike is booked alike."""
    for push, vendor, sight in case.each_sight():
        # Where the first answer was lost, a refusal of the repeat leaves the doubt.
        doubt = push.repeated & push.states.get("in_doubt", set())
        by_reason: dict[str, set[str]] = {}
        for name, reason in sight.refused.items():
            if name not in doubt:
                by_reason.setdefault(reason, set()).add(name)
        booked = {key: it for key, it in push.failures.items() if key.split()[0] == vendor}
        refused, failed = _joined(by_reason), _joined(booked)
        for what, names in (
            (f"refused by {vendor}, not booked as failed", refused - failed),
            (f"booked as failed, not refused by {vendor}", failed - refused),
        ):
            if names:
                yield Finding("refusals", push.act.label, f"{some(names)} {what}")
        if refused == failed and _parts(booked) != _parts(by_reason):
            what = f"{vendor} names {len(by_reason)} reasons, the books sort them otherwise"
            yield Finding("refusals", push.act.label, what)


def _joined(sets: Mapping[str, set[str]]) -> set[str]:
    return set().union(*sets.values())


def _parts(sets: Mapping[str, set[str]]) -> set[frozenset[str]]:
    return {frozenset(names) for names in sets.values() if names}


def check_receipts(case: Case) -> Iterable[Finding]:
    """Reached is who said so and whom a receipt told of; undelivered is who was told removed."""
    removed = case.world.whose("removed")
    for push in case.pushes:
        said = case.said.get(push.act.label, frozenset())
        strange = push.reached - set(case.owners.values()) - said
        if strange:
            yield Finding("receipts", push.act.label, f"{some(strange)} reached, nobody said so")
        for vendor in case.vendors:
            taken = set(case.sight(push, vendor).accepted)
            theirs = case.theirs(vendor)
            told = taken - removed if case.world.vendors[vendor].reports else set()
            found, right = push.reached & theirs, told | (said & theirs)
            yield from _difference(push, f"reached by {vendor}", found, right)
            lost = push.of_vendor(push.undelivered, vendor)
            yield from _difference(push, f"undelivered by {vendor}", lost, taken & removed)
    yield from _posted(case)


def _difference(push: Evidence, what: str, found: set[str], right: set[str]) -> Iterable[Finding]:
    for names, how in ((right - found, "not booked as"), (found - right, "wrongly booked as")):
        if names:
            yield Finding("receipts", push.act.label, f"{some(names)} {how} {what}")


def _posted(case: Case) -> Iterable[Finding]:
    """Every push that was taken owed one receipt, and each was posted and heard."""
    reporting = {name for name, manners in case.world.vendors.items() if manners.reports}
    owed = sum(1 for it in case.logs.lines if it.accepted and it.vendor in reporting)
    stats = case.logs.receipts
    right = {"told": owed, "lost": 0, "refused": 0, "waiting": 0}
    for name, count in right.items():
        if stats[name] != count:
            what = f"{stats[name]} receipts {name} by the vendors, {count} expected"
            yield Finding("receipts", "", what)


def check_tokens(case: Case) -> Iterable[Finding]:
    """Tokens of the dead and the removed are dropped, no others, and never sent to again."""
    lost = case.world.whose("refused", "removed")
    for what, names in (
        ("dead or removed, but the token is kept", lost - case.dropped),
        ("lost the token without a reason", case.dropped - lost),
    ):
        if names:
            yield Finding("tokens", "", f"{some(names)} {what}")
    tried: dict[str, set[int]] = {}
    for (number, _), sight in case.sights.items():
        for name, _ in sight.lines:
            tried.setdefault(name, set()).add(number)
    again = {name for name in lost if len(tried.get(name, ())) > 1}
    if again:
        yield Finding("tokens", "", f"{some(again)} sent to after the vendor had said it is lost")


def check_lists(case: Case) -> Iterable[Finding]:
    """Vendors that take lists got as few as would do; no list is too long or names one twice."""
    for push, vendor, sight in case.each_sight():
        limit = case.world.vendors[vendor].devices_max
        lists = sight.requests
        for names in lists.values():
            if len(names) > limit:
                what = f"{vendor} was sent {len(names)} devices at once and takes {limit}"
                yield Finding("lists", push.act.label, what)
            if len(set(names)) < len(names):
                what = f"{vendor} was sent a list that names a device twice"
                yield Finding("lists", push.act.label, what)
        sent = [names for names in lists.values() if not set(names) <= push.repeated]
        devices = {name for names in sent for name in names}
        fewest = -(-len(devices) // limit)
        if len(sent) > fewest:
            what = f"{vendor} was sent {len(sent)} lists, {fewest} would have held them"
            yield Finding("lists", push.act.label, what)


def check_overwrite(case: Case) -> Iterable[Finding]:
    """Whoever was given the recalled push was given its replacement, under the same collapse id.

    Other pushes have ids of their own, or they would replace each other on the screen.
    """
    of_push: dict[tuple[str, str], set[int]] = {}
    for push, vendor, sight in case.each_sight():
        for _, line in sight.lines:
            if line.accepted:
                of_push.setdefault((vendor, line.collapse), set()).add(push.number)
    pairs = {it.number: it.overwrite.number for it in case.pushes if it.overwrite is not None}
    together = {frozenset(pair) for pair in pairs.items()}
    for (vendor, collapse), numbers in of_push.items():
        if len(numbers) > 1 and frozenset(numbers) not in together:
            what = f"{vendor} was given {collapse or 'no collapse id'} for {len(numbers)} pushes"
            yield Finding("overwrite", "", what)
    withdrawn = {(it.vendor, it.collapse) for it in case.logs.lines if not it.is_push}
    for vendor, collapse in sorted(withdrawn):
        if not of_push.get((vendor, collapse), set()) & set(pairs):
            what = f"{vendor} was to withdraw {collapse}, which is not of the recalled push"
            yield Finding("overwrite", "", what)
    for push in case.pushes:
        if push.overwrite is not None:
            for vendor in case.vendors:
                yield from _replaced(case, push, push.overwrite, vendor)


def _replaced(case: Case, push: Evidence, by: Evidence, vendor: str) -> Iterable[Finding]:
    first, second = (_collapses(case.sight(it, vendor)) for it in (push, by))
    left = set(first) - set(second)
    other = {name for name in set(first) & set(second) if first[name] != second[name]}
    if left:
        yield Finding("overwrite", push.act.label, f"{some(left)} not given it anew by {vendor}")
    if other:
        what = f"{some(other)} given it anew by {vendor} under another collapse id"
        yield Finding("overwrite", push.act.label, what)


def _collapses(sight: Sight) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for name, line in sight.lines:
        if line.accepted:
            found.setdefault(name, set()).add(line.collapse)
    return found


def check_waits(case: Case, troubles: Iterable[Trouble]) -> Iterable[Finding]:
    """Whoever a vendor put off was asked again, no sooner than it had said, and heard then."""
    waits = {trouble.vendor: trouble.wait_s for trouble in troubles if trouble.wait_s}
    for vendor, wait_s in waits.items():
        lines = [line for line in case.logs.lines if line.vendor == vendor and line.is_push]
        put_off = [line for line in lines if line.is_put_off]
        if not put_off:
            yield Finding("waits", "", f"{vendor} was to put somebody off, and did not")
        following = _following(lines)
        for line in put_off:
            later = following.get(line.sequence)
            name = case.owners.get((vendor, line.token), line.token)
            if later is None and name in _said_of(case, line):
                # Its ack over the socket came while it waited: it had the push already.
                continue
            if later is None:
                yield Finding("waits", "", f"{name} put off by {vendor}, and never asked for again")
            elif later.at - line.at < wait_s - EARLY_S:
                early = f"after {later.at - line.at:.2f} s instead of {wait_s:.0f}"
                yield Finding("waits", "", f"{name} put off by {vendor}, asked for again {early}")


def _said_of(case: Case, line: LogLine) -> frozenset[str]:
    """The connected devices that said that the push of this line had arrived."""
    connected = frozenset(gadget.registration_id for gadget in case.world.on_sockets())
    labels = [push.act.label for push in case.pushes if push.number == line.task]
    said = (case.said.get(label, frozenset()) for label in labels)
    return connected.intersection(frozenset().union(*said))


def _following(lines: Iterable[LogLine]) -> Mapping[int, LogLine]:
    """Each line's sequence to the next line of the same device."""
    last: dict[str, LogLine] = {}
    following: dict[int, LogLine] = {}
    for line in lines:
        if line.token in last:
            following[last[line.token].sequence] = line
        last[line.token] = line
    return following
