"""HarmonyOS Push Kit, scenario messages v3, by service account.

Pages, read 2026-11:
https://developer.huawei.com/consumer/cn/doc/harmonyos-references/push-scenariozed-api-request-struct
https://developer.huawei.com/consumer/cn/doc/harmonyos-references/push-scenariozed-api-request-param
https://developer.huawei.com/consumer/cn/doc/harmonyos-guides/push-jwt-token
https://developer.huawei.com/consumer/cn/doc/harmonyos-guides/push-send-alert
https://developer.huawei.com/consumer/cn/doc/harmonyos-references/push-api-msg-receipt
https://trtc.io/document/77715

What is special: we sign the token ourselves (PS256) and send it as it is; nothing is fetched. A
list of up to a thousand tokens gets one message. Where some or all were refused, `msg` is JSON once
more, as text, with the tokens under the reason; only some reasons accuse the token. A click's data
is an object, not a text. `notifyId` makes a second delivery of a task replace the first, and
`appMessageId` has a repeat within a day shown once. A message without title and text is a
background push, which only wakes the app. Receipts name the whole list by `biTag` and each device
by its token, as on Android, but tell result and time one level deeper.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Mapping, Sequence
from typing import Annotated, Any, Literal

import jwt
import msgspec
from msgspec import Meta, Struct

from tocsin.channels.shared import (
    HUAWEI_RESULTS,
    JSON,
    RENEW_SHARE,
    RawReceipt,
    both_texts,
    custom_data,
    hosts,
    in_every_language,
    is_signed_by_huawei,
    json_object,
    json_text,
    outcome_by_status,
    outcome_of_code,
    plain_token,
    read_statuses,
    rsa_key,
    text_of,
)
from tocsin.channels.shared_texts import fitted_json, too_large
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
    receipts_by_token,
    tokens_of,
)
from tocsin.domain.message import Message, notify_id, sound_file
from tocsin.domain.outcome import TOKEN_LOST, BatchReceipts, Outcome, Receipt
from tocsin.domain.retry import CHINA_S, retry_after_s

NAME = "harmony"

NOBODY = "IQAAAACy0tEj" + "0" * 64

LIMITS = Limits(
    payload_max_bytes=4096,
    devices_max=1000,
    names_deliveries=False,
    lifetime_max_s=15 * 86_400,
    # Huawei grants at least so many on Android, and names no figure here.
    rate_per_s=6000.0,
    in_flight_max=64,
    deadline_s=10.0,
    clock_offset_s=CHINA_S,
)

ORIGIN = "https://push-api.cloud.huawei.com"
AUDIENCE = "https://oauth-login.cloud.huawei.com/oauth2/v3/token"
HOSTS = hosts(ORIGIN)
TOKEN_LIFE_S = 3600
TEST_DEVICES_MAX = 10
BADGE_MAX = 99
ALERT, BACKGROUND = "0", "6"
"""Huawei's push types."""
SILENT_CATEGORY = "MARKETING"
"""Huawei allows it no sound of its own."""
PARTLY, ALL_REFUSED = "80100000", "80300007"


class Settings(Struct, frozen=True, kw_only=True):
    """The members of a service account's JSON file, and how its messages are sent."""

    private_key: Annotated[
        str,
        Meta(
            description="private_key of the service account",
            extra={"is_secret": True, "file": "service-account.json"},
        ),
    ]
    key_id: Annotated[str, Meta(description="key_id of the service account")]
    sub_account: Annotated[str, Meta(description="sub_account of the service account")]
    project_id: Annotated[str, Meta(description="project_id of the service account")]
    client_id: Annotated[
        str,
        Meta(description="Client ID of the app, to take pushes back; empty: none is"),
    ] = ""
    category: Annotated[
        str, Meta(description="Message category of pushes that name none; IM needs a right")
    ] = SILENT_CATEGORY
    click: Annotated[
        Literal["app", "action", "uri"],
        Meta(description="What a click does: open the app, or an inner page by action or uri"),
    ] = "app"
    click_target: Annotated[str, Meta(description="The action or the uri of a click")] = ""
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
        Meta(description="test: Huawei's test messages, 1000 a day, each to ten devices"),
    ] = "formal"

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9]+", self.project_id):
            raise ValueError("project_id holds letters and digits only")
        if not re.fullmatch(r"[0-9]*", self.client_id):
            raise ValueError("client_id holds digits only")
        if not self.key_id or not self.sub_account or not self.category:
            raise ValueError("key_id, sub_account and category are not empty")
        if (self.click == "app") != (not self.click_target):
            raise ValueError("click_target goes with click action or uri")
        if self.callback_user and not self.callback_key:
            raise ValueError("callback_user goes with callback_key")
        rsa_key(self.private_key)


OUTCOMES: dict[tuple[int, str], Outcome] = {
    (200, ""): Outcome.BAD_REQUEST,
    (200, "80000000"): Outcome.ACCEPTED,
    # Some were not taken, and it cannot be read which.
    (200, "80100000"): Outcome.UNKNOWN,
    (200, "tokenFormatError"): Outcome.TOKEN_DEAD,
    (200, "tokenPlatformNotSupport"): Outcome.TOKEN_MISMATCH,
    # Another project's, or from before the device's upgrade; many at once accuse our settings.
    (200, "noRight"): Outcome.TOKEN_MISMATCH,
    (200, "noPushTypeRight"): Outcome.NOT_PERMITTED,
    (200, "atomicUnableSendUnsubscribedMsg"): Outcome.NOT_PERMITTED,
    (200, "noRightToSendThisLiveNotificationEvent"): Outcome.NOT_PERMITTED,
    (200, "notSupportPlayVoice"): Outcome.NOT_PERMITTED,
    # Beside devices that were taken it is about this one; see `_split`.
    (200, "appinfoError"): Outcome.CREDENTIALS_WRONG,
    (200, "disableSendHuaweiMsgBecauseOfPenalty"): Outcome.BLOCKED_CONTENT,
    (200, "differentImgVerifyPolicy"): Outcome.BAD_REQUEST,
    (200, "countryNotSupport"): Outcome.UNDELIVERABLE,
    (400, ""): Outcome.BAD_REQUEST,
    (400, "80100001"): Outcome.BAD_REQUEST,
    (400, "80100003"): Outcome.BAD_REQUEST,
    (400, "80100004"): Outcome.BAD_REQUEST,
    (400, "80100016"): Outcome.BLOCKED_CONTENT,
    (400, "80100022"): Outcome.BLOCKED_CONTENT,
    (400, "80300002"): Outcome.CREDENTIALS_WRONG,
    # Without a reason beside it, it is no evidence against any token.
    (400, "80300007"): Outcome.UNDELIVERABLE,
    (400, "80300008"): Outcome.TOO_LARGE,
    (400, "80300010"): Outcome.BAD_REQUEST,
    (400, "80300029"): Outcome.QUOTA_DAY,
    (400, "80300030"): Outcome.BAD_REQUEST,
    (400, "80300037"): Outcome.BLOCKED_CONTENT,
    (401, ""): Outcome.AUTH_EXPIRED,
    (401, "80200001"): Outcome.CREDENTIALS_WRONG,
    (401, "80200005"): Outcome.AUTH_EXPIRED,
    (401, "80300036"): Outcome.CREDENTIALS_WRONG,
    (403, ""): Outcome.CREDENTIALS_WRONG,
    # The path names the project: Huawei knows none of this id.
    (404, ""): Outcome.CREDENTIALS_WRONG,
    (429, ""): Outcome.THROTTLED,
    (500, ""): Outcome.SERVER_ERROR,
    (500, "81000001"): Outcome.SERVER_ERROR,
    (502, ""): Outcome.SERVER_ERROR,
    (503, ""): Outcome.THROTTLED,
    **HUAWEI_RESULTS,
}
"""Status and code to outcome; an empty code stands for every other one of its status.

A known code counts with any status. Words are reasons that an answer names tokens under. Rows of
`POSTED` are the results of receipts.
"""

HINTS = {
    "80200001": "the service account is not this project's, or this machine's clock is off",
    "80200005": "set this machine's clock: Huawei takes a token for an hour",
    "80300002": "enable Push Kit for the project, and let its service account use it",
    "80300036": "set this machine's clock: a token may live a day at most",
    "appinfoError": "the project's app is not the one that the tokens are of",
    "noPushTypeRight": "apply for this kind of push in AppGallery Connect",
    "404": "project_id is no project",
}


def normal_token(token: str) -> str | None:
    """Huawei publishes no form: any visible ASCII, in the case that it is told in."""
    return plain_token(token)


def replaces(settings: Settings, message: Message) -> bool:  # noqa: ARG001 - the common shape
    """A notification replaces by its `notifyId`; a background push wakes the app each time."""
    return in_every_language(message, _is_shown)


def says_something(settings: Settings, message: Message) -> bool:  # noqa: ARG001 - common shape
    """HarmonyOS may have a title of its own."""
    return _is_shown(message) or bool(message.ext)


def authorize(settings: Settings, now: float) -> Generator[Request, Response, Authority | Denied]:
    yield from ()
    claims = {
        "iss": settings.sub_account,
        "aud": AUDIENCE,
        "iat": int(now),
        "exp": int(now) + TOKEN_LIFE_S,
    }
    key = rsa_key(settings.private_key)
    token = jwt.encode(claims, key, algorithm="PS256", headers={"kid": settings.key_id})
    return Authority(f"Bearer {token}", now + RENEW_SHARE * TOKEN_LIFE_S, now + TOKEN_LIFE_S)


def devices_max(settings: Settings) -> int:
    """A test message goes to few."""
    return TEST_DEVICES_MAX if settings.target_user == "test" else LIMITS.devices_max


def deliver(
    settings: Settings, credential: Authority, batch: Batch, now: float
) -> Generator[Request, Response, BatchReceipts]:
    del now
    first, limit = batch.deliveries[0], LIMITS.payload_max_bytes
    fits = fitted_json(first, lambda it: _content(settings, it, batch.correlation), limit)
    if fits is None:
        return batch.came_to(too_large(limit))
    content = _content(settings, fits, batch.correlation)
    content["target"] = {"token": tokens_of(batch.deliveries)}
    is_shown = _is_shown(first.message)
    response = yield Request(
        "POST",
        ORIGIN,
        f"/v3/{settings.project_id}/messages:send",
        (
            ("authorization", credential.value),
            JSON,
            ("push-type", ALERT if is_shown else BACKGROUND),
        ),
        msgspec.json.encode(content),
        is_shortened=fits is not first,
    )
    return _read(batch.deliveries, response)


def recall(
    settings: Settings,
    credential: Authority,
    deliveries: Sequence[Delivery],
    now: float,  # noqa: ARG001 - the common shape
) -> Generator[Request, Response, BatchReceipts]:
    """Withdraw a notification: from the screen where nobody has opened it, and from what waits.

    Unlike sending, revoking is version 1 and names the client id (push-msg-revoke, read 2026-11).
    """
    if not settings.client_id:
        denied = Denied(Outcome.NOT_PERMITTED, "-14", "no client_id to take back with")
        return denied.receipts(deliveries)
    content = {
        "notifyId": notify_id(deliveries[0].collapse),
        "token": tokens_of(deliveries),
    }
    response = yield Request(
        "POST",
        ORIGIN,
        f"/v1/{settings.client_id}/messages:revoke",
        (("authorization", credential.value), JSON, ("push-type", ALERT)),
        msgspec.json.encode(content),
    )
    receipts = _read(deliveries, response)
    # A token that cannot be taken back from is not dropped for it: sending tells.
    return receipts.changed(_with_token_kept)


def report(headers: Mapping[str, str], body: bytes) -> Posted:  # noqa: ARG001 - the common shape
    return read_statuses(OUTCOMES, body, _told, b'{"errno":"0","errmsg":"success"}')


def is_signed(settings: Settings, headers: Mapping[str, str], body: bytes, now: float) -> bool:
    del body
    user, key = settings.callback_user, settings.callback_key
    return not key or is_signed_by_huawei(headers, now, user=user, key=key)


def _told(status: dict[str, Any]) -> RawReceipt:
    """One receipt; a card's `formStatus` is of nothing that we send, and cannot be read."""
    told = status.get("deliveryStatus")
    delivery = told if isinstance(told, dict) else {}
    return RawReceipt(
        code=delivery.get("result"),
        correlation=status.get("biTag"),
        token=status.get("token"),
        at_ms=delivery.get("timestamp"),
    )


def _is_shown(message: Message) -> bool:
    return any(_texts(message))


def _texts(message: Message) -> tuple[str, str]:
    """Title, which HarmonyOS may have one of its own, and text; Huawei wants both."""
    title = message.harmony.title or message.title
    return both_texts(msgspec.structs.replace(message, title=title))


def _content(settings: Settings, first: Delivery, correlation: str) -> dict[str, Any]:
    """Everything but the tokens; the same for the whole list."""
    options: dict[str, Any] = {
        # Huawei knows no "now or never"; a second is the nearest.
        "ttl": max(1, min(first.ttl_s, LIMITS.lifetime_max_s)),
        "biTag": correlation,
        "receiptId": settings.receipt_id,
        "testMessage": settings.target_user == "test" or first.is_trial,
    }
    options = {name: value for name, value in options.items() if value}
    if not _is_shown(first.message):
        payload: dict[str, Any] = {"extraData": json_text(custom_data(first))}
    else:
        payload = {"notification": _drawn(settings, first, correlation)}
    return {"payload": payload, "pushOptions": options}


def _drawn(settings: Settings, delivery: Delivery, correlation: str) -> dict[str, Any]:
    message, part = delivery.message, delivery.message.harmony
    title, body = _texts(message)
    drawn: dict[str, Any] = {
        "category": part.category or settings.category,
        "title": title,
        "body": body,
        "clickAction": _click(settings, delivery),
        "badge": _badge(message),
        "notifyId": notify_id(delivery.collapse),
    }
    if correlation:
        drawn["appMessageId"] = correlation
    if part.image:
        drawn["image"] = part.image
    if sound_file(part.sound) and drawn["category"] != SILENT_CATEGORY:
        drawn["sound"] = part.sound
        if part.sound_duration_s is not None:
            drawn["soundDuration"] = part.sound_duration_s
    return drawn


def _click(settings: Settings, delivery: Delivery) -> dict[str, Any]:
    click: dict[str, Any] = {"actionType": 0}
    if settings.click != "app":
        click = {"actionType": 1, settings.click: settings.click_target}
    click["data"] = custom_data(delivery)
    return click


def _badge(message: Message) -> dict[str, int]:
    """Set beats add; a push that says neither adds one (trtc.io/document/77715)."""
    if message.badge_set is not None:
        return {"setNum": min(message.badge_set, BADGE_MAX)}
    return {"addNum": max(1, min(message.badge_add or 1, BADGE_MAX))}


def _read(deliveries: Sequence[Delivery], response: Response) -> BatchReceipts:
    """One receipt a device: the code's, unless a reason names the device's token."""
    answer = json_object(response.body)
    code, msg = text_of(answer.get("code")), answer.get("msg")
    shown, info = code or str(response.status), text_of(msg)
    if response.status == 200 and not code:
        # The list may have been taken: whoever says more than that loses or doubles it.
        return Denied(Outcome.UNKNOWN, shown, "unreadable").receipts(deliveries)
    outcome = _outcome(response.status, code)
    if outcome is Outcome.AUTH_EXPIRED:
        raise StaleCredential(shown, info)
    if outcome is Outcome.ACCEPTED:
        return ACCEPTED.receipts(deliveries)
    if code in (PARTLY, ALL_REFUSED):
        return _split(deliveries, code, json_object(msg if isinstance(msg, str) else ""))
    found = Denied(outcome, shown, info, retry_after_s(response.headers))
    return found.receipts(deliveries)


def _split(deliveries: Sequence[Delivery], code: str, told: dict[str, Any]) -> BatchReceipts:
    """Tokens under a reason have its outcome; the others were taken, if the figures agree."""
    reasons = _reasons(told.get("illegalTokens"))
    named = sum(1 for token in tokens_of(deliveries) if token in reasons)
    is_whole = named > 0 and told.get("failure") in (None, named)
    rest = Denied(_outcome(200, code), code, "no reason told")
    if code == PARTLY and is_whole:
        rest = ACCEPTED
    receipts = receipts_by_token(deliveries, reasons, rest)
    if any(it.outcome is Outcome.ACCEPTED for it in receipts.kinds()):
        # What took some of the list is no wrong credential.
        return receipts.changed(_of_its_own)
    return receipts


def _with_token_kept(receipt: Receipt) -> Receipt:
    if receipt.outcome not in TOKEN_LOST:
        return receipt
    return msgspec.structs.replace(receipt, outcome=Outcome.UNDELIVERABLE)


def _of_its_own(receipt: Receipt) -> Receipt:
    if receipt.outcome is not Outcome.CREDENTIALS_WRONG:
        return receipt
    return msgspec.structs.replace(receipt, outcome=Outcome.NOT_PERMITTED)


def _reasons(told: Any) -> dict[str, Denied]:
    """Token to what the reason means that it stands under."""
    reasons: dict[str, Denied] = {}
    for reason, tokens in (told if isinstance(told, dict) else {}).items():
        # A reason that nobody has heard of yet keeps the token.
        outcome = OUTCOMES.get((200, reason), Outcome.UNDELIVERABLE)
        found = Denied(outcome, reason[:64], "")
        listed = tokens if isinstance(tokens, list) else []
        reasons |= {token: found for token in listed if isinstance(token, str)}
    return reasons


def _outcome(status: int, code: str) -> Outcome:
    found = outcome_of_code(OUTCOMES, code)
    if found is Outcome.ACCEPTED and status != 200:
        found = None
    return found or outcome_by_status(OUTCOMES, status)
