"""# 51.8.3 Integration testing

Between a mock and production there are two more floors. `run_trigger` puts a trigger into Airflow's own
`TriggerRunner`, the part of a triggerer that runs triggers; a stand-in of the service speaks real HTTP. That takes a
second. A whole Airflow (`LocalAirflow`) takes forty: its test is skipped unless `LESSON_WHOLE_AIRFLOW=1` is set, as a
nightly pipeline would do.

## You will see

1. Airflow's `TriggerRunner`: an event, a user who ends the task (`on_kill()`), a triggerer that stops (no
   `on_kill()`).
2. The whole flow: worker, triggerer, worker, with only the messages in between; with and without a triggerer;
   optionally in a whole Airflow.
3. A service that the test scripts, with faults, which remembers every request.
4. What a pipeline needs: every DAG file imports, the trigger can be imported without the DAGs, no shared ports or
   settings, a limit for everything, a JUnit report and an exit code.

## Watch

The log of `run_tests`: one line for each test, read from pytest's JUnit report. `check_the_flow` says the same of
this run: here the triggerer is the real one.

## Expect

The run succeeds, with one skipped test. In a pipeline, the same tests, in parallel: `python -m pytest
example_dags/51_08_testing -n auto --junitxml=report.xml`.

## Needs

A job service behind the connection `http_default` (`python -m ork_provider.testing`), and for the tests `pip install
pytest pytest-asyncio time-machine`.

## Next

51.8.4 tests what happens when the job takes too long.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Any

from airflow.sdk import dag, task
from lesson_51_08 import JobOperator, call
from lesson_51_08_runner import tested

log = logging.getLogger(__name__)


@dag(
    dag_id="51_08_03_integration_testing",
    schedule=None,
    start_date=datetime(2026, 1, 1),
    tags=["reference", "core", "intermediate", "success"],
    default_args={"retries": 1, "retry_delay": timedelta(seconds=2)},
    doc_md=__doc__,
)
def lesson() -> None:
    """Run the flow, and test it."""

    @task
    def run_tests() -> None:
        """Run the tests beside this file in a Python of their own; log what each has shown."""
        for point, shown in tested(__file__):
            log.info("(%d) %s", point, shown)

    @task
    def check_the_flow(job: dict[str, Any]) -> None:
        """Ask the service whether it agrees with the flow."""
        found = call("GET", f"/jobs/{job['id']}")
        log.info("(2) this run: the flow has returned %s, the service says %s", job, found["status"])
        if job["output"] != found["output"]:
            raise ValueError(f"The flow has returned {job['output']}, the service {found['output']}.")

    flow = JobOperator(task_id="flow", body={"fake": {"running": 6, "output": {"rows": 42}}}, poll_interval=1)
    check_the_flow(flow.output)
    run_tests()


lesson()
