"""The files that vendors give credentials out in, told by what is in them."""

from __future__ import annotations

import base64
import codecs
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
    pkcs12,
)
from cryptography.x509 import load_pem_x509_certificate

from tests.unit.channels.kit_shape import ec_key
from tests.unit.channels.test_apns_certificate import identity
from tocsin.channels.credential_files import FILE_MAX_BYTES
from tocsin.channels.vendors import apns
from tocsin.cli.credential_files import read_settings, read_value
from tocsin.cli.screen import EXIT_USAGE, CommandFault

NAMES = apns.Settings.__struct_fields__


def read(path: Path, content: bytes, password: str = "", names: tuple[str, ...] = NAMES) -> object:
    path.write_bytes(content)
    return read_settings(path, names, password)


def bag(password: bytes = b"secret", *, has_key: bool = True) -> bytes:
    pem = identity().encode()
    key = load_pem_private_key(pem, None) if has_key else None
    certificate = load_pem_x509_certificate(pem)
    return pkcs12.serialize_key_and_certificates(
        b"push",
        key,  # type: ignore[arg-type]
        certificate,
        None,
        BestAvailableEncryption(password),
    )


@pytest.mark.evidence(
    "JSON, .p8 and .p12 files",
    topic="Credentials",
    planted="the key ID not read from the name",
)
def test_a_key_of_apples_and_its_id_from_the_name_of_the_file(tmp_path: Path) -> None:
    pem = ec_key().encode()
    told = read(tmp_path / "AuthKey_ABC123DEFG.p8", pem)
    assert told == {"private_key": ec_key(), "key_id": "ABC123DEFG"}
    assert read(tmp_path / "mine.pem", pem) == {"private_key": ec_key()}


@pytest.mark.evidence("JSON, .p8 and .p12 files")
def test_a_service_account_keeps_to_the_settings(tmp_path: Path) -> None:
    content = b' {"private_key":"K","type":"service_account","project_id":"p"}'
    told = read(tmp_path / "account", content, names=("private_key", "project_id"))
    assert told == {"private_key": "K", "project_id": "p"}


@pytest.mark.evidence("JSON, .p8 and .p12 files")
def test_a_certificate_with_its_password(tmp_path: Path) -> None:
    told = read(tmp_path / "push.p12", bag(), "secret")
    assert isinstance(told, dict)
    made = apns.Settings(bundle_id="com.example.app", **told)
    assert apns.expires_at(made) is not None
    assert read(tmp_path / "push.pem", identity().encode()) == {"certificate": identity()}


@pytest.mark.parametrize(
    ("content", "password", "why"),
    [
        (bag(), "another", "password is another"),
        (bag(), "", "password is another"),
        (bag(has_key=False), "secret", "export both together"),
        (b"", "", "is neither"),
        (b"\x00\xff" * 40, "", "is neither"),
        (b'{"private_key":', "", "is no JSON object"),
        (b'{"other":1}', "", "holds none of"),
        (b"{" + b" " * FILE_MAX_BYTES, "", "over a mebibyte"),
    ],
)
def test_what_cannot_be_used_is_said_so(
    tmp_path: Path, content: bytes, password: str, why: str
) -> None:
    with pytest.raises(CommandFault, match=why) as caught:
        read(tmp_path / "file", content, password)
    assert caught.value.exit_code == EXIT_USAGE


ACCOUNT = b'{"type":"service_account","private_key":"K","project_id":"p"}'


@pytest.mark.evidence(
    "a credential's key is taken however it is written, and what is not is said why and not quoted",
)
@pytest.mark.parametrize(
    "content",
    [
        codecs.BOM_UTF8 + ACCOUNT,
        codecs.BOM_UTF8 + b"\r\n" + ACCOUNT,
        ACCOUNT.decode().encode("utf-16"),
        base64.b64encode(ACCOUNT),
        base64.encodebytes(codecs.BOM_UTF8 + ACCOUNT),
    ],
)
def test_an_account_is_read_however_it_was_written(tmp_path: Path, content: bytes) -> None:
    told = read(tmp_path / "account.json", content, names=("private_key", "project_id"))
    assert told == {"private_key": "K", "project_id": "p"}


@pytest.mark.evidence(
    "a credential's key is taken however it is written, and what is not is said why and not quoted",
)
def test_a_key_is_read_however_it_was_written(tmp_path: Path) -> None:
    pem = ec_key()
    key = load_pem_private_key(pem.encode(), None)
    raw = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    for content in (
        codecs.BOM_UTF8 + pem.encode(),
        pem.encode("utf-16"),
        pem.replace("\n", "\\n").encode(),
        base64.b64encode(pem.encode()),
        base64.encodebytes(raw),
        raw,
    ):
        told = read(tmp_path / "AuthKey_ABC123DEFG.p8", content)
        assert isinstance(told, dict)
        assert load_pem_private_key(told["private_key"].encode(), None) is not None
        assert b"BEGIN" in told["private_key"].encode()


def test_a_certificate_in_base64_is_read_with_its_password(tmp_path: Path) -> None:
    told = read(tmp_path / "push.p12.txt", base64.encodebytes(bag()), "secret")
    assert isinstance(told, dict)
    assert apns.Settings(bundle_id="com.example.app", **told).certificate


@pytest.mark.evidence(
    "a credential's key is taken however it is written, and what is not is said why and not quoted",
)
def test_a_value_of_its_own_is_read_without_mark_and_last_line_break(tmp_path: Path) -> None:
    path = tmp_path / "secret.txt"
    for content in (
        b"s3cret\n",
        b"s3cret\r\n",
        codecs.BOM_UTF8 + b"s3cret",
        "s3cret".encode("utf-16"),
    ):
        path.write_bytes(content)
        assert read_value(path) == "s3cret"
    path.write_bytes(ec_key().replace("\n", "\\n").encode())
    assert read_value(path) == ec_key().strip()
    for content, why in ((bag(), "by --file"), (codecs.BOM_UTF16_LE + b"\x00\xd8x", "UTF-16")):
        path.write_bytes(content)
        with pytest.raises(CommandFault, match=why):
            read_value(path)
    with pytest.raises(CommandFault, match="nowhere"):
        read_value(tmp_path / "nowhere")
