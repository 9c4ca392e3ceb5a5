"""What the tasks of dependencies have returned, read when it is looked up."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ork_provider.dependency.job import TaskDependency
from ork_provider.dependency.service import DependencyService
from ork_provider.dependency.status import GONE

Name = str | tuple[str, str] | tuple[str | None, str, str]

Run = tuple[str, str, str]
"""A run of a DAG of an Airflow: connection id (empty for this one), DAG id and run id."""


class Outputs(Mapping[Name, Any]):
    """Return values by task: ``output["extract"]``, or ``output["dag", "extract"]`` where two DAGs have such a task.

    Where two Airflows have such a DAG, it is ``output["conn_id", "dag", "extract"]``; None stands for this Airflow.

    Of a mapped task it is the list of its instances' values, in map order; None stands for one that has returned
    nothing, as one that was skipped. A dependency on a whole run or a group gives any task of it, though only named
    tasks are listed when this is iterated over.

    :param found: each dependency, with the connection that it was asked for by, and the id of its run
    :param read: reads one task's values
    """

    def __init__(
        self, found: Sequence[tuple[TaskDependency, str]], read: Callable[[TaskDependency, str, str], Any]
    ) -> None:
        self._found = found
        self._read = read
        self._known: dict[tuple[Run, str], Any] = {}

    def __getitem__(self, name: Name) -> Any:
        run, job, task_id = self._find(name)
        if (run, task_id) not in self._known:
            self._known[run, task_id] = self._read(job, run[2], task_id)
        return self._known[run, task_id]

    def _find(self, name: Name) -> tuple[Run, TaskDependency, str]:
        """Return which task of which run is meant, and by which dependency."""
        *where, task_id = (name,) if isinstance(name, str) else name
        fits = [
            (job, (job.conn_id or "", job.dag_id, run_id))
            for job, run_id in self._found
            if [job.conn_id, job.dag_id][2 - len(where) :] == where and (task_id in job.task_ids or not job.task_ids)
        ]
        named = [one for one in fits if one[0].task_ids] or fits
        runs = sorted({run for _, run in named})
        if not runs:
            raise KeyError(f"{name!r} is not a task that was waited for; those are: {', '.join(map(repr, self))}")
        if len(runs) > 1:
            raise KeyError(f"{name!r} is a task of several runs: {', '.join(map(_say, runs))}; {_advice(runs)}")
        return runs[0], _unite([job for job, _ in named]), str(task_id)

    def __iter__(self) -> Iterator[Name]:
        return iter(dict.fromkeys(task_id for job, _ in self._found for task_id in job.task_ids))

    def __len__(self) -> int:
        return len(list(iter(self)))


def _unite(jobs: Sequence[TaskDependency]) -> TaskDependency:
    """Return a dependency on all instances that these are about; they are of one run."""
    indexes = {index for job in jobs for index in job.map_indexes}
    every = any(not job.map_indexes for job in jobs)
    return replace(jobs[0], map_indexes=[] if every else sorted(indexes))


def _say(run: Run) -> str:
    conn_id, dag_id, run_id = run
    return f"DAG {dag_id}, run {run_id}{f' over {conn_id}' if conn_id else ''}"


def _advice(runs: Sequence[Run]) -> str:
    """Say by what the runs can be told apart."""
    if len({run[1] for run in runs}) == len(runs):
        return "ask for output[dag_id, task_id]"
    if len({run[:2] for run in runs}) == len(runs):
        return "ask for output[conn_id, dag_id, task_id], with None as conn_id for this Airflow"
    return "depend on one of them only to have its output"


async def read_output(service: DependencyService, job: TaskDependency, run_id: str, task_id: str) -> Any:
    """Return what a task has returned: a list of a mapped one, in map order.

    :raises KeyError: the run has no such task
    """
    states = (await service.source.task_states(job.dag_id, [run_id], [task_id])).get(run_id, {})
    if not states:
        raise KeyError(f"{task_id!r} is not a task of {_say((job.conn_id or '', job.dag_id, run_id))}")
    indexes = sorted(index for (_, index), state in states.items() if index >= 0 and state not in GONE)
    if job.map_indexes and indexes:
        indexes = [index for index in indexes if index in job.map_indexes]
    if not indexes:
        return await service.source.xcom(job.dag_id, run_id, task_id, -1)
    return [await service.source.xcom(job.dag_id, run_id, task_id, index) for index in indexes]
