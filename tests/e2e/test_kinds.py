"""A job of every kind in a real Airflow: whoever kills a task, a run or a triggerer, each of our jobs gets one cancel.

And the jobs that a task only watches get none.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from ork_provider.testing import DataprocOutcome, DqopsOutcome, ExecutionOutcome, HttpOutcome, Outcome
from ork_provider.testing.local_airflow import LocalAirflow
from tests.e2e.test_jobs import until
from tests.support.cloud import Cloud

OURS = {"bigquery": 1, "cloudrun": 1, "dataproc": 1, "dataproc_batch": 1, "custom_http": 2, "dqops": 1}
"""Jobs that the tasks start; the second HTTP job is that of the @task.deferred function."""

NONE = dict.fromkeys(OURS, 0)
OWNERS = ["bigquery", "cloudrun", "dataproc", "dataproc_batch", "custom_http", "dqops", "deferred"]
WATCHERS = ["watch", "sensor", "dqops_watch"]

CANCELS = {
    "bigquery": ("bigquery", "POST", "*/jobs/*/cancel"),
    "cloudrun": ("cloud_run", "POST", "*/executions/*:cancel"),
    "dataproc": ("dataproc", "POST", "*/jobs/*:cancel"),
    "dataproc_batch": ("dataproc", "POST", "*/operations/*:cancel"),
    "custom_http": ("http_jobs", "DELETE", "/jobs/*"),
    "dqops": ("dqops", "DELETE", "*/jobs/*"),
}
LONG = 300


def cancels(cloud: Cloud) -> dict[str, int]:
    """Count the cancel requests that reached the services, by kind."""
    return {kind: len(getattr(cloud, fake).calls(method, path)) for kind, (fake, method, path) in CANCELS.items()}


def all_jobs(cloud: Cloud) -> list[Any]:
    """Every job that any service has ever started."""
    dataproc = [*cloud.dataproc.started, *cloud.dataproc.started_batches]
    return [
        *cloud.bigquery.inserted,
        *cloud.cloud_run.started,
        *dataproc,
        *cloud.http_jobs.created,
        *cloud.dqops.started,
    ]


def alive(cloud: Cloud) -> list[Any]:
    """Those that have not ended."""
    return [job for fake in cloud.all for job in fake.live()]  # type: ignore[attr-defined]


def start_watched(cloud: Cloud) -> list[dict[str, Any]]:
    """Start a job of every kind as somebody else does, over the services' own APIs; return their dicts."""

    def post(url: str, body: Any, **params: str) -> Any:
        return httpx.post(url, json=body, params=params, trust_env=False).raise_for_status().json()

    reference = {"projectId": "p", "jobId": f"watched-{len(cloud.bigquery.inserted)}", "location": "US"}
    query = {"jobReference": reference, "configuration": {"query": {"query": "SELECT watched"}}}
    post(f"{cloud.bigquery.url}/bigquery/v2/projects/p/jobs", query)
    where = {"project": "p", "region": "r"}
    post(f"{cloud.cloud_run.url}/v2/projects/p/locations/r/jobs/watched:run", {})
    job_id = f"watched-{len(cloud.dataproc.started)}"
    spark = {"mainPythonFileUri": "gs://b/x.py"}
    job = {"reference": {"projectId": "p", "jobId": job_id}, "placement": {"clusterName": "c"}, "pysparkJob": spark}
    post(f"{cloud.dataproc.url}/v1/projects/p/regions/r/jobs:submit", {"job": job})
    batch_id = f"watched-{len(cloud.dataproc.started_batches)}"
    post(f"{cloud.dataproc.url}/v1/projects/p/locations/r/batches", {"pysparkBatch": spark}, batchId=batch_id)
    url = post(f"{cloud.http_jobs.url}/jobs", {"fake": {"running": LONG}})["links"]["self"]
    checks = {"check_search_filters": {"connection": "c", "fullTableName": "s.t"}}
    dqops = post(f"{cloud.dqops.url}/api/jobs/runchecks", checks, wait="false")["jobId"]["jobId"]
    return [
        {"service_type": "bigquery", "project": "p", "job_id": reference["jobId"], "location": "US"},
        {
            "service_type": "cloudrun",
            **where,
            "job_name": "watched",
            "execution_id": cloud.cloud_run.started[-1].name.rpartition("/")[2],
        },
        {"service_type": "dataproc", **where, "job_id": job_id},
        {"service_type": "dataproc_batch", **where, "batch_id": batch_id},
        {"service_type": "custom_http", "url": url, "cancel_url": url},
        {"service_type": "dqops", "job_id": dqops},
    ]


class Run:
    """One run of a DAG whose tasks all wait, and the jobs that belong to it."""

    def __init__(self, airflow: LocalAirflow, cloud: Cloud, dag_id: str = "kinds") -> None:
        self.airflow = airflow
        self.cloud = cloud
        self.dag_id = dag_id
        for job in alive(cloud):  # of an earlier test
            job.cancel()
        self.watched_dicts = start_watched(cloud)
        self.watched = alive(cloud)
        before = set(map(id, all_jobs(cloud)))
        for fake in cloud.all:
            fake.clear_log()
        urls = {"http": cloud.http_jobs.url, "sensor": self.watched_dicts[4]["url"]}
        conf = {**urls, "jobs": self.watched_dicts, "dqops": self.watched_dicts[5]["job_id"]}
        self.run_id = airflow.trigger_dag(dag_id, conf=conf)
        for task_id in (*OWNERS, *WATCHERS):
            self.wait_until_watched(task_id)
        self.jobs = [job for job in all_jobs(cloud) if id(job) not in before]
        assert len(self.jobs) == sum(OURS.values())

    def wait_until_watched(self, task_id: str, try_number: int = 1) -> None:
        """Wait until the triggerer waits for a task's jobs: a kill before that is seen by nobody."""
        self.airflow.wait_task(self.dag_id, self.run_id, task_id, "deferred", timeout=120)
        until(
            lambda: "Waiting for " in self.airflow.log(self.dag_id, self.run_id, task_id, try_number),
            60,
            lambda: self.airflow.log(self.dag_id, self.run_id, task_id, try_number),
        )

    def logs(self) -> str:
        """Return the logs of all tasks, for the message of a test that failed."""
        return "\n".join(self.airflow.log(self.dag_id, self.run_id, t) for t in (*OWNERS, *WATCHERS))

    def assert_each_cancelled_once(self) -> None:
        """Each of our jobs ends by one cancel; those that are only watched run on."""
        until(lambda: all(job.cancelled_at is not None for job in self.jobs), 60, self.logs)
        assert cancels(self.cloud) == OURS
        assert all(job.cancelled_at is None for job in self.watched)


@pytest.fixture(autouse=True)
def _long(cloud: Cloud) -> Iterator[None]:
    """Have every job run until it is cancelled."""
    cloud.bigquery.script("every_kind", Outcome(running=LONG))
    cloud.bigquery.script("watched", Outcome(running=LONG))
    cloud.cloud_run.script(lambda _: True, ExecutionOutcome(running=LONG))
    cloud.dataproc.script(lambda _: True, DataprocOutcome(running=LONG))
    cloud.dqops.script(lambda _: True, DqopsOutcome(running=LONG))
    cloud.http_jobs.script("every", HttpOutcome(running=LONG))
    yield
    for job in alive(cloud):
        job.cancel()


@pytest.mark.parametrize("state", ["failed", "success"])
def test_marked(airflow: LocalAirflow, cloud: Cloud, state: str) -> None:
    """Marking deferred tasks failed or success cancels the jobs that they started, each once."""
    run = Run(airflow, cloud)
    for task_id in (*OWNERS, *WATCHERS):
        airflow.set_task_state("kinds", run.run_id, task_id, state)
    run.assert_each_cancelled_once()
    assert airflow.wait("kinds", run.run_id) == state


def test_run_marked_failed(airflow: LocalAirflow, cloud: Cloud) -> None:
    """Marking a whole run failed cancels the jobs of its deferred tasks, each once."""
    run = Run(airflow, cloud)
    airflow.set_run_state("kinds", run.run_id, "failed")
    run.assert_each_cancelled_once()


def test_dagrun_timeout(airflow: LocalAirflow, cloud: Cloud) -> None:
    """A run that Airflow ends by dagrun_timeout leaves none of its jobs running; each is cancelled once."""
    run = Run(airflow, cloud, "kinds_in_time")
    assert airflow.wait("kinds_in_time", run.run_id, timeout=120) == "failed"
    run.assert_each_cancelled_once()


def test_cleared(airflow: LocalAirflow, cloud: Cloud) -> None:
    """Clearing deferred tasks ends each old job, once, and starts exactly one new one after it."""
    run = Run(airflow, cloud)
    known = set(map(id, all_jobs(cloud)))
    airflow.clear("kinds", run.run_id, OWNERS)
    for task_id in OWNERS:
        run.wait_until_watched(task_id, try_number=2)
    run.assert_each_cancelled_once()
    new = [job for job in all_jobs(cloud) if id(job) not in known]
    assert len(new) == len(run.jobs)
    assert not [job for job in new if job.cancelled_at is not None]
    for old, young in zip(run.jobs, new, strict=True):
        assert type(old) is type(young)
    airflow.set_run_state("kinds", run.run_id, "failed")
    until(lambda: all(job.cancelled_at is not None for job in new), 60)


def test_triggerer_restart(airflow: LocalAirflow, cloud: Cloud) -> None:
    """A triggerer that dies and comes back cancels nothing, and every task ends with its own job."""
    run = Run(airflow, cloud)
    airflow.restart("triggerer", signal=signal.SIGTERM)
    for task_id in (*OWNERS, *WATCHERS):
        until(lambda t=task_id: airflow.log("kinds", run.run_id, t).count("Waiting for ") > 1, 90)  # type: ignore[misc]
    assert cancels(cloud) == NONE
    assert not [job for job in (*run.jobs, *run.watched) if job.cancelled_at is not None]
    airflow.set_run_state("kinds", run.run_id, "failed")
    run.assert_each_cancelled_once()
