"""The commands under `/v4/`: one table for their routes, limits and documentation."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec
from msgspec import Struct

from tocsin.api.commands import accounts, attrs, old, push, tags
from tocsin.api.commands.call import CommandCall, Services
from tocsin.api.wire import Answer
from tocsin.api.wire_push import TaskAnswer
from tocsin.domain.quota import QuotaLimits

BODY_MAX_BYTES = 1 << 20
"""A longer body is 60002 for every command."""
PUSH_BODY_MAX_BYTES = 10_240
"""A longer body of a push is 90056 (tencentcloud.com/document/product/1047/74196)."""

Handler = Callable[[Services, CommandCall], Awaitable[Answer]]

NOT_ADMIN = {
    "timpush": 90009,
    "all_member_push": 90009,
    "openim": 90009,
    "im_open_login_svc": 70403,
}
"""The code for a caller who is no administrator, by service (34348)."""


def _scaled(rate: int) -> Callable[[QuotaLimits], float]:
    return lambda limits: rate * limits.scale


def _batch(limits: QuotaLimits) -> float:
    return limits.batch_per_s


def _unlimited(_limits: QuotaLimits) -> float:
    return 0


class Command(Struct, frozen=True, kw_only=True):
    """One command: its path, its limits, and its handler."""

    service: str
    name: str
    handle: Handler
    summary: str
    pages: str
    """Numbers of the pages that describe it, under tencentcloud.com/document/product/1047/."""
    rate: str
    """What bounds its calls, in words."""
    rate_of: Callable[[QuotaLimits], float] = _unlimited
    """Calls a second and process under an app's limits; 0: no limit of this kind."""
    body_max_bytes: int = BODY_MAX_BYTES
    too_long: int = 60002
    bad_json: int = 90001
    answer: type[Answer] = Answer
    """The form that a refusal has."""
    is_fieldless: bool = False
    counted_as: str = ""
    """The path whose calls a second it shares; empty: its own."""

    @property
    def path(self) -> str:
        """Where it is called."""
        return f"/v4/{self.service}/{self.name}"

    @property
    def not_admin(self) -> int:
        """What a caller without administrator's rights is answered."""
        return NOT_ADMIN[self.service]

    @property
    def family(self) -> str:
        """The family of the command, by which docs/compatibility.md counts served commands."""
        if self.service == "im_open_login_svc":
            return "accounts"
        if self.name in ("query_online_status", "querystate"):
            return "online state"
        if "_tag" in self.name:
            return "user tags"
        return "user attributes" if "_attr" in self.name else "push and recall"


def _timpush(handle: Handler, summary: str, pages: str, *, is_fieldless: bool = False) -> Command:
    return Command(
        service="timpush",
        name=handle.__name__,
        handle=handle,
        summary=summary,
        pages=pages,
        rate="100/s",
        rate_of=_scaled(100),
        is_fieldless=is_fieldless,
    )


def _old(handle: Handler, summary: str, pages: str, *, is_fieldless: bool = False) -> Command:
    return Command(
        service="all_member_push",
        name=handle.__name__,
        handle=handle,
        summary=summary,
        pages=pages,
        rate="100/s",
        rate_of=_scaled(100),
        is_fieldless=is_fieldless,
    )


def _login(handle: Handler, summary: str, pages: str, rate: int) -> Command:
    return Command(
        service="im_open_login_svc",
        name=handle.__name__,
        handle=handle,
        summary=summary,
        pages=pages,
        rate=f"{rate}/s",
        rate_of=_scaled(rate),
        bad_json=60003,
    )


def _openim(handle: Handler, summary: str, pages: str) -> Command:
    return Command(
        service="openim",
        name=handle.__name__,
        handle=handle,
        summary=summary,
        pages=pages,
        rate="200/s",
        rate_of=_scaled(200),
    )


_PUSH_RATE = "more than 1 s apart (90024), 100 a day (90047)"

_PRESENT: tuple[Command, ...] = (
    Command(
        service="timpush",
        name="push",
        handle=push.push,
        summary="Push to everyone, or to those whom tags or attributes name.",
        pages="60561, 67814",
        rate=_PUSH_RATE,
        body_max_bytes=PUSH_BODY_MAX_BYTES,
        too_long=90056,
        answer=TaskAnswer,
    ),
    Command(
        service="timpush",
        name="batch",
        handle=push.batch,
        summary="Push to up to 500 listed accounts.",
        pages="67553",
        rate="30/s",
        rate_of=_batch,
        answer=TaskAnswer,
    ),
    Command(
        service="timpush",
        name="revoke",
        handle=push.revoke,
        summary="Recall a push of the last 24 hours: stop it, and overwrite what was shown.",
        pages="60571, 67824",
        rate="1/s (90051)",
    ),
    _timpush(attrs.set_attr_name, "Name the app's attribute slots.", "60563, 67816"),
    _timpush(attrs.get_attr_name, "Read the attribute names.", "60562, 67815", is_fieldless=True),
    _timpush(attrs.set_attr, "Set attributes of up to 100 accounts.", "60565, 67818"),
    _timpush(attrs.get_attr, "Read attributes of up to 100 accounts.", "60564, 67817"),
    _timpush(attrs.remove_attr, "Remove attributes of up to 100 accounts.", "60566, 67819"),
    _timpush(tags.add_tag, "Add or replace tags of up to 100 accounts.", "60568, 67821"),
    _timpush(tags.get_tag, "Read tags of up to 100 accounts.", "60567, 67820"),
    _timpush(tags.remove_tag, "Remove given tags of up to 100 accounts.", "60569, 67822"),
    _timpush(tags.clear_all_tags, "Remove every tag of up to 100 accounts.", "60570, 67823"),
    Command(
        service="all_member_push",
        name="im_push",
        handle=push.im_push,
        summary="Push to everyone, or to those whom tags or attributes name.",
        pages="37166",
        rate=_PUSH_RATE,
        answer=TaskAnswer,
    ),
    _old(old.im_set_attr_name, "Name the app's attribute slots.", "37167"),
    _old(old.im_get_attr_name, "Read the attribute names.", "37168", is_fieldless=True),
    _old(old.im_set_attr, "Set attributes of up to 100 accounts.", "37170"),
    _old(old.im_get_attr, "Read attributes of up to 100 accounts.", "37169"),
    _old(old.im_remove_attr, "Remove attributes of up to 100 accounts.", "37171"),
    _old(old.im_add_tag, "Add tags to up to 100 accounts.", "37173"),
    _old(old.im_get_tag, "Read tags of up to 100 accounts.", "37172"),
    _old(old.im_remove_tag, "Remove given tags of up to 100 accounts.", "37174"),
    _old(old.im_remove_all_tags, "Remove every tag of up to 100 accounts.", "37175"),
    _login(accounts.account_import, "Create an account, or update its profile.", "34953", 200),
    _login(accounts.multiaccount_import, "Create up to 100 accounts.", "34954", 100),
    _login(accounts.account_delete, "Delete up to 100 accounts and all they had.", "34955", 100),
    _login(accounts.account_check, "Say which of up to 100 accounts exist.", "34956", 100),
    _login(accounts.kick, "Void every UserSig issued to an account so far.", "34957", 200),
    _openim(accounts.query_online_status, "Say who of up to 500 accounts is online.", "35477"),
    _openim(accounts.querystate, "The same under its retired name and member.", "35477"),
)


def _older_path(command: Command) -> Command:
    """Where the older family was before it had a service name of its own."""
    return msgspec.structs.replace(
        command,
        service="openim",
        summary=f"Older path of `{command.path}`.",
        counted_as=command.path,
    )


COMMANDS: tuple[Command, ...] = (
    *_PRESENT,
    *(_older_path(each) for each in _PRESENT if each.service == "all_member_push"),
)

BY_PATH: dict[str, Command] = {command.path: command for command in COMMANDS}
