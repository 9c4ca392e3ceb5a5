"""The DAGs of tests/e2e/test_jobs.py; each is driven by its run's conf."""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, Param, task

from ork_provider.bigquery import BigQueryJobOperator
from ork_provider.http import HttpJobOperator, HttpJobSensor

HTTP = {
    "endpoint": "/jobs",
    "status_url": "/jobs/{job_id}",
    "cancel_url": "/jobs/{job_id}",
    "idempotency_header": "Idempotency-Key",
    "failure_value": ["failed", "cancelled"],
    "message_field": "error",
    "poll_interval": 0.5,
}


def note(context: Any) -> None:
    """Leave a trace of an on_failure callback."""
    ti = context["ti"]
    Path(context["params"]["trace"]).write_text(f"{ti.task_id} failed: {context.get('exception')}")


with DAG("success", schedule=None, params={"n": 1}):
    query = BigQueryJobOperator(
        task_id="query",
        sql="SELECT @n AS success",
        parameters={"n": "{{ params.n }}"},
        max_results=5,
        poll_interval=0.5,
    )
    report = HttpJobOperator(
        task_id="report",
        **HTTP,
        data={"fake": {"running": 1, "output": {"job": "{{ ti.xcom_pull(task_ids='query')['job_id'] }}"}}},
        result_field="$.output",
    )
    watch = HttpJobSensor(
        task_id="watch",
        endpoint="{{ ti.xcom_pull(task_ids='report')['url'] }}",
        result_field="$.output.job",
        poll_interval=0.5,
    )
    query >> report >> watch

with DAG("failure", schedule=None, params={"trace": Param("", type="string")}):
    BigQueryJobOperator(
        task_id="query",
        sql="SELECT failure",
        retries=1,
        retry_delay=timedelta(seconds=1),
        poll_interval=0.5,
        on_failure_callback=note,
    )

with DAG("mapped", schedule=None, params={"inputs": [0, 1, 2]}):

    @task
    def inputs(params: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        """List what each mapped instance queries."""
        assert params is not None
        return [{"n": n} for n in params["inputs"]]

    BigQueryJobOperator.partial(task_id="query", sql="SELECT @n AS mapped", poll_interval=0.5, max_results=1).expand(
        parameters=inputs()
    )

with DAG("long", schedule=None):
    BigQueryJobOperator(
        task_id="query",
        sql="SELECT long",
        poll_interval=0.5,
        retries=1,
        retry_delay=timedelta(seconds=1),
    )
    HttpJobOperator(task_id="http", **HTTP, data={"fake": {"running": 60}, "run": "{{ run_id }}"})

with DAG("worker_bound", schedule=None):
    BigQueryJobOperator(task_id="query", sql="SELECT worker_bound", poll_timeout=60)

with DAG("changed_between_tries", schedule=None):
    # The SQL differs from try to try, as when a user deploys a mended DAG between two tries.
    BigQueryJobOperator(
        task_id="query",
        sql="SELECT 'changed_between_tries', {{ ti.try_number }}",
        poll_interval=0.5,
        error_budget=0.5,
        retries=1,
        retry_delay=timedelta(seconds=1),
    )

with DAG("reordered", schedule=None):

    @task
    def order(ti: Any = None) -> list[dict[str, Any]]:
        """List the inputs; the other way round when the task was cleared."""
        names = ["a", "b", "c"]
        return [{"name": name} for name in (names if ti.try_number == 1 else reversed(names))]

    BigQueryJobOperator.partial(
        task_id="query", sql="SELECT @name AS reordered", poll_interval=0.5, max_results=1
    ).expand(parameters=order())

with DAG("slow_start", schedule=None):

    def dawdle(context: Any) -> None:
        """Give the test time to find and kill the worker before the submit."""
        time.sleep(8)

    BigQueryJobOperator(task_id="query", sql="SELECT slow_start", pre_execute=dawdle)

with DAG("short_jobs", schedule=None, params={"jobs": 200}):

    @task
    def numbers(params: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        """List the mapped instances' parameters."""
        assert params is not None
        return [{"n": n} for n in range(params["jobs"])]

    BigQueryJobOperator.partial(task_id="query", sql="SELECT @n AS short_job", poll_interval=1).expand(
        parameters=numbers()
    )
