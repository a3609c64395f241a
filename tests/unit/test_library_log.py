"""Libraries are heard in our own words, or not at all."""

from __future__ import annotations

import ast
import io
import logging
from pathlib import Path

import pytest
import uvicorn
import websockets

from tocsin import log

PEER = "192.0.2.7:4711"
LIBRARIES = ("uvicorn", "websocket", "asgi", "asyncio")


def heard(level: str, name: str, said: int, sentence: str, *values: object) -> str:
    stream = io.StringIO()
    log.configure(level, json=False, stream=stream)
    logging.getLogger(name).log(said, sentence, *values)
    return stream.getvalue()


@pytest.mark.evidence("the log says where the service listens, once, and names no library")
@pytest.mark.parametrize("sentence", log.LIBRARY_SENTENCES)
def test_each_sentence_is_said_once_and_names_no_library(sentence: str) -> None:
    values = (PEER, "/v4/online?usersig=canary", 403)[: sentence.count("%")]
    text = heard("debug", "uvicorn.error", logging.ERROR, sentence, *values)
    assert text.count("\n") == 1
    assert "tocsin.server" in text
    assert "canary" not in text
    assert not [it for it in LIBRARIES if it in text.lower()]
    if "WebSocket" in sentence:
        assert PEER in text


@pytest.mark.evidence(
    "what strangers do is a line a connection at most, and only at debug",
    topic="Settings, log and reload",
    planted="the line's own level kept",
)
def test_what_concerns_one_connection_is_told_at_debug_alone() -> None:
    line = ("uvicorn.error", logging.INFO, '%s - "WebSocket %s" [accepted]', PEER, "/v4/online")
    junk = ("uvicorn.error", logging.WARNING, "Invalid HTTP request received.")
    for told in (line, junk):
        assert heard("debug", *told).count("\n") == 1
        assert heard("info", *told) == ""


@pytest.mark.evidence("what strangers do is a line a connection at most, and only at debug")
@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("uvicorn.error", "Started server process [1]"),
        ("uvicorn.error", "Shutting down"),
        ("websockets.server", "connection open"),
        ("websockets.server", "connection closed"),
    ],
)
def test_the_routine_of_a_library_is_not_told(name: str, sentence: str) -> None:
    assert heard("debug", name, logging.INFO, sentence) == ""


def test_what_nobody_foresaw_is_told_from_our_own_name() -> None:
    text = heard("info", "asyncio", logging.ERROR, "Task exception was never retrieved")
    assert "Task exception was never retrieved" in text
    assert "tocsin.loop" in text
    text = heard("info", "somebody.else", logging.WARNING, "careful")
    assert "careful" in text
    assert "tocsin.library" in text


@pytest.mark.evidence("the log says where the service listens, once, and names no library")
def test_no_warning_of_the_servers_libraries_is_without_our_words() -> None:
    """Their releases may say things in another way: this names what the table lacks."""
    folder = Path(uvicorn.__file__).parent
    files = [
        folder / "protocols" / "http" / "httptools_impl.py",
        folder / "protocols" / "websockets" / "websockets_sansio_impl.py",
        Path(websockets.__file__).parent / "server.py",
        Path(websockets.__file__).parent / "protocol.py",
    ]
    said = {sentence for path in files for sentence in _warnings(path)}
    assert len(said) > 8
    unknown = said - set(log.LIBRARY_SENTENCES)
    assert not {it for it in unknown if not it.startswith(log.DROPPED_SENTENCES)}


def _warnings(path: Path) -> set[str]:
    """What a file logs as a warning or worse: sentences, or the variable that was given one."""
    tree = ast.parse(path.read_text())
    texts: dict[str, set[str]] = {}
    calls: list[ast.expr] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
            for target in node.targets:
                texts.setdefault(ast.unparse(target), set()).add(str(node.value.value))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in (
            "self.logger.warning",
            "self.logger.error",
            "self.logger.exception",
        ):
            calls.append(node.args[0])
    return {
        text
        for call in calls
        for text in (
            {str(call.value)} if isinstance(call, ast.Constant) else texts[ast.unparse(call)]
        )
    }
