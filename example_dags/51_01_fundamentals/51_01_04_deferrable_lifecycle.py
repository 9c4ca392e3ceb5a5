"""# 51.1.4 Deferrable task lifecycle

A task that defers is started twice, and between the two starts it is a row in a table. This lesson follows one task
through its states from all sides: from within, from its trigger, and from the API that the UI uses. Then a second task
has a trigger that breaks.

## You will see

1. Running, deferred, triggered, running again: what `execute()`, the trigger and `execute_complete()` find when they
   ask Airflow for the state of their own task.
2. The states as the UI shows them: seen from beside while the task waits, and later in the audit log.
3. The trigger's row: its id, its class, and the triggerer that took it; at the end it is gone, and `cleanup()` was
   called.
4. An error in the deferred state: a worker is started only to fail with `TaskDeferralError`, and a rescue task runs.

## Watch

In the grid, `wait` turns from light green to purple and back. Open it while it is purple: its details show the
trigger's class and id, and the log has lines of worker and triggerer. Its audit log (Browse, Audit Log) has a row for
each change. In the log of `wait_broken` the traceback comes from the triggerer, and the error below it from the worker.

## Expect

`wait_broken` fails on purpose, `rescue` runs because of that, and the run succeeds after about 20 seconds. Under
`airflow dags test` the trigger runs within the task's own process: the task is `queued` meanwhile, there is no row and
no `cleanup()`, and the broken trigger fails the task at once, without `TaskDeferralError`.

## Needs

Airflow's REST API, in the connection `airflow_api`.

## Next

51.2.1 begins with the sensors that come with Airflow.
"""

from __future__ import annotations

import logging
import time
from datetime import datetime, timedelta
from typing import Any

from airflow.sdk import BaseOperator, dag, get_current_context, task, timezone
from airflow.sdk.exceptions import AirflowException, TaskDeferralError
from lesson_51_01 import LifecycleTrigger
from lesson_airflow import ask_airflow

SECONDS = 8
log = logging.getLogger(__name__)


def own_state(context: Any) -> str:
    """Ask Airflow for the state of the task that runs this."""
    ti = context["ti"]
    return str(ti.get_task_states(dag_id=ti.dag_id, run_ids=[ti.run_id])[ti.run_id][ti.task_id])


def instance_url(context: Any, task_id: str) -> str:
    """Return the path of a task of this run in the REST API."""
    ti = context["ti"]
    return f"/dags/{ti.dag_id}/dagRuns/{ti.run_id}/taskInstances/{task_id}"


def follow(context: Any, task_id: str) -> tuple[list[str], list[str]]:
    """Look at a task until it has ended; return the states and the triggers that it had, one after the other."""
    states, triggers = [""], [""]
    began = time.monotonic()
    while states[-1] not in ("success", "failed") and time.monotonic() - began < 60:
        seen = ask_airflow(instance_url(context, task_id))
        row = seen["trigger"]
        trigger = f"{row['classpath']} in row {row['id']}, triggerer {row['triggerer_id']}" if row else "none"
        for now, before in ((str(seen["state"]), states), (trigger, triggers)):
            if now != before[-1]:
                before.append(now)
        time.sleep(0.1)
    return states[1:], triggers[1:]


class WaitAndLook(BaseOperator):
    """Defer until a moment, and look at the own state before, meanwhile and afterwards."""

    template_fields = ("moment",)

    def __init__(self, moment: str, broken: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.moment = moment
        self.broken = broken

    def execute(self, context: Any) -> None:
        """Look for the first time, and defer."""
        ti = context["ti"]
        log.info("(1) execute() finds its task %s", own_state(context))
        trigger = LifecycleTrigger(self.moment, ti.dag_id, ti.run_id, ti.task_id, self.broken)
        log.info("(3) the row to be stored: %s", trigger.serialize())
        self.defer(trigger=trigger, method_name="execute_complete")

    def execute_complete(self, context: Any, event: dict[str, Any]) -> dict[str, Any]:
        """Look for the last time."""
        log.info("(1) execute_complete() finds its task %s; the trigger said %s", own_state(context), event)
        return event

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Any) -> Any:
        """Be called by Airflow instead of `execute()` in every later start: here for what an error looks like."""
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except TaskDeferralError as exc:
            last = (next_kwargs or {}).get("traceback", [""])[-1].strip()
            log.info(
                "(4) started to run %s, not execute_complete: %s: %s: %s", next_method, type(exc).__name__, exc, last
            )
            raise


@dag(
    dag_id="51_01_04_deferrable_lifecycle",
    schedule=None,
    start_date=datetime(2026, 1, 1),
    tags=["reference", "core", "intermediate", "success"],
    default_args={"retries": 1, "retry_delay": timedelta(seconds=2)},
    doc_md=__doc__,
)
def lesson() -> None:
    """Follow one task, and break another."""

    @task
    def choose_moment() -> str:
        """Choose when the waits shall end."""
        return str((timezone.utcnow() + timedelta(seconds=SECONDS)).isoformat())

    @task
    def watch() -> None:
        """Look at `wait` from beside, as the UI does."""
        context = get_current_context()
        if ask_airflow("/monitor/health")["triggerer"]["status"] != "healthy":
            log.info("no triggerer here, so that nothing happens beside this task; `report` has the audit log")
            return
        states, triggers = follow(context, "wait")
        log.info("(2) states of wait, seen from beside: %s", " > ".join(states))
        log.info("(3) its trigger, seen from beside: %s", " > ".join(triggers))

    @task(trigger_rule="one_failed")
    def rescue() -> None:
        """Run because the trigger broke."""
        context = get_current_context()
        broken = ask_airflow(instance_url(context, "wait_broken"))
        log.info("(4) rescue: wait_broken is %s after try %d", broken["state"], broken["try_number"])

    @task
    def report(event: dict[str, Any]) -> None:
        """Print what the audit log has, and what is left of the trigger."""
        context = get_current_context()
        ti = context["ti"]
        rows = ask_airflow("/eventLogs", dag_id=ti.dag_id, run_id=ti.run_id, task_id="wait", order_by="when")
        log.info("(2) states of wait in the audit log: %s", " > ".join(row["event"] for row in rows["event_logs"]))
        row, number = ask_airflow(instance_url(context, "wait"))["trigger"], event["trigger_id"]
        if number is None:
            log.info("(3) no triggerer here: row %s is stored, but taken by %s", row["id"], row["triggerer_id"])
            return
        cleaned = ti.xcom_pull(task_ids="wait", key="cleaned_up")
        log.info("(3) trigger %s: cleanup() was called for %s; what is left of the row: %s", number, cleaned, row)
        if row or cleaned != number:
            raise AirflowException(f"Trigger {number} was not cleaned up: {cleaned}, {row}")

    moment = choose_moment()
    wait = WaitAndLook(task_id="wait", moment=moment)
    broken = WaitAndLook(task_id="wait_broken", moment=moment, broken=True, retries=0)
    moment >> watch()
    report(wait.output)
    broken >> rescue()


lesson()
