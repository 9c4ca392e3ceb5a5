"""The requests of DQOps' REST API that we send, as values: method, path under the base URL, query and JSON body.

Names are mixed on the wire: searches and the job queue are in camelCase, the parameters of a run of checks and the
status of a table in snake_case.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any
from urllib.parse import quote

from ork_provider.dqops.values import (
    Argument,
    CheckTarget,
    CheckTimeScale,
    CheckType,
    RunChecksTarget,
    StatisticsCollectorTarget,
    plain,
    spell_time,
)

Call = tuple[str, str, dict[str, str], Any]
"""Method, path, query, JSON body (None: no body)."""

CHECK_FILTERS: dict[str, Argument] = {
    "connection": Argument("connection", str),
    "full_table_name": Argument("fullTableName", str),
    "enabled": Argument("enabled", bool),
    "tags": Argument("tags", list),
    "labels": Argument("labels", list),
    "column": Argument("column", str),
    "column_data_type": Argument("columnDataType", str),
    "column_nullable": Argument("columnNullable", bool),
    "check_target": Argument("checkTarget", CheckTarget),
    "check_type": Argument("checkType", CheckType),
    "time_scale": Argument("timeScale", CheckTimeScale),
    "check_category": Argument("checkCategory", str),
    "quality_dimension": Argument("qualityDimension", str),
    "table_comparison_name": Argument("tableComparisonName", str),
    "check_name": Argument("checkName", str),
    "sensor_name": Argument("sensorName", str),
}
"""Arguments that choose checks."""

RUN_CHECKS: dict[str, Argument] = {
    "time_window_filter": Argument("time_window_filter", dict),
    "collect_error_samples": Argument("collect_error_samples", bool),
    "execution_target": Argument("execution_target", RunChecksTarget),
}
"""Arguments that say how checks are run."""

STATISTICS_FILTERS: dict[str, Argument] = {
    "connection": Argument("connection", str),
    "full_table_name": Argument("fullTableName", str),
    "enabled": Argument("enabled", bool),
    "tags": Argument("tags", list),
    "labels": Argument("labels", list),
    "column_names": Argument("columnNames", list),
    "collector_name": Argument("collectorName", str),
    "collector_category": Argument("collectorCategory", str),
    "sensor_name": Argument("sensorName", str),
    "target": Argument("target", StatisticsCollectorTarget),
}
"""Arguments that choose statistics collectors."""

STATISTICS_QUERY: dict[str, Argument] = {
    "configure_table": Argument("configureTable", bool),
    "samples_limit": Argument("samplesLimit", int),
}
"""Arguments that say how statistics are collected."""

TABLE_IMPORT: dict[str, Argument] = {
    "connection_name": Argument("connectionName", str),
    "schema_name": Argument("schemaName", str),
    "table_names": Argument("tableNames", list),
    "table_name_contains": Argument("tableNameContains", str),
    "tables_import_limit": Argument("tablesImportLimit", int),
}
"""Arguments of a table import."""

TABLE_STATUS: dict[str, Argument] = {
    "months": Argument("months", int),
    "since": Argument("since", datetime),
    "profiling": Argument("profiling", bool),
    "monitoring": Argument("monitoring", bool),
    "partitioned": Argument("partitioned", bool),
    "check_time_scale": Argument("checkTimeScale", CheckTimeScale),
    "data_group": Argument("dataGroup", str),
    "check_name": Argument("checkName", str),
    "category": Argument("category", str),
    "table_comparison": Argument("tableComparison", str),
    "quality_dimension": Argument("qualityDimension", str),
}
"""Arguments that choose which results make up a table's status."""


def run_checks(arguments: Mapping[str, Any], job_business_key: str | None = None) -> Call:
    """Return the request that starts a job that runs checks."""
    body = {"check_search_filters": rename(arguments, CHECK_FILTERS), **rename(arguments, RUN_CHECKS)}
    return "POST", "api/jobs/runchecks", start_query(job_business_key), body


def collect_statistics(arguments: Mapping[str, Any], job_business_key: str | None = None) -> Call:
    """Return the request that starts a job that collects basic statistics."""
    query = {**start_query(job_business_key), **spell(rename(arguments, STATISTICS_QUERY))}
    return "POST", "api/jobs/collectstatistics/table", query, rename(arguments, STATISTICS_FILTERS)


def import_tables(arguments: Mapping[str, Any], job_business_key: str | None = None) -> Call:
    """Return the request that starts a job that imports tables."""
    return "POST", "api/jobs/importtables", start_query(job_business_key), rename(arguments, TABLE_IMPORT)


def get_job(job_id: str) -> Call:
    """Return the request that asks how a job is, by its id or business key."""
    return "GET", f"api/jobs/jobs/{quote(job_id, safe='')}", {}, None


def get_changes(since: int) -> Call:
    """Return the request that waits for changes of jobs that are newer than a number, for 20 seconds at most."""
    return "GET", f"api/jobs/jobchangessince/{since}", {}, None


def cancel_job(job_id: str) -> Call:
    """Return the request that cancels a job, by its id or business key."""
    return "DELETE", f"api/jobs/jobs/{quote(job_id, safe='')}", {}, None


def get_all_jobs() -> Call:
    """Return the request that asks for the job queue: the cheapest one that needs a login."""
    return "GET", "api/jobs/jobs", {}, None


def table_status(connection: str, schema: str, table: str, arguments: Mapping[str, Any]) -> Call:
    """Return the request that asks for the data quality status of a table."""
    parts = [quote(part, safe="") for part in (connection, schema, table)]
    path = "api/connections/{}/schemas/{}/tables/{}/status".format(*parts)
    return "GET", path, spell(rename(arguments, TABLE_STATUS)), None


def start_query(job_business_key: str | None) -> dict[str, str]:
    """Return the query of a request that starts a job; by default DQOps would hold the answer back until its end."""
    return {**({"jobBusinessKey": job_business_key} if job_business_key else {}), "wait": "false"}


def rename(arguments: Mapping[str, Any], table: Mapping[str, Argument]) -> dict[str, Any]:
    """Return the arguments of a table that are given, under their names on the wire."""
    given = {name: plain(arguments.get(name)) for name in table}
    return {table[name].wire: _as_json(value) for name, value in given.items() if value is not None}


def spell(values: Mapping[str, Any]) -> dict[str, str]:
    """Return values as a query holds them."""
    return {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in values.items()}


def _as_json(value: Any) -> Any:
    if isinstance(value, date):
        return spell_time(value)
    return list(value) if isinstance(value, tuple) else value
