"""Dataproc: a PySpark job on a cluster, a restartable one, a serverless batch, a batch per table.

To run it without a cloud, over a folder that holds ``clean.py``, ``stream.py``, ``sum.py`` and ``export.py``, which are
then run by the Python that serves:

    python -m ork_provider.testing --dataproc-files      # prints the connections to export, serves until Ctrl-C
    airflow dags test example_dataproc 2026-01-31 --conf '{"bucket": "file:///path/of/the/folder"}'
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from airflow.sdk import Param, dag, task

from ork_provider.dataproc import DataprocBatchOperator, DataprocJobOperator

REGION = "europe-west1"


@dag(
    schedule="@daily",
    start_date=datetime(2026, 1, 1),
    catchup=False,
    default_args={"retries": 2, "poll_interval": 5, "region": REGION},
    params={"bucket": Param("gs://my-bucket", type="string", description="Where the programs are")},
    tags=["example", "dataproc"],
)
def example_dataproc() -> None:
    """Run Dataproc jobs and batches; none holds a worker while it runs."""
    # [START job]
    clean = DataprocJobOperator(
        task_id="clean",
        cluster_name="etl",
        job={
            "pysparkJob": {
                "mainPythonFileUri": "{{ params.bucket }}/clean.py",
                "args": ["--day", "{{ ds }}"],
                "properties": {"spark.executor.memory": "4g"},
            }
        },
        timeout=timedelta(hours=2),  # then the job is cancelled, and the task fails with TimedOut
    )
    # [END job]

    # [START report]
    @task
    def report(job: dict[str, Any]) -> str:
        """Say how long a job took and where its output is."""
        return f"{job['stats']['duration_seconds']} s, see {job['stats']['driver_output_uri']}"

    report(clean.output)
    # [END report]

    # [START restartable]
    stream = DataprocJobOperator(
        task_id="stream",
        job={  # as Google's DataprocSubmitJobOperator takes it
            "placement": {"cluster_name": "etl"},
            "pyspark_job": {"main_python_file_uri": "{{ params.bucket }}/stream.py"},
            "scheduling": {"max_failures_per_hour": 3, "max_failures_total": 10},
        },
    )
    # [END restartable]

    # [START batch]
    total = DataprocBatchOperator(
        task_id="total",
        batch={
            "pysparkBatch": {"mainPythonFileUri": "{{ params.bucket }}/sum.py", "args": ["{{ ds }}"]},
            "runtimeConfig": {"version": "2.2", "properties": {"spark.executor.instances": "2"}},
            "environmentConfig": {"executionConfig": {"ttl": "7200s"}},
        },
        labels={"team": "weather"},
    )
    # [END batch]

    # [START mapped]
    DataprocBatchOperator.partial(task_id="export").expand(
        batch=[
            {"pysparkBatch": {"mainPythonFileUri": "{{ params.bucket }}/export.py", "args": [table]}}
            for table in ("orders", "items")
        ]
    )
    # [END mapped]

    clean >> stream >> total


example_dataproc()
