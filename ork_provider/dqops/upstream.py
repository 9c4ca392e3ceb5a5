"""Finds the DQOps jobs that other tasks of a DAG run have left in XCom."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ork_provider.dqops.job import DqopsJob
from ork_provider.job import Job, job_from_dict

KEYS = ("return_value", "ork_job")
"""XComs that may hold jobs: of a task that has succeeded, and of one that has at least started its job."""


def jobs_of(task: Any, ti: Any, *, named: bool) -> list[DqopsJob]:
    """Return the jobs of a task, each once; those of all its mapped instances.

    :param named: whether the user has named the task; then a bare id counts as a job, too
    """
    found: dict[DqopsJob, None] = {}
    for key in KEYS:
        value = ti.xcom_pull(task_ids=task.task_id, key=key, **_instances(task, ti))
        found.update(dict.fromkeys(read_jobs(value, bare=named and key == "return_value")))
    return _once(found)


def _instances(task: Any, ti: Any) -> dict[str, Any]:
    """Say which instances of a task count: in a mapped task group those of our own expansion."""
    if task.get_closest_mapped_task_group() is None:
        return {}
    relevant = ti.get_relevant_upstream_map_indexes(upstream=task, ti_count=None, session=None)
    return {} if relevant is None else {"map_indexes": relevant}


def _once(jobs: Mapping[DqopsJob, None]) -> list[DqopsJob]:
    """Drop jobs that are there twice: under their id, whatever else is known of them."""
    known: dict[tuple[str | None, str], DqopsJob] = {}
    for job in jobs:
        known.setdefault((job.base_url, job.remote_id), job)
    bare = {job.remote_id for job in known.values() if job.base_url is not None}
    return [job for (base_url, remote_id), job in known.items() if base_url is not None or remote_id not in bare]


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
    elif isinstance(value.get("jobs"), list):
        yield from read_jobs(value["jobs"], bare=False)
    elif isinstance(named := value.get("jobId"), Mapping) and (answered := read_id(named.get("jobId"))) is not None:
        yield answered


def read_id(value: object) -> DqopsJob | None:
    """Return the job of a bare id, a number or its digits; any other text is a business key."""
    if isinstance(value, str) and re.fullmatch("[0-9]+", value):
        value = int(value)
    if isinstance(value, str) and value:
        return DqopsJob(job_business_key=value)
    return DqopsJob(job_id=value) if type(value) is int else None
