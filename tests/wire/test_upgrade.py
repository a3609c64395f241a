"""A service that starts on the folder of an earlier release."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path

import apsw
import pytest

from tests.contract.test_stored_tokens import EARLIER, EXPECTED, opened, tokens_of
from tests.wire.served import process_of
from tocsin.adapters.sqlite.folder import DATABASE


@pytest.mark.evidence(
    "stored tokens of an earlier release are normalised before anything is served; the "
    "newest registration keeps a doubled one",
)
async def test_tokens_are_normal_before_anything_is_served(tmp_path: Path) -> None:
    connection = apsw.Connection(str(tmp_path / DATABASE))
    connection.execute(EARLIER.read_text("utf-8"))
    connection.close()
    async with process_of(tmp_path) as process:
        await process.kill()
    async with AsyncExitStack() as stack:
        store = await opened(tmp_path, stack)
        assert await store.unchecked(1) + await store.unchecked(2) == 0
        assert await tokens_of(store) == EXPECTED
