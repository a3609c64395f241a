"""pyfcm: one message to each token."""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from pyfcm import FCMNotification
from pyfcm.errors import FCMError


def send(job: dict[str, Any]) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "account.json"
        file.write_text(json.dumps(job["credential"]))
        client = FCMNotification(str(file), project_id=job["credential"]["project_id"])
        return [push(client, job, token) for token in job["tokens"]]


def push(client: FCMNotification, job: dict[str, Any], token: str) -> dict[str, Any]:
    android = {
        "ttl": f"{job['ttl_s']}s",
        "priority": "HIGH",
        "collapse_key": job["collapse"],
        "notification": {"tag": job["collapse"], "sound": "default"},
    }
    try:
        client.notify(
            fcm_token=token,
            notification_title=job["title"],
            notification_body=job["body"],
            data_payload=job["data"],
            android_config=android,
        )
    except FCMError as fault:
        return {"status": 0, "reason": type(fault).__name__}
    return {"status": 200, "reason": ""}


json.dump(send(json.load(sys.stdin)), sys.stdout)
