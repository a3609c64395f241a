"""Shows a credential: its secrets masked, and its state in one word."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from typing import Any

import msgspec

from tocsin.channels.credentials import open_settings, vendor_of
from tocsin.channels.proxied import open_proxy
from tocsin.channels.redactor import is_secret
from tocsin.channels.registry import Vendor, expiry_of, subscription_key_of
from tocsin.domain.app import Credential
from tocsin.domain.proxy import masked_proxy
from tocsin.ports import Vault

MASK = "***"
EXPIRES_SOON_S = 30 * 86_400
"""Seconds before its end from which a credential is `expiring`: getting a new one takes time."""


def shown_credential(vault: Vault, record: Credential) -> dict[str, Any]:
    """A credential with its secrets masked; where it cannot be opened, `fault` says why.

    Only a Web Push credential has `public_key`, with which browsers subscribe.
    """
    shown = {
        "number": record.number,
        "channel": record.channel,
        "origin": record.origin,
        "auth_origin": record.auth_origin,
        "has_ca": record.ca is not None,
        "rate_per_s": record.rate_per_s,
        "is_enabled": record.is_enabled,
        "version": record.version,
        "name": record.name,
        "source": _source(record),
    }
    try:
        vendor = vendor_of(record.channel)
        settings = open_settings(vault, record, vendor)
        shown["proxy"] = masked_proxy(open_proxy(vault, record))
    except ValueError as fault:
        return {**shown, "fault": str(fault)}
    if key := subscription_key_of(vendor)(settings):
        shown["public_key"] = key
    expires_at = expiry_of(vendor)(settings)
    return {**shown, "expires_at": expires_at, "settings": _masked(vendor, settings)}


def _source(record: Credential) -> str:
    """Where the credential comes from: `command`, `configuration`, or `left` by an earlier one."""
    if record.is_declared:
        return "configuration"
    return "left" if record.name else "command"


def state_of(shown: Mapping[str, Any], now: float) -> str:
    """The state of a credential in one word; of several states the worst.

    `unreadable`: the credential cannot be opened, `fault` says why. `disabled`, `expired`,
    `expiring` (within a month). `refused`, `down`, `paused`, `doubtful`: `stopped` says why, where
    a service is running. `ready`: none of these.
    """
    if "fault" in shown:
        return "unreadable"
    if not shown["is_enabled"]:
        return "disabled"
    expires_at = shown["expires_at"]
    if expires_at is not None and expires_at <= now:
        return "expired"
    if shown.get("stopped"):
        return str(shown["stopped"]["state"])
    if expires_at is not None and expires_at <= now + EXPIRES_SOON_S:
        return "expiring"
    return "ready"


def _masked(vendor: Vendor, settings: Any) -> dict[str, Any]:
    """The settings that have a value, with a mask in place of secrets."""
    hints = typing.get_type_hints(vendor.Settings, include_extras=True)
    values = msgspec.to_builtins(settings)
    return {
        name: MASK if is_secret(hints[name]) else value
        for name, value in values.items()
        if value not in ("", None)
    }
