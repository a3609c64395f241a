"""Clients for devices: the online channel over a WebSocket, and the same calls over plain HTTP.

    device = DeviceClient(http, Identity(1400000001, user="ann", usersig=sig), on_push=show)
    async with device:
        await device.registered()

The client makes a broken connection again, with growing waits. It keeps the RegistrationID and its
secret, so the service recognises the device and sends the pushes that the device missed. A device
that the service does not recognise registers as a new device. A push that comes twice is acked
twice and shown once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

import aiohttp
import msgspec
from msgspec import Struct

from tocsin.client.json_http import JsonHttp, Refused, Unreachable
from tocsin.clock import Chance, Clock, SystemClock
from tocsin.domain.bounded import BoundedCache
from tocsin.domain.hello import KNOWN_MAX, GivenRoute

PATH = "/v4/online"
REMEMBERED_MAX = 1000
"""Pushes of which a client remembers that it has shown them."""
WAIT_BASE_S = 0.5
WAIT_MAX_S = 30.0
FRAME_MAX_BYTES = 1 << 20
RETRIED = frozenset({60007, 91000, 800102})
"""Codes of refusals that end by themselves; any other refusal of a hello is final."""
FORGOTTEN = frozenset({800101, 800103})
"""The service does not have our RegistrationID with this secret: the account was deleted, or the
data folder is new. The device forgets both and registers as a new device."""
FINAL_ENDS = {
    4001: "a newer connection of this device is there",
    4008: "the device was unregistered elsewhere",
}
"""Close codes after which a client stays away: connecting again would undo a decision."""


_ENDS = (
    aiohttp.WSMsgType.CLOSE,
    aiohttp.WSMsgType.CLOSING,
    aiohttp.WSMsgType.CLOSED,
    aiohttp.WSMsgType.ERROR,
)


def longest_wait_s(tries: int) -> float:
    """Seconds of which a random share is waited after so many tries in a row that failed."""
    # Doubling has long reached its end by then, and 2 to the 1024 is no number any more.
    return min(WAIT_MAX_S, WAIT_BASE_S * 2.0 ** min(tries, 30))


class DeviceIdentity(Struct, kw_only=True):
    """Who a device is. RegistrationID and secret are filled in by the first registration."""

    sdkappid: int
    appkey: str = ""
    """The app's client key: enough for a device that nobody is logged in on."""
    user: str = ""
    usersig: str = ""
    registration_id: str = ""
    secret: str = ""
    route: GivenRoute | None = None
    voip_token: str = ""
    live_tokens: dict[str, str] = {}
    """Live Activity id to the token by which it is updated; an empty one takes it away."""
    live_start_tokens: dict[str, str] = {}
    """Type of a Live Activity's attributes to the token that starts one."""
    facts: dict[str, Any] = {}
    """Facts about the device: `language`, `platform`, `model`, …"""

    def forget(self) -> bool:
        """Give up the RegistrationID that a service made for us; False: there was none."""
        was_registered = bool(self.secret)
        if was_registered:
            self.registration_id = self.secret = ""
        return was_registered

    def hello(self) -> dict[str, Any]:
        """The members of a hello frame, without those that are empty."""
        members = {
            "sdkappid": self.sdkappid,
            "appkey": self.appkey,
            "user": self.user,
            "usersig": self.usersig,
            "registration_id": self.registration_id,
            "secret": self.secret,
            "voip_token": self.voip_token,
            "live_tokens": self.live_tokens,
            "live_start_tokens": self.live_start_tokens,
            "facts": self.facts,
        }
        if self.route is not None:
            members["route"] = msgspec.to_builtins(self.route)
        return {name: value for name, value in members.items() if value}


class ReceivedPush(Struct, frozen=True, kw_only=True):
    """A push as a device receives it."""

    id: str
    """The id that acks and clicks name."""
    task_id: str = ""
    title: str = ""
    desc: str = ""
    ext: str = ""
    more: dict[str, Any] = {}
    """Every other member of the frame."""


class DeviceClient:
    """One device on the online channel, for as long as the `async with` lasts."""

    def __init__(
        self,
        http: JsonHttp,
        identity: DeviceIdentity,
        *,
        is_acking: bool = True,
        on_push: Callable[[ReceivedPush], None] | None = None,
        on_revoke: Callable[[str], None] | None = None,
        on_state: Callable[[str], None] | None = None,
        clock: Clock | None = None,
        chance: Chance | None = None,
    ) -> None:
        self.identity = identity
        self._http = http
        self._is_acking = is_acking
        self._on_push = on_push
        self._on_revoke = on_revoke
        self._on_state = on_state
        self._clock = clock or SystemClock()
        self._chance = chance or Chance()
        self._shown: BoundedCache[str, bool] = BoundedCache(REMEMBERED_MAX)
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._registered = asyncio.Event()
        self._silence_max_s: float | None = None
        self._runner: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._registered.clear()
        self._runner = asyncio.create_task(self.run())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._runner is not None:
            self._runner.cancel()
            await asyncio.gather(self._runner, return_exceptions=True)
            self._runner = None

    async def registered(self) -> DeviceIdentity:
        """Wait until the service has registered this device; raises `Refused` if it refuses."""
        waiting = asyncio.create_task(self._registered.wait())
        runners = set() if self._runner is None else {self._runner}
        try:
            await asyncio.wait({waiting, *runners}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
        if self._runner is not None and self._runner.done():
            self._runner.result()
        return self.identity

    async def ended(self) -> None:
        """Wait until the service refuses the device for good; raises that `Refused`."""
        if self._runner is not None:
            await asyncio.shield(self._runner)

    async def run(self) -> None:
        """Stay connected until cancelled; raises `Refused` when the service refuses the device.

        The code of `Refused` is an ErrorCode, or one of `FINAL_ENDS`.
        """
        tries = 0
        while True:
            try:
                wait_s = await self._serve_once()
            except (Unreachable, aiohttp.ClientError, OSError, TimeoutError) as fault:
                wait_s = None
                self._report_state(f"not connected: {fault}")
            except Refused as fault:
                is_gone = fault.code in FORGOTTEN and self.identity.forget()
                if fault.code not in RETRIED and not is_gone:
                    raise
                wait_s = 0.0 if is_gone else None
                self._report_state(str(fault))
            if self._registered.is_set():
                # Only an accepted hello is a success: a service that is full, or a proxy whose
                # service is gone, opens connections too.
                tries = 0
            if wait_s is None:
                wait_s = longest_wait_s(tries) * self._chance.fraction()
                tries += 1
            self._registered.clear()
            await self._clock.sleep(wait_s)

    async def ack(self, push: ReceivedPush) -> None:
        """Tell the service that a push arrived. The client does so unless `is_acking` is off."""
        await self._send({"type": "ack", "id": push.id})

    async def click(self, push: ReceivedPush) -> None:
        """Tell the service that somebody opened a push."""
        await self._send({"type": "click", "id": push.id})

    async def leave(self, *, unregister: bool = False, logout: bool = False) -> None:
        """Say goodbye. An unregistered device gets no push until it registers again."""
        await self._send({"type": "bye", "unregister": unregister, "logout": logout})

    async def _serve_once(self) -> float | None:
        """One connection, from hello to its end; answers how long the service asks us to wait."""
        url = self._http.base_url + PATH
        try:
            opening = self._http.session.ws_connect(
                url, max_msg_size=FRAME_MAX_BYTES, timeout=aiohttp.ClientWSTimeout(ws_close=2.0)
            )
            async with opening as socket:
                self._socket = socket
                known = [push_id for push_id, _ in self._shown.items()][-KNOWN_MAX:]
                hello = {"type": "hello", **self.identity.hello()}
                await self._send({**hello, "known": known} if known else hello)
                return await self._read(socket)
        finally:
            self._socket = None

    async def _read(self, socket: aiohttp.ClientWebSocketResponse) -> float | None:
        while True:
            # A silent service pings, so silence for twice as long is a dead connection.
            message = await socket.receive(timeout=self._silence_max_s)
            if message.type in _ENDS:
                break
            wait_s = await self._take(msgspec.json.decode(message.data))
            if wait_s is not None:
                return wait_s
        code = socket.close_code or 0
        if code in FINAL_ENDS:
            raise Refused(code, FINAL_ENDS[code], PATH)
        self._report_state(f"connection closed ({code})")
        return None

    async def _take(self, frame: dict[str, Any]) -> float | None:
        match frame.get("type"):
            case "registered":
                self._take_registered(frame)
            case "push":
                await self._take_push(frame)
            case "revoke":
                if self._on_revoke is not None:
                    self._on_revoke(str(frame["task_id"]))
            case "ping":
                await self._send({"type": "pong"})
            case "drain":
                self._report_state("the service asks us to connect anew")
                return float(frame.get("after_s", 0.0)) + self._chance.fraction()
            case "error":
                code, info = int(frame.get("code", 0)), str(frame.get("info", ""))
                raise Refused(code, info, PATH)
        return None

    def _take_registered(self, frame: dict[str, Any]) -> None:
        self.identity.registration_id = frame["registration_id"]
        # The service sends the secret once, at the first registration.
        self.identity.secret = frame.get("secret") or self.identity.secret
        if "idle_s" in frame:
            self._silence_max_s = 2 * float(frame["idle_s"])
        self._registered.set()
        self._report_state(f"registered as {self.identity.registration_id}")

    async def _take_push(self, frame: dict[str, Any]) -> None:
        names = set(ReceivedPush.__struct_fields__)
        more = {name: value for name, value in frame.items() if name not in {"type", *names}}
        members = {name: value for name, value in frame.items() if name in names}
        push = ReceivedPush(**members, more=more)
        is_new = push.id not in self._shown
        self._shown.put(push.id, value=True)
        if is_new and self._on_push is not None:
            self._on_push(push)
        if self._is_acking:
            await self.ack(push)

    async def _send(self, frame: dict[str, Any]) -> None:
        if self._socket is None:
            raise Unreachable(self._http.base_url, "not connected")
        await self._socket.send_str(msgspec.json.encode(frame).decode())

    def _report_state(self, state: str) -> None:
        if self._on_state is not None:
            self._on_state(state)


class DeviceHttpClient:
    """Registers devices and reports for them over plain HTTP, one call each."""

    def __init__(self, http: JsonHttp) -> None:
        self._http = http

    async def register(self, identity: DeviceIdentity) -> DeviceIdentity:
        """Register or register again; fills in RegistrationID and secret."""
        path = "/v1/devices/register"
        try:
            answer = await self._http.ask("POST", path, identity.hello())
        except Refused as fault:
            if fault.code not in FORGOTTEN or not identity.forget():
                raise
            answer = await self._http.ask("POST", path, identity.hello())
        identity.registration_id = answer["registration_id"]
        identity.secret = answer.get("secret") or identity.secret
        return identity

    async def unregister(self, identity: DeviceIdentity) -> None:
        """Stop pushes to this device until it registers again."""
        await self._http.ask("POST", "/v1/devices/unregister", _proof(identity))

    async def poll(
        self, identity: DeviceIdentity, *, known: Sequence[str] = (), wait_s: float = 25.0
    ) -> list[dict[str, Any]]:
        """Frames that wait for this device, or come within `wait_s`; ack them with `report`."""
        body = {**_proof(identity), "known": list(known), "wait_s": wait_s}
        answer = await self._http.ask("POST", "/v1/devices/poll", body)
        return list(answer["frames"])

    async def report(self, identity: DeviceIdentity, task_id: str, stage: str) -> None:
        """Report that a push was `reached` or `clicked` on this device."""
        body = {**_proof(identity), "task_id": task_id, "stage": stage}
        await self._http.ask("POST", "/v1/devices/report", body)


def _proof(identity: DeviceIdentity) -> dict[str, Any]:
    return {
        "sdkappid": identity.sdkappid,
        "registration_id": identity.registration_id,
        "secret": identity.secret,
    }
