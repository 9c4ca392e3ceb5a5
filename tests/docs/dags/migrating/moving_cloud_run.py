"""An execution with Google's operator and with ours, as docs/migrating.md shows them; migrating_tests.py runs both."""

# [START before]
from airflow.providers.google.cloud.operators.cloud_run import CloudRunExecuteJobOperator  # noqa: TID251 - the old one
from airflow.sdk import DAG

with DAG("cloud_run_before") as before:
    CloudRunExecuteJobOperator(
        task_id="nightly",
        project_id="ork-sandbox",
        region="europe-west1",
        job_name="nightly",
        overrides={"container_overrides": [{"args": ["--day={{ ds }}"]}], "task_count": 2},
        deferrable=True,
        polling_period_seconds=1,
        transport="rest",
    )
# [END before]

# [START after]
from airflow.sdk import DAG

from ork_provider.cloud_run import CloudRunJobOperator

with DAG("cloud_run_after") as after:
    CloudRunJobOperator(
        task_id="nightly",
        project_id="ork-sandbox",
        region="europe-west1",
        job_name="nightly",
        overrides={"container_overrides": [{"args": ["--day={{ ds }}"]}], "task_count": 2},
        poll_interval=1,
    )
# [END after]
