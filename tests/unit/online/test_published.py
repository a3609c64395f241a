"""The published frames: a sentence for each member, and a schema that a foreign judge reads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import fastjsonschema
import msgspec
import pytest

from tests.unit.online.rig import APP, APPKEY, Client, Rig
from tocsin.domain.message import Message
from tocsin.domain.task import WaitBody
from tocsin.errors import CallError
from tocsin.online.frames import decode
from tocsin.online.published import page, schema
from tocsin.online.session import GONE

PARTS: dict[str, Any] = schema()["$defs"]


def judge(kind: str) -> Any:
    """A judge of one side's frames who knows the published schema and nothing else."""
    return fastjsonschema.compile({**schema(), "anyOf": [{"$ref": f"#/$defs/{kind}"}]})


def members() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for name, part in PARTS.items():
        for member, shape in part.get("properties", {}).items():
            if member != "type":
                yield name, member, shape


@pytest.mark.evidence(
    "every member of a frame has a sentence, in the schema and on the page, which are what "
    "the types make",
    topic="Clients",
    planted="a sentence taken out; one changed without `make docs`",
)
@pytest.mark.parametrize(("name", "member", "shape"), list(members()))
def test_each_member_has_a_sentence(name: str, member: str, shape: dict[str, Any]) -> None:
    sentence = shape.get("description", "")
    assert len(sentence) > 5
    assert sentence[0].isupper() or sentence[0] == "`"
    assert sentence.endswith(".")
    assert f"| {sentence} |" in page()


def test_each_frame_has_a_sentence() -> None:
    named = {name: part for name, part in PARTS.items() if "properties" in part}
    assert len(named) == 14
    assert all(part.get("description") for part in named.values())


async def conversation() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Every kind of frame, as a client and the service said them."""
    rig = await Rig().open("ann")
    said: list[dict[str, Any]] = []
    hello = {
        "type": "hello",
        "sdkappid": APP,
        "appkey": APPKEY,
        "route": {"channel": "fcm", "credential": 1, "token": "t", "environment": "production"},
        "voip_token": "",
        "live_tokens": {"ride-7": "ab" * 32},
        "live_start_tokens": {"RideAttributes": ""},
        "facts": {"language": "de", "platform": "iPhone", "is_notify_on": True, "badge": 3},
        "known": ["t_0"],
        "of a later release": 1,
    }
    client = Client()
    line = rig.hub.open(client, "10.0.0.1")

    async def say(**frame: Any) -> None:
        said.append(frame)
        await rig.say(line, **frame)

    await say(**hello)
    number = rig.device(line).number
    message = Message(title="t", desc="d", ext="{}", badge_set=1)
    wait = ("wait", WaitBody(-1, (number,)))
    task = await rig.task(
        [rig.device(line).account], planned=[number], jobs=[wait], message=message
    )
    await rig.hub.push(task, -1, [number])
    for frame in ({"type": "ack", "id": "nothing"}, {"type": "ack", "id": task.task_id}):
        await say(**frame)
    await say(type="click", id=task.task_id)
    await say(type="ping")
    await rig.hub.revoke(task)
    rig.hub._do(line, line.session.drain(3.5))
    rig.hub._do(line, line.session.tick(rig.clock.now() + 70))
    await say(type="pong")
    rig.hub._do(line, line.session.end(GONE, 70107))
    said.append({"type": "bye", "unregister": True, "logout": False})
    return said, client.frames


@pytest.mark.evidence(
    "a foreign judge (fastjsonschema) finds the frames of a whole session good by the "
    "published schema, and frames without a needed member bad",
    topic="Clients",
    planted="`stage` published as text",
)
async def test_real_frames_of_a_session_pass_the_published_schema() -> None:
    said, heard = await conversation()
    for frames, kind in ((said, "ClientFrame"), (heard, "ServerFrame")):
        allowed = judge(kind)
        for frame in frames:
            allowed(frame)
        kinds = {mapped["$ref"] for mapped in PARTS[kind]["anyOf"]}
        assert {f["type"] for f in frames} == set(PARTS[kind]["discriminator"]["mapping"]), kinds


@pytest.mark.evidence(
    "a foreign judge (fastjsonschema) finds the frames of a whole session good by the "
    "published schema, and frames without a needed member bad",
)
async def test_a_frame_that_says_otherwise_is_caught() -> None:
    said, heard = await conversation()
    for frames, kind in ((said, "ClientFrame"), (heard, "ServerFrame")):
        allowed = judge(kind)
        for frame in frames:
            for needed in set(frame) & _required(frame["type"], kind):
                without = {name: value for name, value in frame.items() if name != needed}
                with pytest.raises(fastjsonschema.JsonSchemaException):
                    allowed(without)


def _required(tag: str, kind: str) -> set[str]:
    name = PARTS[kind]["discriminator"]["mapping"][tag].rpartition("/")[2]
    return set(PARTS[name]["required"])


HELLO = {"type": "hello", "sdkappid": 1}


@pytest.mark.evidence(
    "what the schema refuses of a hello, the service refuses",
    topic="Clients",
    planted="a longer appkey allowed",
)
@pytest.mark.parametrize(
    "more",
    [
        {"sdkappid": -1},
        {"sdkappid": 2**32},
        {"appkey": "x" * 257},
        {"user": "x" * 129},
        {"usersig": "x" * 8193},
        {"registration_id": "x" * 65},
        {"secret": "x" * 129},
        {"is_logout": 1},
        {"route": {"channel": "", "credential": 1, "token": "t"}},
        {"route": {"channel": "fcm", "credential": 0, "token": "t"}},
        {"route": {"channel": "fcm", "credential": 1}},
        {"voip_token": "x" * 1025},
        {"live_tokens": {str(number): "t" for number in range(9)}},
        {"live_start_tokens": {"x" * 129: "t"}},
        {"facts": {"badge": 1_000_000}},
        {"facts": {"is_notify_on": "yes"}},
        {"known": [""]},
        {"known": ["x"] * 101},
    ],
)
def test_what_the_schema_refuses_the_service_refuses(more: dict[str, Any]) -> None:
    allowed = judge("ClientFrame")
    allowed(HELLO)
    with pytest.raises(fastjsonschema.JsonSchemaException):
        allowed({**HELLO, **more})
    with pytest.raises(CallError) as refused:
        decode(msgspec.json.encode({**HELLO, **more}))
    assert refused.value.code == 70402
