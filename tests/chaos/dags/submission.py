"""Tasks whose worker process is killed on its way through the submission of a job, at its first try."""

from __future__ import annotations

import asyncio
import os
import signal
from datetime import timedelta
from typing import Any

from airflow.sdk import DAG

from ork_provider.bigquery import BigQueryJobOperator
from ork_provider.cloud_run import CloudRunJobOperator
from ork_provider.dataproc import DataprocBatchOperator, DataprocJobOperator
from ork_provider.dqops import DqopsRunChecksOperator
from ork_provider.http import HttpJobOperator

POINTS = ("intended", "sent", "answered")
"""The intent is stored, and nothing is sent; the request is in the air; the answer is there, and is not stored."""

IN_THE_AIR = 0.6
"""Seconds after which a request has been sent for certain, and not answered yet: the fakes are slow on purpose."""


def die() -> None:
    """End this process as the out-of-memory killer does."""
    os.kill(os.getpid(), signal.SIGKILL)


def struck(operator: Any, point: str) -> Any:
    """Return an operator whose first try is killed at a point."""

    class Struck(operator):
        async def submit(self, attempt: Any, request: Any, context: Any, worker: Any) -> Any:
            first = context["ti"].try_number == 1
            if first and point == "intended":
                die()
            if first and point == "sent":
                sending = asyncio.ensure_future(super().submit(attempt, request, context, worker))
                await asyncio.sleep(IN_THE_AIR)
                assert not sending.done(), "the service has answered before the worker could be killed"
                die()
            job = await super().submit(attempt, request, context, worker)
            if first and point == "answered":
                die()
            return job

    Struck.__name__ = operator.__name__
    return Struck


SPARK = "gs://bucket/job.py"
HTTP: dict[str, Any] = {"endpoint": "/jobs", "status_url": "/jobs/{job_id}", "cancel_url": "/jobs/{job_id}"}

with DAG(
    "submission",
    schedule=None,
    max_active_tasks=100,
    default_args={"retries": 3, "retry_delay": timedelta(seconds=1), "poll_interval": 2},
):
    for point in POINTS:
        tag = f"-{point}"
        struck(BigQueryJobOperator, point)(task_id=f"bigquery{tag}", sql=f"SELECT 'bigquery{tag}'")
        struck(HttpJobOperator, point)(
            task_id=f"http{tag}", data={"tag": f"http{tag}"}, idempotency_header="Idempotency-Key", **HTTP
        )
        struck(HttpJobOperator, point)(task_id=f"keyless{tag}", data={"tag": f"keyless{tag}"}, **HTTP)
        struck(CloudRunJobOperator, point)(
            task_id=f"cloudrun{tag}",
            region="europe-west1",
            job_name="submission",
            overrides={"env": {"TAG": f"cloudrun{tag}"}},
        )
        struck(DataprocJobOperator, point)(
            task_id=f"dataproc{tag}",
            region="us-east1",
            cluster_name="c",
            job={"pysparkJob": {"mainPythonFileUri": SPARK, "args": [f"dataproc{tag}"]}},
        )
        struck(DataprocBatchOperator, point)(
            task_id=f"batch{tag}",
            region="us-east1",
            batch={"pysparkBatch": {"mainPythonFileUri": SPARK, "args": [f"batch{tag}"]}},
        )
        struck(DqopsRunChecksOperator, point)(task_id=f"dqops{tag}", connection=f"dqops{tag}", full_table_name="s.t")
