"""A store that keeps a list of what it is asked for."""

from __future__ import annotations

from typing import Any, cast

from tocsin.store import Store


class Watched:
    """Hands every verb on and notes its name."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.asked: list[str] = []

    def __getattr__(self, verb: str) -> Any:
        self.asked.append(verb)
        return getattr(self._store, verb)

    @property
    def store(self) -> Store:
        """As what it is handed out."""
        return cast(Store, self)
