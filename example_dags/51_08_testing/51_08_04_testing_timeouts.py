"""# 51.8.4 Testing timeout behaviour

A deferred task has two limits. The trigger has a deadline of its own, an absolute moment among its arguments, and
tells it as an event. `defer(timeout=...)` is Airflow's net below it: the scheduler gives up on the trigger, and the
worker resumes without an event. (`execution_timeout` is not enforced while a task is deferred, as of Airflow 3.3.)
Nobody wants to wait in a test, so the test moves the clock.

## You will see

1. Both limits: the trigger's event at the deadline, Airflow's `TaskDeferralTimeout` later.
2. What is left behind: the job is cancelled by the worker, whoever has given up; the trigger's session is closed.
3. Time by hand: `time_machine` moves the clock, a replaced `sleep` moves it on; the event loop has a clock of its
   own.
4. The edges: a job that ends at the deadline, a deadline that has passed, the last pause, a restart, summer time.

## Watch

The log of `run_tests` has a line for each test. In the grid, `too_slow` fails on purpose after six seconds; `look`
asks the service what became of its job.

## Expect

`too_slow` ends failed, the run ends well: `look` runs in any case and is the last one. The limit is in the trigger,
so that it also works under `airflow dags test`, which ignores `defer(timeout=...)`.

## Needs

A job service behind the connection `http_default` (`python -m ork_provider.testing`), and for the tests `pip install
pytest pytest-asyncio time-machine`.

## Next

51.8.5 tests errors.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from airflow.sdk import TriggerRule, dag, get_current_context, task
from lesson_51_08 import JobOperator, call
from lesson_51_08_runner import tested

log = logging.getLogger(__name__)


@dag(
    dag_id="51_08_04_testing_timeouts",
    schedule=None,
    start_date=datetime(2026, 1, 1),
    tags=["reference", "core", "intermediate", "success"],
    default_args={"retries": 1, "retry_delay": timedelta(seconds=2)},
    doc_md=__doc__,
)
def lesson() -> None:
    """Run into a limit, and test it."""

    @task
    def run_tests() -> None:
        """Run the tests beside this file in a Python of their own; log what each has shown."""
        for point, shown in tested(__file__):
            log.info("(%d) %s", point, shown)

    @task(trigger_rule=TriggerRule.ALL_DONE)
    def look() -> None:
        """Ask Airflow and the service how it has ended."""
        ti = get_current_context()["ti"]
        states = ti.get_task_states(dag_id=ti.dag_id, run_ids=[ti.run_id])[ti.run_id]
        job = call("GET", f"/jobs/{ti.xcom_pull(task_ids='too_slow', key='job_id')}")
        log.info("(1) in this run: too_slow is %s after a limit of 6 s", states["too_slow"])
        log.info("(2) in this run: its job is %s, with %.0f %% done", job["status"], 100 * job["progress"])
        if (states["too_slow"], job["status"]) != ("failed", "cancelled"):
            raise ValueError("The limit did not end the task, or its job runs on.")

    too_slow = JobOperator(task_id="too_slow", body={"fake": {"running": 60}}, max_wait=6, poll_interval=1, retries=0)
    too_slow >> look()
    run_tests()


lesson()
