"""`timpush-configs.json`: what an Android app of ours must know of the vendors' credentials.

trtc.io/document/60552 and the vendor's open-source client (read 2026-11); the complete list of
keys is not published, and "Bussiness" is how they are spelt. A setting that goes into the file says
under which key in its `Meta`: `extra={"client_key": …}`.
"""

from __future__ import annotations

import typing
from collections.abc import Iterable
from typing import Any

from msgspec import Meta

from tocsin.domain.app import Credential

CERTIFICATE_KEYS = {
    "fcm": "fcmPushBussinessId",
    "honor": "honorPushBussinessId",
    "huawei": "huaweiPushBussinessId",
    "meizu": "meizuPushBussinessId",
    "oppo": "oppoPushBussinessId",
    "vivo": "vivoPushBussinessId",
    "xiaomi": "xiaomiPushBussinessId",
}
"""Channel to the key of its certificate ID. Apple's, HarmonyOS's and browsers' apps have no such
file: they name the certificate ID when they register."""


def client_config(credentials: Iterable[tuple[Credential, Any]]) -> dict[str, str]:
    """The file's content, from records and their settings, one a vendor."""
    config: dict[str, str] = {}
    for record, settings in credentials:
        key = CERTIFICATE_KEYS.get(record.channel)
        if key is not None:
            config[key] = str(record.number)
            config |= _told(settings)
    return dict(sorted(config.items()))


def _told(settings: Any) -> dict[str, str]:
    hints = typing.get_type_hints(type(settings), include_extras=True)
    told = {}
    for name, hint in hints.items():
        metas = (it for it in getattr(hint, "__metadata__", ()) if isinstance(it, Meta))
        keys = [(it.extra or {}).get("client_key", "") for it in metas]
        key = next(filter(None, keys), "")
        value = getattr(settings, name)
        if key and value:
            told[key] = str(value)
    return told
