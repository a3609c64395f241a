"""Push, batch, recall (tencentcloud.com/document/product/1047/60561, 67553, 60571)."""

from __future__ import annotations

from tocsin.api.commands.call import Call, Desk
from tocsin.api.wire import Answer, error_list
from tocsin.api.wire_push import Kind, TaskAnswer, read_push, read_revoke


async def push(desk: Desk, call: Call) -> TaskAnswer:
    return await _accept(desk, call, "push")


async def batch(desk: Desk, call: Call) -> TaskAnswer:
    return await _accept(desk, call, "batch")


async def im_push(desk: Desk, call: Call) -> TaskAnswer:
    return await _accept(desk, call, "im_push")


async def revoke(desk: Desk, call: Call) -> Answer:
    ask = read_revoke(call.body)
    await desk.accepting.recall(call.app, ask.task_id, ask.message)
    return Answer()


async def _accept(desk: Desk, call: Call, kind: Kind) -> TaskAnswer:
    ask = read_push(kind, call.app, call.identifier, call.body)
    accepted = await desk.accepting.push(call.app, ask)
    # An account named twice is pushed to once, and its failure is told once per mention.
    codes = dict(accepted.failures)
    failures = [(name, codes[name]) for name in ask.accounts if name in codes]
    return TaskAnswer(task_id=accepted.task_id, failures=error_list(failures))
