"""Checks with the client that DQOps' operators call, and with ours: docs/migrating.md; migrating_tests.py runs both."""

# [START before]
from airflow.sdk import DAG, task


@task
def run_checks(base_url="http://localhost:8888/", api_key="none"):
    from dqops.client import AuthenticatedClient
    from dqops.client.api.jobs import run_checks, wait_for_run_checks_job
    from dqops.client.models import CheckSearchFilters, RunChecksParameters

    client = AuthenticatedClient(base_url, token=api_key)
    checks = RunChecksParameters(check_search_filters=CheckSearchFilters(connection="warehouse"))
    started = run_checks.sync_detailed(client=client, json_body=checks, job_business_key="nightly", wait=False)
    assert started.status_code < 400, started.status_code
    done = wait_for_run_checks_job.sync("nightly", client=client, wait_timeout=120)
    assert done.status == "finished", done.status
    assert done.result.highest_severity != "fatal", done.result.highest_severity
    return done.result.to_dict()


with DAG("dqops_before") as before:
    run_checks()
# [END before]

# [START after]
from airflow.sdk import DAG  # noqa: E402

from ork_provider.dqops import DqopsRunChecksOperator  # noqa: E402

with DAG("dqops_after") as after:
    DqopsRunChecksOperator(task_id="run_checks", connection="warehouse", fail_at_severity="fatal", poll_interval=1)
# [END after]
