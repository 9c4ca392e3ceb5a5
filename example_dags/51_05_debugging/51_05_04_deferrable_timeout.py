"""# 51.5.4 Timeouts of deferred tasks

Three clocks can end a wait, and they do not know of each other: the timeout of the deferral, which the scheduler looks
after; `execution_timeout`, which only a worker looks after; and a deadline that the trigger keeps itself.

## You will see

1. The timeout of a deferral, `defer(timeout=...)`: the task is taken up without its trigger having fired.
2. `execution_timeout` against that: it ends a wait in a worker, and does not end a deferred one. Airflow 3.3 does
   not look at it while a task is deferred.
3. The error that such a task is taken up with, `TaskDeferralTimeout`, and the one place to catch it:
   `resume_execution()`, because the operator's own method is never called. (Sensors make it an
   `AirflowSensorTimeout`, which is not retried.)
4. Cleaning up: the job is cancelled, by hand in the one operator, by `HttpJobOperator(timeout=...)` in the other.

## Watch

The logs of the four tasks before `report`; in that of `trigger_timeout` the triggerer says that the trigger was
cancelled. `report` compares them.

## Expect

The run succeeds; `execution_timeout_in_worker` and `job_timeout` fail, as they should. `airflow dags test` ignores the
timeout of a deferral: the trigger fires when it is done itself, and the lines say so. `execution_timeout` in a worker
and the deadline of `HttpJobOperator` hold there, too.

## Needs

The connection `http_default` (a job service).

## Next

51.8.1 tests a trigger without Airflow.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Any

from airflow.providers.http.hooks.http import HttpHook
from airflow.providers.standard.sensors.date_time import DateTimeSensor, DateTimeSensorAsync
from airflow.sdk import BaseOperator, TriggerRule, dag, get_current_context, task, timezone
from airflow.sdk.exceptions import AirflowFailException, TaskDeferralTimeout
from lesson_51_05 import TimedJobTrigger, seconds_since
from lesson_slots import MeasuresSlot, slot_spans

from ork_provider.http import HttpJobOperator

WAIT = 18  # seconds
LIMIT = 3
JOB = {"fake": {"pending": 0, "running": 120}}
log = logging.getLogger(__name__)


class BlockingWait(MeasuresSlot, DateTimeSensor):
    """Ask every second, in the worker."""


class DeferredWait(MeasuresSlot, DateTimeSensorAsync):
    """Let the triggerer wait."""


class WaitForJob(BaseOperator):
    """Start a job and wait for it, for LIMIT seconds."""

    def execute(self, context: Any) -> None:
        """Note the job before the deferral: after a timeout nothing else tells of it."""
        job_id, now = HttpHook("POST").run("/jobs", json=JOB).json()["id"], timezone.utcnow()
        until = (now + timedelta(seconds=WAIT)).isoformat()
        context["ti"].xcom_push("job", {"id": job_id, "began": now.isoformat()})
        log.info("(1) deferring for %d s at most; the trigger would wait until %s", LIMIT, until)
        self.defer(
            trigger=TimedJobTrigger("http_default", job_id, until),
            method_name="execute_complete",
            timeout=timedelta(seconds=LIMIT),
        )

    def execute_complete(self, context: Any, event: dict[str, Any]) -> str:
        """Run if the trigger has fired: not in an Airflow that looks at the timeout."""
        if event["in_triggerer"]:
            raise AirflowFailException(f"The timeout of {LIMIT} s did not come within {WAIT} s: {event}")
        log.info("(3) no timeout under `dags test`, so there is nothing to catch: the event is %s", event)
        return self.give_up(context, by="the trigger")

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Any) -> Any:
        """Catch the timeout where it arrives."""
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except TaskDeferralTimeout as timeout:
            log.info("(3) caught %r; the method to be called was %s", timeout, next_method)
            return self.give_up(context, by="the scheduler")  # raise instead, and Airflow retries the task

    def give_up(self, context: Any, by: str) -> str:
        """Cancel the job, and return what became of it."""
        job = context["ti"].xcom_pull(task_ids=self.task_id, key="job", map_indexes=-1)
        log.info("(1) taken up %.1f s after the deferral, by %s", seconds_since(job["began"]), by)
        status = HttpHook("DELETE").run(f"/jobs/{job['id']}").json()["status"]
        log.info("(4) %s is %s", job["id"], status)
        return str(status)


@dag(
    dag_id="51_05_04_deferrable_timeout",
    schedule=None,
    start_date=datetime(2026, 1, 1),
    tags=["reference", "core", "intermediate", "success"],
    default_args={"retries": 1, "retry_delay": timedelta(seconds=2)},
    doc_md=__doc__,
)
def lesson() -> None:
    """End four waits, each by another clock."""

    @task(trigger_rule=TriggerRule.ALL_DONE)
    def report() -> None:
        """Compare what the clocks have done."""
        context = get_current_context()
        ti = context["ti"]
        states = ti.get_task_states(dag_id=ti.dag_id, run_ids=[ti.run_id])[ti.run_id]
        blocked, deferred = (slot_spans(context, f"execution_timeout_{where}") for where in ("in_worker", "deferred"))
        in_worker, in_all = (spans[-1][1] - spans[0][0] for spans in (blocked, deferred))
        log.info("(2) execution_timeout %d s ended a wait in the worker after %.1f s", LIMIT, in_worker)
        log.info("(2) and let a deferred one go on for %.1f s", in_all)
        if in_all < LIMIT or states["execution_timeout_in_worker"] != "failed":
            raise AirflowFailException(f"Another end of these waits was expected: {states}")
        job = ti.xcom_pull(task_ids="job_timeout", key="ork_job")
        status, state = HttpHook("GET").run(job["url"]).json()["status"], states["job_timeout"]
        log.info("(4) HttpJobOperator: task %s; %s is %s, says the service", state, job["url"], status)
        if status != "cancelled":
            raise AirflowFailException("Both jobs should have been cancelled.")

    later = "{{ (macros.datetime.now().astimezone() + macros.timedelta(seconds=%d)).isoformat() }}"
    limit = timedelta(seconds=LIMIT)
    waits = [
        WaitForJob(task_id="trigger_timeout"),
        BlockingWait(
            task_id="execution_timeout_in_worker",
            target_time=later % 60,
            poke_interval=1,
            execution_timeout=limit,
            retries=0,
        ),
        DeferredWait(task_id="execution_timeout_deferred", target_time=later % (LIMIT + 2), execution_timeout=limit),
        HttpJobOperator(
            task_id="job_timeout",
            endpoint="/jobs",
            data=JOB,
            status_url="/jobs/{job_id}",
            cancel_url="/jobs/{job_id}",
            poll_interval=1,
            timeout=limit,
            retries=0,
        ),
    ]
    waits >> report()


lesson()
