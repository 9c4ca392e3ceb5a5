"""# 51.2.2 DateTimeSensorAsync

Wait for a date and a time without a worker. Unlike 51.2.1 the moment is absolute, and it is a template: a task that
runs late, or in a backfill, waits for the right day. `DateTimeSensorAsync` is not deprecated; the blocking
`DateTimeSensor` has no `deferrable` parameter.

## You will see

1. The sensor in use: a worker for two moments of the wait.
2. Its parameter, which is `target_time` (there is no `target_datetime`): text or datetime, rendered as a template.
3. Time zones: one moment written for three zones, and without one, is one moment. Without a zone, it is Airflow's
   `[core] default_timezone`.
4. Long waits: what 100 waits of 30 days cost the event loop, and that the sensor's `timeout` does not end them.

## Watch

In the grid, four purple copies of `wait_everywhere`. Their logs show the triggerer's "sleeping" lines: the further away
the moment, the longer the steps (an hour, a minute, ten seconds, one). `report` has the points.

## Expect

The run succeeds after about 20 s. Under `airflow dags test` the copies run one after another; all but the first find
the moment past.

## Next

51.2.3 asks which sensors can do this.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
from datetime import datetime, timedelta
from typing import Any

import pendulum
from airflow.providers.standard.sensors.date_time import DateTimeSensor, DateTimeSensorAsync
from airflow.providers.standard.triggers.temporal import DateTimeTrigger
from airflow.sdk import dag, get_current_context, task, timezone
from airflow.sdk.exceptions import AirflowException
from lesson_slots import MeasuresSlot, slot_seconds, slot_spans

WAIT = 10  # seconds
log = logging.getLogger(__name__)


class ReportingWait(MeasuresSlot, DateTimeSensorAsync):
    """A DateTimeSensorAsync that returns the moment of which the trigger has told."""

    def execute_complete(self, context: Any, event: Any = None) -> str:
        """Take up the task in a worker; the event is the moment, in UTC."""
        return str(event)


async def wait_long(waits: int, seconds: float) -> float:
    """Let triggers wait for a day in a month, and stop after some seconds; return the CPU seconds that they took."""
    moment = timezone.utcnow() + timedelta(days=30)
    began = time.process_time()
    running = [asyncio.ensure_future(anext(DateTimeTrigger(moment=moment).run())) for _ in range(waits)]
    ended, _ = await asyncio.wait(running, timeout=seconds)
    if ended:
        raise AirflowException(f"{len(ended)} waits of 30 days ended within {seconds} s")
    for one in running:
        one.cancel()
    return time.process_time() - began


@dag(
    dag_id="51_02_02_datetime_sensor_async",
    schedule=None,
    start_date=datetime(2026, 1, 1),
    tags=["reference", "core", "beginner", "success"],
    default_args={"retries": 1, "retry_delay": timedelta(seconds=2)},
    doc_md=__doc__,
)
def lesson() -> None:
    """Wait for one moment that is written in four ways, and for one from a template."""

    @task
    def write_moment() -> list[str]:
        """Write one moment for three time zones, and in Airflow's default zone without saying so."""
        moment = pendulum.now("UTC").add(seconds=WAIT)
        zones = ["UTC", "Asia/Kolkata", "America/New_York"]
        without = timezone.make_naive(moment)  # in [core] default_timezone
        return [*(moment.in_timezone(zone).isoformat() for zone in zones), without.isoformat()]

    @task
    def report(written: list[str]) -> None:
        """Print what was seen of the waits."""
        context = get_current_context()
        spans = slot_spans(context, "wait_template")
        if len(spans) != 2:
            raise AirflowException(f"The wait has not been deferred: it was in a worker at {spans}")
        whole = spans[-1][1] - spans[0][0]
        log.info("(1) of %.1f s, a worker had the task for %.3f s in %d runs", whole, slot_seconds(spans), len(spans))
        for sensor in (DateTimeSensor, DateTimeSensorAsync):
            names = inspect.signature(sensor.__init__).parameters
            log.info("(1) %s has a parameter `deferrable`: %s", sensor.__name__, "deferrable" in names)
        try:
            DateTimeSensorAsync(task_id="probe", target_datetime="2030-01-01")
        except TypeError as exc:
            log.info("(2) with target_datetime: %s", exc)
        log.info("(2) a template gave %s", context["ti"].xcom_pull(task_ids="wait_template"))
        moments = list(context["ti"].xcom_pull(task_ids="wait_everywhere"))
        for text, moment in zip(written, moments, strict=True):
            log.info("(3) %s is %s", text, moment)
        if len(set(moments)) != 1:
            raise AirflowException(f"One moment, written in four ways, has become {set(moments)}")
        log.info("(4) timeout=1 did not end the wait of %.1f s: this sensor gives it to nobody", whole)

    @task
    def cost_of_long_waits() -> None:
        """Run the triggers of 100 long waits on an event loop, as a triggerer does."""
        cpu = asyncio.run(wait_long(100, seconds=2))
        log.info("(4) 100 waits of 30 days, watched for 2 s: %.3f CPU seconds, most of them to begin", cpu)

    written = write_moment()
    wait_everywhere = ReportingWait.partial(task_id="wait_everywhere").expand(target_time=written)
    wait_template = ReportingWait(
        task_id="wait_template", target_time="{{ dag_run.run_after + macros.timedelta(seconds=12) }}", timeout=1
    )
    [wait_everywhere, wait_template, cost_of_long_waits()] >> report(written)


lesson()
