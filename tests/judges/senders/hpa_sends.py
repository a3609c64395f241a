"""hpa, Huawei's own SDK for Python: one list of devices."""

import json
import sys
from typing import Any

import hpa
from hpa import messaging


def send(job: dict[str, Any]) -> list[dict[str, Any]]:
    hpa.initialize_app(job["credential"]["app_id"], job["credential"]["app_secret"])
    message = messaging.Message(
        notification=messaging.Notification(title=job["title"], body=job["body"]),
        android=messaging.AndroidConfig(
            urgency=messaging.AndroidConfig.HIGH_PRIORITY,
            ttl=f"{job['ttl_s']}s",
            bi_tag=job["collapse"],
            notification=messaging.AndroidNotification(
                click_action=messaging.AndroidClickAction(action_type=3),
            ),
        ),
        token=job["tokens"],
    )
    answer = messaging.send_message(message)
    return [{"status": 200, "reason": f"{answer.code} {answer.reason}"}]


json.dump(send(json.load(sys.stdin)), sys.stdout)
