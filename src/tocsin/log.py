"""Logs events with their secrets masked, so that a live service can be switched to debug.

Every record, ours or a library's, passes one chain: values are masked by the names of their keys,
texts lose query strings and whatever looks like a key or a token, and an exception is shown by its
frames and a message without quoted values. Libraries have no handler of their own: their records
below INFO (frames, headers, payloads) are dropped, and the others are reworded.
"""

from __future__ import annotations

import contextlib
import copy
import logging
import os
import re
import sys
import traceback
from asyncio import CancelledError
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from logging import DEBUG, ERROR, INFO, WARNING, LogRecord
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any, TextIO, cast

import msgspec
import structlog
from msgspec import Struct
from structlog.stdlib import BoundLogger, ProcessorFormatter
from structlog.typing import EventDict, Processor, WrappedLogger

Logger = BoundLogger
"""Made by `get_logger`: `.debug("event", name=value)` and so on, `.bind(name=value)`."""

MASK = "***"

MASKED_KEYS = frozenset(
    (
        "alert",
        "appkey",
        "authorization",
        "body",
        "content",
        "cookie",
        "data",
        "desc",
        "ext",
        "headers",
        "identity",
        "key",
        "msgbody",
        "msgcontent",
        "offlinepushinfo",
        "passphrase",
        "password",
        "payload",
        "pem",
        "query",
        "querystring",
        "rawpath",
        "secret",
        "sig",
        "subtitle",
        "text",
        "title",
        "token",
        "tokens",
        "url",
        "usersig",
    )
)
"""Keys whose values are masked, in lower case and without `_` and `-`."""

MASKED_ENDINGS = ("key", "password", "secret", "sig", "title", "token", "tokens", "usersig")

SHOWN_KEYS = frozenset(("collapsekey", "renderkey"))
"""Keys with such an ending that hold no secret."""

TEXT_MAX = 2000
"""Characters at which a text is cut: people read log lines."""

SERVER_NAME = "tocsin.server"
OUR_NAME = "tocsin"

LIBRARY_NAMES = {
    "uvicorn": SERVER_NAME,
    "websockets": SERVER_NAME,
    "asyncio": "tocsin.loop",
}
"""The logger name that replaces a library's, by the first part of the library's name."""
OTHER_NAME = "tocsin.library"

Wording = tuple[int, str]
"""Level and sentence; the first argument of the library's sentence may follow."""

LIBRARY_SENTENCES: dict[str, Wording] = {
    '%s - "WebSocket %s" [accepted]': (DEBUG, "a socket was accepted from %s"),
    '%s - "WebSocket %s" 403': (DEBUG, "a socket was refused to %s"),
    '%s - "WebSocket %s" %d': (DEBUG, "a socket was refused to %s"),
    "Invalid HTTP request received.": (DEBUG, "bytes were received that are no HTTP request"),
    "Unsupported upgrade request.": (DEBUG, "a request asked for a protocol that is not spoken"),
    "Invalid UTF-8 sequence received from client.": (
        DEBUG,
        "a frame was received that is no UTF-8",
    ),
    "opening handshake failed": (DEBUG, "a socket's handshake failed"),
    "Exceeded concurrency limit.": (WARNING, "a call was refused: too many at once"),
    "Exception in ASGI application\n": (ERROR, "a request failed unexpectedly"),
    "ASGI callable should return None, but returned '%s'.": (ERROR, "a request ended with %s"),
    "ASGI callable returned without starting response.": (ERROR, "a request was not answered"),
    "ASGI callable returned without completing response.": (ERROR, "an answer was cut off"),
    "ASGI callable returned without sending handshake.": (ERROR, "a socket was not answered"),
    "ASGI callable returned without completing handshake.": (ERROR, "a socket was not answered"),
    "Cancel %s running task(s), timeout graceful shutdown exceeded": (
        WARNING,
        "calls were cut off as the time to stop was over: %s",
    ),
    "parser failed": (ERROR, "a socket failed unexpectedly"),
}
"""What replaces a library's sentence, which is given without its arguments."""

DROPPED_SENTENCES = ("No supported WebSocket library detected.",)
"""Beginnings of sentences that add nothing to the sentence before."""

_PEM = re.compile(r"-----BEGIN [^-]+-----.*?(-----END [^-]+-----|\Z)", re.DOTALL)
_QUERY = re.compile(r"\?[^\s?\"'<>]*=[^\s\"'<>]*")
_NAMED = re.compile(
    r"(?i)\b(usersig|app_?key|access_token|token|secret|password|passphrase|authorization|"
    r"private_?key|key|title|desc|ext|body)"
    r"(?P<mark>[\"']?\s*[=:]\s*)"
    r"(?:(?:bearer|basic)\s+\S+|\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'|[^\s&,;}]+)"
)
_BEARER = re.compile(r"(?i)\b(bearer|basic)\s+[^\s,;\"']+")
_LONG = re.compile(r"[A-Za-z0-9_:*+=-]{64,}|eyJ[\w-]+\.[\w-]+\.[\w-]*")
_QUOTED = re.compile(r"\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'|[\"'].*", re.DOTALL)


class LogFile(Struct, frozen=True, kw_only=True):
    """A file to log to, and its rotation."""

    path: str
    max_bytes: int
    """Size at which the file is renamed to `path.1` before the next line; 0: never."""
    kept: int
    """Renamed files that are kept, at least one; the oldest is removed."""


class _Masked(logging.Handler):
    """Writes rendered events, and a fixed sentence for an event that cannot be rendered.

    A fault of writing is not raised: the reader at the other end of a pipe may be gone, and an
    exception while logging would end the event loop with everything that runs in it.
    """

    def handle(self, record: logging.LogRecord) -> Any:
        ours = reworded(record)
        return super().handle(ours) if ours is not None else False

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (the library's name)
        stream = getattr(self, "stream", None) or sys.stderr
        with contextlib.suppress(OSError, ValueError):
            stream.write(f"an event of {record.name} could not be written\n")


class _MaskedStream(_Masked, logging.StreamHandler[TextIO]):
    """Writes to an open stream."""


class _MaskedFile(_Masked, RotatingFileHandler):
    """Writes to a file that only its owner may read, because it names accounts and addresses."""

    def _open(self) -> Any:
        return open(self.baseFilename, "a", encoding="utf-8", opener=_for_its_owner)

    def shouldRollover(self, _: logging.LogRecord) -> bool:  # noqa: N802 (the library's name)
        # The library would render each event twice to know its size; one line more does no harm.
        if self.stream is None:
            self.stream = self._open()
        is_full = 0 < self.maxBytes <= self.stream.tell()
        return is_full and Path(self.baseFilename).is_file()


def _for_its_owner(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def configure(level: str, *, json: bool, stream: TextIO, file: LogFile | None = None) -> None:
    """Send every record of this process to `stream`, or to `file`, masked.

    `level` applies to Tocsin's own loggers. A further call replaces the former configuration and
    opens the file anew, even if the former file was renamed. Raises `OSError` if the file cannot be
    opened; then nothing has changed. A server library must be started without a log configuration
    of its own (uvicorn: `log_config=None`, `access_log=False`).
    """
    handler = masked_handler(stream, json=json) if file is None else _file_handler(file, json=json)
    root = logging.getLogger()
    former = root.handlers[:]
    root.handlers[:] = [handler]
    for each in former:
        if isinstance(each, _MaskedFile):
            each.close()
    root.setLevel(logging.INFO)
    logging.getLogger("tocsin").setLevel(level.upper())
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi", "asyncio"):
        library = logging.getLogger(name)
        library.handlers.clear()
        library.propagate = True


def masked_handler(stream: TextIO, *, json: bool) -> logging.Handler:
    """A handler that writes masked events to `stream`."""
    handler = _MaskedStream(stream)
    handler.setFormatter(_formatter(json=json, has_colours=stream.isatty()))
    return handler


def _file_handler(file: LogFile, *, json: bool) -> logging.Handler:
    handler = _MaskedFile(file.path, maxBytes=file.max_bytes, backupCount=file.kept)
    handler.setFormatter(_formatter(json=json, has_colours=False))
    return handler


def _formatter(*, json: bool, has_colours: bool) -> logging.Formatter:
    return ProcessorFormatter(
        foreign_pre_chain=[*_STAMPS, _add_story, _hide_quoted, mask],
        processors=[
            ProcessorFormatter.remove_processors_meta,
            structlog.processors.JSONRenderer(serializer=_to_json)
            if json
            else structlog.dev.ConsoleRenderer(colors=has_colours),
        ],
    )


def get_logger(name: str) -> Logger:
    """The logger of a module: `get_logger(__name__)`. It masks even before `configure`."""
    return cast(
        "Logger",
        structlog.wrap_logger(
            logging.getLogger(name),
            processors=_OURS,
            wrapper_class=BoundLogger,
            cache_logger_on_first_use=False,
        ),
    )


def reworded(record: LogRecord) -> LogRecord | None:
    """A library's record reworded, so that an operator need not know which libraries we use.

    None for a record that is dropped: our own records tell of the libraries' routine. A record
    about a single connection has the level debug, so that strangers cannot fill the log. Our own
    records stay as they are.
    """
    head = record.name.partition(".")[0]
    if head == OUR_NAME:
        return record
    sentence = str(record.msg)
    wording = LIBRARY_SENTENCES.get(sentence) if head in LIBRARY_NAMES else None
    if wording is None and (_is_routine(record, head) or sentence.startswith(DROPPED_SENTENCES)):
        return None
    if wording is not None and not logging.getLogger(OUR_NAME).isEnabledFor(wording[0]):
        return None
    if _is_cut_off(record):
        return None
    changed = copy.copy(record)
    changed.name = LIBRARY_NAMES.get(head, OTHER_NAME)
    if wording is not None:
        changed.levelno, changed.msg = wording
        changed.levelname = logging.getLevelName(changed.levelno)
        changed.args = _first(record) if "%s" in changed.msg else ()
    return changed


def _is_routine(record: LogRecord, head: str) -> bool:
    """Whether the record is about frames, headers, starts or ends, which we log ourselves."""
    return record.levelno < (WARNING if head in LIBRARY_NAMES else INFO)


def _is_cut_off(record: LogRecord) -> bool:
    """Whether the record is about a request that ended with the service: we log their number."""
    return isinstance(record.exc_info, tuple) and record.exc_info[0] is CancelledError


def _first(record: LogRecord) -> tuple[object, ...]:
    return record.args[:1] if isinstance(record.args, tuple) else ()


def mask(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """The last processor of every event before it is rendered."""
    return {key: value if key in _META else _masked(key, value) for key, value in event.items()}


def scrub(text: str) -> str:
    """The text with query strings, keys, tokens and signatures masked, cut at `TEXT_MAX`."""
    text = _PEM.sub(MASK, text)
    text = _QUERY.sub(f"?{MASK}", text)
    text = _NAMED.sub(rf"\1\g<mark>{MASK}", text)
    text = _BEARER.sub(rf"\1 {MASK}", text)
    text = _LONG.sub(MASK, text)
    return text if len(text) <= TEXT_MAX else f"{text[:TEXT_MAX]}…"


def story(error: BaseException) -> str:
    """An exception with its causes: frames, types, and messages without quoted values.

    Quoted values of a message often come from a caller (`invalid literal: 'Hello'`). Local
    variables are never shown.
    """
    frames = "".join(traceback.format_tb(error.__traceback__))
    message = scrub(_QUOTED.sub(f"'{MASK}'", str(error)))
    text = f"{frames}{type(error).__module__}.{type(error).__qualname__}: {message}"
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    parts = [story(cause)] if cause is not None and cause is not error else []
    if isinstance(error, BaseExceptionGroup):
        parts += [story(each) for each in error.exceptions]
    return "\n\n".join([*parts, text])


def _masked(key: str, value: object) -> object:
    if value is None or isinstance(value, bool | int | float):
        return value
    if _is_secret(key):
        return MASK
    if isinstance(value, str):
        return value if key == "exception" else scrub(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(value)} bytes>"
    if isinstance(value, Mapping):
        return {_shown_key(name): _masked(str(name), each) for name, each in value.items()}
    if isinstance(value, Sequence | set | frozenset):
        return [_masked(key, each) for each in value]
    if isinstance(value, msgspec.Struct):
        return _masked(key, {name: getattr(value, name) for name in value.__struct_fields__})
    if is_dataclass(value) and not isinstance(value, type):
        return _masked(key, {each.name: getattr(value, each.name) for each in fields(value)})
    if isinstance(value, BaseException):
        return f"{type(value).__qualname__}: {scrub(_QUOTED.sub(MASK, str(value)))}"
    return scrub(_QUOTED.sub(f"'{MASK}'", repr(value)))


def _shown_key(key: object) -> str:
    # A key of a mapping may itself be a token: `{"<token>": "dead"}`.
    return scrub(str(key))


def _is_secret(key: str) -> bool:
    plain = key.lower().replace("_", "").replace("-", "")
    if plain in SHOWN_KEYS:
        return False
    return plain in MASKED_KEYS or plain.endswith(MASKED_ENDINGS)


def _add_story(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Replaces an exception by its story."""
    error = event.pop("exc_info", None)
    if isinstance(error, tuple):
        error = error[1]
    elif error is True:
        error = sys.exc_info()[1]
    if isinstance(error, BaseException):
        event["exception"] = story(error)
    return event


def _hide_quoted(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Masks quoted values in a library's sentence, which may come from a caller."""
    event["event"] = _QUOTED.sub(f"'{MASK}'", str(event["event"]))
    return event


def _to_json(event: EventDict, **_options: Any) -> str:
    return msgspec.json.encode(event, enc_hook=repr).decode()


_META = frozenset(("_record", "_from_structlog", "timestamp", "level", "logger"))

_STAMPS: list[Processor] = [
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]

_OURS: list[Processor] = [
    structlog.stdlib.filter_by_level,
    structlog.stdlib.PositionalArgumentsFormatter(),
    *_STAMPS,
    _add_story,
    mask,
    ProcessorFormatter.wrap_for_formatter,
]
