"""# 51.2.1 TimeSensorAsync

Wait until a time of day, without a worker. The class of this name is deprecated: today it is
`TimeSensor(deferrable=True)`, which is the same sensor with another default.

## You will see

1. What `TimeSensorAsync` still is: a `TimeSensor` that is deferrable, and a warning.
2. What `target_time` means: that time today, in the time zone of the DAG. If it is past, the wait is over at once.
3. The worker is free during the wait: one short run that defers, one that takes up the task.
4. The same wait with a blocking `TimeSensor`: one run, as long as the wait.

`target_time` is no template. A time that is known only in the run comes by mapping: `expand(target_time=...)`. Worker
seconds are those inside the operator; the start of a process comes on top, once for each run.

## Watch

In the grid, `wait_blocking` is running (light green) during its wait, and `wait_deferred` is deferred (purple). The log
of `wait_deferred` holds the triggerer's lines ("sleeping 1 second...") between those of two worker runs. `report` has
the four points.

## Expect

The run succeeds after about 15 s. `airflow dags test` runs the waits one after another, and the triggers in its own
process.

## Next

51.2.2 waits for a date and a time.
"""

from __future__ import annotations

import logging
import warnings
from datetime import datetime, time, timedelta
from typing import Any

from airflow.providers.standard.sensors.time import TimeSensor
from airflow.sdk import DAG, dag, get_current_context, task, timezone
from airflow.sdk.exceptions import AirflowException
from lesson_slots import MeasuresSlot, slot_seconds, slot_spans

WAIT = 7  # seconds
log = logging.getLogger(__name__)


class MeasuredWait(MeasuresSlot, TimeSensor):
    """A TimeSensor that returns the moment that it has waited for."""

    def execute_complete(self, context: Any, event: Any = None) -> str:
        """Take up the task in a worker; the event is the moment."""
        return str(event)


def time_in(seconds: int) -> time:
    """Return the time of day in so many seconds; a worker computes it when it starts the sensor."""
    return (timezone.utcnow() + timedelta(seconds=seconds)).time()


@dag(
    dag_id="51_02_01_time_sensor_async",
    schedule=None,
    start_date=datetime(2026, 1, 1),
    tags=["reference", "core", "beginner", "success"],
    default_args={"retries": 1, "retry_delay": timedelta(seconds=2)},
    doc_md=__doc__,
)
def lesson() -> None:
    """Wait for a time of day: in a worker, and in the triggerer."""

    @task
    def choose_waits() -> list[int]:
        """Choose how many seconds to wait."""
        return [WAIT]

    @task
    def report() -> None:
        """Print the four points."""
        context = get_current_context()
        moment = context["ti"].xcom_pull(task_ids="wait_deferred", map_indexes=0)
        blocked, deferred, past = (
            slot_spans(context, name) for name in ("wait_blocking", "wait_deferred", "wait_for_midnight")
        )
        if (len(blocked), len(deferred)) != (1, 2):
            raise AirflowException(f"Expected 1 blocking and 2 deferred worker runs, got {blocked} and {deferred}")

        from airflow.providers.standard.sensors.time import TimeSensorAsync

        with warnings.catch_warnings(record=True) as caught, DAG("probe", schedule=None):
            warnings.simplefilter("always")
            old = TimeSensorAsync(task_id="old", target_time=time(0))
        log.info("(1) TimeSensorAsync: a TimeSensor: %s, deferrable: %s", isinstance(old, TimeSensor), old.deferrable)
        log.info("(1) it warns: %s", [str(warning.message) for warning in caught])

        log.info("(2) that time of %s became %s; zone: %s", timezone.utcnow().date(), moment, context["dag"].timezone)
        log.info("(2) 00:00 is past today: that wait ended after %.1f s", past[-1][1] - past[0][0])

        (began, left), (back, ended) = deferred
        log.info(
            "(3) worker seconds: %.3f to defer, none for %.1f s, %.3f to end", left - began, back - left, ended - back
        )
        for name, spans in (("blocking", blocked), ("deferrable", deferred)):
            whole = spans[-1][1] - spans[0][0]
            held, runs = slot_seconds(spans), len(spans)
            log.info("(4) %s: a worker for %.3f of the %.1f s, in %d run(s)", name, held, whole, runs)

    times = choose_waits().map(time_in)
    waits = [
        MeasuredWait.partial(task_id="wait_blocking", poke_interval=1).expand(target_time=times),
        MeasuredWait.partial(task_id="wait_deferred", deferrable=True).expand(target_time=times),
        MeasuredWait(task_id="wait_for_midnight", target_time=time(0)),
    ]
    waits >> report()


lesson()
