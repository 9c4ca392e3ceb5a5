"""Statistics out of a service's JSON."""

from __future__ import annotations

from datetime import timezone
from typing import Any

import pytest

from ork_provider.stats import known, read_int, read_timestamp, seconds_between


@pytest.mark.parametrize(
    ("text", "micros"),
    [
        ("2026-01-31T00:00:02Z", 0),
        ("2026-01-31T00:00:02.5Z", 500_000),
        ("2026-01-31T00:00:02.000001+00:00", 1),
        ("2026-01-31T00:00:02.123456789Z", 123_456),
        ("2026-01-31T00:00:02.1234567890123Z", 123_456),
    ],
)
def test_timestamps(text: str, micros: int) -> None:
    """A timestamp in UTC has any number of decimals; what is finer than a microsecond is cut."""
    read = read_timestamp(text)
    assert (read.second, read.microsecond, read.tzinfo) == (2, micros, timezone.utc)


@pytest.mark.parametrize(
    "text", ["yesterday", "", None, 1736087584, "2026-01-31T00:00:02", "2026-01-31T00:00:02+01:00"]
)
def test_no_timestamp(text: Any) -> None:
    """Anything else is a ValueError, which a service takes for an answer of the wrong shape."""
    with pytest.raises(ValueError, match="not a timestamp in UTC"):
        read_timestamp(text)


@pytest.mark.parametrize(
    ("start", "end", "seconds"),
    [
        ("2026-01-31T10:00:00Z", "2026-01-31T10:00:01.5Z", 1.5),
        ("2026-01-31T23:59:59.999999999Z", "2026-02-01T00:00:01.000000001Z", 1.0),
        ("2026-01-31T10:00:00.0004Z", "2026-01-31T10:00:01.1121Z", 1.112),
        (None, "2026-01-31T10:00:00Z", None),
        ("2026-01-31T10:00:00Z", "", None),
    ],
)
def test_seconds_between(start: Any, end: Any, seconds: float | None) -> None:
    """A duration is to the millisecond, and None where one end is not known."""
    assert seconds_between(start, end) == seconds


def test_numbers() -> None:
    """Integers come as numbers or as texts; nothing is not 0."""
    assert [read_int(value) for value in (7, "7", "9007199254740993", 0, None)] == [7, 7, 9007199254740993, 0, None]


def test_known() -> None:
    """What is None is not listed; 0, False and empty texts are."""
    assert known({"a": None, "b": 0, "c": False, "d": ""}) == {"b": 0, "c": False, "d": ""}
