"""The DAGs of docs/migrating.md, before and after, on the same fakes; test_migrating.py runs this as a user would."""

from __future__ import annotations

import inspect
import json
import re
import shutil
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from airflow.models.xcom import XComModel
from airflow.utils.session import create_session
from sqlalchemy import select

from ork_provider.testing import FakeBigQuery, FakeCloudRun, FakeDataproc, FakeDqops, FakeHttpJobs, HttpOutcome

DAY = datetime(2026, 1, 31, tzinfo=timezone.utc)


def run(dag: Any, task_id: str, logical_date: datetime = DAY) -> Any:
    """Run a DAG to its success; return what one of its tasks has returned."""
    done = dag.test(logical_date=logical_date)
    assert done.state == "success", {ti.task_id: ti.state for ti in done.get_task_instances()}
    wanted = {"dag_id": dag.dag_id, "run_id": done.run_id, "task_id": task_id, "key": "return_value"}
    with create_session() as session:
        row = session.scalar(select(XComModel).filter_by(**wanted))
        return None if row is None else XComModel.deserialize_value(row)


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return what makes a fake's connections those of Airflow."""

    def set_all(*fakes: Any) -> None:
        for fake in fakes:
            for name, value in fake.connections().items():
                monkeypatch.setenv(name, value)

    return set_all


@pytest.fixture
def bigquery(tmp_path: Path, connect: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeBigQuery]:
    """Serve a city's weather as BigQuery, to both."""
    import vega_datasets

    (tmp_path / "weather").mkdir()
    table = Path(vega_datasets.__file__).parent / "_data" / "seattle-weather.csv"
    shutil.copy(table, tmp_path / "weather" / "seattle.csv")
    with FakeBigQuery(pending=0, running=1, data=tmp_path) as fake:
        connect(fake)
        monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", fake.url)
        yield fake


def test_bigquery(bigquery: FakeBigQuery) -> None:
    """The same configuration is the same job, and gives the same rows."""
    from moving_bigquery import after, before

    old, new = run(before, "report"), run(after, "report")
    assert old == new
    assert len(new) == 5
    one, other = bigquery.inserted
    assert one.sql == other.sql
    assert [job.state for job in bigquery.inserted] == ["DONE", "DONE"]


def test_cloud_run(connect: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same overrides are the same execution, but for the marker of ours; Google's returns the job's definition."""
    from airflow.providers.google.cloud.hooks.cloud_run import CloudRunHook  # noqa: TID251 - the old one
    from moving_cloud_run import after, before

    with FakeCloudRun(pending=0, running=1) as fake:
        connect(fake)  # Google's hook has no parameter for another host
        monkeypatch.setattr(CloudRunHook, "_get_api_endpoint", lambda *_, **__: fake.url)
        old, new = run(before, "nightly"), run(after, "nightly")
    one, other = fake.started
    assert (one.task_count, other.task_count) == (2, 2)
    args = [execution.overrides["containerOverrides"][0]["args"] for execution in fake.started]
    assert args == [["--day=2026-01-31"]] * 2
    assert (one.state, other.state) == ("SUCCEEDED", "SUCCEEDED")
    assert old["name"].endswith("/jobs/nightly")
    assert other.execution_id == new["execution_id"]
    assert new["stats"]["succeeded"] == 2


@pytest.fixture
def dataproc(connect: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDataproc]:
    """Serve Dataproc to both. Google's hooks know no other host, and gRPC only; here they get REST clients."""
    from airflow.providers.google.cloud.hooks.dataproc import (  # noqa: TID251 - the old one
        DataprocAsyncHook,
        DataprocHook,
    )
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import dataproc_v1
    from google.cloud.dataproc_v1.services.batch_controller.transports import BatchControllerRestTransport
    from google.cloud.dataproc_v1.services.job_controller.transports import JobControllerRestTransport

    with FakeDataproc(pending=0, running=1) as fake:
        connect(fake)
        where: Any = {"host": f"{fake.host}:{fake.port}", "credentials": AnonymousCredentials(), "url_scheme": "http"}
        jobs = dataproc_v1.JobControllerClient(transport=JobControllerRestTransport(**where))
        batches = Located(dataproc_v1.BatchControllerClient(transport=BatchControllerRestTransport(**where)))
        monkeypatch.setattr(DataprocHook, "get_job_client", lambda self, region=None: jobs)
        monkeypatch.setattr(DataprocHook, "get_batch_client", lambda self, region=None: batches)
        monkeypatch.setattr(DataprocAsyncHook, "get_job_client", asynchronous(jobs))
        monkeypatch.setattr(DataprocAsyncHook, "get_batch_client", asynchronous(batches))
        yield fake


class Located:
    """A client of batches whose parent the hook calls `regions/R`; over REST it is `locations/R`."""

    def __init__(self, client: Any) -> None:
        self.client = client

    def __getattr__(self, name: str) -> Any:
        def call(request: Any, **kwargs: Any) -> Any:
            place = {k: v.replace("/regions/", "/locations/") for k, v in request.items() if k in ("parent", "name")}
            return getattr(self.client, name)({**request, **place}, **kwargs)

        return call


def asynchronous(client: Any) -> Any:
    """Return a method of the asynchronous hook that gives this client."""

    class Asynchronous:
        def __getattr__(self, name: str) -> Any:
            async def call(**kwargs: Any) -> Any:
                return getattr(client, name)(**kwargs)

            return call

    async def found(self: Any, region: str | None = None) -> Any:
        return Asynchronous()

    return found


def test_dataproc(dataproc: FakeDataproc) -> None:
    """The same job and the same batch run; Google's return the job's id, and nothing of the batch but its name."""
    from moving_dataproc import after, before

    assert isinstance(run(before, "clean"), str)
    new = run(after, "clean")
    old_job, new_job = dataproc.started
    assert old_job.resource["pysparkJob"] == new_job.resource["pysparkJob"]
    assert (old_job.state, new_job.state) == ("DONE", "DONE")
    assert (new["job_id"], new["state"]) == (new_job.job_id, "succeeded")
    one, other = dataproc.started_batches
    assert one.resource["pysparkBatch"] == other.resource["pysparkBatch"]
    assert (one.state, other.state) == ("SUCCEEDED", "SUCCEEDED")


def test_http(connect: Any) -> None:
    """One task instead of three starts the same job and has the same result."""
    from moving_http import after, before

    with FakeHttpJobs(pending=0, running=1) as fake:
        fake.script("orders", HttpOutcome(pending=0, running=1, output={"rows": 3}))
        connect(fake)
        old, new = run(before, "result"), run(after, "export")
    assert [job.body for job in fake.created] == [{"table": "orders"}] * 2
    assert old == new["result"]
    assert (len(before.tasks), len(after.tasks)) == (3, 1)


def test_external_task() -> None:
    """Both wait for the task of the day before."""
    from moving_external_task import after, before, sales

    run(sales, "load", DAY - timedelta(days=1))
    run(before, "wait")
    (found,) = run(after, "wait")["dependencies"]
    assert (found["dag_id"], found["state"]) == ("sales", "succeeded")


def test_dqops(monkeypatch: pytest.MonkeyPatch, connect: Any) -> None:
    """The same checks are run and their severity is looked at; the new task names the job and its counts."""
    import moving_dqops as dags

    assert find_spec("dqops.airflow") is None  # as the page says
    with FakeDqops(pending=0, running=1) as fake:
        connect(fake)
        dags.before.get_task("run_checks").op_kwargs = {"base_url": f"{fake.url}/"}
        old, new = run(dags.before, "run_checks"), run(dags.after, "run_checks")
    assert [job.job_type for job in fake.started] == ["run_checks", "run_checks"]
    assert old["highest_severity"] == new["stats"]["highest_severity"]
    assert old["executed_checks"] == new["stats"]["executed_checks"]


def test_ork(monkeypatch: pytest.MonkeyPatch) -> None:
    """What Ork's task function returns is JSON, as Ork wants it; under Airflow it is waited for, and goes on."""
    import moving_ork as dags

    with FakeHttpJobs(pending=0, running=1) as fake:
        monkeypatch.setattr(dags, "API", fake.url)
        returned = json.loads(json.dumps(dags.start_export("orders")))
        assert returned["deferred"][0]["service_type"] == "custom_http"
        assert run(dags.after, "report") == "orders exported"
    assert [job.body for job in fake.created] == [{"table": "orders"}] * 2


def _parameters(*classes: type) -> set[str]:
    inits = [inspect.unwrap(vars(c)["__init__"]) for cls in classes for c in cls.__mro__ if "__init__" in vars(c)]
    return {name for init in inits for name in inspect.signature(init).parameters}


def _tables() -> dict[str, tuple[set[str], set[str]]]:
    from airflow.providers.google.cloud.operators import bigquery, cloud_run, dataproc  # noqa: TID251 - the old ones
    from airflow.providers.http.operators.http import HttpOperator
    from airflow.providers.http.sensors.http import HttpSensor

    from ork_provider import bigquery as new_bigquery
    from ork_provider import cloud_run as new_cloud_run
    from ork_provider import dataproc as new_dataproc
    from ork_provider import http as new_http

    old_dataproc = dataproc.DataprocSubmitJobOperator, dataproc.DataprocCreateBatchOperator
    return {
        "BigQueryInsertJobOperator": (
            _parameters(bigquery.BigQueryInsertJobOperator),
            _parameters(new_bigquery.BigQueryJobOperator),
        ),
        "CloudRunExecuteJobOperator": (
            _parameters(cloud_run.CloudRunExecuteJobOperator),
            _parameters(new_cloud_run.CloudRunJobOperator),
        ),
        "Google's": (
            _parameters(*old_dataproc),
            _parameters(new_dataproc.DataprocJobOperator, new_dataproc.DataprocBatchOperator),
        ),
        "HttpOperator": (
            _parameters(HttpOperator, HttpSensor),
            _parameters(new_http.HttpJobOperator, new_http.HttpJobSensor),
        ),
    }


def test_parameter_tables() -> None:
    """Names in the tables of parameters are those of the old and of the new operators; what is kept is said."""
    page = (Path(__file__).resolve().parents[2] / "docs" / "migrating.md").read_text()
    for title, (old, new) in _tables().items():
        table = re.search(rf"^\| `?{title}.*\n\|---\|---\|\n((?:\|.*\n)+)", page, re.MULTILINE)
        assert table, title
        for row in table[1].splitlines():
            left, right = row.strip("| ").split(" | ")
            assert _names(left) <= old, row
            assert _names(right) <= new | {"api_endpoints", "overrides"}, row
            if right.startswith("the same"):
                assert _names(left) <= new, row


def _names(cell: str) -> set[str]:
    return set(re.findall(r"`([a-z_]+)(?:=[^`]*)?`", cell))
