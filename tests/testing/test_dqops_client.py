"""DQOps' own client completes against the fake, reads its answers, and writes the requests that we write."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from dqops.client import AuthenticatedClient
from dqops.client.api.check_results import get_table_data_quality_status
from dqops.client.api.jobs import (
    cancel_job,
    collect_error_samples,
    collect_statistics_on_data_groups,
    collect_statistics_on_table,
    delete_stored_data,
    get_all_jobs,
    get_job,
    get_job_changes_since,
    import_tables,
    run_checks,
    synchronize_folders,
    wait_for_collect_error_samples_job,
    wait_for_job,
    wait_for_run_checks_job,
)
from dqops.client.models import (
    CheckSearchFilters,
    CheckType,
    CollectErrorSamplesParameters,
    CollectErrorSamplesResult,
    CollectStatisticsQueueJobResult,
    DeleteStoredDataQueueJobParameters,
    DeleteStoredDataQueueJobResult,
    DqoJobStatus,
    DqoJobType,
    ImportTablesQueueJobParameters,
    ImportTablesQueueJobResult,
    RuleSeverityLevel,
    RunChecksParameters,
    RunChecksQueueJobResult,
    StatisticsCollectorSearchFilters,
    SynchronizeMultipleFoldersDqoQueueJobParameters,
    SynchronizeMultipleFoldersQueueJobResult,
)

from ork_provider.testing import DqopsOutcome, FakeDqops

CHECKS = RunChecksParameters(
    check_search_filters=CheckSearchFilters(
        connection="c", full_table_name="s.t", enabled=True, check_type=CheckType.MONITORING
    )
)


@pytest.fixture
def dqops() -> Iterator[FakeDqops]:
    with FakeDqops(pending=0.02, running=0.05, api_key="secret", prefix="/dqops", feed_wait=2) as server:
        yield server


@pytest.fixture
def client(dqops: FakeDqops) -> Iterator[AuthenticatedClient]:
    with AuthenticatedClient(f"{dqops.url}/", token="secret", raise_on_unexpected_status=False) as client:
        yield client


def known(model: Any) -> Any:
    """Return the model if it has a field for everything that the answer held, at every depth."""
    assert model.additional_properties == {}, model.additional_properties
    for field in type(model).__attrs_attrs__:
        value = getattr(model, field.name)
        for item in value if isinstance(value, list) else [value]:
            if hasattr(item, "additional_properties"):
                known(item)
    return model


def submitted(answer: Any, model: Any) -> Any:
    """Read the answer to a submit; the client itself reads only 200, and the server answers 201."""
    assert answer.status_code == 201
    return known(model.from_dict(json.loads(answer.content)))


def test_run_checks_from_start_to_result(dqops: FakeDqops, client: AuthenticatedClient) -> None:
    """The client starts a job, waits for it and reads severity and counts."""
    dqops.script("s.t", DqopsOutcome(0.02, 0.05, severity="error", errors=2))
    answer = run_checks.sync_detailed(client=client, json_body=CHECKS, job_business_key="k", wait=False)
    job = submitted(answer, RunChecksQueueJobResult)
    assert (job.status, job.job_id.job_business_key) == (DqoJobStatus.QUEUED, "k")
    number = job.job_id.job_id
    done = known(wait_for_job.sync(str(number), client=client))
    assert (done.status, done.job_type, done.job_id.job_id) == (DqoJobStatus.FINISHED, DqoJobType.RUN_CHECKS, number)
    result = done.parameters.run_checks_parameters.run_checks_result
    assert (result.highest_severity, result.errors, result.executed_checks) == (RuleSeverityLevel.ERROR, 2, 10)
    waited = known(wait_for_run_checks_job.sync(str(number), client=client))
    assert waited.result.to_dict() == result.to_dict()
    assert known(get_job.sync("k", client=client)).to_dict() == done.to_dict()
    assert dqops.started[0].body == CHECKS.to_dict()


def test_failed_job(dqops: FakeDqops, client: AuthenticatedClient) -> None:
    """Its message is where the client expects it."""
    dqops.script("s.t", DqopsOutcome(0, 0, "failed", error_message="boom"))
    run_checks.sync_detailed(client=client, json_body=CHECKS, job_business_key="k", wait=False)
    job = known(get_job.sync("k", client=client))
    assert (job.status, job.error_message) == (DqoJobStatus.FAILED, "boom")


def test_cancel(dqops: FakeDqops, client: AuthenticatedClient) -> None:
    dqops.script("s.t", DqopsOutcome(0, 60, cancelling=60))
    run_checks.sync_detailed(client=client, json_body=CHECKS, job_business_key="k", wait=False)
    assert cancel_job.sync_detailed("k", client=client).status_code == 204
    assert get_job.sync("k", client=client).status == DqoJobStatus.CANCEL_REQUESTED


def test_feed(client: AuthenticatedClient) -> None:
    """The client follows the changes of a job to its end."""
    snapshot = known(get_all_jobs.sync(client=client))
    since, seen = snapshot.last_sequence_number, []
    run_checks.sync_detailed(client=client, json_body=CHECKS, job_business_key="k", wait=False)
    while not seen or seen[-1].status != DqoJobStatus.FINISHED:
        changes = known(get_job_changes_since.sync(since, client=client))
        seen += changes.job_changes
        since = changes.last_sequence_number
    assert (snapshot.jobs, [change.status.value for change in seen]) == ([], ["queued", "running", "finished"])
    result = seen[-1].updated_model.parameters.run_checks_parameters.run_checks_result
    assert result.highest_severity == RuleSeverityLevel.VALID


@pytest.mark.parametrize(
    ("operation", "body", "model"),
    [
        (
            collect_statistics_on_table,
            StatisticsCollectorSearchFilters(connection="c"),
            CollectStatisticsQueueJobResult,
        ),
        (collect_statistics_on_data_groups, StatisticsCollectorSearchFilters(), CollectStatisticsQueueJobResult),
        (import_tables, ImportTablesQueueJobParameters(connection_name="c"), ImportTablesQueueJobResult),
        (collect_error_samples, CollectErrorSamplesParameters(), CollectErrorSamplesResult),
        (delete_stored_data, DeleteStoredDataQueueJobParameters(connection="c"), DeleteStoredDataQueueJobResult),
    ],
)
def test_other_jobs(client: AuthenticatedClient, operation: Any, body: Any, model: Any) -> None:
    """Every kind of job is started, waited for and read by the client, its result and its history."""
    answer = operation.sync_detailed(client=client, json_body=body, job_business_key="k", wait=True, wait_timeout=5)
    job = submitted(answer, model)
    assert (job.status, bool(job.result)) == (DqoJobStatus.FINISHED, True)
    history = known(get_job.sync("k", client=client))
    assert history.job_id.job_id == job.job_id.job_id
    if operation is collect_error_samples:
        assert known(wait_for_collect_error_samples_job.sync("k", client=client)).status == DqoJobStatus.FINISHED


def test_synchronize(client: AuthenticatedClient) -> None:
    body = SynchronizeMultipleFoldersDqoQueueJobParameters(sources=True)
    answer = synchronize_folders.sync_detailed(client=client, json_body=body, job_business_key="k", wait=False)
    assert submitted(answer, SynchronizeMultipleFoldersQueueJobResult).status == DqoJobStatus.QUEUED
    assert known(get_job.sync("k", client=client)).job_type == DqoJobType.SYNCHRONIZE_MULTIPLE_FOLDERS


def test_table_status(dqops: FakeDqops, client: AuthenticatedClient) -> None:
    """The client reads a table without results, and a scripted severity."""
    empty = known(get_table_data_quality_status.sync("c", "s", "t", client=client, months=1))
    assert (empty.executed_checks, bool(empty.current_severity)) == (0, False)
    dqops.table_status("c", "s", "t", {"current_severity": "fatal", "last_check_executed_at": "2026-01-05T14:33:04Z"})
    assert get_table_data_quality_status.sync("c", "s", "t", client=client).current_severity == RuleSeverityLevel.FATAL
