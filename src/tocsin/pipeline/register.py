"""Register: devices at the door, whichever door it is, and what they report."""

from __future__ import annotations

import hmac
import uuid

import msgspec
from msgspec import Struct

from tocsin.clock import Chance, Clock, secret_bytes
from tocsin.domain import device as rules
from tocsin.domain import usersig
from tocsin.domain.account import NAME_MAX_BYTES
from tocsin.domain.app import App
from tocsin.domain.device import (
    SIDE_TOKENS_CHANNEL,
    Device,
    Registered,
    Registration,
    Route,
    has_secret,
)
from tocsin.domain.hello import (
    REGISTRATION_ID_MAX_BYTES,
    TOKEN_MAX_BYTES,
    DeviceFacts,
    GivenRoute,
    Hello,
    RegistrationRequest,
)
from tocsin.domain.legs import ONLINE
from tocsin.domain.task import Stage, Task, TaskName, read_task_id
from tocsin.errors import CallError
from tocsin.metrics import Metrics
from tocsin.pipeline.app_secrets import AppSecrets
from tocsin.pipeline.books import BooksReader
from tocsin.pipeline.registration_limit import RegistrationLimit
from tocsin.pipeline.reports import ReportEntry, Reports
from tocsin.ports import Bus, NormalRoute, Registrar
from tocsin.store import Store

DEVICE = "device"
"""Bus subject: a device changed hands or left. Payload: `DeviceHint` as JSON."""

SECRET_BYTES = 32
SEEN_EVERY_S = 3600.0
"""A device that comes back unchanged is written anew at most this often."""


class DeviceHint(Struct, frozen=True, array_like=True):
    """What connections of a device must know at once, by whichever door it came."""

    app: int
    device: int
    user: int
    user_name: str
    is_registered: bool


class DoorSettings(Struct, frozen=True, kw_only=True):
    """How freely devices may register, and how late they may report."""

    new_per_minute: float = 60.0
    """New devices and failed hellos a minute, of one address and app; 0 means no limit."""
    tasks_kept_s: float = 7 * 86_400.0
    """How long ended tasks are kept: reports about older ones are taken, and change nothing."""


class Registering:
    """A `Registrar` over the store."""

    def __init__(
        self,
        *,
        store: Store,
        app_secrets: AppSecrets,
        bus: Bus,
        clock: Clock,
        chance: Chance,
        metrics: Metrics,
        normal_route: NormalRoute,
        books: BooksReader | None = None,
        settings: DoorSettings | None = None,
    ) -> None:
        self._store = store
        self._normal_route = normal_route
        self._secrets = app_secrets
        self._bus = bus
        self._clock = clock
        self._chance = chance
        self._metrics = metrics
        self._settings = settings or DoorSettings()
        self._limit = RegistrationLimit(self._settings.new_per_minute, clock, metrics)
        self._reports = Reports(store)
        self._books = books or BooksReader(store, clock)

    def change(self, settings: DoorSettings) -> None:
        """Go on with other settings."""
        self._settings = settings
        self._limit.change(settings.new_per_minute)

    async def register(self, hello: Hello, address: str) -> Registered:
        """Check the proof, then write the device; a device that only came back is not written."""
        app = await self._app(hello.sdkappid)
        known = await self._known(app, hello)
        if known is None:
            # Who shows no device secret, or a wrong one, is new here or guessing.
            self._limit.take(app.sdkappid, address)
        await self._check_proof(app, hello, known)
        await self._check_words(app, hello)
        registration = self._registration(hello)
        if known is not None and _changes_nothing(known, registration):
            return Registered(await self._seen(app, known), "")
        registered = await self._write(app, registration)
        self._tell(app, registered.device)
        return registered

    async def authenticate(self, app: int, registration_id: str, secret: str) -> Device:
        """The registered device that shows its secret."""
        device = await self._store.device(app, registration_id)
        if device is None:
            raise CallError(70107)
        if not has_secret(device, secret):
            raise CallError(800101)
        return device

    async def unregister(self, app: int, registration_id: str, secret: str) -> None:
        """Stop pushes to a device until it registers again."""
        decide = rules.unregister(secret, self._clock.now())
        gone = await self._store.update_device(app, registration_id, "", None, decide)
        assert isinstance(gone, Device)
        self._tell(await self._app(app), gone)

    async def report(self, device: Device, app: int, task_id: str, stage: Stage, via: str) -> None:
        """Book a report durably, if a leg to the device over this channel has begun."""
        task = await self._books.task_by_id(app, task_id)
        if task is None:
            await self._answer_unknown(app, task_id)
            return
        channel = await self._channel_of(task, device, via)
        if channel is None:
            self._metrics.count("device_reports", fate="no_leg")
            raise CallError(70402, "this push did not go to this device by this channel")
        await self._append(task, device, stage, channel)
        self._metrics.count("device_reports", fate=stage.name.lower())
        if stage is Stage.REACHED and channel == ONLINE:
            self._metrics.count("acks")

    async def book_leg(self, device: Device, task: Task) -> None:
        """Book durably that a push is about to be written to a device's connection."""
        await self._append(task, device, Stage.SENT, ONLINE)

    async def _append(self, task: Task, device: Device, stage: Stage, channel: str) -> None:
        entry = ReportEntry(
            task=task.number,
            device=device.number,
            stage=stage,
            channel=channel,
            at=self._clock.now(),
        )
        await self._reports.append(task.app, [entry])

    async def _channel_of(self, task: Task, device: Device, via: str) -> str | None:
        """The channel that a report counts for, if it counts."""
        if not via:
            present = device.route.channel if device.route else ONLINE
            return await self._books.channel_of(task, device.number, present)
        reached = await self._books.with_leg(task, [device.number], via)
        return via if reached else None

    async def _answer_unknown(self, app: int, task_id: str) -> None:
        """Refuse a report about a task that we do not have, unless it is only too old."""
        name = read_task_id(task_id)
        if name is None:
            self._metrics.count("device_reports", fate="unreadable")
            raise CallError(90001, "task_id is no TaskId")
        if name.sdkappid == app and await self._is_old(app, name):
            self._metrics.count("device_reports", fate="old")
            return
        self._metrics.count("device_reports", fate="unknown_task")
        raise CallError(70402, "no such push in this app")

    async def _is_old(self, app: int, name: TaskName) -> bool:
        """Whether a task that we do not have may be one that was kept as long as tasks are."""
        if name.number < 1:
            return False
        if name.accepted_at is None:
            is_given = name.number <= await self._store.last_task(app)
            return is_given and await self._store.task(app, name.number) is None
        return name.accepted_at < self._clock.now() - self._settings.tasks_kept_s

    # proofs

    async def _app(self, sdkappid: int) -> App:
        app = await self._store.app(sdkappid)
        if app is None:
            raise CallError(70020)
        if not app.is_enabled:
            raise CallError(60016)
        return app

    async def _known(self, app: App, hello: Hello) -> Device | None:
        if not (hello.registration_id and hello.secret):
            return None
        device = await self._store.device(app.sdkappid, hello.registration_id)
        return device if device is not None and has_secret(device, hello.secret) else None

    async def _check_proof(self, app: App, hello: Hello, known: Device | None) -> None:
        """UserSig for a UserID; else the appKey. To log out, the device secret is enough."""
        if hello.user or hello.usersig:
            await self._check_usersig(app, hello)
        elif not (hello.is_logout and known is not None):
            appkey = self._secrets.appkey(app)
            if not appkey or not hmac.compare_digest(appkey.encode(), hello.appkey.encode()):
                raise CallError(800001)

    async def _check_usersig(self, app: App, hello: Hello) -> None:
        if not hello.user or len(hello.user.encode()) > NAME_MAX_BYTES:
            raise CallError(70402, "UserID is empty or longer than 32 bytes")
        if not hello.user.isprintable() or not hello.user.isascii():
            raise CallError(70402, "UserID is not printable ASCII")
        key = self._secrets.key(app)
        if not key:
            raise CallError(70016)
        token = usersig.verify(
            hello.usersig,
            sdkappid=app.sdkappid,
            identifier=hello.user,
            key=key,
            former_key=self._secrets.former_key(app),
            now=self._clock.now(),
        )
        # Only now: the time that a look takes would tell strangers which accounts there are.
        (account,) = await self._store.accounts(app.sdkappid, [hello.user])
        if account is not None and token.issued_at < account.sig_valid_after:
            raise CallError(70052)

    async def _check_words(self, app: App, hello: Hello) -> None:
        name = hello.registration_id
        if len(name.encode()) > REGISTRATION_ID_MAX_BYTES or not (
            name.isascii() and name.isprintable()
        ):
            raise CallError(70402, "RegistrationID is over 64 bytes or not printable ASCII")
        if hello.user and hello.user == name:
            raise CallError(70402, "RegistrationID is the UserID")
        tokens = [hello.voip_token or "", *hello.live_tokens.values()]
        tokens += hello.live_start_tokens.values()
        if hello.route is not None:
            tokens.append(hello.route.token)
            await self._check_route(app, hello.route)
        if any(len(token.encode()) > TOKEN_MAX_BYTES for token in tokens):
            raise CallError(70402, "a token is over 1024 bytes")

    def _registration(self, hello: Hello) -> Registration:
        """The checked hello, its tokens in their one spelling: a device is one however it spells.

        A device that has no RegistrationID gets one.
        """
        members = {name: getattr(hello, name) for name in RegistrationRequest.__struct_fields__}
        given, voip = hello.route, hello.voip_token
        members.update(
            registration_id=hello.registration_id or self._new_id(),
            route=given and self._normal(Route(*msgspec.structs.astuple(given))),
            voip_token=voip and self._normal_side_token(voip),
            live_tokens=self._normal_side_tokens(hello.live_tokens),
            live_start_tokens=self._normal_side_tokens(hello.live_start_tokens),
            is_made=not hello.registration_id,
            fresh_secret=secret_bytes(SECRET_BYTES).hex(),
        )
        return Registration(**members)

    def _normal_side_tokens(self, tokens: dict[str, str]) -> dict[str, str]:
        """An empty one takes a token away."""
        return {name: token and self._normal_side_token(token) for name, token in tokens.items()}

    def _normal_side_token(self, token: str) -> str:
        return self._normal(Route(SIDE_TOKENS_CHANNEL, 0, token)).token

    def _normal(self, route: Route) -> Route:
        normal = self._normal_route(route)
        if normal is None:
            # The token itself is not told: the answer may end in somebody's log.
            raise CallError(70402, f"token is none of the channel {route.channel}")
        return normal

    async def _check_route(self, app: App, route: GivenRoute) -> None:
        found = await self._store.credentials(app.sdkappid)
        channels = {credential.number: credential.channel for credential in found}
        if channels.get(route.credential) != route.channel:
            raise CallError(70402, "no such certificate ID for this channel")
        if not route.token:
            raise CallError(70402, "token is empty")

    # writing

    async def _write(self, app: App, registration: Registration) -> Registered:
        registered = await self._store.update_device(
            app.sdkappid,
            registration.registration_id,
            registration.user,
            registration.route,
            rules.register(registration, self._clock.now()),
        )
        assert isinstance(registered, Registered)
        return registered

    def _new_id(self) -> str:
        return str(uuid.UUID(int=self._chance.bits(128), version=4)).upper()

    async def _seen(self, app: App, device: Device) -> Device:
        now = self._clock.now()
        if now - device.seen_at < SEEN_EVERY_S:
            return device
        decide = rules.note_seen(now)
        name = device.registration_id
        seen = await self._store.update_device(app.sdkappid, name, "", None, decide)
        return seen if isinstance(seen, Device) else device

    def _tell(self, app: App, device: Device) -> None:
        hint = DeviceHint(
            app.sdkappid, device.number, device.user, device.user_name, device.is_registered
        )
        self._bus.publish(DEVICE, msgspec.json.encode(hint))


def _changes_nothing(device: Device, registration: Registration) -> bool:
    """Whether a device has only come back: the same user, tokens and facts as stored."""
    if not device.is_registered or (registration.is_logout and device.user):
        return False
    if registration.user and registration.user != device.user_name:
        return False
    if registration.route is not None and registration.route != device.route:
        return False
    if registration.voip_token is not None and registration.voip_token != device.voip_token:
        return False
    for told, known in (
        (registration.live_tokens, device.live_tokens),
        (registration.live_start_tokens, device.live_start_tokens),
    ):
        if any(known.get(name, "") != token for name, token in told.items()):
            return False
    return all(
        value is None or value == getattr(device, name)
        for name, value in zip(
            DeviceFacts.__struct_fields__, msgspec.structs.astuple(registration.facts), strict=True
        )
    )


def _fits(registering: Registering) -> Registrar:
    return registering
