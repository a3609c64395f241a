"""Tags of accounts: add, read, remove, clear (tencentcloud.com/document/product/1047/60567 ff)."""

from __future__ import annotations

from tocsin.api.commands.call import CommandCall, Services, change_accounts
from tocsin.api.wire import ListedAnswer, error_list
from tocsin.api.wire_labels import (
    Entries,
    TagsAnswer,
    UserTags,
    read_accounts,
    read_added_tags,
    read_removed_tags,
    read_replace,
)
from tocsin.domain.account import (
    TAG,
    Failure,
    TermKey,
    change_tags,
    with_tags_added,
    with_tags_removed,
    with_tags_replaced,
)


async def add_tag(services: Services, call: CommandCall) -> ListedAnswer:
    is_replacing = read_replace(call.body)
    entries = read_added_tags(call.body, is_replacing=is_replacing)
    decide = change_tags(entries, with_tags_replaced if is_replacing else with_tags_added)
    failures = await change_accounts(services, call, names_of(entries), decide, tag_keys(entries))
    return ListedAnswer(failures=error_list(failures))


async def get_tag(services: Services, call: CommandCall) -> TagsAnswer:
    user_tags, failures = await read_user_tags(services, call)
    return TagsAnswer(user_tags=user_tags, failures=error_list(failures))


async def remove_tag(services: Services, call: CommandCall) -> ListedAnswer:
    entries = read_removed_tags(call.body)
    decide = change_tags(entries, with_tags_removed)
    failures = await change_accounts(services, call, names_of(entries), decide)
    return ListedAnswer(failures=error_list(failures))


async def clear_all_tags(services: Services, call: CommandCall) -> ListedAnswer:
    names = read_accounts(call.body)
    decide = change_tags([(name, ()) for name in names], with_tags_replaced)
    failures = await change_accounts(services, call, names, decide)
    return ListedAnswer(failures=error_list(failures))


async def read_user_tags(
    services: Services, call: CommandCall
) -> tuple[list[UserTags], list[Failure]]:
    """The tags of the accounts that exist, in the order of the call, and the failures."""
    names = read_accounts(call.body)
    accounts = await services.store.accounts(call.app.sdkappid, names)
    pairs = list(zip(names, accounts, strict=True))
    user_tags = [UserTags(name, account.tags) for name, account in pairs if account is not None]
    if len(user_tags) == len(pairs):
        return user_tags, []
    return user_tags, [(name, 70107) for name, account in pairs if account is None]


def names_of(entries: Entries[list[str]]) -> list[str]:
    """The accounts of a call, with repetitions."""
    return [name for name, _ in entries]


def tag_keys(entries: Entries[list[str]]) -> list[TermKey]:
    """The terms that a call may need."""
    return [(TAG, tag) for tag in dict.fromkeys(tag for _, tags in entries for tag in tags)]
