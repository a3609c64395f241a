"""The body of a form is what the library writes, whatever is in it."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlencode

from hypothesis import example, given
from hypothesis import strategies as st

from tocsin.channels.shared import form_body

TEXTS = st.text(st.characters(exclude_categories=["Cs"])) | st.text(" %+,;=&/~_.-aZ9\n")


@given(st.dictionaries(TEXTS, TEXTS))
@example({"tokens": "a+b/c==,d%2Ce;f", "title": "100 % off + more", "text": "早上好"})
def test_a_form_is_written_as_the_library_does(fields: dict[str, str]) -> None:
    body = form_body(fields)
    assert body == urlencode(fields).encode()
    read = parse_qsl(body.decode(), keep_blank_values=True, separator="&")
    assert dict(read) == fields or not fields
