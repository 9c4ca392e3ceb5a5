"""A job and a batch with Google's operators and with ours, as docs/migrating.md shows them; both are run."""

# [START before]
from airflow.providers.google.cloud.operators.dataproc import (  # noqa: TID251 - the old ones
    DataprocCreateBatchOperator,
    DataprocSubmitJobOperator,
)
from airflow.sdk import DAG

PYSPARK = {"main_python_file_uri": "gs://bucket/clean.py", "args": ["--day", "{{ ds }}"]}

with DAG("dataproc_before") as before:
    clean = DataprocSubmitJobOperator(
        task_id="clean",
        project_id="ork-sandbox",
        region="europe-west1",
        job={"placement": {"cluster_name": "main"}, "pyspark_job": PYSPARK},
        deferrable=True,
        polling_interval_seconds=1,
    )
    total = DataprocCreateBatchOperator(
        task_id="total",
        project_id="ork-sandbox",
        region="europe-west1",
        batch={"pyspark_batch": PYSPARK},
        batch_id="total-{{ ds_nodash }}",
        deferrable=True,
        polling_interval_seconds=1,
    )
    clean >> total
# [END before]

# [START after]
from airflow.sdk import DAG  # noqa: E402

from ork_provider.dataproc import DataprocBatchOperator, DataprocJobOperator  # noqa: E402

with DAG("dataproc_after") as after:
    clean = DataprocJobOperator(
        task_id="clean",
        project_id="ork-sandbox",
        region="europe-west1",
        job={"placement": {"cluster_name": "main"}, "pyspark_job": PYSPARK},
        poll_interval=1,
    )
    total = DataprocBatchOperator(
        task_id="total",
        project_id="ork-sandbox",
        region="europe-west1",
        batch={"pyspark_batch": PYSPARK},
        poll_interval=1,
    )
    clean >> total
# [END after]
