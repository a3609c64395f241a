"""The members of OfflinePushInfo, as docs/commands.md describes them; `wire_info.py` reads them.

Meanings: trtc.io/document/77715 (read 2026-11). What each vendor makes of a member stands in
docs/channels.
"""

from __future__ import annotations

from tocsin.api.commands.field import Field
from tocsin.api.wire_info import LIVE_ID_MAX_BYTES

WRONG = 90043
"""The code of a member of the wrong kind."""
BEYOND = 90001
"""The code of a value outside its set or range."""


def _text(name: str, says: str) -> Field:
    return Field(name=name, kind="text", says=says, wrong=WRONG)


def _texts(name: str, says: str) -> tuple[Field, Field]:
    texts = Field(name=name, kind="object", says=says, wrong=WRONG)
    value = Field(name=f"{name}.*", kind="text or number", says="a value", wrong=WRONG)
    return texts, value


def _https(name: str, says: str) -> Field:
    return Field(name=name, kind="text", says=says, begins="https://", wrong=WRONG, beyond=BEYOND)


def _one_of(name: str, says: str, *choices: str) -> Field:
    return Field(name=name, kind="text", says=says, choices=choices, wrong=WRONG, beyond=BEYOND)


def _number(name: str, says: str, *choices: int) -> Field:
    return Field(name=name, kind="integer", says=says, choices=choices, wrong=WRONG, beyond=BEYOND)


def _digit(name: str, says: str, *choices: int) -> Field:
    return Field(
        name=name, kind="integer or digit", says=says, choices=choices, wrong=WRONG, beyond=BEYOND
    )


def _flag(name: str, says: str) -> Field:
    return _number(name, says, 0, 1)


def _within(name: str, says: str, least: int, most: int) -> Field:
    return Field(
        name=name, kind="integer", says=says, least=least, most=most, wrong=WRONG, beyond=BEYOND
    )


def _object(name: str, says: str, *, is_needed: bool = False) -> Field:
    return Field(name=name, kind="object", says=says, is_needed=is_needed, wrong=WRONG)


_LIVE = "ApnsInfo.LiveActivity"
_SECONDS_MAX = 2**53 - 1

INFO_FIELDS: tuple[Field, ...] = (
    _flag("PushFlag", "0 (default): online first, else by a vendor; 1: never by a vendor"),
    _text("Title", "title on every vendor's devices"),
    _text("Desc", "text on every vendor's devices"),
    Field(
        name="MultiLanguageContent",
        kind="list",
        says="titles and texts by the language of the device; no match: `Title` and `Desc`",
        wrong=WRONG,
    ),
    _text("MultiLanguageContent[].Language", "language tag, as `en` or `zh-Hant`"),
    _text("MultiLanguageContent[].Title", "the title in this language"),
    _text("MultiLanguageContent[].Desc", "the text in this language"),
    _text("Ext", "text for the app, handed on unread; several vendors want JSON in it"),
    _within("BadgeAddNum", "adds to the badge", 1, 99),
    _within("BadgeSetNum", "sets the badge; beats `BadgeAddNum`", 0, 999),
    _text("PushTemplateId", "not served: every value but an empty text is refused"),
    *_texts("PushTemplateParam", "read, and without use: templates are not served"),
    _object("AndroidInfo", "for Android's vendors; a value here beats the credential's"),
    _text("AndroidInfo.Sound", "sound file in the app's raw resources, without its extension"),
    _flag("AndroidInfo.PushStyle", "1: large text (Huawei, Honor, OPPO, Xiaomi)"),
    _text("AndroidInfo.HuaWeiChannelID", "notification channel on Huawei"),
    _one_of("AndroidInfo.HuaWeiImportance", "importance on Huawei", "LOW", "NORMAL"),
    _text("AndroidInfo.HuaWeiCategory", "message class on Huawei, as `IM`"),
    _https("AndroidInfo.HuaWeiImage", "picture on Huawei"),
    _flag("AndroidInfo.ExtAsHuaweiIntentParam", "1: `Ext` goes into the intent on Huawei"),
    _one_of("AndroidInfo.HonorImportance", "importance on Honor", "LOW", "NORMAL"),
    _https("AndroidInfo.HonorImage", "picture on Honor"),
    _text("AndroidInfo.XiaoMiChannelID", "notification channel on Xiaomi"),
    _text("AndroidInfo.OPPOChannelID", "notification channel on OPPO"),
    _text("AndroidInfo.OPPOCategory", "message class on OPPO"),
    _number(
        "AndroidInfo.OPPONotifyLevel",
        "on OPPO 1: list; 2: lock screen too; 16: banner, vibration and sound too",
        *(1, 2, 16),
    ),
    _text("AndroidInfo.OPPOPrivateMsgTemplateId", "template on OPPO"),
    *_texts("AndroidInfo.OPPOPrivateTitleParameters", "values for the template's title"),
    *_texts("AndroidInfo.OPPOPrivateContentParameters", "values for the template's text"),
    _digit("AndroidInfo.VIVOClassification", "on vivo 0: operation; 1: system", 0, 1),
    _text("AndroidInfo.VIVOCategory", "message class on vivo"),
    _digit(
        "AndroidInfo.VIVONotifyType",
        "on vivo 1: silent; 2: sound; 3: vibration; 4: both",
        1,
        2,
        3,
        4,
    ),
    _text("AndroidInfo.GoogleChannelID", "notification channel on FCM"),
    _text("AndroidInfo.GoogleImage", "address of a picture on FCM"),
    _one_of("AndroidInfo.GooglePriority", "priority on FCM", "normal", "high"),
    _flag("AndroidInfo.MeiZuNoticeMsgType", "on Meizu 0: public; 1: private"),
    _object("ApnsInfo", "for Apple's devices"),
    _flag("ApnsInfo.BadgeMode", "0: counts the badge up; 1 (default): leaves the badge alone"),
    _text("ApnsInfo.Title", "title, in the place of the common one"),
    _text("ApnsInfo.SubTitle", "subtitle"),
    _text("ApnsInfo.Image", "address of a picture, for the app's service extension"),
    _flag("ApnsInfo.MutableContent", "1: lets the app's service extension change the push"),
    _text("ApnsInfo.Sound", "sound file of the app, with its extension"),
    _one_of(
        "ApnsInfo.InterruptionLevel",
        "how much the push interrupts",
        *("passive", "active", "time-sensitive", "critical"),
    ),
    _flag("ApnsInfo.ContentAvailable", "1: shows nothing and wakes the app"),
    _flag("ApnsInfo.IsVoipPush", "1: a call, to devices with a VoIP token; others show an alert"),
    _object(_LIVE, "starts, updates or ends a Live Activity"),
    Field(
        name=f"{_LIVE}.LaId",
        kind="text",
        says="the activity's id",
        is_needed=True,
        least=1,
        most=LIVE_ID_MAX_BYTES,
        unit="bytes",
        wrong=WRONG,
        beyond=BEYOND,
    ),
    Field(
        name=f"{_LIVE}.Event",
        kind="text",
        says="what happens to the activity",
        is_needed=True,
        choices=("start", "update", "end"),
        wrong=WRONG,
        beyond=BEYOND,
    ),
    _object(f"{_LIVE}.ContentState", "the state that the activity shows", is_needed=True),
    _within(f"{_LIVE}.DismissalDate", "of `end`: when it goes, Unix seconds", 0, _SECONDS_MAX),
    Field(
        name=f"{_LIVE}.AttributesType",
        kind="text",
        says="needed by `start`: the app's type of attributes",
        least=1,
        most=128,
        unit="bytes",
        wrong=WRONG,
        beyond=BEYOND,
    ),
    _object(f"{_LIVE}.Attributes", "needed by `start`: what never changes of the activity"),
    _within(f"{_LIVE}.StaleDate", "when iOS calls it out of date, Unix seconds", 0, _SECONDS_MAX),
    _object("HarmonyInfo", "for HarmonyOS"),
    _text("HarmonyInfo.Title", "title, in the place of the common one"),
    _text("HarmonyInfo.Category", "message class"),
    _https("HarmonyInfo.Image", "large icon"),
    _text("HarmonyInfo.Sound", "sound file under the app's rawfile, with its extension"),
    _within("HarmonyInfo.SoundDuration", "seconds for which the sound plays", 1, 60),
)
