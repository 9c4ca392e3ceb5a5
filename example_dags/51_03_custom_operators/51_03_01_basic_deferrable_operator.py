"""# 51.3.1 Basic deferrable operator

A deferrable operator is an ordinary operator and a trigger. The operator has one method for before the wait and one
for after it; the trigger is the wait. This is the shortest pair that is complete: it waits some seconds.

## You will see

1. The operator inherits from `BaseOperator`, and gets templates, retries and logging from it.
2. `execute()` ends with `self.defer()`: that call raises `TaskDeferred`, and the worker slot is free.
3. The trigger that belongs to it, `MomentTrigger` in `plugins/lesson_51_03.py`, is built again in the triggerer.
4. `execute_complete()` gets the trigger's event in a worker, and returns the task's result.

## Watch

The task `wait` is purple (deferred) for most of its time. Its log has three parts: (1) and (2) from a worker, (3) from
the triggerer, (4) from a worker again. `report` compares the processes, and how long the task held a worker slot.

## Expect

The run succeeds after about 10 seconds. Under `airflow dags test` one process does all three parts.

## Next

51.3.2 looks at `defer()`: what it can carry, its timeout, and how to defer more than once.
"""

from __future__ import annotations

import logging
import os
from datetime import datetime, timedelta
from typing import Any

from airflow.sdk import BaseOperator, dag, get_current_context, task
from airflow.sdk.exceptions import TaskDeferred
from lesson_51_03 import MomentTrigger, moment_in, seconds_until
from lesson_slots import MeasuresSlot, slot_seconds, slot_spans

log = logging.getLogger(__name__)


class WaitSeconds(BaseOperator):
    """Wait some seconds; return the processes that had a part in it."""

    template_fields = ("seconds",)

    def __init__(self, seconds: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.seconds = seconds

    def execute(self, context: Any) -> None:
        """Run in a worker, until the deferral."""
        log.info("(1) BaseOperator has rendered seconds=%r; it brings retries=%d", self.seconds, self.retries)
        moment = moment_in(float(self.seconds))
        context["ti"].xcom_push("began", {"pid": os.getpid(), "moment": moment})  # to outlive this process
        try:
            self.defer(trigger=MomentTrigger(moment), method_name="execute_complete")
        except TaskDeferred as leaving:  # only to show it: leave this exception alone
            log.info(
                "(2) defer() raised %s for %r: process %d leaves", type(leaving).__name__, leaving.trigger, os.getpid()
            )
            raise

    def execute_complete(self, context: Any, event: dict[str, Any]) -> dict[str, Any]:
        """Run in a worker again, with what the trigger has said."""
        began = context["ti"].xcom_pull(task_ids=self.task_id, key="began")
        if seconds_until(began["moment"]) > 0:
            raise RuntimeError(f"Woken at {event['fired_at']}, before {began['moment']}")
        log.info("(4) the event came to process %d: %s", os.getpid(), event)
        return {"execute": began["pid"], "trigger": event["pid"], "execute_complete": os.getpid()}


class MeasuredWait(MeasuresSlot, WaitSeconds):
    """The same, and note when a worker ran it."""


@dag(
    dag_id="51_03_01_basic_deferrable_operator",
    schedule=None,
    start_date=datetime(2026, 1, 1),
    tags=["reference", "core", "intermediate", "success"],
    default_args={"retries": 1, "retry_delay": timedelta(seconds=2)},
    params={"seconds": 6},
    doc_md=__doc__,
)
def lesson() -> None:
    """Wait once."""

    @task
    def report(processes: dict[str, int]) -> None:
        """Print who did what, and the worker time."""
        spans = slot_spans(get_current_context(), "wait")
        if len(spans) != 2:
            raise RuntimeError(
                f"The task ran {len(spans)} times in a worker; once before and once after the wait expected"
            )
        lasted = spans[-1][1] - spans[0][0]
        log.info("(2) of %.1f s the task held a worker slot for %.2f s", lasted, slot_seconds(spans))
        log.info("(4) process of each part, as the task returned them: %s", processes)

    report(MeasuredWait(task_id="wait", seconds="{{ params.seconds }}").output)


lesson()
