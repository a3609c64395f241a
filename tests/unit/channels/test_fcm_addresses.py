"""How FCM is told whom a message is for, and what it hands on to Apple."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tests.unit.channels.kit import AUTHORITY, NOW, delivery, message, refusal
from tests.unit.channels.kit_fcm import fcm_settings
from tocsin.channels.vendors import fcm
from tocsin.conversation import Delivery, Request, Response
from tocsin.domain.message import ApplePart, LiveActivity, Message
from tocsin.domain.outcome import Outcome

FID = "cIwAg3ZDQ5Ge2mPbK7Yx_-"
TOKEN = FID + ":APA91b" + "x" * 134
OLD_TOKEN = "APA91b" + "x" * 134


def sent(given: Delivery, **settings: Any) -> dict[str, Any]:
    made = fcm.request(fcm_settings(**settings), AUTHORITY, given, NOW)
    assert isinstance(made, Request)
    found: dict[str, Any] = msgspec.json.decode(made.body)["message"]
    return found


def to_iphone(told: Message | None = None, mode: str = "notification") -> dict[str, Any]:
    given = delivery(token=TOKEN, platform="iPhone", message=told or message())
    return sent(given, mode=mode)


@pytest.mark.evidence(
    "a Firebase installation ID is sent as one, and no route is dropped for being one",
    topic="Vendors",
    planted="sent as a token; its INVALID_ARGUMENT told as a dead token",
)
@pytest.mark.parametrize(
    ("token", "member"),
    [
        (FID, "fid"),
        (FID.replace("_-", "AA"), "fid"),
        (TOKEN, "token"),
        (OLD_TOKEN, "token"),
        (FID[:-1], "token"),
        (FID + "A", "token"),
        (FID[:-1] + ":", "token"),
        (FID[:-1] + "\n", "token"),
        (FID + "\n", "token"),
    ],
)
def test_the_shape_of_an_address_tells_an_installation_id_from_a_token(
    token: str, member: str
) -> None:
    found = sent(delivery(token=token))
    assert {name: found.get(name) for name in ("token", "fid")} == {
        "token": None,
        "fid": None,
        member: token,
    }


def test_an_installation_id_that_google_finds_badly_written_stays() -> None:
    """It says nothing of the device: only how we named it was wrong."""
    malformed = refusal(fcm, 400, "INVALID_ARGUMENT token")
    kept = fcm.read(delivery(token=FID), malformed)
    assert (kept.outcome, kept.code) == (Outcome.UNDELIVERABLE, "400")
    assert fcm.read(delivery(token=TOKEN), malformed).outcome is not Outcome.UNDELIVERABLE
    gone = fcm.read(delivery(token=FID), refusal(fcm, 404, "UNREGISTERED"))
    assert gone.outcome is Outcome.TOKEN_DEAD


@pytest.mark.evidence(
    "every app is told which push it has: the online frame's `id` and `task_id`, and Ext as"
    " it was, beside the text of all ten vendors, wherever a click leads",
)
@pytest.mark.parametrize("is_silent", [False, True])
@pytest.mark.parametrize("mode", ["notification", "data"])
def test_an_iphone_is_told_which_push_it_has(is_silent: bool, mode: str) -> None:
    told = message(ext="{}", apple=ApplePart(is_silent=is_silent))
    given = delivery(platform="iPhone", message=told, task_id="67a_1_2_3_4")
    named = {"ext": "{}", "id": "67a_1_2_3_4", "task_id": "67a_1_2_3_4"}
    assert named.items() <= sent(given, mode=mode)["data"].items()


@pytest.mark.parametrize("platform", ["", "Android", "Web", "PC", "harmony"])
def test_whoever_is_no_apple_device_gets_no_part_of_apples(platform: str) -> None:
    assert sent(delivery(platform=platform)) == sent(delivery())


@pytest.mark.parametrize("platform", ["iPhone", "iPad", "Mac", "iOS", "ios 18", "apple"])
def test_an_apple_device_gets_apples_part(platform: str) -> None:
    assert "apns" in sent(delivery(platform=platform))


def test_an_iphone_is_told_the_lifetime_and_what_is_replaced() -> None:
    found = to_iphone()
    assert found["notification"] == {"title": "Hello", "body": "A word to all"}
    assert found["apns"] == {
        "headers": {
            "apns-push-type": "alert",
            "apns-priority": "10",
            "apns-expiration": str(int(NOW) + 3600),
            "apns-collapse-id": "t7-1",
        },
        "payload": {"aps": {}},
    }
    now_or_never = sent(delivery(platform="iPhone", ttl_s=0))
    assert now_or_never["apns"]["headers"]["apns-expiration"] == "0"


@pytest.mark.evidence(
    "an iPhone behind FCM gets Apple's part, and a repeat replaces there too",
    topic="Vendors",
    planted="no collapse id; the device's platform not handed on",
)
@pytest.mark.parametrize(
    ("parts", "aps"),
    [
        ({"badge_set": 5}, {"badge": 5}),
        ({"badge_set": 0}, {"badge": 0}),
        ({"badge_add": 5}, {}),
        ({"apple": ApplePart(sound="bell.caf")}, {"sound": "bell.caf"}),
        ({"apple": ApplePart(is_mutable=True)}, {"mutable-content": 1}),
        (
            {"apple": ApplePart(interruption_level="critical", sound="s.caf")},
            {
                "interruption-level": "critical",
                "sound": {"critical": 1, "name": "s.caf", "volume": 1.0},
            },
        ),
        (
            {"apple": ApplePart(title="Only here")},
            {"alert": {"title": "Only here", "body": "A word to all"}},
        ),
        (
            {"apple": ApplePart(subtitle="Below")},
            {"alert": {"title": "Hello", "subtitle": "Below", "body": "A word to all"}},
        ),
        # Google hands on no call and no Live Activity for us: these ring as an ordinary alert.
        ({"apple": ApplePart(is_voip=True)}, {}),
        ({"apple": ApplePart(live_activity=LiveActivity(id="a", event="update"))}, {}),
    ],
)
def test_apns_info_reaches_an_iphone_behind_google(
    parts: dict[str, Any], aps: dict[str, Any]
) -> None:
    assert to_iphone(message(**parts))["apns"]["payload"] == {"aps": aps}


def test_a_picture_is_told_to_googles_extension() -> None:
    apple = to_iphone(message(apple=ApplePart(image="https://e.com/i")))["apns"]
    assert apple["fcm_options"] == {"image": "https://e.com/i"}
    assert apple["payload"] == {"aps": {"mutable-content": 1}}


def test_ios_draws_what_has_a_text_in_data_mode_too() -> None:
    found = to_iphone(mode="data")
    assert "notification" not in found
    assert found["data"]["desc"] == "A word to all"
    assert found["apns"]["payload"]["aps"]["alert"] == {"title": "Hello", "body": "A word to all"}
    assert found["apns"]["headers"]["apns-collapse-id"] == "t7-1"


def test_a_title_that_is_only_apples_is_shown_there() -> None:
    found = to_iphone(Message(apple=ApplePart(title="Only here")))
    assert "notification" not in found
    assert found["apns"]["payload"] == {"aps": {"alert": {"title": "Only here"}}}


@pytest.mark.parametrize(
    "told", [message(apple=ApplePart(is_silent=True)), Message(ext="{}")], ids=["asked", "empty"]
)
@pytest.mark.parametrize("mode", ["notification", "data"])
def test_what_is_silent_wakes_the_app_and_shows_nothing(told: Message, mode: str) -> None:
    found = to_iphone(told, mode)
    assert "notification" not in found
    assert "title" not in found["data"]
    assert found["apns"]["payload"] == {"aps": {"content-available": 1}}
    headers = found["apns"]["headers"]
    assert (headers["apns-push-type"], headers["apns-priority"]) == ("background", "5")
    assert "apns-collapse-id" not in headers


@pytest.mark.evidence(
    "what Apple says of an iPhone behind FCM is heard, and Windows's 406 is a rate",
    topic="Vendors",
    planted="Apple's detail not looked at; no row for 406",
)
@pytest.mark.parametrize(
    ("reason", "outcome"),
    [
        ("Unregistered", Outcome.TOKEN_DEAD),
        ("ExpiredToken", Outcome.TOKEN_DEAD),
        ("BadDeviceToken", Outcome.BAD_REQUEST),
        ("PayloadTooLarge", Outcome.BAD_REQUEST),
        ("", Outcome.BAD_REQUEST),
    ],
)
def test_apples_own_word_about_an_iphone_is_heard(reason: str, outcome: Outcome) -> None:
    kinds = "type.googleapis.com/google.firebase.fcm.v1."
    details = [
        {"@type": kinds + "FcmError", "errorCode": "INVALID_ARGUMENT"},
        {"@type": kinds + "ApnsError", "statusCode": 410, "reason": reason},
    ]
    message = "APNs device token is disabled."
    error = {"code": 400, "message": message, "status": "INVALID_ARGUMENT", "details": details}
    answer = Response(400, {}, msgspec.json.encode({"error": error}))
    assert fcm.read(delivery(token=TOKEN, platform="iPhone"), answer).outcome is outcome


def test_apples_payload_counts_towards_the_limit() -> None:
    def fits(size: int) -> bool:
        told = message(desc="", apple=ApplePart(subtitle="x" * size))
        given = delivery(platform="iPhone", message=told)
        made = fcm.request(fcm_settings(), AUTHORITY, given, NOW)
        assert isinstance(made, Request) or made.outcome is Outcome.TOO_LARGE
        return isinstance(made, Request) and not made.is_shortened

    assert fits(3700)
    assert not fits(4090)
