"""The rows of the demo's second table, one for each vendor, and the check of each figure.

Deliveries and results come from the service's books, calls from the vendors' logs. The check counts
each figure a second time from the other source.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from tocsin.demo.evidence import Case, FailedCheck

Findings = Iterable[FailedCheck]


class VendorRow(Struct, frozen=True, kw_only=True):
    """The sums of all pushes at one vendor."""

    vendor: str
    devices: int
    sent: int
    """Deliveries that the vendor took: a device counts once for each push."""
    refused: int
    """Deliveries that the vendor refused for good: the token is dead, or the app is removed."""
    removed: int
    """Deliveries that the vendor took, and whose receipt says that the app is removed."""
    in_doubt: int
    """Deliveries whose answer never came, and no receipt either."""
    reached: int
    """Deliveries whose arrival a receipt or the device reports."""
    put_off: int
    """Requests that the vendor answered with "later"."""
    calls: int
    """Requests that carried pushes, with those that were put off."""
    devices_a_call: float
    """Devices in each request that was not put off, on average."""
    devices_max: int
    """Devices that a request may have."""
    reports: bool
    """Whether the vendor posts receipts."""


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
    """The sums of all pushes over the devices' own connections."""

    devices: int
    with_token: int
    """The connected devices that stand in their vendor's row, too."""
    sent: int
    """Pushes written to a connection: a device counts once for each push."""
    reached: int
    """Pushes whose arrival the devices reported."""


def make_online_row(case: Case) -> OnlineRow:
    """The row of the connected devices, from the service's books."""
    connected = _connected(case)
    return OnlineRow(
        devices=len(connected),
        with_token=sum(1 for device in case.world.on_sockets() if device.token),
        sent=sum(len(push.legs.get("online", ())) for push in case.pushes),
        reached=sum(len(push.reached & connected) for push in case.pushes),
    )


def _connected(case: Case) -> frozenset[str]:
    return frozenset(device.registration_id for device in case.world.on_sockets())


def check_online(row: OnlineRow, case: Case, shown: Mapping[str, Mapping[str, int]]) -> Findings:
    """The row of the connected devices, counted again from the devices' memory.

    `shown` is, by title, how often each device was shown the push. A push that was recalled may
    stand in the books and not have been written any more.
    """
    connected = _connected(case)
    recalled = sum(
        len(push.legs.get("online", set()) - set(shown.get(push.plan.label, ())))
        for push in case.pushes
        if push.plan.is_recalled
    )
    right = {
        "devices": case.world.sizes.sockets,
        "with_token": case.world.sizes.sockets_with_token,
        "sent": sum(len(names) for names in shown.values()) + recalled,
        "reached": sum(len(names & connected) for names in case.said.values()),
    }
    for name, count in right.items():
        if getattr(row, name) != count:
            problem = f"online: {name} is {getattr(row, name)}, the devices say {count}"
            yield FailedCheck("table", "", problem)


def check_table(rows: Sequence[VendorRow], case: Case) -> Iterable[FailedCheck]:
    """Each figure, counted again: from the logs if it came from the books, and the other way."""
    if [row.vendor for row in rows] != case.vendors:
        yield FailedCheck("table", "", "there is not one row for each vendor")
        return
    for row in rows:
        for name, right in _counted(row, case).items():
            if getattr(row, name) != right:
                problem = f"{row.vendor}: {name} is {getattr(row, name)}, counted anew {right}"
                yield FailedCheck("table", "", problem)
    for name, right in _in_all(case).items():
        total = sum(getattr(row, name) for row in rows)
        if total != right:
            problem = f"all vendors: {name} is {total}, the pushes say {right}"
            yield FailedCheck("table", "", problem)


def _counted(row: VendorRow, case: Case) -> dict[str, int | float]:
    """A row's figures from the vendor's log and the demo's own lists."""
    views = [(push, case.view(push, row.vendor)) for push in case.pushes]
    taken = [(push, set(view.accepted)) for push, view in views]
    removed, theirs = case.world.whose("removed"), case.theirs(row.vendor)
    reports = bool(case.world.vendors[row.vendor].reports)
    arrived = [
        (names - removed if reports else set()) | (case.said.get(push.plan.label, set()) & theirs)
        for push, names in taken
    ]
    requests = [request for _, view in views for request in view.requests.values()]
    lines = [it for it in case.logs.lines if it.vendor == row.vendor and it.is_put_off]
    return {
        "devices": sum(1 for it in case.world.with_tokens() if it.channel == row.vendor),
        "sent": sum(len(names - push.states.get("in_doubt", set())) for push, names in taken),
        "refused": sum(
            len(set(view.refused) - push.states.get("in_doubt", set())) for push, view in views
        ),
        "removed": sum(len(names & removed) for _, names in taken),
        "reached": sum(map(len, arrived)),
        "calls": len(requests) + row.put_off,
        "put_off": len({line.request for line in lines if line.is_push}),
        "devices_a_call": sum(map(len, requests)) / max(1, len(requests)),
    }


def _in_all(case: Case) -> dict[str, int]:
    """The figures of all vendors together, from the ledgers of the pushes."""
    ledgers = [push.ledger for push in case.pushes]
    legs = [{**ledger["legs"], "online": 0} for ledger in ledgers]
    return {
        "sent": sum(sum(its.values()) for its in legs),
        "refused": sum(ledger["states"].get("failed", 0) for ledger in ledgers),
        "removed": sum(sum(ledger["undelivered"].values()) for ledger in ledgers),
        "in_doubt": sum(ledger["states"].get("in_doubt", 0) for ledger in ledgers),
    }
