"""Cloud Run jobs: arguments and variables of the day, many tasks, one execution per input, a job with a sidecar.

To run it without a cloud, with a program of your own in the place of the job ``nightly``:

    python -m ork_provider.testing --cloud-run-job nightly='python nightly.py'   # prints the connections to export
    airflow dags test example_cloud_run 2026-01-31
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from airflow.sdk import dag, task

from ork_provider.cloud_run import CloudRunJobOperator


@dag(
    schedule="@daily",
    start_date=datetime(2026, 1, 1),
    catchup=False,
    default_args={"retries": 2, "poll_interval": 5},
    tags=["example", "cloud run"],
)
def example_cloud_run() -> None:
    """Run Cloud Run jobs in several ways; none holds a worker while it runs."""
    # [START day]
    nightly = CloudRunJobOperator(
        task_id="nightly",
        region="europe-west1",
        job_name="nightly",
        overrides={"args": ["--day={{ ds }}"], "env": {"TARGET": "warehouse"}},
    )
    # [END day]

    # [START report]
    @task
    def report(job: dict[str, Any]) -> str:
        """Say how the tasks of an execution went, and where their output is."""
        stats = job["stats"]
        tasks = f"{stats['succeeded']} of {stats['task_count']} tasks, {stats['retried']} retried"
        return f"{tasks}, {stats['duration_seconds']} s: {stats['log_uri']}"

    report(nightly.output)
    # [END report]

    # [START tasks]
    shards = CloudRunJobOperator(
        task_id="shards",
        region="europe-west1",
        job_name="import-shards",
        overrides={"task_count": 50, "timeout": timedelta(minutes=30)},  # the timeout of each task of the execution
        timeout=timedelta(hours=2),  # then the execution is cancelled, and the task fails with TimedOut
    )
    # [END tasks]

    # [START mapped]
    countries = CloudRunJobOperator.partial(
        task_id="countries",
        region="europe-west1",
        job_name="import-country",
    ).expand(overrides=[{"env": {"COUNTRY": country}} for country in ("de", "fr", "pl")])
    # [END mapped]

    # [START container]
    export = CloudRunJobOperator(
        task_id="export",
        region="europe-west1",
        job_name="export",
        overrides={"container": "exporter", "args": ["--day={{ ds }}"]},  # not its database proxy
    )

    [shards, countries] >> export
    # [END container]


example_cloud_run()
