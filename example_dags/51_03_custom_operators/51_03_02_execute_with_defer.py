"""# 51.3.2 execute() with defer()

`self.defer(trigger=..., method_name=..., kwargs=..., timeout=...)` says four things: what to wait for, which method
takes up the task, what that method gets besides the event, and how long the wait may take. It never returns, and each
method that takes up the task may defer again.

## You will see

1. `defer()` names the method that goes on: any method, in a new process; `self` has only what `__init__` gave it.
2. Two ways to hand something over: the trigger's own arguments, and `defer(kwargs=...)` for the method.
3. `timeout=`: the scheduler ends a wait that takes too long, and the task gets `TaskDeferralTimeout`.
4. Two stages in one task: the first method that is called back defers again.

## Watch

`two_stages` is purple twice; its log changes between worker and triggerer. In `gives_up` no method of the operator is
called after the time-out: `resume_execution()` raises, and the task would fail if it did not catch that.

## Expect

The run succeeds. The time-out is checked by the scheduler, every `[scheduler] trigger_timeout_check_interval` seconds
(default: 15), so it comes late by so much. `airflow dags test` knows neither time-outs nor `kwargs=`: there `gives_up`
waits to the end, and the method gets the default of its argument. State that must arrive goes through the trigger and
its event.

## Next

51.3.3 writes a trigger for an external system, and shows where its class must be.
"""

from __future__ import annotations

import logging
import os
import time
from datetime import datetime, timedelta
from typing import Any

from airflow.sdk import BaseOperator, dag
from airflow.sdk.configuration import conf
from airflow.sdk.exceptions import TaskDeferralTimeout
from lesson_51_03 import StageTrigger, moment_in

PATIENCE = 2  # seconds
SWEEP = conf.getint("scheduler", "trigger_timeout_check_interval", fallback=15)  # seconds between looks for time-outs
log = logging.getLogger(__name__)


class TwoStages(BaseOperator):
    """Wait twice, one wait after the other."""

    def execute(self, context: Any) -> None:
        """Defer for the first stage."""
        self.began_in = os.getpid()  # lost: the next method runs on another object, in another process
        trigger = StageTrigger("first", moment_in(3))
        log.info("(1) process %d waits for %r, then for method after_first", os.getpid(), trigger)
        self.defer(trigger=trigger, method_name="after_first", kwargs={"pid": os.getpid()})

    def after_first(self, context: Any, event: dict[str, Any], pid: int | None = None) -> None:
        """Defer again; what is known so far goes into the next trigger."""
        kept = getattr(self, "began_in", None)
        log.info("(1) process %d runs after_first; attribute set in execute(): %s", os.getpid(), kept)
        log.info("(2) by the trigger: %s; by defer(kwargs=...): pid=%s (`dags test`: None)", event["stages"], pid)
        if event["triggerer"] and (kept is not None or pid is None):
            raise RuntimeError(f"Attribute {kept}, kwargs {pid}: only kwargs should come through a deferral")
        log.info("(4) over: %s; defer() again", [stage["stage"] for stage in event["stages"]])
        self.defer(trigger=StageTrigger("second", moment_in(3), event["stages"]), method_name="after_second")

    def after_second(self, context: Any, event: dict[str, Any]) -> list[str]:
        """Return the names of the stages."""
        stages = [stage["stage"] for stage in event["stages"]]
        if stages != ["first", "second"]:
            raise RuntimeError(f"Stages {stages}")
        log.info("(4) one task, %d deferrals: %s", len(stages), event["stages"])
        return stages


class GivesUp(BaseOperator):
    """Wait for something that comes too late."""

    def execute(self, context: Any) -> None:
        """Defer with a time limit."""
        context["ti"].xcom_push("began", time.time())
        trigger = StageTrigger("too late", moment_in(PATIENCE + SWEEP + 8))
        self.defer(trigger=trigger, method_name="came_in_time", timeout=timedelta(seconds=PATIENCE))

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Any) -> Any:
        """Take up the task; after a time-out no other method is called."""
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except TaskDeferralTimeout as exc:
            waited = time.time() - context["ti"].xcom_pull(task_ids=self.task_id, key="began")
            log.info("(3) %s (%s) after %.1f s; allowed: %d s", type(exc).__name__, exc, waited, PATIENCE)
            return "gave up"

    def came_in_time(self, context: Any, event: dict[str, Any]) -> str:
        """Be called at the end of the wait, as happens only where nobody looks for time-outs."""
        if event["triggerer"]:
            raise RuntimeError(f"No time-out within {PATIENCE} + {SWEEP} + 8 s: is the scheduler alive?")
        waited = time.time() - context["ti"].xcom_pull(task_ids=self.task_id, key="began")
        log.info("(3) no scheduler here (`dags test`): waited %.1f s, though %d s were allowed", waited, PATIENCE)
        return "waited"


@dag(
    dag_id="51_03_02_execute_with_defer",
    schedule=None,
    start_date=datetime(2026, 1, 1),
    tags=["reference", "core", "intermediate", "success"],
    default_args={"retries": 1, "retry_delay": timedelta(seconds=2)},
    doc_md=__doc__,
)
def lesson() -> None:
    """Defer twice in one task, and too long in another."""
    TwoStages(task_id="two_stages")
    GivesUp(task_id="gives_up")


lesson()
