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
nothing. Receipts name the whole list by `biTag` and each device by its token, as at Huawei, with
numbers of Honor's own; whether and how they are signed Honor does not say.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from tocsin.channels.shared import (
    JSON,
    both_texts,
    client_credentials,
    custom_data,
    hosts,
    in_every_language,
    intent_with,
    is_shown,
    json_object,
    json_text,
    outcome_by_status,
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
from tocsin.domain.message import NO_SOUND, Message, notify_id
from tocsin.domain.outcome import POSTED, BatchReceipts, Outcome
from tocsin.domain.retry import CHINA_S, retry_after_s

NAME = "honor"

NOBODY = "BAEAAAAAB." + "0" * 64

LIMITS = Limits(
    payload_max_bytes=4096,
    devices_max=1000,
    names_deliveries=False,
    lifetime_max_s=15 * 86_400,
    # Targets, not requests; Honor raises it for nobody.
    rate_per_s=3000.0,
    in_flight_max=32,
    deadline_s=15.0,
    clock_offset_s=CHINA_S,
)

ORIGIN = "https://push-api.cloud.honor.com"
AUTH_ORIGIN = "https://iam.developer.honor.com"
HOSTS = hosts(ORIGIN, AUTH_ORIGIN)
TITLE_UNITS_MAX = 50
BODY_UNITS_MAX = 400
BADGE_MAX = 99
CLICKS = {"intent": 1, "action": 1, "url": 2, "app": 3}
"""Honor's `clickAction.type`."""


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
    (POSTED, ""): Outcome.UNDELIVERABLE,
    # What was handed through arrived at the app, or a notification at the phone.
    (POSTED, "40000001"): Outcome.ACCEPTED,
    (POSTED, "40000002"): Outcome.ACCEPTED,
    # The app is not installed; the token is not this phone's.
    (POSTED, "40000003"): Outcome.TOKEN_DEAD,
    (POSTED, "40000004"): Outcome.TOKEN_MISMATCH,
    (POSTED, "40000005"): Outcome.UNDELIVERABLE,
    (POSTED, "40000006"): Outcome.UNDELIVERABLE,
    (POSTED, "40000008"): Outcome.NOT_PERMITTED,
    # Told of a repeat too, which lost nothing: the first one has its own receipt.
    (POSTED, "40000009"): Outcome.QUOTA_DAY,
    # By night, with the screen off.
    (POSTED, "40000013"): Outcome.TIME_WINDOW,
    (POSTED, "40000014"): Outcome.UNDELIVERABLE,
    (POSTED, "40000015"): Outcome.UNDELIVERABLE,
}
"""Status and code to outcome; an empty code stands for an answer without one that is known.

A code counts whichever status carries it, but for success, which only status 200 can say.
Codes that Honor shares with Huawei and lists nowhere itself mean what they mean there.
`expireTokens` and `failTokens` are the lists that a token may stand in. Rows of `POSTED` are the
statuses of receipts; Honor's own list is not public, so these are from two push providers.
"""

HINTS = {
    "token service": "compare client_id and client_secret with Honor's console",
    "10205": "app_id is not the app's that client_id belongs to",
    "10207": "set this machine's clock: Honor refuses the time in our requests",
    "80200022": "apply for this class of push in Honor's console, or send another importance",
    "404": "app_id is no app",
}

PARTLY = "80100000"


def normal_token(token: str) -> str | None:
    """Honor publishes no form: any visible ASCII, in the case that it is told in."""
    return plain_token(token)


def replaces(settings: Settings, message: Message) -> bool:  # noqa: ARG001 - the common shape
    """A notification replaces by its number; what is handed through wakes the app each time."""
    return in_every_language(message, is_shown)


def authorize(settings: Settings, now: float) -> Generator[Request, Response, Authority | Denied]:
    return (
        yield from client_credentials(
            AUTH_ORIGIN,
            "/auth/token",
            client_id=settings.client_id,
            client_secret=settings.client_secret,
            now=now,
        )
    )


def made_of(settings: Settings, auth_origin: str) -> tuple[str, ...]:
    return (settings.client_id, settings.client_secret, auth_origin)


def deliver(
    settings: Settings, credential: Authority, batch: Batch, now: float
) -> Generator[Request, Response, BatchReceipts]:
    first, limit = batch.deliveries[0], LIMITS.payload_max_bytes
    fits = fitted_json(first, lambda it: _content(settings, it, batch.correlation), limit)
    if fits is None:
        return batch.came_to(too_large(limit))
    content = _content(settings, fits, batch.correlation)
    tokens = tokens_of(batch.deliveries)
    response = yield Request(
        "POST",
        ORIGIN,
        f"/api/v1/{settings.app_id}/sendMessage",
        (
            ("authorization", credential.value),
            JSON,
            ("timestamp", str(int(now * 1000))),
        ),
        msgspec.json.encode({**content, "token": tokens}),
        is_shortened=_texts(fits.message) != both_texts(first.message),
    )
    return _read(batch, response)


def report(headers: Mapping[str, str], body: bytes) -> Posted:  # noqa: ARG001 - the common shape
    return read_statuses(OUTCOMES, body, told_by_status, b'{"code":200,"message":"success"}')


def _content(settings: Settings, first: Delivery, correlation: str) -> dict[str, Any]:
    """Everything but the tokens, which do not count towards the size."""
    message = first.message
    android: dict[str, Any] = {"ttl": f"{_ttl_s(first)}s"}
    if correlation:
        android["biTag"] = correlation
    if settings.target_user == "test" or first.is_trial:
        android["targetUserType"] = 1
    if not is_shown(message):
        return {"data": json_text(custom_data(first)), "android": android}
    click = _click(settings, first)
    if "intent" not in click:
        android["data"] = json_text(custom_data(first))
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
    """Title and text as Honor bears them; it wants both."""
    return texts_within(message, TITLE_UNITS_MAX, BODY_UNITS_MAX)


def _click(settings: Settings, delivery: Delivery) -> dict[str, Any]:
    action: dict[str, Any] = {"type": CLICKS[settings.click]}
    if settings.click == "intent":
        action["intent"] = intent_with(settings.click_target, custom_data(delivery))
    elif settings.click != "app":
        action[settings.click] = settings.click_target
    return action


def _drawn(settings: Settings, message: Message) -> dict[str, Any]:
    """What Honor is told about the notification besides its text."""
    part = message.android
    drawn: dict[str, Any] = {}
    is_silent = part.sound == NO_SOUND
    importance = part.honor_importance or ("LOW" if is_silent else settings.importance)
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


def _read(batch: Batch, response: Response) -> BatchReceipts:
    """One receipt a device: the code's, unless a list names the device's token."""
    answer = json_object(response.body)
    code = _code(answer.get("code"))
    outcome, known = _judged(response.status, code)
    info = text_of(answer.get("message"))
    if outcome is Outcome.AUTH_EXPIRED:
        raise StaleCredential(known, info)
    told = answer.get("data")
    named = _named(told)
    is_taken = outcome is Outcome.ACCEPTED
    if is_taken and _is_in_doubt(told, named):
        outcome, is_taken = Outcome.UNKNOWN, False
    if named and (is_taken or code == PARTLY):
        of_lists = {token: _found(name) for token, name in named.items()}
        return batch.came_by_token(of_lists, ACCEPTED)
    if is_taken:
        return batch.came_to(ACCEPTED)
    return batch.came_to(Denied(outcome, known, info, retry_after_s(response.headers)))


def _found(name: str) -> Denied:
    """What the list of this name says of a token."""
    return Denied(OUTCOMES[200, name], name, "")


def _judged(status: int, code: str) -> tuple[Outcome, str]:
    """The outcome, and what decided it: the vendor's code or the bare status."""
    found = OUTCOMES.get((200, code)) if code else None
    if found is not None and (status == 200 or found not in (Outcome.ACCEPTED, Outcome.UNKNOWN)):
        return found, code
    if code and status == 200:
        # A code that nobody has heard of yet: no, at any rate.
        return Outcome.BAD_REQUEST, code
    return outcome_by_status(OUTCOMES, status), str(status)


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


def _code(value: Any) -> str:
    """Honor writes codes as numbers; some of its servers write them as texts."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        return ""
    return str(value).strip()[:32]
