"""Many jobs that wait: each task has started some, over HTTP and in BigQuery, and is deferred until all have ended."""

from __future__ import annotations

import json
import os
from typing import Any

from airflow.sdk import DAG, task

from ork_provider.bigquery import BigQueryJob
from ork_provider.http import HttpJob

EACH = 5
TASKS = int(os.environ.get("ORK_CHAOS_WAITING", "0")) // EACH

with DAG("waiting", schedule=None, max_active_tasks=1000, params={"http": "", "bigquery": "", "project": ""}):

    @task.deferred(poll_interval=3, retries=3)
    def wait(number: int, params: dict[str, Any] | None = None) -> Any:
        """Start the jobs; the fakes know from the tag how long each one runs."""
        import httpx

        assert params is not None
        jobs: list[dict[str, Any]] = []
        for n in range(EACH):
            tag = f"waiting-{number}-{n}"
            if n % 2:
                place = f"{params['bigquery']}/bigquery/v2/projects/{params['project']}/jobs"
                query = {"query": f"SELECT '{tag}'", "useLegacySql": False}
                reference = {"projectId": params["project"], "jobId": tag, "location": "US"}
                body = {"configuration": {"query": query}, "jobReference": reference}
                httpx.post(place, content=json.dumps(body)).raise_for_status()
                jobs.append(BigQueryJob(project=params["project"], job_id=tag, location="US").to_dict())
            else:
                answer = httpx.post(f"{params['http']}/jobs", json={"tag": tag}, headers={"Idempotency-Key": tag})
                path = f"/jobs/{answer.raise_for_status().json()['id']}"
                jobs.append(HttpJob(url=path, cancel_url=path).to_dict())
        return {"deferred": jobs}

    if TASKS:
        wait.expand(number=list(range(TASKS)))
