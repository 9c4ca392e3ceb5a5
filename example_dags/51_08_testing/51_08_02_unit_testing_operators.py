"""# 51.8.2 Unit testing deferrable operators

A deferrable operator is cut in two: `execute()` up to its `defer()`, and a method that takes up what the trigger has
told. Between the two nothing of the object is left; a test looks at what is handed over. `lesson_51_08.JobOperator`
starts a job and waits for it; its tests are in `test_51_08_02_unit_testing_operators.py` beside this file.

## You will see

1. Tests of `execute()`: `defer()` raises `TaskDeferred`, which holds the trigger, the method's name and the limit;
   and the path that does not defer.
2. Tests of `execute_complete()`: a result, an error that tells the service's own words, an event that is missing.
3. Events that the test makes up, one test that keeps them honest, and the "event" of a trigger that has died.
4. The states that Airflow's own task runner decides: deferred, success, failed, up_for_retry.

## Watch

The log of `run_tests` has a line for each test. `check_the_run` looks at the same states in this run: the grid shows
`wait_for_job` purple (deferred), then green.

## Expect

The run succeeds. `execute()` may be called by a test only if `ExecutorSafeguard.test_mode` is set: see `conftest.py`.
Under `airflow dags test` arguments of `defer(kwargs=...)` are lost; this operator has none, so that it works there
too.

## Needs

A job service behind the connection `http_default` (`python -m ork_provider.testing`), and for the tests `pip install
pytest pytest-asyncio time-machine`.

## Next

51.8.3 puts trigger, operator and a service together.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from airflow.sdk import dag, get_current_context, task
from lesson_51_08 import JobOperator
from lesson_51_08_runner import tested

log = logging.getLogger(__name__)


@dag(
    dag_id="51_08_02_unit_testing_operators",
    schedule=None,
    start_date=datetime(2026, 1, 1),
    tags=["reference", "core", "intermediate", "success"],
    default_args={"retries": 1, "retry_delay": timedelta(seconds=2)},
    doc_md=__doc__,
)
def lesson() -> None:
    """Use the operator, and test it."""

    @task
    def run_tests() -> None:
        """Run the tests beside this file in a Python of their own; log what each has shown."""
        for point, shown in tested(__file__):
            log.info("(%d) %s", point, shown)

    @task
    def check_the_run() -> None:
        """Compare this run with what the tests say of the operator."""
        ti = get_current_context()["ti"]
        states = ti.get_task_states(dag_id=ti.dag_id, run_ids=[ti.run_id])[ti.run_id]
        job = ti.xcom_pull(task_ids="wait_for_job")
        log.info("(4) in this run: wait_for_job is %s, and has returned %s", states["wait_for_job"], job)
        if job["id"] != ti.xcom_pull(task_ids="wait_for_job", key="job_id"):
            raise ValueError("The job that was returned is not the one that was remembered before the deferral.")

    JobOperator(task_id="wait_for_job", body={"table": "orders"}, poll_interval=1) >> check_the_run()
    run_tests()


lesson()
