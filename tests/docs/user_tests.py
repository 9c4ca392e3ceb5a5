"""The tests that docs/testing.md shows to users; test_examples.py runs them in a pytest of their own."""

# [START dag]
import pytest
from nightly import nightly

from ork_provider.testing import FakeBigQuery, Outcome


@pytest.fixture
def bigquery(monkeypatch):
    with FakeBigQuery(pending=0, running=0.2) as fake:
        for name, value in fake.connections().items():
            monkeypatch.setenv(name, value)
        yield fake


def test_the_dag_runs_one_job(bigquery):
    run = nightly.test()
    assert run.state == "success"
    assert [job.sql[:13] for job in bigquery.inserted] == ["SELECT region"]


def test_a_missing_table_fails_the_dag(bigquery):
    error = {"reason": "notFound", "message": "Not found: Table shop.sales"}
    bigquery.script("FROM shop.sales", Outcome(error=error))
    run = nightly.test()
    assert run.state == "failed"


# [END dag]


# [START data]
def test_the_query_is_right(tmp_path, monkeypatch):
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "sales.csv").write_text("region,amount\nnorth,2\nnorth,3\nsouth,1\n")
    with FakeBigQuery(data=tmp_path) as bigquery:
        for name, value in bigquery.connections().items():
            monkeypatch.setenv(name, value)
        assert nightly.test().state == "success"
    (job,) = bigquery.inserted
    assert sorted(job.work.outcome.rows) == [("north", 5), ("south", 1)]


# [END data]


# [START faults]
from ork_provider.testing import Fault  # noqa: E402


def test_a_lost_answer_starts_no_second_job(bigquery):
    bigquery.fail(Fault.reset(after=True), on="POST */jobs")  # the job is created, its answer never arrives
    bigquery.fail(Fault.retry_after(429, seconds=0.5), on="GET */jobs/*", times=2)
    assert nightly.test().state == "success"
    assert len(bigquery.calls("POST", "*/jobs")) == 2
    assert len(bigquery.inserted) == 1


# [END faults]


# [START trigger]
import asyncio  # noqa: E402

import httpx  # noqa: E402

from ork_provider.bigquery import BigQueryJob, BigQueryJobTrigger  # noqa: E402
from ork_provider.testing import run_trigger  # noqa: E402


def test_a_kill_cancels_the_job(bigquery):
    job = BigQueryJob(project="my-project", job_id="job-1")
    request = {
        "jobReference": {"projectId": "my-project", "jobId": "job-1", "location": "US"},
        "configuration": {"query": {"query": "SELECT 1", "useLegacySql": False}},
    }
    bigquery.script("SELECT 1", Outcome(running=60))
    httpx.post(f"{bigquery.url}/bigquery/v2/projects/my-project/jobs", json=request).raise_for_status()

    trigger = BigQueryJobTrigger(jobs=[job.to_dict()], poll_interval=0.1)
    result = asyncio.run(run_trigger(trigger, task_state="failed", kill_after=0.5))

    assert result.killed
    assert [job.job_id for job in bigquery.cancelled] == ["job-1"]


# [END trigger]


# [START clock]
from ork_provider.errors import TryAgain  # noqa: E402
from ork_provider.job import JobState, JobStatus  # noqa: E402
from ork_provider.testing import FakeClock  # noqa: E402
from ork_provider.waiting import Policy, Watch, wait  # noqa: E402


def test_a_day_of_waiting_takes_no_time():
    clock = FakeClock()
    job = BigQueryJob(project="my-project", job_id="job-1")

    async def ask(job):
        if clock.monotonic() < 300:
            raise TryAgain("503")
        done = clock.monotonic() > 24 * 3600
        return JobStatus(state=JobState.SUCCEEDED if done else JobState.RUNNING)

    watch = Watch(ask=ask, clock=clock, policy=Policy(poll_interval=60, error_budget=600))
    assert asyncio.run(wait([job], watch)).verdict == "success"


# [END clock]
