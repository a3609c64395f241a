"""The vault and its key file."""

from __future__ import annotations

from pathlib import Path

import pytest

from tocsin.adapters.vault import AesVault, FileKeyring, GivenKeyring, create_key, load_keys
from tocsin.errors import CallError

KEY = bytes(range(32))


def test_what_is_sealed_opens_again_and_shows_nothing() -> None:
    vault = AesVault(KEY)
    sealed = vault.seal(b"a secret", "1/key")
    assert b"secret" not in sealed
    assert vault.open(sealed, "1/key") == b"a secret"
    assert vault.seal(b"a secret", "1/key") != sealed, "a fresh nonce each time"


@pytest.mark.evidence(
    "secrets are sealed from the first schema on",
    topic="Books",
    planted="context not authenticated",
)
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
    create_key(path)
    (key,) = load_keys(path, {})
    assert len(key) == 32
    assert path.stat().st_mode & 0o777 == 0o600
    create_key(path)
    assert load_keys(path, {}) == [key]
    assert [each.name for each in tmp_path.iterdir()] == ["secret.key"]


def test_the_environment_comes_first(tmp_path: Path) -> None:
    path = tmp_path / "secret.key"
    assert load_keys(path, {"TOCSIN_SECRET_KEY": KEY.hex()}) == [KEY]
    assert not path.exists()


@pytest.mark.parametrize("text", ["", "xyz", "00", KEY.hex() + "00"])
def test_a_key_of_the_wrong_form_is_refused_without_quoting_it(tmp_path: Path, text: str) -> None:
    with pytest.raises(ValueError, match="TOCSIN_SECRET_KEY") as caught:
        load_keys(tmp_path / "secret.key", {"TOCSIN_SECRET_KEY": text})
    assert not text or text not in str(caught.value)


def test_a_key_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "secret.key"
    create_key(path)
    path.chmod(0o640)
    with pytest.raises(ValueError, match="0600"):
        load_keys(path, {})


def test_a_vault_wants_a_whole_key() -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        AesVault(bytes(16))


OTHER = bytes(range(32, 64))


def test_a_vault_opens_with_any_key_and_seals_with_the_first() -> None:
    former = AesVault(KEY).seal(b"a secret", "1/key")
    vault = AesVault(OTHER, KEY)
    assert vault.open(former, "1/key") == b"a secret"
    assert AesVault(OTHER).open(vault.seal(b"x", "1/key"), "1/key") == b"x"
    vault.use(OTHER)
    with pytest.raises(ValueError, match="1/key"):
        vault.open(former, "1/key")


def test_a_change_of_keys_is_in_the_file_before_anything_is_sealed_with_it(tmp_path: Path) -> None:
    path = tmp_path / "secret.key"
    create_key(path)
    (former,) = load_keys(path, {})
    vault = AesVault(former)
    ring = FileKeyring(path, [former], vault)
    ring.begin()
    fresh, kept = load_keys(path, {})
    assert (kept, fresh != former) == (former, True)
    assert path.stat().st_mode & 0o777 == 0o600
    assert AesVault(fresh).open(vault.seal(b"x", "c"), "c") == b"x"
    ring.begin()
    # One that a crash has ended half way goes on with the key that it had begun with.
    FileKeyring(path, load_keys(path, {}), vault).begin()
    assert load_keys(path, {}) == [fresh, former]
    ring.finish()
    assert load_keys(path, {}) == [fresh]
    assert [each.name for each in tmp_path.iterdir()] == ["secret.key"]


def test_given_keys_are_changed_by_whoever_gives_them(tmp_path: Path) -> None:
    path = tmp_path / "secret.key"
    with pytest.raises(CallError, match="TOCSIN_SECRET_FORMER_KEY"):
        GivenKeyring([KEY]).begin()
    told = {"TOCSIN_SECRET_KEY": OTHER.hex(), "TOCSIN_SECRET_FORMER_KEY": KEY.hex()}
    keys = load_keys(path, told)
    assert keys == [OTHER, KEY]
    GivenKeyring(keys).begin()
    GivenKeyring(keys).finish()
    assert not path.exists()


@pytest.mark.parametrize("text", ["", "zz", KEY.hex() + "\nzz"])
def test_a_damaged_key_file_is_refused_and_not_quoted(tmp_path: Path, text: str) -> None:
    path = tmp_path / "secret.key"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(ValueError, match=r"secret\.key") as caught:
        load_keys(path, {})
    assert KEY.hex() not in str(caught.value)
