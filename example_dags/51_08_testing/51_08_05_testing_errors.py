"""# 51.8.5 Testing error scenarios

An error in a trigger is not where its task is. It happens in another process, and reaches the task, if at all, as a
`TaskDeferralError` with a text. So errors are made in tests, each where it happens: in `run()`, on the network, at
the deferral, and on the way back.

## You will see

1. Errors in a trigger: no event, the error kept by the runner; the task resumes with `TaskDeferralError` and cancels
   its job.
2. Network failures over real HTTP: those that pass are lived through, those that stay end the trigger, and a page
   instead of JSON is an error at once.
3. What cannot be stored or sent: it fails in the worker at the deferral, or when the event leaves the triggerer.
4. Recovery: the next try, another triggerer, a service that comes back.

## Watch

The log of `run_tests` has a line for each test. In the grid `job_fails` is red, `use_result` is orange
(upstream_failed), `rescue` runs because something has failed.

## Expect

The run ends failed, on purpose: nothing has given `use_result` its input. `run_tests` and `report` succeed.

## Needs

A job service behind the connection `http_default` (`python -m ork_provider.testing`), and for the tests `pip install
pytest pytest-asyncio time-machine`.

## Next

51.9.1 shows the mistakes that no unit test finds: a trigger that blocks all others.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Any

from airflow.sdk import TriggerRule, dag, get_current_context, task
from lesson_51_08 import JobOperator
from lesson_51_08_runner import tested

log = logging.getLogger(__name__)


@dag(
    dag_id="51_08_05_testing_errors",
    schedule=None,
    start_date=datetime(2026, 1, 1),
    tags=["reference", "core", "intermediate", "failure"],
    default_args={"retries": 1, "retry_delay": timedelta(seconds=2)},
    doc_md=__doc__,
)
def lesson() -> None:
    """Fail, recover in part, and test it."""

    @task
    def run_tests() -> None:
        """Run the tests beside this file in a Python of their own; log what each has shown."""
        for point, shown in tested(__file__):
            log.info("(%d) %s", point, shown)

    @task
    def use_result(job: dict[str, Any]) -> None:
        """Never run: there is no result."""
        raise AssertionError(f"job_fails has succeeded: {job}")

    @task
    def report(rescued: dict[str, Any]) -> None:
        """Say what has failed in this run, and what came instead."""
        ti = get_current_context()["ti"]
        states = ti.get_task_states(dag_id=ti.dag_id, run_ids=[ti.run_id])[ti.run_id]
        if states["job_fails"] != "failed":
            raise ValueError(f"job_fails is {states['job_fails']}.")
        log.info("(4) in this run: job_fails is failed, rescue has run %s: %s", rescued["id"], rescued["status"])

    broken = {"fake": {"running": 5, "outcome": "failed", "error": "disk full"}}
    job_fails = JobOperator(task_id="job_fails", body=broken, poll_interval=1, retries=0)
    rescue = JobOperator(task_id="rescue", body={"fake": {"running": 5}}, trigger_rule=TriggerRule.ONE_FAILED)
    use_result(job_fails.output)
    job_fails >> rescue
    report(rescue.output)
    run_tests()


lesson()
