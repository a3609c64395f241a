// web-push: one message to each subscription, through its own proxy setting.
const webpush = require("web-push");

const job = JSON.parse(require("node:fs").readFileSync(0, "utf8"));
const options = {
  vapidDetails: {
    subject: job.credential.subject,
    publicKey: job.credential.public_key,
    privateKey: job.credential.private_key,
  },
  TTL: job.ttl_s,
  urgency: "high",
  topic: job.collapse,
  proxy: job.proxy,
};

async function send(token) {
  try {
    const answer = await webpush.sendNotification(
      JSON.parse(token), JSON.stringify(job.shown), options);
    return { status: answer.statusCode, reason: "" };
  } catch (fault) {
    return { status: fault.statusCode || 0, reason: `${fault.name} ${fault.statusCode ? "" : fault}` };
  }
}

(async () => {
  const told = [];
  for (const token of job.tokens) told.push(await send(token));
  process.stdout.write(JSON.stringify(told));
})();
