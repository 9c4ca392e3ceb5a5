"""DQOps' own words as they are written in a DAG: enums, severities in their order, and how an argument is checked."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timezone
from enum import Enum
from typing import Any


class DqopsWord(str, Enum):
    """A word of the API; it is a str, and reads as one."""

    def __str__(self) -> str:
        return str(self.value)


class CheckType(DqopsWord):
    """Type of checks."""

    PROFILING = "profiling"
    MONITORING = "monitoring"
    PARTITIONED = "partitioned"


class CheckTimeScale(DqopsWord):
    """Time scale of monitoring and partitioned checks."""

    DAILY = "daily"
    MONTHLY = "monthly"


class CheckTarget(DqopsWord):
    """What a check is configured on."""

    TABLE = "table"
    COLUMN = "column"


class StatisticsCollectorTarget(DqopsWord):
    """What statistics are collected of."""

    TABLE = "table"
    COLUMN = "column"


class RunChecksTarget(DqopsWord):
    """Which half of the checks is run."""

    SENSORS_AND_RULES = "sensors_and_rules"
    ONLY_SENSORS = "only_sensors"
    ONLY_RULES = "only_rules"


class RuleSeverityLevel(DqopsWord):
    """Severity of a check's result, mildest first."""

    VALID = "valid"
    WARNING = "warning"
    ERROR = "error"
    FATAL = "fatal"


SEVERITIES: Mapping[str, int] = {level.value: rank for rank, level in enumerate(RuleSeverityLevel)}
"""Rank of each severity."""


@dataclass(frozen=True)
class Argument:
    """An argument of an operator that is sent to DQOps.

    :param wire: its name in the request
    :param kind: ``str``, ``bool``, ``int``, ``list`` (of texts), ``dict``, ``datetime`` or one of the enums
    :param least: least number that an ``int`` may be
    """

    wire: str
    kind: type
    least: int = 1

    def expected(self) -> str:
        """Say what the argument may be."""
        if issubclass(self.kind, Enum):
            return "one of " + ", ".join(repr(word.value) for word in self.kind)
        if self.kind is int:
            return f"a number from {self.least} on"
        return _SPELLED[self.kind]

    def read(self, value: Any) -> Any:
        """Return a rendered value as what was meant: templates render texts, and natively what looks like a number."""
        if issubclass(self.kind, Enum):
            return value.lower() if isinstance(value, str) else value
        reader = _READERS.get(self.kind)
        return reader(value) if reader else value

    def accepts(self, value: Any) -> bool:
        """Whether a value is of the right kind; a word of DQOps may be in any case."""
        if issubclass(self.kind, Enum):
            return isinstance(value, str) and value.lower() in [word.value for word in self.kind]
        if self.kind is list:
            return isinstance(value, list | tuple) and all(isinstance(item, str) for item in value)
        if self.kind is datetime:
            return isinstance(value, str | date)
        if self.kind is int:
            return isinstance(value, int) and not isinstance(value, bool) and value >= self.least
        return isinstance(value, self.kind)


_SPELLED: dict[type, str] = {
    str: "a text",
    bool: "True or False",
    list: "a list of texts",
    dict: "a dict",
    datetime: "a time, or a text in ISO 8601",
}


def read_text(value: Any) -> Any:
    """Return a rendered text; native rendering makes a number of ``20261120``."""
    return str(value) if type(value) is int else value


def _read_texts(value: Any) -> Any:
    return [read_text(item) for item in value] if isinstance(value, list | tuple) else value


def _read_flag(value: Any) -> Any:
    return {"true": True, "false": False}.get(value.strip().lower(), value) if isinstance(value, str) else value


def _read_number(value: Any) -> Any:
    return int(value) if isinstance(value, str) and re.fullmatch(r"\s*[0-9]+\s*", value) else value


def _read_time(value: Any) -> Any:
    return spell_time(value) if isinstance(value, str | date) else value


_READERS: dict[type, Callable[[Any], Any]] = {
    str: read_text,
    list: _read_texts,
    bool: _read_flag,
    int: _read_number,
    datetime: _read_time,
}


def spell_time(value: str | date) -> str:
    """Return a time as DQOps reads it: in UTC, which it is taken for if it has no zone; a day begins at midnight.

    A text that Python cannot read as a time is left as it is.
    """
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(re.sub("[zZ]$", "+00:00", value.strip()))
        except ValueError:
            return str(value)
    at = value if isinstance(value, datetime) else datetime(value.year, value.month, value.day)
    at = at.astimezone(timezone.utc) if at.tzinfo else at.replace(tzinfo=timezone.utc)
    return at.isoformat().replace("+00:00", "Z")


def plain(value: Any) -> Any:
    """Return an enum's word as a plain text, so that it looks the same in templates, hashes and the UI."""
    return value.value if isinstance(value, Enum) else value
