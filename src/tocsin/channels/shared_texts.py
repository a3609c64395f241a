"""Title and text as a vendor bears them: shortened where they do not fit, and nothing else is.

Every vendor's file measures what it would really send, by its own figure. Ext and whatever else is
the sender's own data stay as they are: half of it would be worth nothing to the app.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from tocsin.channels.shared import both_texts
from tocsin.conversation import Delivery, Denied
from tocsin.domain.message import ELLIPSIS, Message, cut, cut_at
from tocsin.domain.outcome import Outcome


def texts_within(message: Message, title_units: int, desc_units: int) -> tuple[str, str]:
    """Title and text within so many UTF-16 units; one stands in for the other."""
    title, desc = both_texts(message)
    return cut(title, title_units), cut(desc, desc_units)


def is_too_long(message: Message, title_units: int, desc_units: int) -> bool:
    """Whether title or text are over so many UTF-16 units."""
    return texts_within(message, title_units, desc_units) != both_texts(message)


def fitted(delivery: Delivery, size: Callable[[Delivery], int], size_max: int) -> Delivery | None:
    """The delivery with its texts as long as fits: itself where they do, None where nothing helps.

    `size` is what the vendor counts of it. The text gives way first, the title last.
    """
    if size(delivery) <= size_max:
        return delivery

    def is_enough(message: Message) -> bool:
        return size(replace(delivery, message=message)) <= size_max

    message = delivery.message
    for read, write in _PARTS:
        text = read(message)
        if len(text) <= len(ELLIPSIS):
            continue
        if not is_enough(write(message, ELLIPSIS)):
            message = write(message, ELLIPSIS)
            continue
        fits, end = 0, len(text)
        while end - fits > 1:
            middle = (fits + end) // 2
            if is_enough(write(message, text[:middle] + ELLIPSIS)):
                fits = middle
            else:
                end = middle
        return replace(delivery, message=write(message, cut_at(text, fits)))
    return None


def fitted_json(
    delivery: Delivery, content: Callable[[Delivery], object], size_max: int
) -> Delivery | None:
    """`fitted`, where the vendor counts the bytes of the JSON that `content` makes of it."""
    return fitted(delivery, lambda it: len(msgspec.json.encode(content(it))), size_max)


class Packed(Struct, frozen=True):
    """The body of a message that fits."""

    body: bytes
    is_shortened: bool


def packed_within(
    delivery: Delivery, pack: Callable[[Delivery], bytes], size_max: int
) -> Packed | None:
    """What `pack` makes of the delivery, with its texts as long as fits; None as in `fitted`."""
    body = pack(delivery)
    if len(body) <= size_max:
        return Packed(body, is_shortened=False)
    fits = fitted(delivery, lambda it: len(pack(it)), size_max)
    return None if fits is None else Packed(pack(fits), is_shortened=True)


def too_large(size_max: int) -> Denied:
    """Why nothing is sent whose other data alone do not fit."""
    return Denied(Outcome.TOO_LARGE, "-7", f"payload over {size_max} bytes")


Read = Callable[[Message], str]
Write = Callable[[Message, str], Message]


def _with_desc(message: Message, text: str) -> Message:
    return replace(message, desc=text)


def _with_subtitle(message: Message, text: str) -> Message:
    return replace(message, apple=replace(message.apple, subtitle=text))


def _with_title(message: Message, text: str) -> Message:
    return replace(message, title=text)


def _with_apple_title(message: Message, text: str) -> Message:
    return replace(message, apple=replace(message.apple, title=text))


def _with_harmony_title(message: Message, text: str) -> Message:
    return replace(message, harmony=replace(message.harmony, title=text))


_PARTS: tuple[tuple[Read, Write], ...] = (
    (lambda it: it.desc, _with_desc),
    (lambda it: it.apple.subtitle, _with_subtitle),
    (lambda it: it.title, _with_title),
    (lambda it: it.apple.title, _with_apple_title),
    (lambda it: it.harmony.title, _with_harmony_title),
)
"""What may be shortened, in this order, and how a message has it instead."""
