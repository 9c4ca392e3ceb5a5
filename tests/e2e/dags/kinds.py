"""The DAGs of tests/e2e/test_kinds.py: tasks that start a job of every kind, and tasks that watch those of others."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, task

from ork_provider.bigquery import BigQueryJobOperator
from ork_provider.cloud_run import CloudRunJobOperator
from ork_provider.dataproc import DataprocBatchOperator, DataprocJobOperator
from ork_provider.dqops import DqopsRunChecksOperator, DqopsWaitForJobOperator
from ork_provider.http import CustomHttp, HttpJobOperator, HttpJobSensor
from ork_provider.operator import WaitForJobsOperator

SPARK = {"mainPythonFileUri": "gs://bucket/long.py"}


def start_all() -> None:
    """Start a job of every kind, each under the name of its kind."""
    BigQueryJobOperator(task_id="bigquery", sql="SELECT every_kind", poll_interval=1)
    CloudRunJobOperator(task_id="cloudrun", region="europe-west1", job_name="every-kind", poll_interval=1)
    DataprocJobOperator(
        task_id="dataproc", region="us-east1", cluster_name="c", job={"pysparkJob": SPARK}, poll_interval=1
    )
    DataprocBatchOperator(task_id="dataproc_batch", region="us-east1", batch={"pysparkBatch": SPARK}, poll_interval=1)
    HttpJobOperator(
        task_id="custom_http",
        endpoint="/jobs",
        data={"fake": {"running": 300}, "run": "{{ run_id }}"},
        status_url="/jobs/{job_id}",
        cancel_url="/jobs/{job_id}",
        idempotency_header="Idempotency-Key",
        poll_interval=1,
    )
    DqopsRunChecksOperator(
        task_id="dqops", connection="every_kind", full_table_name="s.t", wait_timeout=600, poll_interval=1
    )

    @task.deferred(poll_interval=1)
    def deferred(params: dict[str, Any] | None = None) -> Any:
        """Start a job with a client of the user's choice."""
        import httpx

        assert params is not None
        answer = httpx.post(f"{params['http']}/jobs", json={"fake": {"running": 300}}).raise_for_status()
        url = f"{params['http']}{answer.headers['location']}"
        return {"deferred": [CustomHttp(url=url, cancel_url=url).to_dict()]}

    deferred()


def watch_all() -> None:
    """Watch jobs that somebody else has started."""
    WaitForJobsOperator(task_id="watch", jobs="{{ params.jobs | tojson }}", poll_interval=1)
    HttpJobSensor(task_id="sensor", endpoint="{{ params.sensor }}", poll_interval=1)
    DqopsWaitForJobOperator(task_id="dqops_watch", job_id="{{ params.dqops }}", wait_timeout=600, poll_interval=1)


PARAMS: dict[str, Any] = {"http": "", "jobs": [], "sensor": "", "dqops": ""}

with DAG("kinds", schedule=None, params=PARAMS):
    start_all()
    watch_all()

with DAG("kinds_in_time", schedule=None, params=PARAMS, dagrun_timeout=timedelta(seconds=60)):
    start_all()
    watch_all()

with DAG("secrets", schedule=None, params={"http": ""}):
    HttpJobOperator(
        task_id="typed",
        endpoint="{{ params.http }}/jobs",
        status_url="{{ params.http }}/jobs/{job_id}",
        headers={"X-Api-Key": os.environ.get("ORK_TEST_TYPED", ""), "X-Team": "blue"},
        data={"fake": {"running": 12}},
        poll_interval=1,
    )

    @task.deferred(poll_interval=1)
    def returned(params: dict[str, Any] | None = None) -> Any:
        """Return a job with a header that only the worker knows."""
        import httpx

        assert params is not None
        headers = {"Authorization": f"Bearer {os.environ['ORK_TEST_RETURNED']}"}
        answer = httpx.post(f"{params['http']}/jobs", json={"fake": {"running": 12}}, headers=headers)
        url = f"{params['http']}{answer.raise_for_status().headers['location']}"
        return {"deferred": [CustomHttp(url=url, headers=headers).to_dict()]}

    returned()
    DqopsRunChecksOperator(
        task_id="dqops", connection="c", full_table_name="s.t", dqops_conn_id="dqops_secret", poll_interval=1
    )
    HttpJobOperator(
        task_id="basic",
        endpoint="/jobs",
        status_url="/jobs/{job_id}",
        data={"fake": {"running": 12}},
        http_conn_id="http_secret",
        poll_interval=1,
    )
    BigQueryJobOperator(task_id="bigquery", sql="SELECT 'secrets'", gcp_conn_id="google_secret", poll_interval=1)
