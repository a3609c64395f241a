"""Texts that do not fit are shortened, on every channel, in whole graphemes; nothing else is."""

from __future__ import annotations

from functools import partial

import msgspec
import pytest
import regex

from tests.unit.channels.kit import (
    OpenGate,
    ScriptedHttp,
    delivery,
    driver,
    first_step,
    given,
    kit_of,
    message,
    settings_of,
)
from tests.unit.channels.kit_apns import apns_settings
from tests.unit.channels.kit_fcm import fcm_settings
from tests.unit.channels.kit_xiaomi import xiaomi_settings
from tocsin.channels.registry import VENDORS, ListVendor, SingleVendor
from tocsin.channels.shared_texts import fitted, packed_within
from tocsin.channels.vendors import apns, fcm, huawei, xiaomi
from tocsin.conversation import Delivery, Fault, Request, Response
from tocsin.domain.message import AndroidPart, ApplePart, LiveActivity, Message
from tocsin.domain.outcome import Outcome, Receipt

AnyVendor = SingleVendor | ListVendor
each_vendor = pytest.mark.parametrize("vendor", VENDORS, ids=lambda vendor: vendor.NAME)

FAMILY = "👨‍👩‍👧‍👦"
LETTERS = ("长", "x", '"', "\n", FAMILY, "🇨🇳", "e\u0301", "👍🏽", "각", "क्षि")


def size(one: Delivery) -> int:
    """What a vendor would count that takes nothing but texts and Ext."""
    told = one.message
    return len(msgspec.json.encode([told.title, told.desc, told.apple.subtitle, told.ext]))


def is_whole(short: str, text: str) -> bool:
    """Whether it is the text's first graphemes and an ellipsis."""
    kept = regex.findall(r"\X", short.removesuffix("..."))
    return short.endswith("...") and kept == regex.findall(r"\X", text)[: len(kept)]


def test_what_fits_is_left_as_it_is() -> None:
    one = delivery(message=message(desc="x" * 50))
    assert fitted(one, size, size(one)) is one


@pytest.mark.evidence(
    "a text that does not fit is shortened on all ten channels, as little as may be, and "
    "nothing else is",
    topic="Channels and sandbox",
    planted="one letter less kept; the title first; APNs not shortening",
)
@pytest.mark.parametrize("letter", LETTERS)
def test_the_text_gives_way_and_is_as_long_as_fits(letter: str) -> None:
    desc = letter * 300
    one = delivery(message=message(desc=desc, ext="e" * 40))
    for room in range(80, 200):
        fits = fitted(one, size, room)
        assert fits is not None
        short = fits.message.desc
        assert size(fits) <= room
        assert is_whole(short, desc)
        assert (fits.message.title, fits.message.ext) == ("Hello", "e" * 40)
        longer = short.removesuffix("...") + letter + "..."
        told = msgspec.structs.replace(one.message, desc=longer)
        assert size(msgspec.structs.replace(one, message=told)) > room


@pytest.mark.evidence(
    "a text that does not fit is shortened on all ten channels, as little as may be, and "
    "nothing else is",
)
def test_the_title_gives_way_last_and_data_never() -> None:
    told = message(title="t" * 40, desc="d" * 40, ext="e" * 40, apple=ApplePart(subtitle="s" * 40))
    one = delivery(message=told)
    kept = []
    for room in (150, 120, 90):
        fits = fitted(one, size, room)
        assert fits is not None
        kept.append((len(fits.message.title), len(fits.message.apple.subtitle)))
        assert len(fits.message.ext) == 40
    assert [kept[0], kept[1][0]] == [(40, 40), 40]
    assert kept[1][1] < 40
    assert kept[2][0] < 40
    assert fitted(one, size, 50) is None
    assert packed_within(one, lambda it: bytes(size(it)), 50) is None


def test_a_short_text_is_not_made_longer_by_its_ellipsis() -> None:
    one = delivery(message=message(title="ab", desc="cd", ext="e" * 100))
    assert fitted(one, size, size(one) - 1) is None
    told = msgspec.structs.replace(one.message, title="t" * 40)
    one = msgspec.structs.replace(one, message=told)
    fits = fitted(one, size, size(one) - 1)
    assert fits is not None
    assert (fits.message.title, fits.message.desc) == ("t" * 36 + "...", "cd")


# every vendor


def request_of(vendor: AnyVendor, told: Message) -> Request:
    made = first_step(vendor, settings_of(vendor), delivery(message=told))
    assert isinstance(made, Request), vendor.NAME
    return made


@pytest.mark.evidence(
    "a text that does not fit is shortened on all ten channels, as little as may be, and "
    "nothing else is",
)
@each_vendor
@pytest.mark.parametrize("letter", LETTERS)
def test_every_vendor_is_sent_a_long_text_shortened(vendor: AnyVendor, letter: str) -> None:
    ext = '{"order":77}'
    long = request_of(vendor, message(desc=letter * 1400 + "z" * 4000, ext=ext))
    assert long.is_shortened
    assert not request_of(vendor, message(ext=ext)).is_shortened


@each_vendor
def test_every_vendor_is_sent_a_long_title_shortened(vendor: AnyVendor) -> None:
    for told in (message(title="长" * 1400), message(title="长" * 1400, desc="")):
        assert request_of(vendor, told).is_shortened


@each_vendor
def test_data_that_alone_are_too_large_are_not_sent(vendor: AnyVendor) -> None:
    told = message(desc="长" * 1400, ext="x" * 9000)
    made = first_step(vendor, settings_of(vendor), delivery(message=told))
    assert isinstance(made, Receipt)
    assert (made.outcome, made.code, made.is_shortened) == (Outcome.TOO_LARGE, "-7", False)


def said(answer: Response | Fault, request: Request) -> Response | Fault:
    del request
    return answer


@pytest.mark.evidence(
    "… and the books say to whom, after a merge too",
    topic="Channels and sandbox",
    planted="refused devices marked; the block not written; the member left out of the "
    "fold; every request marked",
)
@each_vendor
async def test_the_receipts_say_it_of_whom_it_may_have_reached(vendor: AnyVendor) -> None:
    refused = kit_of(vendor).refusal(503, "")
    lost = Fault("maybe_sent", "reset")
    told = given(vendor, 1, message=message(desc="长" * 1400, ext=""))
    for answer, is_told in ((kit_of(vendor).accepted, True), (lost, True), (refused, False)):
        one = driver(vendor, ScriptedHttp(partial(said, answer)))
        receipts = await one.deliver(told, OpenGate())
        assert {it.is_shortened for it in receipts} == {is_told}
        await one.close()


# what is special


def test_apple_shortens_subtitles_and_what_a_live_activity_says() -> None:
    activity = LiveActivity(id="a", event="update", content_state={"text": "长" * 500})
    for apple in (
        ApplePart(subtitle="长" * 1400),
        ApplePart(title="长" * 1400),
        ApplePart(live_activity=activity),
    ):
        one = delivery(message=message(desc="长" * 1400, apple=apple), live_token="ab")
        one = msgspec.structs.replace(one, live_token="ab" if apple.live_activity else "")
        told = msgspec.structs.replace(one.message, apple=apple)
        made = first_step(apns, apns_settings(), msgspec.structs.replace(one, message=told))
        assert isinstance(made, Request)
        assert made.is_shortened
        assert len(made.body) <= 4096
        body = msgspec.json.decode(made.body)
        if apple.live_activity:
            assert body["aps"]["content-state"] == {"text": "长" * 500}


def test_a_text_that_unfolds_at_huawei_is_shortened_in_both_places() -> None:
    ext = "x" * 1000
    told = message(desc="长" * 600, ext=ext, android=AndroidPart(is_big_text=True))
    body = msgspec.json.decode(request_of(huawei, told).body)["message"]
    drawn = body["android"]["notification"]
    assert drawn["big_body"] == body["notification"]["body"]
    assert body["notification"]["body"].endswith("长...")
    assert msgspec.json.decode(body["data"])["ext"] == ext
    del body["token"]
    assert 4090 < len(msgspec.json.encode(body)) <= 4096


@pytest.mark.parametrize("mode", ["notification", "data"])
def test_google_is_sent_no_more_json_than_its_limit_as_long_as_texts_can_help(mode: str) -> None:
    told = message(desc='"' * 4000, ext='"' * 1000)
    made = first_step(fcm, fcm_settings(mode=mode), delivery(message=told))
    assert isinstance(made, Request)
    body = msgspec.json.decode(made.body)["message"]
    parts = [body["data"], body.get("notification"), body["android"].get("notification")]
    assert 4090 < sum(len(msgspec.json.encode(it)) for it in parts if it) <= 4096
    # Nobody knows whether Google counts the escapes of Ext: it is not refused for them.
    many = request_of(fcm, message(ext='"' * 3500))
    assert not many.is_shortened


def test_where_xiaomi_shows_a_template_its_words_count() -> None:
    settings = xiaomi_settings(
        android_channel_id="p", private_channel_ids="p", template_id="T", template_param="{}"
    )
    fixed = first_step(xiaomi, settings, delivery(message=message(desc="长" * 1400)))
    assert isinstance(fixed, Request)
    assert not fixed.is_shortened
    filled = msgspec.structs.replace(settings, template_param='{"content":"{{Desc}}"}')
    for letters, is_shortened in ((128, False), (129, True)):
        told = message(desc="长" * letters)
        made = first_step(xiaomi, filled, delivery(message=told))
        assert isinstance(made, Request)
        assert made.is_shortened is is_shortened
