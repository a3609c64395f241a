"""docs/clients.md and the examples say what the code says."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.architecture.tree import REPO
from tests.unit.channels.kit import AUTHORITY, NOW, delivery
from tests.unit.channels.kit_apns import apns_settings
from tests.unit.channels.kit_fcm import fcm_settings
from tocsin.api.devices import BODY_MAX_BYTES, PollRequest, ReportRequest
from tocsin.channels.registry import VENDORS
from tocsin.channels.vendors import apns, fcm
from tocsin.client import device as client
from tocsin.conversation import Request
from tocsin.domain.account import NAME_MAX_BYTES
from tocsin.domain.device import LIVE_TOKENS_MAX
from tocsin.domain.hello import (
    KNOWN_MAX,
    REGISTRATION_ID_MAX_BYTES,
    TOKEN_MAX_BYTES,
    DeviceFacts,
    GivenRoute,
    Hello,
)
from tocsin.domain.message import ApplePart, Message
from tocsin.domain.task import OVERWRITE_SUFFIX
from tocsin.domain.usersig import TOKEN_MAX_CHARS
from tocsin.errors import CODES
from tocsin.online import session
from tocsin.online.frames import FRAME_MAX_BYTES
from tocsin.online.hub import OnlineSettings
from tocsin.pipeline.register import DoorSettings

PAGE = (REPO / "docs/clients.md").read_text(encoding="utf-8")
EXAMPLES = REPO / "examples"
RHYTHM = session.SessionLimits()


def rows(heading: str) -> list[list[str]]:
    """The cells of the first table below a heading, without its head."""
    section = re.split(rf"^##+ {heading}$", PAGE, maxsplit=1, flags=re.MULTILINE)[1]
    lines = section[section.index("\n|") :].strip().split("\n\n", 1)[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def numbers(text: str) -> set[int]:
    return {int(it) for it in re.findall(r"\b\d{4,6}\b", text)}


# codes

WAYS = (
    "api/devices.py",
    "domain/device.py",
    "domain/names.py",
    "domain/usersig.py",
    "online/frames.py",
    "online/hub.py",
    "online/session.py",
    "pipeline/register.py",
    "pipeline/registration_limit.py",
)
"""What can refuse a hello or a call of a device."""


def codes_of(path: Path) -> set[int]:
    known = {row.number for row in CODES}
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    return {it for it in found if isinstance(it, int)} & known


def told_codes() -> dict[str, set[int]]:
    """The page's codes by what the client shall do."""
    told: dict[str, set[int]] = {}
    for codes, _, advice in rows("When a hello is refused"):
        what = re.match(r"\*\*(.+?)\*\*", advice)
        assert what is not None, advice
        told.setdefault(what[1], set()).update(numbers(codes))
    return told


@pytest.mark.evidence(
    "docs/clients.md has each code that a device can be answered, and the Python client and"
    " the browser's do as it says",
    topic="Clients",
    planted="a row renumbered; 800101 not forgotten; 4008 taken out of the example",
)
def test_each_code_that_a_device_can_be_answered_has_a_row() -> None:
    answered = set().union(*(codes_of(REPO / "src/tocsin" / path) for path in WAYS))
    of_reports = {90001}
    assert set().union(*told_codes().values()) == answered - of_reports


@pytest.mark.evidence(
    "docs/clients.md has each code that a device can be answered, and the Python client and"
    " the browser's do as it says",
)
def test_the_page_the_python_client_and_the_example_do_the_same_about_a_code() -> None:
    told = told_codes()
    assert set(told) == {"wait", "as new", "new UserSig", "final"}
    assert told["wait"] == client.RETRIED
    assert told["as new"] == client.FORGOTTEN
    source = (EXAMPLES / "browser/tocsin.js").read_text(encoding="utf-8")
    kept = {name: numbers(codes) for name, codes in re.findall(r"const (\w+) = \[(.+?)\];", source)}
    assert kept["PASSES"] == told["wait"]
    assert kept["AS_NEW"] == told["as new"]
    assert kept["NEW_USERSIG"] == told["new UserSig"]
    ended = {int(code) for code, _, then in rows("How a connection ends") if "ENDED" in then}
    # 1000 is the end that the client itself asked for.
    assert kept["ENDS"] == ended - {1000}
    assert client.FINAL_ENDS.keys() <= ended


@pytest.mark.evidence(
    "it has each close code, wait, limit and channel",
    topic="Clients",
    planted="a row renumbered; a limit halved; a channel misspelt",
)
def test_each_close_code_has_a_row() -> None:
    ends = {it.code for it in vars(session).values() if isinstance(it, session.CloseReason)}
    told = {int(it) for cells in rows("How a connection ends") for it in numbers(cells[0])}
    # 1006 is what a client makes of no close frame.
    assert told == ends | {1006}


# waits and limits


@pytest.mark.evidence("it has each close code, wait, limit and channel")
def test_the_waits_are_those_of_our_own_client() -> None:
    waits = [client.longest_wait_s(tries) for tries in range(7)]
    assert waits == [0.5, 1, 2, 4, 8, 16, 30]
    assert f"min({client.WAIT_MAX_S:.0f} s, {client.WAIT_BASE_S} s " in PAGE
    assert "at most 0.5, 1, 2, 4, 8, 16, then 30 seconds" in PAGE
    source = (EXAMPLES / "browser/tocsin.js").read_text(encoding="utf-8")
    assert f"WAIT_BASE_S = {client.WAIT_BASE_S};" in source
    assert f"WAIT_MAX_S = {client.WAIT_MAX_S:.0f};" in source


LIMITS = {
    "a frame": f"{FRAME_MAX_BYTES} bytes",
    "a body over HTTP": f"{BODY_MAX_BYTES} bytes",
    "frames a second": f"{RHYTHM.frames_per_s:.0f}, in bursts {RHYTHM.frames_burst:.0f}",
    "`registration_id`": f"{REGISTRATION_ID_MAX_BYTES} bytes of printable ASCII",
    "`user`": f"{NAME_MAX_BYTES} bytes of printable ASCII",
    "`usersig`": f"{TOKEN_MAX_CHARS} characters",
    "a token": f"{TOKEN_MAX_BYTES} bytes",
    "a text of `facts`": "128 characters",
    "`known`": f"{KNOWN_MAX} ids",
    "`live_tokens`, `live_start_tokens`": f"8 a hello, {LIVE_TOKENS_MAX} kept",
    "time to say hello": f"{RHYTHM.hello_s:.0f} seconds",
    "silence before the service pings": f"`idle_s`, usually {RHYTHM.idle_s:.0f} seconds",
    "time to answer it": f"{RHYTHM.reply_s:.0f} seconds",
    "a poll's `wait_s`": f"{OnlineSettings().poll_max_s:.0f} seconds",
    "new devices of one address and app": f"{DoorSettings().new_per_minute:.0f} a minute",
    "a late report": f"while the push is kept, usually {DoorSettings().tasks_kept_s / 86_400:.0f}"
    " days",
}


@pytest.mark.evidence("it has each close code, wait, limit and channel")
def test_limits_are_the_codes() -> None:
    assert {cells[0]: cells[1] for cells in rows("Limits and units")} == LIMITS
    schema = (REPO / "docs/frames.schema.json").read_text(encoding="utf-8")
    hello = msgspec.json.decode(schema)["$defs"]["Hello"]["properties"]
    assert (hello["live_tokens"]["maxProperties"], hello["live_start_tokens"]["maxProperties"]) == (
        8,
        8,
    )
    assert f"{OnlineSettings().queued_bytes_max // 1024} KiB were waiting" in PAGE


def test_the_tokens_are_those_of_channels_that_there_are() -> None:
    # That each channel has its row is for the contract suite to say: a vendor that is just begun
    # has none yet.
    channels = [f"`{it.NAME}`" for it in VENDORS]
    told = [cells[0] for cells in rows("Vendors' tokens")]
    assert told == [each for each in channels if each in told]


@pytest.mark.parametrize("form", [Hello, DeviceFacts, GivenRoute, PollRequest, ReportRequest])
def test_each_member_of_a_call_is_spoken_of(form: type[msgspec.Struct]) -> None:
    # What a device says beside: they stand in docs/frames.md with their sentences.
    beside = {"model", "system_version", "sdk_version", "push_version"}
    for name in set(form.__struct_fields__) - beside:
        assert re.search(rf'[`".]{name}[`"]', PAGE), name


# examples


def text_of(name: str) -> str:
    return (EXAMPLES / name).read_text(encoding="utf-8")


def sent_by_apple() -> set[str]:
    """The members beside `aps` that an app can find in a push."""
    shown = Message(title="t", desc="d", ext="{}", apple=ApplePart(image="https://e.com/i.png"))
    made = apns.request(apns_settings(), AUTHORITY, delivery(message=shown), NOW)
    assert isinstance(made, Request)
    payload: dict[str, Any] = msgspec.json.decode(made.body)
    assert payload["aps"]["mutable-content"] == 1
    return set(payload) - {"aps"}


def sent_by_google() -> set[str]:
    given = delivery(
        message=Message(title="t", desc="d", ext="{}"), task_id="1_2_3_4_5" + OVERWRITE_SUFFIX
    )
    made = fcm.request(fcm_settings(mode="data"), AUTHORITY, given, NOW)
    assert isinstance(made, Request)
    return set(msgspec.json.decode(made.body)["message"]["data"])


@pytest.mark.evidence(
    "the phones' examples read what the vendors are sent, and say what the calls know",
    topic="Clients",
    planted="`taskId` for `task_id`; `body` for `desc`; the ids left out of the payload",
)
def test_the_swift_examples_read_what_apple_is_sent() -> None:
    read = {
        name
        for file in ("ios/NotificationService.swift", "ios/AppDelegate.swift")
        for name in re.findall(r'userInfo\["(\w+)"\]', text_of(file))
    }
    assert {"task_id", "ext", "image"} == read
    assert read <= sent_by_apple()


@pytest.mark.evidence(
    "the phones' examples read what the vendors are sent, and say what the calls know",
)
def test_the_kotlin_example_reads_what_google_is_sent() -> None:
    source = text_of("android/TocsinMessagingService.kt")
    read = set(re.findall(r'(?:data\["|StringExtra\(")(\w+)"', source))
    assert {"id", "task_id", "ext", "replaces", "title", "desc"} == read
    assert read <= sent_by_google()


@pytest.mark.evidence(
    "the phones' examples read what the vendors are sent, and say what the calls know",
)
@pytest.mark.parametrize(
    ("file", "form"),
    [
        ("ios/Tocsin.swift", r'"([a-z_]+)":|body\["([a-z_]+)"\]'),
        ("android/TocsinMessagingService.kt", r'put\("([a-z_]+)"|body\.has\("([a-z_]+)"'),
    ],
)
def test_what_the_examples_say_are_members_of_the_calls(file: str, form: str) -> None:
    forms = (Hello, DeviceFacts, GivenRoute, ReportRequest)
    known = {name for each in forms for name in each.__struct_fields__}
    said = {"".join(found) for found in re.findall(form, text_of(file))}
    assert len(said) > 10
    assert said <= known
