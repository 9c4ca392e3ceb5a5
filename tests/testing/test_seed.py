"""Jobs that are seeded: they are in a fake without a request, and are what a request would have made."""

from __future__ import annotations

import threading
from collections.abc import Callable

import httpx
import pytest

from ork_provider.testing import (
    DataprocOutcome,
    DqopsOutcome,
    ExecutionOutcome,
    FakeBigQuery,
    FakeCloudRun,
    FakeDataproc,
    FakeDqops,
    FakeServer,
    Outcome,
    Refused,
)
from tests.support.ticks import Ticks

BIGQUERY = "/bigquery/v2/projects/ork-sandbox/jobs"
CLOUD_RUN = "/v2/projects/ork-sandbox/locations/europe-west1/jobs/nightly/executions"
DATAPROC = "/v1/projects/ork-sandbox/regions/europe-west1/jobs"
BATCHES = "/v1/projects/ork-sandbox/locations/europe-west1/batches"
CLIENT = httpx.Client(verify=False)  # a certificate store for each request would take most of the time


def get(fake: FakeServer, path: str) -> httpx.Response:
    return CLIENT.get(f"{fake.url}{path}")


def test_bigquery(ticks: Ticks) -> None:
    """A seeded job begins now and follows its outcome."""
    with FakeBigQuery(clock=ticks) as fake:
        job = fake.seed("j", Outcome(1, 10))
        assert (fake.inserted, fake.jobs, fake.requests) == ([job], {"j": job}, [])
        assert get(fake, f"{BIGQUERY}/j").json()["status"]["state"] == "PENDING"
        ticks.seconds += 2
        assert get(fake, f"{BIGQUERY}?stateFilter=running").json()["jobs"][0]["jobReference"]["jobId"] == "j"
        ticks.seconds += 10
        assert get(fake, f"{BIGQUERY}/j").json()["status"]["state"] == "DONE"
        with pytest.raises(Refused, match="Already Exists"):
            fake.seed("j")


def test_bigquery_list_hides_others_and_children() -> None:
    """jobs.list shows another's job only if asked for all users, a child only if asked for its parent's."""
    with FakeBigQuery() as fake:
        fake.seed("mine")
        fake.seed("theirs", email="somebody@else")
        fake.seed("child", parent="mine")

        def listed(query: str = "") -> list[str]:
            jobs = get(fake, f"{BIGQUERY}{query}").json().get("jobs", [])
            return [job["jobReference"]["jobId"] for job in jobs]

        assert listed() == ["mine"]
        assert listed("?allUsers=true") == ["theirs", "mine"]
        assert listed("?parentJobId=mine") == ["child"]
        assert listed("?parentJobId=theirs") == []
        assert get(fake, f"{BIGQUERY}/child").json()["statistics"]["parentJobId"] == "mine"


def test_dataproc(ticks: Ticks) -> None:
    """A seeded job and a seeded batch begin now and follow their outcomes; scripts are not asked."""
    with FakeDataproc(clock=ticks) as fake:
        fake.script("main.py", DataprocOutcome(error="no"))
        job, batch = fake.seed_job("j", DataprocOutcome(1, 10, setup=0)), fake.seed_batch("batch")
        assert (fake.started, fake.started_batches) == ([job], [batch])
        ticks.seconds += 1.1
        states = [get(fake, f"{DATAPROC}/j").json()["status"]["state"], get(fake, f"{BATCHES}/batch").json()["state"]]
        ticks.seconds += 0.2
        assert [*states, get(fake, f"{BATCHES}/batch").json()["state"]] == ["RUNNING", "RUNNING", "SUCCEEDED"]
        for again in (lambda: fake.seed_job("j"), lambda: fake.seed_batch("batch")):
            with pytest.raises(Refused, match="Already exists"):
                again()


def test_cloud_run(ticks: Ticks) -> None:
    """A seeded execution begins now and follows its outcome, in the job that is named."""
    with FakeCloudRun(clock=ticks) as fake:
        fake.seed("nightly-1", ExecutionOutcome(1, 10, tasks=3))
        fake.seed("other-1", job="other")
        ticks.seconds += 2
        shown = get(fake, CLOUD_RUN).json()["executions"]
        assert [(e["name"].rsplit("/", 1)[1], e["taskCount"], e["runningCount"]) for e in shown] == [
            ("nightly-1", 3, 3)
        ]
        assert set(fake.executions) == {"nightly-1", "other-1"}


def test_dqops(ticks: Ticks) -> None:
    """A seeded job is known by its number and its key, in the data domain of the connection."""
    with FakeDqops(clock=ticks, data_domain="sales") as fake:
        job = fake.seed(DqopsOutcome(1, 10), key="k")
        for name in (job.job_id, "k"):
            answer = CLIENT.get(f"{fake.url}/api/jobs/jobs/{name}", headers={"Cookie": "DQODataDomain=sales"})
            assert (answer.json()["jobId"]["jobId"], answer.json()["status"]) == (job.job_id, "queued")
        assert (fake.started, fake.seed().key) == ([job, fake.started[-1]], None)


@pytest.mark.parametrize(
    ("fake", "seed"),
    [
        (bigquery := FakeBigQuery(), lambda name: bigquery.seed(name).number),
        (cloud_run := FakeCloudRun(), lambda name: cloud_run.seed(name).number),
        (dataproc := FakeDataproc(), lambda name: dataproc.seed_job(name).number),
        (dqops := FakeDqops(), lambda name: dqops.seed(key=name).job_id),
    ],
    ids=["bigquery", "cloud_run", "dataproc", "dqops"],
)
def test_threads_may_seed_together(fake: FakeServer, seed: Callable[[str], int]) -> None:
    """Every job has a number of its own, whatever thread it comes from."""
    numbers: list[int] = []
    threads = [
        threading.Thread(target=lambda t=t: numbers.extend(seed(f"{t}-{n}") for n in range(100))) for t in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(numbers)) == 400
