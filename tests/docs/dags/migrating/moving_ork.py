"""A workflow of Ork as a DAG, as docs/migrating.md shows it; migrating_tests.py runs it."""

import os

import httpx

API = os.environ.get("JOBS_API", "https://api.example.com")

# [START functions]
from ork_provider.http import CustomHttp  # noqa: E402 - was: from ork_sdk import CustomHttp


def start_export(table: str) -> dict:
    job_id = httpx.post(f"{API}/jobs", json={"table": table}).json()["id"]
    return {"deferred": [CustomHttp(url=f"{API}/jobs/{job_id}").to_dict()], "table": table}


def report(export: dict) -> str:
    return f"{export['table']} exported"


# [END functions]
# [START after]
from datetime import timedelta  # noqa: E402

from airflow.sdk import DAG, task  # noqa: E402

with DAG("ork_exports", schedule="0 3 * * *", catchup=False) as after:
    export = task.deferred(retries=2, timeout=timedelta(hours=2))(start_export)("orders")
    task(report)(export)
# [END after]
