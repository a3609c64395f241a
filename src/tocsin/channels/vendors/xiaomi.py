"""Xiaomi's Mi Push, by the app secret.

Pages, read 2026-11:
https://dev.mi.com/distribute/doc/details?pId=1558
https://dev.mi.com/distribute/doc/details?pId=1559
https://dev.mi.com/distribute/doc/details?pId=1560
https://dev.mi.com/distribute/doc/details?pId=1656
https://dev.mi.com/distribute/doc/details?pId=2321
https://trtc.io/document/77715

What is special: nothing is fetched or signed, the secret itself travels with every call. The
answer is HTTP 200 whatever happened, and its own code says what. It speaks about the whole list: an
unknown regId is named only in `bad_regids`, if at all, and otherwise shows by a receipt of type 16.
Where a list is refused for a regId that is not named, nobody was reached, so the list is halved
until the culprit stands alone. Every push belongs to a class, its channel: a public one lives a day
and counts against a daily quota, a private one lives ten days and its text comes from a template.
Titles and texts must not be blank, so a push that has only one of them shows it twice, and one that
has none cannot be sent: data messages were shut off in 2022-09. A notify id makes a second delivery
replace the first. Badges are the phone's own business. Receipts come to the address that the push
itself names, of the types that it asks for; nothing is signed.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Generator, Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace

from tocsin.channels.shared import (
    FORM,
    NEVER_S,
    NOTHING_TO_SHOW,
    RawReceipt,
    both_texts,
    check_callback_url,
    code_of,
    custom_data,
    form_body,
    hosts,
    intent_with,
    is_shown,
    json_object,
    json_text,
    object_in_form,
    outcome_by_status,
    plain_token,
    read_entries,
    text_of,
)
from tocsin.channels.shared_texts import fitted, texts_within, too_large
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
    Unanswered,
    devices_of,
    receipts_by_token,
    tokens_of,
)
from tocsin.domain.message import (
    NO_SOUND,
    Message,
    cut,
    notify_id,
    render_template,
    sound_file,
    utf16_units,
)
from tocsin.domain.outcome import NEVER_AGAIN_S, POSTED, BatchReceipts, Outcome
from tocsin.domain.retry import CHINA_S, retry_after_s

NAME = "xiaomi"

NOBODY = "0" * 43 + "="

LIMITS = Limits(
    # Xiaomi names no figure; 4 KB is what its own clients keep to.
    payload_max_bytes=4096,
    takes_data=False,
    devices_max=1000,
    names_deliveries=False,
    lifetime_max_s=10 * 86_400,
    # For less than 100,000 devices with notifications on; 3,000 from ten million on.
    rate_per_s=500.0,
    in_flight_max=16,
    clock_offset_s=CHINA_S,
)

ORIGINS = {
    "china": "https://api.xmpush.xiaomi.com",
    "europe": "https://fr-api.xmpush.global.xiaomi.com",
    "india": "https://idmb-api.xmpush.global.xiaomi.com",
    "russia": "https://ru-api.xmpush.global.xiaomi.com",
    "global": "https://sgp-api.xmpush.global.xiaomi.com",
}
HOSTS = hosts(*ORIGINS.values())
PATH = "/v4/message/regid"
PUBLIC_LIFE_MAX_S = 86_400
# Xiaomi says "less than 50" and "less than 128"; Tencent cuts one later.
TITLE_UNITS_MAX = 49
DESC_UNITS_MAX = 127
PARAM_UNITS_MAX = 128
PARAMS_MAX = 9
EXTRAS_UNITS_MAX = 1023
"""What the sender's own extras may hold in all, names and values."""
CALLBACK_BYTES_MAX = 256
CALLBACK_TYPES = 1 | 2 | 16 | 32 | 64 | 128
"""Arrived, clicked, invalid, switched off, filtered out, over the day's quota.

1024, lived too long, is read but not asked for: it stands in no page of Xiaomi's that we found, and
a sum with a bit that Xiaomi does not know costs all receipts.
"""
EVERYTHING, LIGHTS = "-1", "4"
"""The `notify_type` with sound and vibration, and the one with neither."""
CLICKED = "2"
REQUESTS_MAX = 24
"""Requests spent on one list while a regId that is not named is sought."""


class Settings(Struct, frozen=True, kw_only=True):
    """What the developer console shows of an app, and how its messages are sent."""

    app_secret: Annotated[str, Meta(description="AppSecret of the app", extra={"is_secret": True})]
    package_name: Annotated[
        str, Meta(description="Package name of the Android app", examples=["com.example.app"])
    ]
    app_id: Annotated[
        str,
        Meta(
            description="AppID of the app: only for the client's configuration file",
            extra={"client_key": "xiaomiPushAppId"},
        ),
    ] = ""
    app_key: Annotated[
        str,
        Meta(
            description="AppKey of the app: only for the client's configuration file",
            extra={"client_key": "xiaomiPushAppKey"},
        ),
    ] = ""
    region: Annotated[
        Literal["china", "europe", "india", "russia", "global"],
        Meta(description="Which of Xiaomi's services the app is registered with"),
    ] = "china"
    android_channel_id: Annotated[
        str, Meta(description="Xiaomi channel (class) of pushes that name none")
    ] = ""
    private_channel_ids: Annotated[
        str, Meta(description="Channels of the private class, separated by commas")
    ] = ""
    template_id: Annotated[
        str, Meta(description="Template that pushes of private channels are filled into")
    ] = ""
    template_param: Annotated[
        str,
        Meta(description="Template variables as JSON texts; {{Title}} and {{Desc}} are filled in"),
    ] = '{"title":"{{Title}}","content":"{{Desc}}"}'
    click: Annotated[
        Literal["app", "page", "web"],
        Meta(description="What a click opens: the app, intent_uri or web_uri"),
    ] = "app"
    intent_uri: Annotated[
        str, Meta(description="Page that a click opens: intent:#Intent;component=…;end")
    ] = ""
    web_uri: Annotated[str, Meta(description="Web page that a click opens")] = ""
    callback_url: Annotated[
        str, Meta(description="Where Xiaomi posts receipts; empty: nowhere")
    ] = ""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[!-~]+", self.app_secret):
            raise ValueError("app_secret holds visible ASCII characters only")
        if not re.fullmatch(r"[A-Za-z][\w.]*", self.package_name, re.ASCII):
            raise ValueError("package_name is not the name of an Android package")
        if self.click == "page" and not self.intent_uri:
            raise ValueError("click is page, but intent_uri is empty")
        if self.click == "web" and not self.web_uri:
            raise ValueError("click is web, but web_uri is empty")
        check_callback_url(self.callback_url, CALLBACK_BYTES_MAX)
        _check_template(self.template_param)


TROUBLE = (1, 10001, 10002, 10003, 20301, 20607, 22102, 26003, 65029)
OURS = (10008, 10012, 10016, 10017, 10041, *range(65010, 65018), *range(65035, 65039))
OF_APPS = ("22000", "22006", "22007", "22022")
"""Codes of their own trouble, of members that are wrong, and of an app that is not this one."""

OUTCOMES: dict[tuple[int, str], Outcome] = {
    (200, ""): Outcome.BAD_REQUEST,
    (200, "0"): Outcome.ACCEPTED,
    **{(200, str(code)): Outcome.SERVER_ERROR for code in TROUBLE},
    **{(200, str(code)): Outcome.BAD_REQUEST for code in OURS},
    **{(200, code): Outcome.THROTTLED for code in ("10027", "26004", "200002")},
    **{(200, code): Outcome.TOKEN_DEAD for code in ("10029", "20315", "66007")},
    **{(200, code): Outcome.BLOCKED_CONTENT for code in ("10031", "10036", "26006")},
    **{(200, code): Outcome.QUOTA_DAY for code in ("10034", "200001")},
    **{(200, code): Outcome.CREDENTIALS_WRONG for code in ("21301", "21302", "21305", *OF_APPS)},
    (200, "27001"): Outcome.NOT_PERMITTED,
    # The regId may only be offline, which is no evidence against it.
    (200, "65003"): Outcome.UNDELIVERABLE,
    (200, "65009"): Outcome.TOO_LARGE,
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
    (POSTED, "16"): Outcome.TOKEN_DEAD,
    # The app has switched its pushes off; it may switch them on again.
    (POSTED, "32"): Outcome.UNDELIVERABLE,
    (POSTED, "64"): Outcome.UNDELIVERABLE,
    (POSTED, "128"): Outcome.QUOTA_DAY,
    (POSTED, "1024"): Outcome.EXPIRED,
}
"""Status and Xiaomi's code to outcome; an empty code stands for every other one of its status.

With status 200 that is a code nobody has heard of; an answer without any code is doubt. Rows of
`POSTED` are the types of receipts.
"""

HINTS = {
    "21301": "app_secret is not the AppSecret of the app, or the app is of another region",
    **dict.fromkeys(OF_APPS, "package_name is not the app's that app_secret belongs to"),
    "27001": "set android_channel_id to a channel of Xiaomi's console",
}


def normal_token(token: str) -> str | None:
    """A call names its devices with commas between them, so a token has none."""
    return plain_token(token, separators=",;")


def replaces(settings: Settings, message: Message) -> bool:  # noqa: ARG001 - the common shape
    """Each notification has its notify id, the same in every attempt."""
    return True


def authorize(settings: Settings, now: float) -> Generator[Request, Response, Authority | Denied]:
    yield from ()
    return Authority(f"key={settings.app_secret}", now + NEVER_S / 2, now + NEVER_S)


def deliver(
    settings: Settings,
    credential: Authority,
    batch: Batch,
    now: float,  # noqa: ARG001 - the common shape
) -> Generator[Request, Response, BatchReceipts]:
    form = _form(settings, batch)
    if isinstance(form, Denied):
        return batch.came_to(form)
    is_shortened = _is_shortened(settings, batch.deliveries[0].message, form)
    booked: list[tuple[Sequence[Delivery], _Said]] = []
    waiting, spent, was_taken = [batch.deliveries], 0, False
    while waiting and spent < REQUESTS_MAX:
        part = waiting.pop()
        spent += 1
        try:
            request = _request(settings, credential, form, part)
            response = yield replace(request, is_shortened=is_shortened)
            said = _said(form, response, len(part))
        except Unanswered as fault:
            said = _Said(fault.denied)
        outcome = said.verdict.outcome
        if outcome is Outcome.TOKEN_DEAD and len(part) > 1:
            middle = len(part) // 2
            waiting += [part[middle:], part[:middle]]
            continue
        booked.append((part, said))
        was_taken |= outcome is Outcome.ACCEPTED
        if outcome not in (Outcome.ACCEPTED, Outcome.TOKEN_DEAD):
            # It holds for the others too; but only those of this request may have been reached.
            rest = _Said(_NOT_TRIED) if outcome is Outcome.UNKNOWN else said
            booked += [(left, rest) for left in waiting]
            waiting = []
    # Where nobody at all was taken, most of the list looks dead, and that accuses the credential.
    booked += [(left, _Said(_NOT_TRIED if was_taken else _BAD)) for left in waiting]
    return _together(batch, booked)


def report(headers: Mapping[str, str], body: bytes) -> Posted:  # noqa: ARG001 - the common shape
    entries = object_in_form(body, "data")
    return read_entries(OUTCOMES, entries, _told, b'{"result":"ok","code":0}')


def _told(entry: dict[str, Any]) -> RawReceipt:
    """One message's entry, for all the devices that it names."""
    return RawReceipt(
        code=entry.get("type"),
        correlation=entry.get("param"),
        token=entry.get("targets"),
        at_ms=entry.get("timestamp"),
        is_click=code_of(entry.get("type")) == CLICKED,
    )


class _Said(Struct, frozen=True):
    """What one answer says about the list it was for."""

    verdict: Denied
    bad: frozenset[str] = frozenset()
    """regIds that were left out because nobody knows them."""
    is_of_all: bool = True
    """Whether it is a word about the app, and not about these devices."""


_BAD = Denied(Outcome.TOKEN_DEAD, "66007", "regId unknown")


_NOT_TRIED = Denied(Outcome.HELD, "-10", "not tried")


def _together(batch: Batch, booked: Sequence[tuple[Sequence[Delivery], _Said]]) -> BatchReceipts:
    """The receipts of the list by what was said of its parts."""
    parts = [
        receipts_by_token(
            part, dict.fromkeys(said.bad, _BAD), said.verdict, is_of_all=said.is_of_all
        )
        for part, said in booked
    ]
    if len(parts) == 1:
        return parts[0]
    by_device = {receipt.device: receipt for part in parts for receipt in part}
    return BatchReceipts.each([by_device[device] for device in devices_of(batch.deliveries)])


def _request(
    settings: Settings,
    credential: Authority,
    form: dict[str, str],
    part: Sequence[Delivery],
) -> Request:
    tokens = ",".join(tokens_of(part))
    return Request(
        "POST",
        ORIGINS[settings.region],
        PATH,
        (
            ("authorization", credential.value),
            FORM,
        ),
        form_body({**form, "registration_id": tokens}),
    )


def _form(settings: Settings, batch: Batch) -> dict[str, str] | Denied:
    """Everything but the targets; a denial where there is nothing that can be sent."""
    first, limit = batch.deliveries[0], LIMITS.payload_max_bytes
    if not is_shown(first.message):
        return NOTHING_TO_SHOW

    def size(delivery: Delivery) -> int:
        form = _filled_form(settings, delivery, batch.correlation)
        return len("".join((*form, *form.values())).encode())

    fits = fitted(first, size, limit)
    if fits is None:
        return too_large(limit)
    return _filled_form(settings, fits, batch.correlation)


def _filled_form(settings: Settings, first: Delivery, correlation: str) -> dict[str, str]:
    message = first.message
    title, desc = texts_within(message, TITLE_UNITS_MAX, DESC_UNITS_MAX)
    form = {
        "restricted_package_name": settings.package_name,
        "pass_through": "0",
        "title": title,
        "description": desc,
        "notify_type": LIGHTS if message.android.sound == NO_SOUND else EVERYTHING,
        "notify_id": str(notify_id(first.collapse)),
        "time_to_live": str(_life_ms(settings, message, first.ttl_s)),
    }
    if message.ext:
        form["payload"] = message.ext
    extras = _extras(settings, first, correlation)
    return form | {f"extra.{name}": value for name, value in extras.items()}


def _is_shortened(settings: Settings, message: Message, form: dict[str, str]) -> bool:
    """Whether the phone shows less than was given; where a template shows, what fills it counts."""
    filled = form.get("extra.template_param")
    if filled is not None:
        return filled != _filled(settings.template_param, message, units_max=sys.maxsize)
    return (form["title"], form["description"]) != both_texts(message)


def _extras(settings: Settings, delivery: Delivery, correlation: str) -> dict[str, str]:
    message = delivery.message
    extras = _classed(settings, message) | _clicked(settings, delivery)
    if file := sound_file(message.android.sound):
        extras["sound_uri"] = f"android.resource://{settings.package_name}/raw/{file}"
    if message.android.is_big_text:
        extras["notification_style_type"] = "1"
    extras |= _own(delivery)
    if settings.callback_url:
        extras["callback"] = settings.callback_url
        extras["callback.param"] = correlation
        extras["callback.type"] = str(CALLBACK_TYPES)
    return extras


def _own(delivery: Delivery) -> dict[str, str]:
    """What the app is handed; Ext is left to the payload where the extras cannot hold it."""
    own = custom_data(delivery)
    if sum(utf16_units(name + text) for name, text in own.items()) > EXTRAS_UNITS_MAX:
        own.pop("ext", None)
    return own


def _channel(settings: Settings, message: Message) -> str:
    return message.android.xiaomi_channel_id or settings.android_channel_id


def _is_private(settings: Settings, message: Message) -> bool:
    private = [it.strip() for it in settings.private_channel_ids.split(",")]
    channel = _channel(settings, message)
    return bool(channel) and channel in private


def _classed(settings: Settings, message: Message) -> dict[str, str]:
    """The channel, and the template that a private one asks for."""
    channel = _channel(settings, message)
    extras = {"channel_id": channel} if channel else {}
    if settings.template_id and _is_private(settings, message):
        extras["template_id"] = settings.template_id
        extras["template_param"] = _filled(settings.template_param, message)
    return extras


def _filled(template: str, message: Message, units_max: int = PARAM_UNITS_MAX) -> str:
    texts = {"Title": message.title or message.desc, "Desc": message.desc or message.title}
    params: dict[str, str] = msgspec.json.decode(template)
    filled = {}
    for name, text in params.items():
        plain = _EMOJI.sub("", render_template(text, texts)).strip()
        filled[name] = cut(plain, units_max) or "-"
    return json_text(filled)


def _clicked(settings: Settings, delivery: Delivery) -> dict[str, str]:
    if settings.click == "web":
        return {"notify_effect": "3", "web_uri": settings.web_uri}
    if settings.click == "page":
        uri = settings.intent_uri
        if uri.endswith("end"):
            uri = intent_with(uri, custom_data(delivery))
        return {"notify_effect": "2", "intent_uri": uri}
    return {"notify_effect": "1"}


def _life_ms(settings: Settings, message: Message, ttl_s: int) -> int:
    """Zero would be "as long as Xiaomi likes", so "now or never" is a second."""
    is_private = _is_private(settings, message)
    life_max_s = LIMITS.lifetime_max_s if is_private else PUBLIC_LIFE_MAX_S
    return max(1, min(ttl_s, life_max_s)) * 1000


def _said(form: dict[str, str], response: Response, size: int) -> _Said:
    answer = json_object(response.body)
    code = _code(answer)
    if response.status == 200 and code == "0":
        return _taken(answer.get("data"), size)
    wait_s = retry_after_s(response.headers)
    if not code or code == "0":
        # An unreadable 200 was taken or not: whoever says more than that loses or doubles it.
        is_doubt = response.status == 200
        outcome = Outcome.UNKNOWN if is_doubt else outcome_by_status(OUTCOMES, response.status)
        return _Said(Denied(outcome, str(response.status), "", wait_s))
    outcome = OUTCOMES.get((200, code), OUTCOMES[200, ""])
    if code == "27001" and "extra.channel_id" not in form:
        # Xiaomi's word for a push without a class that is one too many for the day.
        outcome = Outcome.QUOTA_DAY
    info = text_of(answer.get("description") or answer.get("reason"))
    return _Said(Denied(outcome, code, info, wait_s))


def _taken(told: Any, size: int) -> _Said:
    """Code 0: all were taken, but for those that the answer names or counts."""
    data = told if isinstance(told, dict) else {}
    counts = _COUNTS.findall(text_of(data.get("channel_exceed_quota")))
    dropped = sum(int(count) for count in counts)
    if dropped >= size:
        # Of a single device it may be its own quota, and says nothing about others.
        over = Denied(Outcome.QUOTA_DAY, "0", "channel_exceed_quota")
        return _Said(over, is_of_all=size > 1)
    if dropped:
        # Which ones is not said, so everyone is in doubt until their receipts come. To ask again
        # would show it to the others a second time, and count against their day.
        return _Said(Denied(Outcome.UNKNOWN, "0", "channel_exceed_quota", NEVER_AGAIN_S))
    named = data.get("bad_regids", [])
    if isinstance(named, str):
        named = named.split(",")
    bad = [it.strip() for it in named if isinstance(it, str)] if isinstance(named, list) else []
    return _Said(ACCEPTED, frozenset(bad))


def _code(answer: dict[str, Any]) -> str:
    """The code as text; empty where there is none, or where it contradicts the result."""
    code = code_of(answer.get("code"))
    return "" if code == "0" and answer.get("result", "ok") != "ok" else code


def _check_template(text: str) -> None:
    try:
        params = msgspec.json.decode(text, type=dict[str, str])
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise ValueError("template_param is not a JSON object of texts") from None
    if len(params) > PARAMS_MAX:
        raise ValueError(f"template_param holds more than {PARAMS_MAX} variables")


_COUNTS = re.compile(r":\s*([0-9]{1,9})")
_EMOJI = re.compile("[\U0001f000-\U0001faff\u2600-\u27bf\u2b00-\u2bff\u200d\ufe0f\u20e3]")
