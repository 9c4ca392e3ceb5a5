"""Google's own clients and operator complete against the fake Cloud Run: it behaves as they expect."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from google.api_core.exceptions import BadRequest, GoogleAPICallError, NotFound
from google.auth.credentials import AnonymousCredentials
from google.cloud import run_v2
from google.cloud.run_v2.services.executions.transports import ExecutionsRestTransport
from google.cloud.run_v2.services.jobs.transports import JobsRestTransport

from ork_provider.testing import ExecutionOutcome, FakeCloudRun, run_trigger
from tests.support.discovery import Discovery

DISCOVERY = Discovery("run", "v2")
JOB = "projects/p/locations/r/jobs/nightly"
ALT = ("$alt",)  # the clients ask for numbers as enum values, by a parameter that the document spells `alt`


@pytest.fixture
def fake() -> Iterator[FakeCloudRun]:
    with FakeCloudRun(pending=0.02, running=0.1, keep_answers=True) as server:
        yield server
        DISCOVERY.check_log(server.requests, ignore=ALT)


def where(fake: FakeCloudRun) -> dict[str, Any]:
    return {"host": f"127.0.0.1:{fake.port}", "credentials": AnonymousCredentials(), "url_scheme": "http"}


@pytest.fixture
def jobs(fake: FakeCloudRun) -> Iterator[run_v2.JobsClient]:
    with run_v2.JobsClient(transport=JobsRestTransport(**where(fake))) as client:
        yield client


@pytest.fixture
def executions(fake: FakeCloudRun) -> Iterator[run_v2.ExecutionsClient]:
    with run_v2.ExecutionsClient(transport=ExecutionsRestTransport(**where(fake))) as client:
        yield client


def run(jobs: run_v2.JobsClient, **overrides: Any) -> Any:
    return jobs.run_job(run_v2.RunJobRequest(name=JOB, overrides=run_v2.RunJobRequest.Overrides(**overrides)))


def test_run_to_the_end(fake: FakeCloudRun, jobs: run_v2.JobsClient) -> None:
    """The client runs a job with overrides, waits for its operation and reads the execution."""
    part = {"args": ["x"], "env": [{"name": "DAY", "value": "1"}]}
    operation = run(jobs, task_count=3, container_overrides=[part])
    assert operation.metadata.name.startswith(f"{JOB}/executions/nightly-")
    execution = operation.result(timeout=10)
    assert (execution.task_count, execution.succeeded_count, execution.failed_count) == (3, 3, 0)
    assert execution.completion_time > execution.start_time >= execution.create_time
    assert fake.started[0].env == {"DAY": "1"}


def test_failed_execution_is_the_operations_error(fake: FakeCloudRun, jobs: run_v2.JobsClient) -> None:
    """An execution that failed raises its message."""
    fake.script("nightly", ExecutionOutcome(0.02, 0.05, failed=1, message="Exit code 7."))
    with pytest.raises(GoogleAPICallError, match=r"Exit code 7\."):
        run(jobs).result(timeout=10)


def test_executions(fake: FakeCloudRun, jobs: run_v2.JobsClient, executions: run_v2.ExecutionsClient) -> None:
    """The client gets, lists page by page, cancels and deletes."""
    fake.script("nightly", ExecutionOutcome(0, 60, tasks=2))
    names = [run(jobs).metadata.name for _ in range(3)]
    request = run_v2.ListExecutionsRequest(parent=JOB, page_size=2)
    assert [execution.name for execution in executions.list_executions(request)] == names[::-1]
    stopped = executions.cancel_execution(name=names[0]).result(timeout=10)
    assert stopped.cancelled_count == 2
    completed = next(c for c in stopped.conditions if c.type_ == "Completed")
    assert completed.execution_reason == run_v2.Condition.ExecutionReason.CANCELLED
    with pytest.raises(BadRequest, match="already completed"):
        executions.cancel_execution(name=names[0])
    executions.delete_execution(name=names[1])
    with pytest.raises(NotFound):
        executions.get_execution(name=names[1])


def test_jobs(fake: FakeCloudRun, jobs: run_v2.JobsClient) -> None:
    """The client reads a job and the list of jobs."""
    fake.create_job("nightly", ["main", "proxy"])
    job = jobs.get_job(name=JOB)
    assert [container.name for container in job.template.template.containers] == ["main", "proxy"]
    assert [listed.name for listed in jobs.list_jobs(parent="projects/p/locations/r")] == [JOB]


class FakeTaskInstance:
    """The little that Google's operator asks of a task instance."""

    dag_id, task_id, run_id, map_index, try_number = "dag", "nightly", "run", -1, 1

    def xcom_push(self, key: str, value: Any) -> None:
        """Take a value and forget it."""


@pytest.fixture
def operator_is_sent_here(fake: FakeCloudRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """Point google_cloud_default at the fake, and Google's hook, which has no parameter for an endpoint, by hand."""
    from airflow.providers.google.cloud.hooks.cloud_run import CloudRunHook  # noqa: TID251 - the peer under test

    for name, value in fake.connections().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(CloudRunHook, "_get_api_endpoint", lambda *_, **__: fake.url)


@pytest.mark.filterwarnings("ignore::airflow.exceptions.AirflowProviderDeprecationWarning")  # Google's own
@pytest.mark.usefixtures("operator_is_sent_here")
@pytest.mark.parametrize("failed", [0, 1])
async def test_cloud_run_execute_job_operator(fake: FakeCloudRun, failed: int) -> None:
    """CloudRunExecuteJobOperator(deferrable=True, transport="rest"): execute, the trigger, execute_complete."""
    from airflow.providers.google.cloud.operators import cloud_run  # noqa: TID251 - the peer under test
    from airflow.sdk.exceptions import TaskDeferred

    fake.script("nightly", ExecutionOutcome(0.02, 0.1, failed=failed, message="Exit code 7."))
    operator = cloud_run.CloudRunExecuteJobOperator(
        task_id="nightly",
        project_id="p",
        region="r",
        job_name="nightly",
        deferrable=True,
        transport="rest",
        polling_period_seconds=0.05,
    )
    context: dict[str, Any] = {"ti": FakeTaskInstance(), "task_instance": FakeTaskInstance(), "dag": operator}
    with pytest.raises(TaskDeferred) as deferred:
        await asyncio.to_thread(operator.execute, context)
    event = (await run_trigger(deferred.value.trigger)).payload
    if failed:
        assert (event["status"], event["operation_error_message"]) == ("Fail", "Exit code 7.")
    else:
        job = await asyncio.to_thread(operator.execute_complete, context, event)
        assert job["latest_created_execution"]["name"] == fake.started[0].execution_id
    assert len(fake.started) == 1
