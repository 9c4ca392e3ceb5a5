"""# 51.1.1 What is deferrable execution

A sensor that polls in a worker keeps a worker slot for as long as it waits, and does nothing with it. A deferrable one
says what it waits for, and leaves. Airflow keeps that sentence (the *trigger*) in its database; one other process (the
*triggerer*) watches for all such tasks on an event loop, and when the moment has come, a worker runs the rest.

## You will see

1. A blocking and a deferrable sensor wait equally long; both see the end.
2. The worker time that each of them held: the blocking one all of it, the deferrable one two moments.
3. Who does what: one process runs `execute()`, another the trigger, and a third the method that takes up the task.
4. When to defer: what a deferral costs and saves, from the numbers of this run, for waits of different lengths.

## Watch

In the grid, the two `wait_` tasks: light green (running) the one, purple (deferred) the other. In the log of
`ask_who_does_what` lines of the worker and of the triggerer are merged; `report` holds the four points.

## Expect

The run succeeds after about 15 seconds. Under `airflow dags test` the waits come one after the other, all three parts
of (3) are one process, because there is no triggerer, and a deferral costs next to nothing.

## Next

51.1.2 has twenty waits instead of one.
"""

from __future__ import annotations

import logging
import os
import time
from datetime import datetime, timedelta
from typing import Any

from airflow.providers.standard.sensors.date_time import DateTimeSensor, DateTimeSensorAsync
from airflow.sdk import BaseOperator, dag, get_current_context, task
from airflow.sdk.exceptions import AirflowException
from lesson_51_01 import ReportingTrigger
from lesson_slots import MeasuresSlot, slot_seconds, slot_spans

UNTIL = "{{ (macros.datetime.now().astimezone() + macros.timedelta(seconds=8)).isoformat() }}"  # rendered at each start
log = logging.getLogger(__name__)


class BlockingWait(MeasuresSlot, DateTimeSensor):
    """Ask every second, in the worker."""


class DeferredWait(MeasuresSlot, DateTimeSensorAsync):
    """Let the triggerer wait."""


class AskWhoDoesWhat(BaseOperator):
    """Defer once; return the processes that had a part in it, and the seconds between the parts."""

    template_fields = ("moment",)

    def __init__(self, moment: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.moment = moment

    def execute(self, context: Any) -> None:
        """Run in a worker, until the deferral; `defer()` does not return."""
        log.info("process %s runs execute(), and defers", os.getpid())
        context["ti"].xcom_push("start", time.time() - context["ti"].start_date.timestamp())
        self.defer(
            trigger=ReportingTrigger(self.moment, asked=time.time()),
            method_name="execute_complete",
            kwargs={"began_in": os.getpid()},  # `dags test` loses these
        )

    def execute_complete(self, context: Any, event: dict[str, Any], began_in: int | None = None) -> dict[str, Any]:
        """Run in a worker again, with what the trigger has said."""
        return {
            "processes": {"execute": began_in, "trigger": event["pid"], "execute_complete": os.getpid()},
            "to_triggerer": event["began"] - event["asked"],
            "to_worker": time.time() - event["ended"],
        }


@dag(
    dag_id="51_01_01_deferrable_execution_intro",
    schedule=None,
    start_date=datetime(2026, 1, 1),
    tags=["reference", "core", "beginner", "success"],
    default_args={"retries": 1, "retry_delay": timedelta(seconds=2)},
    doc_md=__doc__,
)
def lesson() -> None:
    """Wait in three ways."""

    @task
    def report(asked: dict[str, Any]) -> None:
        """Print the four points."""
        context = get_current_context()
        blocked, deferred = slot_spans(context, "wait_blocking"), slot_spans(context, "wait_deferred")
        log.info(
            "(1) seconds from the begin of each wait to its end: blocking %.1f, deferrable %.1f",
            blocked[-1][1] - blocked[0][0],
            deferred[-1][1] - deferred[0][0],
        )
        held, kept = slot_seconds(blocked), slot_seconds(deferred)
        if kept >= held:
            raise AirflowException(
                f"The deferrable wait held a worker for {kept:.1f} s, the blocking one {held:.1f} s."
            )
        runs = len(blocked), len(deferred)
        log.info(
            "(2) worker seconds held: blocking %.1f in %d run, deferrable %.2f in %d", held, runs[0], kept, runs[1]
        )
        log.info("(3) process of each part: %s", asked["processes"])
        start = context["ti"].xcom_pull(task_ids="ask_who_does_what", key="start")
        out, back = asked["to_triggerer"], asked["to_worker"]
        log.info(
            "(4) seconds: start of a worker %.2f, deferral to trigger %.2f, event to worker %.2f", start, out, back
        )
        for seconds in (1, 10, 3600):
            saved = seconds - kept - start  # a deferred task is started twice
            verdict = "defer" if saved > out + back else "wait in the worker"
            log.info(
                "(4) a wait of %d s: saves %.1f s of a worker, is %.1f s late: %s", seconds, saved, out + back, verdict
            )

    waits = [
        BlockingWait(task_id="wait_blocking", target_time=UNTIL, poke_interval=1, mode="poke"),
        DeferredWait(task_id="wait_deferred", target_time=UNTIL),
    ]
    ask = AskWhoDoesWhat(task_id="ask_who_does_what", moment=UNTIL)
    waits >> report(ask.output)


lesson()
