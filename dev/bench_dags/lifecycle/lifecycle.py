"""Tasks whose life is timed, step by step: each starts a BigQuery job, defers, resumes and ends."""

from __future__ import annotations

import os

from airflow.sdk import DAG

from ork_provider.bigquery import BigQueryJobOperator

TASKS = int(os.environ.get("ORK_BENCH_TASKS", "40"))
AT_ONCE = int(os.environ.get("ORK_BENCH_AT_ONCE", "2"))

with DAG("lifecycle", schedule=None, max_active_tasks=AT_ONCE):
    BigQueryJobOperator.partial(task_id="wait").expand(sql=[f"SELECT {n} AS lifecycle" for n in range(TASKS)])
