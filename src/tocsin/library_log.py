"""Says in our own words what libraries log: an operator need not know which ones we stand on.

What a library tells of its own routine is dropped, for our lines tell the same. What it tells of a
single connection is a line at debug, so that strangers cannot fill the log. Everything else stays,
from our own logger names.
"""

from __future__ import annotations

import copy
import logging
from asyncio import CancelledError
from logging import DEBUG, ERROR, INFO, WARNING, LogRecord

SERVER = "tocsin.server"
OURS = "tocsin"

NAMES = {
    "uvicorn": SERVER,
    "websockets": SERVER,
    "asyncio": "tocsin.loop",
}
"""Our name for a library's loggers, by the first part of theirs."""
ANY_LIBRARY = "tocsin.library"

Wording = tuple[int, str]
"""Level and sentence; a number in the arguments may follow the sentence."""

WORDS: dict[str, Wording] = {
    '%s - "WebSocket %s" [accepted]': (DEBUG, "a socket was accepted from %s"),
    '%s - "WebSocket %s" 403': (DEBUG, "a socket was refused to %s"),
    '%s - "WebSocket %s" %d': (DEBUG, "a socket was refused to %s"),
    "Invalid HTTP request received.": (DEBUG, "what came was no HTTP request"),
    "Unsupported upgrade request.": (DEBUG, "a request asked for a protocol that is not spoken"),
    "Invalid UTF-8 sequence received from client.": (DEBUG, "a frame was no UTF-8"),
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
"""By the sentence as the library writes it, before its arguments are put in."""

NOISE = ("No supported WebSocket library detected.",)
"""Begins a sentence that says nothing beside the one before it."""


def in_our_words(record: LogRecord) -> LogRecord | None:
    """The record as we say it; None for what is not said. Our own stay as they are."""
    head = record.name.partition(".")[0]
    if head == OURS:
        return record
    sentence = str(record.msg)
    wording = WORDS.get(sentence) if head in NAMES else None
    if wording is None and (_is_routine(record, head) or sentence.startswith(NOISE)):
        return None
    if wording is not None and not logging.getLogger(OURS).isEnabledFor(wording[0]):
        return None
    if _is_cut_off(record):
        return None
    said = copy.copy(record)
    said.name = NAMES.get(head, ANY_LIBRARY)
    if wording is not None:
        said.levelno, said.msg = wording
        said.levelname = logging.getLevelName(said.levelno)
        said.args = _first(record) if "%s" in said.msg else ()
    return said


def _is_routine(record: LogRecord, head: str) -> bool:
    """Whether it is about frames, headers, starts and ends, which are told by ourselves."""
    return record.levelno < (WARNING if head in NAMES else INFO)


def _is_cut_off(record: LogRecord) -> bool:
    """Whether it tells of a request that was ended with the service: their number is told."""
    return isinstance(record.exc_info, tuple) and record.exc_info[0] is CancelledError


def _first(record: LogRecord) -> tuple[object, ...]:
    return record.args[:1] if isinstance(record.args, tuple) else ()
