"""Waits that cannot end: for what does not begin, or end, before the task that waits."""

from __future__ import annotations

from typing import Any

from ork_provider.dependency.job import TaskDependency
from ork_provider.errors import InvalidJob

EARLY = frozenset({"always", "one_success", "one_failed", "one_done"})
"""Trigger rules by which a task may start although one of those that it follows has not ended."""


def check_not_itself(job: TaskDependency, where: str, operator: Any) -> None:
    """Raise InvalidJob for a dependency on a task's own run that waits for the task itself.

    :param job: a dependency on the run that the task is part of
    """
    if not job.which_tasks:
        raise InvalidJob(f"{where}: the task cannot wait for the whole of the run that it is part of.")
    if operator.task_id in job.task_ids:
        raise InvalidJob(f"{where}: the task cannot wait for itself.")
    later = _later(operator)
    if late := sorted(later & set(job.task_ids)):
        raise InvalidJob(f"{where}: the task cannot wait for {late[0]}, which starts after it.")
    members = _members(operator, job.task_group_id)
    if operator.task_id in members:
        raise InvalidJob(f"{where}: the task cannot wait for a group that it is part of.")
    if late := sorted(later & members):
        raise InvalidJob(f"{where}: the task cannot wait for a group with {late[0]}, which starts after it.")


def _later(operator: Any) -> set[str]:
    """Return the tasks that do not start before a task has ended."""
    tasks = operator.get_dag().task_dict if operator.has_dag() else {}
    later: set[str] = set()
    next_ones = set(operator.downstream_task_ids)
    while next_ones:
        task = tasks.get(next_ones.pop())
        if (
            task is not None
            and task.task_id not in later
            and str(getattr(task.trigger_rule, "value", task.trigger_rule)) not in EARLY
        ):
            later.add(task.task_id)
            next_ones |= task.downstream_task_ids
    return later


def _members(operator: Any, group_id: str | None) -> set[str]:
    """Return the tasks of a group of the task's own DAG."""
    groups = operator.get_dag().task_group_dict if group_id is not None and operator.has_dag() else {}
    return {task.task_id for task in groups[group_id].iter_tasks()} if group_id in groups else set()
