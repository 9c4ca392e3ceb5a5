"""# 51.1.2 Resource savings demonstration

Twenty tasks wait at the same time. First they wait in workers: each is a process of its own that holds a slot and
sleeps. Then the same twenty wait in the triggerer: each is one object on an event loop, and the slots are free for
work.

The slots are counted inside the tasks, from the begin of `execute()` to its end or deferral. The start of a worker's
process comes before that, once for a blocking task and twice for a deferred one; the sums in (4) have it, as measured
at the blocking ones.

## You will see

1. Twenty blocking and then twenty deferrable waits, mapped over the same moment; all of them see it.
2. Blocking mode: the slots that were held in each second of the wait, and at the busiest moment.
3. Deferrable mode: the same counts; between the twenty short starts and the twenty short ends there is nobody.
4. The difference: worker seconds, slots, and the memory that the waiting processes had for themselves.

## Watch

In the grid, `wait_blocking` has twenty light green squares and `wait_deferred` twenty purple ones. The number of
running tasks is also in Admin, Pools: `default_pool` has twenty running slots, then none. The log of `report` holds the
four points.

## Expect

The run succeeds after about 30 seconds, on a busy machine later. Twenty blocking tasks need twenty free slots (`[core]
parallelism`); with fewer they wait in rows. Under `airflow dags test` there is one process, and its tasks run one after
another: of the blocking waits the first one holds it, and the others find their moment past. The deferrable ones have
nobody to hand the wait to, so that the process waits between two short runs of the first task.

## Next

51.1.3 looks into the process that does the waiting.
"""

from __future__ import annotations

import logging
import os
import time
from datetime import datetime, timedelta
from statistics import mean
from typing import Any

import psutil
from airflow.providers.standard.sensors.date_time import DateTimeSensor, DateTimeSensorAsync
from airflow.sdk import dag, get_current_context, task, timezone
from airflow.sdk.exceptions import AirflowException
from lesson_slots import MeasuresSlot, Span, most_at_once, slot_seconds, slot_spans

WAITS = 20
log = logging.getLogger(__name__)


class BlockingWait(MeasuresSlot, DateTimeSensor):
    """Ask every second, in the worker."""

    def execute(self, context: Any) -> None:
        """Wait; note how long this process needed to start, and what memory it alone holds."""
        context["ti"].xcom_push("start", time.time() - context["ti"].start_date.timestamp())
        super().execute(context)
        context["ti"].xcom_push("memory", psutil.Process().memory_full_info().uss / 2**20)


class DeferredWait(MeasuresSlot, DateTimeSensorAsync):
    """Let the triggerer wait."""


def second_by_second(spans: list[Span]) -> list[int]:
    """Return the most slots that were held at once in each second, from the first begin to the last end."""
    begin, end = min(b for b, _ in spans), max(e for _, e in spans)
    seconds = [begin + n for n in range(int(end - begin) + 1)]
    return [most_at_once([(max(b, s), min(e, s + 1)) for b, e in spans if b < s + 1 and e > s]) for s in seconds]


@dag(
    dag_id="51_01_02_resource_savings",
    schedule=None,
    start_date=datetime(2026, 1, 1),
    tags=["reference", "core", "beginner", "success"],
    default_args={"retries": 1, "retry_delay": timedelta(seconds=2)},
    max_active_tasks=WAITS,  # the default of 16 would let four of them wait for a slot
    doc_md=__doc__,
)
def lesson() -> None:
    """Wait twenty times in workers, then twenty times in the triggerer."""

    @task
    def choose_moment() -> list[str]:
        """Choose when the waits shall end, the same moment for all; twenty starts take longer on a busy machine."""
        busy = os.getloadavg()[0] / (os.cpu_count() or 1)
        seconds = 5 + min(20, 4 * max(1, busy))
        return [(timezone.utcnow() + timedelta(seconds=seconds)).isoformat()] * WAITS

    @task
    def report(first: list[str], second: list[str]) -> None:
        """Print the four points."""
        context = get_current_context()
        blocked, deferred = slot_spans(context, "wait_blocking"), slot_spans(context, "wait_deferred")
        for name, spans, moment in (("blocking", blocked, first[0]), ("deferrable", deferred, second[0])):
            early = sum(begin < timezone.parse(moment).timestamp() for begin, _ in spans)
            log.info("(1) %s: %d of %d waits began before %s; %d starts", name, early, WAITS, moment, len(spans))
            if name == "blocking" and early < WAITS:
                log.warning("This machine is too busy, or has too few slots, for %d waits at once.", WAITS)
        busy, free = second_by_second(blocked), second_by_second(deferred)
        log.info("(2) blocking: slots held, second by second: %s", " ".join(map(str, busy)))
        log.info("(2) blocking: at most %d slots at once", most_at_once(blocked))
        log.info("(3) deferrable: slots held, second by second: %s", " ".join(map(str, free)))
        log.info("(3) deferrable: in %d of %d seconds no slot was held", free.count(0), len(free))
        if 0 not in free:
            raise AirflowException(f"The deferred tasks held slots for the whole time: {free}")
        start, memory = (mean(context["ti"].xcom_pull(task_ids="wait_blocking", key=k)) for k in ("start", "memory"))
        held = slot_seconds(blocked) + start * len(blocked)
        kept = slot_seconds(deferred) + start * len(deferred)
        log.info("(4) worker seconds, with %.2f for each start: blocking %.1f, deferrable %.1f", start, held, kept)
        log.info("(4) slots: blocking %d, deferrable %d at once", most_at_once(blocked), most_at_once(deferred))
        log.info(
            "(4) each waiting process had %.0f MB for itself: %.0f MB at once", memory, memory * most_at_once(blocked)
        )

    moments, later = choose_moment(), choose_moment.override(task_id="choose_moment_again")()
    blocking = BlockingWait.partial(task_id="wait_blocking", poke_interval=1).expand(target_time=moments)
    deferred = DeferredWait.partial(task_id="wait_deferred").expand(target_time=later)
    blocking >> later
    deferred >> report(moments, later)


lesson()
