"""OPPO's push service (Heytap), by app key and master secret.

Pages, read 2026-11 in copies of them:
https://open.oppomobile.com/documentation/page/info?id=11235 (addresses, token, codes)
https://open.oppomobile.com/documentation/page/info?id=11236 (members of a notification)
https://open.oppomobile.com/documentation/page/info?id=11238 (single pushes)
https://open.oppomobile.com/documentation/page/info?id=13189 (classes and categories)
and the one on receipts (消息回执)

What is special: the master secret signs, not the app secret. All calls are forms whose answer is
HTTP 200 with a code inside. One device is sent its message, as JSON in a field; several are sent
what was saved before, and the answer names those whom it refuses by code. The private class
(communication and service) is for single devices: who broadcasts it is counted as public, so its
lists are many single messages in one call. Its text fills a template. OPPO shows notifications
only, so a push that has just one of title and text shows it twice, and one that has none cannot be
sent. There are no badges and no choice of sound.

Uncertain: whether a call takes a thousand single messages, as the page says, or a hundred, as older
clients have it; whether a template's parameters are JSON texts, as the page says, or objects; and
what saving an `app_message_id` again is answered: its first message, or code 32.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from tocsin.channels.shared import (
    FORM,
    NOTHING_TO_SHOW,
    RENEW_SHARE,
    RawReceipt,
    both_texts,
    code_of,
    custom_data,
    form_body,
    hosts,
    is_web_address,
    json_object,
    json_text,
    no_authority,
    not_saved,
    of_nobody,
    outcome_by_status,
    plain_token,
    raise_if_stale,
    read_entries,
    saved_name,
    saved_now,
    some_list,
    text_of,
)
from tocsin.channels.shared_texts import texts_within
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
from tocsin.domain.message import NO_SOUND, Message, notify_id, utf16_units
from tocsin.domain.outcome import POSTED, BatchReceipts, Outcome
from tocsin.domain.retry import CHINA_S, retry_after_s

NAME = "oppo"

NOBODY = "OPPO_CN_" + "0" * 32

LIMITS = Limits(
    # OPPO counts characters and no bytes: 4,000 of custom data.
    payload_max_bytes=8000,
    takes_data=False,
    devices_max=1000,
    lifetime_max_s=10 * 86_400,
    # Below ten million users; 10,000 to 30,000 with more.
    rate_per_s=5000.0,
    in_flight_max=64,
    clock_offset_s=CHINA_S,
)

ORIGIN = "https://api-push-cn.heytapmobi.com"
HOSTS = hosts(ORIGIN, "https://api.push.oppomobile.com")
AUTH_PATH = "/server/v1/auth"
PATH = "/server/v1/message/notification/"
SAVE = "save_message_content"

TITLE_UNITS_MAX = 50
CONTENT_UNITS_MAX = {False: 50, True: 128}
"""By whether the text unfolds."""
CUSTOM_UNITS_MAX = 4000
ACTIVITY_UNITS_MAX = 500
URL_UNITS_MAX = 2000
CALLBACK_UNITS_MAX = 200
TOKEN_LIFE_S = 86_400
LONG_TEXT, REGISTRATION_ID = 2, 2
"""The `style` of a text that unfolds, the `target_type` of devices."""
QUIET, STRONG = 1, 16
"""The `notify_level` that makes no sound, and the loudest."""

CLICKS = {"app": 0, "action": 1, "web": 2, "class": 4, "intent": 5}
"""OPPO's `click_action_type`."""

CONTENT_AND_MARKETING = frozenset(("NEWS", "CONTENT", "MARKETING", "SOCIAL"))
"""Categories of the public class: no template, no strong alert. All others are of the private."""


class Settings(Struct, frozen=True, kw_only=True):
    """An app on OPPO's push platform, and what its pushes have when they name nothing."""

    master_secret: Annotated[
        str, Meta(description="MasterSecret of the app", extra={"is_secret": True}, min_length=1)
    ]
    app_key: Annotated[
        str,
        Meta(description="AppKey of the app", min_length=1, extra={"client_key": "oppoPushAppKey"}),
    ]
    app_secret: Annotated[
        str,
        Meta(
            description="AppSecret of the app: only for the client's configuration file",
            extra={"is_secret": True, "client_key": "oppoPushAppSecret"},
        ),
    ] = ""
    android_channel_id: Annotated[
        str, Meta(description="Android notification channel of pushes that name none")
    ] = ""
    category: Annotated[
        str, Meta(description="Category of pushes that name none, such as IM or NEWS")
    ] = ""
    notify_level: Annotated[
        Literal[0, 1, 2, 16],
        Meta(description="Alert with a category: 1 bar, 2 lock screen, 16 banner; 0: OPPO decides"),
    ] = 0
    template_id: Annotated[
        str, Meta(description="Template of private pushes that name none; IM fills title and desc")
    ] = ""
    click: Annotated[
        Literal["app", "action", "web", "class", "intent"],
        Meta(description="What a click opens: the app, an action, a web page, a class, an intent"),
    ] = "app"
    click_target: Annotated[
        str, Meta(description="The action, address, class name or intent URI of a click")
    ] = ""
    callback_url: Annotated[str, Meta(description="Where OPPO posts receipts; empty: nowhere")] = ""

    def __post_init__(self) -> None:
        if (self.click == "app") != (not self.click_target):
            raise ValueError("click_target goes with click action, web, class or intent")
        units_max = URL_UNITS_MAX if self.click in ("web", "intent") else ACTIVITY_UNITS_MAX
        if utf16_units(self.click_target) > units_max:
            raise ValueError(f"click_target is over {units_max} characters")
        if self.click == "web" and not is_web_address(self.click_target):
            raise ValueError("click_target of click web is not a web address")
        is_short = utf16_units(self.callback_url) <= CALLBACK_UNITS_MAX
        if self.callback_url and not (is_short and is_web_address(self.callback_url)):
            limit = CALLBACK_UNITS_MAX
            raise ValueError(f"callback_url is not a web address of {limit} characters at most")


OUTCOMES: dict[tuple[int, str], Outcome] = {
    # A success that cannot be read: it may have been taken.
    (200, ""): Outcome.UNKNOWN,
    (200, "0"): Outcome.ACCEPTED,
    (200, "-1"): Outcome.SERVER_ERROR,
    **{(200, code): Outcome.THROTTLED for code in ("-2", "13", "55", "69")},
    # The token is old or missing; twice in a row the credential is wrong.
    **{(200, code): Outcome.AUTH_EXPIRED for code in ("11", "29")},
    # Key, signature and time; then address, permission, an app that is off.
    **{(200, str(code)): Outcome.CREDENTIALS_WRONG for code in (*range(14, 20), 26, 27, 28, 30)},
    **{(200, code): Outcome.QUOTA_DAY for code in ("33", "34", "42")},
    **{(200, code): Outcome.NOT_PERMITTED for code in ("54", "59")},
    **{(200, str(code)): Outcome.BAD_REQUEST for code in (12, *range(20, 26), 31, 32, 40, 51, 67)},
    # Length, format and forbidden words; see `WORDS`.
    (200, "41"): Outcome.BAD_REQUEST,
    (200, "10000"): Outcome.TOKEN_DEAD,
    # It has left, or its user has switched pushes off; when it registers again it is back.
    (200, "10001"): Outcome.TOKEN_DEAD,
    # They speak of an alias, and we send none: no evidence against a device.
    **{(200, code): Outcome.UNDELIVERABLE for code in ("10002", "10003")},
    # Named twice in a list: once it was taken.
    **{(200, code): Outcome.ACCEPTED for code in ("10004", "10005")},
    (429, ""): Outcome.THROTTLED,
    **{(status, ""): Outcome.SERVER_ERROR for status in (500, 502, 503, 504)},
    (POSTED, ""): Outcome.UNDELIVERABLE,
    (POSTED, "push_arrive"): Outcome.ACCEPTED,
    # Removed, signed off, wiped, or a month without a network.
    (POSTED, "regid_invalid"): Outcome.TOKEN_DEAD,
    (POSTED, "user_daily_limit"): Outcome.QUOTA_DAY,
}
"""Status and `code` to outcome; an empty code stands for an answer without one.
A code that is not here is a refusal of what we sent. Rows of `POSTED` are the events of receipts.
"""

HINTS = {
    "14": "app_key is no app of OPPO's push platform",
    "16": "app_key and master_secret do not belong together; the app secret is another one",
    "19": "set this machine's clock: OPPO refuses a time that is ten minutes off",
    "26": "add this machine's address to the list on OPPO's push platform",
    "28": "the app may not push yet: see its state on OPPO's push platform",
    "54": "apply for a template on OPPO's push platform, and set template_id",
    "59": "apply for the right on OPPO's push platform",
}

WORDS = {
    "sensitive": Outcome.BLOCKED_CONTENT,
    "敏感": Outcome.BLOCKED_CONTENT,
    "too long": Outcome.TOO_LARGE,
    "length": Outcome.TOO_LARGE,
    "长度": Outcome.TOO_LARGE,
}
"""What code 41 means where its text has one of these, the first one first. None is tried again, so
a text that is read wrongly costs the right name and no more."""

ARGUMENT, DUPLICATE = "41", "32"
"""The codes of an argument that is wrong, in whichever way, and of what is there already."""


def normal_token(token: str) -> str | None:
    """A list names its devices with semicolons between them, a receipt with commas."""
    return plain_token(token, separators=",;")


def replaces(settings: Settings, message: Message) -> bool:  # noqa: ARG001 - the common shape
    """The same notify_id takes the place of what is shown."""
    return True


def authorize(settings: Settings, now: float) -> Generator[Request, Response, Authority | Denied]:
    stamp = str(int(now * 1000))
    signed = f"{settings.app_key}{stamp}{settings.master_secret}"
    asked = {
        "app_key": settings.app_key,
        "timestamp": stamp,
        "sign": hashlib.sha256(signed.encode()).hexdigest(),
    }
    response = yield Request("POST", ORIGIN, AUTH_PATH, (FORM,), form_body(asked))
    found, data = _found(response)
    if found.outcome is Outcome.ACCEPTED and (token := _member(data, "auth_token")):
        return Authority(token, now + RENEW_SHARE * TOKEN_LIFE_S, now + TOKEN_LIFE_S)
    return no_authority(found, response)


def made_of(settings: Settings, auth_origin: str) -> tuple[str, ...]:
    return (settings.app_key, settings.master_secret, auth_origin)


def prepare(
    settings: Settings, credential: Authority, batch: Batch, now: float
) -> Generator[Request, Response, str | Denied]:
    """Save the message, and end with the id under which lists are sent it, if they are."""
    del now
    if _goes_singly(settings, batch):
        return ""
    return (yield from _save(settings, credential, batch))


def deliver(
    settings: Settings, credential: Authority, batch: Batch, now: float
) -> Generator[Request, Response, BatchReceipts]:
    del now
    if _goes_singly(settings, batch):
        return (yield from _send(settings, credential, batch))
    saved = batch.prepared
    if not saved:
        found = yield from saved_now(_save(settings, credential, batch))
        if isinstance(found, Denied):
            return batch.came_to(found)
        saved = found
    form = {
        "message_id": saved,
        "target_type": str(REGISTRATION_ID),
        "target_value": ";".join(tokens_of(batch.deliveries)),
    }
    response = yield _request(credential, "broadcast", form, batch)
    return _read(batch, response, rest=ACCEPTED)


def report(headers: Mapping[str, str], body: bytes) -> Posted:  # noqa: ARG001 - the common shape
    # A call without a single event is none.
    return read_entries(OUTCOMES, some_list(body) or None, _told, b'{"code":0}')


def _told(entry: dict[str, Any]) -> RawReceipt:
    """One event of a message, of all the devices that it names."""
    return RawReceipt(
        code=entry.get("eventType"),
        is_word=True,
        correlation=entry.get("param"),
        token=entry.get("registrationIds"),
        at_ms=entry.get("eventTime"),
    )


def _send(
    settings: Settings, credential: Authority, batch: Batch
) -> Generator[Request, Response, BatchReceipts]:
    """Each device and its message: one alone, or several in one call."""
    notification = _notification(settings, batch)
    if isinstance(notification, Denied):
        return batch.came_to(notification)
    messages = [_message(notification, delivery) for delivery in batch.deliveries]
    if len(messages) > 1:
        response = yield _request(
            credential, "unicast_batch", {"messages": json_text(messages)}, batch
        )
        return _read(batch, response, rest=_UNNAMED)
    form = {"message": json_text(messages[0])}
    response = yield _request(credential, "unicast", form, batch)
    found, _ = _found(response)
    raise_if_stale(found)
    return batch.came_to(found)


def _save(
    settings: Settings, credential: Authority, batch: Batch
) -> Generator[Request, Response, str | Denied]:
    notification = _notification(settings, batch)
    if isinstance(notification, Denied):
        return notification
    form = {name: it if isinstance(it, str) else json_text(it) for name, it in notification.items()}
    named = form | {"app_message_id": saved_name(batch)}
    found, data = _found((yield _request(credential, SAVE, named, batch)))
    if found.code == DUPLICATE:
        # It was saved before, and nobody says as what: so it is saved once more, without a name.
        found, data = _found((yield _request(credential, SAVE, form, batch)))
    raise_if_stale(found)
    if found.outcome is Outcome.ACCEPTED and (saved := _member(data, "message_id")):
        return saved
    return not_saved(found)


def _message(notification: dict[str, Any], delivery: Delivery) -> dict[str, Any]:
    """One device and what it is sent; the phone drops what was for an earlier registration."""
    return {
        "target_type": REGISTRATION_ID,
        "target_value": delivery.token,
        "verify_registration_id": True,
        "notification": notification | {"app_message_id": delivery.correlation},
    }


def _notification(settings: Settings, batch: Batch) -> dict[str, Any] | Denied:
    """The message in OPPO's words, without whom it is for; a denial where it does not fit."""
    first = batch.deliveries[0]
    title, content = _texts(first.message)
    if not title:
        return NOTHING_TO_SHOW
    made: dict[str, Any] = {
        "title": title,
        "content": content,
        "notify_id": notify_id(first.collapse),
        # What shall come now or never is not kept for a phone that is off.
        "off_line": first.ttl_s > 0,
        "off_line_ttl": max(1, min(first.ttl_s, LIMITS.lifetime_max_s)),
        **_click(settings),
        **_class(settings, first.message),
    }
    if first.message.android.is_big_text:
        made["style"] = LONG_TEXT
    made["action_parameters"] = json_text(custom_data(first))
    if utf16_units(made["action_parameters"]) > CUSTOM_UNITS_MAX:
        info = f"ext and ids over {CUSTOM_UNITS_MAX} characters"
        return Denied(Outcome.TOO_LARGE, "-7", info)
    if settings.callback_url:
        made["call_back_url"] = settings.callback_url
        made["call_back_parameter"] = batch.correlation
    return made


def _texts(message: Message) -> tuple[str, str]:
    is_big_text = message.android.is_big_text
    return texts_within(message, TITLE_UNITS_MAX, CONTENT_UNITS_MAX[is_big_text])


def _click(settings: Settings) -> dict[str, Any]:
    click: dict[str, Any] = {"click_action_type": CLICKS[settings.click]}
    if settings.click in ("action", "class"):
        click["click_action_activity"] = settings.click_target
    elif settings.click_target:
        click["click_action_url"] = settings.click_target
    return click


def _class(settings: Settings, message: Message) -> dict[str, Any]:
    """Channel, category and alert, and the template of the private class."""
    part = message.android
    category = part.oppo_category or settings.category
    level = part.oppo_notify_level
    if level is None:
        is_too_loud = category in CONTENT_AND_MARKETING and settings.notify_level == STRONG
        level = 0 if is_too_loud else settings.notify_level
    if part.sound == NO_SOUND:
        level = QUIET
    made = {
        "channel_id": part.oppo_channel_id or settings.android_channel_id,
        "category": category,
        "notify_level": level if category else 0,
        **_template(settings, message, category),
    }
    return {name: value for name, value in made.items() if value}


def _template(settings: Settings, message: Message, category: str) -> dict[str, Any]:
    """The message's own template; else the credential's, which IM fills with title and text."""
    part = message.android
    template = part.oppo_template_id or (settings.template_id if category else "")
    if not template or category in CONTENT_AND_MARKETING:
        return {}
    title, content = part.oppo_title_params, part.oppo_content_params
    if category == "IM" and not (part.oppo_template_id or title or content):
        shown = _texts(message)
        title, content = {"title": shown[0]}, {"desc": shown[1]}
    return {
        "private_msg_template_id": template,
        "private_title_parameters": json_text(title) if title else "",
        "private_content_parameters": json_text(content) if content else "",
    }


def _goes_singly(settings: Settings, batch: Batch) -> bool:
    """Whether each device is sent the message itself: one alone, and all of the private class."""
    part = batch.deliveries[0].message.android
    category = part.oppo_category or settings.category
    is_public = category in CONTENT_AND_MARKETING or not (category or part.oppo_template_id)
    return len(batch.deliveries) == 1 or not is_public


def _request(credential: Authority, call: str, form: dict[str, str], batch: Batch) -> Request:
    told = {"auth_token": credential.value, **form}
    message = batch.deliveries[0].message
    return Request(
        "POST",
        ORIGIN,
        PATH + call,
        (FORM,),
        form_body(told),
        is_shortened=_texts(message) != both_texts(message),
    )


def _found(response: Response) -> tuple[Denied, Any]:
    """The outcome of a whole answer, and its data. A success that cannot be read leaves doubt."""
    status = response.status
    wait_s = retry_after_s(response.headers)
    if status != 200:
        return Denied(outcome_by_status(OUTCOMES, status), str(status), "", wait_s), None
    answer = json_object(response.body)
    code, said = code_of(answer.get("code")), answer.get("message")
    if not code:
        return Denied(OUTCOMES[200, ""], "200", "answer cannot be read"), None
    outcome = OUTCOMES.get((200, code), Outcome.BAD_REQUEST)
    if outcome is Outcome.ACCEPTED:
        return ACCEPTED, answer.get("data")
    if code == ARGUMENT and isinstance(said, str):
        outcome = next((it for word, it in WORDS.items() if word in said.lower()), outcome)
    return Denied(outcome, code, text_of(said), wait_s), None


def _read(batch: Batch, response: Response, *, rest: Denied) -> BatchReceipts:
    """What the answer to a list says of each device; `rest` of those whom it does not name."""
    found, data = _found(response)
    raise_if_stale(found)
    if found.outcome is not Outcome.ACCEPTED:
        return batch.came_to(of_nobody(found))
    try:
        named = _named(data)
    except msgspec.ValidationError:
        return batch.came_to(_UNREAD)
    return batch.came_by_token(named, rest)


def _named(data: Any) -> dict[str, Denied]:
    """What is said of single devices: an entry for each, or lists of those refused, by code."""
    if isinstance(data, list):
        entries = msgspec.convert(data, list[_Entry], strict=False)
        return {it.registrationId: _of_device(str(it.errorCode or 0)) for it in entries}
    members = msgspec.convert(data or {}, dict[str, Any])
    lists = {code: it for code, it in members.items() if code_of(code)}
    by_code = msgspec.convert(lists, dict[str, list[str]])
    return {token: _of_device(code) for code, tokens in by_code.items() for token in tokens}


def _of_device(code: str) -> Denied:
    outcome = OUTCOMES.get((200, code), Outcome.UNDELIVERABLE)
    return ACCEPTED if outcome is Outcome.ACCEPTED else Denied(outcome, code, "")


def _member(data: Any, name: str) -> str:
    value = data.get(name) if isinstance(data, dict) else None
    return value if isinstance(value, str) else ""


class _Entry(Struct, frozen=True):
    registrationId: str = ""  # noqa: N815 - OPPO's spelling
    errorCode: int | None = None  # noqa: N815 - OPPO's spelling


_UNREAD = Denied(Outcome.UNKNOWN, "0", "data cannot be read")
_UNNAMED = Denied(Outcome.UNKNOWN, "0", "device is not named")
