"""Each rule of a push service is broken once and refused, and kept once and accepted."""

from __future__ import annotations

from typing import Any

import jwt
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from tocsin.clock import Chance, ManualClock
from tocsin.domain.webpush import base64url, seal, subscription_of
from tocsin.sandbox.devices import DeviceBook, State
from tocsin.sandbox.exchange import Call, Connection, Judgement
from tocsin.sandbox.vendors.webpush.server import REFUSALS, WebPush, WebPushSettings

NOW = 1_767_225_600.0
ORIGIN = "https://127.0.0.1:4433"
OTHER = ec.derive_private_key(77, ec.SECP256R1())
OTHER_PUBLIC = (
    "BFghsALbonclGp0Y63LVxyD07-Ahs4ApwBfYcTQIk757I-wS1npThTTfm2L2P_9YZoacBPEl3tHDG76VQOWfI2M"
)


class Bench:
    """One push service with its book, asked without sockets."""

    def __init__(self, *, knows_all: bool = False, **settings: Any) -> None:
        self.clock = ManualClock(NOW)
        self.book = DeviceBook(self.clock, knows_all=knows_all)
        self.push = WebPush(
            WebPushSettings(**settings), self.book, self.clock, Chance(1), secret=b"secret"
        )
        self.push.browsers.origin = ORIGIN
        number = int.from_bytes(base64url(self.push.credential.private_key))
        self.key = ec.derive_private_key(number, ec.SECP256R1())

    def vapid(
        self,
        key: ec.EllipticCurvePrivateKey | None = None,
        public: str = "",
        algorithm: str = "ES256",
        **changed: Any,
    ) -> str:
        claims = {"aud": ORIGIN, "exp": NOW + 3600, "sub": "mailto:a@example.com", **changed}
        claims = {name: it for name, it in claims.items() if it is not None}
        token = jwt.encode(claims, key or self.key, algorithm=algorithm)
        return f"vapid t={token}, k={public or self.push.credential.public_key}"

    def send(
        self,
        told: Any = None,
        number: int = 1,
        *,
        body: bytes | None = None,
        path: str = "",
        method: str = "POST",
        **headers: str | None,
    ) -> Judgement:
        to = subscription_of(self.push.token(number))
        assert to is not None
        plain = msgspec.json.encode({"title": "t", "body": "b"} if told is None else told)
        if body is None:
            body = seal(plain, to, secret=b"s", correlation="1")
        given: dict[str, str | None] = {
            "authorization": self.vapid(),
            "ttl": "60",
            "content-encoding": "aes128gcm",
            **{name.replace("_", "-"): it for name, it in headers.items()},
        }
        pairs = [(name, it) for name, it in given.items() if it is not None]
        call = Call(method, path or to.path, pairs, body, Connection(1, "http/1.1", None))
        return self.push.judge(call)


def test_what_is_refused_is_logged_under_the_senders_own_id() -> None:
    bench = Bench()
    bench.book.put("webpush", bench.push.token(1), "dead")
    told = {"title": "t", "body": "b", "data": {"msgid": "abc"}}
    verdict = bench.send(told, topic="t7-1")
    assert (verdict.status, verdict.reason) == (410, "Gone")
    assert (verdict.correlation, verdict.collapse) == ("abc", "t7-1")


def test_a_message_in_order_is_taken_opened_and_shown() -> None:
    bench = Bench()
    told = {"title": "t", "body": "b", "tag": "t7-1", "data": {"msgid": "abc"}}
    verdict = bench.send(told, topic="t7-1", urgency="high")
    assert (verdict.status, verdict.accepted, verdict.reason) == (201, True, "")
    assert (verdict.correlation, verdict.collapse) == ("abc", "t7-1")
    assert dict(verdict.headers)["location"].startswith(ORIGIN)
    assert verdict.token == bench.push.token(1)
    device = bench.book.known("webpush", bench.push.token(1))
    assert device is not None
    assert [(it.title, it.body) for it in device.shown.values()] == [("t", "b")]
    bench.send({**told, "title": "later"}, topic="t7-1")
    assert [(it.title, it.replaced) for it in device.shown.values()] == [("later", 1)]


def test_the_declarative_form_is_shown_too() -> None:
    bench = Bench()
    bench.send({"web_push": 8030, "notification": {"title": "t", "navigate": "https://e.com"}})
    device = bench.book.known("webpush", bench.push.token(1))
    assert device is not None
    assert [it.title for it in device.shown.values()] == ["t"]


def test_a_body_that_is_empty_or_no_json_still_wakes_the_page() -> None:
    bench = Bench()
    assert bench.send(body=b"", content_encoding=None).status == 201
    assert bench.send([1]).status == 201


BENCH = Bench()
EXPIRES: dict[str, Any] = {"exp": NOW - 1}


@pytest.mark.evidence(
    "every rule of Web Push has a request that breaks it and is refused",
    topic="Channels and sandbox",
    planted="each check of the token, of `TTL`, `Topic`, `Urgency` and the encoding left "
    "out in turn; a body over 4096 bytes; another page's key",
)
@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"path": "/push/1/" + "0" * 32}, "NotFound"),
        ({"path": "/elsewhere"}, "NotFound"),
        ({"method": "PUT"}, "MethodNotAllowed"),
        ({"authorization": None}, "MissingAuthorization"),
        ({"authorization": "Bearer abc"}, "MissingAuthorization"),
        ({"authorization": "vapid t=abc, k=def"}, "InvalidToken"),
        ({"authorization": BENCH.vapid(OTHER)}, "InvalidToken"),
        ({"authorization": BENCH.vapid(public="AAAA")}, "InvalidToken"),
        ({"authorization": BENCH.vapid() + "x"}, "InvalidToken"),
        ({"authorization": BENCH.vapid(exp=None)}, "InvalidToken"),
        ({"authorization": BENCH.vapid(aud=None)}, "InvalidToken"),
        ({"authorization": BENCH.vapid(aud="https://127.0.0.1:443")}, "WrongAudience"),
        ({"authorization": BENCH.vapid(aud="https://127.0.0.2")}, "WrongAudience"),
        ({"authorization": BENCH.vapid(aud="http://127.0.0.1:4433")}, "WrongAudience"),
        ({"authorization": BENCH.vapid(aud=ORIGIN + "/")}, "WrongAudience"),
        ({"authorization": BENCH.vapid(**EXPIRES)}, "ExpiredToken"),
        ({"authorization": BENCH.vapid(exp=NOW + 86_401)}, "LongToken"),
        ({"authorization": BENCH.vapid(sub=None)}, "BadSubject"),
        ({"authorization": BENCH.vapid(sub="a@example.com")}, "BadSubject"),
        ({"authorization": BENCH.vapid(sub="http://example.com")}, "BadSubject"),
        ({"authorization": BENCH.vapid(OTHER, OTHER_PUBLIC)}, "KeyMismatch"),
        ({"ttl": None}, "MissingTtl"),
        ({"ttl": ""}, "MissingTtl"),
        ({"ttl": "-1"}, "BadTtl"),
        ({"ttl": "1.5"}, "BadTtl"),
        ({"ttl": "2592001"}, "BadTtl"),
        ({"topic": "a" * 33}, "BadTopic"),
        ({"topic": "a b"}, "BadTopic"),
        ({"topic": ""}, "BadTopic"),
        ({"urgency": "highest"}, "BadUrgency"),
        ({"content_encoding": None}, "BadEncoding"),
        ({"content_encoding": "aesgcm"}, "BadEncoding"),
        ({"body": b"x" * 4097}, "TooLarge"),
        ({"body": b"x" * 200}, "Unreadable: the key id is no point on P-256"),
        ({"body": b"x"}, "Unreadable: shorter than its header"),
    ],
)
def test_a_broken_rule_is_refused(asked: dict[str, Any], code: str) -> None:
    bench = Bench()
    verdict = bench.send(**asked)
    assert (verdict.reason, verdict.accepted) == (code, False)
    known = REFUSALS[code.partition(":")[0]]
    told = msgspec.json.decode(verdict.body)
    assert (verdict.status, told["code"], told["errno"]) == (
        known.status,
        known.status,
        known.errno,
    )
    device = bench.book.known("webpush", bench.push.token(1))
    assert device is None or not device.shown


@pytest.mark.evidence(
    "the sandbox's push service takes an audience without its port, and no other port",
    topic="Channels and sandbox",
    planted="the port wanted; only the host compared",
)
@pytest.mark.parametrize(
    ("origin", "audience", "is_own"),
    [
        ("https://push.example.com", "https://push.example.com", True),
        ("https://push.example.com", "https://push.example.com:443", False),
        ("https://push.example.com:443", "https://push.example.com", True),
        ("https://push.example.com:8443", "https://push.example.com:8443", True),
        ("https://push.example.com:8443", "https://push.example.com", True),
        ("https://push.example.com:8443", "https://push.example.com:443", False),
        ("https://push.example.com:8443", "https://push.example.com:844", False),
        ("https://push.example.com:8443", "https://push.example", False),
        ("https://push.example.com:8443", "push.example.com", False),
        ("https://[::1]:8443", "https://[::1]", True),
        ("https://[::1]", "https://[:", False),
    ],
)
def test_an_audience_names_the_origin_and_may_leave_out_its_port(
    origin: str, audience: str, is_own: bool
) -> None:
    bench = Bench()
    bench.push.browsers.origin = origin
    reason = bench.send(authorization=bench.vapid(aud=audience)).reason
    assert (reason == "") is is_own
    assert reason in ("", "WrongAudience")


@pytest.mark.evidence("every rule of Web Push has a request that breaks it and is refused")
def test_what_was_sealed_for_another_browser_does_not_open() -> None:
    bench = Bench()
    other = subscription_of(bench.push.token(2))
    assert other is not None
    body = seal(b"{}", other, secret=b"s", correlation="1")
    verdict = bench.send(body=body)
    assert verdict.reason == "Unreadable: it does not open with this browser's keys"


@pytest.mark.evidence("every rule of Web Push has a request that breaks it and is refused")
@pytest.mark.parametrize("algorithm", ["HS256", "none"])
def test_a_token_of_another_algorithm_is_no_token(algorithm: str) -> None:
    bench = Bench()
    key: Any = "a" * 32 if algorithm == "HS256" else None
    claims = {"aud": ORIGIN, "exp": NOW + 60, "sub": "mailto:a@example.com"}
    token = jwt.encode(claims, key, algorithm=algorithm)
    verdict = bench.send(authorization=f"vapid t={token}, k={bench.push.credential.public_key}")
    assert verdict.reason == "InvalidToken"


@pytest.mark.parametrize(
    ("state", "status", "reason"),
    [
        ("live", 201, ""),
        ("off", 201, ""),
        ("dead", 410, "Gone"),
        ("expired", 404, "Expired"),
        ("other_app", 401, "KeyMismatch"),
        ("other_environment", 401, "KeyMismatch"),
    ],
)
def test_what_each_state_answers(state: State, status: int, reason: str) -> None:
    bench = Bench()
    bench.book.put("webpush", bench.push.token(1), state)
    verdict = bench.send()
    assert (verdict.status, verdict.reason) == (status, reason)


@pytest.mark.parametrize(
    ("topic", "is_text_of_bytes"),
    [
        ("", True),
        ("AAAA", True),
        ("t7-1", True),
        ("neueangebote", True),
        ("AA", True),
        ("AB", False),
        ("spike", False),
        ("neue-angebote", False),
        ("A" * 32, True),
    ],
)
def test_a_topic_is_decoded_where_the_service_is_like_apples(
    topic: str, is_text_of_bytes: bool
) -> None:
    strict, plain = Bench(decodes_topics=True), Bench()
    assert plain.send(topic=topic or None).status == 201
    verdict = strict.send(topic=topic or None)
    assert verdict.reason == ("" if is_text_of_bytes else "BadTopic")


@pytest.mark.evidence("every rule of Web Push has a request that breaks it and is refused")
def test_a_page_may_have_subscribed_with_another_key() -> None:
    bench = Bench()
    bench.book.put("webpush", bench.push.token(1), app=OTHER_PUBLIC)
    assert bench.send().reason == "KeyMismatch"
    assert bench.send(authorization=bench.vapid(OTHER, OTHER_PUBLIC)).status == 201


def test_one_the_book_must_know_is_gone_otherwise() -> None:
    assert Bench(knows_all=True).send().status == 410


def test_a_message_waits_for_a_browser_that_is_off_and_its_topic_replaces() -> None:
    bench = Bench()
    bench.book.put("webpush", bench.push.token(1), "off")
    for title, ttl in (("first", "60"), ("second", "60"), ("never", "0")):
        bench.send({"title": title}, topic="a" if ttl == "60" else "b", ttl=ttl)
    device = bench.book.put("webpush", bench.push.token(1), "live")
    assert [it.title for it in device.shown.values()] == ["second"]


@pytest.mark.evidence("every rule of Web Push has a request that breaks it and is refused")
async def test_too_many_for_one_browser() -> None:
    bench = Bench(device_per_minute=2)
    assert [bench.send().status for _ in range(3)] == [201, 201, 429]
    assert dict(bench.send().headers)["retry-after"] == "60"
    assert bench.send(number=2).status == 201
    await bench.clock.advance(60)
    assert bench.send().status == 201
    silent = Bench(device_per_minute=1, retry_after=False)
    silent.send()
    assert "retry-after" not in dict(silent.send().headers)


@pytest.mark.parametrize("code", [*REFUSALS, "unheard of"])
def test_every_refusal_can_be_asked_for(code: str) -> None:
    bench = Bench()
    call = Call("POST", "/push/1/x", [], b"", Connection(1, "http/1.1", None))
    verdict = bench.push.refusal(code, call)
    assert verdict.status == REFUSALS.get(code, REFUSALS["Internal"]).status
    assert not verdict.accepted


def test_browsers_are_the_same_for_the_same_secret_and_differ_otherwise() -> None:
    first, second = Bench(), Bench()
    assert first.push.token(3) == second.push.token(3) != first.push.token(4)
    assert len(first.push.token(3)) <= 1024
    first.push.browsers.origin = "https://127.0.0.1:9"
    assert subscription_of(first.push.token(3)) != subscription_of(second.push.token(3))


def test_a_message_that_waits_is_withdrawn_by_its_address_and_only_once() -> None:
    bench = Bench()
    bench.book.put("webpush", bench.push.token(1), "off")
    where = dict(bench.send({"title": "t"}).headers)["location"].removeprefix(ORIGIN)
    kept = dict(bench.send({"title": "t", "tag": "other"}).headers)["location"]
    assert bench.send(path=where, method="DELETE").status == 204
    assert bench.send(path=where, method="DELETE").status == 404
    device = bench.book.known("webpush", bench.push.token(1))
    assert device is not None
    assert [shown.key for shown, _ in device.held] == ["other"]
    assert kept.startswith(f"{ORIGIN}/message/")


def test_a_withdrawal_is_logged_under_the_topic_that_the_message_had() -> None:
    bench = Bench()
    bench.book.put("webpush", bench.push.token(1), "off")
    sent = bench.send({"title": "t", "tag": "shown"}, topic="waits")
    where = dict(sent.headers)["location"].removeprefix(ORIGIN)
    assert bench.send(path=where, method="DELETE").collapse == sent.collapse == "waits"


def test_what_was_shown_or_never_was_is_not_found() -> None:
    bench = Bench()
    where = dict(bench.send({"title": "t"}).headers)["location"].removeprefix(ORIGIN)
    assert bench.send(path=where, method="DELETE").status == 404
    assert bench.send(path="/message/" + "0" * 24, method="DELETE").status == 404
    device = bench.book.known("webpush", bench.push.token(1))
    assert device is not None
    assert len(device.shown) == 1
