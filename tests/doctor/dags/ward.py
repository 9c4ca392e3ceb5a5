"""The patients of tests/doctor: each DAG waits for something that does not come while the test looks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime, timedelta, timezone
from typing import Any

from airflow.providers.standard.sensors.date_time import DateTimeSensorAsync
from airflow.sdk import DAG, BaseOperator
from airflow.triggers.base import BaseTrigger, TriggerEvent
from ward_triggers import BlockingTrigger

from ork_provider.bigquery import BigQueryJobOperator
from ork_provider.http import HttpJobOperator

LATER = datetime(2100, 1, 1, tzinfo=timezone.utc)
CROWD = 60
EXPORT = {"endpoint": "/jobs", "status_url": "/jobs/{job_id}", "cancel_url": "/jobs/{job_id}"}


class TriggerOfADagFile(BaseTrigger):
    """No triggerer can import it: a DAG file is not on its path."""

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class as Airflow finds it here."""
        return f"{__name__}.TriggerOfADagFile", {}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Never run."""
        yield TriggerEvent("never")


class Defers(BaseOperator):
    """Defers with a trigger."""

    def __init__(self, *, waits_with: type[BaseTrigger], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.waits_with = waits_with

    def execute(self, context: Any) -> None:
        """Defer."""
        self.defer(trigger=self.waits_with(), method_name="execute_complete")

    def execute_complete(self, context: Any, event: Any = None) -> Any:
        """Return what the trigger has sent."""
        return event


with DAG("healthy", schedule=None):
    BigQueryJobOperator(task_id="query", sql="SELECT 1", timeout=timedelta(hours=1))
    HttpJobOperator.partial(task_id="export", **EXPORT).expand(data=[{"table": "orders"}, {"table": "items"}])
    DateTimeSensorAsync(task_id="later", target_time=LATER)

with DAG("vanishing", schedule=None):
    HttpJobOperator(task_id="export", data={"table": "orders"}, http_conn_id="vanishing", **EXPORT)

with DAG("blocked", schedule=None):
    Defers(task_id="held", waits_with=BlockingTrigger)

with DAG("in_dag_file", schedule=None):
    Defers(task_id="lost", waits_with=TriggerOfADagFile)

with DAG("deadline", schedule=None):
    HttpJobOperator(task_id="late", data={"table": "orders"}, timeout=timedelta(seconds=3), poll_interval=1, **EXPORT)

with DAG("crowd", schedule=None):
    for number in range(CROWD):  # the scheduler defers them at once, without a worker
        DateTimeSensorAsync(task_id=f"one_{number}", target_time=LATER, start_from_trigger=True)
