"""A phone whose token is spelt in two ways, from its registration to its vendor's server."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from tests.sim.works import APP, Works
from tocsin.adapters.bus import LocalBus
from tocsin.channels.registry import normal_route
from tocsin.clock import Chance
from tocsin.domain.device import Route
from tocsin.domain.hello import Hello
from tocsin.pipeline.app_secrets import AppSecrets
from tocsin.pipeline.register import Registering


def turned(subscription: str) -> str:
    """The members in the other order, with white space."""
    told = msgspec.json.decode(subscription)
    text = msgspec.json.encode({name: told[name] for name in reversed(told)}).decode()
    return msgspec.json.format(text, indent=1)


def as_printed(token: str) -> str:
    return f"<{' '.join(token[at : at + 8] for at in range(0, len(token), 8))}>\n"


async def login(works: Works, user: str, vendor: str, token: str) -> None:
    """A fresh install of the app in which this user logs in."""
    registrar = Registering(
        store=works.store,
        app_secrets=AppSecrets(works.vault),
        bus=LocalBus(),
        clock=works.clock,
        chance=Chance(int.from_bytes(user.encode())),
        metrics=works.metrics,
        normal_route=normal_route,
    )
    signed = await works.operator.usersig(APP, user, 3600)
    hello = Hello(
        sdkappid=APP,
        user=user,
        usersig=signed,
        route=Route(vendor, works.numbers[vendor], token),
    )
    await registrar.register(hello, "10.0.0.1")


@pytest.mark.evidence(
    "a device is one however its token is spelt, for ten vendors, two users and a reinstall",
)
@pytest.mark.parametrize(
    ("vendor", "respelt"),
    [("apns", str.upper), ("apns", as_printed), ("webpush", turned), ("xiaomi", "\n{}".format)],
    ids=["capitals", "printed", "subscription", "line"],
)
async def test_one_phone_shows_its_last_users_pushes_alone(
    vendor: str, respelt: Callable[[str], str]
) -> None:
    works = await Works().open({vendor: 0})
    (token,) = works.sandbox.tokens(vendor, 0, 1)
    assert respelt(token) != token
    for user, text in (("ann", token), ("bob", respelt(token))):
        await login(works, user, vendor, text)
    for_ann = await works.push(accounts=("ann",))
    for_bob = await works.push(accounts=("bob",))
    assert (await works.go_on(2))[vendor] == 1
    assert (await works.ledger(for_ann)).states["sent"] == 0
    assert (await works.ledger(for_bob)).states["sent"] == 1
    entries = works.sandbox.log.entries(accepted=True, vendor=vendor)
    assert [entry.token for entry in entries] == [token]


async def test_a_token_as_an_old_console_prints_it_is_served() -> None:
    works = await Works().open({"apns": 0})
    (token,) = works.sandbox.tokens("apns", 0, 1)
    await login(works, "ann", "apns", as_printed(token))
    task = await works.push(accounts=("ann",))
    await works.go_on(2)
    assert (await works.ledger(task)).states["sent"] == 1
