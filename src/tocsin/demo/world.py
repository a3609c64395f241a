"""The demo's own lists: who there is, what they carry, and whom each push is for.

Everything here is plain Python over plain lists, so that it can judge the service's bitmaps: an
audience is worked out person by person, by the words of the condition and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

from msgspec import Struct

from tocsin.client.rest import condition
from tocsin.clock import Chance
from tocsin.sandbox.apns import Apns
from tocsin.sandbox.fcm import Fcm

SEED = 20_260_101
CITIES = ("Oslo", "Lima", "Kyoto", "Nairobi", "München")
PLANS = ("free", "pro")
LANGUAGES = ("en", "ja", "de")
SLOTS = {"0": "city", "1": "plan", "2": "language"}
TAGS: tuple[tuple[str, float], ...] = (
    ("vip", 0.12),
    ("beta", 0.30),
    ("daily", 0.60),
    ("muted", 0.10),
    ("常連", 0.05),
)
"""Each tag and the share of accounts that carry it; one takes more bytes than letters."""
DEAD_EVERY = 100
"""One vendor token in so many has died: few enough not to accuse the credential."""
REPORTS_EVERY = 60
"""One phone in so many reports what it was shown."""
CLICK_EVERY = 5
"""One socket device in so many clicks what it is shown."""


class Sizes(Struct, frozen=True, kw_only=True):
    """How large the demo is."""

    accounts: int = 10_000
    apns: int = 6_000
    fcm: int = 3_000
    sockets: int = 200
    sockets_with_fcm: int = 100
    silent: int = 20
    """Sockets that never ack; half of them also own an FCM token."""
    batch: int = 500
    throttled: int = 60
    """Vendor requests that are answered "too many" once."""
    ttl_s: int = 15
    """A push lives so long: then devices that never answer have expired."""


SMALL = Sizes(
    accounts=500,
    apns=300,
    fcm=150,
    sockets=10,
    sockets_with_fcm=5,
    silent=2,
    batch=25,
    throttled=4,
    ttl_s=6,
)
"""One twentieth: for tests and slow machines."""


class Gadget(Struct, kw_only=True):
    """One device of the demo."""

    user: str
    channel: Literal["", "apns", "fcm"] = ""
    token: str = ""
    has_socket: bool = False
    is_silent: bool = False
    """Takes pushes over its socket and never says so."""
    is_dead: bool = False
    """The vendor will say that its token has died."""
    clicks: bool = False
    reports: bool = False
    """A phone that tells the service, over plain HTTP, what arrived."""
    registration_id: str = ""
    secret: str = ""


class Person(Struct, frozen=True, kw_only=True):
    """One account of the demo."""

    name: str
    attrs: dict[str, str]
    tags: tuple[str, ...]


class World(Struct, kw_only=True):
    """Everything the demo knows by itself."""

    sizes: Sizes
    people: list[Person]
    gadgets: list[Gadget]

    def on_sockets(self) -> list[Gadget]:
        """The devices that will be connected."""
        return [gadget for gadget in self.gadgets if gadget.has_socket]

    def with_tokens(self) -> list[Gadget]:
        """The devices that a vendor can reach, dead ones included."""
        return [gadget for gadget in self.gadgets if gadget.token]

    def owners(self) -> dict[tuple[str, str], str]:
        """(vendor, token) to RegistrationID."""
        return {(it.channel, it.token): it.registration_id for it in self.with_tokens()}


class Act(Struct, frozen=True, kw_only=True):
    """One push of the demo: what is asked for, and whom it must reach."""

    name: str
    """Short: the head of its column in the table."""
    label: str
    condition: dict[str, Any] = {}
    """Wire spelling."""
    accounts: tuple[str, ...] = ()
    """Batch only."""
    expected: frozenset[str]
    is_recalled: bool = False


def make_world(sizes: Sizes, seed: int = SEED) -> World:
    """People with tags and attributes drawn from the seed, and their devices."""
    chance = Chance(seed)
    people = [_person(number, chance) for number in range(sizes.accounts)]
    return World(sizes=sizes, people=people, gadgets=_gadgets(sizes, people))


def _person(number: int, chance: Chance) -> Person:
    def pick(choices: Sequence[str]) -> str:
        return choices[int(chance.fraction() * len(choices))]

    tags = tuple(tag for tag, share in TAGS if chance.fraction() < share)
    attrs = {"city": pick(CITIES), "plan": pick(PLANS), "language": pick(LANGUAGES)}
    return Person(name=f"user-{number:05d}", attrs=attrs, tags=tags)


def _gadgets(sizes: Sizes, people: Sequence[Person]) -> list[Gadget]:
    """Devices for the first people; the last ones have none."""
    names = iter(person.name for person in people)
    gadgets = [
        Gadget(user=next(names), channel="apns", token=Apns.token(number))
        for number in range(sizes.apns)
    ]
    gadgets += [
        Gadget(user=next(names), channel="fcm", token=Fcm.token(number))
        for number in range(sizes.fcm)
    ]
    for gadget in gadgets[DEAD_EVERY // 2 :: DEAD_EVERY]:
        gadget.is_dead = True
    for gadget in gadgets[::REPORTS_EVERY]:
        gadget.reports = not gadget.is_dead
    for number in range(sizes.sockets):
        gadget = Gadget(user=next(names), has_socket=True)
        if number < sizes.sockets_with_fcm:
            gadget.channel, gadget.token = "fcm", Fcm.token(sizes.fcm + number)
        # The silent ones stand on both sides of the border between with and without a token.
        gadget.is_silent = abs(number - sizes.sockets_with_fcm + 0.5) < sizes.silent / 2
        gadget.clicks = not gadget.is_silent and number % CLICK_EVERY == 0
        gadgets.append(gadget)
    return gadgets


def make_acts(world: World, admin: str) -> list[Act]:
    """The pushes, once every device has its RegistrationID; an administrator is an account too."""
    everyone = frozenset(person.name for person in world.people)
    everyone |= {admin, *(gadget.registration_id for gadget in world.gadgets)}
    batch = _batch(world)
    return [
        Act(name="everyone", label="to everyone", expected=everyone),
        _conditional(
            world,
            ("TagsAnd", "with tags vip and daily"),
            condition(tags_and=["vip", "daily"]),
            lambda it: "vip" in it.tags and "daily" in it.tags,
        ),
        _conditional(
            world,
            ("TagsOr/Not", "with vip or beta, without muted"),
            condition(tags_or=["vip", "beta"], tags_not=["muted"]),
            lambda it: ("vip" in it.tags or "beta" in it.tags) and "muted" not in it.tags,
        ),
        _conditional(
            world,
            ("AttrsAnd", "in Kyoto on the plan pro"),
            condition(attrs_and={"city": "Kyoto", "plan": "pro"}),
            lambda it: it.attrs["city"] == "Kyoto" and it.attrs["plan"] == "pro",
        ),
        Act(
            name="batch",
            label=f"to a list of {len(batch)}",
            accounts=batch,
            expected=frozenset(batch),
        ),
        Act(
            name="recalled",
            label="to everyone, recalled half way",
            expected=everyone,
            is_recalled=True,
        ),
    ]


def _conditional(
    world: World, names: tuple[str, str], asked: dict[str, Any], fits: Callable[[Person], bool]
) -> Act:
    expected = frozenset(person.name for person in world.people if fits(person))
    return Act(name=names[0], label=names[1], condition=asked, expected=expected)


def _batch(world: World) -> tuple[str, ...]:
    """UserIDs spread over all kinds of devices, and some RegistrationIDs of other people."""
    size = world.sizes.batch
    step = len(world.people) // size
    users = [person.name for person in world.people[::step]][:size]
    devices = size // 25
    others = [it for it in world.gadgets[1::step] if it.user not in set(users)][:devices]
    return (*users[: size - len(others)], *(gadget.registration_id for gadget in others))
