"""The fields of each command's body, with their bounds and codes: docs/commands.md is made of them.

The `wire_*` files read the bodies. Tests send a value within and beyond each bound named here, and
no answer in the unit tests carries a code that its command does not have here.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct

from tocsin.api import wire_accounts, wire_labels, wire_push
from tocsin.api.commands.field import Field
from tocsin.api.commands.info_fields import INFO_FIELDS
from tocsin.api.commands.table import Command
from tocsin.domain.account import NAME_MAX_BYTES, REGISTRATION, USER
from tocsin.domain.app import ATTR_NAME_MAX_BYTES


def _flag(name: str, says: str) -> Field:
    return Field(name=name, kind="integer", says=says, choices=(0, 1), wrong=90001)


def _account(name: str, says: str) -> Field:
    return Field(name=name, kind="text", says=says, wrong=60015)


def _tag(name: str) -> Field:
    return Field(
        name=name,
        kind="text",
        says="a tag",
        least=1,
        most=wire_labels.TAG_MAX_BYTES,
        unit="bytes",
        wrong=90001,
        empty=90040,
        beyond=90020,
    )


def _attr_value(name: str) -> Field:
    return Field(
        name=name,
        kind="text or number",
        says="the value of the attribute that the member names; a number is kept as its text",
        most=wire_labels.ATTR_MAX_BYTES,
        unit="bytes",
        wrong=90001,
        beyond=90033,
    )


# --- tags and attributes --------------------------------------------------------------------


def _entries(name: str, says: str) -> tuple[Field, Field]:
    return (
        Field(
            name=name,
            kind="list",
            says=says,
            is_needed=True,
            least=1,
            most=wire_labels.ACCOUNTS_MAX,
            unit="entries",
            wrong=90001,
            empty=90001,
            beyond=90018,
        ),
        msgspec.structs.replace(
            _account(f"{name}[].To_Account", "the account: a UserID or a RegistrationID"),
            is_needed=True,
            missing=90001,
        ),
    )


def _tags(most: int, says: str) -> tuple[Field, Field]:
    tags = Field(
        name="UserTags[].Tags",
        kind="list",
        says=says,
        is_needed=True,
        most=most,
        unit="tags",
        wrong=90001,
        beyond=90032,
    )
    return tags, _tag("UserTags[].Tags[]")


_LABELLED = (
    Field(
        name="To_Account",
        kind="list",
        says="the accounts: UserIDs, RegistrationIDs or both",
        is_needed=True,
        least=1,
        most=wire_labels.ACCOUNTS_MAX,
        unit="accounts",
        wrong=90001,
        empty=90001,
        beyond=90018,
    ),
    _account("To_Account[]", "an account"),
)
_ADDED_TAGS = (
    *_entries("UserTags", "what to add to whom"),
    *_tags(wire_labels.TAGS_ADDED_MAX, "the tags to add"),
)
_REPLACEABLE_TAGS = (
    *_entries("UserTags", "what to add to whom"),
    *_tags(
        wire_labels.TAGS_ADDED_MAX,
        f"the tags; with `Replace` 1 there may be {wire_labels.TAGS_REPLACED_MAX}",
    ),
    _flag("Replace", "1: these tags replace those that the account has; 0 (default): they join"),
)
_REMOVED_TAGS = (
    *_entries("UserTags", "what to remove from whom"),
    *_tags(wire_labels.TAGS_REPLACED_MAX, "the tags to remove; absent ones are no fault"),
)
_SET_ATTRS = (
    *_entries("UserAttrs", "what to set for whom"),
    Field(
        name="UserAttrs[].Attrs",
        kind="object",
        says="values by attribute name",
        is_needed=True,
        wrong=90001,
    ),
    _attr_value("UserAttrs[].Attrs.*"),
)
_REMOVED_ATTRS = (
    *_entries("UserAttrs", "what to remove from whom"),
    Field(
        name="UserAttrs[].Attrs",
        kind="list or object",
        says="the names of the attributes to remove, as texts or as an object's member names",
        is_needed=True,
        wrong=90001,
    ),
)
_ATTR_NAMES = (
    Field(
        name="AttrNames",
        kind="list or object",
        says='names by slot, `"0"` to `"9"`, or a list of names from slot 0 on; other slots stay',
        is_needed=True,
        wrong=90001,
    ),
    Field(
        name="AttrNames.*",
        kind="text",
        says="the name of the slot",
        least=1,
        most=ATTR_NAME_MAX_BYTES,
        unit="bytes",
        wrong=90001,
        empty=90033,
        beyond=90033,
    ),
)
_ATTR_TYPES = (
    Field(
        name="AttrTypes",
        kind="list or object",
        says="account types by slot, fixed when a slot gets its first name",
        wrong=90001,
    ),
    Field(
        name="AttrTypes.*",
        kind="integer",
        says=f"{USER} (default): UserIDs have the attribute; {REGISTRATION}: RegistrationIDs",
        choices=(USER, REGISTRATION),
        wrong=90001,
    ),
)

# --- pushes ---------------------------------------------------------------------------------

_SENDER = _account("From_Account", "who pushes; absent: the administrator who calls")


def _random(wrong: int) -> Field:
    return Field(
        name="MsgRandom",
        kind="integer",
        says="the same number of one sender within a second is the same push, answered once more",
        is_needed=True,
        most=wire_push.RANDOM_MAX,
        wrong=wrong,
        beyond=wrong,
    )


def _condition_tags(name: str, says: str) -> tuple[Field, Field]:
    tags = Field(
        name=f"Condition.{name}",
        kind="list",
        says=says,
        most=wire_push.TAGS_ASKED_MAX,
        unit="tags",
        wrong=90001,
        beyond=90032,
    )
    return tags, _tag(f"Condition.{name}[]")


def _condition_attrs(name: str, says: str) -> tuple[Field, Field]:
    attrs = Field(name=f"Condition.{name}", kind="object", says=says, wrong=90001)
    return attrs, _attr_value(f"Condition.{name}.*")


_CONDITION = (
    Field(
        name="Condition",
        kind="object",
        says="whom the push is for; absent or empty: everyone. Tags or attributes, not both",
        wrong=90001,
    ),
    *_condition_tags("TagsOr", "accounts that have one of these"),
    *_condition_tags("TagsAnd", "accounts that have all of these"),
    *_condition_tags("TagsNot", "leaves out accounts that have one of these"),
    *_condition_attrs("AttrsOr", "accounts that have one of these values"),
    *_condition_attrs("AttrsAnd", "accounts that have all of these values"),
)


def _msg_body(says: str, *, is_needed: bool) -> tuple[Field, Field]:
    elements = Field(
        name="MsgBody",
        kind="list",
        says=says,
        is_needed=is_needed,
        missing=90002 if is_needed else 0,
        least=1 if is_needed else 0,
        unit="elements" if is_needed else "",
        empty=90002 if is_needed else 0,
        wrong=90007,
    )
    element = Field(
        name="MsgBody[]",
        kind="object",
        says="`MsgType` and `MsgContent`, as the vendor's chat has them; one `TIMCustomElem`",
        wrong=90010,
    )
    return elements, element


def _info(says: str, *, is_needed: bool = False) -> Field:
    return Field(
        name="OfflinePushInfo",
        kind="object",
        says=f"{says}: see [OfflinePushInfo](#offlinepushinfo)",
        is_needed=is_needed,
        wrong=90043,
    )


_DATA_ID = Field(
    name="DataId",
    kind="text",
    says="your own id of the push, for your statistics",
    most=wire_push.DATA_ID_MAX_BYTES,
    unit="bytes",
    wrong=90001,
    beyond=90057,
)
_ONLINE_ONLY = _flag("OnlineOnlyFlag", "about the storing of chat messages: checked, and no more")
_TEXT_OF_BODY = "message elements: the text of a push whose OfflinePushInfo has no `Desc`"

_PUSH = (
    _SENDER,
    _random(90005),
    *_CONDITION,
    _info("what is shown; may be absent where there is a `MsgBody`", is_needed=True),
    *_msg_body(_TEXT_OF_BODY, is_needed=False),
    _DATA_ID,
    _ONLINE_ONLY,
)
_BATCH = (
    _SENDER,
    Field(
        name="To_Account",
        kind="list",
        says="the accounts: UserIDs, RegistrationIDs or both",
        is_needed=True,
        least=1,
        most=wire_push.TARGETS_MAX,
        unit="accounts",
        wrong=90001,
        empty=90029,
        beyond=90011,
    ),
    _account("To_Account[]", "an account"),
    _random(90001),
    _info("what is shown", is_needed=True),
    *_msg_body(_TEXT_OF_BODY, is_needed=False),
    _DATA_ID,
    _ONLINE_ONLY,
)
_IM_PUSH = (
    _SENDER,
    _random(90005),
    *_CONDITION,
    *_msg_body(_TEXT_OF_BODY, is_needed=True),
    _info("what is shown"),
    Field(
        name="MsgLifeTime",
        kind="integer",
        says="seconds for which the push waits for a device; 0 (default): one try, now",
        most=wire_push.LIFE_TIME_MAX_S,
        wrong=90044,
        beyond=90026,
    ),
    _ONLINE_ONLY,
)
_REVOKE = (
    Field(
        name="TaskId",
        kind="text",
        says="the TaskId that the push was answered",
        is_needed=True,
        least=1,
        unit="bytes",
        wrong=90001,
        empty=90001,
    ),
    msgspec.structs.replace(
        _info("what is shown in the place of the push; `PushFlag` 1: nothing", is_needed=True),
        missing=90053,
    ),
)

# --- accounts -------------------------------------------------------------------------------


def _user_id(name: str, *, beyond: int) -> Field:
    return Field(
        name=name,
        kind="text",
        says="the UserID: printable ASCII",
        is_needed=True,
        missing=70402,
        least=1,
        most=NAME_MAX_BYTES,
        unit="bytes",
        wrong=60015,
        beyond=beyond,
    )


def _profile_text(name: str, says: str, *, beyond: int) -> Field:
    return Field(
        name=name,
        kind="text",
        says=says,
        most=wire_accounts.PROFILE_MAX_BYTES,
        unit="bytes",
        wrong=70402,
        beyond=beyond,
    )


def _account_list(name: str, says: str) -> Field:
    return Field(
        name=name,
        kind="list",
        says=says,
        is_needed=True,
        least=1,
        most=wire_accounts.ACCOUNTS_MAX,
        unit="accounts",
        wrong=70402,
        beyond=70402,
    )


_LISTED_USER_ID = Field(
    name="[].UserID", kind="text", says="the UserID", is_needed=True, missing=70402, wrong=60015
)


def _user_ids(name: str, says: str) -> tuple[Field, Field]:
    user_id = msgspec.structs.replace(_LISTED_USER_ID, name=f"{name}[].UserID")
    return _account_list(name, says), user_id


_IMPORT_ONE = (
    _user_id("UserID", beyond=70402),
    _profile_text("Nick", "nickname; absent: stays", beyond=40601),
    _profile_text("FaceUrl", "address of a picture; absent: stays", beyond=40601),
)
_FAILS_ALONE = "; one that cannot be is named in `FailAccounts`"
_IMPORT_MANY = (
    _account_list("AccountList", "the accounts" + _FAILS_ALONE),
    msgspec.structs.replace(
        _user_id("AccountList[].UserID", beyond=0), says="the UserID: printable ASCII"
    ),
    _profile_text("AccountList[].Nick", "nickname; absent: stays", beyond=0),
    _profile_text("AccountList[].FaceUrl", "address of a picture; absent: stays", beyond=0),
    _account_list("Accounts", "in the place of `AccountList`, the older form: UserIDs alone"),
    _account("Accounts[]", "a UserID"),
)
_ASK_STATE = (
    Field(
        name="To_Account",
        kind="list",
        says="the accounts: UserIDs, RegistrationIDs or both",
        is_needed=True,
        least=1,
        most=wire_accounts.ASKED_MAX,
        unit="accounts",
        wrong=90003,
        empty=90001,
        beyond=90011,
    ),
    _account("To_Account[]", "an account"),
    _flag("IsNeedDetail", "1: answers the state of each device too"),
    _flag("IsReturnInstid", "1: answers the number of each device too"),
)

# --- by command -----------------------------------------------------------------------------


class CommandFields(Struct, frozen=True, kw_only=True):
    """The body of one command, and the codes that are not about a single member of it."""

    fields: tuple[Field, ...] = ()
    codes: tuple[int, ...] = ()
    listed: tuple[int, ...] = ()
    """Codes of single accounts in an answer that is OK itself."""


_PUSHING = (90045, 93000)
_CHOOSING = (*_PUSHING, 90022, 90024, 90033, 90039, 90047)
_KEPT_TAGS = (90032, 90035)
"""An account has too many tags then, or the tag belongs to the other account type."""

FIELDS: dict[str, CommandFields] = {
    "push": CommandFields(fields=_PUSH, codes=_CHOOSING),
    "batch": CommandFields(fields=_BATCH, codes=_PUSHING, listed=(70107,)),
    "im_push": CommandFields(fields=_IM_PUSH, codes=_CHOOSING),
    "revoke": CommandFields(fields=_REVOKE, codes=(90049, 90050, 90051, 90052)),
    "set_attr_name": CommandFields(fields=_ATTR_NAMES + _ATTR_TYPES, codes=(90033,)),
    "im_set_attr_name": CommandFields(fields=_ATTR_NAMES, codes=(90033,)),
    "get_attr_name": CommandFields(),
    "im_get_attr_name": CommandFields(),
    "set_attr": CommandFields(fields=_SET_ATTRS, codes=(90033,), listed=(70107, 90035)),
    "im_set_attr": CommandFields(fields=_SET_ATTRS, codes=(90033, 90035)),
    "get_attr": CommandFields(fields=_LABELLED, listed=(70107,)),
    "im_get_attr": CommandFields(fields=_LABELLED),
    "remove_attr": CommandFields(fields=_REMOVED_ATTRS, codes=(90033,), listed=(70107,)),
    "im_remove_attr": CommandFields(fields=_REMOVED_ATTRS, codes=(90033,)),
    "add_tag": CommandFields(fields=_REPLACEABLE_TAGS, listed=(70107, *_KEPT_TAGS)),
    "im_add_tag": CommandFields(fields=_ADDED_TAGS, codes=_KEPT_TAGS),
    "get_tag": CommandFields(fields=_LABELLED, listed=(70107,)),
    "im_get_tag": CommandFields(fields=_LABELLED),
    "remove_tag": CommandFields(fields=_REMOVED_TAGS, listed=(70107,)),
    "im_remove_tag": CommandFields(fields=_REMOVED_TAGS),
    "clear_all_tags": CommandFields(fields=_LABELLED, listed=(70107,)),
    "im_remove_all_tags": CommandFields(fields=_LABELLED),
    "account_import": CommandFields(fields=_IMPORT_ONE, codes=(70398, 70399, 70402)),
    "multiaccount_import": CommandFields(fields=_IMPORT_MANY),
    "account_delete": CommandFields(
        fields=_user_ids("DeleteItem", "the accounts"), codes=(71000,), listed=(70107, 70402)
    ),
    "account_check": CommandFields(fields=_user_ids("CheckItem", "the accounts")),
    "kick": CommandFields(fields=(_user_id("UserID", beyond=70402),), codes=(70107,)),
    "query_online_status": CommandFields(fields=_ASK_STATE, listed=(70107,)),
    "querystate": CommandFields(fields=_ASK_STATE, listed=(70107,)),
}
"""By the name of the command."""

SHARED_CODES = (
    *(60002, 60007, 60012, 60016, 60025, 70001, 70002, 70003, 70009, 70013, 70014, 70016, 70020),
    *(70050, 70052, 70107, 91000),
)
"""What any call may be answered before its body is read, or when the service has a fault."""


def codes_of(command: Command) -> frozenset[int]:
    """Every `ErrorCode` that a call of the command may be answered."""
    body = FIELDS[command.name]
    codes = {command.not_admin, command.too_long, command.bad_json, *SHARED_CODES, *body.codes}
    for each in body.fields:
        codes |= each.codes
        if each.name == "OfflinePushInfo":
            codes |= {code for member in INFO_FIELDS for code in member.codes}
    return frozenset(codes)
