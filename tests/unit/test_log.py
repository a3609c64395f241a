"""Nothing secret leaves by the log, at whatever level and however it got in."""

from __future__ import annotations

import asyncio
import dataclasses
import io
import json
import logging

import msgspec
import pytest

from tocsin import log

CANARY = "CaNaRy7Zq"


class Credential(msgspec.Struct):
    """As a vendor's settings are: some fields secret, some not."""

    team: str
    private_key: str


@dataclasses.dataclass
class Record:
    team: str
    client_secret: str


@pytest.fixture
def out() -> io.StringIO:
    """What a service at debug level writes."""
    stream = io.StringIO()
    log.configure("debug", json=False, stream=stream)
    return stream


KEYS = (
    "usersig",
    "UserSig",
    "key",
    "app_key",
    "appkey",
    "appKey",
    "AppKey",
    "private_key",
    "secret",
    "device_secret",
    "client_secret",
    "token",
    "voip_token",
    "access_token",
    "authorization",
    "Authorization",
    "password",
    "title",
    "Title",
    "desc",
    "Desc",
    "ext",
    "Ext",
    "body",
    "payload",
    "OfflinePushInfo",
    "query",
)


@pytest.mark.evidence(
    "nothing secret is logged, at debug level either",
    topic="Set-up and architecture",
    planted="key masking, query scrubbing, and hiding of quotes removed in turn",
)
@pytest.mark.parametrize("key", KEYS)
def test_a_value_is_masked_by_the_name_of_its_key(key: str, out: io.StringIO) -> None:
    logger = log.get_logger("tocsin.test")
    logger.debug("seen", **{key: CANARY})
    logger.debug("seen", nested={"deep": [{key: CANARY}]})
    logger.bind(**{key: CANARY}).info("bound")
    assert CANARY not in out.getvalue()
    assert out.getvalue().count(log.MASK) == 3


TEXTS = (
    f"POST /v4/timpush/push?sdkappid=1&identifier=admin&usersig={CANARY}&random=1",
    f"GET /v4/online?usersig={CANARY}",
    f"usersig={CANARY}&x=1",
    f"usersig: '{CANARY} two words'",
    f'{{"usersig":"{CANARY}"}}',
    f'{{"Title": "{CANARY} says \\"hi\\" {CANARY}"}}',
    f"authorization: bearer {CANARY}",
    f"Authorization=Basic {CANARY}",
    f"sent Bearer {CANARY} to the vendor",
    f"https://hooks.example.org/receive?ref={CANARY}",
    f"-----BEGIN PRIVATE KEY-----\n{CANARY}\n-----END PRIVATE KEY-----",
    f"-----BEGIN PRIVATE KEY-----\n{CANARY} cut off",
    f"/3/device/{CANARY}{'0' * 64}",
    f"eyJhbGciOi.{CANARY}.{CANARY}",
)


@pytest.mark.evidence("nothing secret is logged, at debug level either")
@pytest.mark.parametrize("text", TEXTS)
def test_a_text_is_scrubbed(text: str, out: io.StringIO) -> None:
    logger = log.get_logger("tocsin.test")
    logger.debug("called", place=text)
    logger.debug(text)
    logger.debug("called %s", text)
    logging.getLogger("uvicorn.error").info("%s", text)
    assert CANARY not in out.getvalue()


def test_structs_and_dataclasses_are_masked_by_field(out: io.StringIO) -> None:
    logger = log.get_logger("tocsin.test")
    logger.info("loaded", settings=Credential("T1", CANARY), record=Record("T2", CANARY))
    assert CANARY not in out.getvalue()
    assert "T1" in out.getvalue()
    assert "T2" in out.getvalue()


def test_bytes_are_told_by_their_length(out: io.StringIO) -> None:
    log.get_logger("tocsin.test").info("read", chunk=CANARY.encode())
    assert CANARY not in out.getvalue()
    assert f"<{len(CANARY)} bytes>" in out.getvalue()


def test_a_token_used_as_a_key_is_scrubbed(out: io.StringIO) -> None:
    log.get_logger("tocsin.test").info("dead", devices={CANARY + "0" * 64: 410})
    assert CANARY not in out.getvalue()


def fail() -> None:
    try:
        int(CANARY)
    except ValueError as error:
        raise KeyError(CANARY) from error


@pytest.mark.evidence("nothing secret is logged, at debug level either")
def test_an_exception_is_told_without_the_values_it_quotes(out: io.StringIO) -> None:
    try:
        fail()
    except KeyError:
        log.get_logger("tocsin.test").exception("failed")
        logging.getLogger("uvicorn.error").exception("Exception in ASGI application")
    assert CANARY not in out.getvalue()
    assert out.getvalue().count("builtins.KeyError") == 2
    assert out.getvalue().count("builtins.ValueError") == 2
    assert "in fail" in out.getvalue()


def test_an_exception_as_a_value_is_told_without_the_values_it_quotes(out: io.StringIO) -> None:
    log.get_logger("tocsin.test").info("failed", error=ValueError(f"bad {CANARY!r} here"))
    assert CANARY not in out.getvalue()
    assert "ValueError: bad *** here" in out.getvalue()


def test_each_member_of_a_group_is_told() -> None:
    told = log.story(ExceptionGroup("two", [OSError(28, "no space"), KeyError(CANARY)]))
    assert "no space" in told
    assert "KeyError" in told
    assert CANARY not in told


@pytest.mark.parametrize("name", ["uvicorn.error", "websockets.server", "hpack.hpack", "asyncio"])
def test_what_a_library_says_below_info_is_dropped(name: str, out: io.StringIO) -> None:
    library = logging.getLogger(name)
    before = library.level
    library.setLevel(logging.DEBUG)
    library.debug("> TEXT %s", CANARY)
    library.setLevel(before)
    assert out.getvalue() == ""


def test_a_library_with_a_handler_of_its_own_is_brought_back() -> None:
    aside, stream = io.StringIO(), io.StringIO()
    library = logging.getLogger("uvicorn.access")
    library.addHandler(logging.StreamHandler(aside))
    library.propagate = False
    log.configure("info", json=False, stream=stream)
    library.warning("GET /?usersig=%s", CANARY)
    assert aside.getvalue() == ""
    assert CANARY not in stream.getvalue()
    assert "tocsin.server" in stream.getvalue()


async def test_the_event_loop_complains_without_quoting(out: io.StringIO) -> None:
    loop = asyncio.get_running_loop()
    error = ValueError(f"bad {CANARY!r}")
    loop.default_exception_handler({"message": "Task failed", "exception": error, "task": error})
    assert CANARY not in out.getvalue()
    assert "Task failed" in out.getvalue()


def test_an_event_that_cannot_be_rendered_is_not_dumped() -> None:
    stream = io.StringIO()
    record = logging.LogRecord("uvicorn.error", 40, "x.py", 1, "%d and %d", (CANARY,), None)
    log.masked_handler(stream, json=False).handle(record)
    assert CANARY not in stream.getvalue()
    assert "could not be written" in stream.getvalue()


@pytest.mark.evidence(
    "a log that cannot be written stops nobody",
    topic="Set-up and architecture",
    planted="a closed stream's complaint let through",
)
async def test_a_log_that_cannot_be_written_stops_nobody() -> None:
    """An event loop that cannot even complain would end with whatever it was doing."""
    stream = io.StringIO()
    log.configure("info", json=False, stream=stream)
    stream.close()
    log.get_logger("tocsin.test").error("nobody reads this")
    asyncio.get_running_loop().call_exception_handler({"message": "nor this"})


def test_numbers_and_names_are_shown(out: io.StringIO) -> None:
    log.get_logger("tocsin.test").info("dropped", tokens=3, channel="apns", collapse_key="c1")
    assert "tokens=3" in out.getvalue()
    assert "apns" in out.getvalue()
    assert "c1" in out.getvalue()


def test_json_is_one_object_a_line() -> None:
    stream = io.StringIO()
    log.configure("info", json=True, stream=stream)
    log.get_logger("tocsin.test").info("leased", jobs=3, token=CANARY, where={"a": (1, 2)})
    (line,) = stream.getvalue().splitlines()
    event = json.loads(line)
    assert event["event"] == "leased"
    assert event["level"] == "info"
    assert event["logger"] == "tocsin.test"
    assert event["jobs"] == 3
    assert event["token"] == log.MASK
    assert event["where"] == {"a": [1, 2]}
    assert event["timestamp"].endswith("Z")


def test_the_level_holds_for_our_loggers() -> None:
    stream = io.StringIO()
    log.configure("warning", json=False, stream=stream)
    log.get_logger("tocsin.test").info("quiet")
    log.get_logger("tocsin.test").warning("loud")
    assert "quiet" not in stream.getvalue()
    assert "loud" in stream.getvalue()


def test_a_long_text_is_cut(out: io.StringIO) -> None:
    log.get_logger("tocsin.test").info("long", place="word " * 1000)
    assert len(out.getvalue()) < log.TEXT_MAX + 200


def test_masked_even_before_configure(caplog: pytest.LogCaptureFixture) -> None:
    log.get_logger("tocsin.early").warning("early", token=CANARY, place=f"?usersig={CANARY}")
    assert CANARY not in caplog.text
    assert "early" in caplog.text
