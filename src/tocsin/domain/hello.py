"""The request of a device that registers: one shape with its bounds, on the wire and in the rules.

The WebSocket and plain HTTP read the request from JSON; `docs/frames.md` shows the sentence of each
member. Bounds here count characters; the registrar counts the bytes of names and tokens too.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from tocsin.domain.usersig import TOKEN_MAX_CHARS

TOKEN_MAX_BYTES = 1024
REGISTRATION_ID_MAX_BYTES = 64
KNOWN_MAX = 100
"""Ids of pushes that a resuming client may list."""
LIVE_TOKENS_SENT_MAX = 8
"""Tokens of Live Activities that one hello may name, and as many push-to-start tokens."""

Word = Annotated[str, Meta(max_length=128)]
PushId = Annotated[str, Meta(min_length=1, max_length=160)]
Token = Annotated[str, Meta(max_length=TOKEN_MAX_BYTES)]
RegistrationId = Annotated[str, Meta(max_length=REGISTRATION_ID_MAX_BYTES)]
Secret = Annotated[str, Meta(max_length=128)]
SdkAppId = Annotated[int, Meta(ge=0, le=2**32 - 1)]


def described(sentence: str) -> Meta:
    """The sentence about a member that the published schema shows."""
    return Meta(description=sentence)


class GivenRoute(Struct, frozen=True):
    """A vendor's address of this device."""

    channel: Annotated[
        str,
        Meta(min_length=1, max_length=32),
        described("Name of the vendor's channel: `apns`, `fcm`, `webpush` and so on."),
    ]
    credential: Annotated[
        int,
        Meta(ge=1, le=2**31 - 1),
        described(
            "Certificate ID: the number that the credential of this app and channel was given."
        ),
    ]
    token: Annotated[
        str,
        Meta(min_length=1, max_length=TOKEN_MAX_BYTES),
        described(
            "The vendor's token of this device; of Web Push the subscription as JSON text. At most "
            "1024 bytes."
        ),
    ]
    environment: Annotated[
        str,
        Meta(max_length=32),
        described(
            "Which of the vendor's services the token comes from: `production`, or `development` "
            "for an app that Xcode has started."
        ),
    ] = "production"


class DeviceFacts(Struct, frozen=True, kw_only=True):
    """Facts about the device; an absent member stays as stored."""

    language: Annotated[
        Word | None,
        described("Language of the person, a BCP 47 tag: chooses among a push's languages."),
    ] = None
    platform: Annotated[
        Word | None,
        described("`iPhone`, `iPad`, `Android`, `Web`, `PC` or `Mac`; any other is kept."),
    ] = None
    model: Annotated[Word | None, described("Model of the device, such as `iPhone17,1`.")] = None
    system_version: Annotated[
        Word | None, described("Version of the operating system, of a page that of the browser.")
    ] = None
    sdk_version: Annotated[
        Word | None, described("Version of the app's library for this service, if it has one.")
    ] = None
    push_version: Annotated[
        Word | None, described("Version of the vendor's library in the app, if it has one.")
    ] = None
    is_notify_on: Annotated[
        bool | None,
        described(
            "Whether the system lets the app show notifications. It is kept; pushes are sent all "
            "the same."
        ),
    ] = None
    badge: Annotated[
        Annotated[int, Meta(ge=0, le=999_999)] | None,
        described("The number on the app's icon now: what `BadgeAddNum` of later pushes adds to."),
    ] = None


class RegistrationRequest(Struct, frozen=True, kw_only=True):
    """The members of a registration, which a device sends and the rules take."""

    user: Annotated[
        Word, described("UserID that logs in on this device, printable ASCII of at most 32 bytes.")
    ] = ""
    registration_id: Annotated[
        RegistrationId,
        described(
            "Empty the first time: the service makes one. Later the one of `registered`. An own "
            "name is taken only where the app allows it, with the app's prefix."
        ),
    ] = ""
    secret: Annotated[
        Secret,
        described(
            "The secret of the first `registered`, sent with `registration_id` from then on."
        ),
    ] = ""
    is_logout: Annotated[
        bool,
        described(
            "True: log out the UserID of this device. False without `user`: the UserID that is "
            "logged in stays logged in."
        ),
    ] = False
    route: Annotated[
        GivenRoute | None,
        described("The vendor's token of this device; absent: the stored one stays."),
    ] = None
    voip_token: Annotated[
        Token | None,
        described("Apple's token for calls; empty: remove it, absent: the stored one stays."),
    ] = None
    live_tokens: Annotated[
        dict[Word, Token],
        Meta(max_length=LIVE_TOKENS_SENT_MAX),
        described("Live Activity id to its push token; an empty token removes one."),
    ] = {}
    live_start_tokens: Annotated[
        dict[Word, Token],
        Meta(max_length=LIVE_TOKENS_SENT_MAX),
        described(
            "Type of a Live Activity's attributes to its push-to-start token; empty removes one."
        ),
    ] = {}
    facts: Annotated[DeviceFacts, described("Facts about the device.")] = DeviceFacts()


class Hello(RegistrationRequest, frozen=True, kw_only=True, tag="hello"):
    """The first frame: identifies the device by appKey, or by UserID and UserSig."""

    sdkappid: Annotated[SdkAppId, described("The app.")]
    appkey: Annotated[
        str,
        Meta(max_length=256),
        described("The app's client key: the proof of a device on which no UserID logs in."),
    ] = ""
    usersig: Annotated[
        str,
        Meta(max_length=TOKEN_MAX_CHARS),
        described("The UserSig of `user`, made by the app's own server: the proof of a login."),
    ] = ""
    known: Annotated[
        tuple[PushId, ...],
        Meta(max_length=KNOWN_MAX),
        described(
            "Resume: ids of pushes that this device has shown, the newest that it remembers."
        ),
    ] = ()
