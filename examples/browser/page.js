// A page that is one device together with its other tabs: docs/clients.md, "Browsers".

import { Device } from "./tocsin.js";

// Your service: its address, the app's number and its client key, which is no secret. `?service=…`
// and so on override.
const told = new URLSearchParams(location.search);
const service = {
  url: told.get("service") ?? "http://127.0.0.1:8080",
  sdkappid: Number(told.get("sdkappid") ?? 1400000001),
  appkey: told.get("appkey") ?? "APPKEY",
};

const store = self.tocsinStore;
const tabs = new BroadcastChannel("tocsin");
const at = (id) => document.getElementById(id);

// What the service worker needs to know, too; the credential is told with the key.
await store.update("service", (before) => ({ ...before, ...service }));
const worker = await navigator.serviceWorker.register("sw.js");

// Only the tab with the lock connects; another takes over when it is closed.
navigator.locks.request("tocsin", async () => {
  const subscription = await worker.pushManager?.getSubscription();
  const device = new Device({
    ...service,
    store,
    route: subscription ? await routeOf(subscription) : null,
    facts: { platform: "Web", language: navigator.language },
    on: {
      state: (name) => (at("state").textContent = name),
      push: async (push) => {
        show(push);
        tabs.postMessage({ type: "push", push });
        await notify(push);
      },
      revoke: async (id) => {
        takeOff(id);
        tabs.postMessage({ type: "revoke", id });
        await closeNotification(id);
      },
    },
  });
  self.addEventListener("online", () => device.hurry());
  self.addEventListener("clicked", (event) => device.click(event.detail));
  tabs.addEventListener("message", ({ data }) => data.type === "click" && device.click(data.id));
  await device.run();
});

tabs.addEventListener("message", ({ data }) => {
  if (data.type === "push") show(data.push);
  if (data.type === "revoke") takeOff(data.id);
});

// A click in the page: told over the connection, whichever tab has it.
function show(push) {
  takeOff(push.id);
  if (!push.title && !push.desc) return; // for the app alone: `push.ext`
  const line = document.createElement("li");
  line.id = push.id;
  line.textContent = `${push.title ?? ""} ${push.desc ?? ""}`;
  line.onclick = () => {
    self.dispatchEvent(new CustomEvent("clicked", { detail: push.id }));
    tabs.postMessage({ type: "click", id: push.id });
    closeNotification(push.id);
  };
  at("pushes").prepend(line);
}

function takeOff(id) {
  document.getElementById(id)?.remove();
}

// While nobody looks at the page, what came over the socket is a notification too. The service
// worker reports its click, by the channel that brought it.
async function notify({ id, task_id, title = "", desc = "", ext = "" }) {
  if (document.visibilityState === "visible" || Notification.permission !== "granted") return;
  const data = { id, task_id, ext, channel: "online" };
  await worker.showNotification(title, { body: desc, tag: id, data });
}

async function closeNotification(id) {
  for (const it of await worker.getNotifications({ tag: id })) it.close();
}

async function routeOf(subscription) {
  const { credential } = await store.get("service");
  return { channel: "webpush", credential, token: JSON.stringify(subscription) };
}

// The public half of the credential's VAPID key, and the credential's certificate ID.
async function vapidKey() {
  const answer = await fetch(`${service.url}/v1/apps/${service.sdkappid}/webpush/public-key`);
  if (!answer.ok) throw new Error("this app has no Web Push");
  const { public_key, credential } = await answer.json();
  await store.update("service", (before) => ({ ...before, credential }));
  return public_key;
}

at("allow").onclick = async () => {
  if ((await Notification.requestPermission()) !== "granted") return;
  const ready = await navigator.serviceWorker.ready;
  const subscription = await ready.pushManager.subscribe({
    userVisibleOnly: true,
    applicationServerKey: await vapidKey(),
  });
  // Tell the token while connected; the next hello tells it again.
  const { appkey, sdkappid } = service;
  const identity = await store.get("identity");
  const answer = await call("register", {
    sdkappid,
    appkey,
    ...identity,
    route: await routeOf(subscription),
  });
  at("answer").textContent = answer.ErrorCode ? answer.ErrorInfo : "You will be notified.";
};

async function call(name, body) {
  const options = { method: "POST", body: JSON.stringify(body) };
  return (await fetch(`${service.url}/v1/devices/${name}`, options)).json();
}
