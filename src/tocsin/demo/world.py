"""The demo's own lists: its accounts, their devices, and the audience of each push.

Everything here is plain Python over plain lists, so that it can judge the service's bitmaps: the
audience of a push is found person by person, from the condition alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import msgspec
from msgspec import Struct

from tocsin.client.rest import condition
from tocsin.clock import Chance
from tocsin.sandbox.registry import CAPABILITIES, Capabilities

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
"""One vendor token in so many is dead: too few to accuse the credential."""
GONE_EVERY = 150
"""On one phone in so many the app was removed; not every vendor reports that."""
REPORTS_EVERY = 60
"""One phone in so many reports the arrival of a push."""
CLICK_EVERY = 5
"""One connected device in so many clicks each push."""
COUNTS = {
    **dict.fromkeys(sorted(CAPABILITIES), 200),
    "apns": 3000,
    "fcm": 1500,
    "harmony": 700,
    "honor": 700,
    "huawei": 1200,
    "oppo": 700,
    "vivo": 500,
    "xiaomi": 300,
}
"""Devices by vendor. Huawei and Meizu need more than one list."""


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
    """Seconds that a push lives at least; then it expires for devices that never answer."""


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
"""A twentieth of the size, with two lists for Meizu: for tests and slow machines."""


class VendorFault(Struct, frozen=True, kw_only=True):
    """A fault that a vendor has during the first pushes."""

    vendor: str
    rule: dict[str, Any]
    """The rule in the sandbox's spelling."""
    wait_s: float = 0.0
    """Seconds before a refused delivery may be repeated; 0 where none is refused."""


def vendor_faults(sizes: Sizes) -> list[VendorFault]:
    """Vendors that put deliveries off, each in its own words, and one whose answer is lost.

    The last vendor took its list; the list is sent again, and the books must say so.
    """
    often = {"every": 7, "times": sizes.throttled, "retry_after_s": 1}
    return [
        _slow_down("apns", "/3/device/*", code="TooManyRequests", **often),
        _slow_down("fcm", "*messages:send", code="QUOTA_EXCEEDED", **often),
        _slow_down("honor", "*sendMessage", status=429, times=1, retry_after_s=2),
        _slow_down("oppo", "*/broadcast", code="55", times=1),
        VendorFault(
            vendor="xiaomi",
            rule={"kind": "reset_after", "path": "*/message/regid", "times": 1},
        ),
    ]


def _slow_down(vendor: str, path: str, **rule: Any) -> VendorFault:
    kind = "vendor_code" if "code" in rule else "status"
    return VendorFault(
        vendor=vendor,
        rule={"kind": kind, "path": path, **rule},
        wait_s=float(rule.get("retry_after_s", 1)),
    )


Fate = Literal["live", "refused", "removed", "unheard"]
"""What the vendor does with a push to a device: deliver it; refuse it in the answer; take it,
and say in a receipt that the app is gone; take it, and never say that the app is gone."""


class DemoDevice(Struct, kw_only=True):
    """One device of the demo."""

    user: str
    channel: str = ""
    token: str = ""
    has_socket: bool = False
    is_silent: bool = False
    """A device that never acks the pushes on its socket."""
    state: Literal["live", "dead", "gone"] = "live"
    """`dead`: the vendor no longer takes the token. `gone`: the app was removed."""
    clicks: bool = False
    reports: bool = False
    """A phone that reports arrivals to the service over plain HTTP."""
    registration_id: str = ""
    secret: str = ""


class Person(Struct, frozen=True, kw_only=True):
    """One account of the demo."""

    name: str
    attrs: dict[str, str]
    tags: tuple[str, ...]


class World(Struct, kw_only=True):
    """The demo's own lists, which the service never sees."""

    sizes: Sizes
    vendors: dict[str, Capabilities]
    people: list[Person]
    devices: list[DemoDevice]

    def on_sockets(self) -> list[DemoDevice]:
        """The devices that connect over a WebSocket."""
        return [device for device in self.devices if device.has_socket]

    def with_tokens(self) -> list[DemoDevice]:
        """The devices that a vendor can reach, dead ones included."""
        return [device for device in self.devices if device.token]

    def owners(self) -> dict[tuple[str, str], str]:
        """(vendor, token) to RegistrationID."""
        return {(it.channel, it.token): it.registration_id for it in self.with_tokens()}

    def fate(self, device: DemoDevice) -> Fate:
        """What the vendor does with a push to the device."""
        if device.state != "gone":
            return "refused" if device.state == "dead" else "live"
        fates: dict[str, Fate] = {"answer": "refused", "receipt": "removed"}
        return fates.get(self.vendors[device.channel].removal, "unheard")

    def is_lost(self, device: DemoDevice) -> bool:
        """Whether the service drops the device's token after the first push."""
        return self.fate(device) in ("refused", "removed")

    def whose(self, *fates: Fate) -> frozenset[str]:
        """The RegistrationIDs of all devices with one of these fates."""
        return frozenset(it.registration_id for it in self.devices if self.fate(it) in fates)

    def in_audience(self, expected: frozenset[str]) -> Iterator[DemoDevice]:
        """The devices of an audience, each once."""
        for it in self.devices:
            if it.user in expected or it.registration_id in expected:
                yield it


class PlannedPush(Struct, frozen=True, kw_only=True):
    """One push of the demo: its condition or list, and its expected audience."""

    name: str
    """Short: the head of the push's column in the table."""
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
    vendors: Mapping[str, Capabilities],
    tokens: Mapping[str, Sequence[str]],
    seed: int = SEED,
) -> World:
    """People with tags and attributes drawn from the seed, and their devices.

    `tokens` are those of each vendor's devices, as many as `tokens_needed` says.
    """
    chance = Chance(seed)
    people = [_person(number, chance) for number in range(sizes.accounts)]
    devices = list(_make_devices(sizes, [person.name for person in people], tokens))
    return World(sizes=sizes, vendors=dict(vendors), people=people, devices=devices)


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


def _make_devices(
    sizes: Sizes, users: Iterable[str], tokens: Mapping[str, Sequence[str]]
) -> Iterator[DemoDevice]:
    """Devices for the first people; the last people have none."""
    names = iter(users)
    for vendor, count in sizes.vendors.items():
        for number in range(count):
            device = DemoDevice(user=next(names), channel=vendor, token=tokens[vendor][number])
            if number % DEAD_EVERY == 1:
                device.state = "dead"
            elif number % GONE_EVERY == 2:
                device.state = "gone"
            device.reports = number % REPORTS_EVERY == 0
            yield device
    spare = tokens[sizes.socket_vendor][sizes.vendors[sizes.socket_vendor] :]
    for number in range(sizes.sockets):
        device = DemoDevice(user=next(names), has_socket=True)
        if number < sizes.sockets_with_token:
            device.channel, device.token = sizes.socket_vendor, spare[number]
        # Half of the silent devices have a token.
        device.is_silent = abs(number - sizes.sockets_with_token + 0.5) < sizes.silent / 2
        device.clicks = not device.is_silent and number % CLICK_EVERY == 0
        yield device


def plan_pushes(world: World, admin: str) -> list[PlannedPush]:
    """The pushes, once every device has its RegistrationID; an administrator is an account too."""
    everyone = frozenset(person.name for person in world.people)
    everyone |= {admin, *(device.registration_id for device in world.devices)}
    batch = _batch(world)
    return [
        PlannedPush(name="everyone", label="to everyone", expected=everyone, is_first=True),
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
        PlannedPush(
            name="batch",
            label=f"to a list of {len(batch)}",
            accounts=batch,
            expected=frozenset(batch),
        ),
        PlannedPush(
            name="recalled",
            label="to everyone, recalled half way",
            expected=everyone,
            is_recalled=True,
        ),
    ]


def _conditional(
    world: World, names: tuple[str, str], asked: dict[str, Any], fits: Callable[[Person], bool]
) -> PlannedPush:
    expected = frozenset(person.name for person in world.people if fits(person))
    return PlannedPush(name=names[0], label=names[1], condition=asked, expected=expected)


def _batch(world: World) -> tuple[str, ...]:
    """UserIDs spread over all kinds of devices, and some RegistrationIDs of other people."""
    size = world.sizes.batch
    step = len(world.people) // size
    users = [person.name for person in world.people[::step]][:size]
    others_max = size // 25
    others = [it for it in world.devices[1::step] if it.user not in set(users)][:others_max]
    return (*users[: size - len(others)], *(device.registration_id for device in others))


def waiting_devices(world: World, plan: PlannedPush) -> frozenset[str]:
    """Devices that no channel can reach, which wait until the push expires."""
    return frozenset(
        it.registration_id
        for it in world.in_audience(plan.expected)
        if (it.is_silent and not it.token) or (world.is_lost(it) and not plan.is_first)
    )
