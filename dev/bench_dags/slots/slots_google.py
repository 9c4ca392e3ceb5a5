"""Sensors that wait for a BigQuery job with Google's deferrable operator."""

from __future__ import annotations

import os

from airflow.providers.google.cloud.operators.bigquery import BigQueryInsertJobOperator  # noqa: TID251 - the peer
from airflow.sdk import DAG

AT_ONCE = int(os.environ.get("ORK_BENCH_AT_ONCE", "4"))
SENSORS = int(os.environ.get("ORK_BENCH_GOOGLE", "30"))

with DAG("slots_google", schedule=None, max_active_tasks=AT_ONCE):
    BigQueryInsertJobOperator.partial(
        task_id="wait", project_id="ork-sandbox", deferrable=True, poll_interval=4
    ).expand(configuration=[{"query": {"query": f"SELECT {n}", "useLegacySql": False}} for n in range(SENSORS)])
