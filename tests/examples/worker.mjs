// Runs the browser example's service worker in Node, with a small copy of a worker's globals. It
// reads one JSON object from standard input and prints what the worker showed, told and opened.

import { readFileSync } from "node:fs";
import vm from "node:vm";

const { script, kept, tabs, steps } = JSON.parse(readFileSync(0, "utf8"));
const handlers = {};
const table = new Map(Object.entries(kept));
const screen = new Map();
const did = { calls: [], opened: [], told: [], imported: [], shown: 0 };
let answers = [];

const store = {
  get: async (name) => table.get(name),
  set: async (name, value) => void table.set(name, value),
  update: async (name, change) => {
    const changed = change(table.get(name));
    table.set(name, changed);
    return changed;
  },
};

const notification = (title, options) => ({
  title,
  ...options,
  close: () => screen.delete(options.tag),
});

const self = {
  addEventListener: (name, handler) => (handlers[name] = handler),
  skipWaiting: () => {},
  tocsinStore: store,
  clients: {
    claim: async () => {},
    matchAll: async () =>
      tabs.map((tab) => ({
        ...tab,
        focus: async () => did.opened.push("focus"),
        postMessage: (message) => did.told.push(message),
      })),
    openWindow: async (url) => did.opened.push(url),
  },
  registration: {
    showNotification: async (title, options) => {
      did.shown += 1;
      screen.set(options.tag, notification(title, options));
    },
    getNotifications: async ({ tag }) => [screen.get(tag)].filter(Boolean),
    pushManager: { subscribe: async (options) => ({ endpoint: "https://e.com/2", options }) },
  },
};

const fetch = async (url, { method, body }) => {
  did.calls.push({ url, method, body: JSON.parse(body) });
  const answer = answers.shift() ?? { ErrorCode: 0 };
  if (answer === "down") throw new TypeError("Failed to fetch");
  return { json: async () => answer };
};

const context = { self, fetch, JSON, importScripts: (name) => did.imported.push(name) };
vm.runInNewContext(readFileSync(script, "utf8"), context);

for (const step of steps) {
  const waiting = [];
  const event = { ...step.event, waitUntil: (promise) => waiting.push(promise) };
  answers = step.answers ?? [];
  if (step.push) event.data = { json: () => step.push };
  if (step.click) event.notification = screen.get(step.click);
  handlers[step.name](event);
  await Promise.all(waiting);
}

const left = [...screen.values()].map(({ close, ...plain }) => plain);
process.stdout.write(JSON.stringify({ ...did, screen: left, kept: Object.fromEntries(table) }));
