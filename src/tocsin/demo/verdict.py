"""All checks together: the meaning of each, how much it compared, and what failed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tocsin.demo.checks import (
    check_audience,
    check_ledger,
    check_outcome,
    check_recall,
    check_reports,
    check_sockets,
    check_tags,
)
from tocsin.demo.evidence import Case, Evidence, FailedCheck
from tocsin.demo.provision import DeviceMemory
from tocsin.demo.rows import VendorRow, check_table
from tocsin.demo.vendor_checks import (
    check_lists,
    check_overwrite,
    check_receipts,
    check_refusals,
    check_tokens,
    check_vendor_log,
    check_waits,
)
from tocsin.demo.world import World, vendor_faults

CHECKS = {
    "end": "every push came to its end",
    "tags": "tags read back as they were written",
    "audience": "each push was frozen for the accounts that a loop over plain lists finds",
    "ledger": "accounts, devices and states add up, and each count has its names",
    "outcome": "each device ended as the state of its phone foretells",
    "recall": "the recalled push was stopped half way",
    "overwrite": "devices that got the recalled push had it replaced on the screen",
    "sockets": "no connected device was shown a push twice",
    "vendor log": "each vendor took the pushes in the books, and twice only where booked so",
    "refusals": "refused devices are booked as failed, sorted by the vendors' reasons",
    "lists": "vendors that take lists got as few lists as suffice",
    "waits": "deliveries that a vendor put off were repeated, and not too soon",
    "reports": "arrivals and clicks that devices reported are booked",
    "receipts": "the vendors' receipts are booked: reached devices and removed apps",
    "tokens": "tokens of dead phones and removed apps were dropped, and no others",
    "table": "the vendors' rows equal a second count of logs and books",
}
"""Every check and its meaning, in the order shown."""


def judge(
    evidence: Sequence[Evidence],
    case: Case,
    memory: DeviceMemory,
    tags: Mapping[str, Sequence[str]],
    rows: Sequence[VendorRow],
) -> list[FailedCheck]:
    """Every failed check."""
    world = case.world
    findings = list(check_tags({it.name: it.tags for it in world.people}, tags))
    for one in evidence:
        findings += _judge_push(one, world, memory)
    for push in case.pushes:
        findings += check_ledger(push)
        findings += check_audience(push)
    findings += check_vendor_log(case)
    findings += check_refusals(case)
    findings += check_receipts(case)
    findings += check_tokens(case)
    findings += check_lists(case)
    findings += check_overwrite(case)
    findings += check_waits(case, vendor_faults(world.sizes))
    findings += check_table(rows, case)
    looked_at = compared(evidence, case, memory, rows)
    findings += [
        FailedCheck(name, "", "had nothing to compare") for name in CHECKS if not looked_at[name]
    ]
    return findings


def _judge_push(one: Evidence, world: World, memory: DeviceMemory) -> list[FailedCheck]:
    """The failed checks of one push by itself."""
    label = one.plan.label
    findings = list(check_recall(one) if one.plan.is_recalled else check_outcome(one, world))
    findings += check_sockets(one, memory.shown.get(label, {}))
    reached, clicked = memory.reached.get(label, set()), memory.clicked.get(label, set())
    findings += check_reports(one, reached, clicked, refused=memory.refused.get(label, set()))
    return findings


def compared(
    evidence: Sequence[Evidence], case: Case, memory: DeviceMemory, rows: Sequence[VendorRow]
) -> dict[str, int]:
    """How much each check compared."""
    pushes = case.pushes
    views = list(case.views.values())
    lists = [request for view in views for request in view.requests.values()]
    return {
        "end": len(pushes),
        "tags": len(case.world.people),
        "audience": sum(len(push.audience) for push in pushes),
        "ledger": sum(push.ledger["planned"] for push in pushes),
        "outcome": sum(it.ledger["planned"] for it in evidence if not it.plan.is_recalled),
        "recall": sum(1 for one in evidence if one.plan.is_recalled),
        "overwrite": sum(it.overwrite.ledger["planned"] for it in evidence if it.overwrite),
        "sockets": sum(len(shown) for shown in memory.shown.values()),
        "vendor log": len(case.logs.lines),
        "refusals": sum(len(view.refused) for view in views),
        "lists": sum(1 for request in lists if len(request) > 1),
        "waits": sum(1 for line in case.logs.lines if line.is_put_off),
        "reports": sum(len(names) for names in memory.reached.values()),
        "receipts": case.logs.receipts["told"],
        "tokens": len(case.owners),
        "table": len(rows),
    }
