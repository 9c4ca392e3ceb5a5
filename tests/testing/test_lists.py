"""The lists of Google's services as the fakes give them: pages, their largest size, filters, jobs that appear late."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from ork_provider.testing import (
    DataprocOutcome,
    ExecutionOutcome,
    FakeBigQuery,
    FakeCloudRun,
    FakeDataproc,
    FakeServer,
    Outcome,
)
from ork_provider.testing.dataproc_filter import BadFilter, parse
from tests.support.ticks import Ticks

BIGQUERY = "/bigquery/v2/projects/ork-sandbox/jobs"
PLACE = "/v2/projects/ork-sandbox/locations/europe-west1/jobs"
JOBS = "/v1/projects/ork-sandbox/regions/europe-west1/jobs"
BATCHES = "/v1/projects/ork-sandbox/locations/europe-west1/batches"
CLIENT = httpx.Client(verify=False)  # a certificate store for each request would take most of the time


def get(fake: FakeServer, path: str, **params: Any) -> dict[str, Any]:
    answer = CLIENT.get(f"{fake.url}{path}", params=params)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def pages(fake: FakeServer, path: str, **params: Any) -> Iterator[list[Any]]:
    """Go through the pages of a list, each as its items."""
    token: dict[str, str] = {}
    while True:
        found = get(fake, path, **params, **token)
        yield next((value for value in found.values() if isinstance(value, list)), [])
        if "nextPageToken" not in found:
            return
        token = {"pageToken": found["nextPageToken"]}


@pytest.mark.parametrize(
    ("fake", "seed", "path", "params"),
    [
        (bigquery := FakeBigQuery(), bigquery.seed, BIGQUERY, {"maxResults": 2000}),
        (
            cloud_run := FakeCloudRun(),
            cloud_run.seed,
            f"{PLACE}/nightly/executions",
            {"pageSize": 2000},
        ),
        (dataproc := FakeDataproc(), dataproc.seed_job, JOBS, {"pageSize": 2000}),
        (batches := FakeDataproc(), batches.seed_batch, BATCHES, {"pageSize": 2000}),
    ],
    ids=["bigquery", "cloud_run", "dataproc", "dataproc_batch"],
)
def test_page_has_a_thousand_jobs_at_most(
    fake: FakeServer, seed: Callable[[str], object], path: str, params: dict[str, int]
) -> None:
    """A larger page is cut, not refused, and the pages together hold every job once."""
    for number in range(2500):
        seed(f"job-{number}")
    with fake:
        found = list(pages(fake, path, **params))
    assert [len(page) for page in found] == [1000, 1000, 500]
    assert (
        len({str(item.get("id") or item.get("name") or item["reference"]) for page in found for item in page}) == 2500
    )


def test_pages_go_on_where_they_were(ticks: Ticks) -> None:
    """A job that ends between two pages takes no other job off the list."""
    with FakeDataproc(clock=ticks) as fake:
        for number in range(6):
            fake.seed_job(f"j{number}", DataprocOutcome(pending=0, running=1 if number > 3 else 100))
        seen = []
        for page in pages(fake, JOBS, jobStateMatcher="ACTIVE", pageSize=2):
            seen += [job["reference"]["jobId"] for job in page]
            ticks.seconds += 2
    assert seen == ["j5", "j4", "j3", "j2", "j1", "j0"]


def test_jobs_that_are_listed_late(ticks: Ticks) -> None:
    """Until `appears_after` a job can be asked for, but no list shows it."""
    with FakeBigQuery(clock=ticks) as bigquery, FakeDataproc(clock=ticks) as dataproc:
        bigquery.seed("j", Outcome(appears_after=5))
        dataproc.seed_job("j", DataprocOutcome(appears_after=5))
        dataproc.seed_batch("j", DataprocOutcome(appears_after=5))
        lists = [(bigquery, BIGQUERY), (dataproc, JOBS), (dataproc, BATCHES)]
        assert [list(pages(fake, path)) for fake, path in lists] == [[[]], [[]], [[]]]
        assert all(get(fake, f"{path}/j") for fake, path in lists)
        ticks.seconds += 5
        assert [[len(page) for page in pages(fake, path)] for fake, path in lists] == [[1], [1], [1]]


def test_partial_items_are_what_they_would_be(ticks: Ticks) -> None:
    """A mask leaves out fields and changes none, also of fields that are not rendered unless asked for."""
    with FakeDataproc(clock=ticks) as dataproc, FakeCloudRun(clock=ticks) as cloud_run, FakeBigQuery(clock=ticks) as bq:
        dataproc.seed_job("j")
        dataproc.seed_batch("j")
        cloud_run.seed("e", ExecutionOutcome(0, 1))
        bq.seed("j")
        ticks.seconds += 0.5
        lists = [(dataproc, JOBS), (dataproc, BATCHES), (cloud_run, f"{PLACE}/nightly/executions"), (bq, BIGQUERY)]
        for fake, path in lists:
            whole = get(fake, path)
            items = next(name for name, value in whole.items() if isinstance(value, list))
            for name, value in whole[items][0].items():
                for mask in (f"{items}/{name}", f"{items}({name})"):
                    assert get(fake, path, fields=mask) == {items: [{name: value}]}, mask
            assert get(fake, path, fields=f"{items}/*") == {items: whole[items]}


def test_executions_of_all_jobs() -> None:
    """The job `-` stands for all jobs of its place, the newest execution first."""
    with FakeCloudRun(jobs={"a": ["main"], "b": ["main"]}) as fake:
        fake.seed("a-1", job="a")
        fake.seed("b-1", job="b")
        fake.seed("b-2", job="b", region="elsewhere")
        shown = get(fake, f"{PLACE}/-/executions")["executions"]
        assert [execution["name"].rpartition("/")[2] for execution in shown] == ["b-1", "a-1"]


@pytest.mark.parametrize(
    ("text", "passes"),
    [
        ("", True),
        ("state = RUNNING", True),
        ("state = PENDING OR state = RUNNING OR state = CANCELLING", True),
        ("state = PENDING AND team = blue", False),
        ("state = RUNNING and team = blue", True),
        ("state = RUNNING team = red", False),
        ("team = red AND state = PENDING OR state = RUNNING", False),
        ("(team = red AND state = PENDING) OR state = RUNNING", True),
        ("(state=RUNNING)", True),
        ('created < "2020-01-01" OR created >= "2024-01-01T00:00:00Z"', True),
        ("labels.[team] != red", False),
        ("labels.team = *", True),
    ],
)
def test_filter(text: str, passes: bool) -> None:
    """OR binds stronger than AND, a space is an AND; a field that a job does not have passes nothing."""
    values = {"state": "RUNNING", "team": "blue", "created": "2024-05-01T00:00:00Z", "labels.team": "blue"}
    assert parse(text)(values.get) is passes


@pytest.mark.parametrize("text", ["what?", "a =", "a = 1 AND", "OR a = 1", "(a = 1", "a = 1)", "()", "AND"])
def test_bad_filter(text: str) -> None:
    with pytest.raises(BadFilter, match="Invalid filter"):
        parse(text)


def test_jobs_cannot_be_listed_by_alternatives() -> None:
    """jobs.list takes AND only; batches.list takes both."""
    with FakeDataproc() as fake:
        either = {"filter": "status.state = ACTIVE OR labels.a = b"}
        refused = CLIENT.get(f"{fake.url}{JOBS}", params=either)
        assert (refused.status_code, refused.json()["error"]["status"]) == (400, "INVALID_ARGUMENT")
        assert get(fake, BATCHES, **either) == {}
