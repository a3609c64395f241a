"""The bus: hints that reach whoever listens now."""

from __future__ import annotations

import asyncio
from typing import Any

from tocsin.adapters.bus import LocalBus
from tocsin.clock import settle_loop


async def test_each_listener_of_the_subject_hears_each_payload() -> None:
    bus, heard = LocalBus(), list[tuple[str, bytes]]()
    bus.subscribe("work", lambda payload: heard.append(("one", payload)))
    bus.subscribe("work", lambda payload: heard.append(("two", payload)))
    bus.subscribe("other", lambda payload: heard.append(("other", payload)))
    bus.publish("work", b"a")
    bus.publish("work")
    await settle_loop()
    assert heard == [("one", b"a"), ("two", b"a"), ("one", b""), ("two", b"")]


async def test_whoever_stopped_hears_nothing_more() -> None:
    bus, heard = LocalBus(), list[bytes]()
    stop = bus.subscribe("work", heard.append)
    bus.publish("work", b"on the way")
    stop()
    stop()
    bus.publish("work", b"late")
    await settle_loop()
    assert heard == []


async def test_nobody_listening_is_no_failure() -> None:
    LocalBus().publish("work", b"")


async def test_a_listener_that_fails_hurts_neither_publisher_nor_listeners() -> None:
    bus, heard, told = LocalBus(), list[bytes](), list[dict[str, Any]]()
    asyncio.get_running_loop().set_exception_handler(lambda _, story: told.append(story))

    def fail(payload: bytes) -> None:
        raise ValueError(payload)

    bus.subscribe("work", fail)
    bus.subscribe("work", heard.append)
    bus.publish("work", b"a")
    await settle_loop()
    assert heard == [b"a"]
    assert len(told) == 1


async def test_a_listener_may_publish() -> None:
    bus, heard = LocalBus(), list[bytes]()
    bus.subscribe("ping", lambda payload: bus.publish("pong", payload))
    bus.subscribe("pong", heard.append)
    bus.publish("ping", b"a")
    await settle_loop()
    assert heard == [b"a"]
