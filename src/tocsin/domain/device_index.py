"""The device index: what planning asks of devices, as sets and compact columns.

Derived from the device rows, which are the truth, and caught up by their changes. Sets answer
which devices have a token of a credential or speak a language; two columns of numbers lead from an
account to its devices, newest login first. Nothing here costs an object a device.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import Any

from msgspec import Struct
from pyroaring import BitMap

from tocsin.domain.device import Device
from tocsin.domain.reach import Page, Reach

LANGUAGES_MAX = 256
"""Languages with a set of their own. Devices tell any text; those of further ones are found one by
one, so that nobody's inventions are paid for with each page."""


class IndexedRoute(Struct, frozen=True, array_like=True):
    """The beginning of a stored route; the token stays in the row."""

    channel: str
    credential: int


class IndexedDevice(Struct, frozen=True, kw_only=True):
    """What the index holds of a device. Its members are called as those of the stored row."""

    number: int
    account: int
    user: int = 0
    route: IndexedRoute | None = None
    language: str = ""
    is_registered: bool = True
    login_at: float = 0.0


class DeviceChanges(Struct, frozen=True):
    """The next changes of an app's devices, as the rows are now."""

    position: int
    """Of the last of them; of the call where there is none."""
    devices: Sequence[IndexedDevice]
    gone: Sequence[int]
    """Numbers of devices that were deleted."""


def indexed(device: Device) -> IndexedDevice:
    """What the index holds of this device."""
    route = device.route
    return IndexedDevice(
        number=device.number,
        account=device.account,
        user=device.user,
        route=None if route is None else IndexedRoute(route.channel, route.credential),
        language=device.language,
        is_registered=device.is_registered,
        login_at=device.login_at,
    )


class DeviceIndex:
    """One app's devices. Not for two threads at once."""

    def __init__(self, position: int = 0) -> None:
        self.position = position
        """Of the device changes: everything up to there is in the index."""
        self.languages: dict[str, BitMap] = {}
        self.credentials: dict[int, BitMap] = {}
        self._own = BitMap()
        """Accounts of RegistrationIDs: each leads to its own device."""
        self._reaching = BitMap()
        """Accounts that lead to a registered device."""
        self._unregistered = BitMap()
        # By account: its own device, or the user's device with the newest login; 0: none.
        self._first = array("I")
        # By device: the user's device with the next older login; 0: none.
        self._older = array("I")
        self._user = array("I")
        self._account = array("I")
        self._login_at = array("d")
        self._credential = array("I")
        self._language: dict[int, str] = {}
        """Of devices whose language has no set."""

    def __len__(self) -> int:
        return len(self._account) - self._account.count(0)

    def apply(self, changes: DeviceChanges) -> None:
        """Take in the next changes."""
        for number in changes.gone:
            self._remove(number)
        self.put(changes.devices)
        self.position = changes.position

    def put(self, devices: Iterable[IndexedDevice]) -> None:
        """Take in devices as they are now, known ones or new ones."""
        for device in devices:
            self._remove(device.number)
            self._add(device)

    def reach(self, page: Page) -> Reach:
        """The devices that a page of accounts leads to; `reach_of` says what that means."""
        here = page.live
        as_user = self._as_user(here & self._own, page.audience)
        with_devices = (here - as_user) & self._reaching
        own_accounts = with_devices & self._own
        devices = BitMap(_columns(self._first, own_accounts))
        devices |= self._devices_of_users(with_devices - own_accounts, page.policy)
        if page.only is not None:
            devices &= page.only
            with_devices = self._addressed(devices, page.audience)
        return Reach(
            deleted=page.accounts - page.live,
            as_user=as_user,
            without=here - as_user - with_devices,
            with_devices=with_devices,
            devices=devices,
            languages=self._spoken(devices),
            credentials=_parts(self.credentials, devices),
            position=self.position,
        )

    def _as_user(self, own_accounts: BitMap, audience: BitMap) -> BitMap:
        """Those accounts of devices whose user is in the audience."""
        users = _columns(self._user, _columns(self._first, own_accounts))
        pairs = zip(own_accounts, users, strict=True)
        return BitMap([account for account, user in pairs if user in audience])

    def _devices_of_users(self, users: BitMap, policy: str) -> BitMap:
        devices = BitMap(_columns(self._first, users))
        if policy != "all":
            return devices
        # Most accounts have one device: each round asks only those that have one more.
        older = devices
        while older:
            older = BitMap(_columns(self._older, older))
            older.discard(0)
            devices |= older
        return devices

    def _spoken(self, devices: BitMap) -> dict[str, BitMap]:
        """The devices by their language."""
        parts = _parts(self.languages, devices)
        if self._language:
            for number in devices - BitMap.union(BitMap(), *parts.values()):
                parts.setdefault(self._language[number], BitMap()).add(number)
        return parts

    def _addressed(self, devices: BitMap, audience: BitMap) -> BitMap:
        """The accounts of the audience that lead to these devices."""
        pairs = zip(_columns(self._user, devices), _columns(self._account, devices), strict=True)
        return BitMap([user if user in audience else account for user, account in pairs])

    def _add(self, device: IndexedDevice) -> None:
        number = device.number
        self._grow(number, max(device.account, device.user))
        self._account[number] = device.account
        self._user[number] = device.user
        self._login_at[number] = device.login_at
        self._first[device.account] = number
        self._own.add(device.account)
        if device.route is not None:
            self._credential[number] = device.route.credential
            self.credentials.setdefault(device.route.credential, BitMap()).add(number)
        if device.language in self.languages or len(self.languages) < LANGUAGES_MAX:
            self.languages.setdefault(device.language, BitMap()).add(number)
        else:
            self._language[number] = device.language
        if device.is_registered:
            self._reaching.add(device.account)
            if device.user:
                self._link(number, device.user)
        else:
            self._unregistered.add(number)

    def _remove(self, number: int) -> None:
        account = self._account[number] if number < len(self._account) else 0
        if not account:
            return
        user = self._user[number]
        if user and number not in self._unregistered:
            self._unlink(number, user)
        self._unregistered.discard(number)
        self._first[account] = 0
        self._own.discard(account)
        self._reaching.discard(account)
        _leave(self.credentials, self._credential[number], number)
        if self._language.pop(number, None) is None:
            spoken = next(key for key, members in self.languages.items() if number in members)
            _leave(self.languages, spoken, number)
        self._account[number] = self._user[number] = self._credential[number] = 0

    def _link(self, number: int, user: int) -> None:
        """Put a device into its user's chain, which falls by login, then by number."""
        place = (self._login_at[number], number)
        newer, older = 0, self._first[user]
        while older and (self._login_at[older], older) > place:
            newer, older = older, self._older[older]
        self._older[number] = older
        if newer:
            self._older[newer] = number
        else:
            self._first[user] = number
        self._reaching.add(user)

    def _unlink(self, number: int, user: int) -> None:
        newer, each = 0, self._first[user]
        while each != number:
            newer, each = each, self._older[each]
        if newer:
            self._older[newer] = self._older[number]
        else:
            self._first[user] = self._older[number]
        self._older[number] = 0
        if not self._first[user]:
            self._reaching.discard(user)

    def _grow(self, device: int, account: int) -> None:
        """Make room for a device and an account, with a tenth to spare."""
        columns = (self._older, self._user, self._account, self._credential)
        if device >= len(self._account):
            more = device + 1 - len(self._account) + len(self._account) // 10
            for column in columns:
                column.frombytes(bytes(column.itemsize * more))
            self._login_at.frombytes(bytes(8 * more))
        if account >= len(self._first):
            more = account + 1 - len(self._first) + len(self._first) // 10
            self._first.frombytes(bytes(4 * more))


def _columns(column: array[int], rows: BitMap | Sequence[int]) -> Sequence[int]:
    """The column's values in these rows."""
    if len(rows) > 1:
        values: Any = itemgetter(*rows)(column)
        return values  # type: ignore[no-any-return]
    return [column[row] for row in rows]


def _parts(sets: dict[Any, BitMap], devices: BitMap) -> dict[Any, BitMap]:
    """The sets' parts within these devices, without the empty ones."""
    parts = {key: members & devices for key, members in sets.items()}
    return {key: members for key, members in parts.items() if members}


def _leave(sets: dict[Any, BitMap], key: Any, number: int) -> None:
    """Take a device out of one of the sets; an empty set goes."""
    members = sets.get(key)
    if members is not None:
        members.discard(number)
        if not members:
            del sets[key]
