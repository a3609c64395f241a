"""The frames as app developers read them: a JSON Schema, and a page with a table for each frame.

Both are made from the types in `frames.py`; `scripts/docs.py` writes them down.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from tocsin.domain.hello import DeviceFacts, GivenRoute
from tocsin.online.frames import FRAME_MAX_BYTES, ClientFrame, ServerFrame

DIALECT = "https://json-schema.org/draft/2020-12/schema"
ABOUT = f"""# Frames

<!-- Made by `make docs` from the tables in the code. Edit those instead. -->

Every frame of the [online channel](online.md), member by member. How a client uses them stands in
[clients.md](clients.md). The same as a JSON Schema: [frames.schema.json](frames.schema.json); check
what a client sends against `#/$defs/ClientFrame`, what it is sent against `#/$defs/ServerFrame`.

A frame is one JSON object of at most {FRAME_MAX_BYTES // 1024} KiB, told apart by `type`. Members
marked *needed* are always there; any other may be absent, which means its default. Ignore members
and types that you do not know. Lengths are in characters. Times are Unix seconds in UTC, spans are
seconds."""

ABOUT_SCHEMA = (
    "Frames of Tocsin's online channel: what a client sends is a ClientFrame, what it is sent a "
    "ServerFrame. Unknown members are to be ignored."
)

PARTS_OF_HELLO = (GivenRoute.__name__, DeviceFacts.__name__)


def schema() -> dict[str, Any]:
    """JSON Schema of every frame: `ClientFrame`, `ServerFrame`, and what they consist of."""
    kinds = (ClientFrame, ServerFrame)
    (client, server), parts = msgspec.json.schema_components(kinds, ref_template="#/$defs/{name}")
    return {
        "$schema": DIALECT,
        "title": "Frames",
        "description": ABOUT_SCHEMA,
        "anyOf": [{"$ref": "#/$defs/ClientFrame"}, {"$ref": "#/$defs/ServerFrame"}],
        "$defs": {"ClientFrame": client, "ServerFrame": server, **parts},
    }


def schema_file() -> str:
    """The schema as `docs/frames.schema.json` holds it."""
    return msgspec.json.format(msgspec.json.encode(schema())).decode() + "\n"


def page() -> str:
    """`docs/frames.md`: a table for each frame, and for each part of one."""
    parts = schema()["$defs"]
    sections = [
        ABOUT,
        "## What a client sends",
        *_tables(parts, _kinds(parts["ClientFrame"])),
        "## Parts of `hello`",
        *_tables(parts, PARTS_OF_HELLO),
        "## What the service sends",
        *_tables(parts, _kinds(parts["ServerFrame"])),
    ]
    return "\n\n".join(sections) + "\n"


def _kinds(union: dict[str, Any]) -> list[str]:
    return [_name(each) for each in union["anyOf"]]


def _name(reference: dict[str, Any]) -> str:
    return str(reference["$ref"]).rpartition("/")[2]


def _tables(parts: dict[str, Any], names: Iterable[str]) -> Iterator[str]:
    for name in names:
        part = parts[name]
        tag = part["properties"].get("type")
        title = tag["enum"][0] if tag is not None else _places(parts, name)
        yield f"### `{title}`"
        yield str(part["description"])
        rows = list(_rows(parts, part))
        if rows:
            yield "\n".join(["| Member | Value | Says |", "| --- | --- | --- |", *rows])


def _places(parts: dict[str, Any], name: str) -> str:
    """The member of a hello that has this form."""
    hello: dict[str, Any] = parts["Hello"]["properties"]
    return next(member for member, shape in hello.items() if name in str(shape))


def _rows(parts: dict[str, Any], part: dict[str, Any]) -> Iterator[str]:
    members = part["properties"].items()
    for member, shape in sorted(members, key=lambda named: named[0] not in part["required"]):
        if member == "type":
            continue
        needed = ", *needed*" if member in part["required"] else ""
        said = shape.get("description", "").replace("|", "\\|")
        yield f"| `{member}` | {_value(parts, shape)}{needed} | {said} |"


def _value(parts: dict[str, Any], shape: dict[str, Any]) -> str:
    """What a member holds, in words, with its bounds."""
    if "anyOf" in shape:
        found = [each for each in shape["anyOf"] if each.get("type") != "null"]
        return _value(parts, found[0])
    if "$ref" in shape:
        return (
            "object, see above" if _name(shape) not in ("GivenRoute", "DeviceFacts") else "object"
        )
    match shape.get("type"):
        case "string":
            return "text" + _up_to(shape.get("maxLength"))
        case "integer":
            bounds = f", {shape['minimum']} to {shape['maximum']}" if "minimum" in shape else ""
            return f"integer{bounds}"
        case "array":
            return f"list of at most {shape['maxItems']}: {_value(parts, shape['items'])}"
        case "object":
            inner = _value(parts, shape["additionalProperties"])
            return f"object of at most {shape['maxProperties']} members, each {inner}"
        case None:
            return "any JSON"
        case plain:
            return str(plain)


def _up_to(length: int | None) -> str:
    return "" if length is None else f", at most {length}"
