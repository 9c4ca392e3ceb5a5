"""# 51.9.5 Ignoring triggerer health

A deferred task is in no worker's hands, and fails by itself only if somebody has said when. If the triggerer is dead,
or a trigger swallows its errors, the task just stays purple: no failure, no retry, no mail. Here two tasks wait for a
service that is not there, one silently and one loudly, while a third task looks at Airflow from outside, as a monitor
should.

## You will see

1. No monitoring: what the run itself says while one of its tasks waits for nothing. No failure is in it.
2. Silent failures: one trigger forgives every error, the other one only four in a row. How long each takes to tell.
3. A task stuck deferred: only the timeout of `defer(timeout=...)` ends it. The scheduler does that, so it needs no
   triggerer.
4. Health checks and alerting: the age of the triggerer's heartbeat, and the tasks that have been deferred for too
   long, from the REST API; each finding is an alert.

## Watch

`wait_silently` stays purple for seconds, `wait_loudly` is red soon. The log of `watch` has the alerts. The lines of
the triggerer in the logs of the two waits count the errors that they have met.

## Expect

The run succeeds although `wait_loudly` fails, because its last task runs when all others are done. Under `airflow
dags test` tasks run one after the other and timeouts are ignored: `watch` does not see the others wait, and the
silent trigger ends itself after twelve seconds. If no triggerer runs, `watch` says so there, too.

## Needs

Airflow's REST API behind the connection `airflow_api`.

## Next

This was the last lesson; `example_dags/example_*.py` do all this with real services.
"""

from __future__ import annotations

import logging
import time
from datetime import datetime, timedelta
from typing import Any

from airflow.sdk import BaseOperator, dag, get_current_context, task, timezone
from airflow.sdk.exceptions import AirflowException, TaskDeferralTimeout
from lesson_51_09 import AsksDeadService, LoudTrigger, SilentTrigger
from lesson_airflow import ask_airflow

DEAD_PORT = 9  # of this machine: nobody listens there
TIMEOUT = timedelta(seconds=5)
END = 12  # seconds; without it `airflow dags test` would wait for ever
LONG = 3  # seconds in the state deferred that are worth an alert
OLD = 15  # seconds since the triggerer's last heartbeat; it beats every 5
log = logging.getLogger(__name__)


class WaitForService(BaseOperator):
    """Wait for a service with a trigger, and note how long it took until something was heard of it."""

    def __init__(self, trigger: type[AsksDeadService], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.trigger = trigger

    def execute(self, context: Any) -> None:
        """Defer, but not for ever."""
        context["ti"].xcom_push("left", time.time())
        self.defer(trigger=self.trigger(DEAD_PORT, END), method_name="execute_complete", timeout=TIMEOUT)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Any) -> Any:
        """Catch the timeout, which never reaches `execute_complete`; a real task would cancel its job and fail."""
        ti = context["ti"]
        ti.xcom_push("heard after", time.time() - ti.xcom_pull(task_ids=ti.task_id, key="left"))
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except TaskDeferralTimeout as exc:
            return {"status": repr(exc)}

    def execute_complete(self, context: Any, event: dict[str, Any]) -> dict[str, Any]:
        """Fail if the trigger says so: then retries, callbacks and alerts do what they are for."""
        context["ti"].xcom_push("told after", round(event["after"], 1))
        if event["status"] == "error":
            raise AirflowException(f"{event['errors']} errors in a row, the last one: {event['message']}")
        return event


def find_alerts(health: dict[str, Any], deferred: list[dict[str, Any]]) -> list[str]:
    """Return what somebody should know: a triggerer that does not beat, and tasks that wait for too long."""
    alerts = []
    beat = health["triggerer"]["latest_triggerer_heartbeat"]
    if beat is None or seconds_since(beat) > OLD:
        alerts.append(
            f"the triggerer is {health['triggerer']['status'] or 'unknown'}, its last heartbeat was at {beat}"
        )
    for ti in deferred:
        if (age := seconds_since(ti["start_date"])) > LONG:
            owner = "in a triggerer" if ti["triggerer_job"] else "in no triggerer"
            alerts.append(f"{ti['dag_id']}.{ti['task_id']} is deferred for {age:.1f} s, {owner}")
    return alerts


def seconds_since(moment: str) -> float:
    """Return the age of a moment."""
    return (timezone.utcnow() - timezone.parse(moment)).total_seconds()


def call_somebody(context: Any) -> None:
    """Tell of a failure; yours would send a message."""
    log.info("(4) alert by on_failure_callback: %s: %s", context["ti"].task_id, context["exception"])


@dag(
    dag_id="51_09_05_ignoring_triggerer_health",
    schedule=None,
    start_date=datetime(2026, 1, 1),
    tags=["reference", "patterns", "intermediate", "anti-pattern"],
    default_args={"retries": 1, "retry_delay": timedelta(seconds=2)},
    doc_md=__doc__,
)
def lesson() -> None:
    """Wait for nothing, twice, and look at it."""

    @task
    def watch() -> None:
        """Look every half second, until there is something to tell or nothing has been there for a while."""
        ti = get_current_context()["ti"]
        run = f"/dags/{ti.dag_id}/dagRuns/{ti.run_id}"
        alerts: list[str] = []
        for _ in range(16):
            health = ask_airflow("/monitor/health")
            deferred = ask_airflow(f"{run}/taskInstances", state="deferred")["task_instances"]
            if alerts := find_alerts(health, deferred):
                break
            time.sleep(0.5)
        state, try_number = (ask_airflow(f"{run}/taskInstances/wait_silently")[key] for key in ("state", "try_number"))
        log.info("(1) the run is %s, wait_silently is %s in try %s", ask_airflow(run)["state"], state, try_number)
        for alert in alerts or ["none: nothing was deferred for long while this task ran"]:
            log.info("(4) alert: %s", alert)

    @task(trigger_rule="all_done")
    def report(silent: dict[str, Any]) -> None:
        """Say how long it took until somebody heard of the dead service."""
        ti = get_current_context()["ti"]
        tasks = ("wait_silently", "wait_loudly")
        waits = {task_id: round(ti.xcom_pull(task_ids=task_id, key="heard after"), 1) for task_id in tasks}
        if silent["status"] == "success":
            raise ValueError(f"Something listens at port {DEAD_PORT} of this machine: {silent}")
        told = {task_id: ti.xcom_pull(task_ids=task_id, key="told after") for task_id in tasks}
        log.info(
            "(2) seconds until the trigger told its task (None: never): %s; until the task ran again: %s", told, waits
        )
        stuck = "(3) wait_silently was stuck for %s s, then it ended with %s%s"
        never = "" if "Timeout" in silent["status"] else f"; its timeout of {TIMEOUT} never came: `dags test` has none"
        log.info(stuck, waits["wait_silently"], silent["status"], never)

    silent = WaitForService(task_id="wait_silently", trigger=SilentTrigger)
    loud = WaitForService(task_id="wait_loudly", trigger=LoudTrigger, retries=0, on_failure_callback=call_somebody)
    [watch(), loud] >> report(silent.output)


lesson()
