"""Arguments that all of Google's services have, read into the form of their JSON: projects and durations."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Any

from ork_provider.errors import InvalidJob
from ork_provider.job import describe
from ork_provider.templates import holds_template, is_template


def read_project(value: Any, where: str) -> str | None:
    """Return a project as text; None for none, and a template as it is.

    :param value: a project id, or its number, which native rendering makes an int
    :param where: how an error names the argument
    :raises InvalidJob: it is neither
    """
    if value is None or (isinstance(value, str) and not value):
        return None
    project: str = str(value) if type(value) is int and value > 0 else value
    if not is_template(project) and not (isinstance(project, str) and project.strip()):
        raise InvalidJob(f"{where} must be a project id or number, or None, got {describe(value)}.")
    return project


def to_duration(value: Any) -> Any:
    """Return a duration such as ``"1.5s"``; None for what is none, and a template as it is.

    :param value: seconds, a timedelta, a text such as ``"600s"`` or ``"600"``, or the form of Google's Python library,
        ``{"seconds": 600, "nanos": 500000000}``
    """
    if holds_template(value):
        return value
    seconds = _seconds(value)
    return None if seconds is None else f"{seconds:.9f}".rstrip("0").rstrip(".") + "s"


def _seconds(value: Any) -> Decimal | None:
    if isinstance(value, timedelta):
        return _not_negative(Decimal(value // timedelta(microseconds=1)).scaleb(-6))
    if isinstance(value, Mapping):
        return _of_parts(value)
    if isinstance(value, str):
        found = re.fullmatch(r"\s*([0-9]{1,15}(?:\.[0-9]{1,9})?)s?\s*", value)
        return Decimal(found[1]) if found else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return _not_negative(Decimal(str(value)))


def _of_parts(value: Mapping[Any, Any]) -> Decimal | None:
    seconds, nanos = value.get("seconds", 0), value.get("nanos", 0)
    if set(value) - {"seconds", "nanos"} or not value or type(nanos) is not int or not 0 <= nanos < 10**9:
        return None
    whole = _seconds(seconds) if type(seconds) is int or isinstance(seconds, str) else None
    return None if whole is None else whole + Decimal(nanos).scaleb(-9)


def _not_negative(seconds: Decimal) -> Decimal | None:
    return seconds if seconds.is_finite() and 0 <= seconds < 10**15 else None
