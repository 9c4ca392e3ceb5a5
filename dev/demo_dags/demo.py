"""The DAG of ./dev/demo: BigQuery queries and HTTP jobs, many at a time; what they run comes from the demo."""

import json
import os

from airflow.sdk import dag

from ork_provider.bigquery import BigQueryJobOperator
from ork_provider.http import HttpJobOperator

PLAN = json.loads(os.environ["ORK_DEMO"])


@dag(schedule=None)
def demo():
    """Hand every job over, give the worker back, and go on when the job is done."""
    BigQueryJobOperator.partial(
        task_id="query",
        sql=PLAN["sql"],
        max_results=100,
        poll_interval=2,
    ).expand(parameters=PLAN["parameters"])

    HttpJobOperator.partial(
        task_id="report",
        endpoint="/jobs",
        status_url="/jobs/{job_id}",
        cancel_url="/jobs/{job_id}",
        completion_field="status",
        completion_value="completed",
        failure_value=["failed", "cancelled"],
        result_field="$.output",
        poll_interval=2,
    ).expand(data=PLAN["reports"])


demo()
