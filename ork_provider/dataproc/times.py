"""Timestamps as Google's JSON has them: RFC 3339 in UTC with up to nine digits of a second."""

from __future__ import annotations

import re
from datetime import datetime, timezone
from typing import Any

_TIMESTAMP = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?Z")


def seconds_between(start: Any, end: Any) -> float | None:
    """Return the seconds from one timestamp to another, to the millisecond; None without both of them."""
    if not start or not end:
        return None
    return round(_seconds(end) - _seconds(start), 3)


def _seconds(timestamp: Any) -> float:
    match = _TIMESTAMP.fullmatch(str(timestamp))
    if match is None:
        raise ValueError(f"not a timestamp: {timestamp!r}")
    moment = datetime.fromisoformat(match[1]).replace(tzinfo=timezone.utc)  # 3.10 reads neither Z nor nine digits
    return moment.timestamp() + float(f"0.{match[2] or 0}")
