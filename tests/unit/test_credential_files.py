"""The files that vendors give credentials out in, told by what is in them."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    load_pem_private_key,
    pkcs12,
)
from cryptography.x509 import load_pem_x509_certificate

from tests.unit.channels.kit_shape import ec_key
from tests.unit.channels.test_apns_certificate import identity
from tocsin.channels import apns
from tocsin.cli.credential_files import FILE_MAX_BYTES, read_settings
from tocsin.cli.screen import EXIT_USAGE, Fault

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


def test_a_key_of_apples_and_its_id_from_the_name_of_the_file(tmp_path: Path) -> None:
    pem = ec_key().encode()
    told = read(tmp_path / "AuthKey_ABC123DEFG.p8", pem)
    assert told == {"private_key": ec_key(), "key_id": "ABC123DEFG"}
    assert read(tmp_path / "mine.pem", pem) == {"private_key": ec_key()}


def test_a_service_account_keeps_to_the_settings(tmp_path: Path) -> None:
    content = b' {"private_key":"K","type":"service_account","project_id":"p"}'
    told = read(tmp_path / "account", content, names=("private_key", "project_id"))
    assert told == {"private_key": "K", "project_id": "p"}


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
    with pytest.raises(Fault, match=why) as caught:
        read(tmp_path / "file", content, password)
    assert caught.value.exit_code == EXIT_USAGE
