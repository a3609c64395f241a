"""The form of Xiaomi's `message/regid`: which parameters it has, within which bounds.

dev.mi.com, pages 1559 (parameters), 1560 (codes) and 1656 (classes), read 2026-11. The pages give
no code for each rule; the nearest of the list is used, 10017 for a value that is not allowed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from tocsin.sandbox.app_data import extras

TARGETS_MAX = 1000
TITLE_CHARS_MAX = 49
DESCRIPTION_CHARS_MAX = 127
BODY_BYTES_MAX = 4096
"""Of all parameters but the targets. Xiaomi names no figure; its clients keep to 4 KB."""
NOTIFY_ID_MAX = 2_147_483_647
PUBLIC_LIFE_MS_MAX = 86_400_000
PRIVATE_LIFE_MS_MAX = 10 * 86_400_000
CUSTOM_MAX = 10
CUSTOM_CHARS_MAX = 1023
CALLBACK_BYTES_MAX = 256
CALLBACK_PARAM_BYTES_MAX = 64
TEMPLATE_VARIABLES_MAX = 9
TEMPLATE_CHARS_MAX = 128

OWN_EXTRAS = frozenset(
    (
        "channel_id",
        "template_id",
        "template_param",
        "sound_uri",
        "notify_foreground",
        "notify_effect",
        "intent_uri",
        "web_uri",
        "notification_style_type",
        "notification_large_icon_uri",
        "notification_bigPic_uri",
        "callback",
        "callback.param",
        "callback.type",
        "jobkey",
        "only_send_once",
        "flow_control",
        "connpt",
        "locale",
        "model",
        "app_version",
    )
)
"""Extras that Xiaomi reads itself; every other one is the sender's own."""

_NUMBER = re.compile(r"-?[0-9]{1,18}")
_EMOJI = re.compile("[\U0001f000-\U0001faff\u2600-\u27bf\u2b00-\u2bff\u200d\ufe0f\u20e3]")

Form = dict[str, str]


class XiaomiFault(Struct, frozen=True):
    """A rule that was broken."""

    code: int
    where: str


class XiaomiRules(Struct, frozen=True):
    """What the app is allowed."""

    package_name: str
    channels: Mapping[str, bool]
    templates: tuple[str, ...]


def faults(form: Form, rules: XiaomiRules, version: int) -> Iterator[XiaomiFault]:
    """Every rule that a form breaks; the first one is what Xiaomi answers."""
    for name in ("registration_id", "restricted_package_name", "title", "description"):
        if name not in form:
            yield XiaomiFault(10016, name)
            return
    yield from _targets(form, rules, version)
    yield from _texts(form)
    yield from _numbers(form)
    yield from _class(form, rules)
    yield from _click(form)
    yield from _looks(form, rules)
    yield from _callback(form)
    yield from _custom(form)


def app_data(form: Form) -> dict[str, str]:
    """What the app is handed: its payload, the sender's own extras, and the intent's."""
    payload = {"payload": form["payload"]} if "payload" in form else {}
    return payload | extras(form.get("extra.intent_uri")) | _own(form)


def _own(form: Form) -> dict[str, str]:
    """The extras that Xiaomi does not read itself."""
    extra = {name: text for name, text in form.items() if name.startswith("extra.")}
    named = {name.removeprefix("extra."): text for name, text in extra.items()}
    return {name: text for name, text in named.items() if name not in OWN_EXTRAS}


def _targets(form: Form, rules: XiaomiRules, version: int) -> Iterator[XiaomiFault]:
    tokens = form["registration_id"].split(",")
    if not all(tokens) or len(tokens) > TARGETS_MAX or len(set(tokens)) < len(tokens):
        yield XiaomiFault(10017, "registration_id")
    packages = form["restricted_package_name"].split(",")
    if rules.package_name not in packages or (version == 2 and len(packages) > 1):
        yield XiaomiFault(22022, "restricted_package_name")


def _texts(form: Form) -> Iterator[XiaomiFault]:
    for name, limit in (("title", TITLE_CHARS_MAX), ("description", DESCRIPTION_CHARS_MAX)):
        if not form[name].strip():
            yield XiaomiFault(10017, name)
        if _units(form[name]) > limit:
            yield XiaomiFault(65009, name)
    sizes = {name: len(name) + len(text.encode()) for name, text in form.items()}
    if sum(sizes.values()) - sizes["registration_id"] > BODY_BYTES_MAX:
        yield XiaomiFault(65009, "payload")


def _numbers(form: Form) -> Iterator[XiaomiFault]:
    allowed: dict[str, Callable[[int], bool]] = {
        # Data messages were shut off in 2022-09.
        "pass_through": lambda it: it == 0,
        "notify_type": lambda it: -1 <= it <= 7,
        "notify_id": lambda it: 0 <= it <= NOTIFY_ID_MAX,
        "time_to_live": lambda it: it > 0,
        "time_to_send": lambda it: it > 0,
        "extra.notify_foreground": lambda it: it in (0, 1),
        "extra.notify_effect": lambda it: it in (1, 2, 3),
        "extra.notification_style_type": lambda it: it in (0, 1, 2),
        "extra.callback.type": lambda it: 0 < it < 2048,
        "extra.only_send_once": lambda it: it in (0, 1),
        "extra.flow_control": lambda it: it > 0,
    }
    for name, is_allowed in allowed.items():
        text = form.get(name)
        if text is not None and not (_NUMBER.fullmatch(text) and is_allowed(int(text))):
            yield XiaomiFault(10017, name)


def _class(form: Form, rules: XiaomiRules) -> Iterator[XiaomiFault]:
    """The channel, how long its pushes live, and the template of a private one."""
    channel = form.get("extra.channel_id", "")
    if channel and channel not in rules.channels:
        yield XiaomiFault(27001, "channel_id")
    is_private = rules.channels.get(channel, False)
    life_max = PRIVATE_LIFE_MS_MAX if is_private else PUBLIC_LIFE_MS_MAX
    life = form.get("time_to_live", "0")
    if _NUMBER.fullmatch(life) and int(life) > life_max:
        yield XiaomiFault(10017, "time_to_live")
    template = form.get("extra.template_id")
    if template is not None and template not in rules.templates:
        yield XiaomiFault(65036, "template_id")
    if (template is None) != ("extra.template_param" not in form):
        yield XiaomiFault(65035, "template_param")
    elif template is not None:
        yield from _template(form["extra.template_param"])


def _template(text: str) -> Iterator[XiaomiFault]:
    try:
        params = msgspec.json.decode(text, type=dict[str, str])
    except (msgspec.DecodeError, UnicodeDecodeError):
        yield XiaomiFault(65037, "template_param")
        return
    is_short = all(1 <= _units(value) <= TEMPLATE_CHARS_MAX for value in params.values())
    if len(params) > TEMPLATE_VARIABLES_MAX or not is_short:
        yield XiaomiFault(65037, "template_param")
    if any(_EMOJI.search(value) for value in params.values()):
        yield XiaomiFault(65038, "template_param")


def _click(form: Form) -> Iterator[XiaomiFault]:
    effect = form.get("extra.notify_effect")
    if effect == "2" and not form.get("extra.intent_uri", "").startswith("intent:"):
        yield XiaomiFault(10017, "intent_uri")
    if effect == "3" and not _is_web(form.get("extra.web_uri", "")):
        yield XiaomiFault(10017, "web_uri")


def _looks(form: Form, rules: XiaomiRules) -> Iterator[XiaomiFault]:
    sound = form.get("extra.sound_uri")
    place = f"android.resource://{rules.package_name}/raw/"
    if sound is not None and (not sound.startswith(place) or sound == place):
        yield XiaomiFault(10017, "sound_uri")
    is_picture = form.get("extra.notification_style_type") == "2"
    if is_picture and not form.get("extra.notification_bigPic_uri"):
        yield XiaomiFault(10017, "notification_bigPic_uri")


def _callback(form: Form) -> Iterator[XiaomiFault]:
    address = form.get("extra.callback")
    if address is not None:
        if not _is_web(address) or len(address.encode()) > CALLBACK_BYTES_MAX:
            yield XiaomiFault(10017, "callback")
    elif "extra.callback.param" in form or "extra.callback.type" in form:
        yield XiaomiFault(10017, "callback")
    if len(form.get("extra.callback.param", "").encode()) > CALLBACK_PARAM_BYTES_MAX:
        yield XiaomiFault(10017, "callback.param")


def _custom(form: Form) -> Iterator[XiaomiFault]:
    own = _own(form)
    size = sum(_units(name) + _units(text) for name, text in own.items())
    if len(own) > CUSTOM_MAX or size > CUSTOM_CHARS_MAX:
        yield XiaomiFault(65009, "extra")


def _is_web(address: str) -> bool:
    try:
        parts = urlsplit(address)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.netloc)


def _units(text: str) -> int:
    """Characters as Java counts them."""
    return len(text.encode("utf-16-le")) // 2
