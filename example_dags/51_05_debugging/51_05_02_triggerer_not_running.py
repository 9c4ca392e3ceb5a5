"""# 51.5.2 The triggerer that is not running

Nothing in Airflow fails when no triggerer runs. Tasks defer as ever, and stay deferred. This lesson needs an Airflow
whose triggerer has been stopped, and shows what that looks like, how to notice it, and how to do without.

## You will see

1. A task that stays deferred although what it waits for has long come: nobody has taken its trigger. Only the timeout
   of the deferral ends it, because the scheduler looks after that one.
2. The health check of the API, and why the age of the last heartbeat says more: a triggerer that was killed counts as
   healthy for another 30 seconds.
3. A sensor that looks for the triggerer first, and waits in its worker when there is none.
4. What a monitor would report: no heartbeat, and triggers that nobody has taken.

## Watch

In the grid, `stuck` stays purple; its details show a trigger without a triggerer, its log ends with "Pausing task as
DEFERRED". `watch` says the same, once a second. The home page shows the triggerer's health.

## Expect

The run fails, because `stuck` does, after the 8 seconds of its timeout. With a triggerer running, `check_triggerer`
fails at once, says how to stop it, and nothing else is run. `airflow dags test` runs triggers itself, so there `stuck`
comes back at once; it fails nevertheless.

## Needs

The connection `airflow_api`, and no triggerer: `./dev/tutorial run 51.5.2 --deployed` takes care of that.

## Next

51.5.3 is about triggers that cannot be stored.
"""

from __future__ import annotations

import logging
import os
import time
from datetime import datetime, timedelta
from typing import Any

from airflow.providers.standard.sensors.date_time import DateTimeSensor
from airflow.providers.standard.triggers.temporal import DateTimeTrigger
from airflow.sdk import BaseOperator, dag, get_current_context, task, timezone
from airflow.sdk.exceptions import AirflowFailException
from lesson_51_05 import is_deployed, last_triggerer, seconds_since, silence, task_path
from lesson_airflow import ask_airflow

WAIT = 2  # seconds
LIMIT = 8
DEAD = 12  # seconds without a heartbeat; there should be one every 5
JOB = ("id", "state", "latest_heartbeat", "end_date")
log = logging.getLogger(__name__)


class Stuck(BaseOperator):
    """Wait for a moment, in a triggerer that is not there, and not for ever."""

    def execute(self, context: Any) -> None:
        """Leave the worker, which needs no triggerer."""
        moment = timezone.utcnow() + timedelta(seconds=WAIT)
        self.defer(trigger=DateTimeTrigger(moment), method_name="execute_complete", timeout=timedelta(seconds=LIMIT))

    def execute_complete(self, context: Any, event: Any = None) -> None:
        """Fail: somebody has run the trigger."""
        raise AirflowFailException(f"Nothing is stuck, the trigger was run at {event}: is this `dags test`?")


class DefersIfItCan(DateTimeSensor):
    """Wait in the triggerer if there is one, in the worker otherwise."""

    def execute(self, context: Any) -> None:
        """Look for the triggerer at every start: one request to the API."""
        if lives(triggerer := last_triggerer()):
            self.defer(trigger=DateTimeTrigger(self._moment), method_name="execute_complete")
        began = time.monotonic()
        super().execute(context)
        held, heard = time.monotonic() - began, triggerer and triggerer["latest_heartbeat"]
        log.info("(3) last heartbeat %s: waited in worker process %d, for %.1f s", heard, os.getpid(), held)

    def execute_complete(self, context: Any, event: Any = None) -> None:
        """Return after a deferral."""


def lives(triggerer: dict[str, Any] | None) -> bool:
    """Say if a triggerer has not ended, and was heard of lately."""
    return bool(triggerer) and not triggerer["end_date"] and silence(triggerer) < DEAD


def alarms() -> list[str]:
    """Return what a monitor would report: about the triggerer, and about triggers that none has taken."""
    triggerer = last_triggerer()
    heard = f"last heartbeat {silence(triggerer):.1f} s ago" if triggerer else "there has never been one"
    found = [] if lives(triggerer) else [f"no triggerer: {heard}"]
    for ti in ask_airflow("/dags/~/dagRuns/~/taskInstances", state="deferred")["task_instances"]:
        if not ti["triggerer_job"]:
            waiting = seconds_since(ti["trigger"]["created_date"])
            found.append(f"{ti['dag_id']}.{ti['task_id']}: not taken by a triggerer for {waiting:.1f} s")
    return found


@dag(
    dag_id="51_05_02_triggerer_not_running",
    schedule=None,
    start_date=datetime(2026, 1, 1),
    tags=["reference", "core", "beginner", "failure"],
    doc_md=__doc__,
)
def lesson() -> None:
    """Defer without a triggerer."""

    @task
    def check_triggerer() -> None:
        """Fail if a triggerer is running, which is when its heartbeat moves."""
        health, first = ask_airflow("/monitor/health")["triggerer"], last_triggerer()
        while lives(job := last_triggerer()):
            if job["latest_heartbeat"] != first["latest_heartbeat"]:
                raise AirflowFailException(
                    f"A triggerer is running on {job['hostname']}, heartbeat at {job['latest_heartbeat']}. Stop it and "
                    "run this again: Ctrl-C where `airflow triggerer` runs."
                )
            time.sleep(0.5)
        log.info("(2) at first the health check said %s", health)
        log.info("(2) now it says %s", ask_airflow("/monitor/health")["triggerer"])
        log.info("(2) the triggerer that was heard of last: %s", job and {name: job[name] for name in JOB})

    @task
    def watch() -> None:
        """Look at the stuck task from outside, until it is over."""
        ti = get_current_context()["ti"]
        path, seen, deadline = task_path(ti, "stuck"), 0.0, time.monotonic() + 30
        deployed = is_deployed(ti)
        while (found := ask_airflow(path))["state"] != "failed" and time.monotonic() < deadline and deployed:
            if found["state"] == "deferred":
                seen = seconds_since(found["trigger"]["created_date"])
                log.info("(1) deferred for %.1f s; the triggerer that has it: %s", seen, found["triggerer_job"])
                log.info("(4) %s", alarms())
            time.sleep(2)
        log.info("(1) it is %s, and was seen deferred for %.1f s; it waits for %d s", found["state"], seen, WAIT)
        if deployed and seen <= WAIT:
            raise AirflowFailException("`stuck` was not seen deferred for longer than it should have waited.")
        if not deployed:
            log.info("(1) %s: `dags test` runs triggers itself, so that nothing is ever stuck", found["state"])
            log.info("(4) %s", alarms())

    soon = "{{ (macros.datetime.now().astimezone() + macros.timedelta(seconds=5)).isoformat() }}"
    fallback = DefersIfItCan(task_id="fallback", target_time=soon, poke_interval=1, mode="poke")
    check_triggerer() >> [fallback, Stuck(task_id="stuck"), watch()]


lesson()
