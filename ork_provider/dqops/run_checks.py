"""DqopsRunChecksOperator: runs data quality checks, and fails if they find something severe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from ork_provider.dqops import requests
from ork_provider.dqops.base import GATE, DqopsGate, DqopsJobOperator
from ork_provider.dqops.values import Argument, CheckTarget, CheckTimeScale, CheckType, RunChecksTarget, plain


class DqopsRunChecksOperator(DqopsGate, DqopsJobOperator):
    """Runs the checks that the filters choose, without holding a worker while they run.

    Returns the job's dict with ``state`` and ``stats`` (see ``read_stats``). Results at or above
    ``fail_at_severity`` fail the task with DqopsQualityIssue, which Airflow does not retry.

    :param connection: name of the data source's connection in DQOps
    :param full_table_name: ``schema.table``; either may hold ``*``
    :param enabled: only checks that are enabled (True) or not (False)
    :param tags: data grouping tags of the tables, any of which counts
    :param labels: labels of the tables, columns or connections, any of which counts
    :param column: name of the column; may hold ``*``
    :param column_data_type: data type of the column, as the table has it
    :param column_nullable: only columns that may be null (True) or not (False)
    :param check_target: checks of tables or of columns
    :param check_type: type of checks
    :param time_scale: daily or monthly, for monitoring and partitioned checks
    :param check_category: category of checks, such as ``volume``
    :param quality_dimension: data quality dimension, such as ``Completeness``
    :param table_comparison_name: name of a table comparison
    :param check_name: name of the check, such as ``daily_row_count``
    :param sensor_name: name of the sensor that the check uses
    :param time_window_filter: for partitioned checks: which partitions, in the API's names, such as
        ``{"daily_partitioning_recent_days": 7}``
    :param collect_error_samples: store samples of the values that failed
    :param execution_target: run sensors and rules, or only one of them
    """

    template_fields: Sequence[str] = (
        *requests.CHECK_FILTERS,
        *requests.RUN_CHECKS,
        "job_business_key",
        "base_url",
        "dqops_conn_id",
        *GATE,
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {"time_window_filter": "json"}
    arguments: ClassVar[Mapping[str, Argument]] = {**requests.CHECK_FILTERS, **requests.RUN_CHECKS}
    ui_color = "#e3f3f1"

    def __init__(
        self,
        *,
        connection: str | None = None,
        full_table_name: str | None = None,
        enabled: bool | None = None,
        tags: Sequence[str] | None = None,
        labels: Sequence[str] | None = None,
        column: str | None = None,
        column_data_type: str | None = None,
        column_nullable: bool | None = None,
        check_target: CheckTarget | str | None = None,
        check_type: CheckType | str | None = None,
        time_scale: CheckTimeScale | str | None = None,
        check_category: str | None = None,
        quality_dimension: str | None = None,
        table_comparison_name: str | None = None,
        check_name: str | None = None,
        sensor_name: str | None = None,
        time_window_filter: dict[str, Any] | None = None,
        collect_error_samples: bool | None = None,
        execution_target: RunChecksTarget | str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.connection = connection
        self.full_table_name = full_table_name
        self.enabled = enabled
        self.tags = tags
        self.labels = labels
        self.column = column
        self.column_data_type = column_data_type
        self.column_nullable = column_nullable
        self.check_target = plain(check_target)
        self.check_type = plain(check_type)
        self.time_scale = plain(time_scale)
        self.check_category = check_category
        self.quality_dimension = quality_dimension
        self.table_comparison_name = table_comparison_name
        self.check_name = check_name
        self.sensor_name = sensor_name
        self.time_window_filter = time_window_filter
        self.collect_error_samples = collect_error_samples
        self.execution_target = plain(execution_target)
        self.check_arguments(self.arguments)

    def new_call(self, arguments: Mapping[str, Any]) -> requests.Call:
        """See DqopsJobOperator."""
        return requests.run_checks(arguments)


class DqopsRunProfilingChecksOperator(DqopsRunChecksOperator):
    """Runs profiling checks; see DqopsRunChecksOperator."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "check_type": CheckType.PROFILING})


class DqopsRunMonitoringChecksOperator(DqopsRunChecksOperator):
    """Runs monitoring checks; see DqopsRunChecksOperator."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "check_type": CheckType.MONITORING})


class DqopsRunPartitionedChecksOperator(DqopsRunChecksOperator):
    """Runs partitioned checks; see DqopsRunChecksOperator."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "check_type": CheckType.PARTITIONED})
