"""What the tests of the channels share: credentials, deliveries, a vendor and a gate by script."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from tests.unit.channels import (
    kit_harmony,
    kit_honor,
    kit_huawei,
    kit_meizu,
    kit_oppo,
    kit_vivo,
    kit_webpush,
    kit_xiaomi,
)
from tests.unit.channels.kit_shape import VendorKit
from tocsin.channels import apns, fcm
from tocsin.channels.credentials import driver_of
from tocsin.channels.driver import Driver, Tools
from tocsin.channels.registry import ListVendor, SingleVendor, Vendor, takes_lists, takes_one
from tocsin.clock import Chance, Clock, ManualClock
from tocsin.domain.app import Credential
from tocsin.domain.message import Message
from tocsin.domain.outcome import Outcome, Receipt
from tocsin.metrics import Metrics
from tocsin.ports import (
    Authority,
    Batch,
    Delivery,
    Denied,
    Fault,
    Http,
    Request,
    Response,
)

NOW = 1_767_225_600.0
CORRELATION = "0a1b2c3d-0000-4000-8000-{:012x}"
BATCH_CORRELATION = "7-1-0011223344556677"
AUTHORITY = Authority("bearer of-a-test", NOW + 2700, NOW + 3600)

Answer = Callable[[Request], Response | Fault | Awaitable[Response | Fault]]


@functools.cache
def ec_key() -> str:
    return _pem(ec.generate_private_key(ec.SECP256R1()))


@functools.cache
def rsa_key() -> str:
    return _pem(rsa.generate_private_key(public_exponent=65537, key_size=2048))


def _pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()


@functools.cache
def apns_settings(**changed: Any) -> apns.Settings:
    settings = apns.Settings(
        private_key=ec_key(), key_id="KEY1234567", team_id="TEAM123456", bundle_id="com.example.app"
    )
    return msgspec.structs.replace(settings, **changed)


@functools.cache
def fcm_settings(**changed: Any) -> fcm.Settings:
    settings = fcm.Settings(
        private_key=rsa_key(),
        client_email="sender@example.iam.gserviceaccount.com",
        project_id="example",
        private_key_id="c0ffee",
    )
    return msgspec.structs.replace(settings, **changed)


LIST_KITS: dict[str, VendorKit] = {
    "harmony": kit_harmony.KIT,
    "honor": kit_honor.KIT,
    "huawei": kit_huawei.KIT,
    "meizu": kit_meizu.KIT,
    "oppo": kit_oppo.KIT,
    "vivo": kit_vivo.KIT,
    "xiaomi": kit_xiaomi.KIT,
}
"""The kit of each vendor that takes lists."""


SINGLE_SETTINGS: dict[str, Callable[..., Any]] = {
    "apns": apns_settings,
    "fcm": fcm_settings,
    "webpush": kit_webpush.settings,
}


WRONG: dict[str, dict[str, Any]] = {
    "apns": {"private_key": ec_key()},
    "fcm": {"private_key": rsa_key()},
    "harmony": {"private_key": rsa_key()},
    "honor": {"client_secret": "another"},
    "huawei": {"app_secret": "another"},
    "meizu": {"app_secret": "another"},
    "oppo": {"master_secret": "another"},
    "vivo": {"app_secret": "another"},
    "xiaomi": {"app_secret": "another"},
}
"""A setting that the vendor finds wrong. A browser's key is bound to its subscriptions, so for Web
Push a wrong one is no wrong credential: `test_webpush.py` has its case."""


def settings_of(vendor: Vendor) -> Any:
    if vendor.NAME in LIST_KITS:
        return LIST_KITS[vendor.NAME].settings()
    return SINGLE_SETTINGS[vendor.NAME]()


def message(**parts: Any) -> Message:
    return Message(**{"title": "Hello", "desc": "A word to all", **parts})


def delivery(number: int = 1, **parts: Any) -> Delivery:
    given = {
        "device": number,
        "token": f"{number:064x}",
        "message": message(),
        "task_id": "1_2_3_4_5",
        "correlation": CORRELATION.format(number),
        "collapse": "t7-1",
        "epoch": 3,
        "ttl_s": 3600,
        "expires_at": NOW + 3600,
    }
    return Delivery(**{**given, **parts})


def batch(count: int, **parts: Any) -> Batch:
    numbers = range(1, count + 1)
    made = tuple(delivery(it, **parts) for it in numbers)
    return Batch(app=7, task=1, job=9, deliveries=made, correlation=BATCH_CORRELATION)


def given(vendor: Vendor, count: int, **parts: Any) -> Batch:
    """A batch as the driver hands it to the file: with what was prepared for it."""
    prepared = LIST_KITS[vendor.NAME].prepared if vendor.NAME in LIST_KITS else ""
    made = msgspec.structs.replace(batch(count, **parts), prepared=prepared)
    addressed = tuple(addressed_by(vendor, it) for it in made.deliveries)
    return msgspec.structs.replace(made, deliveries=addressed)


def addressed_by(vendor: Vendor, one: Delivery) -> Delivery:
    """The delivery with its token in the vendor's form, where it has one that is looked at."""
    if vendor.NAME == "webpush":
        return msgspec.structs.replace(one, token=kit_webpush.token(one.token))
    return one


def first_step(
    vendor: SingleVendor | ListVendor, settings: Any, one: Delivery, now: float = NOW
) -> Request | Receipt:
    """What a file makes of one delivery: a request, or a receipt where none is to be sent."""
    if takes_one(vendor):
        return vendor.request(settings, AUTHORITY, addressed_by(vendor, one), now)
    assert takes_lists(vendor)
    made = msgspec.structs.replace(given(vendor, 1), deliveries=(one,))
    talk = vendor.deliver(settings, AUTHORITY, made, now)
    try:
        return next(talk)
    except StopIteration as end:
        receipts: list[Receipt] = end.value
        return receipts[0]


def heard(
    vendor: SingleVendor | ListVendor, answer: Response, deliveries: tuple[Delivery, ...]
) -> list[Receipt]:
    """What a file takes one answer to mean."""
    if takes_one(vendor):
        return [vendor.read(addressed_by(vendor, one), answer) for one in deliveries]
    assert takes_lists(vendor)
    made = msgspec.structs.replace(given(vendor, 1), deliveries=deliveries)
    talk = vendor.deliver(settings_of(vendor), AUTHORITY, made, NOW)
    next(talk)
    try:
        while True:
            talk.send(answer)
    except StopIteration as end:
        receipts: list[Receipt] = end.value
        return receipts


def authorized(vendor: Vendor, settings: Any, *answers: Response) -> Authority | Denied:
    """Step through the conversation that ends in an authority."""
    talk = vendor.authorize(settings, NOW)
    waiting = iter(answers)
    try:
        next(talk)
        while True:
            talk.send(next(waiting))
    except StopIteration as end:
        found: Authority | Denied = end.value
        return found


class OpenGate:
    """A gate that lets everything through until told otherwise, and counts."""

    def __init__(self, *answers: Outcome | None) -> None:
        self._answers: Iterator[Outcome | None] = iter(answers)
        self.asked = 0
        self.is_open = True

    async def may_begin(self, batch: Batch) -> Outcome | None:
        self.asked += 1
        return next(self._answers, None)

    def still_may(self, batch: Batch) -> bool:
        return self.is_open


class ScriptedHttp:
    """Answers each request as a function says; what token services give comes by itself."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self.requests: list[Request] = []
        self.bearers = 0
        self.under_way = 0
        self.under_way_max = 0

    async def send(
        self,
        request: Request,
        deadline_s: float,
        may_begin: Callable[[], bool] | None = None,
    ) -> Response | Fault:
        if request.path == "/token":
            self.bearers += 1
            return bearer(f"bearer-{self.bearers}")
        for kit in LIST_KITS.values():
            if request.path in kit.authority:
                self.bearers += 1
                return kit.authority[request.path]
        if may_begin is not None and not may_begin():
            return Fault("unsent", "not begun")
        self.requests.append(request)
        self.under_way += 1
        self.under_way_max = max(self.under_way, self.under_way_max)
        try:
            answer = self._answer(request)
            if not isinstance(answer, Response | Fault):
                answer = await answer
        finally:
            self.under_way -= 1
        return answer


def bearer(text: str) -> Response:
    body = {"access_token": text, "expires_in": 3599, "token_type": "Bearer"}
    return Response(200, {"content-type": "application/json"}, msgspec.json.encode(body))


def refusal(vendor: Vendor, status: int, reason: str = "") -> Response:
    """An answer with this vendor's reason, in the vendor's own shape."""
    if vendor.NAME in LIST_KITS:
        return LIST_KITS[vendor.NAME].refusal(status, reason)
    if vendor.NAME == "webpush":
        return kit_webpush.refusal(status, reason)
    if not reason:
        return Response(status)
    if vendor.NAME == "apns":
        answer: dict[str, Any] = {"reason": reason}
        if status == 410:
            answer["timestamp"] = int(NOW * 1000)
        return Response(status, {}, msgspec.json.encode(answer))
    return Response(status, {}, fcm_error(status, reason))


def fcm_error(status: int, reason: str) -> bytes:
    error: dict[str, Any] = {"code": status, "message": "It is not so.", "status": "SOME_STATUS"}
    if reason == "BAD_REQUEST":
        violation = {"field": "message.android.ttl", "description": "Illegal."}
        kind = "type.googleapis.com/google.rpc.BadRequest"
        error["details"] = [{"@type": kind, "fieldViolations": [violation]}]
    elif reason in ("UNAUTHENTICATED", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED"):
        error["status"] = reason
    else:
        if reason == "INVALID_ARGUMENT token":
            reason = "INVALID_ARGUMENT"
            error["message"] = "The registration token is not a valid FCM registration token"
        kind = "type.googleapis.com/google.firebase.fcm.v1.FcmError"
        error["details"] = [{"@type": kind, "errorCode": reason}]
    return msgspec.json.encode({"error": error})


def credential(vendor: Vendor, **parts: Any) -> Credential:
    given = {"app": 7, "number": 11, "channel": vendor.NAME, "settings": b""}
    return Credential(**{**given, **parts})


def driver(
    vendor: SingleVendor | ListVendor,
    http: Http,
    *,
    clock: Clock | None = None,
    metrics: Metrics | None = None,
    settings: Any = None,
    **record: Any,
) -> Driver:
    tools = Tools(http, clock or ManualClock(NOW), Chance(1), metrics or Metrics())
    chosen = settings or settings_of(vendor)
    return driver_of(vendor, credential(vendor, **record), chosen, tools)
