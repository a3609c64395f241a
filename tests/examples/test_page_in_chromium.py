"""The browser's example in a real browser: two tabs, one device, a push after all are closed."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.architecture.tree import REPO
from tests.examples.chromium import Browser, Tab, chromium, site
from tests.patience import PATIENCE_S
from tests.sandbox_keys import keys_folder
from tests.wire.served import APP, client_of, make_app, opened, process_of
from tocsin.client.rest import Client, notice
from tocsin.client.sandbox import credential_facts
from tocsin.sandbox.server import Sandbox, SandboxSettings

pytestmark = pytest.mark.server("chromium")

STATE = "return document.getElementById('state')?.textContent"
FIRST = "return document.querySelector('#pushes li')?.textContent"
IDENTITY = "return await tocsinStore.get('identity')"
SUBSCRIBE = """
  PushManager.prototype.subscribe = async (asked) => {
    self.asked = asked.applicationServerKey;
    return JSON.parse(%s);
  };
  document.getElementById("allow").click();
"""
"""The page's own button; the subscription is the sandbox's, as no vendor is asked here."""
TITLES = "return (await self.registration.getNotifications()).map((it) => it.title)"
CLICK_NEWEST = """
  const newest = (await self.registration.getNotifications()).at(-1);
  // Without a person's click no window may be opened; the report goes out all the same.
  await clicked(newest).catch(() => {});
"""


async def ledger(admin: Client, task_id: str, **wanted: int) -> None:
    """Wait until the push's books say so."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            found = (await admin.task(task_id))["ledger"]
            if {name: found[name] for name in wanted} == wanted:
                return


@pytest.mark.evidence(
    "in a real browser (Chromium 156) two tabs are one device, another takes over, and the "
    "service worker shows and reports a push after the last is closed",
    topic="Clients",
    planted="no lock; a push or a click not told to the other tab; a value not written to "
    "IndexedDB; the page's origin not named",
)
async def test_two_tabs_are_one_device_and_a_push_comes_when_they_are_closed(
    tmp_path: Path,
) -> None:
    folder, profile = tmp_path / "data", tmp_path / "profile"
    with site(REPO / "examples/browser") as origin:
        async with Sandbox(SandboxSettings(folder=keys_folder())) as sandbox:
            async with opened(folder) as service:
                await make_app(service, origins=[origin])
                facts = credential_facts("webpush", sandbox.describe())
                await service.operator.credential_add(APP, facts)
                appkey = (await service.operator.app_show(APP))["appkey"]
            async with (
                process_of(folder) as process,
                chromium(profile) as browser,
                client_of(process) as admin,
            ):
                await browser.call(
                    "Browser.grantPermissions", origin=origin, permissions=["notifications"]
                )
                asked = {"service": process.url, "sdkappid": APP, "appkey": appkey}
                url = f"{origin}/?{urlencode(asked)}"
                tab = await _two_tabs(browser, admin, url)
                await _closed(browser, admin, sandbox, tab=tab, origin=origin)


async def _two_tabs(browser: Browser, admin: Client, url: str) -> Tab:
    """One connects, both show, either clicks; answers the one that is left."""
    first = await browser.tab(url)
    await first.until(STATE, "open")
    second = await browser.tab(url)
    name = (await first.run(IDENTITY))["registration_id"]
    await second.until("return (await navigator.locks.query()).pending.length", 1)
    pushed = await admin.batch([name], notice("Hello", "from Tocsin"))
    for tab in (first, second):
        await tab.until(FIRST, "Hello from Tocsin")
    await second.run("document.querySelector('#pushes li').click()")
    await ledger(admin, pushed.task_id, reached=1, clicked=1)
    await first.close()
    await second.until(STATE, "open")
    assert (await second.run(IDENTITY))["registration_id"] == name
    return second


async def _closed(
    browser: Browser, admin: Client, sandbox: Sandbox, *, tab: Tab, origin: str
) -> None:
    """Subscribe, close the page, and let the service worker show and report a push."""
    (token,) = sandbox.tokens("webpush", 0, 1)
    await tab.run(SUBSCRIBE % json.dumps(token))
    await tab.until("return document.getElementById('answer').textContent", "You will be notified.")
    identity = await tab.run(IDENTITY)
    assert len(await tab.run("return self.asked")) == 87  # a point on P-256 in base64url
    # A page of the same origin that is no client: it only looks.
    look = await browser.tab(f"{origin}/store.js")
    await tab.close()
    pushed = await admin.batch([identity["registration_id"]], notice("Closed", "page"))
    message = await _sent(sandbox, token)
    for _ in range(2):
        await browser.deliver(look, origin, message)
    await ledger(admin, pushed.task_id, reached=1)
    worker = await browser.worker()
    await worker.until(TITLES, ["Closed"])
    await worker.run(CLICK_NEWEST)
    await ledger(admin, pushed.task_id, reached=1, clicked=1)
    assert await worker.run(TITLES) == []


async def _sent(sandbox: Sandbox, token: str) -> dict[str, Any]:
    """The message that the push service took for this browser."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            device = sandbox.devices.known("webpush", token)
            if device is not None and device.shown:
                (shown,) = device.shown.values()
                texts = {"title": shown.title, "body": shown.body}
                return {**texts, "tag": shown.key, "data": shown.data}
            await asyncio.sleep(0)
