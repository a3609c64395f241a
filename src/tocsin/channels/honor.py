"""Honor Push, server API version 1, by client credentials.

Pages, read 2026-11:
https://developer.honor.com/cn/docs/11002/guides/kit-history
https://my.oschina.net/u/5873522/blog/10140231
https://trtc.io/document/77715

What is special: a bearer is fetched with the push service's own client id and secret, which are
not the app's secret. Each send names the time in a header. The body is Huawei's in camelCase, with
neither channel ids nor sounds. Most refusals come with HTTP status 200 and a code inside, and a
taken list may still name tokens that were not: `expireTokens` are dead, `failTokens` failed without
a reason and stay good. The number made of the collapse id makes a second notification of a task
replace the first; a message without title and text is handed through to the app and replaces
nothing.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from typing import Annotated, Any, Literal
from urllib.parse import quote, urlencode

import msgspec
from msgspec import Meta, Struct

from tocsin.domain.message import Message, cut, notify_id
from tocsin.domain.outcome import Outcome, Receipt
from tocsin.domain.retry import retry_after_s
from tocsin.ports import (
    Authority,
    Batch,
    Delivery,
    Denied,
    Limits,
    Request,
    Response,
    StaleCredential,
)

NAME = "honor"

LIMITS = Limits(
    payload_max_bytes=4096,
    devices_max=1000,
    lifetime_max_s=15 * 86_400,
    # Targets, not requests; Honor raises it for nobody.
    rate_per_s=3000.0,
    in_flight_max=32,
    deadline_s=15.0,
)

ORIGIN = "https://push-api.cloud.honor.com"
AUTH_ORIGIN = "https://iam.developer.honor.com"
TITLE_UNITS_MAX = 50
BODY_UNITS_MAX = 400
BADGE_MAX = 99
CLICKS = {"intent": 1, "action": 1, "url": 2, "app": 3}
"""Honor's `clickAction.type`."""
TOKEN_LIFE_S = 3600
RENEW_SHARE = 0.8
"""The share of a bearer's life after which a new one is fetched."""


class Settings(Struct, frozen=True, kw_only=True):
    """What the push service's page in Honor's console shows, and what a click does."""

    client_secret: Annotated[
        str, Meta(description="Client secret of the push service", extra={"is_secret": True})
    ]
    client_id: Annotated[str, Meta(description="Client ID of the push service")]
    app_id: Annotated[str, Meta(description="APP ID of the app, a number")]
    badge_class: Annotated[
        str, Meta(description="Launcher activity that wears the badge; empty: no badges")
    ] = ""
    importance: Annotated[
        Literal["", "NORMAL", "LOW"],
        Meta(description="Class of pushes that name none: NORMAL is service, LOW is marketing"),
    ] = ""
    click: Annotated[
        Literal["app", "intent", "action", "url"],
        Meta(description="What a click does: open the app, an intent, an action or a web page"),
    ] = "app"
    click_target: Annotated[
        str, Meta(description="The intent URI, the action or the https address of a click")
    ] = ""
    target_user: Annotated[
        Literal["formal", "test"],
        Meta(description="test: Honor's test messages, 1000 a day and outside of the quota"),
    ] = "formal"

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9]+", self.app_id):
            raise ValueError("app_id holds letters and digits only")
        if not self.client_id or not self.client_secret:
            raise ValueError("client_id and client_secret are not empty")
        if (self.click == "app") != (not self.click_target):
            raise ValueError("click_target goes with click intent, action or url")
        if self.click == "url" and not self.click_target.startswith("https://"):
            raise ValueError("click_target of click url is not an https address")


OUTCOMES: dict[tuple[int, str], Outcome] = {
    # An answer without a code: the list may have been taken.
    (200, ""): Outcome.UNKNOWN,
    (200, "200"): Outcome.ACCEPTED,
    (200, "80000000"): Outcome.ACCEPTED,
    # Some were not taken, and no list says which.
    (200, "80100000"): Outcome.UNKNOWN,
    (200, "expireTokens"): Outcome.TOKEN_DEAD,
    # Honor tells no reason, so it is no evidence against a token.
    (200, "failTokens"): Outcome.UNDELIVERABLE,
    (200, "400"): Outcome.BAD_REQUEST,
    (200, "401"): Outcome.AUTH_EXPIRED,
    (200, "403"): Outcome.AUTH_EXPIRED,
    (200, "500"): Outcome.SERVER_ERROR,
    (200, "502"): Outcome.SERVER_ERROR,
    (200, "503"): Outcome.THROTTLED,
    (200, "504"): Outcome.SERVER_ERROR,
    (200, "10001"): Outcome.BAD_REQUEST,
    (200, "10205"): Outcome.CREDENTIALS_WRONG,
    # Our clock is wrong, for every push alike: they wait until it has been set.
    (200, "10207"): Outcome.CREDENTIALS_WRONG,
    (200, "10300"): Outcome.BAD_REQUEST,
    (200, "80100001"): Outcome.BAD_REQUEST,
    (200, "80100003"): Outcome.BAD_REQUEST,
    (200, "80100004"): Outcome.BAD_REQUEST,
    (200, "80200001"): Outcome.CREDENTIALS_WRONG,
    (200, "80200003"): Outcome.AUTH_EXPIRED,
    (200, "80200020"): Outcome.BAD_REQUEST,
    (200, "80200022"): Outcome.NOT_PERMITTED,
    (200, "80200047"): Outcome.QUOTA_DAY,
    (200, "80200050"): Outcome.NOT_PERMITTED,
    (200, "80200056"): Outcome.BLOCKED_CONTENT,
    (200, "80300002"): Outcome.CREDENTIALS_WRONG,
    (200, "80300006"): Outcome.BAD_REQUEST,
    (200, "80300007"): Outcome.TOKEN_DEAD,
    (200, "80300008"): Outcome.TOO_LARGE,
    (200, "80300010"): Outcome.BAD_REQUEST,
    (200, "81000001"): Outcome.SERVER_ERROR,
    (400, ""): Outcome.BAD_REQUEST,
    (401, ""): Outcome.AUTH_EXPIRED,
    (403, ""): Outcome.AUTH_EXPIRED,
    # The path names the app: Honor knows none of this id.
    (404, ""): Outcome.CREDENTIALS_WRONG,
    (413, ""): Outcome.TOO_LARGE,
    (429, ""): Outcome.THROTTLED,
    (500, ""): Outcome.SERVER_ERROR,
    (502, ""): Outcome.SERVER_ERROR,
    (503, ""): Outcome.THROTTLED,
    (504, ""): Outcome.SERVER_ERROR,
}
"""Status and code to outcome; an empty code stands for an answer without one that is known.

A code counts whichever status carries it, but for success, which only status 200 can say.
Codes that Honor shares with Huawei and lists nowhere itself mean what they mean there.
`expireTokens` and `failTokens` are the lists that a token may stand in.
"""

PARTLY = "80100000"


def replaces(settings: Settings, message: Message) -> bool:  # noqa: ARG001 - the common shape
    """A notification replaces by its number; what is handed through wakes the app each time."""
    languages = range(-1, len(message.translations))
    return all(_is_shown(message.translated(it)) for it in languages)


def authorize(settings: Settings, now: float) -> Generator[Request, Response, Authority | Denied]:
    form = {
        "grant_type": "client_credentials",
        "client_id": settings.client_id,
        "client_secret": settings.client_secret,
    }
    response = yield Request(
        "POST",
        AUTH_ORIGIN,
        "/auth/token",
        (("content-type", "application/x-www-form-urlencoded"),),
        urlencode(form).encode(),
    )
    answer = _object(response.body)
    token = answer.get("access_token")
    if response.status != 200 or not _is_word(token):
        return _denied(response, answer)
    life_s = max(60, _life_s(answer.get("expires_in")))
    return Authority(f"Bearer {token}", now + RENEW_SHARE * life_s, now + life_s)


def deliver(
    settings: Settings, credential: Authority, batch: Batch, now: float
) -> Generator[Request, Response, list[Receipt]]:
    content = _content(settings, batch)
    if len(msgspec.json.encode(content)) > LIMITS.payload_max_bytes:
        info = f"payload over {LIMITS.payload_max_bytes} bytes"
        return [_receipt(it, Outcome.TOO_LARGE, "-7", info) for it in batch.deliveries]
    tokens = [delivery.token for delivery in batch.deliveries]
    response = yield Request(
        "POST",
        ORIGIN,
        f"/api/v1/{settings.app_id}/sendMessage",
        (
            ("authorization", credential.value),
            ("content-type", "application/json"),
            ("timestamp", str(int(now * 1000))),
        ),
        msgspec.json.encode({**content, "token": tokens}),
    )
    return _read(batch, response)


def _is_shown(message: Message) -> bool:
    return bool(message.title or message.desc)


def _content(settings: Settings, batch: Batch) -> dict[str, Any]:
    """Everything but the tokens, which do not count towards the size."""
    first = batch.deliveries[0]
    message = first.message
    android: dict[str, Any] = {"ttl": f"{_ttl_s(first)}s"}
    if batch.correlation:
        android["biTag"] = batch.correlation
    if settings.target_user == "test":
        android["targetUserType"] = 1
    if not _is_shown(message):
        return {"data": message.ext or "{}", "android": android}
    click = _click(settings, message.ext)
    if message.ext and "intent" not in click:
        android["data"] = message.ext
    title, body = _texts(message)
    android["notification"] = {
        "title": title,
        "body": body,
        "clickAction": click,
        **_drawn(settings, message),
        "notifyId": notify_id(first.collapse),
        "tag": first.collapse,
    }
    return {"android": android}


def _ttl_s(delivery: Delivery) -> int:
    """Honor knows no "now or never": the shortest life is the nearest."""
    return max(1, min(delivery.ttl_s, LIMITS.lifetime_max_s))


def _texts(message: Message) -> tuple[str, str]:
    """Title and text as Honor bears them; it wants both, so one stands in for the other."""
    title = cut(message.title or message.desc, TITLE_UNITS_MAX)
    return title, cut(message.desc or message.title, BODY_UNITS_MAX)


def _click(settings: Settings, ext: str) -> dict[str, Any]:
    action: dict[str, Any] = {"type": CLICKS[settings.click]}
    if settings.click == "intent" and ext:
        action["intent"] = _with_ext(settings.click_target, ext)
    elif settings.click != "app":
        action[settings.click] = settings.click_target
    return action


def _with_ext(intent: str, ext: str) -> str:
    """The intent URI with `ext` as one more extra, before its `end`."""
    head = intent.removesuffix(";end").removesuffix(";")
    if "#Intent" not in head:
        head += "#Intent"
    return f"{head};S.ext={quote(ext, safe='')};end"


def _drawn(settings: Settings, message: Message) -> dict[str, Any]:
    """What Honor is told about the notification besides its text."""
    part = message.android
    drawn: dict[str, Any] = {}
    importance = part.honor_importance or settings.importance
    if importance:
        drawn["importance"] = importance
    if part.honor_image:
        drawn["image"] = part.honor_image
    if part.is_big_text:
        # Honor refuses a long text that differs from the short one.
        title, body = _texts(message)
        drawn |= {"style": 1, "bigTitle": title, "bigBody": body}
    if settings.badge_class:
        drawn["badge"] = {**_badge(message), "badgeClass": settings.badge_class}
    return drawn


def _badge(message: Message) -> dict[str, int]:
    """Set beats add; a push that says neither adds one (trtc.io/document/77715)."""
    if message.badge_set is not None:
        return {"setNum": min(message.badge_set, BADGE_MAX)}
    return {"addNum": max(1, min(message.badge_add or 1, BADGE_MAX))}


def _read(batch: Batch, response: Response) -> list[Receipt]:
    """One receipt a device: the code's, unless a list names the device's token."""
    answer = _object(response.body)
    code = _code(answer.get("code"))
    outcome, known = _judged(response.status, code)
    info = _text(answer.get("message"))
    if outcome is Outcome.AUTH_EXPIRED:
        raise StaleCredential(known, info)
    told = answer.get("data")
    named = _named(told)
    is_taken = outcome is Outcome.ACCEPTED
    if is_taken and _is_in_doubt(told, named):
        outcome, is_taken = Outcome.UNKNOWN, False
    if named and (is_taken or code == PARTLY):
        return [
            _named_receipt(it, named[it.token])
            if it.token in named
            else _receipt(it, Outcome.ACCEPTED)
            for it in batch.deliveries
        ]
    if is_taken:
        return [_receipt(it, outcome) for it in batch.deliveries]
    wait_s = retry_after_s(response.headers)
    return [_receipt(it, outcome, known, info, wait_s) for it in batch.deliveries]


def _judged(status: int, code: str) -> tuple[Outcome, str]:
    """The outcome, and what decided it: the vendor's code or the bare status."""
    found = OUTCOMES.get((200, code)) if code else None
    if found is not None and (status == 200 or found not in (Outcome.ACCEPTED, Outcome.UNKNOWN)):
        return found, code
    if code and status == 200:
        # A code that nobody has heard of yet: no, at any rate.
        return Outcome.BAD_REQUEST, code
    row = OUTCOMES.get((status, ""))
    if row is None:
        row = Outcome.SERVER_ERROR if status >= 500 else Outcome.BAD_REQUEST
    return row, str(status)


def _named(told: Any) -> dict[str, str]:
    """Token to the name of the list that it stands in; in both it is dead."""
    if not isinstance(told, dict):
        return {}
    named: dict[str, str] = {}
    for name in ("failTokens", "expireTokens"):
        tokens = told.get(name)
        if isinstance(tokens, list):
            named |= {token: name for token in tokens if isinstance(token, str)}
    return named


def _is_in_doubt(told: Any, named: dict[str, str]) -> bool:
    """Whether an answer that says "taken" says something else besides, which we cannot read."""
    if told is None:
        return False
    if not isinstance(told, dict):
        return True
    lists = [told.get(name) for name in ("expireTokens", "failTokens")]
    if any(it is not None and not isinstance(it, list) for it in lists):
        return True
    return told.get("sendResult") is False and not named


def _named_receipt(delivery: Delivery, name: str) -> Receipt:
    return _receipt(delivery, OUTCOMES[200, name], name)


def _receipt(
    delivery: Delivery,
    outcome: Outcome,
    code: str = "0",
    info: str = "",
    wait_s: float | None = None,
) -> Receipt:
    return Receipt(
        device=delivery.device,
        outcome=outcome,
        code=code,
        info=info,
        retry_after_s=wait_s,
        epoch=delivery.epoch,
    )


def _denied(response: Response, answer: dict[str, Any]) -> Denied:
    if response.status in (429, 503):
        outcome = Outcome.THROTTLED
    elif response.status in (400, 401, 403, 404) or "error" in answer:
        outcome = Outcome.CREDENTIALS_WRONG
    else:
        outcome = Outcome.SERVER_ERROR
    error = answer.get("error_description") or answer.get("error")
    info = f"token service {_text(error)}".strip()[:100]
    return Denied(outcome, str(response.status), info, retry_after_s(response.headers))


def _object(body: bytes) -> dict[str, Any]:
    """The answer, or an empty one where it is no JSON object."""
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _code(value: Any) -> str:
    """Honor writes codes as numbers; some of its servers write them as texts."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        return ""
    return str(value).strip()[:32]


def _text(value: Any) -> str:
    return value[:100] if isinstance(value, str) else ""


def _is_word(value: Any) -> bool:
    """Whether it can stand in a header."""
    return isinstance(value, str) and bool(re.fullmatch(r"[\x21-\x7e]+", value))


def _life_s(value: Any) -> int:
    text = str(value)
    return int(text) if text.isascii() and text.isdigit() and len(text) < 9 else TOKEN_LIFE_S
