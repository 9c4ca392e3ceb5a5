"""# 51.8.1 Unit testing triggers

A trigger is a small class: some values, and one coroutine. Its test needs no Airflow that runs, no service and no
real waiting; it takes milliseconds. `lesson_51_08.JobTrigger` waits for a job behind an HTTP API. The tests are in
`test_51_08_01_unit_testing_triggers.py` beside this file, and `run_tests` runs them; by hand: `python -m pytest
example_dags/51_08_testing`.

## You will see

1. Tests of `serialize()`: no argument is forgotten, the path can be imported, and what the database gives back is the
   same trigger.
2. Tests of `run()`: one event at the end, the right number of questions, the right pauses.
3. The service is replaced by a mock: `create_autospec` makes an `AsyncMock` of every coroutine, with the real
   arguments.
4. `pytest-asyncio` in auto mode: async tests and fixtures on one loop, a trigger beside its test, cancelled by it.

## Watch

The log of `run_tests` has a line for each test, with the values that the test has recorded. `wait_for_job` uses the
same trigger: its log has two lines of the triggerer between those of the worker.

## Expect

The run succeeds, and takes as long as the job of `wait_for_job`. Under `airflow dags test` the tests are the same;
the trigger of `wait_for_job` then runs in the process of the command.

## Needs

A job service behind the connection `http_default` (`python -m ork_provider.testing`), and for the tests `pip install
pytest pytest-asyncio time-machine`.

## Next

51.8.2 tests the operator that defers to this trigger.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from airflow.sdk import dag, task
from lesson_51_08 import JobOperator
from lesson_51_08_runner import tested

log = logging.getLogger(__name__)


@dag(
    dag_id="51_08_01_unit_testing_triggers",
    schedule=None,
    start_date=datetime(2026, 1, 1),
    tags=["reference", "core", "intermediate", "success"],
    default_args={"retries": 1, "retry_delay": timedelta(seconds=2)},
    doc_md=__doc__,
)
def lesson() -> None:
    """Use the trigger, and test it."""

    @task
    def run_tests() -> None:
        """Run the tests beside this file in a Python of their own; log what each has shown."""
        for point, shown in tested(__file__):
            log.info("(%d) %s", point, shown)

    JobOperator(task_id="wait_for_job", body={"table": "orders"}, poll_interval=1)
    run_tests()


lesson()
