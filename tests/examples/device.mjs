// Runs the browser example's client in Node. The first line of standard input says who to be; each
// further one is a command, each line of standard output an event.

import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const next = async () => {
  const { value, done } = await lines.next();
  return done ? null : JSON.parse(value);
};
const tell = (event) => process.stdout.write(JSON.stringify(event) + "\n");

const { client, kept, usersigs, ...options } = await next();
const { Device } = await import(pathToFileURL(client));
const table = new Map(Object.entries(kept ?? {}));
const store = {
  get: async (name) => table.get(name),
  set: async (name, value) => void table.set(name, value),
  update: async (name, change) => {
    const changed = change(table.get(name));
    table.set(name, changed);
    return changed;
  },
};

const device = new Device({
  ...options,
  store,
  usersig: usersigs ? async () => ({ user: "ann", usersig: usersigs.shift() ?? "" }) : null,
  // Waits are told as they are, and waited for a fiftieth of it.
  sleep: (seconds) => new Promise((done) => setTimeout(done, seconds * 20)),
  on: {
    state: (state, detail) => tell({ event: state, detail: detail?.message ?? detail }),
    push: (push) => tell({ event: "push", push }),
    revoke: (id) => tell({ event: "revoke", id }),
  },
});
const ended = device.run();
for (let told = await next(); told !== null; told = await next()) {
  if (told.click) await device.click(told.click);
  if (told.bye) device.bye(told.bye);
  if (told.kept) tell({ event: "kept", kept: Object.fromEntries(table) });
}
if (!device.isStopped) device.bye();
await ended;
process.exit(0);
