"""Whom a push is for: conditions, and the index that answers them with bitmaps of accounts."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping

from msgspec import Struct
from pyroaring import BitMap

from tocsin.domain.account import TAG, Change, TermKey


class Condition(Struct, frozen=True, kw_only=True):
    """The wire's condition. Lists are joined by AND; nothing asked means everyone.

    The slot of an attribute is resolved when the call is accepted, so a later renaming does
    not change whom a task is for.
    """

    tags_or: tuple[str, ...] = ()
    tags_and: tuple[str, ...] = ()
    tags_not: tuple[str, ...] = ()
    attrs_or: tuple[TermKey, ...] = ()
    """(`attr<slot>`, value) pairs."""
    attrs_and: tuple[TermKey, ...] = ()

    @property
    def is_everyone(self) -> bool:
        """Whether nothing is asked."""
        return not (
            self.tags_or or self.tags_and or self.tags_not or self.attrs_or or self.attrs_and
        )

    def keys(self) -> list[TermKey]:
        """Every term that is asked about."""
        tags = (*self.tags_or, *self.tags_and, *self.tags_not)
        return [*((TAG, tag) for tag in tags), *self.attrs_or, *self.attrs_and]


class TermOf(Struct, frozen=True):
    """Accounts that carry a term; a key without a term is carried by nobody."""

    key: TermKey


class AnyOf(Struct, frozen=True):
    """The union of its parts."""

    parts: tuple[Expression, ...]


class AllOf(Struct, frozen=True):
    """The intersection of its parts; of no parts: everyone."""

    parts: tuple[Expression, ...]


class NoneOf(Struct, frozen=True):
    """Everyone but the union of its parts."""

    parts: tuple[Expression, ...]


Expression = TermOf | AnyOf | AllOf | NoneOf


def expression(condition: Condition) -> Expression:
    """The boolean expression that a condition stands for."""
    parts: list[Expression] = []
    if condition.tags_or:
        parts.append(AnyOf(_tags(condition.tags_or)))
    if condition.attrs_or:
        parts.append(AnyOf(tuple(TermOf(key) for key in condition.attrs_or)))
    parts.extend(_tags(condition.tags_and))
    parts.extend(TermOf(key) for key in condition.attrs_and)
    if condition.tags_not:
        parts.append(NoneOf(_tags(condition.tags_not)))
    return parts[0] if len(parts) == 1 else AllOf(tuple(parts))


def _tags(tags: Iterable[str]) -> tuple[TermOf, ...]:
    return tuple(TermOf((TAG, tag)) for tag in tags)


class Index:
    """One roaring bitmap of account numbers per term of an app, derived from its change log."""

    def __init__(self, position: int = 0) -> None:
        self.position = position
        """The last change log position taken in."""
        self.live = BitMap()
        self.terms: dict[int, BitMap] = {}
        self.dirty: set[int] = set()
        """Terms changed since the last snapshot."""

    def apply(self, position: int, changes: Iterable[Change]) -> None:
        """Take in one log row. Positions must come in order; an old one changes nothing."""
        if position <= self.position:
            return
        added: dict[int, list[int]] = {}
        removed: dict[int, list[int]] = {}
        for change in changes:
            for term in change.removed:
                removed.setdefault(term, []).append(change.account)
            for term in change.added:
                added.setdefault(term, []).append(change.account)
            if change.live > 0:
                self.live.add(change.account)
            elif change.live < 0:
                self.live.discard(change.account)
        self._merge(removed, is_added=False)
        self._merge(added, is_added=True)
        self.position = position

    def forget(self, term: int) -> None:
        """Drop a retired term; its number is never used again."""
        self.terms.pop(term, None)
        self.dirty.discard(term)

    def _merge(self, changed: Mapping[int, list[int]], *, is_added: bool) -> None:
        for term, accounts in changed.items():
            bitmap = self.terms.setdefault(term, BitMap())
            other = BitMap(array("I", accounts))
            if is_added:
                bitmap |= other
            else:
                bitmap -= other
            self.terms[term] = bitmap
            self.dirty.add(term)

    def evaluate(self, asked: Expression, numbers: Mapping[TermKey, int]) -> BitMap:
        """The accounts that an expression names; `numbers` gives the term of each key.

        The answer may be the index's own bitmap: read it, never change it.
        """
        match asked:
            case TermOf(key):
                return self.terms.get(numbers.get(key, 0), BitMap())
            case AnyOf(parts):
                return BitMap.union(*self._each(parts, numbers)) if parts else BitMap()
            case NoneOf(parts):
                return self.live - self.evaluate(AnyOf(parts), numbers)
            case AllOf(parts):
                return self._all_of(parts, numbers)

    def _all_of(self, parts: tuple[Expression, ...], numbers: Mapping[TermKey, int]) -> BitMap:
        wanted = [part for part in parts if not isinstance(part, NoneOf)]
        refused = [part for part in parts if isinstance(part, NoneOf)]
        result = self.live
        if wanted:
            result = BitMap.intersection(*self._each(tuple(wanted), numbers))
        for part in refused:
            result = result - self.evaluate(AnyOf(part.parts), numbers)
        return result

    def _each(self, parts: tuple[Expression, ...], numbers: Mapping[TermKey, int]) -> list[BitMap]:
        return [self.evaluate(part, numbers) for part in parts]
