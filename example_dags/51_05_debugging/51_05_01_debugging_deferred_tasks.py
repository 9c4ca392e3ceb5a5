"""# 51.5.1 Debugging deferred tasks

A deferred task has no process of its own. What there is to look at: its log, in which the triggerer writes, too; its
task instance; and the row of its trigger, which says who watches for it.

## You will see

1. The triggerer's lines in the log of a task, read through the API while the task is deferred.
2. The state of the deferred task: since when, which try, which process had it last.
3. Whether its trigger is registered: which class, which triggerer has taken it, when that one was last heard of; and
   whether the class can be imported by its path.
4. Three usual failures, each provoked once: the trigger raises, it ends without an event, the operator names a method
   that is not there.

## Watch

In the grid, click `wait` while it is purple: its details show the trigger's class and the triggerer. Its log begins
with the files that it was put together from; the one with `.trigger.` in its name is the triggerer's. `inspect` asks
the API for the same. The logs of `raises` and `silent` end with a worker that was started only to fail the task.

## Expect

The run succeeds; `raises`, `silent` and `wrong_method` fail, and `report` says how. Under `airflow dags test` there is
no triggerer and no trigger row, and `inspect` says so. There a trigger that raises fails the task on the spot, and one
that is silent does not: the method is called without an event.

## Needs

The connection `airflow_api`.

## Next

51.5.2 is about the triggerer that is not there.
"""

from __future__ import annotations

import logging
import time
from datetime import datetime, timedelta
from pkgutil import resolve_name
from typing import Any

from airflow.sdk import BaseOperator, TriggerRule, dag, get_current_context, task, timezone
from airflow.sdk.exceptions import AirflowFailException
from lesson_51_05 import TellingTrigger, is_deployed, seconds_since, silence, task_path
from lesson_airflow import ask_airflow

FAULTY = {"raises": "TaskDeferralError", "silent": "TaskDeferralError", "wrong_method": "AttributeError"}
log = logging.getLogger(__name__)


class Wait(BaseOperator):
    """Wait in the triggerer for some seconds, and note what the task is taken up with."""

    def __init__(self, seconds: float, fault: str = "", method: str = "execute_complete", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.seconds = seconds
        self.fault = fault
        self.method = method

    def execute(self, context: Any) -> None:
        """Leave the worker."""
        moment = (timezone.utcnow() + timedelta(seconds=self.seconds)).isoformat()
        self.defer(trigger=TellingTrigger(moment, self.fault), method_name=self.method)

    def execute_complete(self, context: Any, event: Any = None) -> Any:
        """Return what the trigger has said."""
        return event

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Any) -> Any:
        """Every deferred task comes back through here, also one whose trigger has failed."""
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except Exception as problem:
            context["ti"].xcom_push("problem", f"{type(problem).__name__}: {problem}")
            raise


def catch_deferred(path: str, patience: float = 30) -> tuple[dict[str, Any], list[str]]:
    """Wait until a triggerer runs a task's trigger; return the task instance and the triggerer's part of its log."""
    deadline = time.monotonic() + patience
    while (found := ask_airflow(path))["state"] != "success" and time.monotonic() < deadline:
        if found["triggerer_job"]:
            log_so_far = [line["event"] for line in ask_airflow(f"{path}/logs/1")["content"]]
            if lines := [line for line in log_so_far if "trigger" in line]:
                return found, lines
        time.sleep(0.5)
    raise AirflowFailException(f"`wait` was not seen with a triggerer; it is {found['state']}. See lesson 51.5.2.")


@dag(
    dag_id="51_05_01_debugging_deferred_tasks",
    schedule=None,
    start_date=datetime(2026, 1, 1),
    tags=["reference", "core", "intermediate", "success"],
    default_args={"retries": 1, "retry_delay": timedelta(seconds=2)},
    doc_md=__doc__,
)
def lesson() -> None:
    """Look at one deferred task from another one."""

    @task
    def inspect() -> None:
        """Ask the API for the deferred task, its trigger and its log."""
        ti = get_current_context()["ti"]
        path = task_path(ti, "wait")
        if is_deployed(ti):
            found, lines = catch_deferred(path)
            trigger, triggerer = found["trigger"], found["triggerer_job"]
            for line in lines:
                log.info("(1) in the log of `wait`: %s", line)
            since = seconds_since(trigger["created_date"])
            log.info(
                "(2) %s for %.1f s; process %s has left, try %d",
                found["state"],
                since,
                found["pid"],
                found["try_number"],
            )
            heard = silence(triggerer)
            log.info(
                "(3) trigger %d is taken by triggerer %d, heard of %.1f s ago", trigger["id"], triggerer["id"], heard
            )
        else:
            log.info("(2) `dags test` runs one task at a time: `wait` is %s", ask_airflow(path)["state"])
        classpath = TellingTrigger("").serialize()[0]
        log.info("(3) %s can be imported here: %s", classpath, resolve_name(classpath))

    @task(trigger_rule=TriggerRule.ALL_DONE)
    def report() -> None:
        """Say how the faulty ones have ended."""
        ti = get_current_context()["ti"]
        states = ti.get_task_states(dag_id=ti.dag_id, run_ids=[ti.run_id])[ti.run_id]
        for task_id, error in FAULTY.items():
            problem = ti.xcom_pull(task_ids=task_id, key="problem")
            log.info("(4) %s: %s; error when it was taken up: %s", task_id, states[task_id], problem)
            if is_deployed(ti) and not str(problem).startswith(error):
                raise AirflowFailException(f"{task_id} should have been taken up with {error}, not with {problem}")

    faulty = [
        Wait(task_id="raises", seconds=5, fault="raises", retries=0),
        Wait(task_id="silent", seconds=5, fault="silent", retries=0),
        Wait(task_id="wrong_method", seconds=5, method="execute_completed", retries=0),
    ]
    [inspect(), Wait(task_id="wait", seconds=12), *faulty] >> report()


lesson()
