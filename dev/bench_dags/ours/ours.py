"""Our BigQuery operator, measured."""

from __future__ import annotations

import sys
from pathlib import Path

from airflow.sdk import DAG

from ork_provider.bigquery import BigQueryJobOperator

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from measured import Measured


class Ours(Measured, BigQueryJobOperator):
    """BigQueryJobOperator."""


with DAG("ours", schedule=None, max_active_tasks=1, params={"conn": "google_cloud_default"}):
    Ours.partial(task_id="query", poll_interval=1, gcp_conn_id="{{ params.conn }}").expand(
        sql=[f"SELECT {n}" for n in range(5)]
    )
