"""Meizu's Flyme push, by app id and secret.

Pages, read 2026-11:
https://github.com/MEIZUPUSH/PushAPI
https://github.com/MEIZUPUSH/JavaSdk
https://trtc.io/document/77715

What is special: nothing is fetched; every form is signed by MD5 over its parameters as they are,
before they are encoded for the form. The answer is HTTP 200 with a code inside, and the devices
that it did not take stand in `value`, by code. The number 110010 means "too fast" for a call and
"switched off" for a device, so the latter is told as "value 110010". Lifetimes are whole hours. The
notify key, eight characters, makes a second delivery replace the first. There are no data messages
any more, so a push without title and text cannot be sent. A receipt address that is not registered
in Meizu's console makes the push itself fail, so none is sent unless the credential names one.
Receipts come every second, of what arrived or was clicked since the last one, and tell no time.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Generator, Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from tocsin.channels.shared import (
    FORM,
    NEVER_S,
    NOTHING_TO_SHOW,
    RawReceipt,
    check_callback_url,
    code_of,
    custom_data,
    form_body,
    hosts,
    is_shown,
    json_object,
    object_in_form,
    outcome_by_status,
    plain_token,
    read_entries,
    text_of,
)
from tocsin.channels.shared_texts import (
    is_too_long,
    packed_within,
    texts_within,
    too_large,
)
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
    tokens_of,
)
from tocsin.domain.message import NO_SOUND, Message
from tocsin.domain.outcome import POSTED, BatchReceipts, Outcome
from tocsin.domain.retry import CHINA_S, retry_after_s

NAME = "meizu"

NOBODY = "UCI" + "0" * 40

LIMITS = Limits(
    # Meizu names no figure for the whole; this keeps to what the other vendors take.
    payload_max_bytes=4096,
    takes_data=False,
    devices_max=100,
    names_deliveries=False,
    lifetime_max_s=72 * 3600,
    rate_per_s=200.0,
    in_flight_max=16,
    clock_offset_s=CHINA_S,
)

ORIGINS = {
    "china": "https://server-api-push.meizu.com",
    "india": "https://server-api-push.in.meizu.com",
}
HOSTS = hosts(*ORIGINS.values())
PATH = "/garcia/api/server/push/varnished/pushByPushId"
TITLE_UNITS_MAX = 32
CONTENT_UNITS_MAX = 100
CALLBACK_BYTES_MAX = 128
CALLBACK_TYPE = 3
"""Arrived and clicked."""
CLICKED = "2"
MESSAGE_TYPES = {"public": 0, "private": 1}
CLICKS = {"app": 0, "page": 1, "web": 2}


class Settings(Struct, frozen=True, kw_only=True):
    """What Meizu's console shows of an app, and how its messages are sent."""

    app_secret: Annotated[str, Meta(description="AppSecret of the app", extra={"is_secret": True})]
    app_id: Annotated[
        str, Meta(description="AppID of the app, digits", extra={"client_key": "meizuPushAppId"})
    ]
    app_key: Annotated[
        str,
        Meta(
            description="AppKey of the app: only for the client's configuration file",
            extra={"client_key": "meizuPushAppKey"},
        ),
    ] = ""
    region: Annotated[
        Literal["china", "india"],
        Meta(description="Which of Meizu's services the app is registered with"),
    ] = "china"
    message_type: Annotated[
        Literal["public", "private"],
        Meta(description="Class of pushes that name none"),
    ] = "public"
    click: Annotated[
        Literal["app", "page", "web"],
        Meta(description="What a click opens: the app, the activity or web_uri"),
    ] = "app"
    activity: Annotated[str, Meta(description="Activity that a click opens, with its package")] = ""
    web_uri: Annotated[str, Meta(description="Web page that a click opens")] = ""
    callback_url: Annotated[
        str,
        Meta(description="Where Meizu posts receipts; it must be registered in Meizu's console"),
    ] = ""

    def __post_init__(self) -> None:
        if not self.app_secret:
            raise ValueError("app_secret is empty")
        if not re.fullmatch(r"[0-9]+", self.app_id):
            raise ValueError("app_id holds digits only")
        if self.click == "page" and not self.activity:
            raise ValueError("click is page, but activity is empty")
        if self.click == "web" and not self.web_uri:
            raise ValueError("click is web, but web_uri is empty")
        check_callback_url(self.callback_url, CALLBACK_BYTES_MAX)


OUTCOMES: dict[tuple[int, str], Outcome] = {
    (200, ""): Outcome.BAD_REQUEST,
    (200, "200"): Outcome.ACCEPTED,
    (200, "201"): Outcome.SERVER_ERROR,
    (200, "500"): Outcome.SERVER_ERROR,
    (200, "501"): Outcome.SERVER_ERROR,
    (200, "513"): Outcome.SERVER_ERROR,
    (200, "518"): Outcome.THROTTLED,
    (200, "519"): Outcome.THROTTLED,
    # The device got the same more than five times within a minute: it has it.
    (200, "520"): Outcome.ACCEPTED,
    (200, "1001"): Outcome.SERVER_ERROR,
    (200, "1003"): Outcome.SERVER_ERROR,
    (200, "1005"): Outcome.BAD_REQUEST,
    (200, "1006"): Outcome.CREDENTIALS_WRONG,
    (200, "110000"): Outcome.CREDENTIALS_WRONG,
    (200, "110001"): Outcome.CREDENTIALS_WRONG,
    (200, "110002"): Outcome.TOKEN_DEAD,
    (200, "110003"): Outcome.TOKEN_DEAD,
    (200, "110004"): Outcome.BAD_REQUEST,
    # It speaks of an alias, and we send none: no evidence against a pushId.
    (200, "110005"): Outcome.UNDELIVERABLE,
    (200, "110009"): Outcome.BLOCKED_CONTENT,
    (200, "110010"): Outcome.THROTTLED,
    (200, "value 110010"): Outcome.UNDELIVERABLE,
    (200, "110011"): Outcome.QUOTA_DAY,
    (200, "110019"): Outcome.QUOTA_DAY,
    (200, "110031"): Outcome.CREDENTIALS_WRONG,
    (200, "110032"): Outcome.BAD_REQUEST,
    (200, "110033"): Outcome.CREDENTIALS_WRONG,
    (200, "110051"): Outcome.QUOTA_DAY,
    (200, "110053"): Outcome.QUOTA_DAY,
    (400, ""): Outcome.BAD_REQUEST,
    (401, ""): Outcome.CREDENTIALS_WRONG,
    (403, ""): Outcome.CREDENTIALS_WRONG,
    (404, ""): Outcome.BAD_REQUEST,
    (413, ""): Outcome.TOO_LARGE,
    (429, ""): Outcome.THROTTLED,
    (500, ""): Outcome.SERVER_ERROR,
    (502, ""): Outcome.SERVER_ERROR,
    (503, ""): Outcome.SERVER_ERROR,
    (POSTED, ""): Outcome.UNDELIVERABLE,
    (POSTED, "1"): Outcome.ACCEPTED,
    (POSTED, CLICKED): Outcome.ACCEPTED,
}
"""Status and Meizu's code to outcome; an empty code stands for every other one of its status.

With status 200 that is a code nobody has heard of; an answer without any code is doubt. Rows of
`POSTED` are the types of receipts, which tell no losses.
"""

HINTS = {
    "1006": "app_secret is not the AppSecret of app_id",
    "110000": "app_id is no app of Meizu's push platform",
    "110001": "app_secret is not the AppSecret of app_id",
}

OF_DEVICES = frozenset(("110002", "110003", "110005"))
"""Codes that judge one pushId: said of a whole list, they name nobody."""


def normal_token(token: str) -> str | None:
    """A call names its devices with commas between them, so a token has none."""
    return plain_token(token, separators=",;")


def replaces(settings: Settings, message: Message) -> bool:  # noqa: ARG001 - the common shape
    """Each notification has its notify key, the same in every attempt."""
    return True


def authorize(settings: Settings, now: float) -> Generator[Request, Response, Authority | Denied]:
    """Every form is signed for itself, so there is nothing to hold."""
    del settings
    yield from ()
    return Authority("signature", now + NEVER_S / 2, now + NEVER_S)


def deliver(
    settings: Settings,
    credential: Authority,
    batch: Batch,
    now: float,
) -> Generator[Request, Response, BatchReceipts]:
    del credential, now
    first, limit = batch.deliveries[0], LIMITS.payload_max_bytes
    if not is_shown(first.message):
        return batch.came_to(NOTHING_TO_SHOW)
    packed = packed_within(first, lambda it: _message(settings, it, batch.correlation), limit)
    if packed is None:
        return batch.came_to(too_large(limit))
    is_long = is_too_long(first.message, TITLE_UNITS_MAX, CONTENT_UNITS_MAX)
    form = {
        "appId": settings.app_id,
        "pushIds": ",".join(tokens_of(batch.deliveries)),
        "messageJson": packed.body.decode(),
    }
    response = yield Request(
        "POST",
        ORIGINS[settings.region],
        PATH,
        (FORM,),
        form_body({**form, "sign": _sign(form, settings.app_secret)}),
        is_shortened=packed.is_shortened or is_long,
    )
    return _read(batch, response)


def report(headers: Mapping[str, str], body: bytes) -> Posted:  # noqa: ARG001 - the common shape
    entries = object_in_form(body, "cb")
    return read_entries(OUTCOMES, entries, _told, b'{"code":"200","message":""}')


def _told(entry: dict[str, Any]) -> RawReceipt:
    """One message's entry, for all the devices that it names; it tells no time."""
    return RawReceipt(
        code=entry.get("type"),
        correlation=entry.get("param"),
        token=entry.get("targets"),
        is_click=code_of(entry.get("type")) == CLICKED,
    )


def _sign(form: Mapping[str, str], secret: str) -> str:
    """Meizu's signature, over the values as they are before the form encodes them."""
    text = "".join(f"{name}={form[name]}" for name in sorted(form)) + secret
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def _message(settings: Settings, first: Delivery, correlation: str) -> bytes:
    """The messageJson: everything but whom it is for."""
    message = first.message
    title, content = texts_within(message, TITLE_UNITS_MAX, CONTENT_UNITS_MAX)
    kind = message.android.meizu_message_type
    made: dict[str, Any] = {
        "noticeBarInfo": {
            "noticeMsgType": MESSAGE_TYPES[settings.message_type] if kind is None else kind,
            "noticeBarType": 0,
            "title": title,
            "content": content,
        },
        "clickTypeInfo": _clicked(settings, first),
        "pushTimeInfo": _lives(first.ttl_s),
        "advanceInfo": {"notifyKey": _notify_key(first.collapse)},
    }
    if message.android.sound == NO_SOUND:
        made["advanceInfo"]["notificationType"] = {"vibrate": 0, "lights": 1, "sound": 0}
    if settings.callback_url:
        made["extra"] = {
            "callback": settings.callback_url,
            "callback.param": correlation,
            "callback.type": CALLBACK_TYPE,
        }
    return msgspec.json.encode(made)


def _clicked(settings: Settings, delivery: Delivery) -> dict[str, Any]:
    clicked: dict[str, Any] = {"clickType": CLICKS[settings.click]}
    if settings.click == "page":
        clicked["activity"] = settings.activity
    if settings.click == "web":
        clicked["url"] = settings.web_uri
    clicked["parameters"] = custom_data(delivery)
    return clicked


def _lives(ttl_s: int) -> dict[str, int]:
    """Whole hours, rounded up; "now or never" is a push that is not kept for later."""
    hours = -(-min(ttl_s, LIMITS.lifetime_max_s) // 3600)
    return {"offLine": 1 if ttl_s > 0 else 0, "validTime": max(1, hours)}


def _notify_key(collapse: str) -> str:
    """Eight characters are all that Meizu takes, so the collapse text is hashed."""
    return base64.urlsafe_b64encode(hashlib.sha256(collapse.encode()).digest()[:6]).decode()


def _read(batch: Batch, response: Response) -> BatchReceipts:
    answer = json_object(response.body)
    code = code_of(answer.get("code"))
    if response.status == 200 and code == "200":
        return _taken(batch, answer.get("value"))
    wait_s = retry_after_s(response.headers)
    if not code or code == "200":
        # An unreadable 200 was taken or not: whoever says more than that loses or doubles it.
        is_doubt = response.status == 200
        by_status = outcome_by_status(OUTCOMES, response.status)
        outcome = Outcome.UNKNOWN if is_doubt else by_status
        return batch.came_to(Denied(outcome, str(response.status), "", wait_s))
    outcome = OUTCOMES.get((200, code), OUTCOMES[200, ""])
    if code in OF_DEVICES and len(batch.deliveries) > 1:
        outcome = OUTCOMES[200, ""]
    info = text_of(answer.get("message"))
    return batch.came_to(Denied(outcome, code, info, wait_s))


def _taken(batch: Batch, value: Any) -> BatchReceipts:
    """All were taken but for those in `value`; where it cannot be read, the others are in doubt."""
    rest = ACCEPTED
    if value and not _is_value(value):
        rest = Denied(Outcome.UNKNOWN, "200", "unreadable value")
    refused: dict[str, Denied] = {}
    for number, tokens in (value if isinstance(value, dict) else {}).items():
        code = "value 110010" if number == "110010" else code_of(number)
        outcome = OUTCOMES.get((200, code), OUTCOMES[200, ""])
        if code and code != "200" and isinstance(tokens, list):
            refused |= {it: Denied(outcome, code, "") for it in tokens if isinstance(it, str)}
    return batch.came_by_token(refused, rest)


def _is_value(value: Any) -> bool:
    return isinstance(value, dict) and all(
        code_of(code) and isinstance(tokens, list) and all(isinstance(it, str) for it in tokens)
        for code, tokens in value.items()
    )
