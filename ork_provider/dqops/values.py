"""DQOps' own words as they are written in a DAG: enums, severities in their order, and how an argument is checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
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
    """

    wire: str
    kind: type

    def expected(self) -> str:
        """Say what the argument may be."""
        if issubclass(self.kind, Enum):
            return "one of " + ", ".join(repr(word.value) for word in self.kind)
        return _SPELLED[self.kind]

    def accepts(self, value: Any) -> bool:
        """Whether a rendered value is of the right kind."""
        if issubclass(self.kind, Enum):
            return value in [word.value for word in self.kind]
        if self.kind is list:
            return isinstance(value, list | tuple) and all(isinstance(item, str) for item in value)
        if self.kind is datetime:
            return isinstance(value, str | date)
        if self.kind is int:
            return isinstance(value, int) and not isinstance(value, bool) and value > 0
        return isinstance(value, self.kind)


_SPELLED: dict[type, str] = {
    str: "a text",
    bool: "True or False",
    int: "a number greater than 0",
    list: "a list of texts",
    dict: "a dict",
    datetime: "a time, or a text in ISO 8601",
}


def plain(value: Any) -> Any:
    """Return an enum's word as a plain text, so that it looks the same in templates, hashes and the UI."""
    return value.value if isinstance(value, Enum) else value
