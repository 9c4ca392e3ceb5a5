"""How ``depends_on`` is read: what a DAG's author, a template or another task's output has put there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from difflib import get_close_matches
from typing import Any, cast

from ork_provider.dependency.job import TaskDependency, as_json
from ork_provider.errors import InvalidJob
from ork_provider.job import DERIVED, describe, show

FIELDS = tuple(sorted(field.name for field in fields(TaskDependency)))
CHOOSING = ("run_id", "logical_date", "date_offset", "run", "task_ids", "task_group_id", "map_indexes")
"""Fields without which something else is waited for."""

EXPECTED = "a TaskDependency, its dict or the id of a task of this DAG run"


def shown(value: Any) -> Any:
    """Turn dependencies into dicts, which Airflow renders."""
    if isinstance(value, TaskDependency):
        return {name: item for name, item in value.to_dict().items() if item not in (None, [])}
    if isinstance(value, list | tuple):
        return [shown(item) for item in value]
    return value


def check_given(value: Any, where: str) -> int | None:
    """Check what a DAG's author has given, as far as no template or other task will say it.

    :returns: how many dependencies these are, None if that is not known yet
    """
    if isinstance(value, list | tuple):
        for i, one in enumerate(value):
            _check_one(one, f"{where}[{i}]")
        return len(value)
    _check_one(value, where)
    return 1 if isinstance(value, Mapping) or (isinstance(value, str) and "{" not in value) else None


def _check_one(value: Any, where: str) -> None:
    if isinstance(value, Mapping):
        check_keys(value, where)
    elif not hasattr(value, "resolve") and (not isinstance(value, str) or not value):  # else another task's output
        raise InvalidJob(f"{where}: expected {EXPECTED}, got {describe(value)}.")


def read_dependency(value: Any, where: str, ti: Any) -> TaskDependency:
    """Read one dependency; a text is a task of the run that ``ti`` is of."""
    if isinstance(value, TaskDependency):
        return value
    if isinstance(value, str) and value:
        return TaskDependency(dag_id=ti.dag_id, run_id=ti.run_id, task_ids=[value])
    if isinstance(value, Mapping):
        check_keys(value, where)
        _check_values(value, where)
        return _read_dict(value, where)
    raise InvalidJob(f"{where}: expected {EXPECTED}, got {describe(value)}.")


def check_keys(value: Mapping[Any, Any], where: str) -> None:
    """Raise InvalidJob for a key that is no field: without it, something else would be waited for."""
    kind = value.get("service_type", TaskDependency.kind)
    if kind != TaskDependency.kind:
        raise InvalidJob(f"{where}.service_type: expected {TaskDependency.kind!r}, got {describe(kind)}.")
    for key in value:
        if key not in FIELDS and key not in DERIVED:
            near = get_close_matches(str(key), FIELDS, 1, 0.5)
            meant = f"is {near[0]} meant?" if near else f"it has {', '.join(FIELDS)}."
            raise InvalidJob(f"{where}: a dependency has no field {show(key)}; {meant}")


def _check_values(value: Mapping[Any, Any], where: str) -> None:
    """Raise InvalidJob for a value that has come to nothing: it must not mean the whole run, or another one.

    The wire format, which has a job_id, holds all fields.
    """
    empty = [name for name in CHOOSING if name in value and value[name] in (None, [], ())]
    if empty and "job_id" not in value:
        raise InvalidJob(f"{where}.{empty[0]}: expected a value, got {describe(value[empty[0]])}; or leave it out.")


def _read_dict(value: Mapping[str, Any], where: str) -> TaskDependency:
    try:
        given = {name: as_json(name, item) for name, item in value.items()}
        return cast("TaskDependency", TaskDependency.from_dict(given, where))
    except InvalidJob as exc:
        raise exc if where in str(exc) else InvalidJob(f"{where}: {exc}") from None
