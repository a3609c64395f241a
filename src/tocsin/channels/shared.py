"""Pieces of conversations that several vendors' files share: pure, like the files themselves.

What is here means the same wherever it is used. What only looks alike stays with its vendor.
"""

from __future__ import annotations

import base64
import functools
import hmac
import itertools
import re
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote, unquote_to_bytes, urlsplit

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from msgspec import Struct
from msgspec.structs import replace

from tocsin.channels.shared_keys import why_unreadable
from tocsin.conversation import (
    Authority,
    Batch,
    Delivery,
    Denied,
    LateReceipt,
    Posted,
    Request,
    Response,
    StaleCredential,
    Unanswered,
)
from tocsin.domain.message import NOTHING_SHOWN, Message
from tocsin.domain.outcome import POSTED, TOKEN_LOST, Outcome
from tocsin.domain.retry import retry_after_s
from tocsin.domain.task import push_ids

RENEW_SHARE = 0.8
"""The share of a token's life after which a new one is fetched or signed."""
NEVER_S = 10 * 365 * 86_400.0
"""The life of a secret that does not expire."""
BEARER_LIFE_S = 3600
"""The life of a bearer that does not tell its own."""
BEARER_LIFE_MIN_S = 60
SIGNATURE_LIFE_S = 3600
"""Huawei says nothing of how old a signature may be; its retries come within the hour."""
RSA_KEYS_MAX = 64
"""RSA keys that are kept as checked: one app has at most one of FCM's and one of Harmony's."""
INFO_MAX = 100
"""Characters of a vendor's own words that go into books and logs."""

REFUSALS = (400, 401, 403, 404)
"""What a token service answers that does not know us (RFC 6749, 5.2)."""

FORM = ("content-type", "application/x-www-form-urlencoded;charset=UTF-8")
JSON = ("content-type", "application/json")

_PLAIN_IN_FORMS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-~"
_NUMBER = re.compile(r"-?[0-9]{1,9}")
_EVENT = re.compile(r"[a-z_]{1,20}")
_WORD = re.compile(r"[\x21-\x7e]+")
_MILLISECONDS = re.compile(r"[0-9]{1,15}")


# tokens


def plain_token(token: str, *, separators: str = "") -> str | None:
    """A token without white space; None where it holds what no token can.

    That is nothing at all, a character that is no visible ASCII, and a mark by which the vendor
    would read one token as several: such a one would take other devices' pushes to itself.
    """
    bare = "".join(token.split())
    is_one = _WORD.fullmatch(bare) is not None and not set(bare) & set(separators)
    return bare if is_one else None


# answers


def hosts(*origins: str) -> tuple[str, ...]:
    """The host names of these addresses, each once."""
    return tuple(dict.fromkeys(urlsplit(origin).hostname or "" for origin in origins))


def json_object(body: bytes | str) -> dict[str, Any]:
    """The answer, or an empty one where it is no JSON object."""
    return some_object(body) or {}


def some_object(body: bytes | str) -> dict[str, Any] | None:
    """A JSON object, which may be empty; None for anything else."""
    found = _json(body)
    return found if isinstance(found, dict) else None


def some_list(body: bytes) -> list[Any] | None:
    """A JSON array, which may be empty; None for anything else."""
    found = _json(body)
    return found if isinstance(found, list) else None


def _json(body: bytes | str) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def text_of(value: Any) -> str:
    """A text as it may stand in books; anything else is empty."""
    return value[:INFO_MAX] if isinstance(value, str) else ""


def code_of(value: Any) -> str:
    """A vendor's number as text, whether it came as one or the other; empty if it is neither."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        return ""
    return str(value) if _NUMBER.fullmatch(str(value)) else ""


def outcome_by_status(outcomes: Mapping[tuple[int, str], Outcome], status: int) -> Outcome:
    """What a status says whose answer says no more; one without a row is judged by its hundred."""
    found = outcomes.get((status, ""))
    if found is not None:
        return found
    return Outcome.SERVER_ERROR if status >= 500 else Outcome.BAD_REQUEST


def outcome_of_code(outcomes: Mapping[tuple[int, str], Outcome], code: str) -> Outcome | None:
    """What a code means whichever status an answer carries it under."""
    rows = {known: it for (status, known), it in outcomes.items() if known and status != POSTED}
    return rows.get(code)


def raise_if_stale(found: Denied) -> None:
    """An authority that has expired is the driver's business, and no outcome."""
    if found.outcome is Outcome.AUTH_EXPIRED:
        raise StaleCredential(found.code, found.info)


def of_nobody(found: Denied) -> Denied:
    """What is meant for a device, said of a list without a name, accuses nobody."""
    if found.outcome in TOKEN_LOST or found.outcome is Outcome.UNDELIVERABLE:
        return msgspec.structs.replace(found, outcome=Outcome.BAD_REQUEST)
    return found


# messages that are saved before they are sent


def saved_now(
    saving: Generator[Request, Response, str | Denied],
) -> Generator[Request, Response, str | Denied]:
    """Save in the middle of a delivery, for a list that nothing was prepared for."""
    try:
        return (yield from saving)
    except Unanswered as fault:
        # Saving reaches no device, so there is no doubt about any.
        if fault.denied.outcome is not Outcome.UNKNOWN:
            raise
        return msgspec.structs.replace(fault.denied, outcome=Outcome.UNSENT)


def saved_name(batch: Batch) -> str:
    """What a saved message is called: under a known name some vendors answer with what they have,
    so one with less life left has another name.
    """
    return f"{batch.correlation}.{batch.language + 1}.{batch.deliveries[0].ttl_s}"


def not_saved(found: Denied) -> Denied:
    """Why there is nothing saved."""
    if found.outcome in (Outcome.ACCEPTED, Outcome.UNKNOWN):
        # It reached no device, so it may be asked for again.
        return msgspec.structs.replace(found, outcome=Outcome.SERVER_ERROR)
    return of_nobody(found)


# receipts

RECEIPTS_MAX = 50_000
"""In one call: with real tokens, more do not fit into the megabyte that a call may have."""
ESCAPES_MAX = 100_000
"""In one form: each is read by itself. A megabyte of real tokens has some 70,000."""


def read_receipts(
    outcomes: Mapping[tuple[int, str], Outcome], told: Iterable[RawReceipt], answer: Response
) -> Posted:
    """What a vendor's call says, from the members of its receipts as they came.

    Anybody may call, so it has a bound: what is beyond `RECEIPTS_MAX` counts as one unreadable.
    """
    waiting = iter(told)
    read = [_late(outcomes, it) for it in itertools.islice(waiting, RECEIPTS_MAX)]
    receipts = tuple(it for it in read if it is not None)
    is_more = next(waiting, None) is not None
    return Posted(receipts, answer, len(read) - len(receipts) + is_more)


class RawReceipt(Struct, frozen=True, kw_only=True):
    """The members of one vendor receipt, of whatever types they came."""

    code: Any
    correlation: Any
    token: Any
    at_ms: Any = msgspec.UNSET
    """Milliseconds since 1970; left out by a vendor whose receipts tell no time at all."""
    is_word: bool = False
    """The code is the name of an event, and no number."""
    kind: str = ""
    """Stands before the code in books, where a vendor's receipts have numbers of several kinds."""
    is_click: bool = False


def read_statuses(
    outcomes: Mapping[tuple[int, str], Outcome],
    body: bytes,
    read: Callable[[dict[str, Any]], RawReceipt],
    answer: bytes,
) -> Posted:
    """A call of Huawei's form, which Honor has too: `statuses`, a receipt each."""
    statuses = json_object(body).get("statuses")
    if not isinstance(statuses, list):
        return UNREADABLE
    told = (read(it if isinstance(it, dict) else {}) for it in statuses)
    return read_receipts(outcomes, told, Response(200, {}, answer))


def told_by_status(status: dict[str, Any]) -> RawReceipt:
    """A receipt of Huawei's form on Android."""
    return RawReceipt(
        code=status.get("status"),
        correlation=status.get("biTag"),
        token=status.get("token"),
        at_ms=status.get("timestamp"),
    )


def read_entries(
    outcomes: Mapping[tuple[int, str], Outcome],
    entries: Mapping[str, Any] | Sequence[Any] | None,
    read: Callable[[dict[str, Any]], RawReceipt],
    answer: bytes,
) -> Posted:
    """A call whose entries name several devices each; None where it has no entries."""
    if entries is None:
        return UNREADABLE
    listed = entries.values() if isinstance(entries, Mapping) else entries
    return read_receipts(outcomes, each_target(listed, read), Response(200, {}, answer))


def object_in_form(body: bytes, name: str) -> dict[str, Any] | None:
    """The JSON object in a field of a form; None where there is none.

    Anybody may call, so nothing but this field is read, and no more escapes than `ESCAPES_MAX`.
    """
    found = re.search(rb"(?:^|&)" + re.escape(name.encode()) + rb"=([^&]*)", body)
    if found is None or found[1].count(b"%") > ESCAPES_MAX:
        return None
    plain = unquote_to_bytes(found[1].replace(b"+", b" "))
    return some_object(plain.decode("utf-8", "replace"))


def each_target(
    entries: Iterable[Any], read: Callable[[dict[str, Any]], RawReceipt]
) -> Iterator[RawReceipt]:
    """A receipt for each device of entries that name several, in a list or between commas.

    `read` leaves them in `token` as they came. An entry that names nobody is one receipt that
    cannot be read.
    """
    for entry in entries:
        told = read(entry if isinstance(entry, dict) else {})
        named = told.token.split(",") if isinstance(told.token, str) else told.token
        listed = named if isinstance(named, list) else []
        tokens = [it.strip() if isinstance(it, str) else it for it in listed]
        for token in [it for it in tokens if it != ""] or [None]:
            yield replace(told, token=token)


def _event_of(value: Any) -> str:
    return value if isinstance(value, str) and _EVENT.fullmatch(value) else ""


def _late(outcomes: Mapping[tuple[int, str], Outcome], told: RawReceipt) -> LateReceipt | None:
    code = _event_of(told.code) if told.is_word else code_of(told.code)
    at_ms = _milliseconds(told.at_ms)
    if not code or (at_ms is None and told.at_ms is not msgspec.UNSET):
        return None
    if not isinstance(told.correlation, str) or not isinstance(told.token, str):
        return None
    code = f"{told.kind} {code}".strip()
    return LateReceipt(
        correlation=told.correlation,
        token=told.token,
        outcome=outcomes.get((POSTED, code), outcomes[POSTED, ""]),
        code=code,
        at=None if at_ms is None else at_ms / 1000,
        is_click=told.is_click,
    )


def _milliseconds(value: Any) -> int | None:
    text = str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""
    return int(text) if _MILLISECONDS.fullmatch(text) else None


UNREADABLE = Posted((), Response(400), 1)
"""What a call is worth that is not of the vendor's form; most vendors then try again."""


HUAWEI_RESULTS: dict[tuple[int, str], Outcome] = {
    (POSTED, ""): Outcome.UNDELIVERABLE,
    (POSTED, "0"): Outcome.ACCEPTED,
    # The app is not there any more; the token is not this device user's.
    (POSTED, "2"): Outcome.TOKEN_DEAD,
    (POSTED, "5"): Outcome.TOKEN_MISMATCH,
    (POSTED, "6"): Outcome.UNDELIVERABLE,
    (POSTED, "10"): Outcome.UNDELIVERABLE,
    (POSTED, "14"): Outcome.UNDELIVERABLE,
    (POSTED, "15"): Outcome.UNDELIVERABLE,
    (POSTED, "22"): Outcome.UNDELIVERABLE,
    (POSTED, "27"): Outcome.UNDELIVERABLE,
    (POSTED, "31"): Outcome.NOT_PERMITTED,
    (POSTED, "51"): Outcome.UNDELIVERABLE,
    (POSTED, "102"): Outcome.QUOTA_DAY,
    (POSTED, "144"): Outcome.BAD_REQUEST,
    (POSTED, "256"): Outcome.QUOTA_DAY,
}
"""What Huawei's receipts say, Android's and HarmonyOS's: rows of their `OUTCOMES`."""


def is_signed_by_huawei(headers: Mapping[str, str], now: float, *, user: str, key: str) -> bool:
    """Whether the head of a receipt call was made with the key that the console was given.

    `timestamp=…;nonce=…;value=…`, where the value is Base64(HMAC-SHA256(key, timestamp + nonce +
    user)). The body is not signed: a head that was overheard is good for an hour.
    """
    parts = headers.get("x-huawei-callback-id", "").split(";")
    given = dict(it.strip().partition("=")[::2] for it in parts)
    stamp, nonce = given.get("timestamp", ""), given.get("nonce", "")
    signed = f"{stamp}{nonce}{user}".encode()
    value = base64.b64encode(hmac.digest(key.encode(), signed, "sha256"))
    at_ms = _milliseconds(stamp)
    is_fresh = at_ms is not None and abs(at_ms / 1000 - now) <= SIGNATURE_LIFE_S
    return hmac.compare_digest(value, given.get("value", "").encode()) and is_fresh


def check_callback_url(url: str, bytes_max: int) -> None:
    """Where a message itself names the address: whether a vendor would take this one, or none."""
    if url and not (is_web_address(url) and len(url.encode()) <= bytes_max):
        raise ValueError(f"callback_url is not a web address of {bytes_max} bytes at most")


# messages


def json_text(value: Any) -> str:
    """JSON as a text, for members and forms that hold it as one."""
    return msgspec.json.encode(value).decode()


def both_texts(message: Message) -> tuple[str, str]:
    """Title and text where a vendor wants both: one stands in for the other."""
    title, desc = message.title.strip(), message.desc.strip()
    return title or desc, desc or title


def is_shown(message: Message) -> bool:
    """Whether there is anything to show; blanks are nothing."""
    return any(both_texts(message))


NOTHING_TO_SHOW = Denied(Outcome.NOT_PERMITTED, *NOTHING_SHOWN)
"""What a message without title and text comes to where a vendor takes notifications only."""


def is_web_address(address: str) -> bool:
    """Whether a browser would open it."""
    return urlsplit(address).scheme in ("http", "https")


def in_every_language(message: Message, holds: Callable[[Message], bool]) -> bool:
    """Whether something holds for the message's own text and for each translation."""
    return all(holds(message.translated(it)) for it in range(-1, len(message.translations)))


def custom_data(delivery: Delivery) -> dict[str, str]:
    """What the app is handed beside what is shown: Ext as it was given, and which push this is."""
    ext = delivery.message.ext
    return ({"ext": ext} if ext else {}) | push_ids(delivery.task_id)


def intent_with(intent: str, extras: Mapping[str, str]) -> str:
    """An Android intent URI with these texts as extras more, before its `end`."""
    head = intent.removesuffix(";end").removesuffix(";")
    if "#Intent" not in head:
        head += "#Intent"
    more = "".join(f";S.{name}={quote(text, safe='')}" for name, text in extras.items())
    return f"{head}{more};end"


def form_body(fields: Mapping[str, str]) -> bytes:
    """The body of a form, as `urlencode` writes it.

    That looks at each character, which for a list of a thousand tokens takes ten times as long as
    all else that is done for them; here each character that needs it is replaced in one go.
    """
    return b"&".join(_form_text(name) + b"=" + _form_text(text) for name, text in fields.items())


def _form_text(text: str) -> bytes:
    written = text.encode()
    marks = set(written.translate(None, _PLAIN_IN_FORMS))
    # The sign that all replacements begin with goes first; a blank becomes a plus, so it goes last.
    for mark in sorted(marks - {ord(" ")}, key=lambda it: it != ord("%")):
        written = written.replace(bytes((mark,)), b"%%%02X" % mark)
    return written.replace(b" ", b"+")


# authority


def client_credentials(
    origin: str, path: str, *, client_id: str, client_secret: str, now: float
) -> Generator[Request, Response, Authority | Denied]:
    """OAuth 2.0 client credentials (RFC 6749, 4.4): one form, answered with a bearer."""
    form = {
        "grant_type": "client_credentials",
        "client_id": client_id,
        "client_secret": client_secret,
    }
    response = yield Request("POST", origin, path, (FORM,), form_body(form))
    return bearer(response, now)


def bearer(
    response: Response, now: float, *, too_fast: tuple[int, ...] = (429, 503)
) -> Authority | Denied:
    """The bearer in a token service's answer, or why there is none.

    `too_fast` are the statuses that this vendor answers when it is asked too often.
    """
    answer = json_object(response.body)
    token = answer.get("access_token")
    if response.status != 200 or not isinstance(token, str) or not _WORD.fullmatch(token):
        return _no_bearer(response, answer, too_fast)
    told = code_of(answer.get("expires_in"))
    life_s = max(BEARER_LIFE_MIN_S, int(told) if told.isdigit() else BEARER_LIFE_S)
    return Authority(f"Bearer {token}", now + RENEW_SHARE * life_s, now + life_s)


def _no_bearer(response: Response, answer: Mapping[str, Any], too_fast: tuple[int, ...]) -> Denied:
    if response.status in too_fast:
        outcome = Outcome.THROTTLED
    elif _is_refusal(response) and (response.status in REFUSALS or "error" in answer):
        outcome = Outcome.CREDENTIALS_WRONG
    else:
        outcome = Outcome.SERVER_ERROR
    error = text_of(answer.get("error_description")) or text_of(answer.get("error"))
    info = f"token service {error}".strip()[:INFO_MAX]
    return Denied(outcome, str(response.status), info, retry_after_s(response.headers))


def _is_refusal(response: Response) -> bool:
    """Whether a token service itself may have refused us.

    A page of a proxy that stands between says nothing of our credential, whatever its status. In
    trouble, some services say so in the form of a refusal: {"error": "internal_failure"}.
    """
    is_its_word = response.status == 401 or some_object(response.body) is not None
    return is_its_word and response.status < 500


def no_authority(found: Denied, response: Response) -> Denied:
    """Why a vendor gives no token: it is in trouble, or we are too fast, or it does not know us."""
    if found.outcome in (Outcome.SERVER_ERROR, Outcome.THROTTLED):
        return found
    is_unclear = found.outcome in (Outcome.ACCEPTED, Outcome.UNKNOWN)
    is_wrong = _is_refusal(response) and not is_unclear
    outcome = Outcome.CREDENTIALS_WRONG if is_wrong else Outcome.SERVER_ERROR
    return msgspec.structs.replace(found, outcome=outcome)


@functools.lru_cache(maxsize=RSA_KEYS_MAX)
def rsa_key(pem: str) -> rsa.RSAPrivateKey:
    """An RSA key whose numbers were checked.

    To check them takes 27 ms of CPU, and the settings of a credential are opened again and again:
    so each of the last `RSA_KEYS_MAX` texts is checked once.
    """
    try:
        key = load_pem_private_key(pem.encode(), password=None)
    except (TypeError, ValueError):
        # The library's message quotes parts of the text, so it is not passed on.
        why = why_unreadable(pem)
        raise ValueError(f"private_key is not a PEM private key: {why}") from None
    if not isinstance(key, rsa.RSAPrivateKey):
        raise ValueError("private_key is not an RSA key")  # noqa: TRY004 - a setting's fault
    return key


def p256_key(key: object) -> ec.EllipticCurvePrivateKey:
    """The key, if it is one on P-256, which ES256 signs with (RFC 7518, 3.4)."""
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != "secp256r1":
        raise ValueError("private_key is not an EC key on P-256")
    return key
