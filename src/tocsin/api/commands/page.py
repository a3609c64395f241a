"""docs/commands.md: each command with its fields, limits and codes, and a recorded call.

`scripts/commands_page.py` makes the calls, of a service in memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from tocsin.api.commands.field import Field
from tocsin.api.commands.fields import FIELDS, SHARED_CODES, codes_of
from tocsin.api.commands.info_fields import BEYOND, INFO_FIELDS, WRONG
from tocsin.api.commands.table import BODY_MAX_BYTES, COMMANDS, Command
from tocsin.errors import TEXTS

COLUMNS = 96
"""JSON is broken into lines that are no longer, where it can be broken."""

Recorded = Mapping[str, tuple[str, str]]
"""By the path of a command: the body of a call and the answer that it got."""

CALL = (
    "POST /v4/timpush/get_tag"
    "?sdkappid=1400000001&identifier=administrator&usersig=…&random=7&contenttype=json"
)

ABOUT = f"""# Commands

<!-- Made by `make docs` from the tables in the code. Edit those instead. -->

Every command under `/v4/`, with its fields, its codes, and a call as a service in memory answered
it. A call is one POST, with a JSON object as its body:

```
{CALL}
```

`identifier` is an administrator of the app and `usersig` that administrator's UserSig; `random` is
any number. The answer is HTTP 200 with `ActionStatus` (`OK` or `FAIL`), `ErrorCode` (0: OK) and
`ErrorInfo`; a call that is refused changes nothing. A body has at most {BODY_MAX_BYTES:,} bytes
(60002). A rate counts the calls of one app in one process (60007); the profile `unlimited` lifts
the rates. The vendor's pages are under tencentcloud.com/document/product/1047/.

In the tables, `A[]` is each item of the list `A`, `A[].B` the member `B` of each item, and `A.*`
each value of the object `A`, whatever its name. Unknown members are ignored, and null is as good as
absent. Lengths are in bytes of UTF-8. [errors.md](errors.md) says what to do about a code.
[compatibility.md](compatibility.md) says what is decided where the vendor's documents are silent,
and which other spellings of a body are read."""

SHARED = """\
## Codes of every command

Any call may be answered one of these; a command's own codes stand with the command."""

INFO = f"""\
## OfflinePushInfo

What a push shows, in `push`, `batch`, `im_push` and `revoke`. Only a Live Activity has members that
are needed. A member of the wrong type, or a needed one that is missing, is {WRONG}; a value outside
its bounds is {BEYOND}. The pages of the [channels](CHANNELS.md) say what each vendor makes of a
member."""

OLDER = """\
## Older paths

Older libraries call these. Each is the command beside it: fields, codes and rate are the same."""


def page(recorded: Recorded) -> str:
    """The page. Raises `KeyError` for a command without a recorded call."""
    commands = [each for each in COMMANDS if not each.counted_as]
    parts = [ABOUT, _contents(commands), SHARED, _code_table(SHARED_CODES)]
    for command in commands:
        parts += _section(command, *recorded[command.path])
    parts += [INFO, _info_table(), OLDER, _older_table()]
    return "\n\n".join(parts) + "\n"


def _contents(commands: Iterable[Command]) -> str:
    rows = [
        (f"[`{each.path}`](#{_anchor(each)})", each.summary, each.rate, each.pages)
        for each in commands
    ]
    return _table(("Command", "Does", "Rate", "Vendor's pages"), rows)


def _anchor(command: Command) -> str:
    return command.path.replace("/", "")


def _section(command: Command, body: str, answer: str) -> list[str]:
    fields, listed = FIELDS[command.name].fields, FIELDS[command.name].listed
    limits = f"Rate: {command.rate}."
    if command.body_max_bytes < BODY_MAX_BYTES:
        limits += f" Body: at most {command.body_max_bytes:,} bytes ({command.too_long})."
    own = codes_of(command) - set(SHARED_CODES) | (set(FIELDS[command.name].codes))
    parts = [f"## {command.path}", f"{command.summary} {limits}"]
    parts.append(_field_table(fields) if fields else "The body is `{}`: the command has no field.")
    parts += ["Its own codes:", _code_table(sorted(own))]
    if listed:
        where = "`ResultItem`" if command.name == "account_delete" else "`ErrorList`"
        parts += [f"Codes of single accounts, in {where}:", _code_table(sorted(listed))]
    parts += ["Request:", _json(body), "Answer:", _json(answer)]
    return parts


def _field_table(fields: Iterable[Field]) -> str:
    rows = [(*_described(each), _codes(each)) for each in fields]
    return _table(("Field", "Type", "Needed", "Bounds", "Meaning", "Codes"), rows)


def _info_table() -> str:
    return _table(
        ("Field", "Type", "Needed", "Bounds", "Meaning"),
        [_described(each) for each in INFO_FIELDS],
    )


def _described(field: Field) -> tuple[str, ...]:
    needed = "yes" if field.is_needed else ""
    return f"`{field.name}`", field.kind, needed, field.bounds, field.says


def _codes(field: Field) -> str:
    """Which code a fault of the member is answered, the common one first."""
    more = (("missing", field.missing), ("too short", field.empty), ("bounds", field.beyond))
    said = [f"{word}: {code}" for word, code in more if code not in (0, field.wrong)]
    return ", ".join([str(field.wrong), *said])


def _code_table(codes: Iterable[int]) -> str:
    return _table(("Code", "Says"), [(str(code), TEXTS[code]) for code in codes])


def _older_table() -> str:
    rows = [(f"`{each.path}`", f"`{each.counted_as}`") for each in COMMANDS if each.counted_as]
    return _table(("Path", "Command"), rows)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _json(text: str) -> str:
    return f"```json\n{laid_out(msgspec.json.decode(text))}\n```"


def laid_out(value: object, indent: int = 0, name: str = "") -> str:
    """JSON on one line where it fits, else a line for each member."""
    head = f"{msgspec.json.encode(name).decode()}: " if name else ""
    flat = msgspec.json.format(msgspec.json.encode(value), indent=0).decode()
    if indent + len(head + flat) < COLUMNS or not value or not isinstance(value, dict | list):
        return head + flat
    left, right = "{}" if isinstance(value, dict) else "[]"
    members = value.items() if isinstance(value, dict) else (("", each) for each in value)
    inner = " " * (indent + 2)
    lines = [inner + laid_out(each, indent + 2, member) for member, each in members]
    return f"{head}{left}\n" + ",\n".join(lines) + f"\n{' ' * indent}{right}"
