// @parse/node-apn: one push to each token, through its own proxy setting.
const apn = require("@parse/node-apn");

const job = JSON.parse(require("node:fs").readFileSync(0, "utf8"));
const provider = new apn.Provider({
  token: {
    key: job.credential.private_key,
    keyId: job.credential.key_id,
    teamId: job.credential.team_id,
  },
  production: true,
  proxy: { host: job.proxy_host, port: job.proxy_port },
});

const note = new apn.Notification();
note.alert = { title: job.title, body: job.body };
note.sound = "default";
note.topic = job.credential.bundle_id;
note.pushType = "alert";
note.priority = 10;
note.collapseId = job.collapse;
note.expiry = job.expires_at;

(async () => {
  const told = [];
  for (const token of job.tokens) {
    const result = await provider.send(note, token);
    const failed = result.failed[0];
    told.push(
      failed
        ? { status: Number(failed.status || 0), reason: failed.response ? failed.response.reason : String(failed.error) }
        : { status: 200, reason: "" });
  }
  process.stdout.write(JSON.stringify(told));
  await provider.shutdown();
})();
