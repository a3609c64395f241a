"""Removes our secrets, tokens and texts from vendor error messages.

A vendor that refuses a push may quote the token, the text, or our proof. Its message is worth
keeping, so only the quotations are removed, whole or in part, for every vendor alike.
"""

from __future__ import annotations

import re
import typing
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import msgspec
from msgspec import Meta

from tocsin.conversation import Deliveries, Delivery, Denied
from tocsin.domain.outcome import Receipt

Found = TypeVar("Found", Denied, Receipt)

PART_MIN = 8
"""So many characters in a row are a part of a secret or token, and no accident."""
TEXT_PART_MIN = 16
"""The same of a text: vendors' words and people's have shorter ones in common."""
MASK = "…"

# An id that nobody here knows may still be somebody's token.
_LONG = re.compile(r"(?=[!-~]*[0-9])[!-~]{24,}")
_HEADS = re.compile(r"-----[A-Z ]+-----")
_VALUES = re.compile(r'"\s*:\s*"([^"]+)"')
_PLAIN = re.compile(r"[a-z\W]*")


class Redactor:
    """Removes the secrets of one credential, and its pushes, from vendor error messages."""

    def __init__(self, settings: Any) -> None:
        self._secrets = "\n".join(_secrets(settings))

    def about(self, deliveries: Sequence[Delivery] = (), proof: str = "") -> DeliveryRedactor:
        """The redactor of messages about these deliveries of one message, sent with this proof."""
        message = deliveries[0].message if deliveries else None
        texts = (message.title, message.desc, message.ext) if message is not None else ()
        if isinstance(deliveries, Deliveries):
            tokens = list(deliveries.tokens)
        else:
            tokens = [token for it in deliveries for token in _addresses(it) if token]
        return DeliveryRedactor(f"{self._secrets}\n{proof}", "\n".join(tokens), texts)


class DeliveryRedactor:
    """Redacts messages about some deliveries. Many are the same, so each is redacted once."""

    def __init__(self, secrets: str, tokens: str, texts: Iterable[str]) -> None:
        self._secrets = secrets
        self._tokens = tokens
        self._texts = [text for text in texts if len(text) >= PART_MIN]
        self._judged: dict[str, str] = {}

    def cleaned(self, found: Found) -> Found:
        """The result with code and info redacted."""
        code, info = self.clean(found.code), self.clean(found.info)
        if (code, info) == (found.code, found.info):
            return found
        return msgspec.structs.replace(found, code=code, info=info)

    def clean(self, said: str) -> str:
        """The message without its quotations of ours."""
        if len(said) < PART_MIN:
            return said
        known = self._judged.get(said)
        if known is None:
            known = self._judged[said] = self._cleaned(said)
        return known

    def _cleaned(self, said: str) -> str:
        for text in self._texts:
            said = said.replace(text, MASK)
        quoted = [False] * len(said)
        for size, is_ours in ((PART_MIN, self._is_secret), (TEXT_PART_MIN, self._is_text)):
            for start in range(len(said) - size + 1):
                if is_ours(said[start : start + size]):
                    quoted[start : start + size] = [True] * size
        left = "".join("\0" if is_it else char for char, is_it in zip(said, quoted, strict=True))
        return _LONG.sub(MASK, re.sub("\0+", MASK, left))

    def _is_secret(self, part: str) -> bool:
        return part in self._secrets or (part in self._tokens and not _PLAIN.fullmatch(part))

    def _is_text(self, part: str) -> bool:
        return any(part in text for text in self._texts)


def says_much(found: Denied | Receipt) -> bool:
    """Whether there is anything in it that could quote."""
    return bool(found.info) or len(found.code) >= PART_MIN


def is_secret(hint: Any) -> bool:
    """Whether a field of settings, by its annotation, is never shown."""
    metas = getattr(hint, "__metadata__", ())
    return any((it.extra or {}).get("is_secret") for it in metas if isinstance(it, Meta))


def _addresses(delivery: Delivery) -> list[str]:
    """What names a device; of a browser's subscription, which is JSON, the values alone."""
    token = _VALUES.findall(delivery.token) if delivery.token[:1] == "{" else [delivery.token]
    return [*token, delivery.voip_token, delivery.live_token, delivery.handle]


def _secrets(settings: Any) -> list[str]:
    hints = typing.get_type_hints(type(settings), include_extras=True)
    told = [getattr(settings, name) for name, hint in hints.items() if is_secret(hint)]
    return [_HEADS.sub("", text) for text in told if isinstance(text, str) and text]
