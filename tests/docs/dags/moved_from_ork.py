"""Task functions of Ork under @task.deferred, as docs/many-jobs.md shows them; test_examples.py runs them."""

import os

import httpx

# [START imports]
from ork_provider.bigquery import BigQueryJob  # from ork_sdk import BigQueryJob
from ork_provider.cloud_run import CloudRunJob  # from ork_sdk import CloudRunJob
from ork_provider.http import CustomHttp  # from ork_sdk import CustomHttp

# [END imports]

API = os.environ.get("JOBS_API", "https://api.example.com")


def start_external_job() -> str:
    """Start a job behind an HTTP API; return its id."""
    return str(httpx.post(f"{API}/jobs", json={}).json()["id"])


def query(sql: str) -> str:
    """Start a query with Google's client; return its id."""
    from airflow.providers.google.cloud.hooks.bigquery import BigQueryHook  # noqa: TID251 - only this task pays for it

    return str(BigQueryHook().get_client(project_id="my-project").query(sql, location="US").job_id)


def run_cloudrun_job(name: str) -> str:
    """Start an execution of a Cloud Run job; return its name."""
    path = f"/v2/projects/my-project/locations/europe-west1/jobs/{name}:run"
    started = httpx.post(f"{os.environ['RUN_API']}{path}", json={}).json()
    return str(started["metadata"]["name"]).rpartition("/")[2]


# [START functions]
from airflow.sdk import DAG, task  # noqa: E402


def run_analytics():
    job_id = query("SELECT * FROM dataset.table")
    return {"deferred": [BigQueryJob(project="my-project", job_id=job_id, location="US").to_dict()]}


def trigger_external_job():
    job_id = start_external_job()
    job = CustomHttp(url=f"{API}/jobs/{job_id}", method="GET", completion_field="status", completion_value="completed")
    return {"deferred": [job.to_dict()]}


def run_parallel_jobs():
    job_id = query("SELECT * FROM dataset.other")
    execution = run_cloudrun_job("nightly")
    return {
        "deferred": [
            BigQueryJob(project="my-project", job_id=job_id, location="US").to_dict(),
            CloudRunJob(
                project="my-project", region="europe-west1", job_name="nightly", execution_id=execution
            ).to_dict(),
        ]
    }


with DAG("moved_from_ork"):
    for function in (run_analytics, trigger_external_job, run_parallel_jobs):
        task.deferred(function)()
# [END functions]
