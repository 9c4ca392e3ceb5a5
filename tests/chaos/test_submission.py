"""A worker that is killed while it starts a job: there is one job, and the next try goes on with it."""

from __future__ import annotations

from collections import defaultdict

import pytest

from ork_provider.testing.local_airflow import LocalAirflow
from tests.chaos.ledger import Life, lives
from tests.chaos.monkey import Site

SLOW = 1.5
"""Seconds that the fakes think about each request."""

KINDS = ("bigquery", "http", "keyless", "cloudrun", "dataproc", "batch", "dqops")
POINTS = ("intended", "sent", "answered")
UNKNOWN = {("keyless", "intended"), ("keyless", "sent"), ("keyless", "answered")}
"""The service does not know a repeated request, so that ours is not repeated: the task fails and says so."""


@pytest.mark.timeout(300)
def test_sigkill_during_submission(site: Site) -> None:
    """Of each service and at each point: never a second job, and the retry ends with the first one's outcome."""
    airflow, cloud = site.airflow, site.cloud
    for fake in cloud.all:
        fake.latency = SLOW
    try:
        run_id = airflow.trigger_dag("submission")
        airflow.wait("submission", run_id, timeout=240)
    finally:
        for fake in cloud.all:
            fake.latency = 0.0
    jobs: dict[str, list[Life]] = defaultdict(list)
    for life in lives(cloud):
        jobs[life.tag].append(life)
    instances = {instance["task_id"]: instance for instance in airflow.task_instances("submission", run_id)}
    wrong = {}
    for kind in KINDS:
        for point in POINTS:
            task_id = f"{kind}-{point}"
            wrong[task_id] = problem(airflow, run_id, instances[task_id], jobs[task_id], (kind, point) in UNKNOWN)
    assert not any(wrong.values()), "\n".join(f"{task_id}: {found}" for task_id, found in wrong.items() if found)


def problem(airflow: LocalAirflow, run_id: str, instance: dict[str, object], jobs: list[Life], unknown: bool) -> str:
    """Say what is not as it should be."""
    said = f"{instance['state']} at try {instance['try_number']}, jobs: {jobs}"
    if unknown:
        log = airflow.log("submission", run_id, str(instance["task_id"]), try_number=2)
        good = instance["state"] == "failed" and len(jobs) <= 1 and "a job may be running that nobody knows" in log
        return "" if good else said
    if instance["state"] != "success" or instance["try_number"] != 2 or len(jobs) != 1:
        return said
    job_id = str(airflow.xcom("submission", run_id, str(instance["task_id"]))["job_id"])
    return "" if job_id.endswith(jobs[0].job_id) else f"{said}; the task's job is {job_id}"
