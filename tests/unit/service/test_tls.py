"""A certificate is renewed on the live context, or stays when the new one cannot be used."""

from __future__ import annotations

import contextlib
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from tocsin.cli.certificates import make_self_signed
from tocsin.clock import SystemClock
from tocsin.errors import SetupError
from tocsin.service.tls import Certificate

DAY_S = 86_400


class Files:
    """A chain and its key, as an operator has them written."""

    def __init__(self, folder: Path) -> None:
        self.chain, self.key = folder / "chain.pem", folder / "key.pem"

    def write(self, name: str, *, days: int = 30, ago_s: float = 0.0) -> None:
        now = SystemClock().now() - ago_s
        chain, key = make_self_signed([name], days, now)
        self.chain.write_bytes(chain)
        self.key.write_bytes(key)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    made = Files(tmp_path)
    made.write("one.test")
    return made


class Live:
    """A context that connections are accepted with."""

    def __init__(self, files: Files) -> None:
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(files.chain, files.key)
        self.certificate = Certificate(self.context, files.chain, files.key, SystemClock())
        self._files = files

    def renew(self) -> str:
        return self.certificate.renew(self._files.chain, self._files.key)

    def name(self) -> str:
        """Whose certificate a caller is shown now."""
        to_server, to_caller = ssl.MemoryBIO(), ssl.MemoryBIO()
        trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
        server = self.context.wrap_bio(to_server, to_caller, server_side=True)
        caller = trusting.wrap_bio(to_caller, to_server)
        for side in (caller, server, caller):
            with contextlib.suppress(ssl.SSLWantReadError):
                side.do_handshake()
        shown = caller.getpeercert(binary_form=True)
        assert shown is not None
        (common,) = x509.load_der_x509_certificate(shown).subject
        return str(common.value)


@pytest.mark.evidence(
    "a TLS certificate is renewed without a restart; a bad one leaves the former",
    topic="Settings, log and reload",
    planted="loaded into the live context unchecked; the end not looked at",
)
def test_a_renewed_certificate_is_served(files: Files) -> None:
    live = Live(files)
    assert live.renew() == "", "nothing has changed"
    files.write("two.test")
    assert live.renew()
    assert live.name() == "two.test"
    assert live.renew() == ""


@pytest.mark.evidence("a TLS certificate is renewed without a restart; a bad one leaves the former")
def test_anothers_key_leaves_the_former(files: Files) -> None:
    live = Live(files)
    former = files.key.read_bytes()
    files.write("two.test")
    files.key.write_bytes(former)
    with pytest.raises(SetupError, match="cannot be used"):
        live.renew()
    assert live.name() == "one.test"


@pytest.mark.parametrize("text", ["", "no certificate", "-----BEGIN CERTIFICATE-----\nx\n"])
def test_what_is_no_certificate_leaves_the_former(files: Files, text: str) -> None:
    live = Live(files)
    files.chain.write_text(text)
    with pytest.raises(SetupError):
        live.renew()
    assert live.name() == "one.test"
    files.chain.unlink()
    with pytest.raises(SetupError, match="No such file"):
        live.renew()


@pytest.mark.evidence("a TLS certificate is renewed without a restart; a bad one leaves the former")
def test_one_that_has_ended_leaves_the_former(files: Files) -> None:
    live = Live(files)
    files.write("two.test", days=2, ago_s=10 * DAY_S)
    with pytest.raises(SetupError, match="it ended on"):
        live.renew()
    assert live.name() == "one.test"


@pytest.mark.evidence("a TLS certificate is renewed without a restart; a bad one leaves the former")
def test_a_key_with_a_password_is_asked_for_nowhere(files: Files) -> None:
    live = Live(files)
    files.write("two.test")
    key = serialization.load_pem_private_key(files.key.read_bytes(), None)
    files.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"word"),
        )
    )
    with pytest.raises(SetupError, match="has a password"):
        live.renew()
    assert live.name() == "one.test"
