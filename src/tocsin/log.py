"""Logging that may be switched to debug on a live service without giving anything away.

Whatever is logged, by us or by a library, passes one chain: values are masked by the name of
their key, texts are scrubbed of query strings and of anything that looks like a key or a token,
and an exception is told by its frames and a message without quoted values. There is no other way
out: libraries get no handler of their own, what they say below INFO (frames, headers, payloads) is
dropped, and the rest is said in our own words (`library_log.py`).
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any, TextIO, cast

import msgspec
import structlog
from msgspec import Struct
from structlog.stdlib import BoundLogger, ProcessorFormatter
from structlog.typing import EventDict, Processor, WrappedLogger

from tocsin.library_log import in_our_words

Logger = BoundLogger
"""What `get_logger` answers: `.debug("event", name=value)` and so on, `.bind(name=value)`."""

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
"""Keys whose value is never shown, in lower case and without `_` and `-`."""

MASKED_ENDINGS = ("key", "password", "secret", "sig", "title", "token", "tokens", "usersig")

SHOWN_KEYS = frozenset(("collapsekey", "renderkey"))
"""Ends like a secret and is none."""

TEXT_MAX = 2000
"""Longer texts are cut: a log line is read by people."""

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
    """A file to log to, and when it gives way to a new one."""

    path: str
    max_bytes: int
    """Size from which on it is renamed to `path.1` before the next line; 0: never."""
    kept: int
    """Renamed ones that stay, at least one; the oldest goes when one more comes."""


class _Masked(logging.Handler):
    """Writes rendered events; one that cannot be rendered is not dumped as it came.

    Nobody who logs is told that it could not be written: the reader at the other end of a pipe may
    be gone, and an event loop that fails while it complains ends with all that it was doing.
    """

    def handle(self, record: logging.LogRecord) -> Any:
        said = in_our_words(record)
        return super().handle(said) if said is not None else False

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (the library's name)
        stream = getattr(self, "stream", None) or sys.stderr
        with contextlib.suppress(OSError, ValueError):
            stream.write(f"an event of {record.name} could not be written\n")


class _MaskedStream(_Masked, logging.StreamHandler[TextIO]):
    """To a stream that is open already."""


class _MaskedFile(_Masked, RotatingFileHandler):
    """To a file of our own, which only its owner may read: it names accounts and addresses."""

    def _open(self) -> Any:
        return open(self.baseFilename, "a", encoding="utf-8", opener=_for_its_owner)

    def shouldRollover(self, _: logging.LogRecord) -> bool:  # noqa: N802 (the library's name)
        # The library renders each event once more to know its size; it is one line more or less.
        if self.stream is None:
            self.stream = self._open()
        is_full = 0 < self.maxBytes <= self.stream.tell()
        return is_full and Path(self.baseFilename).is_file()


def _for_its_owner(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def configure(level: str, *, json: bool, stream: TextIO, file: LogFile | None = None) -> None:
    """Send everything that is logged in this process to `stream`, or to `file`, masked.

    `level` holds for Tocsin's own loggers. Calling it again replaces what was configured before and
    opens the file anew, wherever the former was renamed to. Raises `OSError` where the file cannot
    be opened, with everything as it was. A server library must be started without a log
    configuration of its own (uvicorn: `log_config=None`, `access_log=False`).
    """
    handler = masked_handler(stream, json=json) if file is None else _file_handler(file, json=json)
    root = logging.getLogger()
    former = root.handlers[:]
    root.handlers[:] = [handler]
    for it in former:
        if isinstance(it, _MaskedFile):
            it.close()
    root.setLevel(logging.INFO)
    logging.getLogger("tocsin").setLevel(level.upper())
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi", "asyncio"):
        library = logging.getLogger(name)
        library.handlers.clear()
        library.propagate = True


def masked_handler(stream: TextIO, *, json: bool) -> logging.Handler:
    """The one way out: a handler that renders events, masked, onto `stream`."""
    handler = _MaskedStream(stream)
    handler.setFormatter(_formatter(json=json, has_colours=stream.isatty()))
    return handler


def _file_handler(file: LogFile, *, json: bool) -> logging.Handler:
    handler = _MaskedFile(file.path, maxBytes=file.max_bytes, backupCount=file.kept)
    handler.setFormatter(_formatter(json=json, has_colours=False))
    return handler


def _formatter(*, json: bool, has_colours: bool) -> logging.Formatter:
    return ProcessorFormatter(
        foreign_pre_chain=[*_STAMPS, _tell_exception, _hide_quoted, mask],
        processors=[
            ProcessorFormatter.remove_processors_meta,
            structlog.processors.JSONRenderer(serializer=_to_json)
            if json
            else structlog.dev.ConsoleRenderer(colors=has_colours),
        ],
    )


def get_logger(name: str) -> Logger:
    """The logger of one module: `get_logger(__name__)`. Masks even before `configure` ran."""
    return cast(
        "Logger",
        structlog.wrap_logger(
            logging.getLogger(name),
            processors=_OURS,
            wrapper_class=BoundLogger,
            cache_logger_on_first_use=False,
        ),
    )


def mask(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """The processor through which every event passes last before it is rendered."""
    return {key: value if key in _META else _masked(key, value) for key, value in event.items()}


def scrub(text: str) -> str:
    """A text without query strings, keys, tokens and signatures."""
    text = _PEM.sub(MASK, text)
    text = _QUERY.sub(f"?{MASK}", text)
    text = _NAMED.sub(rf"\1\g<mark>{MASK}", text)
    text = _BEARER.sub(rf"\1 {MASK}", text)
    text = _LONG.sub(MASK, text)
    return text if len(text) <= TEXT_MAX else f"{text[:TEXT_MAX]}…"


def story(error: BaseException) -> str:
    """An exception with its causes: frames, types, and messages without their quoted values.

    The values in a message are what a caller sent as often as not (`invalid literal: 'Hello'`),
    and local variables are never shown.
    """
    frames = "".join(traceback.format_tb(error.__traceback__))
    message = scrub(_QUOTED.sub(f"'{MASK}'", str(error)))
    told = f"{frames}{type(error).__module__}.{type(error).__qualname__}: {message}"
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    parts = [story(cause)] if cause is not None and cause is not error else []
    if isinstance(error, BaseExceptionGroup):
        parts += [story(each) for each in error.exceptions]
    return "\n\n".join([*parts, told])


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


def _tell_exception(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Put the story of an exception in place of the exception itself."""
    given = event.pop("exc_info", None)
    if isinstance(given, tuple):
        given = given[1]
    elif given is True:
        given = sys.exc_info()[1]
    if isinstance(given, BaseException):
        event["exception"] = story(given)
    return event


def _hide_quoted(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """A library's sentence may quote what it was given; only the sentence is ours to show."""
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
    _tell_exception,
    mask,
    ProcessorFormatter.wrap_for_formatter,
]
