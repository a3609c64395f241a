"""What a validator says, in words: each text is made by the validator itself."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import pytest
from msgspec import Meta, Struct

from tocsin.domain.plain_fault import said_plainly


class Inner(Struct, forbid_unknown_fields=True):
    span: Annotated[float, Meta(ge=0, le=10)] = 0.0


class Outer(Struct, forbid_unknown_fields=True):
    needed: str
    key: Annotated[str, Meta(min_length=8, max_length=9)] | None = None
    count: Annotated[int, Meta(ge=1, le=9)] | None = None
    is_on: bool | None = None
    names: tuple[str, ...] = ()
    inner: Inner | None = None


@pytest.mark.evidence(
    "no command ends in a traceback over what it was told, and a refusal names the option "
    "that was typed",
)
@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"key": "short"}, "key: at least 8 characters"),
        ({"key": "x" * 10}, "key: at most 9 characters"),
        ({"key": 7}, "key: must be a text"),
        ({"count": 0}, "count: must be at least 1"),
        ({"count": 10}, "count: must be at most 9"),
        ({"count": "x"}, "count: must be a whole number"),
        ({"is_on": 1}, "is_on: must be true or false"),
        ({"names": [1]}, "names[0]: must be a text"),
        ({"inner": {"span": -1.0}}, "inner.span: must be at least 0"),
        ({"inner": {"span": 11.0}}, "inner.span: must be at most 10"),
        ({"inner": {"span": "x"}}, "inner.span: must be a number"),
        ({"inner": {"foo": 1}}, "inner.foo: is not known here"),
        ({"foo": 1}, "foo: is not known here"),
        ({"needed": None}, "needed: must be a text"),
    ],
)
def test_a_fault_names_the_member_and_what_it_may_be(told: dict[str, Any], said: str) -> None:
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.convert({"needed": "x", **told}, Outer)
    assert said_plainly(str(caught.value)) == said


@pytest.mark.evidence(
    "no command ends in a traceback over what it was told, and a refusal names the option "
    "that was typed",
)
def test_what_is_missing_is_named_and_what_is_unknown_passed_on() -> None:
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.convert({}, Outer)
    assert said_plainly(str(caught.value)) == "needed: is needed"
    assert said_plainly("something else - at `$.key`") == "key: something else"
    assert said_plainly("something else") == "something else"
