"""# 51.1.3 Triggerer architecture

The triggerer is a component of Airflow, like the scheduler: `airflow triggerer`. It takes triggers out of the database
once a second and runs each as a coroutine. All of them share one process, one thread and one event loop: a trigger that
waits (`await`) lets the others have their turn, and that is why a waiting trigger costs almost nothing.

Here twelve tasks defer, and each trigger reports where it ran. The last one brings a thousand sleeping coroutines
along.

## You will see

1. The triggerer is a process of its own: its pid, its parent, and the pids of the workers.
2. The event loop: many waits on one thread, the computing time that they needed, and how late the latest wake-up was.
3. One process has many triggers: how many of the twelve ran at once, in how many processes.
4. How far that goes: the time until all triggers were taken, a thousand more coroutines, and the limit that you set.

## Watch

Each square of `wait` in the grid has a log with lines of the worker and, in between, of the triggerer. `airflow
triggerer` itself prints every minute how many triggers run. The log of `report` holds the four points.

## Expect

The run succeeds after about 20 seconds. With two triggerers the twelve are shared between two processes. Under `airflow
dags test` worker and trigger are one process, each trigger has an event loop of its own, and they run one after
another: there (1) shows one pid, and (3) one trigger at a time.

## Next

51.1.4 follows one task through all its states.
"""

from __future__ import annotations

import logging
import os
import time
from datetime import datetime, timedelta
from statistics import median
from typing import Any

from airflow.sdk import BaseOperator, conf, dag, task, timezone
from airflow.sdk.exceptions import AirflowException
from lesson_51_01 import CrowdTrigger
from lesson_slots import most_at_once

WAITS = 12
SLEEPERS = 1000
SECONDS = 8
log = logging.getLogger(__name__)


class WaitInACrowd(BaseOperator):
    """Defer to a trigger that reports where it ran."""

    template_fields = ("moment",)

    def __init__(self, moment: str, sleepers: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.moment = moment
        self.sleepers = sleepers

    def execute(self, context: Any) -> None:
        """Hand the wait to the triggerer."""
        log.info("worker process %s defers", os.getpid())
        context["ti"].xcom_push("worker", os.getpid())
        trigger = CrowdTrigger(self.moment, asked=time.time(), sleepers=self.sleepers)
        self.defer(trigger=trigger, method_name="execute_complete")

    def execute_complete(self, context: Any, event: dict[str, Any]) -> dict[str, Any]:
        """Pass the trigger's report on."""
        return event


@dag(
    dag_id="51_01_03_triggerer_architecture",
    schedule=None,
    start_date=datetime(2026, 1, 1),
    tags=["reference", "core", "beginner", "success"],
    default_args={"retries": 1, "retry_delay": timedelta(seconds=2)},
    max_active_tasks=WAITS,
    doc_md=__doc__,
)
def lesson() -> None:
    """Let twelve triggers meet."""

    @task
    def choose_moment() -> str:
        """Choose when the waits shall end."""
        return str((timezone.utcnow() + timedelta(seconds=SECONDS)).isoformat())

    @task
    def report(reports: list[dict[str, Any]], **context: Any) -> None:
        """Print the four points."""
        events = list(reports)  # mapped results arrive one by one
        workers = set(context["ti"].xcom_pull(task_ids="wait", key="worker"))
        spans = [one["span"] for one in events]
        at_once, waited = most_at_once(spans), sum(end - begin for begin, end in spans)
        for pid, parent in sorted({(one["pid"], one["parent"]) for one in events}):
            mine = [one for one in events if one["pid"] == pid]
            threads = len({one["thread"] for one in mine})
            log.info("(1) triggers: process %d, started by process %d; worker processes: %s", pid, parent, workers)
            log.info("(2) process %d: %d triggers on %d thread", pid, len(mine), threads)
            if mine[0]["trigger_id"] and pid in workers:
                raise AirflowException(f"Process {pid} is a worker and a triggerer: {mine[0]}")
        cpu, late = max(one["cpu"] for one in events), max(one["late"] for one in events)
        log.info("(2) %.0f seconds waited with %.2f s of computing; latest wake-up: %.3f s late", waited, cpu, late)
        processes = len({one["pid"] for one in events})
        log.info("(3) %d triggers, at most %d at once, in %d process", WAITS, at_once, processes)
        taken = sorted(one["taken_after"] for one in events)
        asked = min(one["span"][0] - one["taken_after"] for one in events)
        log.info("(4) seconds from defer() to run(): median %.2f, longest %.2f", median(taken), taken[-1])
        log.info("(4) all %d ran %.2f s after the first defer()", WAITS, max(begin for begin, _ in spans) - asked)
        last = events[-1]  # the one with the thousand
        log.info("(4) %d coroutines on one loop, begun in %.3f s", last["coroutines"], last["crowded"])
        capacity = conf.getint("triggerer", "capacity")
        log.info("(4) one triggerer takes %d ([triggerer] capacity): 10,000 need %d", capacity, -(-10_000 // capacity))

    waits = WaitInACrowd.partial(task_id="wait", moment=choose_moment()).expand(sleepers=[0] * (WAITS - 1) + [SLEEPERS])
    report(waits.output)


lesson()
