"""# 51.1.1 What is deferrable execution

A sensor that polls in a worker keeps a worker slot for as long as it waits, and does nothing with it. A deferrable one
says what it waits for, and leaves. Airflow keeps that sentence (the *trigger*) in its database; one other process (the
*triggerer*) watches for all such tasks on an event loop, and when the moment has come, a worker runs the rest.

## You will see

1. A blocking and a deferrable sensor wait for the same moment; both see it.
2. The worker time that each of them held: the blocking one all of it, the deferrable one two moments.
3. Who does what: one process runs `execute()`, another the trigger, and a third the method that takes up the task.
4. When to defer: what a deferral costs and saves, from the numbers of this run, for waits of different lengths.

## Watch

In the grid, the two `wait_` tasks: light green (running) the one, purple (deferred) the other. In the log of
`ask_who_does_what` lines of the worker and of the triggerer are merged; `report` holds the four points.

## Expect

The run succeeds. Under `airflow dags test` all three parts of (3) are one process, because there is no triggerer.

## Next

51.1.2 has twenty waits instead of one.
"""

from __future__ import annotations

import logging
import os
from datetime import datetime, timedelta
from typing import Any

from airflow.providers.standard.sensors.date_time import DateTimeSensor, DateTimeSensorAsync
from airflow.sdk import BaseOperator, dag, get_current_context, task, timezone
from lesson_51_01 import ReportingTrigger
from lesson_slots import MeasuresSlot, slot_seconds, slot_spans

WAIT = 10  # seconds
log = logging.getLogger(__name__)


class BlockingWait(MeasuresSlot, DateTimeSensor):
    """Ask every second, in the worker."""


class DeferredWait(MeasuresSlot, DateTimeSensorAsync):
    """Let the triggerer wait."""


class AskWhoDoesWhat(BaseOperator):
    """Defer once, and return the processes that had a part in it."""

    template_fields = ("moment",)

    def __init__(self, moment: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.moment = moment

    def execute(self, context: Any) -> None:
        """Run in a worker, until the deferral; `defer()` does not return."""
        self.defer(
            trigger=ReportingTrigger(self.moment),
            method_name="execute_complete",
            kwargs={"began_in": os.getpid()},  # `dags test` loses these
        )

    def execute_complete(self, context: Any, event: dict[str, Any], began_in: int | None = None) -> dict[str, Any]:
        """Run in a worker again, with what the trigger has said."""
        return {"execute": began_in, "trigger": event["pid"], "execute_complete": os.getpid()}


@dag(
    dag_id="51_01_01_deferrable_execution_intro",
    schedule=None,
    start_date=datetime(2026, 1, 1),
    tags=["reference", "core", "beginner", "success"],
    default_args={"retries": 1, "retry_delay": timedelta(seconds=2)},
    doc_md=__doc__,
)
def lesson() -> None:
    """Wait twice for one moment."""

    @task
    def choose_moment() -> str:
        """Choose when the waits shall end."""
        return str((timezone.utcnow() + timedelta(seconds=WAIT)).isoformat())

    @task
    def report(moment: str, processes: dict[str, Any]) -> None:
        """Print the four points."""
        context = get_current_context()
        blocked, deferred = slot_spans(context, "wait_blocking"), slot_spans(context, "wait_deferred")
        late = {
            name: round(spans[-1][1] - timezone.parse(moment).timestamp(), 1)
            for name, spans in (("blocking", blocked), ("deferred", deferred))
        }
        log.info("(1) both waited for %s; seconds from then to their ends: %s", moment, late)
        held, kept = slot_seconds(blocked), slot_seconds(deferred)
        log.info(
            "(2) worker seconds held: blocking %.1f in %d run, deferred %.2f in %d",
            held,
            len(blocked),
            kept,
            len(deferred),
        )
        log.info("(3) process of each part: %s", processes)
        for seconds in (1, 10, 3600):
            saved = seconds - kept
            log.info(
                "(4) a wait of %d s: deferring saves %.1f worker seconds: %s",
                seconds,
                saved,
                "defer" if saved > 5 else "wait in the worker, two task starts cost more than it saves",
            )

    moment = choose_moment()
    waits = [
        BlockingWait(task_id="wait_blocking", target_time=moment, poke_interval=1, mode="poke"),
        DeferredWait(task_id="wait_deferred", target_time=moment),
    ]
    ask = AskWhoDoesWhat(task_id="ask_who_does_what", moment=moment)
    waits >> report(moment, ask.output)


lesson()
