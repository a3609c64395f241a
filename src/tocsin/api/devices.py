"""Devices over plain HTTP: the calls of the online channel for clients without WebSockets.

Ours, not Tencent's: each call is a POST under `/v1/devices/`, answered with HTTP 200 and the same
envelope as `/v4/`. A poll is answered as soon as there is a push; `report` acks the push.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from tocsin.api.cors import Cors, origin_of
from tocsin.api.http import Endpoint, client_address, json_response, receive_body, route
from tocsin.api.wire import OK, Answer, refusal
from tocsin.domain.device import PUSH_PLATFORMS, Device
from tocsin.domain.hello import KNOWN_MAX, Hello, PushId, RegistrationId, SdkAppId, Secret
from tocsin.domain.task import Stage
from tocsin.errors import CallError, StoreError
from tocsin.log import get_logger
from tocsin.online.hub import Hub
from tocsin.ports import Registrar

BODY_MAX_BYTES = 64 * 1024
STAGES = {"reached": Stage.REACHED, "clicked": Stage.CLICKED}
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
"""All methods reach the endpoint, so that each is answered with the envelope."""


class DeviceProof(Struct, frozen=True, kw_only=True):
    """The device that calls, and its secret: in every body but that of `register`."""

    sdkappid: SdkAppId
    registration_id: RegistrationId
    secret: Secret


class ReportRequest(DeviceProof, frozen=True, kw_only=True):
    """A device report: a push arrived at this device, or somebody opened it."""

    task_id: str
    """Of any length: a text that is no TaskId is answered 90001, and not as a wrong member."""
    stage: Literal["reached", "clicked"]
    channel: str = ""
    """The channel of the push; empty: the channel of the device's vendor, else any that sent it."""


class PollRequest(DeviceProof, frozen=True, kw_only=True):
    """A request for the pushes that wait for this device."""

    known: Annotated[tuple[PushId, ...], Meta(max_length=KNOWN_MAX)] = ()
    """Ids of pushes that the device has shown already."""
    wait_s: Annotated[float, Meta(ge=0)] = 25.0
    """Seconds that the answer may wait for a push."""


class DeviceAnswer(Answer):
    """The envelope, with its members in the order in which these calls have always answered."""

    # Members that are not keyword-only come before those that are.
    status: str = msgspec.field(name="ActionStatus", default=OK)
    code: int = msgspec.field(name="ErrorCode", default=0)


class RegisterAnswer(DeviceAnswer, kw_only=True):
    registration_id: str
    secret: str
    user: str


class PollAnswer(DeviceAnswer, kw_only=True):
    frames: list[msgspec.Raw]
    """`push`, `revoke` and `acked` frames, as a WebSocket gets them."""


Body = TypeVar("Body", bound="Hello | DeviceProof")


class DeviceCalls:
    """The calls of `/v1/devices/`."""

    def __init__(self, registrar: Registrar, hub: Hub, cors: Cors) -> None:
        self._registrar = registrar
        self._cors = cors
        self._hub = hub
        self._log = get_logger(__name__)

    def routes(self) -> list[BaseRoute]:
        """The routes of the calls."""
        calls = {
            "register": self._register,
            "unregister": self._unregister,
            "report": self._report,
            "poll": self._poll,
        }
        return [
            route(f"/v1/devices/{name}", self._enveloped(name, call), *METHODS)
            for name, call in calls.items()
        ]

    def _enveloped(self, name: str, call: Callable[[Request], Awaitable[DeviceAnswer]]) -> Endpoint:
        """An endpoint that answers each refusal with HTTP 200 and the envelope, and adds CORS."""

        async def respond(request: Request) -> Response:
            preflight = await self._cors.preflight(request.scope)
            if preflight is not None:
                return preflight
            answer: Answer
            try:
                if request.method != "POST":
                    raise CallError(60002)  # noqa: TRY301 - one envelope for all refusals
                answer = await call(request)
            except CallError as error:
                answer = refusal(DeviceAnswer, error)
            except StoreError as fault:
                self._log.warning("the store refused a call", command=name, exc_info=fault)
                answer = refusal(DeviceAnswer, CallError(91000))
            except ClientDisconnect:
                # The client left before the body was complete: nobody reads the answer.
                return Response(status_code=400)
            app = getattr(request.state, "sdkappid", 0)
            cors = await self._cors.of_call(origin_of(request.scope["headers"]), app)
            return json_response(answer, headers=cors)

        return respond

    async def _register(self, request: Request) -> RegisterAnswer:
        hello = await _read(request, Hello)
        registered = await self._registrar.register(hello, client_address(request.scope))
        return RegisterAnswer(
            registration_id=registered.device.registration_id,
            secret=registered.secret,
            user=registered.device.user_name,
        )

    async def _unregister(self, request: Request) -> DeviceAnswer:
        proof = await _read(request, DeviceProof)
        await self._registrar.unregister(proof.sdkappid, proof.registration_id, proof.secret)
        return DeviceAnswer()

    async def _report(self, request: Request) -> DeviceAnswer:
        report = await _read(request, ReportRequest)
        device = await self._caller(report)
        if report.channel and report.channel not in PUSH_PLATFORMS:
            raise CallError(70402, "no such channel")
        stage = STAGES[report.stage]
        await self._registrar.report(device, report.sdkappid, report.task_id, stage, report.channel)
        return DeviceAnswer()

    async def _poll(self, request: Request) -> PollAnswer:
        poll = await _read(request, PollRequest)
        device = await self._caller(poll)
        if not device.is_registered:
            raise CallError(70107, "device is not registered")
        frames = await self._hub.poll(poll.sdkappid, device, poll.known, poll.wait_s)
        return PollAnswer(frames=[msgspec.Raw(frame) for frame in frames])

    async def _caller(self, proof: DeviceProof) -> Device:
        return await self._registrar.authenticate(
            proof.sdkappid, proof.registration_id, proof.secret
        )


async def _read(request: Request, form: type[Body]) -> Body:
    """Read the body; `CallError` 60002 if too long, 60003 if no JSON, 70402 if malformed."""
    too_long = f"body is over {BODY_MAX_BYTES} bytes"
    raw = await receive_body(request.receive, BODY_MAX_BYTES, too_long)
    try:
        body = msgspec.json.decode(raw, type=form)
    except msgspec.ValidationError as fault:
        raise CallError(70402, str(fault)) from fault
    except (msgspec.DecodeError, RecursionError) as fault:
        raise CallError(60003) from fault
    # Also where the call is refused, pages of this app's origins may read the answer.
    request.state.sdkappid = body.sdkappid
    return body
