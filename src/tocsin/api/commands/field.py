"""One member of a body as docs/commands.md describes it: kind, bounds, meaning, codes."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

Kind = Literal[
    "text", "text or number", "integer", "integer or digit", "list", "list or object", "object"
]


class Field(Struct, frozen=True, kw_only=True):
    """One member of a body. A code of 0 is never answered for the member."""

    name: str
    """The path to the member. `A[].B` is the member `B` of each item of the list `A`, and `A.*` is
    each value of the object `A`, whose members the caller names."""
    kind: Kind
    says: str
    wrong: int
    """The code of a value of another kind."""
    is_needed: bool = False
    missing: int = 0
    """The code of a body without a needed member, if it is not `wrong`."""
    least: int = 0
    most: int | None = None
    unit: str = ""
    """What `least` and `most` count; empty: the integer itself."""
    empty: int = 0
    """The code of a value below `least`, if it is not `beyond`."""
    beyond: int = 0
    """The code of a value outside the bounds."""
    choices: tuple[int | str, ...] = ()
    begins: str = ""
    """How a text has to begin; an empty text is as good as none."""

    @property
    def codes(self) -> frozenset[int]:
        """Every code that a call may be answered for the member."""
        return frozenset((self.wrong, self.missing, self.empty, self.beyond)) - {0}

    @property
    def bounds(self) -> str:
        """The bounds in words."""
        if self.choices:
            return " or ".join(f"`{choice}`" for choice in self.choices)
        if self.begins:
            return f"begins with `{self.begins}`"
        if self.most is None:
            return f"at least {self.least} {self.unit}" if self.least else ""
        if self.unit and not self.least:
            return f"at most {self.most:,} {self.unit}"
        return f"{self.least} to {self.most:,} {self.unit}".rstrip()
