"""# 51.3.3 Custom trigger class

A trigger for an external system: it asks an HTTP service about a job until the job has ended. Four parts make a
trigger, and one rule goes with them: the triggerer must be able to import the class.

## You will see

1. The class inherits from `BaseTrigger`, which gives it an id and its task. A class in a plugins folder (or an
   installed package) is found by the triggerer; one in the DAG file is not, because the triggerer does not read DAG
   files.
2. `serialize()` returns the class's path and the state to build it again: the job's id, never a client or a password.
3. `async def run()` asks, and sleeps in between.
4. It yields one `TriggerEvent` when the job has ended.

## Watch

The log of `wait_for_job`: (2) from the worker, the questions (3) from the triggerer. The task `class_in_dag_file` asks
the triggerer to load the class that stands in this file, by a trigger that does nothing else, before it defers to it.

## Expect

The run succeeds, though `class_in_dag_file` fails: that is the lesson. Under `airflow dags test` it succeeds, as
everything is one process there; so test triggers in a real Airflow.

Run the DAG with the parameter `ask_first` = false to see what Airflow makes of such a class:
`Trigger failed to load code` in the triggerer's log, `TaskDeferralError` in the task's. Airflow 3.3 does not forget
the id of such a trigger. SQLite gives the id to the next one, here the task's retry, and that never runs; its
`timeout=` ends it. Restart the triggerer afterwards, or a task of another DAG is next. Restart it also after every
change to a trigger's code: it has the old class in memory.

## Needs

The HTTP job service behind connection `http_default`.

## Next

51.3.4 is about the state: what may be in it, and what comes out.
"""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

from airflow.sdk import BaseOperator, Param, dag, task
from airflow.sdk.exceptions import AirflowFailException
from airflow.triggers.base import BaseTrigger, TriggerEvent
from lesson_51_03 import JobTrigger, LooksForClass, start_job

log = logging.getLogger(__name__)


class TriggerInDagFile(BaseTrigger):
    """A trigger like any other, at a place where only workers find it."""

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the name that this file has where it was read."""
        return f"{__name__}.TriggerInDagFile", {}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """End at once."""
        yield TriggerEvent({"pid": os.getpid()})


class WaitForJob(BaseOperator):
    """Start a job, and wait for its end."""

    def execute(self, context: Any) -> None:
        """Start the job in the worker, once; the trigger only watches, since it may be run again elsewhere."""
        trigger = JobTrigger(start_job("http_default"))
        log.info("(2) Airflow stores %s", trigger.serialize())
        self.defer(trigger=trigger, method_name="execute_complete")

    def execute_complete(self, context: Any, event: dict[str, Any]) -> dict[str, Any]:
        """Return what the trigger has seen."""
        if event["statuses"][-1] != "completed":
            raise RuntimeError(f"{event['job_id']}: {event['statuses']}")
        log.info("(4) the event that the trigger yielded: %s", event)
        return event


class DeferToDagFile(BaseOperator):
    """Defer to a class that stands in a DAG file."""

    def execute(self, context: Any) -> None:
        """Ask the triggerer for the class first; to defer to a class that it cannot load does harm (see Expect)."""
        path, _ = TriggerInDagFile().serialize()
        if context["params"]["ask_first"]:
            self.defer(trigger=LooksForClass(path), method_name="defer_if_found")
        self.defer(trigger=TriggerInDagFile(), method_name="execute_complete", timeout=timedelta(seconds=20))

    def defer_if_found(self, context: Any, event: dict[str, Any]) -> None:
        """Fail with the error that the triggerer met."""
        if event["error"]:
            context["ti"].xcom_push("error", event["error"])
            raise AirflowFailException(f"The triggerer cannot load the class: {event['error']}")
        self.defer(trigger=TriggerInDagFile(), method_name="execute_complete")

    def execute_complete(self, context: Any, event: dict[str, Any]) -> int:
        """Return the process that ran the trigger."""
        return int(event["pid"])


@dag(
    dag_id="51_03_03_custom_trigger_class",
    schedule=None,
    start_date=datetime(2026, 1, 1),
    tags=["reference", "core", "intermediate", "success"],
    default_args={"retries": 1, "retry_delay": timedelta(seconds=2)},
    params={"ask_first": Param(True, type="boolean", description="false: defer to a class that cannot be loaded")},
    doc_md=__doc__,
)
def lesson() -> None:
    """Wait with two trigger classes."""

    @task(trigger_rule="all_done")
    def report(job: dict[str, Any], ti: Any = None, params: Any = None) -> None:
        """Compare the two classes; they must differ where there is a triggerer."""
        states = next(iter(ti.get_task_states(dag_id=ti.dag_id, run_ids=[ti.run_id]).values()))
        found = {name: states[name] for name in ("wait_for_job", "class_in_dag_file")}
        error = ti.xcom_pull(task_ids="class_in_dag_file", key="error")
        log.info("(1) plugins folder and DAG file; a triggerer runs the triggers: %s; %s", job["triggerer"], found)
        log.info("(1) what the triggerer said of the class in the DAG file: %s", error)
        expected = "failed" if job["triggerer"] else "success"
        if found != {"wait_for_job": "success", "class_in_dag_file": expected}:
            raise RuntimeError(f"class_in_dag_file should have ended {expected}")
        if params["ask_first"] and bool(error) != job["triggerer"]:
            raise RuntimeError(f"class_in_dag_file ended {expected} for another reason: {error}")

    waits = WaitForJob(task_id="wait_for_job")
    in_file = DeferToDagFile(task_id="class_in_dag_file")
    in_file >> report(waits.output)


lesson()
