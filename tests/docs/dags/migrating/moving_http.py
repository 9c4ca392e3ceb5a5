"""A job behind an HTTP API with Airflow's operators and with ours, as docs/migrating.md shows them; both are run."""

# [START before]
import json

from airflow.providers.http.operators.http import HttpOperator
from airflow.providers.http.sensors.http import HttpSensor
from airflow.sdk import DAG

JOB = "/jobs/{{ ti.xcom_pull(task_ids='start') }}"

with DAG("http_before") as before:
    start = HttpOperator(
        task_id="start",
        endpoint="/jobs",
        data=json.dumps({"table": "orders"}),
        headers={"Content-Type": "application/json"},
        response_filter=lambda response: response.json()["id"],
    )
    wait = HttpSensor(
        task_id="wait",
        endpoint=JOB,
        response_check=lambda response: response.json()["status"] == "completed",
        poke_interval=1,
        timeout=3600,
    )
    result = HttpOperator(
        task_id="result",
        method="GET",
        endpoint=f"{JOB}/result",
        response_filter=lambda response: response.json(),
    )
    start >> wait >> result
# [END before]

# [START after]
from airflow.sdk import DAG  # noqa: E402

from ork_provider.http import HttpJobOperator  # noqa: E402

with DAG("http_after") as after:
    HttpJobOperator(
        task_id="export",
        endpoint="/jobs",
        data={"table": "orders"},
        status_url="/jobs/{job_id}",
        completion_value="completed",
        result_url="/jobs/{job_id}/result",
        cancel_url="/jobs/{job_id}",
        poll_interval=1,
        timeout=3600,
    )
# [END after]
