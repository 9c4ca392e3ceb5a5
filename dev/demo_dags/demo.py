"""The DAG of ./dev/demo: jobs of every kind, many at a time; what they run comes from the demo."""

import json
import os

from airflow.sdk import dag, task
from demo_services import (
    CLUSTER,
    REGION,
    start_batch,
    start_checks,
    start_cloud_run,
    start_dataproc,
    start_http,
    start_query,
)

from ork_provider.bigquery import BigQueryJobOperator
from ork_provider.cloud_run import CloudRunJobOperator
from ork_provider.dataproc import DataprocBatchOperator, DataprocJobOperator
from ork_provider.dqops import DqopsRunChecksOperator
from ork_provider.http import HttpJobOperator
from ork_provider.operator import WaitForJobsOperator

PLAN = json.loads(os.environ["ORK_DEMO"])
TABLE = {"connection": "warehouse", "full_table_name": "weather.seattle"}


def spark(figure, year):
    """Return the Spark program that finds one figure of a year's weather."""
    return {**PLAN["spark"], "args": [*PLAN["spark"]["args"], f"--figure={figure}", f"--year={year}"]}


@dag(schedule=None, default_args={"poll_interval": 2})
def demo():
    """Hand every job over, give the worker back, and go on when the job is done."""
    BigQueryJobOperator.partial(
        task_id="query",
        sql=PLAN["sql"],
        max_results=100,
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
    ).expand(data=PLAN["reports"])

    CloudRunJobOperator(
        task_id="cloud_run",
        region=REGION,
        job_name="weather",
        overrides={"args": ["--figure=rain"], "task_count": PLAN["years"]},  # each task takes a year
    )
    DataprocJobOperator(
        task_id="dataproc", region=REGION, cluster_name=CLUSTER, job={"pysparkJob": spark("heat", 2013)}
    )
    DataprocBatchOperator(task_id="dataproc_batch", region=REGION, batch={"pysparkBatch": spark("wind", 2014)})
    DqopsRunChecksOperator(task_id="dqops", **TABLE, fail_at_severity="error", min_executed_checks=1)

    @task.deferred
    def deferred():
        """Start two jobs of different kinds; the task is done when both are."""
        yield start_batch(spark("heat", 2015))
        yield start_http({"report": "of the year"})

    @task
    def start_five():
        """Start five jobs of different kinds, and wait for none of them."""
        return [
            start_query(PLAN["query"]),
            start_cloud_run("weather", ["--figure=wind"], PLAN["years"]),
            start_dataproc(spark("rain", 2014)),
            start_http({"report": "of the month"}),
            start_checks(**TABLE),
        ]

    deferred()
    WaitForJobsOperator(task_id="wait_for_five", jobs=start_five())


demo()
