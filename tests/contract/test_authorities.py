"""What outlives a process of what proves us to vendors, whichever adapter keeps it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.channels.kit import NOW
from tocsin.adapters.authorities import FileAuthorities, MemoryAuthorities
from tocsin.adapters.vault import AesVault
from tocsin.clock import ManualClock
from tocsin.conversation import Authority
from tocsin.ports import Authorities

FIRST, SECOND = b"1" * 32, b"2" * 32
TOKEN = Authority("bearer hush-hush", NOW + 45, NOW + 60, made_at=NOW, hold_s=20)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "authorities"


@pytest.fixture(params=["memory", "file"])
def authorities(request: pytest.FixtureRequest, clock: ManualClock, path: Path) -> Authorities:
    if request.param == "memory":
        return MemoryAuthorities(clock)
    return FileAuthorities(path, AesVault(FIRST), clock)


def rename(path: Path, former: bytes, name: bytes) -> None:
    path.write_bytes(path.read_bytes().replace(b"\xa1" + former, b"\xa1" + name))


def is_hidden(path: Path, secret: bytes) -> bool:
    """Whether a file is its owner's alone and does not hold this text."""
    return secret not in path.read_bytes() and not path.stat().st_mode & 0o077


def put(path: Path, text: bytes | None) -> None:
    """A file with this text; None: a folder in its place."""
    if text is None:
        path.mkdir()
    else:
        path.write_bytes(text)


def size_of(path: Path) -> int:
    return path.stat().st_size


async def test_what_was_saved_is_there_until_it_expires(
    authorities: Authorities, clock: ManualClock
) -> None:
    assert await authorities.load("a") is None
    await authorities.save("a", TOKEN)
    await authorities.save("b", Authority("other", NOW + 10, NOW + 600))
    assert await authorities.load("a") == TOKEN
    await clock.advance(59)
    assert await authorities.load("a") == TOKEN
    await clock.advance(1)
    assert await authorities.load("a") is None
    assert await authorities.load("b") is not None


async def test_a_later_one_takes_the_place_of_a_former(authorities: Authorities) -> None:
    later = Authority("bearer later", NOW + 90, NOW + 120)
    for each in (TOKEN, later):
        await authorities.save("a", each)
    assert await authorities.load("a") == later


@pytest.mark.evidence(
    "a saved authority is sealed, ends with its time, and is no good if a wrong clock made it",
    topic="Credentials",
    planted="expired rows kept; the time of making not looked at",
)
async def test_another_process_finds_it_and_another_key_or_name_does_not(
    clock: ManualClock, path: Path
) -> None:
    await FileAuthorities(path, AesVault(FIRST), clock).save("a", TOKEN)
    assert await FileAuthorities(path, AesVault(FIRST), clock).load("a") == TOKEN
    assert await FileAuthorities(path, AesVault(SECOND), clock).load("a") is None
    assert is_hidden(path, b"hush")
    rename(path, b"a", b"b")
    assert await FileAuthorities(path, AesVault(FIRST), clock).load("b") is None


async def test_sealed_anew_it_opens_with_the_new_key_alone(clock: ManualClock, path: Path) -> None:
    await FileAuthorities(path, AesVault(FIRST), clock).save("a", TOKEN)
    await FileAuthorities(path, AesVault(SECOND, FIRST), clock).seal_anew()
    assert await FileAuthorities(path, AesVault(SECOND), clock).load("a") == TOKEN
    assert await FileAuthorities(path, AesVault(FIRST), clock).load("a") is None


@pytest.mark.parametrize("damage", [b"", b"\xc1", b"\x80rest", b"\x81\xa1a\x01"])
async def test_a_damaged_file_holds_nothing_and_is_written_again(
    clock: ManualClock, path: Path, damage: bytes
) -> None:
    put(path, damage)
    one = FileAuthorities(path, AesVault(FIRST), clock)
    assert await one.load("a") is None
    await one.save("a", TOKEN)
    assert await one.load("a") == TOKEN


@pytest.mark.evidence(
    "a saved authority is sealed, ends with its time, and is no good if a wrong clock made it",
)
async def test_what_has_expired_is_not_kept_in_the_file(clock: ManualClock, path: Path) -> None:
    one = FileAuthorities(path, AesVault(FIRST), clock)
    await one.save("a", TOKEN)
    size = size_of(path)
    await clock.advance(60)
    for number in range(5):
        now = clock.now()
        await one.save("a", Authority("bearer hush-hush", now, now + 60, made_at=now))
        await one.save(f"b{number}", Authority("short", now, now))
        await clock.advance(60)
    assert size_of(path) < 2 * size + 200


async def test_one_that_cannot_be_written_stops_nobody(clock: ManualClock, path: Path) -> None:
    put(path, None)
    one = FileAuthorities(path, AesVault(FIRST), clock)
    await one.save("a", TOKEN)
    assert await one.load("a") is None
