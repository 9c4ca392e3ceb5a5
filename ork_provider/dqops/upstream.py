"""Finds the DQOps jobs that other tasks of a DAG run have left in XCom."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ork_provider.dqops.job import DqopsJob
from ork_provider.job import Job, job_from_dict

KEYS = ("return_value", "ork_job")
"""XComs that may hold jobs: of a task that has succeeded, and of one that has at least started its job."""


CONTAINERS = ("jobs", "deferred")
"""Keys under which a dict lists jobs: of our results, and of what a function hands over."""


class Left(NamedTuple):
    """What a task has left.

    :param jobs: its jobs, each once; those of all its mapped instances
    :param missing: which instances were to run and have left no job, in words; empty if there are none
    """

    jobs: list[DqopsJob]
    missing: str


def left_by(task: Any, ti: Any, *, named: bool, starts_jobs: bool) -> Left:
    """Return what a task has left.

    :param named: whether the user has named the task; then a bare id counts as a job, too
    :param starts_jobs: whether each of its instances must have left a job
    """
    found: dict[DqopsJob, None] = {}
    instances = 0
    relevant = _relevant(task, ti)
    for key in KEYS:
        value = ti.xcom_pull(task_ids=task.task_id, key=key, **({} if relevant is None else {"map_indexes": relevant}))
        bare = named and key == "return_value"
        found.update(dict.fromkeys(read_jobs(value, bare=bare)))
        each = value if isinstance(value, Sequence) and not isinstance(value, str | bytes) else [value]
        instances = max(instances, sum(any(read_jobs(one, bare=bare)) for one in each))
    return Left(_once(found), _missing(task, ti, relevant, instances) if starts_jobs else "")


def _relevant(task: Any, ti: Any) -> Any:
    """Return which instances of a task count, all if None: in a mapped task group those of our own expansion."""
    if task.get_closest_mapped_task_group() is None:
        return None
    return ti.get_relevant_upstream_map_indexes(upstream=task, ti_count=None, session=None)


def _missing(task: Any, ti: Any, relevant: Any, instances: int) -> str:
    """Say which instances have left no job; in doubt a task was to run."""
    mapped = getattr(task, "is_mapped", False) or task.get_closest_mapped_task_group() is not None
    if instances and not mapped:
        return ""
    states = _states(task, ti)
    if relevant is not None:
        wanted = [relevant] if isinstance(relevant, int) else relevant
        states = {index: state for index, state in states.items() if index in wanted}
    due = len([state for state in states.values() if state not in ("skipped", "removed")])
    if instances >= (due if states else 1):
        return ""
    return task.task_id if due < 2 else f"{due - instances} of {due} instances of {task.task_id}"


def _states(task: Any, ti: Any) -> dict[int, str]:
    """Return the states of a task's instances by map index; Airflow names a mapped one ``<task_id>_<index>``."""
    told = ti.get_task_states(dag_id=ti.dag_id, task_ids=[task.task_id], run_ids=[ti.run_id]).get(ti.run_id, {})
    states = {name: str(getattr(state, "value", state)) for name, state in told.items()}
    return {-1 if name == task.task_id else int(name.rpartition("_")[2]): state for name, state in states.items()}


def _once(jobs: Mapping[DqopsJob, None]) -> list[DqopsJob]:
    """Drop jobs that are there twice: under their id, whatever else is known of them."""
    known: dict[tuple[str | None, str | None, str], DqopsJob] = {}
    for job in jobs:
        known.setdefault((job.base_url, job.conn_id, job.remote_id), job)
    placed = {job.remote_id for job in known.values() if _says_where(job)}
    return [job for job in known.values() if _says_where(job) or job.remote_id not in placed]


def _says_where(job: DqopsJob) -> bool:
    return job.base_url is not None or job.conn_id is not None


def read_jobs(value: Any, *, bare: bool) -> Iterator[DqopsJob]:
    """Read the jobs in an XCom: our own results, DQOps' answers, lists of them; bare ids if they count."""
    if isinstance(value, Mapping):
        yield from _read_mapping(value, bare=bare)
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        for item in value:
            yield from read_jobs(item, bare=bare)
    elif bare and (job := read_id(value)) is not None:
        yield job


def _read_mapping(value: Mapping[str, Any], *, bare: bool) -> Iterator[DqopsJob]:
    if value.get("service_type") == DqopsJob.kind:
        job: Job = job_from_dict(value)
        assert isinstance(job, DqopsJob)
        yield job
    elif lists := [value[name] for name in CONTAINERS if isinstance(value.get(name), list | tuple)]:
        for jobs in lists:
            yield from read_jobs(jobs, bare=False)
    elif isinstance(named := value.get("jobId"), Mapping):
        answered = read_id(named.get("jobId")) or read_key(named.get("jobBusinessKey"))
        if answered is not None:
            yield answered


def read_id(value: object) -> DqopsJob | None:
    """Return the job of a bare id, a number or its digits; any other text is a business key."""
    if isinstance(value, str) and re.fullmatch("[0-9]+", value):
        value = int(value)
    return DqopsJob(job_id=value) if type(value) is int else read_key(value)


def read_key(value: object) -> DqopsJob | None:
    """Return the job of a business key."""
    return DqopsJob(job_business_key=value) if isinstance(value, str) and value else None
