"""Google's BigQuery operator, measured."""

from __future__ import annotations

import sys
from pathlib import Path

from airflow.providers.google.cloud.operators.bigquery import BigQueryInsertJobOperator  # noqa: TID251 - the peer
from airflow.sdk import DAG

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from measured import Measured


class Google(Measured, BigQueryInsertJobOperator):
    """BigQueryInsertJobOperator."""


with DAG("google_provider", schedule=None, max_active_tasks=1, params={"conn": "google_cloud_default"}):
    Google.partial(
        task_id="query",
        project_id="ork-sandbox",
        deferrable=True,
        poll_interval=1,
        gcp_conn_id="{{ params.conn }}",
    ).expand(configuration=[{"query": {"query": f"SELECT {n}", "useLegacySql": False}} for n in range(5)])
