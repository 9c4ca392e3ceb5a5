"""How statistics are read from a service's JSON: numbers that come as texts, timestamps, and what is not there."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

_TIMESTAMP = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d+))?(?:Z|\+00:00)")


def known(stats: Mapping[str, Any]) -> dict[str, Any]:
    """Return the statistics that are there: those that are not None."""
    return {name: value for name, value in stats.items() if value is not None}


def read_int(value: Any) -> int | None:
    """Read an integer, which JSON APIs send as a text because JavaScript has no large ones; None stays None."""
    return None if value is None else int(value)


def read_timestamp(text: Any) -> datetime:
    """Read an RFC 3339 timestamp in UTC with any number of decimals; Python 3.10 reads neither ``Z`` nor nine digits.

    :raises ValueError: it is none
    """
    found = _TIMESTAMP.fullmatch(str(text))
    if found is None:
        raise ValueError(f"not a timestamp in UTC: {text!r}")
    micros = int((found[2] or "0").ljust(6, "0")[:6])
    return datetime.fromisoformat(found[1]).replace(microsecond=micros, tzinfo=timezone.utc)


def seconds_between(start: Any, end: Any) -> float | None:
    """Return the seconds from one timestamp to another, to the millisecond; None without both of them."""
    if not start or not end:
        return None
    return round((read_timestamp(end) - read_timestamp(start)).total_seconds(), 3)
