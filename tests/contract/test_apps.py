"""Rows of apps, and how copies of them know that they are old."""

from __future__ import annotations

import msgspec
import pytest

from tests.contract.rows import add_app
from tocsin.domain.app import App, begin_removal
from tocsin.errors import CallError
from tocsin.store import ROWS_REMOVED_MIN, Store


def begin_removal_of(app: App | None) -> App:
    assert app is not None
    return begin_removal(app)


@pytest.mark.evidence(
    "a preflight is answered where any app names the origin, and costs no reads until an "
    "app changes",
)
async def test_the_version_grows_with_each_change_of_a_row(store: Store) -> None:
    seen = [store.app_version]
    assert seen[0] > 0

    def change(app: App | None) -> App:
        assert app is not None
        return msgspec.structs.replace(app, origins=("https://app.example.com",))

    await store.update_app(1, change)
    seen.append(store.app_version)
    await store.reserve_prefix(2, "own-", lambda app, _: app)
    seen.append(store.app_version)
    await add_app(store, 3)
    seen.append(store.app_version)
    await store.update_app(3, begin_removal_of)
    while not (await store.remove_rows(3, ROWS_REMOVED_MIN)).is_empty:
        pass
    seen.append(store.app_version)
    assert await store.remove_app(3)
    seen.append(store.app_version)
    assert seen == sorted(set(seen))
    row = await store.app(1)
    assert row is not None
    assert row.origins == ("https://app.example.com",)


async def test_a_change_that_is_refused_leaves_the_version(store: Store) -> None:
    before = store.app_version

    def refuse(_: App | None) -> App:
        raise CallError(70402)

    with pytest.raises(CallError):
        await store.update_app(1, refuse)
    await store.app(1)
    assert store.app_version == before


def test_a_row_of_an_earlier_release_names_no_origins() -> None:
    row = msgspec.structs.asdict(App(sdkappid=1, key=b"k", appkey=b"a"))
    del row["origins"]
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(row), type=App).origins == ()
