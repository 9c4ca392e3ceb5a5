"""What is known only when a task runs: Jinja templates and the outputs of other tasks; not to be judged before."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def is_reference(value: Any) -> bool:
    """Whether a value is the output of another task, or of something else that Airflow resolves (an XComArg)."""
    return hasattr(value, "iter_references")


def is_template(value: Any) -> bool:
    """Whether a value is itself known only when the task runs."""
    return is_reference(value) or (isinstance(value, str) and ("{{" in value or "{%" in value))


def holds_template(value: Any) -> bool:
    """Whether a value, or anything in it, is known only when the task runs."""
    if isinstance(value, Mapping):
        return any(holds_template(item) for item in value.values())
    if isinstance(value, list | tuple):
        return any(holds_template(item) for item in value)
    return is_template(value)
