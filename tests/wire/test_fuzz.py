"""Over real sockets: no body and no query ever yields anything but the envelope."""

from __future__ import annotations

import random
import re
import string
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.wire.api_kit import Served, exchange, serving
from tocsin.api.commands.table import COMMANDS

ROUNDS = 1500
SEEDS: tuple[bytes, ...] = (
    b'{"To_Account":["ann","bob"]}',
    b'{"UserTags":[{"To_Account":"ann","Tags":["a"]}],"Replace":1}',
    b'{"UserAttrs":[{"To_Account":"ann","Attrs":{"city":"x"}}]}',
    b'{"AttrNames":{"0":"city"},"AttrTypes":{"0":0}}',
    b'{"MsgRandom":1,"OfflinePushInfo":{"Title":"t"},"Condition":{"TagsOr":["a"]},"DataId":"d"}',
    b'{"MsgRandom":1,"MsgBody":[{"MsgType":"TIMTextElem","MsgContent":{"Text":"x"}}]}',
    b'{"TaskId":"x","OfflinePushInfo":{"ApnsInfo":{"LiveActivity":{}}}}',
    b'{"UserID":"new","Nick":"n"}',
    b'{"DeleteItem":[{"UserID":"ann"}],"CheckItem":[{"UserID":"ann"}],"Accounts":["x"]}',
)
PIECES: tuple[bytes, ...] = (
    b"null", b"[]", b"{}", b"true", b"-1", b"1e999", b"9" * 40, b'"\\ud800"', b'"\\u0000"',
    b"\xff", b"[" * 600, b'{"a":' * 600, b"\xef\xbb\xbf", b'"' + b"x" * 5000 + b'"', b"NaN", b"",
)  # fmt: skip


VALUES: tuple[bytes, ...] = (
    b"null", b"[]", b"{}", b"true", b"-1", b"0", b"1", b"2", b"1.5", b"4294967296", b'""', b'"a"',
    b'["a"]', b'["",1]', b'{"a":1}', b"[{}]", b'"' + b"y" * 51 + b'"', b'["' + b"z" * 51 + b'"]',
)  # fmt: skip
TOKEN = re.compile(rb'"[^"]*"(?!:)|\d+|\[[^\[\]]*\]|\{[^{}]*\}')


def mangled(chance: random.Random) -> bytes:
    """A body with some bytes changed, or one that is JSON still with some values changed."""
    if chance.random() < 0.7:
        text = chance.choice(SEEDS)
        for _ in range(chance.randrange(1, 3)):
            match = chance.choice(list(TOKEN.finditer(text)) or [None])
            if match is not None:
                text = text[: match.start()] + chance.choice(VALUES) + text[match.end() :]
        return text
    body = bytearray(chance.choice(SEEDS))
    for _ in range(chance.randrange(1, 5)):
        start = chance.randrange(len(body) + 1)
        end = min(len(body), start + chance.randrange(8))
        piece = chance.choice(PIECES) if chance.random() < 0.5 else chance.randbytes(3)
        body[start:end] = piece
    return bytes(body)


def query_of(served: Served, chance: random.Random) -> str:
    path = served.path("x").partition("?")[2]
    if chance.random() < 0.95:
        return path
    start = chance.randrange(len(path))
    allowed = string.ascii_letters + string.digits + "%&=+*_-.~!"
    return path[:start] + "".join(chance.choices(allowed, k=5)) + path[start + 3 :]


def look(answer: Any) -> None:
    assert type(answer["ErrorCode"]) is int
    assert isinstance(answer["ErrorInfo"], str)
    assert answer["ActionStatus"] == ("FAIL" if answer["ErrorCode"] else "OK")
    assert answer["ErrorCode"] != 91000, answer


@pytest.mark.evidence(
    "no body yields anything but the envelope",
    topic="The wire",
    planted="an exception let through",
)
async def test_nothing_but_the_envelope(tmp_path: Path) -> None:
    chance = random.Random(20)
    async with serving(tmp_path, "memory") as served:
        streams = await served.connect()
        codes = set()
        for turn in range(ROUNDS):
            command = chance.choice(COMMANDS)
            body, query = mangled(chance), query_of(served, chance)
            head = (
                f"POST {command.path}?{query} HTTP/1.1\r\nHost: test\r\nContent-Length: {len(body)}"
            )
            reply = await exchange(streams, head, body)
            assert (reply.status, reply.headers["content-type"]) == (200, "application/json"), turn
            answer = msgspec.json.decode(reply.body)
            look(answer)
            codes.add(answer["ErrorCode"])
        streams[1].close()
    assert {0, 60003, 90001} < codes
    assert len(codes) > 12, "the mangling reaches many checks"
