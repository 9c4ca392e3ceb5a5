"""The DAG that opens docs/many-jobs.md; test_examples.py runs it."""

# [START exports]
from airflow.sdk import DAG, task

from ork_provider.http import HttpJob
from ork_provider.operator import WaitForJobsOperator

with DAG("exports"):

    @task
    def start(table: str) -> dict:
        from airflow.providers.http.hooks.http import HttpHook

        answer = HttpHook(method="POST").run("/jobs", json={"export": table}).json()
        return HttpJob(url=f"/jobs/{answer['id']}").to_dict()

    WaitForJobsOperator(task_id="wait", jobs=start.expand(table=["orders", "items", "customers"]))
# [END exports]
