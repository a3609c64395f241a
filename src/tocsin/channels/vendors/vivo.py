"""vivo's push service, by app id, key and secret.

Pages, read 2026-11:
https://dev.vivo.com.cn/documentCenter/doc/362 (server interface)
https://dev.vivo.com.cn/documentCenter/doc/359 (classes and categories of messages)
https://dev.vivo.com.cn/documentCenter/doc/681 (error codes)

What is special: HTTP 200 says nothing, the `result` of the body does. One device is sent its
message; several are sent a body that was saved before, and the answer names those whom it cannot
reach. The token lives a day and is to be renewed every hour or two; several live side by side.
Messages are of one of two classes: system messages go at any hour, operation messages between 7
and 23 o'clock in China, and class and category must agree. Asking again after the day's quota is
used up lowers the next day's, so such a message waits until midnight in China. vivo shows
notifications only, so a push that has just one of title and text shows it twice, and one that has
none cannot be sent. Badges can be raised by one and not set; there is no choice of sound. Receipts
go where the message says, by the id of an address in the console or by the address itself, and are
not signed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from tocsin.channels.shared import (
    JSON,
    NOTHING_TO_SHOW,
    RawReceipt,
    check_callback_url,
    code_of,
    custom_data,
    hosts,
    no_authority,
    not_saved,
    outcome_by_status,
    plain_token,
    raise_if_stale,
    read_entries,
    saved_name,
    saved_now,
    some_object,
    text_of,
)
from tocsin.channels.shared_texts import is_too_long, texts_within
from tocsin.conversation import (
    ACCEPTED,
    Authority,
    Batch,
    Denied,
    Limits,
    Posted,
    Request,
    Response,
    devices_of,
    tokens_of,
)
from tocsin.domain.message import DEFAULT_SOUNDS, NO_SOUND, Message, notify_id, utf16_units
from tocsin.domain.outcome import POSTED, BatchReceipts, Outcome
from tocsin.domain.retry import CHINA_S, retry_after_s, until_hour_s

NAME = "vivo"

NOBODY = "0" * 23

LIMITS = Limits(
    payload_max_bytes=4096,
    takes_data=False,
    devices_max=1000,
    lifetime_max_s=86_400,
    # Below five million users with notifications on; 4,000 and 5,000 with more.
    rate_per_s=3000.0,
    in_flight_max=64,
    clock_offset_s=CHINA_S,
)

ORIGIN = "https://api-push.vivo.com.cn"
HOSTS = hosts(ORIGIN)
AUTH_PATH = "/message/auth"
SEND_PATH = "/message/send"
SAVE_PATH = "/message/saveListPayload"
LIST_PATH = "/message/pushToList"

TITLE_UNITS_MAX = 40
CONTENT_UNITS_MAX = 100
CUSTOM_UNITS_MAX = 1024
"""Of clientCustomMap, names and values together; of skipContent too."""
URL_UNITS_MAX = 1000
CALLBACK_UNITS_MAX = 128
TTL_MIN_S = 60
TOKEN_LIFE_S = 86_400
RENEW_AFTER_S = 5400
"""vivo asks for a new token every hour or two."""
OPENING_HOUR = 7

SYSTEM, OPERATION = 1, 0
CATEGORIES: dict[str, int] = {
    "IM": SYSTEM,
    "ACCOUNT": SYSTEM,
    "TODO": SYSTEM,
    "DEVICE_REMINDER": SYSTEM,
    "ORDER": SYSTEM,
    "SUBSCRIPTION": SYSTEM,
    "NEWS": OPERATION,
    "CONTENT": OPERATION,
    "MARKETING": OPERATION,
    "SOCIAL": OPERATION,
}
"""The class that a category belongs to; one that is not here goes with either."""

ARRIVED = "0"
"""The `ackType` of a receipt that says so."""

HOME, URL, CUSTOM, PAGE = 1, 2, 3, 4
"""What a click does: `skipType`."""


class Settings(Struct, frozen=True, kw_only=True):
    """An app in vivo's developer console, and what its pushes have when they name nothing."""

    app_secret: Annotated[
        str, Meta(description="AppSecret of the app", extra={"is_secret": True}, min_length=1)
    ]
    app_key: Annotated[str, Meta(description="AppKey of the app", min_length=1)]
    app_id: Annotated[str, Meta(description="AppID of the app", pattern="^[0-9]+$")]
    classification: Annotated[
        int, Meta(description="Class of pushes that name none: 1 system, 0 operation", ge=0, le=1)
    ] = SYSTEM
    category: Annotated[
        str, Meta(description="Category of pushes that name none, such as IM or NEWS")
    ] = ""
    notify_type: Annotated[
        int,
        Meta(
            description="Alert of pushes that name none: 1 none, 2 ring, 3 vibrate, 4 both",
            ge=1,
            le=4,
        ),
    ] = 4
    skip_type: Annotated[
        int,
        Meta(
            description="What a click opens: 1 app, 2 web address, 3 the app decides, 4 page",
            ge=1,
            le=4,
        ),
    ] = HOME
    skip_content: Annotated[
        str, Meta(description="The address or page that a click opens; with 3: empty sends Ext")
    ] = ""
    callback_id: Annotated[
        str, Meta(description="Id of the receipt address in vivo's console; empty: no receipts")
    ] = ""
    callback_url: Annotated[
        str, Meta(description="The receipt address itself, in the place of callback_id")
    ] = ""
    is_test: Annotated[
        bool, Meta(description="Send to registered test users only, outside the quota")
    ] = False

    def __post_init__(self) -> None:
        if CATEGORIES.get(self.category, self.classification) != self.classification:
            raise ValueError("category belongs to the other classification")
        if self.skip_type in (URL, PAGE) and not self.skip_content:
            raise ValueError("skip_type 2 and 4 need skip_content")
        units_max = URL_UNITS_MAX if self.skip_type == URL else CUSTOM_UNITS_MAX
        if utf16_units(self.skip_content) > units_max:
            raise ValueError(f"skip_content is over {units_max} characters")
        if utf16_units(self.callback_id) > CALLBACK_UNITS_MAX:
            raise ValueError(f"callback_id is over {CALLBACK_UNITS_MAX} characters")
        if self.callback_id and self.callback_url:
            raise ValueError("callback_id and callback_url exclude each other")
        check_callback_url(self.callback_url, CALLBACK_UNITS_MAX)


OURS = (
    *(10050, 10051, 10052, 10053, 10054, 10055, 10057, 10059, 10060, 10061, 10062, 10063, 10064),
    *(10065, 10066, 10067, 10095, 10096, 10097, 10150, 10151, 10152, 10153, 10154, 10155),
    *(10304, 10305, 10306, 10352, 10353),
)
"""Members that are missing, too many or against each other."""

OUTCOMES: dict[tuple[int, str], Outcome] = {
    # A success that cannot be read: it may have been taken.
    (200, ""): Outcome.UNKNOWN,
    (200, "0"): Outcome.ACCEPTED,
    # The token is missing or old, or another app's; twice in a row the credential is wrong.
    (200, "10000"): Outcome.AUTH_EXPIRED,
    (200, "10094"): Outcome.AUTH_EXPIRED,
    **{(200, str(code)): Outcome.BAD_REQUEST for code in OURS},
    (200, "10043"): Outcome.NOT_PERMITTED,
    (200, "10082"): Outcome.NOT_PERMITTED,
    (200, "10045"): Outcome.BLOCKED_CONTENT,
    (200, "10103"): Outcome.BLOCKED_CONTENT,
    (200, "10104"): Outcome.BLOCKED_CONTENT,
    (200, "10056"): Outcome.TOO_LARGE,
    (200, "10058"): Outcome.TOO_LARGE,
    (200, "10070"): Outcome.QUOTA_DAY,
    (200, "10073"): Outcome.QUOTA_DAY,
    (200, "10252"): Outcome.QUOTA_DAY,
    (200, "10254"): Outcome.QUOTA_DAY,
    (200, "10071"): Outcome.TIME_WINDOW,
    (200, "10072"): Outcome.THROTTLED,
    **{(200, str(code)): Outcome.CREDENTIALS_WRONG for code in range(10200, 10208)},
    (200, "10302"): Outcome.TOKEN_DEAD,
    (200, "10311"): Outcome.UNDELIVERABLE,
    # The registration is unknown, or the app was removed or its notifications were left.
    (200, "invalidUser 1"): Outcome.TOKEN_DEAD,
    (200, "invalidUser 2"): Outcome.TOKEN_DEAD,
    (200, "invalidUser 3"): Outcome.UNDELIVERABLE,
    (200, "invalidUser 4"): Outcome.UNDELIVERABLE,
    (429, ""): Outcome.THROTTLED,
    (500, ""): Outcome.SERVER_ERROR,
    (502, ""): Outcome.SERVER_ERROR,
    (503, ""): Outcome.SERVER_ERROR,
    (504, ""): Outcome.SERVER_ERROR,
    (POSTED, ""): Outcome.UNDELIVERABLE,
    (POSTED, ARRIVED): Outcome.ACCEPTED,
    # Unsubscribed, and unknown without a word of what: neither says that the app is gone.
    (POSTED, "0001"): Outcome.UNDELIVERABLE,
    (POSTED, "0002"): Outcome.UNDELIVERABLE,
    (POSTED, "0006"): Outcome.UNDELIVERABLE,
    (POSTED, "0012"): Outcome.EXPIRED,
    (POSTED, "1001"): Outcome.QUOTA_DAY,
    (POSTED, "2000"): Outcome.QUOTA_DAY,
    # The same text as before, of an operation message.
    (POSTED, "2124"): Outcome.BLOCKED_CONTENT,
    (POSTED, "2144"): Outcome.EXPIRED,
    # The page that a click opens is wrong.
    **{(POSTED, code): Outcome.BAD_REQUEST for code in ("2158", "2161", "2162")},
    (POSTED, "2183"): Outcome.TOKEN_DEAD,
}
"""Status and `result` to outcome; an empty reason stands for an answer without a `result`.
A `result` that is not here is a refusal of what we sent.

`invalidUser` with its status is said of single devices while the list is taken. Rows of `POSTED`
are the sub-codes of receipts, from a push provider's runbook; without one, `ackType` is told.
"""

HINTS = {
    "10000": "app_id is not the app's that app_key belongs to",
    "10043": "apply for this class of message on vivo's push platform",
    "10082": "apply for system messages on vivo's push platform, or name another category",
    # One of AppId, AppKey, timestamp and signature; which one says the text.
    **{
        str(code): "compare app_id, app_key and app_secret with vivo's platform, and set the clock"
        for code in range(10200, 10208)
    },
}


def normal_token(token: str) -> str | None:
    """No form is published by vivo: any visible ASCII, in the case that it is told in."""
    return plain_token(token)


def replaces(settings: Settings, message: Message) -> bool:  # noqa: ARG001 - the common shape
    """The same notifyId takes the place of what is shown."""
    return True


def authorize(settings: Settings, now: float) -> Generator[Request, Response, Authority | Denied]:
    stamp = int(now * 1000)
    signed = f"{settings.app_id}{settings.app_key}{stamp}{settings.app_secret}"
    asked = {
        "appId": int(settings.app_id),
        "appKey": settings.app_key,
        "timestamp": stamp,
        "sign": hashlib.md5(signed.encode(), usedforsecurity=False).hexdigest(),
    }
    response = yield Request(
        "POST",
        ORIGIN,
        AUTH_PATH,
        (JSON,),
        msgspec.json.encode(asked),
    )
    answer = _answer(response)
    if response.status == 200 and answer is not None and answer.result == 0 and answer.authToken:
        return Authority(answer.authToken, now + RENEW_AFTER_S, now + TOKEN_LIFE_S)
    return no_authority(_found(response, answer, now), response)


def made_of(settings: Settings, auth_origin: str) -> tuple[str, ...]:
    return (settings.app_id, settings.app_key, settings.app_secret, auth_origin)


def prepare(
    settings: Settings, credential: Authority, batch: Batch, now: float
) -> Generator[Request, Response, str | Denied]:
    """Save the message, and end with the number under which lists are sent it.

    A single device is sent its message itself, so nothing is saved for it.
    """
    if len(batch.deliveries) == 1:
        return ""
    return (yield from _save(settings, credential, batch, now))


def deliver(
    settings: Settings, credential: Authority, batch: Batch, now: float
) -> Generator[Request, Response, BatchReceipts]:
    if len(batch.deliveries) == 1:
        return (yield from _send(settings, credential, batch, now))
    saved = batch.prepared
    if not saved:
        found = yield from saved_now(_save(settings, credential, batch, now))
        if isinstance(found, Denied):
            return batch.came_to(found)
        saved = found
    return (yield from _send_list(settings, credential, batch, saved, now))


def report(headers: Mapping[str, str], body: bytes) -> Posted:  # noqa: ARG001 - the common shape
    return read_entries(OUTCOMES, some_object(body), _told, b'{"result":0,"desc":"success"}')


def _told(entry: dict[str, Any]) -> RawReceipt:
    """One task's entry; where something went wrong, the sub-code says best what."""
    ack, sub = code_of(entry.get("ackType")), code_of(entry.get("subCode"))
    is_there = ack == ARRIVED
    is_told = bool(ack) and not is_there and bool(sub.strip("0"))
    return RawReceipt(
        code=sub if is_told else ack,
        kind="" if is_there or is_told else "ackType",
        correlation=entry.get("param"),
        token=entry.get("targets"),
        at_ms=entry.get("ackTime"),
    )


def _send(
    settings: Settings, credential: Authority, batch: Batch, now: float
) -> Generator[Request, Response, BatchReceipts]:
    """One device and its message."""
    delivery = batch.deliveries[0]
    body = _body(settings, batch)
    if isinstance(body, Denied):
        return batch.came_to(body)
    body |= {"regId": delivery.token, "requestId": delivery.correlation}
    response = yield _request(credential, SEND_PATH, body, batch)
    answer = _answer(response)
    found = _found(response, answer, now)
    named = answer.invalidUser if answer is not None else None
    if named is not None and named.status and found.outcome is Outcome.ACCEPTED:
        found = _invalid(named)
    raise_if_stale(found)
    return batch.came_to(found)


def _send_list(
    settings: Settings, credential: Authority, batch: Batch, saved: str, now: float
) -> Generator[Request, Response, BatchReceipts]:
    """Several devices and the number of what was saved for them."""
    body = {
        "appId": int(settings.app_id),
        "taskId": saved,
        "regIds": tokens_of(batch.deliveries),
        "requestId": _request_id(batch),
    }
    response = yield _request(credential, LIST_PATH, body, batch)
    answer = _answer(response)
    found = _found(response, answer, now)
    raise_if_stale(found)
    if found.outcome is Outcome.TOKEN_DEAD:
        # Said of a list without a name: it accuses nobody.
        found = msgspec.structs.replace(found, outcome=Outcome.BAD_REQUEST)
    named = answer.invalidUsers if answer is not None else None
    return batch.came_by_token({it.userid: _invalid(it) for it in named or () if it.userid}, found)


def _save(
    settings: Settings, credential: Authority, batch: Batch, now: float
) -> Generator[Request, Response, str | Denied]:
    body = _body(settings, batch)
    if isinstance(body, Denied):
        return body
    body["requestId"] = saved_name(batch)
    response = yield _request(credential, SAVE_PATH, body, batch)
    answer = _answer(response)
    if response.status == 200 and answer is not None and answer.result == 0 and answer.taskId:
        return str(answer.taskId)
    found = _found(response, answer, now)
    raise_if_stale(found)
    return not_saved(found)


def _body(settings: Settings, batch: Batch) -> dict[str, Any] | Denied:
    """The message in vivo's words, without whom it is for; a denial where it does not fit."""
    first = batch.deliveries[0]
    message, part = first.message, first.message.android
    title, content = texts_within(message, TITLE_UNITS_MAX, CONTENT_UNITS_MAX)
    if not title:
        return NOTHING_TO_SHOW
    notify_type = part.vivo_notify_type or settings.notify_type
    if part.sound in DEFAULT_SOUNDS:
        # 1 is silent and 3 vibrates; 2 and 4 are the same with a ring.
        notify_type += notify_type % 2
    body: dict[str, Any] = {
        "appId": int(settings.app_id),
        "title": title,
        "content": content,
        "notifyType": 1 if part.sound == NO_SOUND else notify_type,
        "timeToLive": min(max(first.ttl_s, TTL_MIN_S), LIMITS.lifetime_max_s),
        "notifyId": notify_id(first.collapse),
        **_class(settings, message),
        **_click(settings, message),
    }
    body["clientCustomMap"] = custom = custom_data(first)
    if sum(utf16_units(name + text) for name, text in custom.items()) > CUSTOM_UNITS_MAX:
        info = f"ext and ids over {CUSTOM_UNITS_MAX} characters"
        return Denied(Outcome.TOO_LARGE, "-7", info)
    if message.badge_add and message.badge_set is None:
        body["addBadge"] = True
    where = {"callback.id": settings.callback_id, "callback": settings.callback_url}
    named = {name: it for name, it in where.items() if it}
    if named:
        body["extra"] = {**named, "callback.param": batch.correlation}
    if settings.is_test or first.is_trial:
        body["pushMode"] = 1
    return body


def _class(settings: Settings, message: Message) -> dict[str, Any]:
    """Class and category, which must agree: what the message says of one decides the other."""
    part = message.android
    chosen = part.vivo_classification
    if chosen is None:
        chosen = CATEGORIES.get(part.vivo_category, settings.classification)
    category = part.vivo_category
    if not category and CATEGORIES.get(settings.category, chosen) == chosen:
        category = settings.category
    return {"classification": chosen} | ({"category": category} if category else {})


def _click(settings: Settings, message: Message) -> dict[str, Any]:
    content = settings.skip_content
    if settings.skip_type == CUSTOM and not content:
        content = message.ext
    click: dict[str, Any] = {"skipType": settings.skip_type}
    return click | ({"skipContent": content} if content and settings.skip_type != HOME else {})


def _request_id(batch: Batch) -> str:
    """The same for the same devices of a task, and another one as soon as one is missing."""
    devices = ",".join(map(str, devices_of(batch.deliveries)))
    return hashlib.sha256(f"{batch.correlation}:{devices}".encode()).hexdigest()


def _request(credential: Authority, path: str, body: dict[str, Any], batch: Batch) -> Request:
    headers = (("authToken", credential.value), JSON)
    message, content = batch.deliveries[0].message, msgspec.json.encode(body)
    is_long = is_too_long(message, TITLE_UNITS_MAX, CONTENT_UNITS_MAX)
    return Request("POST", ORIGIN, path, headers, content, is_shortened=is_long)


def _answer(response: Response) -> _Answer | None:
    """What the body says; None where it cannot be read, or says nothing."""
    try:
        answer = _DECODER.decode(response.body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return answer if answer.result is not None else None


def _found(response: Response, answer: _Answer | None, now: float) -> Denied:
    """The outcome of a whole answer. A success that cannot be read leaves doubt."""
    status = response.status
    wait_s = retry_after_s(response.headers)
    if status != 200:
        return Denied(outcome_by_status(OUTCOMES, status), str(status), "", wait_s)
    if answer is None:
        return Denied(OUTCOMES[200, ""], "200", "answer cannot be read")
    code = str(answer.result)
    outcome = OUTCOMES.get((200, code), Outcome.BAD_REQUEST)
    if outcome is Outcome.ACCEPTED:
        return ACCEPTED
    if outcome is Outcome.TIME_WINDOW:
        wait_s = until_hour_s(OPENING_HOUR, now, CHINA_S)
    return Denied(outcome, code, text_of(answer.desc), wait_s)


def _invalid(user: _Invalid) -> Denied:
    """What is said of one device."""
    code = f"invalidUser {user.status}"
    outcome = OUTCOMES.get((200, code), Outcome.UNDELIVERABLE)
    return Denied(outcome, code, "")


class _Invalid(Struct, frozen=True):
    userid: str | None = None
    status: int | None = None


class _Answer(Struct, frozen=True):
    result: int | None = None
    desc: str | None = None
    authToken: str | None = None  # noqa: N815 - vivo's spelling
    taskId: str | int | None = None  # noqa: N815 - vivo's spelling
    invalidUser: _Invalid | None = None  # noqa: N815 - vivo's spelling
    invalidUsers: tuple[_Invalid, ...] | None = None  # noqa: N815 - vivo's spelling


_DECODER = msgspec.json.Decoder(_Answer, strict=False)
"""Not strict: a number that comes as text is still that number."""
