"""Web pages of other origins: which may ask, which may read, and what the question costs."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from starlette.applications import Starlette

from tests.unit.api.test_credential_verbs import PRIVATE, webpush_settings
from tests.unit.api.world import APP, OTHER_APP, Answer, World, ok
from tests.unit.online.rig import APPKEY, Rig
from tests.watched import Watched
from tocsin.api import pages
from tocsin.api.cors import Cors
from tocsin.api.devices import DeviceCalls
from tocsin.api.webpush_key import WebPushKeyPage
from tocsin.errors import CallError

GET = "timpush/get_attr_name"
PAGE = "https://app.example.com"
OTHER_PAGE = "https://shop.example"
STRANGE_PAGE = "https://evil.example"
ASKED = ("access-control-request-method", "POST")

Sent = list[dict[str, Any]]


def headers_of(sent: Sent) -> dict[str, str]:
    pairs = [(name.decode(), value.decode()) for name, value in sent[0]["headers"]]
    assert len(dict(pairs)) == len(pairs), "no header twice"
    assert "access-control-allow-credentials" not in dict(pairs)
    return dict(pairs)


def cors_of(sent: Sent) -> dict[str, str]:
    found = headers_of(sent)
    assert found.pop("vary") == "Origin"
    return {name: value for name, value in found.items() if name.startswith("access-control")}


async def send(app: Any, method: str, path: str, body: Any, *told: tuple[str, str]) -> Sent:
    """One request, as a browser sends it."""
    path, _, query = path.partition("?")
    raw = b"" if body is None else msgspec.json.encode(body)
    sent: Sent = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": raw}

    async def answer(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in told],
        "client": ("192.0.2.1", 50_000),
        "root_path": "",
        "http_version": "1.1",
    }
    await app(scope, receive, answer)
    return sent


def code_of(sent: Sent) -> int:
    answer: Answer = msgspec.json.decode(sent[1]["body"])
    return int(answer["ErrorCode"])


class Site:
    """Two apps, of which each names a page of its own, behind `/v4/` and `/v1/devices/`."""

    def __init__(self, world: World, rig: Rig) -> None:
        self.world = world
        self.rig = rig
        self.devices = Starlette(
            routes=DeviceCalls(rig.registrar, rig.hub, Cors(rig.store)).routes()
        )

    async def device(self, method: str, name: str, body: Any, *told: tuple[str, str]) -> Sent:
        return await send(self.devices, method, f"/v1/devices/{name}", body, *told)

    async def call(self, method: str, query: str, *told: tuple[str, str]) -> Sent:
        return await send(self.world.api, method, f"/v4/{GET}?{query}", {}, *told)


@pytest.fixture
async def site(world: World) -> Site:
    await world.operator.app_add(APP, {"origins": [PAGE]})
    await world.operator.app_add(OTHER_APP, {"origins": [OTHER_PAGE]})
    rig = await Rig().open()
    for app in (APP, OTHER_APP):
        row = await world.store.app(app)
        assert row is not None
        mine = msgspec.structs.replace(rig.app, sdkappid=app, origins=row.origins)
        await rig.store.update_app(app, lambda _, mine=mine: mine)  # type: ignore[misc]
    return Site(world, rig)


ALLOWED = {
    "access-control-allow-methods": "POST",
    "access-control-allow-headers": "Content-Type, X-Requested-With",
    "access-control-max-age": "7200",
}


@pytest.mark.evidence(
    "a preflight is answered where any app names the origin, and costs no reads until an "
    "app changes",
    topic="Strangers and browsers",
    planted="the rows read once and never again; read each time; the version left as it "
    "was, in each store",
)
@pytest.mark.parametrize("name", ["register", "unregister", "report", "poll"])
@pytest.mark.parametrize("origin", [PAGE, OTHER_PAGE])
async def test_a_preflight_from_a_page_that_any_app_names_is_answered(
    site: Site, name: str, origin: str
) -> None:
    sent = await site.device("OPTIONS", name, None, ("origin", origin), ASKED)
    assert sent[0]["status"] == 204
    assert cors_of(sent) == {"access-control-allow-origin": origin, **ALLOWED}
    sent = await site.call("OPTIONS", "", ("origin", origin), ASKED)
    assert sent[0]["status"] == 204
    assert cors_of(sent) == {"access-control-allow-origin": origin, **ALLOWED}


@pytest.mark.parametrize(
    "told",
    [
        [("origin", STRANGE_PAGE), ASKED],
        [("origin", "null"), ASKED],
        [("origin", PAGE + "/"), ASKED],
        [("origin", f"{PAGE}.evil.example"), ASKED],
        [("origin", PAGE)],
        [ASKED],
        [],
    ],
)
async def test_any_other_question_gets_the_envelope_and_is_allowed_nothing(
    site: Site, told: list[tuple[str, str]]
) -> None:
    for sent in (
        await site.device("OPTIONS", "register", None, *told),
        await site.call("OPTIONS", "", *told),
    ):
        assert (sent[0]["status"], code_of(sent)) == (200, 60002)
        assert cors_of(sent) == {}


async def test_a_preflight_to_no_command_is_answered_as_any_call(site: Site) -> None:
    told = [("origin", PAGE), ASKED]
    for path, code in (("/v4/timpush/nope", 60009), ("/v4/openim/sendmsg", 60027)):
        assert code_of(await send(site.world.api, "OPTIONS", path, None, *told)) == code


@pytest.mark.evidence(
    "a web page reads the answer only where the call's app names its origin, refusals too",
    topic="Strangers and browsers",
    planted="judged by the origins of all apps; the app not told to the answer",
)
async def test_a_devices_call_is_judged_by_its_app(site: Site) -> None:
    hello = {"type": "hello", "sdkappid": APP, "appkey": APPKEY}
    for origin, allowed in ((PAGE, True), (OTHER_PAGE, False), (STRANGE_PAGE, False)):
        sent = await site.device("POST", "register", hello, ("origin", origin))
        assert code_of(sent) == 0, "whoever is no browser may say any origin"
        expected = {"access-control-allow-origin": origin} if allowed else {}
        assert cors_of(sent) == expected
    assert cors_of(await site.device("POST", "register", hello)) == {}


@pytest.mark.evidence(
    "a web page reads the answer only where the call's app names its origin, refusals too",
)
async def test_the_page_may_read_a_refusal_too(site: Site) -> None:
    hello = {"type": "hello", "sdkappid": APP, "appkey": "wrong"}
    sent = await site.device("POST", "register", hello, ("origin", PAGE))
    assert (code_of(sent), cors_of(sent)) == (800001, {"access-control-allow-origin": PAGE})
    # Whose call it would be cannot be read: nobody allows anything.
    bodies: list[Any] = [{"sdkappid": "x"}, {**hello, "sdkappid": 7}, []]
    for body in bodies:
        sent = await site.device("POST", "register", body, ("origin", PAGE))
        assert code_of(sent) != 0
        assert cors_of(sent) == {}
    query = site.world.query(usersig="x")
    sent = await site.call("POST", query, ("origin", PAGE))
    assert (code_of(sent), cors_of(sent)) == (70003, {"access-control-allow-origin": PAGE})


@pytest.mark.evidence(
    "a web page reads the answer only where the call's app names its origin, refusals too",
)
async def test_a_call_under_v4_is_judged_by_its_app(site: Site) -> None:
    query = site.world.query()
    sent = await site.call("POST", query, ("origin", PAGE))
    assert msgspec.json.decode(sent[1]["body"]) == ok(AttrNames={}, AttrTypes={})
    assert cors_of(sent) == {"access-control-allow-origin": PAGE}
    for told in ([("origin", OTHER_PAGE)], [("origin", "*")], [("origin", "null")], []):
        sent = await site.call("POST", query, *told)
        assert (code_of(sent), cors_of(sent)) == (0, {})
    for query in (f"sdkappid={'9' * 21}", "sdkappid=x", "", f"sdkappid={APP}&a={'x' * 33_000}"):
        assert cors_of(await site.call("POST", query, ("origin", PAGE))) == {}


@pytest.mark.evidence(
    "a web page reads the answer only where the call's app names its origin, refusals too",
)
async def test_the_key_for_browsers_is_told_by_the_same_list(site: Site) -> None:
    world = site.world
    facts = {"channel": "webpush", "settings": webpush_settings(PRIVATE)}
    path = f"/v1/apps/{APP}/webpush/public-key"
    app = pages.create(WebPushKeyPage(world.store, world.vault, Cors(world.store)).routes())
    for status in (404, 200):
        for origin, allowed in ((PAGE, True), (OTHER_PAGE, False)):
            sent = await send(app, "GET", path, None, ("origin", origin))
            assert sent[0]["status"] == status
            assert cors_of(sent) == ({"access-control-allow-origin": origin} if allowed else {})
        await world.operator.credential_add(APP, facts)


async def test_no_app_names_a_page_by_itself(world: World) -> None:
    sent = await send(world.api, "OPTIONS", f"/v4/{GET}", None, ("origin", PAGE), ASKED)
    assert (code_of(sent), cors_of(sent)) == (60002, {})
    sent = await send(world.api, "POST", f"/v4/{GET}?{world.query()}", {}, ("origin", PAGE))
    assert (code_of(sent), cors_of(sent)) == (0, {})


@pytest.mark.evidence(
    "a preflight is answered where any app names the origin, and costs no reads until an "
    "app changes",
)
async def test_a_changed_list_counts_at_once(site: Site) -> None:
    world = site.world

    async def allowed(origin: str) -> tuple[bool, bool]:
        asked = await site.call("OPTIONS", "", ("origin", origin), ASKED)
        called = await site.call("POST", world.query(), ("origin", origin))
        return asked[0]["status"] == 204, bool(cors_of(called))

    assert await allowed(STRANGE_PAGE) == (False, False)
    shown = await world.operator.app_add(APP, {"origins": [PAGE, STRANGE_PAGE + ":443"]})
    assert shown["origins"] == [PAGE, STRANGE_PAGE]
    assert await allowed(STRANGE_PAGE) == (True, True)
    shown = await world.operator.app_add(APP, {"ttl_s": 60})
    assert shown["origins"] == [PAGE, STRANGE_PAGE], "what is not told stays"
    await world.operator.app_add(APP, {"origins": [""]})
    assert await allowed(PAGE) == (False, False)
    assert await allowed(OTHER_PAGE) == (True, False)
    for wrong in (["*"], [PAGE + "/"], "x", [7]):
        with pytest.raises(CallError) as refused:
            await world.operator.app_add(APP, {"origins": wrong})
        assert refused.value.code == 70402


@pytest.mark.evidence(
    "a preflight is answered where any app names the origin, and costs no reads until an "
    "app changes",
)
async def test_preflights_read_the_apps_only_when_one_has_changed(world: World) -> None:
    for number in range(50):
        await world.operator.app_add(100 + number, {"origins": [f"https://{number}.example"]})
    watched = Watched(world.store)
    cors = Cors(watched.store)

    async def reads(preflights: int) -> int:
        watched.asked.clear()
        for number in range(preflights):
            asked = [(b"origin", b"https://%d.example" % number), (ASKED[0].encode(), b"POST")]
            scope = {"type": "http", "method": "OPTIONS", "headers": asked}
            assert (await cors.preflight(scope) is not None) == (number < 50)
        return sum(verb != "app_version" for verb in watched.asked)

    assert await reads(1) == 1 + 51, "the list of apps, and each"
    assert await reads(500) == 0
    await world.operator.app_add(100, {"ttl_s": 60})
    assert await reads(500) == 1 + 51
