"""The jobs of the tasks that are not mapped: what each must come to, and whether it has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from _demo.plan import YEARS, JsonDict, Plan, weather_line
from _demo.services import CHECKS, Services
from _demo.watch import Watch
from ork_provider.job import KINDS

OUTPUTS = ("log_uri", "driver_output_uri", "output_uri")
"""Names in a job's stats of the file that holds what its program wrote."""

UNSHOWN = ("dependency",)
"""Kinds of which the demo has none: a DAG run is no job of a service."""


@dataclass(frozen=True)
class Expected:
    """A job that a task must return; its program writes a line with `figure` of each of the years."""

    task_id: str
    kind: str
    figure: str = ""
    years: Sequence[int] = ()
    stats: Mapping[str, Any] = field(default_factory=dict)


_CHECKED = {"highest_severity": CHECKS.severity, "executed_checks": CHECKS.executed_checks}
_TASKS = {"succeeded": len(YEARS), "task_count": len(YEARS)}
EXPECTED = (
    Expected("cloud_run", "cloudrun", "rain", YEARS, _TASKS),
    Expected("dataproc", "dataproc", "heat", (2013,)),
    Expected("dataproc_batch", "dataproc_batch", "wind", (2014,)),
    Expected("dqops", "dqops", stats=_CHECKED),
    Expected("deferred", "dataproc_batch", "heat", (2015,)),
    Expected("deferred", "custom_http"),
    Expected("wait_for_five", "bigquery"),
    Expected("wait_for_five", "cloudrun", "wind", YEARS, _TASKS),
    Expected("wait_for_five", "dataproc", "rain", (2014,)),
    Expected("wait_for_five", "custom_http"),
    Expected("wait_for_five", "dqops", stats=_CHECKED),
)
"""In the order in which the tasks return them."""


@dataclass(frozen=True)
class Returned:
    """A job as its task returned it; an empty dict if it returned none. `wrote` is its program's output."""

    expected: Expected
    job: JsonDict
    wrote: list[str]

    def __str__(self) -> str:
        return f"{self.expected.task_id}: the {self.expected.kind} job {self.job.get('job_id', '')}".rstrip()


def read_jobs(watch: Watch) -> list[Returned]:
    """Return what the tasks returned of the jobs that are expected of them."""
    listed = {task_id: iter(_listed(watch, task_id)) for task_id in {one.task_id for one in EXPECTED}}
    jobs = [(expected, next(listed[expected.task_id], {})) for expected in EXPECTED]
    return [Returned(expected, job, _output(job)) for expected, job in jobs]


def _listed(watch: Watch, task_id: str) -> list[JsonDict]:
    """Return a task's jobs with their states; of a task that failed, those that it told Airflow of before."""
    for key in ("return_value", "ork_job"):
        found = watch.airflow.xcom(watch.dag_id, watch.run_id, task_id, key)
        if found:
            jobs = found.get("jobs", [found]) if isinstance(found, dict) else found
            return [job for job in jobs if isinstance(job, dict)]
    return []


def _output(job: JsonDict) -> list[str]:
    """Return the lines that a job's program wrote; the tasks of an execution write in any order."""
    uris = [urlsplit(str(job.get("stats", {}).get(name, ""))) for name in OUTPUTS]
    files = [Path(unquote(uri.path)) for uri in uris if uri.scheme == "file"]
    return sorted(line for file in files if file.exists() for line in file.read_text(errors="replace").splitlines())


def find_problems(plan: Plan, services: Services, jobs: Sequence[Returned]) -> list[str]:
    """Say what is not as expected, one line each."""
    shown = {one.expected.kind for one in jobs}
    missing = [f"the demo has no job of the kind {kind}" for kind in KINDS if kind not in (*shown, *UNSHOWN)]
    return [*missing, *(problem for one in jobs for problem in _problems(plan, services, one))]


def _problems(plan: Plan, services: Services, one: Returned) -> Iterable[str]:
    job, expected = one.job, one.expected
    if not job:
        yield f"{one} was not returned"
        return
    if job.get("service_type") != expected.kind:
        yield f"{one} is a {job.get('service_type')} job"
        return
    if job.get("state") != "succeeded":
        yield f"{one} is {job.get('state')}: {job.get('message')}"
        return
    lines = sorted(weather_line(plan.weather, expected.figure, year) for year in expected.years)
    if one.wrote != lines:
        yield f"{one} wrote {one.wrote}, but DuckDB gives {lines}"
    stats = {name: job["stats"].get(name) for name in expected.stats}
    if stats != expected.stats:
        yield f"{one} has the stats {stats}, not {dict(expected.stats)}"
    if expected.kind == "bigquery" and plan.expected and services.rows(job["job_id"]) != _values(plan.expected[0]):
        yield f"{one} did not find the rows that DuckDB gives"


def _values(rows: Sequence[JsonDict]) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for row in rows]
