"""The demo's own lists: who there is, what they carry, and whom each push is for.

Everything here is plain Python over plain lists, so that it can judge the service's bitmaps: an
audience is worked out person by person, by the words of the condition and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import msgspec
from msgspec import Struct

from tocsin.client.rest import condition
from tocsin.clock import Chance
from tocsin.sandbox.registry import MANNERS, Manners

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
GONE_EVERY = 150
"""From one phone in so many the app was removed, which its vendor may tell or not."""
REPORTS_EVERY = 60
"""One phone in so many reports what it was shown."""
CLICK_EVERY = 5
"""One socket device in so many clicks what it is shown."""
COUNTS = {
    **dict.fromkeys(sorted(MANNERS), 200),
    "apns": 3000,
    "fcm": 1500,
    "harmony": 700,
    "honor": 700,
    "huawei": 1200,
    "oppo": 700,
    "vivo": 500,
    "xiaomi": 300,
}
"""Devices by vendor. Huawei and Meizu need more than one list for theirs."""


class Sizes(Struct, frozen=True, kw_only=True):
    """How large the demo is."""

    accounts: int = 10_000
    vendors: dict[str, int] = msgspec.field(default_factory=lambda: dict(COUNTS))
    sockets: int = 200
    sockets_with_token: int = 100
    """Sockets on phones that a vendor can reach as well."""
    socket_vendor: str = "fcm"
    silent: int = 20
    """Sockets that never ack; half of them are on phones with a token."""
    batch: int = 500
    throttled: int = 30
    """Requests that a vendor of single ones answers "too many" once."""
    ttl_s: int = 20
    """A push lives so long at least: then devices that never answer have expired."""


SMALL = Sizes(
    accounts=500,
    vendors={**dict.fromkeys(COUNTS, 24), "apns": 100, "fcm": 60, "meizu": 105},
    sockets=10,
    sockets_with_token=5,
    silent=2,
    batch=25,
    throttled=2,
    ttl_s=8,
)
"""One twentieth, and two lists for Meizu all the same: for tests and slow machines."""


class Trouble(Struct, frozen=True, kw_only=True):
    """What a vendor does amiss during the first pushes."""

    vendor: str
    rule: dict[str, Any]
    """As the sandbox takes it."""
    wait_s: float = 0.0
    """Whoever was refused is not asked again sooner; 0 where nobody is refused."""


def troubles(sizes: Sizes) -> list[Trouble]:
    """Vendors that want to be asked later, each in its own words, and an answer that is lost.

    The last one took its list: so the list is sent again, and the books must own up to it.
    """
    often = {"every": 7, "times": sizes.throttled, "retry_after_s": 1}
    return [
        _slow_down("apns", "/3/device/*", code="TooManyRequests", **often),
        _slow_down("fcm", "*messages:send", code="QUOTA_EXCEEDED", **often),
        _slow_down("honor", "*sendMessage", status=429, times=1, retry_after_s=2),
        _slow_down("oppo", "*/broadcast", code="55", times=1),
        Trouble(
            vendor="xiaomi",
            rule={"kind": "reset_after", "path": "*/message/regid", "times": 1},
        ),
    ]


def _slow_down(vendor: str, path: str, **told: Any) -> Trouble:
    kind = "vendor_code" if "code" in told else "status"
    return Trouble(
        vendor=vendor,
        rule={"kind": kind, "path": path, **told},
        wait_s=float(told.get("retry_after_s", 1)),
    )


Fate = Literal["live", "refused", "removed", "unheard"]
"""What the vendor does with a push to a device: delivers it; refuses it in its answer; takes it and
tells in a receipt that the app is gone; takes it, and nobody ever hears."""


class Gadget(Struct, kw_only=True):
    """One device of the demo."""

    user: str
    channel: str = ""
    token: str = ""
    has_socket: bool = False
    is_silent: bool = False
    """Takes pushes over its socket and never says so."""
    state: Literal["live", "dead", "gone"] = "live"
    """What its vendor knows of it: that its token has died, or that the app was removed."""
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
    vendors: dict[str, Manners]
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

    def fate(self, gadget: Gadget) -> Fate:
        """What becomes of pushes to it at its vendor."""
        if gadget.state != "gone":
            return "refused" if gadget.state == "dead" else "live"
        told: dict[str, Fate] = {"answer": "refused", "receipt": "removed"}
        return told.get(self.vendors[gadget.channel].removal, "unheard")

    def is_lost(self, gadget: Gadget) -> bool:
        """Whether its token is dropped after the first push to it."""
        return self.fate(gadget) in ("refused", "removed")

    def whose(self, *fates: Fate) -> frozenset[str]:
        """The RegistrationIDs of all devices with one of these fates."""
        return frozenset(it.registration_id for it in self.gadgets if self.fate(it) in fates)

    def in_audience(self, expected: frozenset[str]) -> Iterator[Gadget]:
        """The devices of an audience, each once."""
        for it in self.gadgets:
            if it.user in expected or it.registration_id in expected:
                yield it


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
    is_first: bool = False
    """No token has been dropped yet."""
    is_recalled: bool = False


def make_world(
    sizes: Sizes,
    vendors: Mapping[str, Manners],
    tokens: Mapping[str, Sequence[str]],
    seed: int = SEED,
) -> World:
    """People with tags and attributes drawn from the seed, and their devices.

    `tokens` are those of each vendor's devices, as many as `tokens_needed` says.
    """
    chance = Chance(seed)
    people = [_person(number, chance) for number in range(sizes.accounts)]
    gadgets = list(_gadgets(sizes, [person.name for person in people], tokens))
    return World(sizes=sizes, vendors=dict(vendors), people=people, gadgets=gadgets)


def tokens_needed(sizes: Sizes) -> dict[str, int]:
    """How many devices each vendor has, those on sockets included."""
    needed = dict(sizes.vendors)
    needed[sizes.socket_vendor] += sizes.sockets_with_token
    return needed


def _person(number: int, chance: Chance) -> Person:
    def pick(choices: Sequence[str]) -> str:
        return choices[int(chance.fraction() * len(choices))]

    tags = tuple(tag for tag, share in TAGS if chance.fraction() < share)
    attrs = {"city": pick(CITIES), "plan": pick(PLANS), "language": pick(LANGUAGES)}
    return Person(name=f"user-{number:05d}", attrs=attrs, tags=tags)


def _gadgets(
    sizes: Sizes, users: Iterable[str], tokens: Mapping[str, Sequence[str]]
) -> Iterator[Gadget]:
    """Devices for the first people; the last ones have none."""
    names = iter(users)
    for vendor, count in sizes.vendors.items():
        for number in range(count):
            gadget = Gadget(user=next(names), channel=vendor, token=tokens[vendor][number])
            if number % DEAD_EVERY == 1:
                gadget.state = "dead"
            elif number % GONE_EVERY == 2:
                gadget.state = "gone"
            gadget.reports = number % REPORTS_EVERY == 0
            yield gadget
    spare = tokens[sizes.socket_vendor][sizes.vendors[sizes.socket_vendor] :]
    for number in range(sizes.sockets):
        gadget = Gadget(user=next(names), has_socket=True)
        if number < sizes.sockets_with_token:
            gadget.channel, gadget.token = sizes.socket_vendor, spare[number]
        # The silent ones stand on both sides of the border between with and without a token.
        gadget.is_silent = abs(number - sizes.sockets_with_token + 0.5) < sizes.silent / 2
        gadget.clicks = not gadget.is_silent and number % CLICK_EVERY == 0
        yield gadget


def make_acts(world: World, admin: str) -> list[Act]:
    """The pushes, once every device has its RegistrationID; an administrator is an account too."""
    everyone = frozenset(person.name for person in world.people)
    everyone |= {admin, *(gadget.registration_id for gadget in world.gadgets)}
    batch = _batch(world)
    return [
        Act(name="everyone", label="to everyone", expected=everyone, is_first=True),
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


def waiters(world: World, act: Act) -> frozenset[str]:
    """Devices of a push that nobody can reach, so that they wait until it expires."""
    return frozenset(
        it.registration_id
        for it in world.in_audience(act.expected)
        if (it.is_silent and not it.token) or (world.is_lost(it) and not act.is_first)
    )
