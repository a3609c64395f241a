"""Compares the books with the vendors' logs: push by push, vendor by vendor, device by device.

Each line of a log names its push, so that no push can borrow a line. Waiting times are read from
the order of the lines.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from tocsin.demo.evidence import Case, Evidence, FailedCheck, LogLine, VendorView, some
from tocsin.demo.world import VendorFault

EARLY_S = 0.05
"""Seconds of tolerance for a repeat that is too early: two processes read the clock."""


def check_vendor_log(case: Case) -> Iterable[FailedCheck]:
    """The oracle of law 2: duplicates only where the books say so, and the same names in both."""
    yield from _strangers(case)
    numbers = {push.number for push in case.pushes}
    taken = [line for line in case.logs.lines if line.accepted]
    nameless = {line.token for line in taken if line.task not in numbers}
    if nameless:
        yield FailedCheck("vendor log", "", f"{some(nameless)} taken for no push that we sent")
    counted = Counter(line.vendor for line in taken)
    totals = case.logs.counts["accepted_by_vendor"]
    for vendor in case.vendors:
        if counted[vendor] != totals.get(vendor, 0):
            problem = (
                f"{vendor} counts {totals.get(vendor, 0)} taken, its log has {counted[vendor]}"
            )
            yield FailedCheck("vendor log", "", problem)
        if not counted[vendor]:
            yield FailedCheck("vendor log", "", f"{vendor} took nothing at all")
    for push, vendor, view in case.each_view():
        yield from _compare(push, vendor, view)


def _strangers(case: Case) -> Iterable[FailedCheck]:
    lines = case.logs.lines
    strangers = {it.token for it in lines if (it.vendor, it.token) not in case.owners}
    if strangers:
        yield FailedCheck("vendor log", "", f"{some(strangers)}: a token that nobody registered")
    called: dict[str, set[str]] = {}
    for line in lines:
        if line.names_device:
            called.setdefault(line.correlation, set()).add(line.token)
    shared = {name for name, tokens in called.items() if len(tokens) > 1}
    if shared:
        yield FailedCheck(
            "vendor log", "", f"{some(shared)}: one name for the pushes to two devices"
        )


def _compare(push: Evidence, vendor: str, view: VendorView) -> Iterable[FailedCheck]:
    """Devices are booked as sent if the vendor took the push, and taken twice only if so booked.

    The vendor may or may not have taken the push of a device in doubt.
    """
    booked, taken = push.legs.get(vendor, set()), view.accepted
    doubt = push.states.get("in_doubt", set())
    twice = {name for name, count in taken.items() if count > 1}
    for problem, names in (
        (f"accepted by {vendor} oftener than booked", twice - push.repeated),
        (f"accepted by {vendor}, not booked as sent", set(taken) - booked - doubt),
        (f"booked as sent, unknown to {vendor}", booked - set(taken)),
    ):
        if names:
            yield FailedCheck("vendor log", push.plan.label, f"{some(names)} {problem}")


def check_refusals(case: Case) -> Iterable[FailedCheck]:
    """Refused devices are booked as failed, and sorted by the vendor's reasons."""
    for push, vendor, view in case.each_view():
        # Where the first answer was lost, a refusal of the repeat leaves the doubt.
        doubt = push.repeated & push.states.get("in_doubt", set())
        by_reason: dict[str, set[str]] = {}
        for name, reason in view.refused.items():
            if name not in doubt:
                by_reason.setdefault(reason, set()).add(name)
        booked = {key: it for key, it in push.failures.items() if key.split()[0] == vendor}
        refused, failed = _joined(by_reason), _joined(booked)
        for problem, names in (
            (f"refused by {vendor}, not booked as failed", refused - failed),
            (f"booked as failed, not refused by {vendor}", failed - refused),
        ):
            if names:
                yield FailedCheck("refusals", push.plan.label, f"{some(names)} {problem}")
        if refused == failed and _parts(booked) != _parts(by_reason):
            problem = f"{vendor} names {len(by_reason)} reasons, the books sort them otherwise"
            yield FailedCheck("refusals", push.plan.label, problem)


def _joined(sets: Mapping[str, set[str]]) -> set[str]:
    return set().union(*sets.values())


def _parts(sets: Mapping[str, set[str]]) -> set[frozenset[str]]:
    return {frozenset(names) for names in sets.values() if names}


def check_receipts(case: Case) -> Iterable[FailedCheck]:
    """Reached: devices that reported or had a receipt. Undelivered: those with a removed app."""
    removed = case.world.whose("removed")
    for push in case.pushes:
        said = case.said.get(push.plan.label, frozenset())
        strange = push.reached - set(case.owners.values()) - said
        if strange:
            yield FailedCheck(
                "receipts", push.plan.label, f"{some(strange)} reached, nobody said so"
            )
        for vendor in case.vendors:
            taken = set(case.view(push, vendor).accepted)
            theirs = case.theirs(vendor)
            receipts = taken - removed if case.world.vendors[vendor].reports else set()
            booked, right = push.reached & theirs, receipts | (said & theirs)
            yield from _difference(push, f"reached by {vendor}", booked, right)
            lost = push.of_vendor(push.undelivered, vendor)
            yield from _difference(push, f"undelivered by {vendor}", lost, taken & removed)
    yield from _posted(case)


def _difference(
    push: Evidence, booking: str, booked: set[str], right: set[str]
) -> Iterable[FailedCheck]:
    for names, how in ((right - booked, "not booked as"), (booked - right, "wrongly booked as")):
        if names:
            yield FailedCheck("receipts", push.plan.label, f"{some(names)} {how} {booking}")


def _posted(case: Case) -> Iterable[FailedCheck]:
    """The vendors posted a receipt for each delivery that they took, and we took each receipt."""
    reporting = {name for name, capabilities in case.world.vendors.items() if capabilities.reports}
    owed = sum(1 for it in case.logs.lines if it.accepted and it.vendor in reporting)
    stats = case.logs.receipts
    right = {"told": owed, "lost": 0, "refused": 0, "waiting": 0}
    for name, count in right.items():
        if stats[name] != count:
            problem = f"{stats[name]} receipts {name} by the vendors, {count} expected"
            yield FailedCheck("receipts", "", problem)


def check_tokens(case: Case) -> Iterable[FailedCheck]:
    """Tokens of dead phones and removed apps are dropped, no others, and never sent to again."""
    lost = case.world.whose("refused", "removed")
    for problem, names in (
        ("dead or removed, but the token is kept", lost - case.dropped),
        ("lost the token without a reason", case.dropped - lost),
    ):
        if names:
            yield FailedCheck("tokens", "", f"{some(names)} {problem}")
    tried: dict[str, set[int]] = {}
    for (number, _), view in case.views.items():
        for name, _ in view.lines:
            tried.setdefault(name, set()).add(number)
    again = {name for name in lost if len(tried.get(name, ())) > 1}
    if again:
        yield FailedCheck(
            "tokens", "", f"{some(again)} sent to after the vendor had said it is lost"
        )


def check_lists(case: Case) -> Iterable[FailedCheck]:
    """List vendors got as few lists as suffice; no list is too long or names a device twice."""
    for push, vendor, view in case.each_view():
        limit = case.world.vendors[vendor].devices_max
        lists = view.requests
        for names in lists.values():
            if len(names) > limit:
                problem = f"{vendor} was sent {len(names)} devices at once and takes {limit}"
                yield FailedCheck("lists", push.plan.label, problem)
            if len(set(names)) < len(names):
                problem = f"{vendor} was sent a list that names a device twice"
                yield FailedCheck("lists", push.plan.label, problem)
        sent = [names for names in lists.values() if not set(names) <= push.repeated]
        devices = {name for names in sent for name in names}
        fewest = -(-len(devices) // limit)
        if len(sent) > fewest:
            problem = f"{vendor} was sent {len(sent)} lists, {fewest} would have held them"
            yield FailedCheck("lists", push.plan.label, problem)


def check_overwrite(case: Case) -> Iterable[FailedCheck]:
    """Devices that got the recalled push got its overwrite, under the same collapse id.

    Other pushes have collapse ids of their own, or they would replace each other on the screen.
    """
    of_push: dict[tuple[str, str], set[int]] = {}
    for push, vendor, view in case.each_view():
        for _, line in view.lines:
            if line.accepted:
                of_push.setdefault((vendor, line.collapse), set()).add(push.number)
    pairs = {it.number: it.overwrite.number for it in case.pushes if it.overwrite is not None}
    together = {frozenset(pair) for pair in pairs.items()}
    for (vendor, collapse), numbers in of_push.items():
        if len(numbers) > 1 and frozenset(numbers) not in together:
            problem = f"{vendor} was given {collapse or 'no collapse id'} for {len(numbers)} pushes"
            yield FailedCheck("overwrite", "", problem)
    withdrawn = {(it.vendor, it.collapse) for it in case.logs.lines if not it.is_push}
    for vendor, collapse in sorted(withdrawn):
        if not of_push.get((vendor, collapse), set()) & set(pairs):
            problem = f"{vendor} was to withdraw {collapse}, which is not of the recalled push"
            yield FailedCheck("overwrite", "", problem)
    for push in case.pushes:
        if push.overwrite is not None:
            for vendor in case.vendors:
                yield from _replaced(case, push, push.overwrite, vendor)


def _replaced(case: Case, push: Evidence, by: Evidence, vendor: str) -> Iterable[FailedCheck]:
    first, second = (_collapses(case.view(it, vendor)) for it in (push, by))
    left = set(first) - set(second)
    other = {name for name in set(first) & set(second) if first[name] != second[name]}
    if left:
        yield FailedCheck(
            "overwrite", push.plan.label, f"{some(left)} not given it anew by {vendor}"
        )
    if other:
        problem = f"{some(other)} given it anew by {vendor} under another collapse id"
        yield FailedCheck("overwrite", push.plan.label, problem)


def _collapses(view: VendorView) -> dict[str, set[str]]:
    collapses: dict[str, set[str]] = {}
    for name, line in view.lines:
        if line.accepted:
            collapses.setdefault(name, set()).add(line.collapse)
    return collapses


def check_waits(case: Case, vendor_faults: Iterable[VendorFault]) -> Iterable[FailedCheck]:
    """Deliveries that a vendor put off were repeated, and no sooner than the vendor asked."""
    waits = {
        vendor_fault.vendor: vendor_fault.wait_s
        for vendor_fault in vendor_faults
        if vendor_fault.wait_s
    }
    for vendor, wait_s in waits.items():
        lines = [line for line in case.logs.lines if line.vendor == vendor and line.is_push]
        put_off = [line for line in lines if line.is_put_off]
        if not put_off:
            yield FailedCheck("waits", "", f"{vendor} was to put somebody off, and did not")
        following = _following(lines)
        for line in put_off:
            later = following.get(line.sequence)
            name = case.owners.get((vendor, line.token), line.token)
            if later is None and name in _said_of(case, line):
                # The device's ack over the socket came while the delivery waited.
                continue
            if later is None:
                yield FailedCheck(
                    "waits", "", f"{name} put off by {vendor}, and never asked for again"
                )
            elif later.at - line.at < wait_s - EARLY_S:
                early = f"after {later.at - line.at:.2f} s instead of {wait_s:.0f}"
                yield FailedCheck(
                    "waits", "", f"{name} put off by {vendor}, asked for again {early}"
                )


def _said_of(case: Case, line: LogLine) -> frozenset[str]:
    """The connected devices that reported the arrival of the push of this line."""
    connected = frozenset(device.registration_id for device in case.world.on_sockets())
    labels = [push.plan.label for push in case.pushes if push.number == line.task]
    said = (case.said.get(label, frozenset()) for label in labels)
    return connected.intersection(frozenset().union(*said))


def _following(lines: Iterable[LogLine]) -> Mapping[int, LogLine]:
    """The sequence of each line to the next line of the same device."""
    last: dict[str, LogLine] = {}
    following: dict[int, LogLine] = {}
    for line in lines:
        if line.token in last:
            following[last[line.token].sequence] = line
        last[line.token] = line
    return following
