"""Data step 4: gives the tokens that earlier releases stored their one spelling.

It goes with schema file 0004 and is done in Python, since the digest of a route cannot be made in
SQL. Each page is one transaction, and a page that was written is not found again: a service that
is killed half way goes on there at its next start, and one that was served by an earlier release
in between looks at what that one wrote. It has to be done before anything is sent or registered.
"""

from __future__ import annotations

from collections.abc import Callable

from tocsin.domain.tokens import Normalised, normal_routes, normalise
from tocsin.log import get_logger
from tocsin.ports import NormalRoute
from tocsin.store import Store

PAGE = 1000
"""Devices in a transaction: about a megabyte."""

Progress = Callable[[int, int], None]
"""Told how many devices are done, and of how many."""


async def normalise_stored_tokens(
    store: Store,
    normal_route: NormalRoute,
    *,
    progress: Progress = lambda _done, _total: None,
    is_ended: Callable[[], bool] = lambda: False,
    page: int = PAGE,
) -> Normalised:
    """Normalise every app's stored tokens; where `is_ended` says so, the rest at the next start."""
    apps = {app: await store.unchecked(app) for app in await store.apps()}
    total, everywhere = sum(apps.values()), Normalised()
    for app in (app for app, count in apps.items() if count):
        here = Normalised()
        while not is_ended():
            devices = await store.unchecked_devices(app, page)
            if not devices:
                break
            numbers = [device.number for device in devices]
            routes = normal_routes(devices, normal_route)
            found = await store.update_devices(app, numbers, routes, normalise(normal_route))
            assert isinstance(found, Normalised)
            here += found
            progress(everywhere.devices + here.devices, total)
        everywhere += here
        get_logger(__name__).info(
            "stored device tokens normalised",
            app=app,
            devices=here.devices,
            respelled=here.respelled,
            doubled=here.doubled,
            dropped=here.dropped,
            left=apps[app] - here.devices,
        )
    return everywhere
