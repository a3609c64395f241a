// apns2: one push to each token. It knows no proxy, so its host has to lead here.
const { ApnsClient, Notification, PushType, Priority } = require("apns2");

const job = JSON.parse(require("node:fs").readFileSync(0, "utf8"));
const client = new ApnsClient({
  team: job.credential.team_id,
  keyId: job.credential.key_id,
  signingKey: job.credential.private_key,
  defaultTopic: job.credential.bundle_id,
});

async function send(token) {
  const note = new Notification(token, {
    type: PushType.alert,
    alert: { title: job.title, body: job.body },
    sound: "default",
    priority: Priority.immediate,
    collapseId: job.collapse,
    expiration: job.expires_at,
  });
  try {
    await client.send(note);
    return { status: 200, reason: "" };
  } catch (fault) {
    return { status: fault.statusCode || 0, reason: fault.reason || String(fault) };
  }
}

(async () => {
  const told = [];
  for (const token of job.tokens) told.push(await send(token));
  process.stdout.write(JSON.stringify(told));
  await client.close();
})();
