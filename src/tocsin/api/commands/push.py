"""Push, batch, recall (tencentcloud.com/document/product/1047/60561, 67553, 60571)."""

from __future__ import annotations

from tocsin.api.commands.call import CommandCall, Services
from tocsin.api.wire import Answer, error_list
from tocsin.api.wire_push import Kind, TaskAnswer, read_push, read_revoke


async def push(services: Services, call: CommandCall) -> TaskAnswer:
    return await _accept(services, call, "push")


async def batch(services: Services, call: CommandCall) -> TaskAnswer:
    return await _accept(services, call, "batch")


async def im_push(services: Services, call: CommandCall) -> TaskAnswer:
    return await _accept(services, call, "im_push")


async def revoke(services: Services, call: CommandCall) -> Answer:
    recall = read_revoke(call.body)
    await services.accepting.recall(call.app, recall.task_id, recall.message)
    return Answer()


async def _accept(services: Services, call: CommandCall, kind: Kind) -> TaskAnswer:
    ask = read_push(kind, call.app, call.identifier, call.body)
    accepted = await services.accepting.push(call.app, ask)
    # An account named twice gets one push, and its failure is listed once per mention.
    codes = dict(accepted.failures)
    failures = [(name, codes[name]) for name in ask.accounts if name in codes]
    return TaskAnswer(task_id=accepted.task_id, failures=error_list(failures))
