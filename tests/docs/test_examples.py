"""The example DAGs, the DAG of the README, and the tests of docs/testing.md run as a user runs them."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from ork_provider.testing import FakeBigQuery, FakeHttpJobs, HttpOutcome, Outcome
from tests.docs.conftest import Run
from tests.docs.pages import ROOT

pytestmark = pytest.mark.timeout(180)


def _rows(weather: Path) -> list[dict[str, str]]:
    with (weather / "weather" / "seattle.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def _rain(weather: Path, year: int) -> float:
    return float(round(sum(float(row["precipitation"]) for row in _rows(weather) if row["date"].startswith(str(year)))))


def test_example_bigquery(run: Run, weather: Path) -> None:
    """Queries give the rows that the CSV file holds; the load job, which takes a second, is waited for deferred."""
    with FakeBigQuery(pending=0, running=0, data=weather, latency=0.2) as bigquery:
        bigquery.script(lambda configuration: "load" in configuration, Outcome(pending=0.1, running=1))
        said = run("airflow", "dags", "test", "example_bigquery", "2015-12-31", env=bigquery.connections())
    assert "2015-12-31: -2.1 °C, 2015-12-30: -1.0 °C, 2015-12-26: 0.0 °C (10485760 bytes billed)" in said
    rain = sorted(job.work.outcome.rows for job in bigquery.inserted if "@year" in job.sql)
    assert rain == [[(year, _rain(weather, year))] for year in (2012, 2013, 2014)]
    assert all(job.state == "DONE" and not job.error for job in bigquery.inserted)
    assert len(bigquery.inserted) == 6
    monthly, load = bigquery.inserted[-2:]
    assert monthly.configuration["labels"] == {
        "airflow-dag": "example_bigquery",
        "airflow-task": "monthly",
        "airflow-run": monthly.configuration["labels"]["airflow-run"],
        "team": "weather",
    }
    assert len(monthly.work.outcome.rows) == 12
    assert load.configuration["load"]["sourceUris"] == ["gs://my-bucket/weather/2015-12-31/*.parquet"]
    assert f"Deferring; the triggerer waits for BigQuery job ork-sandbox:US.{load.job_id}" in said


def test_example_http(run: Run) -> None:
    """Every way to tell a status works, with a bearer token that is in the connection only."""
    with FakeHttpJobs(pending=0, running=0, bearer="only-in-the-connection") as http:
        http.script(lambda body: True, HttpOutcome(pending=0, running=0, output={"rows": 3}))
        http.script("customers", HttpOutcome(pending=0.1, running=1))
        said = run("airflow", "dags", "test", "example_http", "2026-01-31", env=http.connections())
    assert "made {'rows': 3}" in said
    assert "Deferring; the triggerer waits for HTTP job" in said
    assert "only-in-the-connection" not in said
    assert sorted(str(job.body["table"]) for job in http.created) == ["customers", "items", "items", "orders", "orders"]
    assert all(job.status == "completed" for job in http.created)
    assert [r.status for r in http.requests if r.status not in (200, 202)] == []


def test_readme_and_testing_page(run: Run) -> None:
    """The README's DAG and the tests of docs/testing.md pass in a pytest without our configuration."""
    files = [str(ROOT / "tests" / "docs" / name) for name in ("readme_tests.py", "user_tests.py")]
    plugins = ("-p", "no:cacheprovider", "-p", "no:asyncio", "-p", "no:timeout")
    said = run("pytest", "-c", "/dev/null", "--rootdir", "/", *plugins, "-q", *files)
    assert "7 passed" in said
