"""Finding, what one check has come to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum


class Status(str, Enum):
    """How grave a finding is; the value of ``code`` is the exit code that it leads to."""

    OK = "OK"
    UNKNOWN = "UNKNOWN"
    WARN = "WARN"
    FAIL = "FAIL"

    @property
    def code(self) -> int:
        """The exit code of a doctor that has found nothing worse."""
        return {"WARN": 1, "FAIL": 2}.get(self.value, 0)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One check's result.

    :param status: OK, WARN, FAIL, or UNKNOWN where only another machine can tell
    :param found: the evidence, with the names of what is concerned
    :param do: the next command to run; empty where all is well
    :param check: the name of the check
    """

    status: Status
    found: str
    do: str = ""
    check: str = ""


def ok(found: str) -> Finding:
    """Tell that all is well."""
    return Finding(status=Status.OK, found=found)


def unknown(found: str, do: str) -> Finding:
    """Tell what only somebody else can see."""
    return Finding(status=Status.UNKNOWN, found=found, do=do)


def warn(found: str, do: str) -> Finding:
    """Tell what works, but not for long, or not well."""
    return Finding(status=Status.WARN, found=found, do=do)


def fail(found: str, do: str) -> Finding:
    """Tell what keeps tasks from going on."""
    return Finding(status=Status.FAIL, found=found, do=do)


def some(names: Sequence[object], most: int = 3) -> str:
    """Name a few of many."""
    named = ", ".join(str(name) for name in names[:most])
    return named if len(names) <= most else f"{named} and {len(names) - most} more"


def tasks(count: int) -> str:
    """Count tasks in words."""
    return "1 task" if count == 1 else f"{count} tasks"
