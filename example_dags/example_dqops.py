"""DQOps: import tables, collect statistics, run checks and wait for them, ask for the status of a table.

To run it without a DQOps server:

    python -m ork_provider.testing      # prints the connections to export, serves until Ctrl-C
    airflow dags test example_dqops 2026-01-31
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from airflow.sdk import dag, task

from ork_provider.dqops import (
    CheckType,
    DqopsAssertTableStatusOperator,
    DqopsCollectStatisticsOperator,
    DqopsRunChecksOperator,
    DqopsRunMonitoringChecksOperator,
    DqopsRunPartitionedChecksOperator,
    DqopsTableImportOperator,
    DqopsWaitForJobOperator,
    RuleSeverityLevel,
)


@dag(
    schedule="@daily",
    start_date=datetime(2026, 1, 1),
    catchup=False,
    default_args={"poll_interval": 5},
    tags=["example", "dqops"],
)
def example_dqops() -> None:
    """Look after the quality of a data source; no task holds a worker while DQOps works."""
    # [START tables]
    tables = DqopsTableImportOperator(
        task_id="import_tables",
        connection_name="warehouse",
        schema_name="sales",
        table_names=["orders", "items"],
    )
    statistics = DqopsCollectStatisticsOperator(
        task_id="collect_statistics",
        connection="warehouse",
        full_table_name="sales.*",
    )
    # [END tables]

    # [START chain]
    run_checks = DqopsRunChecksOperator(
        task_id="run_checks",
        connection="warehouse",
        full_table_name="sales.orders",
        check_type=CheckType.MONITORING,
        fail_at_severity=RuleSeverityLevel.ERROR,
        min_executed_checks=1,  # a misspelt table name has no checks, and DQOps calls that valid
    )
    wait_for_job = DqopsWaitForJobOperator(
        task_id="wait_for_job",
        fail_at_severity=RuleSeverityLevel.ERROR,
        retries=200,
        retry_delay=30,
        trigger_rule="all_done",
    )
    run_checks >> wait_for_job
    # [END chain]

    # [START alone]
    patient = DqopsRunMonitoringChecksOperator(
        task_id="run_all_monitoring_checks",
        connection="warehouse",
        timeout=timedelta(hours=6),
        cancel_on_timeout=True,
    )
    # [END alone]

    # [START several]
    started = DqopsRunPartitionedChecksOperator.partial(
        task_id="start_partitioned_checks",
        connection="warehouse",
        time_scale="daily",
        time_window_filter={"daily_partitioning_recent_days": 7},
        wait_timeout=1,
        fail_on_timeout=False,
    ).expand(full_table_name=["sales.orders", "sales.items"])
    all_partitions = DqopsWaitForJobOperator(task_id="wait_for_all", retries=10, retry_delay=60)
    started >> all_partitions
    # [END several]

    # [START result]
    @task
    def report(job: dict[str, Any]) -> str:
        """Say what the checks have found."""
        stats = job["stats"]
        return f"{stats['executed_checks']} checks, {stats['warnings']} warnings: {stats['highest_severity']}"

    report(run_checks.output)
    # [END result]

    # [START key]
    keyed = DqopsRunChecksOperator(
        task_id="run_checks_with_a_key",
        connection="warehouse",
        full_table_name="sales.items",
        job_business_key="items {{ run_id }}",
    )
    by_key = DqopsWaitForJobOperator(task_id="wait_by_key", job_business_key="items {{ run_id }}")
    # [END key]

    # [START status]
    status = DqopsAssertTableStatusOperator(
        task_id="assert_status",
        connection_name="warehouse",
        schema_name="sales",
        table_name="orders",
        fail_at_severity=RuleSeverityLevel.FATAL,
    )
    # [END status]

    tables >> statistics >> [run_checks, patient, started, keyed]
    keyed >> by_key >> status


example_dqops()
