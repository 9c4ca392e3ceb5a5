"""HTTP jobs: start one and fetch its result, follow a Location header, go by status codes, wait for another's.

To run it without such a service:

    python -m ork_provider.testing      # prints the connections to export, serves until Ctrl-C
    airflow dags test example_http 2026-01-31
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from airflow.sdk import Param, dag, task

from ork_provider.http import HttpJobOperator, HttpJobSensor


@dag(
    schedule="@daily",
    start_date=datetime(2026, 1, 1),
    catchup=False,
    default_args={"retries": 2, "poll_interval": 5},
    params={"job_id": Param("job-1", type="string", description="A job that somebody else has started")},
    tags=["example", "http"],
)
def example_http() -> None:
    """Run jobs behind an HTTP API; none holds a worker while it runs."""
    # [START start]
    export = HttpJobOperator(
        task_id="export",
        endpoint="/jobs",
        data={"table": "orders", "day": "{{ ds }}"},
        status_url="/jobs/{job_id}",
        result_url="/jobs/{job_id}/result",
        cancel_url="/jobs/{job_id}",
        message_field="error",
        idempotency_header="Idempotency-Key",
        timeout=timedelta(hours=1),  # then the job is cancelled, and the task fails with TimedOut
    )
    # [END start]

    # [START result]
    @task
    def use(job: dict[str, Any]) -> str:
        """Use what a job has made."""
        return f"{job['job_id']} made {job['result']}"

    use(export.output)
    # [END result]

    # [START location]
    located = HttpJobOperator(
        task_id="status_url_in_location_header",
        endpoint="/jobs",
        data={"table": "customers"},
        cancel_url="/jobs/{job_id}",
        completion_field="$.job.code",
        completion_value=2,
        failure_value=[3, 4],
        running_value=[0, 1],
    )
    # [END location]

    # [START codes]
    coded = HttpJobOperator(
        task_id="status_codes_only",
        endpoint="/jobs",
        data={"table": "items"},
        status_url="/jobs/{job_id}/poll",
        cancel_url="/jobs/{job_id}",
        completion_field=None,  # the body says nothing; 202 means running, 200 done
        running_status_codes=[202],
        success_status_codes=[200],
        failure_status_codes=[410],
    )
    # [END codes]

    # [START mapped]
    HttpJobOperator.partial(
        task_id="export_each",
        endpoint="/jobs",
        status_url="/jobs/{job_id}",
        cancel_url="/jobs/{job_id}",
        result_field="$.output.rows",
    ).expand(data=[{"table": "orders"}, {"table": "items"}])
    # [END mapped]

    # [START sensor]
    watched = HttpJobSensor(
        task_id="started_by_somebody_else",
        endpoint="/jobs/{{ params.job_id }}",
        result_field="$.output",
        timeout=timedelta(hours=6),
    )
    # [END sensor]

    export >> [located, coded] >> watched


example_http()
