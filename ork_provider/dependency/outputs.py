"""What the tasks of dependencies have returned, read when it is looked up."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from ork_provider.dependency.job import TaskDependency
from ork_provider.dependency.service import DependencyService
from ork_provider.dependency.status import GONE

Name = str | tuple[str, str]


class Outputs(Mapping[Name, Any]):
    """Return values by task: ``output["extract"]``, or ``output["dag", "extract"]`` where two DAGs have such a task.

    Of a mapped task it is the list of its instances' values, in map order; None stands for one that has returned
    nothing, as one that was skipped. A dependency on a whole run or a group gives any task of it, though only named
    tasks are listed when this is iterated over.

    :param found: each dependency with the id of its run
    :param read: reads one task's values
    """

    def __init__(
        self, found: Sequence[tuple[TaskDependency, str]], read: Callable[[TaskDependency, str, str], Any]
    ) -> None:
        self._found = found
        self._read = read
        self._known: dict[tuple[str, str, str], Any] = {}

    def __getitem__(self, name: Name) -> Any:
        dag_id, task_id = (None, name) if isinstance(name, str) else name
        fits = [
            (job, run_id)
            for job, run_id in self._found
            if dag_id in (None, job.dag_id) and (task_id in job.task_ids or not job.task_ids)
        ]
        named = [one for one in fits if one[0].task_ids] or fits
        runs = {(job.dag_id, run_id) for job, run_id in named}
        if not runs:
            raise KeyError(f"{name!r} is not a task that was waited for; those are: {', '.join(map(repr, self))}")
        if len(runs) > 1:
            several = ", ".join(f"DAG {dag_id}, run {run_id}" for dag_id, run_id in sorted(runs))
            raise KeyError(f"{name!r} is a task of several runs: {several}; {_advice(runs)}")
        job, run_id = named[0]
        key = (job.dag_id, run_id, task_id)
        if key not in self._known:
            self._known[key] = self._read(job, run_id, task_id)
        return self._known[key]

    def __iter__(self) -> Iterator[Name]:
        return iter(dict.fromkeys(task_id for job, _ in self._found for task_id in job.task_ids))

    def __len__(self) -> int:
        return len(list(iter(self)))


def _advice(runs: Iterable[tuple[str, str]]) -> str:
    several_dags = len({dag_id for dag_id, _ in runs}) > 1
    return "ask for output[dag_id, task_id]" if several_dags else "depend on one of them only to have its output"


async def read_output(service: DependencyService, job: TaskDependency, run_id: str, task_id: str) -> Any:
    """Return what a task has returned: a list of a mapped one, in map order.

    :raises KeyError: the run has no such task
    """
    states = (await service.source.task_states(job.dag_id, [run_id], [task_id])).get(run_id, {})
    if not states:
        raise KeyError(f"{task_id!r} is not a task of DAG {job.dag_id}, run {run_id}")
    indexes = sorted(index for (_, index), state in states.items() if index >= 0 and state not in GONE)
    if job.map_indexes and indexes:
        indexes = [index for index in job.map_indexes if index in indexes]
    if not indexes:
        return await service.source.xcom(job.dag_id, run_id, task_id, -1)
    return [await service.source.xcom(job.dag_id, run_id, task_id, index) for index in indexes]
