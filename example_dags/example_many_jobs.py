"""Many jobs in one task: jobs that any client has started, functions that start several, the fastest of two.

To run it without a cloud:

    python -m ork_provider.testing --bigquery-port 9050     # prints the connections to export, serves until Ctrl-C
    export BIGQUERY_EMULATOR_HOST=http://127.0.0.1:9050     # for Google's own client
    export AIRFLOW_CONN_HTTP_REPLICA="$AIRFLOW_CONN_HTTP_DEFAULT"
    airflow dags test example_many_jobs 2026-01-31
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from airflow.sdk import dag, task

from ork_provider.bigquery import BigQueryJob
from ork_provider.http import HttpJob
from ork_provider.operator import WaitForJobsOperator


# [START clients]
def start_query(sql: str) -> BigQueryJob:
    """Start a query with Google's own client, and do not wait for it."""
    from airflow.providers.google.cloud.hooks.bigquery import BigQueryHook  # noqa: TID251 - only this task pays for it

    hook = BigQueryHook()
    query = hook.get_client(project_id=hook.project_id).query(sql, location="EU")
    return BigQueryJob(project=query.project, job_id=query.job_id, location=query.location)


def start_export(table: str, conn_id: str = "http_default") -> HttpJob:
    """Start a job behind an HTTP API; the answer names it."""
    from airflow.providers.http.hooks.http import HttpHook

    url = f"/jobs/{HttpHook('POST', conn_id).run('/jobs', json={'export': table}).json()['id']}"
    return HttpJob(url=url, cancel_url=url, message_field="error", conn_id=conn_id)


# [END clients]


@dag(
    schedule="@daily",
    start_date=datetime(2026, 1, 1),
    catchup=False,
    default_args={"retries": 2, "poll_interval": 5},
    tags=["example"],
)
def example_many_jobs() -> None:
    """Wait for many jobs; while they run one trigger is there for each task, and no worker."""

    # [START both]
    @task
    def start_both() -> list[dict[str, Any]]:
        """Start a query and an export; an XCom holds dicts, so `to_dict()`."""
        return [start_query("SELECT COUNT(*) FROM sales.orders").to_dict(), start_export("orders").to_dict()]

    both = WaitForJobsOperator(task_id="wait_for_both", jobs=start_both(), timeout=timedelta(hours=2))
    # [END both]

    # [START report]
    @task
    def report(done: dict[str, Any]) -> str:
        """Say what the jobs have come to, in the order in which they were given."""
        return ", ".join(f"{job['service_type']} {job['state']}" for job in done["jobs"])

    report(both.output)
    # [END report]

    # [START mapped]
    @task
    def start_one(table: str) -> dict[str, Any]:
        """Start the export of one table."""
        return start_export(table).to_dict()

    exports = WaitForJobsOperator(
        task_id="wait_for_exports",
        jobs=start_one.expand(table=["orders", "items", "customers"]),
        fail_fast=True,  # fail with the first export that fails, and cancel the others
        cancel_rest=True,
    )
    # [END mapped]

    # [START fastest]
    @task
    def start_replicas() -> list[dict[str, Any]]:
        """Start the same export in two places."""
        return [start_export("orders", conn_id).to_dict() for conn_id in ("http_default", "http_replica")]

    fastest = WaitForJobsOperator(
        task_id="wait_for_the_fastest",
        jobs=start_replicas(),
        until="any",  # one success is enough
        cancel_rest=True,  # then the other one is cancelled
    )
    # [END fastest]

    # [START deferred]
    @task.deferred(poll_interval=5, timeout=timedelta(hours=2))
    def load(day: str) -> dict[str, Any]:
        """Start two jobs; the task ends when both have."""
        query = start_query(f"SELECT * FROM sales.orders WHERE day = '{day}'")
        export = start_export("items")
        return {"deferred": [query, export], "day": day}

    # [END deferred]

    # [START generator]
    @task.deferred
    def load_all(tables: list[str]) -> Iterator[HttpJob]:
        """Yield each job as soon as it is started: if the third start fails, the first two are cancelled."""
        for table in tables:
            yield start_export(table)

    # [END generator]

    [both, exports, fastest] >> load("{{ ds }}") >> load_all(["orders", "items", "customers"])


example_many_jobs()
