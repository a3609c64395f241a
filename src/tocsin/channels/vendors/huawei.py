"""Huawei Push Kit for Android (HMS Core), messages v1, by app id and secret.

Pages, read 2026-11:
https://developer.huawei.com/consumer/en/doc/HMSCore-References/https-send-api-0000001050986197
https://developer.huawei.com/consumer/en/doc/HMSCore-References/push-receiptapi-0000001050176914
https://developer.huawei.com/consumer/en/doc/HMSCore-Guides/open-platform-oauth-0000001053629189
https://github.com/HMS-Core/hms-push-serverdemo-python
https://trtc.io/document/77715

What is special: a list of up to a thousand tokens gets one message. The answer is mostly status 200
with Huawei's own code inside, and where a part was refused its `msg` is JSON once more, as text,
with the tokens that are dead. 503 means "too fast". The category stands beside the notification,
the importance inside. A badge needs the launcher's class, and set beats add. The number
`notify_id` makes a second delivery of a task replace the first on the screen; a message without
title and text wakes the app each time. Receipts name the whole list by `bi_tag` and each device by
its token.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from tocsin.channels.shared import (
    HUAWEI_RESULTS,
    JSON,
    both_texts,
    client_credentials,
    custom_data,
    hosts,
    in_every_language,
    intent_with,
    is_shown,
    is_signed_by_huawei,
    json_object,
    json_text,
    outcome_by_status,
    outcome_of_code,
    plain_token,
    read_statuses,
    text_of,
    told_by_status,
)
from tocsin.channels.shared_texts import fitted_json, texts_within, too_large
from tocsin.conversation import (
    ACCEPTED,
    Authority,
    Batch,
    Delivery,
    Denied,
    Limits,
    Posted,
    Request,
    Response,
    StaleCredential,
    tokens_of,
)
from tocsin.domain.message import NO_SOUND, Message, notify_id, sound_file
from tocsin.domain.outcome import POSTED, BatchReceipts, Outcome
from tocsin.domain.retry import CHINA_S, retry_after_s
from tocsin.domain.task import push_ids

NAME = "huawei"

NOBODY = "IQAAAACy0" + "0" * 64

LIMITS = Limits(
    payload_max_bytes=4096,
    devices_max=1000,
    names_deliveries=False,
    lifetime_max_s=15 * 86_400,
    # Huawei grants at least so many; more comes with more monthly users.
    rate_per_s=6000.0,
    in_flight_max=64,
    deadline_s=10.0,
    clock_offset_s=CHINA_S,
)

ORIGIN = "https://push-api.cloud.huawei.com"
AUTH_ORIGIN = "https://oauth-login.cloud.huawei.com"
HOSTS = hosts(ORIGIN, AUTH_ORIGIN)
TOKEN_PATH = "/oauth2/v3/token"  # noqa: S105 - an address, not a secret
TITLE_MAX_UNITS = 60
BODY_MAX_UNITS = 600
BADGE_MAX = 99
PARTLY = "80100000"
CLICKS = {"intent": 1, "action": 1, "url": 2, "app": 3}
"""Huawei's `click_action.type`."""


class Settings(Struct, frozen=True, kw_only=True):
    """What the customer gets from AppGallery Connect, and how the app shows its pushes."""

    app_secret: Annotated[
        str, Meta(description="Client secret of the app", extra={"is_secret": True})
    ]
    app_id: Annotated[str, Meta(description="App ID in AppGallery Connect, digits")]
    android_channel_id: Annotated[
        str, Meta(description="Android notification channel of pushes that name none")
    ] = ""
    category: Annotated[
        str, Meta(description="Message category of pushes that name none, IM for instance")
    ] = ""
    importance: Annotated[
        Literal["", "LOW", "NORMAL", "HIGH"],
        Meta(description="Importance of pushes that name none; empty: Huawei decides"),
    ] = ""
    click: Annotated[
        Literal["app", "intent", "action", "url"],
        Meta(description="What a click does: open the app, an intent, an action or a web page"),
    ] = "app"
    click_target: Annotated[
        str, Meta(description="The intent URI, the action or the https address of a click")
    ] = ""
    badge_class: Annotated[
        str,
        Meta(
            description="Launcher activity that carries the badge; empty: no badges",
            extra={"client_key": "huaweiBadgeClassName"},
        ),
    ] = ""
    receipt_id: Annotated[
        str, Meta(description="Which receipt address of the console to use; empty: the default")
    ] = ""
    callback_user: Annotated[
        str, Meta(description="User name that the console was given for receipts")
    ] = ""
    callback_key: Annotated[
        str,
        Meta(
            description="Key that the console was given for receipts; empty: none is checked",
            extra={"is_secret": True},
        ),
    ] = ""
    target_user: Annotated[
        Literal["formal", "test"],
        Meta(description="test: Huawei's test messages, 500 a day and outside of the quota"),
    ] = "formal"

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[0-9]+", self.app_id):
            raise ValueError("app_id holds digits only")
        if not self.app_secret:
            raise ValueError("app_secret is empty")
        if (self.click == "app") != (not self.click_target):
            raise ValueError("click_target goes with click intent, action or url")
        if self.click == "url" and not self.click_target.startswith("https://"):
            raise ValueError("click_target of click url is not an https address")
        if self.callback_user and not self.callback_key:
            raise ValueError("callback_user goes with callback_key")


OUTCOMES: dict[tuple[int, str], Outcome] = {
    (200, ""): Outcome.BAD_REQUEST,
    (200, "80000000"): Outcome.ACCEPTED,
    # For the tokens that the answer lists; the others were accepted.
    (200, PARTLY): Outcome.TOKEN_DEAD,
    (400, ""): Outcome.BAD_REQUEST,
    (400, "80100001"): Outcome.BAD_REQUEST,
    (400, "80100002"): Outcome.BAD_REQUEST,
    (400, "80100003"): Outcome.BAD_REQUEST,
    (400, "80100004"): Outcome.BAD_REQUEST,
    (400, "80100013"): Outcome.BAD_REQUEST,
    (400, "80100016"): Outcome.BLOCKED_CONTENT,
    (400, "80100017"): Outcome.THROTTLED,
    (400, "80100018"): Outcome.BAD_REQUEST,
    (400, "80300002"): Outcome.CREDENTIALS_WRONG,
    (400, "80300007"): Outcome.TOKEN_DEAD,
    (400, "80300008"): Outcome.TOO_LARGE,
    (400, "80300010"): Outcome.BAD_REQUEST,
    (400, "80300011"): Outcome.NOT_PERMITTED,
    (400, "80300013"): Outcome.NOT_PERMITTED,
    (401, ""): Outcome.AUTH_EXPIRED,
    (401, "80200001"): Outcome.CREDENTIALS_WRONG,
    (401, "80200003"): Outcome.AUTH_EXPIRED,
    (403, ""): Outcome.CREDENTIALS_WRONG,
    # Huawei names no device: the address is wrong, and so is the app id in our settings.
    (404, ""): Outcome.CREDENTIALS_WRONG,
    (429, ""): Outcome.THROTTLED,
    (500, ""): Outcome.SERVER_ERROR,
    (500, "80600003"): Outcome.CREDENTIALS_WRONG,
    (500, "81000001"): Outcome.SERVER_ERROR,
    (502, ""): Outcome.SERVER_ERROR,
    (503, ""): Outcome.THROTTLED,
    **HUAWEI_RESULTS,
    # Held back: dead, uninstalled, switched off or another user's, and it is not said which.
    (POSTED, "201"): Outcome.UNDELIVERABLE,
}
"""Status and Huawei's code to outcome; an empty code stands for every other one of its status.

Huawei does not say which status comes with which code, so a known code counts with any status.
Rows of `POSTED` are the statuses of receipts.
"""

HINTS = {
    "token service": "compare app_id and app_secret with AppGallery Connect",
    "80200001": "compare app_id and app_secret with AppGallery Connect",
    "80300002": "enable Push Kit for the app, and compare app_id with AppGallery Connect",
    "80300011": "apply for high priority in AppGallery Connect, or send without it",
    "80600003": "compare app_id and app_secret with AppGallery Connect",
    "404": "app_id is no app",
}


def normal_token(token: str) -> str | None:
    """Huawei publishes no form: any visible ASCII, in the case that it is told in."""
    return plain_token(token)


def replaces(settings: Settings, message: Message) -> bool:  # noqa: ARG001 - the common shape
    """A notification replaces by its `notify_id`; data only wakes the app, in any language."""
    return in_every_language(message, is_shown)


def authorize(settings: Settings, now: float) -> Generator[Request, Response, Authority | Denied]:
    return (
        yield from client_credentials(
            AUTH_ORIGIN,
            TOKEN_PATH,
            client_id=settings.app_id,
            client_secret=settings.app_secret,
            now=now,
        )
    )


def made_of(settings: Settings, auth_origin: str) -> tuple[str, ...]:
    return (settings.app_id, settings.app_secret, auth_origin)


def deliver(
    settings: Settings, credential: Authority, batch: Batch, now: float
) -> Generator[Request, Response, BatchReceipts]:
    del now
    first, limit = batch.deliveries[0], LIMITS.payload_max_bytes
    fits = fitted_json(first, lambda it: _message(settings, it, batch.correlation), limit)
    if fits is None:
        return batch.came_to(too_large(limit))
    message = _message(settings, fits, batch.correlation)
    message["token"] = tokens_of(batch.deliveries)
    trial = {"validate_only": True} if first.is_trial else {}
    response = yield Request(
        "POST",
        ORIGIN,
        f"/v1/{settings.app_id}/messages:send",
        (("authorization", credential.value), JSON),
        msgspec.json.encode({"message": message, **trial}),
        is_shortened=_texts(fits.message) != both_texts(first.message),
    )
    return _read(batch, response)


def report(headers: Mapping[str, str], body: bytes) -> Posted:  # noqa: ARG001 - the common shape
    return read_statuses(OUTCOMES, body, told_by_status, b'{"errno":"0","errmsg":"success"}')


def is_signed(settings: Settings, headers: Mapping[str, str], body: bytes, now: float) -> bool:
    del body
    user, key = settings.callback_user, settings.callback_key
    return not key or is_signed_by_huawei(headers, now, user=user, key=key)


def _message(settings: Settings, first: Delivery, correlation: str) -> dict[str, Any]:
    """Everything but the tokens; the same for the whole list."""
    message = first.message
    android: dict[str, Any] = {
        # Huawei knows no "now or never"; a second is the nearest.
        "ttl": f"{max(1, min(first.ttl_s, LIMITS.lifetime_max_s))}s",
        "bi_tag": correlation,
        "category": message.android.huawei_category or settings.category,
        "receipt_id": settings.receipt_id,
        "target_user_type": 1 if settings.target_user == "test" else None,
    }
    made: dict[str, Any] = {}
    is_in_intent = is_shown(message) and message.android.huawei_ext_as_intent
    if not (is_in_intent and settings.click == "intent"):
        made["data"] = json_text(custom_data(first))
    if is_shown(message):
        title, body = _texts(message)
        made["notification"] = {"title": title, "body": body}
        android["notification"] = _drawn(settings, first)
    made["android"] = {name: value for name, value in android.items() if value}
    return made


def _texts(message: Message) -> tuple[str, str]:
    """Title and text as Huawei bears them; it wants both."""
    return texts_within(message, TITLE_MAX_UNITS, BODY_MAX_UNITS)


def _drawn(settings: Settings, delivery: Delivery) -> dict[str, Any]:
    """How the phone shows it."""
    message, part = delivery.message, delivery.message.android
    is_silent, file = part.sound == NO_SOUND, sound_file(part.sound)
    drawn: dict[str, Any] = {
        "channel_id": part.huawei_channel_id or settings.android_channel_id,
        "importance": part.huawei_importance or ("LOW" if is_silent else settings.importance),
        "image": part.huawei_image,
        "badge": _badge(settings, message),
    }
    drawn = {name: value for name, value in drawn.items() if value}
    drawn["notify_id"] = notify_id(delivery.collapse)
    drawn["click_action"] = _click(settings, delivery)
    if is_silent:
        drawn |= {"default_sound": False, "use_default_vibrate": False}
    elif part.sound:
        drawn |= {"sound": f"/raw/{file}"} if file else {}
        drawn["default_sound"] = not file
    if part.is_big_text:
        title, body = _texts(message)
        drawn |= {"style": 1, "big_title": title, "big_body": body}
    return drawn


def _badge(settings: Settings, message: Message) -> dict[str, Any]:
    """Set beats add; with neither the badge grows by one, where the app has told its class."""
    if not settings.badge_class:
        return {}
    if message.badge_set is not None:
        number = {"set_num": max(0, min(message.badge_set, BADGE_MAX))}
    else:
        add = 1 if message.badge_add is None else message.badge_add
        if add < 1:
            return {}
        number = {"add_num": min(add, BADGE_MAX)}
    return {**number, "class": settings.badge_class}


def _click(settings: Settings, delivery: Delivery) -> dict[str, Any]:
    action: dict[str, Any] = {"type": CLICKS[settings.click]}
    if settings.click == "intent":
        is_whole = delivery.message.android.huawei_ext_as_intent
        extras = custom_data(delivery) if is_whole else push_ids(delivery.task_id)
        action["intent"] = intent_with(settings.click_target, extras)
    elif settings.click != "app":
        action[settings.click] = settings.click_target
    return action


def _read(batch: Batch, response: Response) -> BatchReceipts:
    answer = json_object(response.body)
    code, msg = text_of(answer.get("code")), answer.get("msg")
    shown, info = code or str(response.status), text_of(msg)
    if response.status == 200 and not code:
        # The list may have been taken: whoever says more than that loses or doubles it.
        return batch.came_to(Denied(Outcome.UNKNOWN, shown, "unreadable answer"))
    if code == PARTLY:
        return _read_parts(batch, json_object(msg if isinstance(msg, str) else ""))
    outcome = _outcome(response.status, code)
    if outcome is Outcome.AUTH_EXPIRED:
        raise StaleCredential(shown, info)
    if outcome is Outcome.ACCEPTED:
        return batch.came_to(ACCEPTED)
    return batch.came_to(Denied(outcome, shown, info, retry_after_s(response.headers)))


def _read_parts(batch: Batch, parts: dict[str, Any]) -> BatchReceipts:
    """The listed tokens are dead, the others accepted, if the figures agree; else in doubt."""
    listed = parts.get("illegal_tokens")
    dead = {it for it in listed if isinstance(it, str)} if isinstance(listed, list) else set()
    named = sum(1 for token in tokens_of(batch.deliveries) if token in dead)
    is_whole = named > 0 and parts.get("failure") in (None, named)
    return batch.came_by_token(dict.fromkeys(dead, _ILLEGAL), ACCEPTED if is_whole else _UNCLEAR)


def _outcome(status: int, code: str) -> Outcome:
    return outcome_of_code(OUTCOMES, code) or outcome_by_status(OUTCOMES, status)


_ILLEGAL = Denied(OUTCOMES[200, PARTLY], PARTLY, "illegal token")
_UNCLEAR = Denied(Outcome.UNKNOWN, PARTLY, "refused in part, unclear which")
