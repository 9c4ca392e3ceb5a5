"""API aggregation: one call for each user, a few at a time, and a report once all have been answered.

To run it, make the pool that limits the calls, `airflow pools set external_api 5 "calls"`, and trigger the DAG.
It needs a scheduler: `airflow dags test` runs one task after the other, and the report would wait for calls behind it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, task

# [START api]
with DAG("example_dependency_api", schedule=None, params={"user_ids": [1, 2, 3, 4, 5, 6]}, tags=["example"]):

    @task
    def users(params: Mapping[str, Any] | None = None) -> list[int]:
        """List whom to ask for."""
        return list(params["user_ids"]) if params else []

    @task(pool="external_api")  # the throttle: as many calls at a time as the pool has slots, over all DAGs and runs
    def fetch_users(user_id: int) -> dict[str, Any]:
        """Ask for one user; this stands for a call over the network."""
        return {"user_id": user_id, "data": {"name": f"user {user_id}"}}

    # An edge, generate_report(fetch_users.expand(...)), would wait for nothing at all: the scheduler starts no task
    # before those that it follows have ended. What this wait adds is its deadline: half an hour after its start the
    # report is skipped, however many calls still queue for the pool. Without such a need, use the edge.
    @task.dependency_wait(
        depends_on="fetch_users",  # of this DAG run
        dependency_wait={"poll_timeout": 60, "reschedule_delay": 15},
        timeout=timedelta(minutes=30),
        on_timeout="skip",
    )
    def generate_report(output: Mapping[str, Any]) -> str:
        """Name everybody who was asked for."""
        return ", ".join(user["data"]["name"] for user in output["fetch_users"])

    fetch_users.expand(user_id=users())
    generate_report()
# [END api]
