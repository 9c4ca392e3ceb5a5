"""The DAGs of tests/docs_airflow: tasks that stay deferred, that have ended, and that cannot go on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

from airflow.providers.standard.triggers.temporal import DateTimeTrigger
from airflow.sdk import DAG, BaseOperator, timezone
from airflow.triggers.base import BaseTrigger, TriggerEvent

from ork_provider.bigquery import BigQueryJobOperator
from ork_provider.http import HttpJobOperator
from tests.docs_airflow.triggers import BlockingTrigger, RaisingTrigger

HTTP = {"endpoint": "/jobs", "status_url": "/jobs/{job_id}", "cancel_url": "/jobs/{job_id}", "poll_interval": 1}
LONG, SHORT = {"fake": {"running": 3600}}, {"fake": {"running": 1}}
MAPPED = 3


class Defers(BaseOperator):
    """Defers to a trigger, and does nothing with its event."""

    def __init__(self, *, trigger: BaseTrigger, seconds: float | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.trigger = trigger
        self.seconds = seconds

    def execute(self, context: Any) -> None:
        """Defer."""
        timeout = None if self.seconds is None else timedelta(seconds=self.seconds)
        self.defer(trigger=self.trigger, method_name="resume", timeout=timeout)

    def resume(self, context: Any, event: Any = None) -> None:
        """End."""


class LostTrigger(BaseTrigger):
    """In a DAG file, where no triggerer can import it from."""

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """See BaseTrigger."""
        return f"{type(self).__module__}.LostTrigger", {}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Never run."""
        yield TriggerEvent({})


def in_an_hour() -> DateTimeTrigger:
    """Return a trigger of Airflow's own that waits."""
    return DateTimeTrigger(moment=timezone.utcnow() + timedelta(hours=1))


with DAG("waits", schedule=None):
    HttpJobOperator(task_id="http", **HTTP, data=LONG, timeout=timedelta(hours=2))
    BigQueryJobOperator(task_id="query", sql="SELECT 1 AS waits")
    HttpJobOperator.partial(task_id="mapped", **HTTP).expand(data=[{**LONG, "n": n} for n in range(MAPPED)])
    Defers(task_id="airflows", trigger=in_an_hour())
    Defers(task_id="overdue", trigger=in_an_hour(), seconds=1)

with DAG("ended", schedule=None):
    HttpJobOperator(task_id="http", **HTTP, data=SHORT)

with DAG("paused", schedule=None):
    HttpJobOperator(task_id="http", **HTTP, data={"fake": {"running": 12}})

with DAG("no_slot", schedule=None):
    HttpJobOperator(task_id="http", **HTTP, data={"fake": {"running": 12}}, pool="narrow")

with DAG("broken", schedule=None):
    Defers(task_id="raises", trigger=RaisingTrigger())
    Defers(task_id="blocks", trigger=BlockingTrigger())
    Defers(task_id="lost", trigger=LostTrigger())

with DAG("late", schedule=None):
    HttpJobOperator.partial(task_id="http", **HTTP).expand(data=[{**LONG, "late": n} for n in range(2)])
