"""Labels that tell whose job it is: Airflow's names in the characters that Google allows."""

from __future__ import annotations

import re
from typing import Any

LIMIT = 63


def task_labels(ti: Any) -> dict[str, str]:
    """Return the labels that name a task instance's dag, task and run."""
    ours = {"airflow-dag": ti.dag_id, "airflow-task": ti.task_id, "airflow-run": ti.run_id}
    return {key: to_label(value) for key, value in ours.items()}


def to_label(value: str) -> str:
    """Return a value as Google allows it in a label: lower case, digits, ``_`` and ``-``, 63 characters."""
    return re.sub(r"[^a-z0-9_-]+", "-", value.lower())[:LIMIT]


def to_strict_label(value: str) -> str:
    """Return a value as RFC 1035 has labels: a letter first, a letter or digit last, hyphens between."""
    label = re.sub(r"[^a-z0-9]+", "-", value.lower()).strip("-")
    lettered = label if label[:1].isalpha() else f"x-{label}"
    return lettered[:LIMIT].rstrip("-")
