"""# 51.5.3 Triggers that cannot be stored

A trigger travels: the worker asks it for its class path and its arguments, Airflow stores both as JSON, and the
triggerer builds a new one from them. What cannot be stored fails in the worker, at the moment of the deferral. What is
stored wrongly fails later, in the triggerer, or is not noticed at all.

## You will see

1. A trigger that holds a hook. The hook is an object in the worker's memory: it cannot be stored.
2. How that fails: in the worker, after `execute()`, with a `TypeError` that names the class. There is no trigger row,
   and the triggerer never hears of it.
3. The same wait with the trigger mended: it takes the connection's name, and makes its client in `run()`.
4. A test that sends a trigger through storage and back. It finds this mistake, and three that the worker does not: an
   argument that is forgotten, a wrong path, and a dataclass. That last one Airflow's own message proposes; Airflow
   3.3.2 stores it, every triggerer that takes it dies of a `KeyError`, and the API answers 500 for the run's tasks.

## Watch

The log of `hands_over_the_hook`: all of it is a worker's. That of `hands_over_a_name` has lines of both. The function
that `test_triggers` uses, `fault_of`, may stand in your own tests; it needs no running Airflow.

## Expect

The run fails: `hands_over_the_hook` does, and `needs_it` after it cannot run. The triggerer goes on: it runs the
next trigger. `airflow dags test` shows the same.

## Needs

The connections `http_default` (a job service) and `airflow_api`.

## Next

51.5.4 ends waits that take too long.
"""

from __future__ import annotations

import logging
import os
import traceback
from datetime import datetime, timedelta
from typing import Any

from airflow.providers.http.hooks.http import HttpHook
from airflow.sdk import BaseOperator, TriggerRule, dag, get_current_context, task, timezone
from airflow.sdk.exceptions import AirflowFailException
from airflow.triggers.base import BaseTrigger
from lesson_51_05 import (
    ForgetfulTrigger,
    HookTrigger,
    JobTrigger,
    Pace,
    PaceTrigger,
    StrayTrigger,
    fault_of,
    last_triggerer,
    silence,
    task_path,
)
from lesson_airflow import ask_airflow

log = logging.getLogger(__name__)


class WaitForJob(BaseOperator):
    """Wait for a job, with a trigger of one kind or another."""

    template_fields = ("job",)

    def __init__(self, job: dict[str, str], hand_over: Any, trigger_class: type[BaseTrigger], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.job = job
        self.hand_over = hand_over
        self.trigger_class = trigger_class

    def execute(self, context: Any) -> None:
        """Defer: Airflow calls `serialize()` only after this has been left."""
        trigger = self.trigger_class(self.hand_over, **self.job)
        kinds = {name: type(value).__name__ for name, value in trigger.serialize()[1].items()}
        log.info("(1) %s wants to store: %s", self.trigger_class.__name__, kinds)
        self.defer(trigger=trigger, method_name="execute_complete")

    def execute_complete(self, context: Any, event: dict[str, Any]) -> None:
        """Say who has waited."""
        log.info("(3) the job is %s, says process %s; this one is %s", event["status"], event["pid"], os.getpid())


def explain(context: Any) -> None:
    """Say what the error is and where it was raised: Airflow calls this in the worker, at the end of the task."""
    error = context["exception"]
    where = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
    log.info("(2) in process %d, by %s: %s: %s", os.getpid(), " > ".join(where[-4:]), type(error).__name__, error)


@dag(
    dag_id="51_05_03_trigger_serialization_errors",
    schedule=None,
    start_date=datetime(2026, 1, 1),
    tags=["reference", "core", "intermediate", "failure"],
    default_args={"retries": 1, "retry_delay": timedelta(seconds=2)},
    doc_md=__doc__,
)
def lesson() -> None:
    """Wait for one job with a trigger that cannot be stored, and with one that can."""

    @task
    def start_job() -> dict[str, str]:
        """Start a job."""
        job = HttpHook("POST").run("/jobs", json={"fake": {"running": 6}}).json()
        return {"job_id": job["id"], "until": (timezone.utcnow() + timedelta(seconds=20)).isoformat()}

    @task
    def needs_it() -> None:
        """Never run."""

    @task(trigger_rule=TriggerRule.ALL_DONE)
    def look_at_what_failed() -> None:
        """Say what Airflow knows of the task that could not defer, and how the triggerer is."""
        found = ask_airflow(task_path(get_current_context()["ti"], "hands_over_the_hook"))
        triggerer = last_triggerer()
        heard = f"heard of {silence(triggerer):.1f} s ago" if triggerer else "there is none here"
        log.info("(2) state %s, its trigger is %s; triggerer: %s", found["state"], found["trigger"], heard)
        if found["state"] != "failed" or found["trigger"]:
            raise AirflowFailException(f"The task was to fail without a trigger: {found}")

    @task
    def test_triggers(job: dict[str, str]) -> None:
        """Test each trigger as a unit test would; only the first mistake would show before production."""
        triggers = [
            HookTrigger(HttpHook("GET"), **job),
            ForgetfulTrigger("http_default", **job, pause=10),
            PaceTrigger("http_default", **job, pace=Pace(10)),
            StrayTrigger("http_default", **job),
            JobTrigger("http_default", **job),
        ]
        for trigger in triggers:
            fault = fault_of(trigger)
            log.info("(4) %s: %s", type(trigger).__name__, fault or "comes back as it was")
            if bool(fault) is (type(trigger) is JobTrigger):
                raise AirflowFailException(f"{type(trigger).__name__}: this was not expected of it")

    job = start_job()
    broken = WaitForJob(
        task_id="hands_over_the_hook",
        job=job,
        hand_over=HttpHook("GET"),
        trigger_class=HookTrigger,
        retries=0,
        on_failure_callback=explain,
    )
    mended = WaitForJob(
        task_id="hands_over_a_name",
        job=job,
        hand_over="http_default",
        trigger_class=JobTrigger,
        trigger_rule=TriggerRule.ALL_DONE,
    )
    broken >> [needs_it(), mended]
    mended >> look_at_what_failed()
    test_triggers(job)


lesson()
