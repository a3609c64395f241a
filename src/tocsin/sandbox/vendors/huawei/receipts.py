"""Huawei's receipts, as it posts them for Android (V1) and for HarmonyOS (V2).

Huawei, "Sending receipts for downlink messages" (developer.huawei.com push-receiptapi and
push-api-msg-receipt, read 2026-11): the same codes and the same signed head.
"""

from __future__ import annotations

import base64
import hmac

from tocsin.sandbox.devices import SandboxDevice

RECEIPTS_MAX = 100
FATES = {"muted": "6", "inactive": "10", "gone": "2"}
"""State of a device to what a receipt says of a push that it was sent."""

TOO_OFTEN, MARKETING_LIMIT = "102", "256"
"""What a receipt says of a push that was taken over a device's limit, and is not shown."""


def fate_of(device: SandboxDevice) -> str:
    return "" if device.state == "off" else FATES.get(device.state, "0")


def signed_head(stamp: str, nonce: str, user: str, key: str) -> tuple[str, str]:
    """The head of a receipt call: Base64(HMAC-SHA256(key, timestamp + nonce + user))."""
    signed = hmac.digest(key.encode(), f"{stamp}{nonce}{user}".encode(), "sha256")
    value = base64.b64encode(signed).decode()
    return ("x-huawei-callback-id", f"timestamp={stamp};nonce={nonce};value={value}")
