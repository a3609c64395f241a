"""async-firebase: one message to each token."""

import asyncio
import json
import sys
from typing import Any

from async_firebase import AsyncFirebaseClient
from async_firebase.messages import AndroidConfig, AndroidNotification, Message, Notification


async def send(job: dict[str, Any]) -> list[dict[str, Any]]:
    client = AsyncFirebaseClient(use_http2=job["how"] == "http2")
    client.creds_from_service_account_info(job["credential"])
    told = []
    for token in job["tokens"]:
        message = Message(
            token=token,
            notification=Notification(title=job["title"], body=job["body"]),
            data=job["data"],
            android=AndroidConfig(
                ttl=f"{job['ttl_s']}s",
                priority="high",
                collapse_key=job["collapse"],
                notification=AndroidNotification(tag=job["collapse"], sound="default"),
            ),
        )
        answer = await client.send(message)
        fault = "" if answer.exception is None else type(answer.exception).__name__
        told.append({"status": 0 if fault else 200, "reason": fault})
    return told


json.dump(asyncio.run(send(json.load(sys.stdin))), sys.stdout)
