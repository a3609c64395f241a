"""pywebpush: one message to each subscription, by requests or by aiohttp."""

import asyncio
import json
import sys
from typing import Any

from pywebpush import WebPushException, webpush, webpush_async


def send(job: dict[str, Any]) -> list[dict[str, Any]]:
    told = []
    for token in job["tokens"]:
        parts = {
            "subscription_info": json.loads(token),
            "data": json.dumps(job["shown"]),
            "vapid_private_key": job["credential"]["private_key"],
            "vapid_claims": {"sub": job["credential"]["subject"]},
            "ttl": job["ttl_s"],
            "headers": {"Urgency": "high", "Topic": job["collapse"]},
        }
        try:
            if job["how"] == "aiohttp":
                answer = asyncio.run(webpush_async(**parts))
                told.append({"status": answer.status, "reason": ""})
            else:
                told.append({"status": webpush(**parts).status_code, "reason": ""})
        except WebPushException as fault:
            # requests and aiohttp name it differently.
            answer = fault.response
            status = getattr(answer, "status_code", None) or getattr(answer, "status", 0)
            told.append({"status": status, "reason": type(fault).__name__})
    return told


json.dump(send(json.load(sys.stdin)), sys.stdout)
