// One device on Tocsin's online channel, as docs/clients.md tells it. No library, no bundler.
//
// `store` keeps what the device must remember: get(name), set(name, value) and
// update(name, change), all answering promises (store.js).
// `on` has the app's handlers: push(frame), revoke(id), state(name, detail). All are optional.

const WAIT_BASE_S = 0.5;
const WAIT_MAX_S = 30;
const OPEN_MAX_S = 10;
const SHOWN_MAX = 1000;
const KNOWN_MAX = 100;

// Codes of a refused hello: what passes, what makes a new device, what a new UserSig mends.
const PASSES = [60007, 91000, 800102];
const AS_NEW = [800101, 800103];
const NEW_USERSIG = [70001, 70002, 70003, 70009, 70013, 70014, 70052];
// Close codes after which nobody comes back.
const ENDS = [1009, 4000, 4001, 4008];

const STAGE = { ack: 2, click: 3 };

export class Device {
  constructor(options) {
    this.options = {
      facts: {},
      route: null,
      on: {},
      random: Math.random,
      sleep: (seconds) => new Promise((done) => setTimeout(done, seconds * 1000)),
      usersig: null, // async () => ({ user, usersig }) from your own server, for users who log in
      ...options,
    };
    this.socket = null;
    this.isStopped = false;
    this.wake = () => {};
  }

  // Stay connected until the service turns us away for good; answers why: { code, info }.
  async run() {
    const { random, sleep } = this.options;
    let tries = 0;
    let mended = 0;
    while (true) {
      const end = await this.connectOnce();
      if (end.registered) tries = mended = 0;
      if (this.isStopped || ENDS.includes(end.close)) return this.ended(end);
      if (end.code && !PASSES.includes(end.code)) {
        // Mended once; the same again right after is final.
        if (end.code === mended || !(await this.mend(end.code))) return this.ended(end);
        mended = end.code;
        continue;
      }
      const longest = Math.min(WAIT_MAX_S, WAIT_BASE_S * 2 ** Math.min(tries, 30));
      const wait = end.after === null ? longest * random() : end.after + random();
      if (end.after === null) tries += 1;
      this.tell("waiting", wait);
      // `hurry` cuts the wait short.
      await Promise.race([sleep(wait), new Promise((done) => (this.wake = done))]);
    }
  }

  // The network is back, or the person has opened the app: do not wait any longer.
  hurry() {
    this.wake();
  }

  async click(id) {
    await this.say("click", id);
  }

  // Leave: { logout: true } takes the user off this device, { unregister: true } ends all pushes.
  bye(how = {}) {
    this.isStopped = true;
    this.wake();
    this.send({ type: "bye", ...how });
  }

  ended(end) {
    const why = { code: end.code || end.close, info: end.info };
    this.tell("ended", why);
    return why;
  }

  // One connection, from hello to its end.
  async connectOnce() {
    this.tell("connecting");
    const end = { registered: false, close: 0, code: 0, info: "", after: null };
    const hello = await this.hello(end);
    if (hello === null) return end;
    return new Promise((done) => {
      const socket = new WebSocket(this.options.url.replace(/^http/, "ws") + "/v4/online");
      this.socket = socket;
      let inOrder = Promise.resolve();
      let timer = 0;
      let idle = OPEN_MAX_S;
      const finish = () => {
        clearTimeout(timer);
        if (this.socket === socket) this.socket = null;
        inOrder.then(() => done(end));
      };
      // A dead connection may never say that it is closed.
      const watch = () => {
        clearTimeout(timer);
        timer = setTimeout(() => (socket.close(), finish()), idle * 1000);
      };
      watch();
      socket.onopen = () => {
        watch();
        this.send(hello);
      };
      socket.onmessage = (message) => {
        watch();
        const frame = JSON.parse(message.data);
        if (frame.type === "registered") {
          idle = 2 * frame.idle_s;
          watch();
        }
        inOrder = inOrder
          .then(() => this.take(frame, end))
          .catch((fault) => this.tell("fault", fault));
      };
      socket.onclose = (event) => {
        end.close = event.code;
        finish();
      };
      socket.onerror = finish;
    });
  }

  async hello(end) {
    const { sdkappid, appkey, facts, route, store, usersig } = this.options;
    const identity = (await store.get("identity")) ?? {};
    const known = ((await store.get("shown")) ?? []).slice(-KNOWN_MAX);
    let proof = { appkey };
    try {
      if (usersig) proof = await usersig();
    } catch (fault) {
      end.info = String(fault); // your own server is away: wait as for any failed try
      return null;
    }
    const more = route ? { route } : {};
    return { type: "hello", sdkappid, ...proof, ...identity, known, facts, ...more };
  }

  async take(frame, end) {
    const { store, on } = this.options;
    switch (frame.type) {
      case "registered": {
        const told = { registration_id: frame.registration_id };
        if (frame.secret) told.secret = frame.secret; // only the first time
        await store.update("identity", (before) => ({ ...before, ...told }));
        end.registered = true;
        this.tell("open", frame.registration_id);
        for (const said of (await store.get("unconfirmed")) ?? []) this.send(said);
        break;
      }
      case "push":
        if (await this.isNew(frame)) await on.push?.(frame);
        await this.say("ack", frame.id);
        break;
      case "acked": {
        await store.update("unconfirmed", (said = []) =>
          said.filter((it) => it.id !== frame.id || STAGE[it.type] !== frame.stage),
        );
        break;
      }
      case "revoke":
        await this.remember(frame.id);
        await on.revoke?.(frame.id);
        break;
      case "ping":
        this.send({ type: "pong" });
        break;
      case "drain":
        end.after = frame.after_s;
        this.socket?.close(1000);
        break;
      case "error":
        end.code = frame.code;
        end.info = frame.info;
        break;
    }
  }

  async isNew(frame) {
    const isOver = frame.expires_at && frame.expires_at * 1000 < Date.now();
    return (await this.remember(frame.id)) && !isOver;
  }

  // Whether the id is new here.
  async remember(id) {
    let isNew = false;
    await this.options.store.update("shown", (shown = []) => {
      isNew = !shown.includes(id);
      return isNew ? [...shown, id].slice(-SHOWN_MAX) : shown;
    });
    return isNew;
  }

  // Say `ack` or `click`, and keep it until the service has confirmed it.
  async say(type, id) {
    await this.options.store.update("unconfirmed", (said = []) => {
      const rest = said.filter((it) => it.id !== id || it.type !== type);
      return [...rest, { type, id }].slice(-SHOWN_MAX);
    });
    this.send({ type, id });
  }

  async mend(code) {
    if (AS_NEW.includes(code)) {
      await this.options.store.set("identity", {});
      return true;
    }
    return NEW_USERSIG.includes(code) && this.options.usersig !== null;
  }

  send(frame) {
    if (this.socket?.readyState === 1) this.socket.send(JSON.stringify(frame));
  }

  tell(state, detail) {
    this.options.on.state?.(state, detail);
  }
}
