"""The older family, all_member_push: the same data, answered without ErrorList and AttrTypes.

Unknown accounts are left out and the call is OK; any other failure of an account fails the call.
Sources: tencentcloud.com/document/product/1047/37167 to 37175 (read 2026-11).
"""

from __future__ import annotations

from tocsin.api.commands.attrs import name_slots, read_user_attrs
from tocsin.api.commands.call import CommandCall, Services, change_accounts
from tocsin.api.commands.tags import names_of, read_user_tags, tag_keys
from tocsin.api.wire import Answer
from tocsin.api.wire_labels import (
    AttrsAnswer,
    NamesAnswer,
    TagsAnswer,
    read_accounts,
    read_added_tags,
    read_attr_names,
    read_removed_attrs,
    read_removed_tags,
    read_set_attrs,
)
from tocsin.domain.account import (
    attr_keys,
    change_tags,
    remove_attrs,
    set_attrs,
    strictly,
    with_tags_added,
    with_tags_removed,
    with_tags_replaced,
)


async def im_set_attr_name(services: Services, call: CommandCall) -> Answer:
    await name_slots(services, call, read_attr_names(call.body), {})
    return Answer()


async def im_get_attr_name(_services: Services, call: CommandCall) -> NamesAnswer:
    return NamesAnswer(names=call.app.attr_names)


async def im_set_attr(services: Services, call: CommandCall) -> Answer:
    entries = read_set_attrs(call.body)
    names = [name for name, _ in entries]
    keys = attr_keys(call.app, entries)
    await change_accounts(services, call, names, strictly(set_attrs(entries)), keys)
    return Answer()


async def im_get_attr(services: Services, call: CommandCall) -> AttrsAnswer:
    user_attrs, _ = await read_user_attrs(services, call)
    return AttrsAnswer(user_attrs=user_attrs)


async def im_remove_attr(services: Services, call: CommandCall) -> Answer:
    entries = read_removed_attrs(call.body)
    names = [name for name, _ in entries]
    await change_accounts(services, call, names, strictly(remove_attrs(entries)))
    return Answer()


async def im_add_tag(services: Services, call: CommandCall) -> Answer:
    entries = read_added_tags(call.body, is_replacing=False)
    decide = strictly(change_tags(entries, with_tags_added))
    await change_accounts(services, call, names_of(entries), decide, tag_keys(entries))
    return Answer()


async def im_get_tag(services: Services, call: CommandCall) -> TagsAnswer:
    user_tags, _ = await read_user_tags(services, call)
    return TagsAnswer(user_tags=user_tags)


async def im_remove_tag(services: Services, call: CommandCall) -> Answer:
    entries = read_removed_tags(call.body)
    decide = strictly(change_tags(entries, with_tags_removed))
    await change_accounts(services, call, names_of(entries), decide)
    return Answer()


async def im_remove_all_tags(services: Services, call: CommandCall) -> Answer:
    names = read_accounts(call.body)
    decide = strictly(change_tags([(name, ()) for name in names], with_tags_replaced))
    await change_accounts(services, call, names, decide)
    return Answer()
