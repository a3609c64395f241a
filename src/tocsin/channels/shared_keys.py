"""Keys and certificates as people hand them over: in one line, with written line breaks, in base64.

A key travels through JSON files, variables of environments and consoles, and each of them writes
line breaks in its own way. What is meant is plain, so it is taken; what is not is said why.
"""

from __future__ import annotations

import base64
import binascii
import re

from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
)

MARK = "\ufeff"
"""The byte order mark that some editors put before a text."""
ENCODED_MIN = 64
"""Characters of the shortest base64 that holds a key; a Web Push key by itself has 43."""
LINE = 64

_BLOCK = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----(.*?)-----END \1-----", re.DOTALL)
_WRITTEN_BREAK = re.compile(r"(?:\\+r)?\\+n")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]+={0,2}")
_FILE_NAME = re.compile(r"@?[^\n{}]{1,200}\.(?:p8|pem|key|json|p12|pfx|txt)", re.IGNORECASE)


def plain_key(text: str) -> str:
    """A key or certificate as PEM with its line breaks; any other text only without its mark."""
    bare = text.removeprefix(MARK)
    pem = bare if "-----BEGIN" in bare else _decoded(bare)
    if pem is None:
        return bare
    if pem is text and "\n" in pem.strip() and "\\" not in pem:
        return pem
    blocks = _BLOCK.findall(_WRITTEN_BREAK.sub("\n", pem))
    return "".join(map(_block, *zip(*blocks, strict=True))) if blocks else pem


def why_unreadable(text: str) -> str:
    """What may be wrong with a text that no key could be read from: the end of a sentence.

    It quotes nothing of the text.
    """
    bare = text.strip()
    for sign, why in (
        (not bare, "it is empty"),
        (_FILE_NAME.fullmatch(bare), "it looks like the name of a file: write @ before it"),
        (bare[:1] == "{", "it is a whole JSON file: give that by --file"),
        ("ENCRYPTED" in bare, "it is encrypted: write it out without a password"),
        ("BEGIN OPENSSH" in bare, "it is an SSH key: export it as PKCS 8"),
        ("PRIVATE KEY" in bare and "-----END" not in bare, "its last line is missing"),
        ("PRIVATE KEY" in bare, "some of its characters are missing or others"),
        ("PUBLIC KEY" in bare, "it is the public half"),
        ("BEGIN CERTIFICATE" in bare, "it is a certificate alone, without its key"),
    ):
        if sign:
            return why
    return "there is no PEM in it, which begins and ends with lines of dashes"


def decoded(text: str) -> bytes | None:
    """What a text holds that is nothing but base64, of either alphabet; None for any other."""
    compact = "".join(text.split())
    if len(compact) < ENCODED_MIN or not _BASE64.fullmatch(compact):
        return None
    whole = compact.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(whole + "=" * (-len(whole) % 4), validate=True)
    except binascii.Error:
        return None


def _decoded(text: str) -> str | None:
    """The PEM that is written as base64, of its text or of what it holds."""
    found = decoded(text.strip().strip("\"'"))
    if found is None:
        return None
    if b"-----BEGIN" in found:
        return found.decode("utf-8", "replace").removeprefix(MARK)
    try:
        key = load_der_private_key(found, None, unsafe_skip_rsa_key_validation=True)
    except (TypeError, ValueError):
        return None
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def _block(label: str, body: str) -> str:
    if ":" in body:
        # The old form of an encrypted key has lines of its own.
        return f"-----BEGIN {label}-----{body}-----END {label}-----\n"
    compact = "".join(body.split())
    lines = [compact[at : at + LINE] for at in range(0, len(compact), LINE)]
    return "\n".join([f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", ""])
