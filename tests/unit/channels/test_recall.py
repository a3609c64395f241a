"""Taking back: what HarmonyOS and browsers are asked, and when the drivers ask it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest

from tests.unit.channels import kit_harmony, kit_webpush
from tests.unit.channels.kit import (
    AUTHORITY,
    NOW,
    OpenGate,
    ScriptedHttp,
    addressed_by,
    batch,
    delivery,
    driver,
    message,
)
from tocsin.channels.vendors import harmony, huawei, webpush
from tocsin.conversation import Batch, Delivery, Fault, Request, Response, StaleCredential
from tocsin.domain.message import ApplePart, Message, notify_id
from tocsin.domain.outcome import Outcome, Receipt
from tocsin.metrics import Metrics

GONE = message(title="Withdrawn", desc="Ignore it")
NOTHING = Message(is_online_only=True)
APPLES = Message(apple=ApplePart(is_silent=True))
"""It wakes apps of Apple's, and has nothing for the others."""
CLIENT = kit_harmony.harmony_settings(client_id="104551790")


def overwrite(vendor: Any, count: int, told: Message = GONE) -> Batch:
    made = msgspec.structs.replace(batch(count, message=told), is_overwrite=True)
    given = tuple(
        msgspec.structs.replace(addressed_by(vendor, it), handle=f"/m/{it.device}")
        for it in made.deliveries
    )
    return msgspec.structs.replace(made, deliveries=given)


def taken(vendor: Any, settings: Any, deliveries: Sequence[Delivery]) -> list[Request]:
    """Every request of a recall, each answered well."""
    talk = vendor.recall(settings, AUTHORITY, deliveries, NOW)
    requests = []
    try:
        request = next(talk)
        while True:
            requests.append(request)
            request = talk.send(ANSWERS[vendor.NAME])
    except StopIteration as end:
        receipts: Sequence[Receipt] = end.value
        assert [receipt.device for receipt in receipts] == [it.device for it in deliveries]
    return requests


ANSWERS = {"harmony": kit_harmony.KIT.accepted, "webpush": Response(204)}


def test_harmony_is_asked_by_client_id_and_the_number_of_the_first_push() -> None:
    (request,) = taken(harmony, CLIENT, overwrite(harmony, 3).deliveries)
    assert (request.method, request.path) == ("POST", "/v1/104551790/messages:revoke")
    assert dict(request.headers)["push-type"] == "0"
    assert dict(request.headers)["authorization"] == AUTHORITY.value
    body = msgspec.json.decode(request.body)
    assert body == {
        "notifyId": notify_id("t7-1"),
        "token": [delivery(number).token for number in (1, 2, 3)],
    }


def test_harmony_without_a_client_id_says_so() -> None:
    talk = harmony.recall(kit_harmony.harmony_settings(), AUTHORITY, (delivery(),), NOW)
    with pytest.raises(StopIteration) as end:
        next(talk)
    (receipt,) = end.value.value
    assert (receipt.outcome, receipt.code) == (Outcome.NOT_PERMITTED, "-14")
    with pytest.raises(ValueError, match="client_id"):
        kit_harmony.harmony_settings(client_id="x")


@pytest.mark.parametrize(
    ("reason", "outcome"),
    [
        ("80000000", Outcome.ACCEPTED),
        ("tokenFormatError", Outcome.UNDELIVERABLE),
        ("80300002", Outcome.CREDENTIALS_WRONG),
        ("81000001", Outcome.SERVER_ERROR),
    ],
)
def test_what_harmony_answers_to_a_recall_drops_no_token(reason: str, outcome: Outcome) -> None:
    status = next(status for status, known in harmony.OUTCOMES if known == reason)
    talk = harmony.recall(CLIENT, AUTHORITY, (delivery(5),), NOW)
    next(talk)
    with pytest.raises(StopIteration) as end:
        talk.send(kit_harmony.KIT.refusal(status, reason))
    assert [receipt.outcome for receipt in end.value.value] == [outcome]


def test_browsers_messages_are_deleted_by_the_name_they_were_given() -> None:
    requests = taken(webpush, kit_webpush.settings(), overwrite(webpush, 2).deliveries)
    assert [(it.method, it.path, it.is_guarded) for it in requests] == [
        ("DELETE", "/m/1", True),
        ("DELETE", "/m/2", True),
    ]
    assert all(dict(it.headers)["authorization"].startswith("vapid t=") for it in requests)


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (200, Outcome.ACCEPTED),
        (204, Outcome.ACCEPTED),
        (404, Outcome.UNDELIVERABLE),
        (410, Outcome.UNDELIVERABLE),
        (405, Outcome.NOT_PERMITTED),
        (403, Outcome.NOT_PERMITTED),
        (429, Outcome.THROTTLED),
        (502, Outcome.SERVER_ERROR),
    ],
)
def test_what_a_push_service_answers_to_a_delete(status: int, outcome: Outcome) -> None:
    """Not found says that it was delivered, and never that the subscription is dead."""
    (one,) = overwrite(webpush, 1).deliveries
    talk = webpush.recall(kit_webpush.settings(), AUTHORITY, (one,), NOW)
    next(talk)
    with pytest.raises(StopIteration) as end:
        talk.send(Response(status, {"retry-after": "7"}))
    (receipt,) = end.value.value
    assert receipt.outcome is outcome


ORIGIN = "https://push.example.net"


@pytest.mark.parametrize(
    ("location", "handle"),
    [
        (f"{ORIGIN}/m/abc?x=1", "/m/abc?x=1"),
        ("/m/abc", "/m/abc"),
        ("", ""),
        ("https://elsewhere.example.com/m/abc", ""),
        ("//elsewhere.example.com/m", ""),
        (f"{ORIGIN}.example.com/m", ""),
        (f"{ORIGIN}@example.com/m", ""),
        ("/m/a b", ""),
        ("/m/" + "x" * 1024, ""),
    ],
)
def test_a_message_has_its_name_on_its_own_server_or_none(location: str, handle: str) -> None:
    one = msgspec.structs.replace(delivery(), token=kit_webpush.token("/p/1", ORIGIN))
    receipt = webpush.read(one, Response(201, {"location": location}))
    assert (receipt.outcome, receipt.handle) == (Outcome.ACCEPTED, handle)


# the drivers


def answering(**by_method: Any) -> Callable[[Request], Response | Fault]:
    """Answers recalls by `recall`, pushes by `push`."""

    def answer(request: Request) -> Response | Fault:
        is_recall = request.method == "DELETE" or request.path.endswith(":revoke")
        found: Response | Fault = by_method["recall" if is_recall else "push"]
        return found

    return answer


WELL = {
    "harmony": {"recall": kit_harmony.KIT.accepted, "push": kit_harmony.KIT.accepted},
    "webpush": {"recall": Response(204), "push": Response(201)},
}
SETTINGS = {"harmony": CLIENT, "webpush": kit_webpush.settings()}

each = pytest.mark.parametrize("vendor", [harmony, webpush], ids=lambda it: it.NAME)


def kinds(http: ScriptedHttp) -> list[str]:
    return [
        "recall" if it.method == "DELETE" or it.path.endswith(":revoke") else "push"
        for it in http.requests
    ]


@pytest.mark.evidence(
    "what can be taken back is, first, and then overwritten",
    topic="Recall at the vendors",
    planted="nothing taken back",
)
@each
async def test_an_overwrite_is_taken_back_first_and_then_shown(vendor: Any) -> None:
    http, metrics = ScriptedHttp(answering(**WELL[vendor.NAME])), Metrics()
    one = driver(vendor, http, settings=SETTINGS[vendor.NAME], metrics=metrics)
    receipts = await one.deliver(overwrite(vendor, 1), OpenGate())
    assert kinds(http) == ["recall", "push"]
    assert [receipt.outcome for receipt in receipts] == [Outcome.ACCEPTED]
    assert metrics.value("taken_back", channel=vendor.NAME, outcome="accepted") == 1


@pytest.mark.evidence(
    "… and an overwrite with nothing to show is a withdrawal, and no empty notification",
)
@each
@pytest.mark.parametrize("told", [NOTHING, APPLES], ids=["nothing at all", "nothing for it"])
async def test_with_nothing_to_show_it_is_only_taken_back(vendor: Any, told: Message) -> None:
    http = ScriptedHttp(answering(**WELL[vendor.NAME]))
    one = driver(vendor, http, settings=SETTINGS[vendor.NAME])
    receipts = await one.deliver(overwrite(vendor, 3, told), OpenGate())
    assert set(kinds(http)) == {"recall"}
    assert [receipt.outcome for receipt in receipts] == [Outcome.ACCEPTED] * 3
    assert one.repeat_replaces(NOTHING)


@each
async def test_a_push_that_overwrites_nothing_takes_nothing_back(vendor: Any) -> None:
    http = ScriptedHttp(answering(**WELL[vendor.NAME]))
    plain = msgspec.structs.replace(overwrite(vendor, 2), is_overwrite=False)
    await driver(vendor, http, settings=SETTINGS[vendor.NAME]).deliver(plain, OpenGate())
    assert set(kinds(http)) == {"push"}


@each
@pytest.mark.parametrize("answer", [Fault("maybe_sent", ""), Response(500), Response(405)])
async def test_what_cannot_be_taken_back_is_overwritten_all_the_same(
    vendor: Any, answer: Any
) -> None:
    http = ScriptedHttp(answering(recall=answer, push=WELL[vendor.NAME]["push"]))
    one = driver(vendor, http, settings=SETTINGS[vendor.NAME])
    receipts = await one.deliver(overwrite(vendor, 2), OpenGate())
    assert {receipt.outcome for receipt in receipts} == {Outcome.ACCEPTED}


@each
async def test_a_recall_without_an_answer_is_doubt_where_nothing_else_is_sent(
    vendor: Any,
) -> None:
    http = ScriptedHttp(answering(recall=Fault("maybe_sent", ""), push=Response(500)))
    one = driver(vendor, http, settings=SETTINGS[vendor.NAME])
    receipts = await one.deliver(overwrite(vendor, 2, NOTHING), OpenGate())
    assert {receipt.outcome for receipt in receipts} == {Outcome.UNKNOWN}


@each
async def test_the_gate_is_asked_between_the_two(vendor: Any) -> None:
    http = ScriptedHttp(answering(**WELL[vendor.NAME]))
    gate = OpenGate(None, Outcome.EXPIRED)
    one = driver(vendor, http, settings=SETTINGS[vendor.NAME])
    receipts = await one.deliver(overwrite(vendor, 1), gate)
    assert kinds(http) == ["recall"]
    assert [receipt.outcome for receipt in receipts] == [Outcome.EXPIRED]


async def test_a_stale_token_is_renewed_for_a_recall_too() -> None:
    stale = kit_harmony.KIT.refusal(401, "80200005")
    answers = iter([stale, kit_harmony.KIT.accepted, kit_harmony.KIT.accepted])
    http = ScriptedHttp(lambda _: next(answers))
    one = driver(harmony, http, settings=CLIENT)
    receipts = await one.deliver(overwrite(harmony, 2), OpenGate())
    assert kinds(http) == ["recall", "recall", "push"]
    assert {receipt.outcome for receipt in receipts} == {Outcome.ACCEPTED}
    talk = harmony.recall(CLIENT, AUTHORITY, (delivery(),), NOW)
    next(talk)
    with pytest.raises(StaleCredential):
        talk.send(stale)


async def test_a_vendor_that_takes_nothing_back_is_only_sent_the_overwrite() -> None:
    http = ScriptedHttp(lambda _: Response(200, {}, b'{"code":"80000000"}'))
    await driver(huawei, http).deliver(overwrite(huawei, 2), OpenGate())
    assert [it.path.rpartition(":")[2] for it in http.requests] == ["send"]


@pytest.mark.evidence(
    "… and an overwrite with nothing to show is a withdrawal, and no empty notification",
)
async def test_with_nothing_to_show_it_is_asked_nothing_at_all() -> None:
    http = ScriptedHttp(lambda _: Response(500))
    one = driver(huawei, http)
    for told in (NOTHING, APPLES):
        receipts = await one.deliver(overwrite(huawei, 2, told), OpenGate())
        assert {(it.outcome, it.code) for it in receipts} == {(Outcome.NOT_PERMITTED, "-13")}
    assert (http.requests, http.bearers) == ([], 0)
