"""What only BigQuery jobs have: places, labels, parameters, rows, dry runs; every request as Google describes it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date
from typing import Any

import pytest

from ork_provider.bigquery import BigQueryJobOperator, BigQueryService
from ork_provider.bigquery.job import read_job
from ork_provider.bigquery.service import existing_job
from ork_provider.errors import BadRequest, Conflict, InvalidJob, JobFailed
from ork_provider.testing import FakeBigQuery, Fault, Outcome
from tests.support.discovery import Discovery
from tests.support.task import Instance, Task


@pytest.fixture
def bigquery(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeBigQuery]:
    """Serve BigQuery under google_cloud_default; hold all that was said against Google's own description."""
    with FakeBigQuery(pending=0.1, running=0.3, keep_answers=True) as fake:
        for name, value in fake.connections().items():
            monkeypatch.setenv(name, value)
        yield fake
        Discovery("bigquery", "v2").check_log(fake.requests)


def query(**kwargs: Any) -> BigQueryJobOperator:
    return BigQueryJobOperator(**{"task_id": "load", "sql": "SELECT 1 AS n", "poll_interval": 0.2, **kwargs})


def only_job(bigquery: FakeBigQuery) -> Any:
    assert len(bigquery.inserted) == 1
    return bigquery.inserted[0]


def test_rows_and_stats(bigquery: FakeBigQuery) -> None:
    """max_results brings the rows, and the stats are numbers."""
    bigquery.script("SELECT", Outcome(pending=0.1, running=0.3, rows=[{"n": 1}, {"n": 2}, {"n": 3}]))
    result = Task().run(query(max_results=2))
    assert result["rows"] == [{"n": 1}, {"n": 2}]
    assert {"bytes_processed", "bytes_billed", "slot_ms", "cache_hit", "duration_seconds"} <= set(result["stats"])
    assert result["stats"]["duration_seconds"] == pytest.approx(0.3, abs=0.01)


def test_many_pages_of_rows(bigquery: FakeBigQuery) -> None:
    """Rows that come in pages are put together, in order, up to max_results."""
    bigquery.script("SELECT", Outcome(pending=0, running=0.1, rows=[{"n": n} for n in range(250)]))
    rows = Task().run(query(max_results=120))["rows"]
    assert rows == [{"n": n} for n in range(120)]


def test_job_names_dag_task_and_run(bigquery: FakeBigQuery) -> None:
    """Labels and the id tell whose job it is, whatever the names; a user's own labels are kept."""
    ti = Instance(dag_id="Sales Über 9", task_id="group.load", run_id="manual__2026-11-20T00:00:00+00:00", map_index=3)
    Task(ti).run(query(labels={"team": "blue"}))
    job = only_job(bigquery)
    assert job.configuration["labels"] == {
        "airflow-dag": "sales-ber-9",
        "airflow-task": "group-load",
        "airflow-run": "manual__2026-11-20t00-00-00-00-00",
        "team": "blue",
    }
    assert job.job_id.startswith("airflow_Sales-ber-9_group-load_3_")


def test_parameters_reach_the_service(bigquery: FakeBigQuery) -> None:
    """Named parameters are sent with the types of their Python values."""
    Task().run(query(sql="SELECT @day", parameters={"day": date(2026, 1, 31), "codes": [1, 2]}))
    sent = only_job(bigquery).configuration["query"]
    assert sent["useLegacySql"] is False
    assert sent["queryParameters"] == [
        {"name": "day", "parameterType": {"type": "DATE"}, "parameterValue": {"value": "2026-01-31"}},
        {
            "name": "codes",
            "parameterType": {"type": "ARRAY", "arrayType": {"type": "INT64"}},
            "parameterValue": {"arrayValues": [{"value": "1"}, {"value": "2"}]},
        },
    ]


def test_configuration_of_another_job_type(bigquery: FakeBigQuery) -> None:
    """Any configuration that Google's operator takes is passed on as it is, and is not changed."""
    table = {"projectId": "p", "datasetId": "d", "tableId": "t"}
    given = {"load": {"sourceUris": ["gs://b/x.json"], "destinationTable": table, "sourceFormat": "CSV"}}
    operator = query(sql=None, configuration=given)
    assert Task().run(operator)["state"] == "succeeded"
    assert only_job(bigquery).configuration["load"]["sourceUris"] == ["gs://b/x.json"]
    assert "labels" not in given


def test_dry_run(bigquery: FakeBigQuery) -> None:
    """A dry run checks and estimates; there is no job afterwards."""
    result = Task().run(query(dry_run=True))
    assert (result["dry_run"], result["state"]) == (True, "succeeded")
    assert result["stats"]["bytes_processed"] >= 0
    assert not bigquery.jobs


def test_dry_run_in_the_configuration(bigquery: FakeBigQuery) -> None:
    """A configuration that says dryRun is a dry run, as with Google's operator."""
    given = {"dryRun": True, "query": {"query": "SELECT 1", "useLegacySql": False}}
    assert Task().run(query(sql=None, configuration=given))["dry_run"] is True
    assert not bigquery.jobs


def test_job_of_a_lost_answer_is_found_in_any_region(bigquery: FakeBigQuery) -> None:
    """A job whose location nobody told us is looked up in the list; jobs.get alone sees only the US and the EU."""
    bigquery.script("SELECT", Outcome(pending=0.1, running=60))
    task = Task()
    task.start(query(location="asia-northeast1"))
    stored = task.attempt
    unanswered = {**stored, "submitted": False, "job": {**stored["job"], "location": None}}
    task.store.set("ork_attempt", unanswered)
    bigquery.script("SELECT 2", Outcome(pending=0.1, running=0.2))
    assert task.clear().run(query(sql="SELECT 2"))["state"] == "succeeded"
    assert [job.cancelled_at is not None for job in bigquery.inserted] == [True, False]


def test_location_that_bigquery_chose(bigquery: FakeBigQuery) -> None:
    """Without a location BigQuery chooses one, and the job is asked for there."""
    assert Task().run(query())["location"] == "US"


def test_location_of_its_own(bigquery: FakeBigQuery) -> None:
    """A job in a region is submitted, asked for, fetched from and cancelled there."""
    result = Task().run(query(location="asia-northeast1", max_results=1))
    assert result["location"] == "asia-northeast1"
    assert {c.query.get("location") for c in bigquery.calls("GET", "*/jobs/*")} == {"asia-northeast1"}


def test_lost_answer_of_a_job_in_another_region(bigquery: FakeBigQuery) -> None:
    """When the answer was lost and BigQuery chose the location, "already exists" tells which one."""
    bigquery.fail(Fault.reset(after=True), on="POST */jobs")
    result = Task().run(query())
    assert (result["state"], result["location"], len(bigquery.inserted)) == ("succeeded", "US", 1)
    message = "Already Exists: Job my-project:asia-east1.airflow_x_1 (reason: duplicate)"
    from ork_provider.bigquery import BigQueryJob

    job = BigQueryJob(project="my-project", job_id="airflow_x_1", location=None)
    assert existing_job(job, message).location == "asia-east1"


async def test_conflict_over_an_id_that_is_not_ours(bigquery: FakeBigQuery) -> None:
    """An id that another job has is a Conflict; only the operator's stored intent makes it its own."""
    from ork_provider.bigquery import BigQueryJob
    from ork_provider.service import Services
    from ork_provider.session import HttpxDoor, Session

    session = Session(HttpxDoor())
    services = Services(session, {"gcp_conn_id": "google_cloud_default"})
    job = BigQueryJob(project="ork-sandbox", job_id="taken")
    request = {"configuration": {"query": {"query": "SELECT 1", "useLegacySql": False}}}
    await services.submit(job, request)
    with pytest.raises(Conflict, match="Already Exists") as caught:
        await services.submit(job, request)
    assert caught.value.existing == job
    await session.close()


def test_project_of_the_connection_or_an_error(bigquery: FakeBigQuery, monkeypatch: pytest.MonkeyPatch) -> None:
    """The project comes from the task, else the connection; with neither the error says where to set it."""
    assert Task().run(query())["project"] == "ork-sandbox"
    assert Task().run(query(project_id="other"))["project"] == "other"
    connection = json.loads(bigquery.connections()["AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT"])
    del connection["extra"]["project"]
    monkeypatch.setenv("AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT", json.dumps(connection))
    with pytest.raises(BadRequest, match="Set project_id, or 'project'"):
        Task().run(query())


def test_unknown_connection(bigquery: FakeBigQuery) -> None:
    """A connection that does not exist is named, with what to do."""
    with pytest.raises(BadRequest, match=r"'nowhere' cannot be read .* AIRFLOW_CONN_NOWHERE"):
        Task().run(query(gcp_conn_id="nowhere"))


def test_all_errors_of_a_failed_job_are_said(bigquery: FakeBigQuery) -> None:
    """The message holds the service's words, the reason and the place."""
    error = {"reason": "invalidQuery", "message": "Unrecognized name: x at [1:8]", "location": "query"}
    bigquery.script("SELECT", Outcome(pending=0, running=0.1, error=error))
    with pytest.raises(JobFailed, match=r"Unrecognized name: x at \[1:8\] \(reason: invalidQuery at query\)"):
        Task().run(query())


@pytest.mark.parametrize("resource", [{}, {"status": {}}, {"status": {"state": "SLEEPING"}}], ids=repr)
def test_unknown_state_is_no_success(resource: dict[str, Any]) -> None:
    """A job resource without a known state is a malformed answer, to be asked for again."""
    from ork_provider.errors import TryAgain

    with pytest.raises(TryAgain, match="unknown state"):
        read_job(resource)


def test_missing_permission_is_named(bigquery: FakeBigQuery) -> None:
    """A 403 that does not pass by itself fails at once with Google's words, which name the permission."""
    words = "Access Denied: Project p: User does not have bigquery.jobs.create permission in project p."
    bigquery.fail(Fault.google(403, "accessDenied", words), on="POST */jobs", times=-1)
    with pytest.raises(BadRequest, match=r"bigquery\.jobs\.create permission"):
        Task().run(query())
    assert len(bigquery.calls("POST")) == 1


def test_quota_on_submit_is_tried_again(bigquery: FakeBigQuery) -> None:
    """A 403 quotaExceeded or rateLimitExceeded passes by itself; one job is started in the end."""
    for reason in ("quotaExceeded", "rateLimitExceeded"):
        bigquery.fail(Fault.google(403, reason), on="POST */jobs")
    assert Task().run(query())["state"] == "succeeded"
    assert len(bigquery.inserted) == 1


def test_expired_token_is_renewed(bigquery: FakeBigQuery) -> None:
    """One 401 in the middle of a wait renews and goes on."""
    bigquery.fail(Fault.google(401, "authError"), on="GET */jobs/*", nth=2)
    assert Task().run(query())["state"] == "succeeded"


def test_service_is_the_one_that_jobs_name() -> None:
    """The dotted path of the service in the job class is right."""
    from ork_provider.bigquery import BigQueryJob
    from ork_provider.job import load

    assert load(BigQueryJob.service) is BigQueryService


def test_ambiguous_parameter_is_refused_before_anything_is_sent(bigquery: FakeBigQuery) -> None:
    """A parameter whose type cannot be told is named; nothing is submitted."""
    with pytest.raises(InvalidJob, match=r"parameters\['x'\]"):
        Task().run(query(parameters={"x": None}))
    assert not bigquery.requests


def test_project_number(bigquery: FakeBigQuery) -> None:
    """A project's number, which native rendering makes an int, is as good as its id; what is neither is refused."""
    assert Task().run(query(project_id=123456))["project"] == "123456"
    with pytest.raises(InvalidJob, match="project_id must be a project id or number"):
        Task().run(query(project_id=1.5))
