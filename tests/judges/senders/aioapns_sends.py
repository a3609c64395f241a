"""aioapns: one push to each token.

Its own proxy setting fails on asyncio since Python 3.11, so its host has to lead here.
"""

import asyncio
import json
import sys
from typing import Any

from aioapns import APNs, NotificationRequest, PushType


async def send(job: dict[str, Any]) -> list[dict[str, Any]]:
    known = job["credential"]
    client = APNs(
        key=known["private_key"],
        key_id=known["key_id"],
        team_id=known["team_id"],
        topic=known["bundle_id"],
        max_connections=1,
        max_connection_attempts=1,
    )
    told = []
    for token in job["tokens"]:
        alert = {"title": job["title"], "body": job["body"]}
        request = NotificationRequest(
            device_token=token,
            message={"aps": {"alert": alert, "sound": "default"}},
            time_to_live=job["ttl_s"],
            priority=10,
            collapse_key=job["collapse"],
            push_type=PushType.ALERT,
        )
        result = await client.send_notification(request)
        told.append({"status": int(result.status), "reason": result.description or ""})
    return told


json.dump(asyncio.run(send(json.load(sys.stdin))), sys.stdout)
