// firebase-admin for Node: `send` over HTTP/1.1 through an agent, `sendEach` over HTTP/2 without one.
const { initializeApp, cert } = require("firebase-admin/app");
const { getMessaging } = require("firebase-admin/messaging");
const { HttpsProxyAgent } = require("https-proxy-agent");

const job = JSON.parse(require("node:fs").readFileSync(0, "utf8"));
const agent = job.proxy ? new HttpsProxyAgent(job.proxy) : undefined;
initializeApp({ credential: cert(job.credential, agent), httpAgent: agent });

const messages = job.tokens.map((token) => ({
  token,
  notification: { title: job.title, body: job.body },
  data: job.data,
  android: {
    ttl: job.ttl_s * 1000,
    priority: "high",
    collapseKey: job.collapse,
    notification: { tag: job.collapse, sound: "default" },
  },
}));

(async () => {
  const told = [];
  if (job.how === "http2") {
    const batch = await getMessaging().sendEach(messages);
    for (const it of batch.responses)
      told.push({ status: it.success ? 200 : 0, reason: it.success ? "" : it.error.code });
  } else {
    for (const message of messages) {
      try {
        await getMessaging().send(message);
        told.push({ status: 200, reason: "" });
      } catch (fault) {
        told.push({ status: 0, reason: fault.code || String(fault) });
      }
    }
  }
  process.stdout.write(JSON.stringify(told));
})();
