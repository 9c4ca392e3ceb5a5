"""Checks of operators' arguments, with one clear error each."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from airflow.sdk import BaseOperator

from ork_provider.errors import InvalidJob
from ork_provider.job import describe

LONGEST = 10 * 365 * 24 * 3600
"""Seconds that any interval or limit may be."""


class CheckedOperator(BaseOperator):
    """An operator that says what is wrong with its arguments: which task, which argument, what it must be."""

    def check_seconds(self, name: str, value: object, *, zero: bool = False) -> None:
        """Raise InvalidJob, naming the task and the argument, if ``value`` is not a number of seconds."""
        good = isinstance(value, int | float) and not isinstance(value, bool)
        if not good or not (value >= 0 if zero else value > 0):  # type: ignore[operator]
            raise self.bad_argument(name, f"a number of seconds {'at least 0' if zero else 'greater than 0'}", value)
        if value > LONGEST:  # type: ignore[operator]
            raise self.bad_argument(name, f"a number of seconds up to {LONGEST} (ten years)", value)

    def check_choice(self, name: str, value: object, choices: Sequence[str]) -> None:
        """Raise InvalidJob, naming the task, the argument and its valid values."""
        if value not in choices:
            raise self.bad_argument(name, "one of " + ", ".join(map(repr, choices)), value)

    def bad_argument(self, name: str, expected: str, value: object) -> InvalidJob:
        """Return the error for a bad argument."""
        return InvalidJob(f"{self}: {name} must be {expected}, got {describe(value)}.")

    def __str__(self) -> str:
        return f"{type(self).__name__}(task_id={self.task_id!r})"


def to_seconds(value: timedelta | float) -> float:
    """Return a duration in seconds; what is not one is returned as it is, to be refused by name."""
    return value.total_seconds() if isinstance(value, timedelta) else value
