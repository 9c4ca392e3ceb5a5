"""The DAG of the chaos: one mapped task for each kind and ending in the plan that a file names."""

from __future__ import annotations

import json
import os
from datetime import timedelta
from itertools import groupby
from pathlib import Path
from typing import Any

from airflow.sdk import DAG

from ork_provider.bigquery import BigQueryJobOperator
from ork_provider.cloud_run import CloudRunJobOperator
from ork_provider.dataproc import DataprocBatchOperator, DataprocJobOperator
from ork_provider.dqops import DqopsRunChecksOperator
from ork_provider.http import HttpJobOperator
from ork_provider.operator import WaitForJobsOperator

PLAN = json.loads(Path(os.environ["ORK_CHAOS_PLAN"]).read_text())
TAGS = "gs://bucket/job.py"


def start(task_id: str, kind: str, works: list[dict[str, Any]], common: dict[str, Any]) -> None:
    """Make the mapped task of a kind."""
    tags = [work["tag"] for work in works]
    if kind == "bigquery":
        BigQueryJobOperator.partial(task_id=task_id, **common).expand(sql=[f"SELECT '{tag}'" for tag in tags])
    elif kind == "http":
        place = {"endpoint": "/jobs", "status_url": "/jobs/{job_id}", "cancel_url": "/jobs/{job_id}"}
        HttpJobOperator.partial(task_id=task_id, **place, idempotency_header="Idempotency-Key", **common).expand(
            data=[{"tag": tag} for tag in tags]
        )
    elif kind == "cloudrun":
        CloudRunJobOperator.partial(task_id=task_id, region="europe-west1", **common).expand_kwargs(
            [{"job_name": f"nightly-{i % 3}", "overrides": {"env": {"TAG": tag}}} for i, tag in enumerate(tags)]
        )
    elif kind == "dataproc":
        DataprocJobOperator.partial(task_id=task_id, region="us-east1", cluster_name="c", **common).expand(
            job=[{"pysparkJob": {"mainPythonFileUri": TAGS, "args": [tag]}} for tag in tags]
        )
    elif kind == "batch":
        DataprocBatchOperator.partial(task_id=task_id, region="us-east1", **common).expand(
            batch=[{"pysparkBatch": {"mainPythonFileUri": TAGS, "args": [tag]}} for tag in tags]
        )
    elif kind == "dqops":
        DqopsRunChecksOperator.partial(
            task_id=task_id, full_table_name="s.t", wait_timeout=600, cancel_on_timeout=True, **common
        ).expand(connection=tags)
    else:
        WaitForJobsOperator.partial(task_id=task_id, **common).expand(jobs=[work["jobs"] for work in works])


with DAG("chaos", schedule=None, max_active_tasks=1000):
    for task_id, group in groupby(PLAN["works"], key=lambda work: work["task_id"]):
        works = list(group)
        ending = works[0]["ending"]
        start(
            task_id,
            works[0]["kind"],
            works,
            {
                "poll_interval": PLAN["poll_interval"],
                "timeout": PLAN["timeout"] if ending == "late" else None,
                "retries": PLAN["retries"][ending],
                "retry_delay": timedelta(seconds=1),
                "max_retry_delay": timedelta(seconds=5),
                "priority_weight": 10 if ending == "late" else 1,
            },
        )
