"""A task whose life is timed, step by step: it starts a BigQuery job, defers, resumes and ends."""

from __future__ import annotations

from airflow.sdk import DAG

from ork_provider.bigquery import BigQueryJobOperator

with DAG("lifecycle", schedule=None, max_active_runs=100):
    BigQueryJobOperator(task_id="wait", sql="SELECT '{{ run_id }}' AS lifecycle")
