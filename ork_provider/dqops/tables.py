"""DqopsCollectStatisticsOperator and DqopsTableImportOperator: what is done to tables before they are checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from ork_provider.dqops import requests
from ork_provider.dqops.base import DqopsJobOperator
from ork_provider.dqops.values import Argument, StatisticsCollectorTarget, plain


class DqopsCollectStatisticsOperator(DqopsJobOperator):
    """Collects basic statistics of tables and columns, without holding a worker.

    Returns the job's dict with ``state`` and ``stats``.

    :param connection: name of the data source's connection in DQOps
    :param full_table_name: ``schema.table``; either may hold ``*``
    :param enabled: only what is enabled (True) or not (False)
    :param tags: data grouping tags of the tables, any of which counts
    :param labels: labels of the tables, columns or connections, any of which counts
    :param column_names: names of columns
    :param collector_name: name of a statistics collector
    :param collector_category: category of collectors, such as ``volume``
    :param sensor_name: name of the sensor that the collector uses
    :param target: statistics of tables or of columns
    :param configure_table: configure the default checks of a table from its statistics
    :param samples_limit: number of samples to store
    """

    template_fields: Sequence[str] = (
        *requests.STATISTICS_FILTERS,
        *requests.STATISTICS_QUERY,
        "job_business_key",
        "base_url",
        "dqops_conn_id",
    )
    arguments: ClassVar[Mapping[str, Argument]] = {**requests.STATISTICS_FILTERS, **requests.STATISTICS_QUERY}
    ui_color = "#e3f3f1"

    def __init__(
        self,
        *,
        connection: str | None = None,
        full_table_name: str | None = None,
        enabled: bool | None = None,
        tags: Sequence[str] | None = None,
        labels: Sequence[str] | None = None,
        column_names: Sequence[str] | None = None,
        collector_name: str | None = None,
        collector_category: str | None = None,
        sensor_name: str | None = None,
        target: StatisticsCollectorTarget | str | None = None,
        configure_table: bool | None = None,
        samples_limit: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.connection = connection
        self.full_table_name = full_table_name
        self.enabled = enabled
        self.tags = tags
        self.labels = labels
        self.column_names = column_names
        self.collector_name = collector_name
        self.collector_category = collector_category
        self.sensor_name = sensor_name
        self.target = plain(target)
        self.configure_table = configure_table
        self.samples_limit = samples_limit
        self.check_arguments(self.arguments)

    def new_call(self, arguments: Mapping[str, Any]) -> requests.Call:
        """See DqopsJobOperator."""
        return requests.collect_statistics(arguments)


class DqopsTableImportOperator(DqopsJobOperator):
    """Imports the metadata of tables from a data source into DQOps, without holding a worker.

    Returns the job's dict with ``state`` and ``stats``.

    :param connection_name: name of the data source's connection in DQOps
    :param schema_name: schema of the tables
    :param table_names: tables to import; None: all
    :param table_name_contains: only tables whose name holds this text
    :param tables_import_limit: number of tables to import at most
    """

    template_fields: Sequence[str] = (*requests.TABLE_IMPORT, "job_business_key", "base_url", "dqops_conn_id")
    arguments: ClassVar[Mapping[str, Argument]] = requests.TABLE_IMPORT
    ui_color = "#e3f3f1"

    def __init__(
        self,
        *,
        connection_name: str,
        schema_name: str,
        table_names: Sequence[str] | None = None,
        table_name_contains: str | None = None,
        tables_import_limit: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.connection_name = connection_name
        self.schema_name = schema_name
        self.table_names = table_names
        self.table_name_contains = table_name_contains
        self.tables_import_limit = tables_import_limit
        self.check_arguments(self.arguments)

    def new_call(self, arguments: Mapping[str, Any]) -> requests.Call:
        """See DqopsJobOperator."""
        return requests.import_tables(arguments)
