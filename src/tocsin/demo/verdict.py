"""All checks together: what each says, how much it looked at, and what does not hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tocsin.demo.cast import Seen
from tocsin.demo.checks import (
    check_audience,
    check_ledger,
    check_outcome,
    check_recall,
    check_reports,
    check_sockets,
    check_tags,
)
from tocsin.demo.evidence import Case, Evidence, Finding
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
from tocsin.demo.world import World, troubles

CHECKS = {
    "end": "every push came to its end",
    "tags": "tags read back as they were written",
    "audience": "each push was frozen for those whom a loop over plain lists finds",
    "ledger": "accounts, devices and states add up, and each count has its names",
    "outcome": "each device ended as the state of its phone foretells",
    "recall": "the recalled push was stopped half way",
    "overwrite": "whoever was given the recalled push had it replaced on the screen",
    "sockets": "no connected device was shown a push twice",
    "vendor log": "each vendor took what the books say, and doubles only where they own up",
    "refusals": "what the vendors refused is booked as failed, sorted by their reasons",
    "lists": "vendors that take lists were sent as few as hold the devices",
    "waits": "whom a vendor put off was asked for again, and not too soon",
    "reports": "what devices said of arrivals and clicks is booked",
    "receipts": "what the vendors told later is booked: who was reached, who was not",
    "tokens": "tokens of dead phones and removed apps were dropped, and no others",
    "table": "the vendors' rows are what log and books count a second time",
}
"""Every check and what it means that it held, in the order shown."""


def judge(
    evidence: Sequence[Evidence],
    case: Case,
    seen: Seen,
    tags: Mapping[str, Sequence[str]],
    rows: Sequence[VendorRow],
) -> list[Finding]:
    """Everything that does not hold."""
    world = case.world
    findings = list(check_tags({it.name: it.tags for it in world.people}, tags))
    for one in evidence:
        findings += _judge_push(one, world, seen)
    for push in case.pushes:
        findings += check_ledger(push)
        findings += check_audience(push)
    findings += check_vendor_log(case)
    findings += check_refusals(case)
    findings += check_receipts(case)
    findings += check_tokens(case)
    findings += check_lists(case)
    findings += check_overwrite(case)
    findings += check_waits(case, troubles(world.sizes))
    findings += check_table(rows, case)
    looked_at = compared(evidence, case, seen, rows)
    findings += [
        Finding(name, "", "found nothing to look at") for name in CHECKS if not looked_at[name]
    ]
    return findings


def _judge_push(one: Evidence, world: World, seen: Seen) -> list[Finding]:
    """A push by itself."""
    label = one.act.label
    findings = list(check_recall(one) if one.act.is_recalled else check_outcome(one, world))
    findings += check_sockets(one, seen.shown.get(label, {}))
    told = seen.reached.get(label, set()), seen.clicked.get(label, set())
    findings += check_reports(one, *told, refused=seen.refused.get(label, set()))
    return findings


def compared(
    evidence: Sequence[Evidence], case: Case, seen: Seen, rows: Sequence[VendorRow]
) -> dict[str, int]:
    """How much each check had to look at."""
    pushes = case.pushes
    sights = list(case.sights.values())
    lists = [request for sight in sights for request in sight.requests.values()]
    return {
        "end": len(pushes),
        "tags": len(case.world.people),
        "audience": sum(len(push.audience) for push in pushes),
        "ledger": sum(push.ledger["planned"] for push in pushes),
        "outcome": sum(it.ledger["planned"] for it in evidence if not it.act.is_recalled),
        "recall": sum(1 for one in evidence if one.act.is_recalled),
        "overwrite": sum(it.overwrite.ledger["planned"] for it in evidence if it.overwrite),
        "sockets": sum(len(shown) for shown in seen.shown.values()),
        "vendor log": len(case.logs.lines),
        "refusals": sum(len(sight.refused) for sight in sights),
        "lists": sum(1 for request in lists if len(request) > 1),
        "waits": sum(1 for line in case.logs.lines if line.is_put_off),
        "reports": sum(len(told) for told in seen.reached.values()),
        "receipts": case.logs.receipts["told"],
        "tokens": len(case.owners),
        "table": len(rows),
    }
