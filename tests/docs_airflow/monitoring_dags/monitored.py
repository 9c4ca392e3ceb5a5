"""The DAGs of tests/docs_airflow/test_monitoring.py: together they have every metric of docs/metrics.md sent."""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, BaseOperator

from ork_provider.bigquery import BigQueryJobOperator
from ork_provider.dependency import DependencyWaitOperator, TaskDependency
from ork_provider.http import HttpJobOperator
from tests.docs_airflow.triggers import BlockingTrigger, RaisingTrigger

HTTP = {
    "endpoint": "/jobs",
    "status_url": "/jobs/{job_id}",
    "cancel_url": "/jobs/{job_id}",
    "failure_value": ["failed", "cancelled"],
    "poll_interval": 1,
}
LOOKS = {"poll_timeout": 0, "reschedule_delay": 1}


class Defers(BaseOperator):
    """Defers to any trigger."""

    def __init__(self, *, trigger: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.trigger = trigger

    def execute(self, context: Any) -> None:
        """Defer."""
        self.defer(trigger=self.trigger, method_name="execute_complete")

    def execute_complete(self, context: Any, event: Any = None) -> None:
        """End."""


with DAG("monitored", schedule=None):
    HttpJobOperator(task_id="good", **HTTP, data={"fake": {"running": 6}})
    HttpJobOperator(task_id="bad", **HTTP, data={"fake": {"running": 3, "outcome": "failed", "error": "no such table"}})
    HttpJobOperator(task_id="late", **HTTP, data={"fake": {"running": 600}}, timeout=8)
    BigQueryJobOperator(task_id="query", sql="SELECT 1", poll_interval=1)
    DependencyWaitOperator(task_id="waits", depends_on="good", dependency_wait=LOOKS, timeout=600)
    Defers(task_id="blocks", trigger=BlockingTrigger())
    Defers(task_id="raises", trigger=RaisingTrigger())

with DAG("patient", schedule=None):
    DependencyWaitOperator(
        task_id="waits",
        depends_on=TaskDependency(dag_id="monitored", run_id="never"),
        dependency_wait=LOOKS,
        timeout=600,
        fallback="reschedule",
    )
