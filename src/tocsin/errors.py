"""Every code our API can answer, as data, and the one exception that carries a code.

Numbers and meanings are facts of the wire (Tencent Chat error codes, trtc.io/document/34348 and
tencentcloud.com/document/product/1047/74196, read 2026-11). Numbers never change meaning;
texts may.
"""

from __future__ import annotations

from msgspec import Struct


class Code(Struct, frozen=True):
    """One row of the error table."""

    number: int
    name: str
    text: str
    """What the caller is told when nothing more exact is known."""
    help: str
    """What the caller can do about it."""


CODES: tuple[Code, ...] = (
    Code(
        40601,
        "PROFILE_TOO_LONG",
        "a profile field is over 500 bytes",
        "shorten Nick or FaceUrl",
    ),
    Code(60002, "BAD_REQUEST_LINE", "HTTP request cannot be served", "POST a body under 1 MiB"),
    Code(60003, "GATEWAY_BAD_JSON", "request body is not valid JSON", "send one JSON object"),
    Code(60007, "TOO_MANY_CALLS", "call frequency limit exceeded", "slow down and retry"),
    Code(
        60009,
        "UNKNOWN_COMMAND",
        "no such resource, check the URL",
        "compare with the list of commands",
    ),
    Code(
        60010,
        "NOT_ADMIN_GATEWAY",
        "request needs app administrator",
        "use an administrator's UserSig",
    ),
    Code(60012, "NO_SDKAPPID", "sdkappid is missing from the URL", "add sdkappid to the query"),
    Code(60015, "ACCOUNT_NOT_STRING", "account in the body is not a string", "quote every account"),
    Code(60016, "APP_DISABLED", "the application is disabled", "ask the operator of this service"),
    Code(
        60025,
        "BAD_URL_PARAMETER",
        "sdkappid, identifier, usersig or contenttype is wrong",
        "check the query string",
    ),
    Code(
        60027,
        "NOT_SERVED",
        "command is not served by this service",
        "docs/compatibility.md begins with what is served; chat needs a chat service beside it",
    ),
    Code(70001, "SIG_EXPIRED", "UserSig has expired", "issue a new UserSig"),
    Code(70002, "SIG_EMPTY", "UserSig is empty", "issue a UserSig for the identifier"),
    Code(
        70003, "SIG_MALFORMED", "UserSig is malformed", "send the UserSig whole, URL-encoded once"
    ),
    Code(70009, "SIG_WRONG_KEY", "UserSig check failed", "sign with this application's key"),
    Code(
        70013,
        "SIG_OTHER_USER",
        "identifier does not match the UserSig",
        "sign for the identifier you send",
    ),
    Code(
        70014,
        "SIG_OTHER_APP",
        "sdkappid does not match the UserSig",
        "sign for the sdkappid you send",
    ),
    Code(70016, "NO_KEY", "no key on file for the application", "ask the operator to set a key"),
    Code(70020, "NO_APP", "application does not exist", "check sdkappid"),
    Code(70050, "TOO_MANY_FAILED_SIGS", "too many failed UserSig checks", "retry after one minute"),
    Code(70052, "SIG_INVALIDATED", "UserSig was invalidated by kick", "issue a new UserSig"),
    Code(70107, "NO_ACCOUNT", "account does not exist", "import the account first"),
    Code(70169, "ACCOUNT_TIMEOUT", "account service timed out", "retry"),
    Code(
        70398,
        "TOO_MANY_ACCOUNTS_ON_PLAN",
        "account limit of the plan reached",
        "raise the app's limit",
    ),
    Code(
        70399,
        "DELETED_RECENTLY",
        "deleted account cannot be imported again yet",
        "wait three months",
    ),
    Code(
        70402, "BAD_PARAMETER", "illegal parameter", "check the request against the documentation"
    ),
    Code(
        70403,
        "NOT_ADMIN_ACCOUNT",
        "request needs app administrator",
        "use an administrator's UserSig",
    ),
    Code(70500, "ACCOUNT_INTERNAL", "internal error of the account service", "retry"),
    Code(71000, "DELETION_OFF", "account deletion is switched off", "ask the operator to allow it"),
    Code(
        90001,
        "BAD_JSON",
        "Fail to Parse json data of body, Please check it",
        "send one JSON object of the documented form",
    ),
    Code(
        90002,
        "BAD_MSG_BODY",
        "MsgBody is missing or of the wrong form",
        "send an array of message elements",
    ),
    Code(
        90003,
        "BAD_TO_ACCOUNT",
        "To_Account is missing or of the wrong type",
        "send an array of account names",
    ),
    Code(
        90005,
        "BAD_MSG_RANDOM",
        "MsgRandom is missing or not an integer",
        "send an unsigned 32-bit integer",
    ),
    Code(
        90007, "MSG_BODY_NOT_ARRAY", "MsgBody is not an array", "send an array of message elements"
    ),
    Code(90008, "BAD_FROM_ACCOUNT", "From_Account is of the wrong form", "send an account name"),
    Code(90009, "NOT_ADMIN", "request needs app administrator", "use an administrator's UserSig"),
    Code(
        90010,
        "BAD_MSG_ELEMENT",
        "a message element is of the wrong form",
        "check MsgType and MsgContent",
    ),
    Code(90011, "TOO_MANY_TARGETS", "more than 500 accounts", "split the call"),
    Code(90018, "TOO_MANY_ACCOUNTS", "more than 100 accounts", "split the call"),
    Code(90020, "TAG_TOO_LONG", "tag is longer than 50 bytes", "shorten the tag"),
    Code(
        90022,
        "TAG_TWICE",
        "the same tag stands in TagsOr and TagsAnd",
        "remove it from one of them",
    ),
    Code(90024, "PUSH_TOO_SOON", "less than one second since the last push", "wait a second"),
    Code(90026, "BAD_LIFE_TIME", "MsgLifeTime is out of range", "send 0 to 604800 seconds"),
    Code(90029, "NO_TARGETS", "To_Account is empty", "name at least one account"),
    Code(
        90032,
        "TOO_MANY_TAGS",
        "too many tags",
        "at most 10 in a call, 100 of a user, 1000 of an app",
    ),
    Code(
        90033,
        "BAD_ATTRIBUTE",
        "attribute is invalid",
        "define the name first; name and value at most 50 bytes",
    ),
    Code(
        90035,
        "WRONG_ACCOUNT_TYPE",
        "tag or attribute belongs to the other account type",
        "do not mix UserIDs and RegistrationIDs",
    ),
    Code(90039, "TAGS_WITH_ATTRS", "tags and attributes in one condition", "use one kind"),
    Code(90040, "EMPTY_TAG", "a tag is empty", "remove the empty tag"),
    Code(
        90043,
        "BAD_OFFLINE_PUSH_INFO",
        "OfflinePushInfo is of the wrong form",
        "check it against the documentation",
    ),
    Code(
        90044, "LIFE_TIME_NOT_INTEGER", "MsgLifeTime is not an integer", "send 0 to 604800 seconds"
    ),
    Code(
        90045,
        "PUSH_NOT_ENABLED",
        "push is not enabled for this application",
        "ask the operator to enable it",
    ),
    Code(
        90047,
        "DAILY_QUOTA",
        "daily number of pushes reached",
        "wait until 00:00 UTC or raise the limit",
    ),
    Code(90049, "NO_TASK", "no such push", "use the TaskId that the push answered"),
    Code(90050, "ALREADY_RECALLED", "the push was recalled before", "nothing is left to do"),
    Code(90051, "RECALL_TOO_SOON", "more than one recall in a second", "wait a second"),
    Code(
        90052,
        "RECALL_TOO_LATE",
        "the push is older than 24 hours",
        "nothing can be recalled any more",
    ),
    Code(
        90053,
        "RECALL_NEEDS_INFO",
        "recall needs OfflinePushInfo",
        "send the text that overwrites the push",
    ),
    Code(90056, "PUSH_BODY_TOO_LONG", "request body is over 10240 bytes", "shorten the message"),
    Code(90057, "DATA_ID_TOO_LONG", "DataId is longer than 64 bytes", "shorten DataId"),
    Code(
        91000, "INTERNAL", "internal service error, please try again", "retry; nothing was changed"
    ),
    Code(93000, "MSG_BODY_TOO_LONG", "MsgBody is over 12 KB", "shorten the message"),
    Code(800001, "BAD_APPKEY", "appKey is invalid", "use the app's client key"),
    Code(
        800101, "BAD_DEVICE_SECRET", "device secret is wrong", "register under a new RegistrationID"
    ),
    Code(
        800102, "TOO_MANY_REGISTRATIONS", "too many registrations from this address", "retry later"
    ),
    Code(
        800103,
        "NO_SUCH_REGISTRATION_ID",
        "RegistrationID is not registered here, and may not be chosen",
        "forget the one that was kept, leave registration_id empty and keep what is answered; own "
        "ones need the app's switch and prefix (docs/online.md)",
    ),
)

TEXTS: dict[int, str] = {code.number: code.text for code in CODES}


class CallError(Exception):
    """The caller is wrong (or we must refuse the call): rendered once, by `api/rest.py`."""

    def __init__(self, code: int, info: str | None = None) -> None:
        if code not in TEXTS:
            raise KeyError(code)
        super().__init__(code, info)
        self.code = code
        self.info = info if info is not None else TEXTS[code]


class StoreError(Exception):
    """The store could not do a step: nothing of it happened. The caller gets 91000."""


class SetupError(Exception):
    """The service cannot be opened as it is set up: what is wrong, and what to do about it."""

    def __init__(self, what: str, advice: str) -> None:
        super().__init__(what)
        self.what = what
        self.advice = advice


class Stale(Exception):
    """A job's lease is no longer ours: somebody else holds it or the job is gone."""
