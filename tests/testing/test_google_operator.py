"""Google's own deferrable operator completes against the fake, its trigger through run_trigger()."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ork_provider.testing import FakeBigQuery, Outcome, run_trigger
from tests.support.discovery import Discovery
from tests.support.ticks import Ticks

SYNTAX_ERROR = {"reason": "invalidQuery", "message": "Syntax error: unexpected X"}


class FakeTaskInstance:
    """The little that Google's operator asks of a task instance."""

    dag_id, task_id, run_id, map_index, try_number = "dag", "query", "run", -1, 1

    def xcom_push(self, key: str, value: Any) -> None:
        """Take a value and forget it."""


@pytest.fixture(autouse=True)
def connection(fake: FakeBigQuery, monkeypatch: pytest.MonkeyPatch) -> None:
    """Point google_cloud_default at the fake."""
    extra = {"is_anonymous": True, "use_legacy_sql": False}
    value = json.dumps({"conn_type": "google_cloud_platform", "extra": extra})
    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", fake.url)
    monkeypatch.setenv("AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT", value)


@pytest.mark.filterwarnings("ignore::airflow.exceptions.AirflowProviderDeprecationWarning")  # Google's own
@pytest.mark.parametrize("error", [None, SYNTAX_ERROR])
async def test_bigquery_insert_job_operator(fake: FakeBigQuery, ticks: Ticks, error: dict[str, str] | None) -> None:
    """BigQueryInsertJobOperator(deferrable=True): execute, the trigger, execute_complete; one job, no more."""
    from airflow.providers.google.cloud.operators import bigquery  # noqa: TID251 - the peer under test
    from airflow.sdk.exceptions import TaskDeferred

    fake.script("SELECT 1", Outcome(1, 10, error=error))
    configuration = {"query": {"query": "SELECT 1", "useLegacySql": False}}
    operator = bigquery.BigQueryInsertJobOperator(
        task_id="query", configuration=configuration, project_id="p", location="US", deferrable=True, poll_interval=0.1
    )
    context: dict[str, Any] = {"ti": FakeTaskInstance(), "task_instance": FakeTaskInstance(), "dag": operator}
    with pytest.raises(TaskDeferred) as deferred:
        operator.execute(context)
    ticks.seconds += 20
    event = (await run_trigger(deferred.value.trigger)).payload
    if error:
        assert (event["status"], error["message"] in event["message"]) == ("error", True)
    else:
        assert fake.jobs[operator.execute_complete(context, event)].state == "DONE"
    assert len(fake.inserted) == 1
    Discovery("bigquery", "v2").check_log(fake.requests, ignore=("projection",))
