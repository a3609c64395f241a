"""The row that each vendor has in the demo's second table, and whether it is true.

What was sent and what became of it is read off the service's books, what that took off the vendors'
log. The check counts both a second time, the other way round.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from tocsin.demo.evidence import Case, Finding

Findings = Iterable[Finding]


class VendorRow(Struct, frozen=True, kw_only=True):
    """What all pushes came to at one vendor."""

    vendor: str
    devices: int
    sent: int
    """Deliveries that the vendor took: a device counts once for each push."""
    refused: int
    """Deliveries that it refused for good: the token has died, or the app is gone."""
    removed: int
    """Deliveries that it took, and then told in a receipt that the app is gone."""
    in_doubt: int
    """Deliveries whose answer never came, and no receipt either."""
    reached: int
    """Deliveries that a receipt, or the device itself, says have arrived."""
    put_off: int
    """Requests that it answered with "later"."""
    calls: int
    """Requests that brought pushes, those put off included."""
    devices_a_call: float
    """Of those that were not put off."""
    devices_max: int
    """Which a call can hold."""
    reports: bool
    """Whether it tells in receipts what became of a push."""


def make_rows(case: Case) -> list[VendorRow]:
    """One row a vendor, in alphabetical order."""
    return [_row(case, vendor) for vendor in case.vendors]


def _row(case: Case, vendor: str) -> VendorRow:
    theirs = case.theirs(vendor)
    pushes = case.pushes
    lines = [it for it in case.logs.lines if it.vendor == vendor and it.is_push]
    calls = {line.request for line in lines}
    put_off = {line.request for line in lines if line.is_put_off}
    heard = sum(1 for line in lines if not line.is_put_off)
    return VendorRow(
        vendor=vendor,
        devices=len(theirs),
        sent=sum(len(push.legs.get(vendor, ())) for push in pushes),
        refused=sum(len(push.of_vendor(push.failures, vendor)) for push in pushes),
        removed=sum(len(push.of_vendor(push.undelivered, vendor)) for push in pushes),
        in_doubt=sum(len(push.states.get("in_doubt", set()) & theirs) for push in pushes),
        reached=sum(len(push.reached & theirs) for push in pushes),
        put_off=len(put_off),
        calls=len(calls),
        devices_a_call=heard / max(1, len(calls) - len(put_off)),
        devices_max=case.world.vendors[vendor].devices_max,
        reports=bool(case.world.vendors[vendor].reports),
    )


class OnlineRow(Struct, frozen=True, kw_only=True):
    """What all pushes came to over the devices' own connections."""

    devices: int
    with_token: int
    """Those of them that stand in their vendor's row, too."""
    sent: int
    """Pushes written to a connection: a device counts once for each push."""
    reached: int
    """Those that the devices said have arrived."""


def make_online_row(case: Case) -> OnlineRow:
    """The row of the connected devices, from the service's books."""
    connected = _connected(case)
    return OnlineRow(
        devices=len(connected),
        with_token=sum(1 for gadget in case.world.on_sockets() if gadget.token),
        sent=sum(len(push.legs.get("online", ())) for push in case.pushes),
        reached=sum(len(push.reached & connected) for push in case.pushes),
    )


def _connected(case: Case) -> frozenset[str]:
    return frozenset(gadget.registration_id for gadget in case.world.on_sockets())


def check_online(row: OnlineRow, case: Case, shown: Mapping[str, Mapping[str, int]]) -> Findings:
    """The row once more, from what the devices themselves remember.

    `shown` is, by title, how often each device was shown the push. A push that was recalled may
    stand in the books and not have been written any more.
    """
    connected = _connected(case)
    recalled = sum(
        len(push.legs.get("online", set()) - set(shown.get(push.act.label, ())))
        for push in case.pushes
        if push.act.is_recalled
    )
    right = {
        "devices": case.world.sizes.sockets,
        "with_token": case.world.sizes.sockets_with_token,
        "sent": sum(len(names) for names in shown.values()) + recalled,
        "reached": sum(len(names & connected) for names in case.said.values()),
    }
    for name, count in right.items():
        if getattr(row, name) != count:
            what = f"online: {name} is {getattr(row, name)}, the devices say {count}"
            yield Finding("table", "", what)


def check_table(rows: Sequence[VendorRow], case: Case) -> Iterable[Finding]:
    """Each figure once more: from the log what came from the books, and the other way round."""
    if [row.vendor for row in rows] != case.vendors:
        yield Finding("table", "", "there is not one row for each vendor")
        return
    for row in rows:
        for name, right in _counted(row, case).items():
            if getattr(row, name) != right:
                what = f"{row.vendor}: {name} is {getattr(row, name)}, counted anew {right}"
                yield Finding("table", "", what)
    for name, right in _in_all(case).items():
        total = sum(getattr(row, name) for row in rows)
        if total != right:
            what = f"all vendors: {name} is {total}, the pushes say {right}"
            yield Finding("table", "", what)


def _counted(row: VendorRow, case: Case) -> dict[str, int | float]:
    """A row's figures from the vendor's log and the demo's own lists."""
    sights = [(push, case.sight(push, row.vendor)) for push in case.pushes]
    taken = [(push, set(sight.accepted)) for push, sight in sights]
    removed, theirs = case.world.whose("removed"), case.theirs(row.vendor)
    reports = bool(case.world.vendors[row.vendor].reports)
    arrived = [
        (names - removed if reports else set()) | (case.said.get(push.act.label, set()) & theirs)
        for push, names in taken
    ]
    requests = [request for _, sight in sights for request in sight.requests.values()]
    lines = [it for it in case.logs.lines if it.vendor == row.vendor and it.is_put_off]
    return {
        "devices": sum(1 for it in case.world.with_tokens() if it.channel == row.vendor),
        "sent": sum(len(names - push.states.get("in_doubt", set())) for push, names in taken),
        "refused": sum(
            len(set(sight.refused) - push.states.get("in_doubt", set())) for push, sight in sights
        ),
        "removed": sum(len(names & removed) for _, names in taken),
        "reached": sum(map(len, arrived)),
        "calls": len(requests) + row.put_off,
        "put_off": len({line.request for line in lines if line.is_push}),
        "devices_a_call": sum(map(len, requests)) / max(1, len(requests)),
    }


def _in_all(case: Case) -> dict[str, int]:
    """The same figures of all vendors together, as the pushes' own ledgers tell them."""
    ledgers = [push.ledger for push in case.pushes]
    legs = [{**ledger["legs"], "online": 0} for ledger in ledgers]
    return {
        "sent": sum(sum(its.values()) for its in legs),
        "refused": sum(ledger["states"].get("failed", 0) for ledger in ledgers),
        "removed": sum(sum(ledger["undelivered"].values()) for ledger in ledgers),
        "in_doubt": sum(ledger["states"].get("in_doubt", 0) for ledger in ledgers),
    }
