// The service worker: shows what Web Push brings while no tab is open, and reports arrival and
// click. It needs nothing but what the page has stored: `service` and `identity`.

importScripts("store.js");

const store = self.tocsinStore;
const SHOWN_MAX = 1000;

self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));
self.addEventListener("push", (event) => event.waitUntil(arrived(event.data.json())));
self.addEventListener("notificationclick", (event) => event.waitUntil(clicked(event.notification)));
self.addEventListener("pushsubscriptionchange", (event) => event.waitUntil(subscribedAnew(event)));

async function arrived(message) {
  // The declarative form has the same members one level deeper.
  const { title = "", ...shown } = message.notification ?? message;
  const { id, task_id, replaces } = shown.data;
  if (replaces) await takeOff(replaces);
  if (await mustBeShown(id)) {
    // The id as tag: a copy of what is on the screen replaces it without a sound.
    const data = { ...shown.data, channel: "webpush" };
    await self.registration.showNotification(title, { ...shown, tag: id, data });
  }
  await report(task_id, "reached", "webpush");
}

async function clicked(notification) {
  notification.close();
  const { task_id, channel, ext = "", url = "./" } = notification.data;
  await Promise.all([report(task_id, "clicked", channel), open(url, ext)]);
}

// A browser wants something shown for each push, unless the person is looking at the page.
async function mustBeShown(id) {
  let isNew = false;
  await store.update("shown", (shown = []) => {
    isNew = !shown.includes(id);
    return isNew ? [...shown, id].slice(-SHOWN_MAX) : shown;
  });
  if (isNew) return true;
  const tabs = await self.clients.matchAll({ type: "window" });
  return !tabs.some((tab) => tab.visibilityState === "visible");
}

async function takeOff(id) {
  for (const notification of await self.registration.getNotifications({ tag: id })) {
    notification.close();
  }
}

async function open(url, ext) {
  const tabs = await self.clients.matchAll({ type: "window" });
  if (tabs.length === 0) return self.clients.openWindow(url);
  tabs[0].postMessage({ type: "clicked", ext });
  return tabs[0].focus();
}

// Tell the service; what gets no answer is told again with the next report.
async function report(task_id, stage, channel) {
  const add = (reports = []) => [...reports, { task_id, stage, channel }].slice(-SHOWN_MAX);
  for (const told of await store.update("reports", add)) {
    if (!(await call("report", told))) return;
    const isOther = (it) => it.task_id !== told.task_id || it.stage !== told.stage;
    await store.update("reports", (reports = []) => reports.filter(isOther));
  }
}

// Whether the service has answered; any code but 91000 is its last word.
async function call(name, members) {
  const service = await store.get("service"); // { url, sdkappid, credential }
  const identity = await store.get("identity"); // { registration_id, secret }
  if (!service || !identity) return false;
  const body = { sdkappid: service.sdkappid, ...identity, ...members };
  try {
    const response = await fetch(`${service.url}/v1/devices/${name}`, {
      method: "POST",
      body: JSON.stringify(body),
    });
    return (await response.json()).ErrorCode !== 91000;
  } catch {
    return false;
  }
}

// The browser has given up a subscription: make another, and tell it as this device's token.
async function subscribedAnew(event) {
  const service = await store.get("service");
  const subscription =
    event.newSubscription ??
    (await self.registration.pushManager.subscribe(event.oldSubscription.options));
  const token = JSON.stringify(subscription);
  const { appkey, credential } = service;
  await call("register", { appkey, route: { channel: "webpush", credential, token } });
}
