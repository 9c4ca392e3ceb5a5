"""Google's own Dataproc clients and operators complete against the fake: it behaves as they expect."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from google.api_core.exceptions import BadRequest, Conflict, NotFound
from google.auth.credentials import AnonymousCredentials
from google.cloud import dataproc_v1
from google.cloud.dataproc_v1.services.batch_controller.transports import BatchControllerRestTransport
from google.cloud.dataproc_v1.services.job_controller.transports import JobControllerRestTransport

from ork_provider.testing import DataprocOutcome, FakeDataproc, run_trigger
from tests.support.discovery import Discovery

PLACE = {"project_id": "p", "region": "r"}
PYSPARK = {"main_python_file_uri": "gs://b/main.py", "args": ["1"]}
IGNORED = ("$alt", "jobStateMatcher")
"""Google's REST transport sends `$alt`, the document's `alt` in its newer spelling, and with it numbers for enums."""


@pytest.fixture
def fake() -> Iterator[FakeDataproc]:
    with FakeDataproc(pending=0.05, running=0.15, keep_answers=True) as server:
        yield server
        Discovery("dataproc", "v1").check_log(server.requests, ignore=IGNORED)


@pytest.fixture
def jobs(fake: FakeDataproc) -> dataproc_v1.JobControllerClient:
    host = f"{fake.host}:{fake.port}"
    transport = JobControllerRestTransport(host=host, credentials=AnonymousCredentials(), url_scheme="http")
    return dataproc_v1.JobControllerClient(transport=transport)


@pytest.fixture
def batches(fake: FakeDataproc) -> dataproc_v1.BatchControllerClient:
    host = f"{fake.host}:{fake.port}"
    transport = BatchControllerRestTransport(host=host, credentials=AnonymousCredentials(), url_scheme="http")
    return dataproc_v1.BatchControllerClient(transport=transport)


def new_job(job_id: str = "j") -> dict[str, Any]:
    return {
        "placement": {"cluster_name": "c"},
        "reference": {"job_id": job_id},
        "pyspark_job": {**PYSPARK, "properties": {"spark.app.name": "x"}},
    }


def submit(jobs: dataproc_v1.JobControllerClient, request_id: str = "") -> dataproc_v1.Job:
    return jobs.submit_job({**PLACE, "job": new_job(), "request_id": request_id})


def test_job_completes(fake: FakeDataproc, jobs: dataproc_v1.JobControllerClient) -> None:
    """The client submits a job and sees it done, with its progress and its output."""
    job = submit(jobs)
    while not job.done:
        job = jobs.get_job({**PLACE, "job_id": "j"})
    assert job.status.state == dataproc_v1.JobStatus.State.DONE
    assert job.yarn_applications[0].state == dataproc_v1.YarnApplication.State.FINISHED
    assert job.driver_output_resource_uri.startswith("gs://")
    assert job.pyspark_job.properties["spark.app.name"] == "x"
    assert [s.state.name for s in job.status_history] == ["PENDING", "SETUP_DONE", "RUNNING"]


def test_job_submitted_as_twice(fake: FakeDataproc, jobs: dataproc_v1.JobControllerClient) -> None:
    """A repeated request id gives the first job, a repeated job id Conflict, an unknown one NotFound."""
    assert submit(jobs, "one").job_uuid == submit(jobs, "one").job_uuid
    with pytest.raises(Conflict, match="Already exists: Job"):
        submit(jobs, "two")
    with pytest.raises(NotFound, match="Not found: Job"):
        jobs.get_job({**PLACE, "job_id": "other"})


def test_job_is_listed_cancelled_deleted(fake: FakeDataproc, jobs: dataproc_v1.JobControllerClient) -> None:
    """Lists, cancel and delete work as the client expects."""
    fake.script("main.py", DataprocOutcome(0.0, 60.0))
    submit(jobs)
    active = dataproc_v1.ListJobsRequest.JobStateMatcher.ACTIVE
    assert [j.reference.job_id for j in jobs.list_jobs({**PLACE, "job_state_matcher": active})] == ["j"]
    with pytest.raises(BadRequest):
        jobs.delete_job({**PLACE, "job_id": "j"})
    jobs.cancel_job({**PLACE, "job_id": "j"})
    assert jobs.get_job({**PLACE, "job_id": "j"}).status.state == dataproc_v1.JobStatus.State.CANCELLED
    with pytest.raises(BadRequest, match="cancellable states"):
        jobs.cancel_job({**PLACE, "job_id": "j"})
    assert list(jobs.list_jobs({**PLACE, "job_state_matcher": active})) == []
    jobs.delete_job({**PLACE, "job_id": "j"})
    assert fake.jobs == {}


def test_pages_of_jobs(fake: FakeDataproc, jobs: dataproc_v1.JobControllerClient) -> None:
    """The client reads a list page by page."""
    for n in range(5):
        jobs.submit_job({**PLACE, "job": new_job(f"j{n}")})
    assert [j.reference.job_id for j in jobs.list_jobs({**PLACE, "page_size": 2})] == ["j4", "j3", "j2", "j1", "j0"]
    assert len(fake.calls("GET", "*/jobs")) == 3


def create(batches: dataproc_v1.BatchControllerClient) -> Any:
    batch = {"pyspark_batch": PYSPARK, "environment_config": {"execution_config": {"ttl": {"seconds": 60}}}}
    return batches.create_batch({"parent": "projects/p/locations/r", "batch": batch, "batch_id": "b-1234"})


def test_batch_completes(fake: FakeDataproc, batches: dataproc_v1.BatchControllerClient) -> None:
    """The client creates a batch and waits for its operation."""
    batch = create(batches).result(timeout=20)
    assert (batch.state, batch.name) == (dataproc_v1.Batch.State.SUCCEEDED, "projects/p/locations/r/batches/b-1234")
    assert batch.runtime_info.approximate_usage.milli_dcu_seconds > 0
    assert [b.name for b in batches.list_batches({"parent": "projects/p/locations/r"})] == [batch.name]
    with pytest.raises(Conflict):
        create(batches)
    batches.delete_batch({"name": batch.name})
    with pytest.raises(NotFound):
        batches.get_batch({"name": batch.name})


def test_batch_is_cancelled(fake: FakeDataproc, batches: dataproc_v1.BatchControllerClient) -> None:
    """The client's operation cancels the batch."""
    fake.script("main.py", DataprocOutcome(0.0, 60.0))
    operation = create(batches)
    batches.cancel_operation({"name": operation.operation.name})  # operation.cancel() raises KeyError: 'body' over REST
    state = batches.get_batch({"name": operation.metadata.batch}).state
    assert state == dataproc_v1.Batch.State.CANCELLED


# -- Google's operators ------------------------------------------------------------------------------------


class FakeTaskInstance:
    """The little that Google's operator asks of a task instance."""

    dag_id, task_id, run_id, map_index, try_number = "dag", "job", "run", -1, 1

    def xcom_push(self, key: str, value: Any) -> None:
        """Take a value and forget it."""


@pytest.fixture
def hooks(
    jobs: dataproc_v1.JobControllerClient,
    batches: dataproc_v1.BatchControllerClient,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Point Google's hooks at the fake.

    They have no way to be pointed anywhere from outside: the host is built from the region, and the transport is
    gRPC. So the REST clients are put in their place; the asynchronous hook, which only knows gRPC, gets them too.
    The hook names a batch's parent `projects/P/regions/R`, which REST does not have: it is `locations` there.
    """
    from airflow.providers.google.cloud.hooks import dataproc as google  # noqa: TID251 - the peer under test

    class Located:
        def __getattr__(self, name: str) -> Any:
            def call(request: Any, **kwargs: Any) -> Any:
                return getattr(batches, name)(_located(request), **kwargs)

            return call

    def asynchronous(client: Any) -> Any:
        class Asynchronous:
            def __getattr__(self, name: str) -> Any:
                async def call(**kwargs: Any) -> Any:
                    return getattr(client, name)(**kwargs)

                return call

        async def found(self: Any, region: str | None = None) -> Any:
            return Asynchronous()

        return found

    monkeypatch.setattr(google.DataprocHook, "get_job_client", lambda self, region=None: jobs)
    monkeypatch.setattr(google.DataprocHook, "get_batch_client", lambda self, region=None: Located())
    monkeypatch.setattr(google.DataprocAsyncHook, "get_job_client", asynchronous(jobs))
    monkeypatch.setattr(google.DataprocAsyncHook, "get_batch_client", asynchronous(Located()))
    value = json.dumps({"conn_type": "google_cloud_platform", "extra": {"is_anonymous": True}})
    monkeypatch.setenv("AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT", value)


def _located(request: Any) -> dict[str, Any]:
    return {k: v.replace("/regions/", "/locations/") if k in ("parent", "name") else v for k, v in request.items()}


@pytest.mark.filterwarnings("ignore::airflow.exceptions.AirflowProviderDeprecationWarning")  # Google's own
@pytest.mark.parametrize("error", [None, "Job failed with message [boom]"])
@pytest.mark.parametrize("kind", ["job", "batch"])
@pytest.mark.usefixtures("hooks")
async def test_google_operator(fake: FakeDataproc, kind: str, error: str | None) -> None:
    """Google's deferrable operators: execute, the trigger, execute_complete; one job, no more."""
    from airflow.providers.google.cloud.operators import dataproc  # noqa: TID251 - the peer under test
    from airflow.sdk.exceptions import AirflowException, TaskDeferred

    fake.script("main.py", DataprocOutcome(0.05, 0.2, error=error))
    common: dict[str, Any] = {"task_id": kind, **PLACE, "deferrable": True, "polling_interval_seconds": 0.1}
    operator: Any = (
        dataproc.DataprocSubmitJobOperator(job=new_job(), **common)
        if kind == "job"
        else dataproc.DataprocCreateBatchOperator(batch={"pyspark_batch": PYSPARK}, batch_id="b-1234", **common)
    )
    context: dict[str, Any] = {"ti": FakeTaskInstance(), "task_instance": FakeTaskInstance(), "task": operator}
    with pytest.raises(TaskDeferred) as deferred:
        operator.execute(context)
    event = (await run_trigger(deferred.value.trigger)).payload
    if error:
        with pytest.raises(AirflowException, match="boom"):
            operator.execute_complete(context, event)
    else:
        operator.execute_complete(context, event)
    assert len(fake.started) + len(fake.started_batches) == 1
