"""The example DAGs, the DAG of the README, and the tests of docs/testing.md run as a user runs them."""

from __future__ import annotations

import csv
import json
import re
import sys
from pathlib import Path

import pytest

from ork_provider.testing import (
    DqopsOutcome,
    ExecutionOutcome,
    FakeBigQuery,
    FakeCloudRun,
    FakeDataproc,
    FakeDqops,
    FakeHttpJobs,
    HttpOutcome,
    Outcome,
    google_connections,
)
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


def test_example_cloud_run(run: Run, tmp_path: Path) -> None:
    """A program of the user's runs in the place of a job, and finds its variables; overrides reach the others."""
    program = tmp_path / "nightly.py"
    program.write_text("import os, sys, time; time.sleep(0.5); print(*sys.argv[1:], 'to', os.environ['TARGET'])")
    commands = {"nightly": [sys.executable, str(program)]}
    with FakeCloudRun(pending=0, running=0, commands=commands) as cloud_run:
        cloud_run.create_job("export", ["exporter", "proxy"])
        cloud_run.script("shards", ExecutionOutcome(pending=0, running=0, retried=2))
        said = run("airflow", "dags", "test", "example_cloud_run", "2026-01-31", env=cloud_run.connections())
        nightly = next(execution for execution in cloud_run.started if execution.job_name == "nightly")
        log_uri = str(nightly.work.log_uri)
        assert Path(log_uri.removeprefix("file://")).read_text() == "--day=2026-01-31 to warehouse\n"
    assert re.search(rf"1 of 1 tasks, 0 retried, [0-9.]+ s: {re.escape(log_uri)}", said)
    place = f"ork-sandbox/europe-west1/nightly/{nightly.execution_id}"
    assert f"Deferring; the triggerer waits for Cloud Run job {place}" in said
    ended = sorted((e.job_name, e.task_count, e.env.get("COUNTRY")) for e in cloud_run.started if e is not nightly)
    countries = [("import-country", 1, country) for country in ("de", "fr", "pl")]
    assert ended == [("export", 1, None), *countries, ("import-shards", 50, None)]
    assert all(execution.state == "SUCCEEDED" for execution in cloud_run.started)


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


def test_example_dqops(run: Run) -> None:
    """Jobs of all types are started and waited for, by the task that started them or by another one."""
    with FakeDqops(pending=0, running=0, api_key="only-in-the-connection") as dqops:
        dqops.script("partitioned", DqopsOutcome(pending=0, running=3))
        dqops.table_status("warehouse", "sales", "orders", {"current_severity": "warning", "executed_checks": 10})
        said = run("airflow", "dags", "test", "example_dqops", "2026-01-31", env=dqops.connections())
    assert "10 checks, 0 warnings: valid" in said
    assert "Deferring; the triggerer waits for DQOps job" in said
    assert "The task succeeds all the same (fail_on_timeout=False)" in said
    assert "only-in-the-connection" not in said
    assert sorted(job.job_type for job in dqops.started) == ["collect_statistics", "import_tables", *["run_checks"] * 5]
    assert {job.status for job in dqops.started} == {"finished"}
    assert [job.key for job in dqops.started if job.key.startswith("items manual__")]


def test_example_many_jobs(run: Run) -> None:
    """Jobs of two kinds, three services and several tasks are waited for together; who came second is cancelled."""
    with (
        FakeBigQuery(pending=0, running=0.3) as bigquery,
        FakeHttpJobs(pending=0, running=2) as http,
        FakeHttpJobs(pending=0, running=60) as slow,
    ):
        (replica,) = slow.connections().values()
        connections = {**bigquery.connections(), **http.connections(), "AIRFLOW_CONN_HTTP_REPLICA": replica}
        env = {**connections, "BIGQUERY_EMULATOR_HOST": bigquery.url}
        run("airflow", "dags", "test", "exports", "2026-01-31", env=env)
        said = run("airflow", "dags", "test", "example_many_jobs", "2026-01-31", env=env)
    assert sorted(job.body["export"] for job in http.created[:3]) == ["customers", "items", "orders"]
    last = ", ".join(f"HTTP job /jobs/{job.job_id}" for job in http.created[-3:])
    assert f"Deferring; the triggerer waits for {last}" in said
    assert "Returned value was: bigquery succeeded, custom_http succeeded" in said
    assert [job.sql for job in bigquery.inserted if "2026-01-31" in job.sql]
    assert (len(bigquery.inserted), len(http.created)) == (2, 12)
    assert {job.status for job in http.created} == {"completed"}
    assert [job.status for job in slow.created] == ["cancelled"]


def test_example_dependency_etl(run: Run) -> None:
    """The second DAG counts what the instances of the first have returned; so do the lines on top of the page."""
    run("airflow", "dags", "test", "example_dependency_extract", "2026-01-31")
    said = run("airflow", "dags", "test", "example_dependency_etl", "2026-01-31")
    assert "Returned value was: users: 5, orders: 6, products: 8, inventory: 9" in said
    run("airflow", "dags", "test", "sales", "2026-01-31")
    said = run("airflow", "dags", "test", "totals", "2026-01-31")
    assert "14 sold" in said


def test_functions_moved_from_ork(run: Run) -> None:
    """Ork's task functions run with other import lines, over each of the services that they name."""
    with (
        FakeBigQuery(pending=0, running=0.3) as bigquery,
        FakeCloudRun(pending=0, running=0.3) as cloud_run,
        FakeHttpJobs(pending=0, running=0.3) as http,
    ):
        places = {"BIGQUERY_EMULATOR_HOST": bigquery.url, "RUN_API": cloud_run.url, "JOBS_API": http.url}
        env = {**google_connections(bigquery, cloud_run), **places}
        said = run("airflow", "dags", "test", "moved_from_ork", "2026-01-31", env=env)
    assert sorted(job.sql for job in bigquery.inserted) == [
        "SELECT * FROM dataset.other",
        "SELECT * FROM dataset.table",
    ]
    (execution,) = cloud_run.started
    assert (execution.state, [job.status for job in http.created]) == ("SUCCEEDED", ["completed"])
    assert f"Cloud Run job my-project/europe-west1/nightly/{execution.execution_id} is SUCCEEDED" in said


PROGRAM = """
import sys, time
time.sleep(0.2)
print(*sys.argv[1:])
"""


def test_example_dataproc(run: Run, tmp_path: Path) -> None:
    """Jobs and batches run programs of a folder, with the rendered arguments; the tasks wait for them."""
    for name in ("clean", "stream", "sum", "export"):
        (tmp_path / f"{name}.py").write_text(PROGRAM)
    conf = json.dumps({"bucket": tmp_path.as_uri()})
    with FakeDataproc(run_files=True) as dataproc:
        said = run(
            *("airflow", "dags", "test", "example_dataproc", "2026-01-31", "--conf", conf), env=dataproc.connections()
        )
        clean, stream = dataproc.started
        output = {batch.work.process.log_path.read_text() for batch in dataproc.started_batches}
        assert clean.work.process.log_path.read_text() == "--day 2026-01-31\n"
        assert (clean.state, stream.state, dataproc.live()) == ("DONE", "DONE", [])
    assert output == {"2026-01-31\n", "orders\n", "items\n"}
    assert stream.resource["scheduling"] == {"maxFailuresPerHour": 3, "maxFailuresTotal": 10}
    assert "weather" in {batch.labels.get("team") for batch in dataproc.started_batches}
    assert f"Deferring; the triggerer waits for Dataproc job ork-sandbox:europe-west1.{clean.job_id}" in said


def test_readme_and_testing_page(run: Run) -> None:
    """The README's DAG and the tests of docs/testing.md pass in a pytest without our configuration."""
    files = [str(ROOT / "tests" / "docs" / name) for name in ("readme_tests.py", "user_tests.py")]
    plugins = ("-p", "no:cacheprovider", "-p", "no:asyncio", "-p", "no:timeout")
    said = run("pytest", "-c", "/dev/null", "--rootdir", "/", *plugins, "-q", *files)
    assert "7 passed" in said
