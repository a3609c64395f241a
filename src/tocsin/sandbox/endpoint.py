"""The one place where rules, faults and log meet: each complete request passes here once."""

from __future__ import annotations

from msgspec.structs import replace

from tocsin.clock import Clock
from tocsin.sandbox.exchange import Call, Judgement, Reply, Target, VendorRules
from tocsin.sandbox.faults import Faults, Rule
from tocsin.sandbox.log import Entry, Log, digest_of
from tocsin.sandbox.receipts import Receipts

HTML_PAGE = (
    b"<html><head><title>Bad Gateway</title></head>"
    b"<body><h1>The server is not available</h1></body></html>"
)


class Endpoint:
    """Serves one vendor's listener."""

    def __init__(
        self, vendor: VendorRules, faults: Faults, log: Log, receipts: Receipts, clock: Clock
    ) -> None:
        self._vendor = vendor
        self._faults = faults
        self._log = log
        self._receipts = receipts
        self._clock = clock

    def __call__(self, call: Call) -> Reply:
        token = self._vendor.token_of(call)
        rule = self._faults.pick(self._vendor.name, call.path, token)
        if rule is None:
            verdict = self._vendor.judge(call)
        elif rule.takes_push:
            verdict = _spoiled(rule, self._vendor.judge(call))
        else:
            verdict = self._refused(rule, call)
            verdict.token = token
        if verdict.logged:
            self._write(call, verdict, rule)
            self._receipts.note(self._vendor, verdict)
        reply = Reply(verdict.status, verdict.headers, verdict.body)
        reply.stream_limit = verdict.stream_limit
        if rule is not None:
            reply.effect = rule.effect
        return reply

    def _refused(self, rule: Rule, call: Call) -> Judgement:
        """The verdict of a fault that comes before the vendor has looked."""
        if rule.kind == "vendor_code":
            verdict = self._vendor.refusal(rule.code, call)
            verdict.status = rule.status or verdict.status
        elif rule.kind == "html_page":
            headers = (("content-type", "text/html; charset=UTF-8"),)
            verdict = Judgement(rule.status or 502, headers, HTML_PAGE)
        else:
            verdict = Judgement(rule.status or 503, (), rule.body.encode())
            if rule.body:
                verdict.headers = (("content-type", "application/json"),)
        if rule.retry_after_s is not None:
            verdict.headers = (*verdict.headers, ("retry-after", str(rule.retry_after_s)))
        return verdict

    def _write(self, call: Call, verdict: Judgement, rule: Rule | None) -> None:
        is_answered = rule is None or rule.kind not in _UNANSWERED
        alone = Target(verdict.token, verdict.accepted, verdict.reason)
        digest = digest_of(call.body)
        request = 0
        for target in verdict.targets or (alone,):
            sequence = self._log.next_sequence()
            request = request or sequence
            self._log.add(
                Entry(
                    sequence=sequence,
                    at=self._clock.now(),
                    vendor=self._vendor.name,
                    connection=call.connection.number,
                    stream=call.stream,
                    token=target.token,
                    message_id=verdict.message_id,
                    correlation=verdict.correlation,
                    collapse=verdict.collapse,
                    push_type=verdict.push_type,
                    topic=verdict.topic,
                    digest=digest,
                    status=verdict.status if is_answered else 0,
                    reason=target.reason,
                    accepted=target.accepted,
                    fault="" if rule is None else rule.kind,
                    request=request,
                )
            )


_UNANSWERED = {"never", "reset_before", "reset_after", "rst_stream"}


def _spoiled(rule: Rule, verdict: Judgement) -> Judgement:
    """A true verdict whose answer is damaged on the way out."""
    if rule.kind == "truncated":
        # An answer without a body is given one to cut.
        body = verdict.body or b'{"reason":"'
        return replace(verdict, body=body[: max(1, len(body) // 2)])
    if rule.kind == "wrong_content_type":
        others = tuple(pair for pair in verdict.headers if pair[0] != "content-type")
        return replace(verdict, headers=(*others, ("content-type", "text/plain")))
    if rule.kind == "slow_body" and not verdict.body:
        return replace(verdict, body=b"{}")
    return verdict
