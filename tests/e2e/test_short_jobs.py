"""Jobs that end a few seconds after their task deferred, on a machine that is busy: none fails by the scheduler's hand.

Airflow 3.3's scheduler fails a task that resumes before it has heard that the worker which deferred it has gone
("finished with state success, but the task instance's state attribute is queued"). Our events wait for that.
"""

from __future__ import annotations

import multiprocessing
import os
import random
from collections import Counter
from collections.abc import Iterator

import pytest

from ork_provider.testing import FakeBigQuery, Outcome
from ork_provider.testing.local_airflow import LocalAirflow

JOBS = int(os.environ.get("ORK_SHORT_JOBS", "200"))
"""200 take two minutes on two busy cores."""


def burn() -> None:
    """Keep a core busy."""
    while True:
        pass


@pytest.fixture
def busy_cores() -> Iterator[None]:
    """Keep every core of the machine busy."""
    burners = [multiprocessing.Process(target=burn, daemon=True) for _ in range(multiprocessing.cpu_count())]
    for burner in burners:
        burner.start()
    yield
    for burner in burners:
        burner.kill()
        burner.join()


@pytest.mark.timeout(900)
def test_short_jobs_on_a_busy_machine(airflow: LocalAirflow, bigquery: FakeBigQuery, busy_cores: None) -> None:
    """Jobs that end 1-8 s after their deferral all succeed at the first try."""
    chance = random.Random(7)
    lengths = {str(n): chance.uniform(1, 8) for n in range(JOBS)}
    for n, seconds in lengths.items():

        def is_job(configuration: object, n: str = n) -> bool:
            return "short_job" in str(configuration) and f"'value': '{n}'" in str(configuration)

        bigquery.script(is_job, Outcome(pending=0.1, running=seconds))
    run_id = airflow.trigger_dag("short_jobs", conf={"jobs": JOBS})
    state = airflow.wait("short_jobs", run_id, timeout=850)
    instances = [i for i in airflow.task_instances("short_jobs", run_id) if i["task_id"] == "query"]
    assert Counter(i["state"] for i in instances) == {"success": JOBS}
    assert Counter(i["try_number"] for i in instances) == {1: JOBS}
    assert state == "success"
    assert len([job for job in bigquery.inserted if "short_job" in job.sql]) == JOBS
    log = airflow.component_log("scheduler")
    assert "finished with state success, but the task instance's state attribute is" not in log
