"""# 51.3.6 execute_complete() handler

The method that `defer()` names is where a wait becomes a result. The trigger tells what has happened, as data; the
method decides what it means: return, raise, or wait again. It runs in a worker, so that retries and callbacks work as
for any task.

## You will see

1. `execute_complete(self, context, event)`: a new process, with the context of the same try.
2. The payload of the event is processed: its status decides.
3. A value is returned and becomes the task's XCom, or an exception is raised and the task fails.
4. Several triggers, one method: after a first trigger that lost patience, the method warns, and defers to a second
   one.

## Watch

The logs of `quick`, `broken` and `slow`: three jobs, three outcomes, one operator. `slow` is purple twice.

## Expect

The run succeeds; the task `broken` fails, because its job does. `AirflowFailException` means that a retry is of no
use; any other exception would be retried. The same happens under `airflow dags test`.

## Needs

The HTTP job service behind connection `http_default`.

## Next

51.4.1 watches jobs that run for long, with the patterns that real systems need.
"""

from __future__ import annotations

import logging
import os
from datetime import datetime, timedelta
from typing import Any

from airflow.sdk import BaseOperator, dag, task
from airflow.sdk.exceptions import AirflowFailException
from lesson_51_03 import OutcomeTrigger, moment_in, start_job

PATIENCE = 4  # seconds
log = logging.getLogger(__name__)


class RunJob(BaseOperator):
    """Run a job of the HTTP service; return its output. `outcome` says what the service shall do with it."""

    def __init__(self, outcome: dict[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.outcome = outcome

    def execute(self, context: Any) -> None:
        """Start the job, and wait for it with little patience."""
        job_id = start_job("http_default", **self.outcome)
        context["ti"].xcom_push("started", {"job_id": job_id, "pid": os.getpid(), "try": context["ti"].try_number})
        trigger = OutcomeTrigger(job_id, "http_default", give_up_at=moment_in(PATIENCE))
        self.defer(trigger=trigger, method_name="execute_complete")

    def execute_complete(self, context: Any, event: dict[str, Any] | None = None) -> Any:
        """Decide what the event means."""
        ti = context["ti"]
        started = ti.xcom_pull(task_ids=self.task_id, key="started")
        log.info("(1) process %d, try %d; execute() left this: %s", os.getpid(), ti.try_number, started)
        if event is None or event["job_id"] != started["job_id"]:
            raise RuntimeError(f"An event of {started['job_id']} was expected, not {event}")
        log.info("(2) the payload: %s", event)
        match event["status"]:
            case "completed":
                log.info("(3) return %s", event["output"])
                return event["output"]
            case "late":
                self.log.warning("%s takes longer than %d s", event["job_id"], PATIENCE)
                log.info("(4) a second trigger for %s, without a limit, for the same method", event["job_id"])
                ti.xcom_push("deferrals", 2)
                self.defer(trigger=OutcomeTrigger(event["job_id"], "http_default"), method_name="execute_complete")
            case status:
                log.info("(3) raise, because the job is %s", status)
                raise AirflowFailException(f"{event['job_id']} {status}: {event.get('error')}")


@dag(
    dag_id="51_03_06_execute_complete",
    schedule=None,
    start_date=datetime(2026, 1, 1),
    tags=["reference", "core", "intermediate", "success"],
    default_args={"retries": 1, "retry_delay": timedelta(seconds=2)},
    doc_md=__doc__,
)
def lesson() -> None:
    """Run three jobs that end in three ways."""

    @task(trigger_rule="all_done")
    def report(ti: Any = None) -> None:
        """Compare the tasks with their jobs."""
        tasks = [job.task_id for job in jobs]
        states = next(iter(ti.get_task_states(dag_id=ti.dag_id, run_ids=[ti.run_id]).values()))
        returned = {name: ti.xcom_pull(task_ids=name) for name in tasks}
        log.info("(3) states %s; returned %s", {name: states[name] for name in tasks}, returned)
        deferrals = {name: ti.xcom_pull(task_ids=name, key="deferrals") or 1 for name in tasks}
        log.info("(4) triggers that woke execute_complete: %s", deferrals)
        ended = {"quick": ("success", {"rows": 3}), "broken": ("failed", None), "slow": ("success", {"rows": 1000})}
        if ended != {name: (states[name], returned[name]) for name in tasks}:
            raise RuntimeError(f"Expected {ended}")

    jobs = [
        RunJob(task_id="quick", outcome={"pending": 0, "running": 2, "output": {"rows": 3}}),
        RunJob(task_id="broken", outcome={"pending": 0, "running": 2, "outcome": "failed", "error": "disk full"}),
        RunJob(task_id="slow", outcome={"pending": 0, "running": 10, "output": {"rows": 1000}}),
    ]
    jobs >> report()


lesson()
