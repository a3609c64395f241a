from __future__ import annotations

import pytest

from tocsin.domain.retry import retry_after_s

DATE = "Thu, 01 Jan 2026 00:00:00 GMT"


@pytest.mark.evidence("what lasts for a week is still tried, and absurd headers are no answer")
@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": " 12 "}, 12.0),
        ({"retry-after": "999999999"}, 86_400.0),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "1.5"}, None),
        ({"retry-after": "²"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "Thu, 01 Jan 2026 00:01:00 GMT", "date": DATE}, 60.0),
        ({"retry-after": "Wed, 31 Dec 2025 23:59:00 GMT", "date": DATE}, 0.0),
        ({"retry-after": "Thu, 01 Jan 2026 00:01:00", "date": DATE}, 60.0),
        ({"retry-after": "Thu, 01 Jan 2026 00:01:00 GMT"}, None),
        ({"retry-after": "Thu, 99 Jan 2026 00:01:00 GMT", "date": DATE}, None),
        ({"retry-after": "Mon, 01 Jan 99999999999 00:00:00 GMT", "date": DATE}, None),
    ],
)
def test_seconds_or_a_date_against_the_answers_own(
    headers: dict[str, str], expected: float | None
) -> None:
    assert retry_after_s(headers) == expected
