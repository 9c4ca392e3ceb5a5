"""What Airflow can carry of foreign words: JSON that passes the triggerer's channel and any of its databases.

Half a character (a lone surrogate) and integers of more than 64 bits cannot be written to the channel between Airflow
3.3's triggerer and its supervisor (msgpack), and PostgreSQL's JSONB refuses NUL and NaN. Either error is nobody's to
catch there (``sync_state_to_supervisor`` and ``handle_events`` in triggerer_job_runner.py): it ends the triggerer with
all its triggers, and does so again after each restart.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

DEEPEST = 100
"""Lists and dicts within one another that are carried."""

_ODD = re.compile("[\x00\ud800-\udfff]")
_INTEGERS = range(-(2**63), 2**64)


def is_portable_text(text: str) -> bool:
    """Whether a text can be carried as it is."""
    return _ODD.search(text) is None


def portable_text(text: str) -> str:
    """Return a text with a replacement character for each that cannot be carried."""
    return _ODD.sub("\ufffd", text)


def is_portable_int(number: int) -> bool:
    """Whether an integer can be carried as a number."""
    return number in _INTEGERS


def portable(value: Any, deepest: int = DEEPEST) -> Any:
    """Return a JSON value as it can be carried: odd numbers as texts, odd characters replaced, the deepest cut."""
    if isinstance(value, Mapping) and deepest:
        return {portable_text(str(name)): portable(item, deepest - 1) for name, item in value.items()}
    if isinstance(value, list | tuple) and deepest:
        return [portable(item, deepest - 1) for item in value]
    return _portable_leaf(value)


def _portable_leaf(value: Any) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return portable_text(value)
    if isinstance(value, int):
        return value if is_portable_int(value) else hex(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    return f"({type(value).__name__})"
