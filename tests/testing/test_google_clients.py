"""Google's own client completes against the fake: it behaves as the client expects."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from google.api_core.client_options import ClientOptions
from google.api_core.exceptions import BadRequest, Conflict, NotFound
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery as google_bigquery

from ork_provider.testing import FakeBigQuery, Outcome
from tests.support.discovery import Discovery

DISCOVERY = Discovery("bigquery", "v2")
UNDOCUMENTED = ("projection",)  # Google's client sends it with jobs.get, where the API ignores it
ROWS = [{"name": "a", "n": 1}, {"name": "b", "n": None}]


@pytest.fixture
def fake() -> Iterator[FakeBigQuery]:
    with FakeBigQuery(pending=0.05, running=0.15, keep_answers=True) as server:
        server.script("SELECT", Outcome(0.05, 0.15, rows=ROWS))
        yield server


@pytest.fixture
def client(fake: FakeBigQuery) -> Iterator[google_bigquery.Client]:
    options = ClientOptions(api_endpoint=fake.url)
    with google_bigquery.Client(
        "p", credentials=AnonymousCredentials(), client_options=options, location="US"
    ) as google:
        yield google


def checked(fake: FakeBigQuery) -> dict[str, int]:
    return DISCOVERY.check_log(fake.requests, ignore=UNDOCUMENTED)


def test_query_returns_its_rows(fake: FakeBigQuery, client: google_bigquery.Client) -> None:
    """The client submits, waits and reads typed rows and the statistics."""
    job = client.query("SELECT name, n FROM t")
    assert [dict(row) for row in job.result()] == ROWS
    assert (job.state, job.total_bytes_processed, job.statement_type) == ("DONE", 10 * 1024 * 1024, "SELECT")
    assert job.ended > job.started >= job.created
    assert {"bigquery.jobs.insert", "bigquery.jobs.getQueryResults"} <= checked(fake).keys()


def test_query_and_wait(fake: FakeBigQuery, client: google_bigquery.Client) -> None:
    """jobs.query serves the client's short way."""
    assert [tuple(row) for row in client.query_and_wait("SELECT 1")] == [("a", 1), ("b", None)]
    assert checked(fake)["bigquery.jobs.query"] == 1


def test_failed_query_raises_its_reason(fake: FakeBigQuery, client: google_bigquery.Client) -> None:
    """A job's errorResult becomes the client's exception."""
    fake.script("boom", Outcome(0.0, 0.1, error={"reason": "invalidQuery", "message": "Syntax error at [1:1]"}))
    job = client.query("boom")
    with pytest.raises(BadRequest, match=r"Syntax error at \[1:1\]"):
        job.result()
    job.reload()
    assert job.error_result == {"reason": "invalidQuery", "message": "Syntax error at [1:1]"}
    checked(fake)


def test_cancel_and_list(fake: FakeBigQuery, client: google_bigquery.Client) -> None:
    """A cancelled job ends as stopped; the list is filtered by state."""
    fake.script("long", Outcome(0.0, 60.0))
    job = client.query("long", job_id="long-1", job_retry=None)
    assert [listed.job_id for listed in client.list_jobs(state_filter="running")] == ["long-1"]
    job.cancel()
    job.reload()
    assert (job.state, job.error_result["reason"]) == ("DONE", "stopped")
    assert list(client.list_jobs(state_filter="running")) == []
    assert [cancelled.job_id for cancelled in fake.cancelled] == ["long-1"]
    assert checked(fake)["bigquery.jobs.list"] == 2


def test_client_errors(fake: FakeBigQuery, client: google_bigquery.Client) -> None:
    """A repeated id and an unknown job are the client's Conflict and NotFound."""
    client.query("SELECT 1", job_id="same", job_retry=None)
    with pytest.raises(Conflict, match=r"Already Exists: Job p:US.same"):
        client._call_api(None, method="POST", path="/projects/p/jobs", data=_insert("same"))
    with pytest.raises(NotFound, match=r"Not found: Job p:US.other"):
        client.get_job("other")
    checked(fake)


def test_dry_run_costs_nothing(fake: FakeBigQuery, client: google_bigquery.Client) -> None:
    """A dry run tells the bytes and leaves no job."""
    job = client.query("SELECT 1", job_config=google_bigquery.QueryJobConfig(dry_run=True))
    assert job.total_bytes_processed == 10 * 1024 * 1024
    assert not fake.jobs
    checked(fake)


def test_table_of_a_query(fake: FakeBigQuery, client: google_bigquery.Client) -> None:
    """The destination table of a query can be read by name."""
    destination = google_bigquery.TableReference.from_string("p.d.out")
    client.query("SELECT 1", job_config=google_bigquery.QueryJobConfig(destination=destination)).result()
    table = client.get_table(destination)
    assert (table.num_rows, [field.name for field in table.schema]) == (2, ["name", "n"])
    assert [tuple(row) for row in client.list_rows(table)] == [("a", 1), ("b", None)]
    assert client.get_dataset("p.d").location == "US"
    checked(fake)


def _insert(job_id: str) -> dict[str, Any]:
    reference = {"projectId": "p", "jobId": job_id, "location": "US"}
    return {"jobReference": reference, "configuration": {"query": {"query": "SELECT 1"}}}
