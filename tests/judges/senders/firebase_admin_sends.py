"""firebase-admin for Python: one message to each token, over HTTP/1.1 and over HTTP/2."""

import asyncio
import json
import sys
from typing import Any

import firebase_admin
from firebase_admin import credentials, exceptions, messaging


def message(job: dict[str, Any], token: str) -> messaging.Message:
    return messaging.Message(
        token=token,
        notification=messaging.Notification(title=job["title"], body=job["body"]),
        data=job["data"],
        android=messaging.AndroidConfig(
            ttl=job["ttl_s"],
            priority="high",
            collapse_key=job["collapse"],
            notification=messaging.AndroidNotification(tag=job["collapse"], sound="default"),
        ),
    )


def judged(fault: Exception | None, name: str | None) -> dict[str, Any]:
    if fault is None:
        return {"status": 200, "reason": "", "name": name}
    code = fault.code if isinstance(fault, exceptions.FirebaseError) else str(fault)
    return {"status": 0, "reason": f"{type(fault).__name__} {code}"}


def send(job: dict[str, Any]) -> list[dict[str, Any]]:
    firebase_admin.initialize_app(credentials.Certificate(job["credential"]))
    wanted = [message(job, token) for token in job["tokens"]]
    if job["how"] == "http2":
        batch = asyncio.run(messaging.send_each_async(wanted))
    else:
        batch = messaging.send_each(wanted)
    return [judged(it.exception, it.message_id) for it in batch.responses]


json.dump(send(json.load(sys.stdin)), sys.stdout)
