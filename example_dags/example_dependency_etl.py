"""An ETL pipeline in two DAGs: one extracts four sources in parallel, the other waits for them, transforms and loads.

To run it, in any Airflow, extract first: `airflow dags test` runs one DAG at a time.

    airflow dags test example_dependency_extract 2026-01-31
    airflow dags test example_dependency_etl 2026-01-31

The two could belong to two teams. Within one DAG an edge from `extract` to `transform` would do the same for nothing:
the scheduler starts no task before those that it follows have ended.
"""

# [START etl]
from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from airflow.sdk import DAG, task

from ork_provider.dependency import TaskDependency

DAILY: dict[str, Any] = {"schedule": "@daily", "start_date": datetime(2026, 1, 1), "catchup": False}

with DAG("example_dependency_extract", **DAILY, tags=["example"]):

    @task
    def extract(source: str, ds: str | None = None) -> dict[str, Any]:
        """Fetch what one source has of the day; this stands for a slow call."""
        return {"source": source, "rows": [f"{source} of {ds}, row {n}" for n in range(len(source))]}

    extract.expand(source=["users", "orders", "products", "inventory"])

with DAG("example_dependency_etl", **DAILY, tags=["example"]):

    @task.dependency_wait(
        depends_on=TaskDependency(dag_id="example_dependency_extract", task_ids=["extract"]),  # same logical date
        dependency_wait={"poll_timeout": 30, "reschedule_delay": 10},
        timeout=timedelta(hours=6),
    )
    def transform(output: Mapping[str, Any]) -> dict[str, int]:
        """Count; `output["extract"]` is the list of what the four instances have returned, in map order."""
        return {extracted["source"]: len(extracted["rows"]) for extracted in output["extract"]}

    @task
    def load(transformed: dict[str, int]) -> str:
        """Write to the destination; this stands for it."""
        return ", ".join(f"{source}: {rows}" for source, rows in transformed.items())

    load(transform())
# [END etl]
