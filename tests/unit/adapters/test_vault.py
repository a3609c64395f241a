"""The vault and its key file."""

from __future__ import annotations

from pathlib import Path

import pytest

from tocsin.adapters.vault import AesVault, load_key

KEY = bytes(range(32))


def test_what_is_sealed_opens_again_and_shows_nothing() -> None:
    vault = AesVault(KEY)
    sealed = vault.seal(b"a secret", "1/key")
    assert b"secret" not in sealed
    assert vault.open(sealed, "1/key") == b"a secret"
    assert vault.seal(b"a secret", "1/key") != sealed, "a fresh nonce each time"


def test_another_key_context_or_any_changed_byte_opens_nothing() -> None:
    vault = AesVault(KEY)
    sealed = vault.seal(b"a secret", "1/key")
    with pytest.raises(ValueError, match="1/appkey"):
        vault.open(sealed, "1/appkey")
    with pytest.raises(ValueError, match="1/key"):
        AesVault(bytes(32)).open(sealed, "1/key")
    for place in range(len(sealed)):
        damaged = bytearray(sealed)
        damaged[place] ^= 1
        with pytest.raises(ValueError, match="1/key"):
            vault.open(bytes(damaged), "1/key")
    for short in (b"", sealed[:5], sealed[:13], sealed[:-1]):
        with pytest.raises(ValueError, match="1/key"):
            vault.open(short, "1/key")


def test_the_key_file_is_made_once_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "secret.key"
    key = load_key(path, {})
    assert len(key) == 32
    assert path.stat().st_mode & 0o777 == 0o600
    assert load_key(path, {}) == key
    assert [each.name for each in tmp_path.iterdir()] == ["secret.key"]


def test_the_environment_comes_first(tmp_path: Path) -> None:
    path = tmp_path / "secret.key"
    assert load_key(path, {"TOCSIN_SECRET_KEY": KEY.hex()}) == KEY
    assert not path.exists()


@pytest.mark.parametrize("text", ["", "xyz", "00", KEY.hex() + "00"])
def test_a_key_of_the_wrong_form_is_refused_without_quoting_it(tmp_path: Path, text: str) -> None:
    with pytest.raises(ValueError, match="TOCSIN_SECRET_KEY") as caught:
        load_key(tmp_path / "secret.key", {"TOCSIN_SECRET_KEY": text})
    assert not text or text not in str(caught.value)


def test_a_key_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "secret.key"
    load_key(path, {})
    path.chmod(0o640)
    with pytest.raises(ValueError, match="0600"):
        load_key(path, {})


def test_a_vault_wants_a_whole_key() -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        AesVault(bytes(16))
