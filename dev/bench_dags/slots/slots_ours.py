"""Sensors that wait for a BigQuery job with our operator: deferred, and in the worker."""

from __future__ import annotations

import os

from airflow.sdk import DAG

from ork_provider.bigquery import BigQueryJobOperator

AT_ONCE = int(os.environ.get("ORK_BENCH_AT_ONCE", "4"))
SENSORS = int(os.environ.get("ORK_BENCH_SENSORS", "100"))
BLOCKING = int(os.environ.get("ORK_BENCH_BLOCKING", "16"))

with DAG("slots_ours", schedule=None, max_active_tasks=AT_ONCE):
    BigQueryJobOperator.partial(task_id="wait", poll_interval=4).expand(sql=[f"SELECT {n}" for n in range(SENSORS)])

with DAG("slots_blocking", schedule=None, max_active_tasks=BLOCKING):
    BigQueryJobOperator.partial(task_id="wait", poll_interval=4, deferrable=False).expand(
        sql=[f"SELECT {n}" for n in range(BLOCKING)]
    )
