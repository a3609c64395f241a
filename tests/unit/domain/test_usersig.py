"""UserSig v2: the vectors of the official libraries, in both directions, and hostile tokens."""

from __future__ import annotations

import base64
import json
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tocsin.domain.usersig import INFLATED_MAX_BYTES, decode, sign, verify
from tocsin.errors import CallError

VECTORS = json.loads(Path(__file__).parents[2].joinpath("vectors/usersig.json").read_text())
APP: int = VECTORS["sdkappid"]
KEY: str = VECTORS["key"]
AT: int = VECTORS["issued_at"]


def code_of(token: str, **more: Any) -> int:
    asked = {"sdkappid": APP, "identifier": "administrator", "key": KEY, "now": AT, **more}
    try:
        verify(token, **asked)
    except CallError as error:
        return error.code
    return 0


def pack(plain: bytes, level: int = -1) -> str:
    text = base64.b64encode(zlib.compress(plain, level)).decode()
    return text.translate(str.maketrans("+/=", "*-_"))


def members(token: str) -> dict[str, Any]:
    packed = base64.b64decode(token.translate(str.maketrans("*-_", "+/=")))
    read: dict[str, Any] = json.loads(zlib.decompress(packed))
    return read


@pytest.mark.evidence(
    "UserSig, both directions, every layout and rejection",
    topic="The wire",
    planted="expiry compared with ≥; the key decoded from hexadecimal; JSON with spaces "
    "refused; another app's token not told apart",
)
@pytest.mark.parametrize("row", VECTORS["tokens"], ids=lambda row: f"{row['name']}-{row['layout']}")
def test_tokens_of_the_official_libraries_verify(row: dict[str, Any]) -> None:
    token = verify(
        row["usersig"], sdkappid=APP, identifier=row["identifier"], key=KEY, now=AT + row["expire"]
    )
    assert (token.sig, token.issued_at, token.expire_s) == (row["sig"], AT, row["expire"])


@pytest.mark.parametrize("row", VECTORS["tokens"], ids=lambda row: f"{row['name']}-{row['layout']}")
def test_ours_say_what_theirs_say(row: dict[str, Any]) -> None:
    userbuf = row["userbuf_base64"] and base64.b64decode(row["userbuf_base64"])
    ours = sign(APP, KEY, row["identifier"], row["expire"], AT, userbuf=userbuf)
    assert members(ours) == members(row["usersig"])


@pytest.mark.evidence("UserSig, both directions, every layout and rejection")
@pytest.mark.parametrize("row", VECTORS["rejections"], ids=lambda row: str(row["code"]))
def test_rejections_have_their_codes(row: dict[str, Any]) -> None:
    asked = {name: row[name] for name in ("sdkappid", "identifier", "now")}
    assert code_of(row["usersig"], key=row.get("key", KEY), **asked) == row["code"]


@pytest.mark.evidence("UserSig, both directions, every layout and rejection")
@pytest.mark.parametrize("level", [0, 1, 9])
@pytest.mark.parametrize("tail", [b"", b"\n", b"  "])
def test_layout_and_compression_are_free(level: int, tail: bytes) -> None:
    said = members(sign(APP, KEY, "administrator", 60, AT))
    turned = dict(reversed(said.items())) | {"TLS.unknown": [1]}
    plain = json.dumps(turned, indent=2, ensure_ascii=True).encode() + tail
    assert code_of(pack(plain, level)) == 0


def test_names_beyond_ascii_may_be_escaped_or_not() -> None:
    said = members(sign(APP, KEY, "管理员", 60, AT))
    for is_escaped in (True, False):
        plain = json.dumps(said, ensure_ascii=is_escaped).encode()
        assert code_of(pack(plain), identifier="管理员") == 0


@pytest.mark.parametrize(
    "changed",
    [
        {"TLS.ver": "1.0"},
        {"TLS.ver": None},
        {"TLS.sig": None},
        {"TLS.sig": 5},
        {"TLS.time": "5"},
        {"TLS.time": 1.5},
        {"TLS.expire": True},
        {"TLS.sdkappid": str(APP)},
        {"TLS.identifier": 5},
        {"TLS.userbuf": 5},
        {"TLS.userbuf": "no base64!"},
        {"TLS.identifier": "two\nlines"},
    ],
)
def test_a_member_of_the_wrong_form_is_70003(changed: dict[str, Any]) -> None:
    said = members(sign(APP, KEY, "administrator", 60, AT)) | changed
    said = {name: value for name, value in said.items() if value is not None}
    assert code_of(pack(json.dumps(said).encode())) == 70003


def test_a_line_break_cannot_make_one_name_pass_for_another() -> None:
    """An app that signs names its users choose must not hand out its administrator's token."""
    evil = f"administrator\nTLS.sdkappid:{APP}\nTLS.time:{AT}\nTLS.expire:60\nTLS.userbuf:x"
    signed = members(sign(APP, KEY, evil, 60, AT))
    rest = f"x\nTLS.sdkappid:{APP}\nTLS.time:{AT}\nTLS.expire:60"
    forged = signed | {"TLS.identifier": "administrator", "TLS.userbuf": rest}
    assert code_of(pack(json.dumps(forged).encode())) == 70003


@pytest.mark.parametrize(
    "token",
    [
        "+",
        "a b",
        "%2A",
        "=",
        "a",
        "_",
        "a_bc",
        "é",
        "A" * 8193,
        pack(b"{}"),
        pack(b"[]"),
        pack(b"null"),
        pack(b"[" * 10_000),
        pack(b"\xff"),
        pack(b"{}") + pack(b"{}"),
    ],
)
def test_no_token_at_all_is_70003(token: str) -> None:
    assert code_of(token) == 70003


def test_a_tail_behind_the_token_is_70003() -> None:
    good = base64.b64decode(sign(APP, KEY, "administrator", 60, AT).translate(
        str.maketrans("*-_", "+/=")
    ))  # fmt: skip
    longer = base64.b64encode(good + b"tail").decode().translate(str.maketrans("+/=", "*-_"))
    assert code_of(longer) == 70003


def test_every_cut_of_a_token_is_refused() -> None:
    token = sign(APP, KEY, "administrator", 60, AT)
    assert {code_of(token[:end]) for end in range(1, len(token))} == {70003}


def test_the_inflated_text_may_be_as_long_as_the_limit_and_no_longer() -> None:
    said = json.dumps(members(sign(APP, KEY, "administrator", 60, AT))).encode()
    full = said + b" " * (INFLATED_MAX_BYTES - len(said))
    assert code_of(pack(full)) == 0
    assert code_of(pack(full + b" ")) == 70003


def bombs() -> list[str]:
    """One that passes the length check and inflates to 6 MB, and one that inflates to 2 GB."""
    deflater = zlib.compressobj(9)
    head = deflater.compress(b"") + deflater.flush(zlib.Z_FULL_FLUSH)
    mebibyte = deflater.compress(bytes(1 << 20)) + deflater.flush(zlib.Z_FULL_FLUSH)
    packed = [head + mebibyte * 5, head + mebibyte * 2048]
    return [base64.b64encode(it).decode().translate(str.maketrans("+/=", "*-_")) for it in packed]


@pytest.mark.evidence(
    "a token that inflates to gigabytes costs under 1 MiB",
    topic="The wire",
    planted="the bound on inflation removed",
)
@pytest.mark.parametrize("token", bombs(), ids=["6 MB", "2 GB"])
def test_a_bomb_costs_less_than_a_mebibyte(token: str) -> None:
    tracemalloc.start()
    try:
        assert code_of(token) == 70003
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1 << 20


@given(st.text(alphabet="ABCDEFabcdef0123456789*-_", max_size=300))
def test_any_text_is_refused_without_harm(token: str) -> None:
    with pytest.raises(CallError) as caught:
        decode(token)
    assert caught.value.code in (70002, 70003)


@given(
    name=st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=32),
    expire_s=st.integers(1, 10**9),
    userbuf=st.one_of(st.none(), st.binary(max_size=60)),
)
def test_what_is_signed_verifies_until_its_last_second(
    name: str, expire_s: int, userbuf: bytes | None
) -> None:
    token = sign(APP, KEY, name, expire_s, AT + 0.9, userbuf=userbuf)
    assert code_of(token, identifier=name, now=AT + expire_s + 0.9) == 0
    assert code_of(token, identifier=name, now=AT + expire_s + 1) == 70001
    assert code_of(token, identifier=name, key=KEY + "0") == 70009
