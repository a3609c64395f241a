"""What iOS draws: Apple's members of a push, for whoever hands it to Apple: we or Google.

https://developer.apple.com/documentation/usernotifications/generating-a-remote-notification
(read 2026-11).
"""

from __future__ import annotations

from typing import Any

from tocsin.domain.message import DEFAULT_SOUNDS, NO_SOUND, Message


def shown_by_ios(message: Message, badge: int | None) -> dict[str, Any]:
    """`aps` of an alert. `badge` is absolute; None leaves the badge alone."""
    apple = message.apple
    aps = with_alert({}, message)
    if badge is not None:
        aps["badge"] = badge
    if apple.interruption_level:
        aps["interruption-level"] = apple.interruption_level
    name = "default" if apple.sound in DEFAULT_SOUNDS else apple.sound
    if name == NO_SOUND:
        # Apple plays none, and vibrates for none, where none is named.
        pass
    elif apple.interruption_level == "critical":
        # The level alone does not sound in silent mode: that takes the dictionary.
        aps["sound"] = {"critical": 1, "name": name or "default", "volume": 1.0}
    elif name:
        aps["sound"] = name
    if apple.is_mutable or apple.image:
        # The picture is fetched by the app's service extension, which runs only if asked for.
        aps["mutable-content"] = 1
    return aps


def with_alert(aps: dict[str, Any], message: Message) -> dict[str, Any]:
    """`aps` with the text, where there is one."""
    parts = {
        "title": message.apple.title or message.title,
        "subtitle": message.apple.subtitle,
        "body": message.desc,
    }
    alert = {name: text for name, text in parts.items() if text}
    if alert:
        aps["alert"] = alert
    return aps
