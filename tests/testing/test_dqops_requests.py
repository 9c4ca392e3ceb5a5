"""Our requests to DQOps and our words for its values are those of DQOps' own client."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from enum import Enum
from typing import Any

import httpx
import pytest
from dqops.client import models
from dqops.client.api.check_results import get_table_data_quality_status
from dqops.client.api.jobs import (
    cancel_job,
    collect_statistics_on_table,
    get_all_jobs,
    get_job,
    import_tables,
    run_checks,
)

from ork_provider import dqops
from ork_provider.dqops import requests
from ork_provider.dqops.job import STATES
from ork_provider.dqops.requests import Call
from ork_provider.job import JobState
from ork_provider.testing import dqops_jobs
from ork_provider.testing.dqops_jobs import FINAL, DqopsOutcome

WINDOW = {"daily_partitioning_recent_days": 7, "from_date": "2026-01-05", "where_filter": "a > 1"}
VALUES: dict[type, Any] = {
    str: "a text",
    bool: True,
    int: 7,
    list: ["a", "b"],
    dict: WINDOW,
    datetime: datetime(2026, 1, 5, 14, 33, 4, tzinfo=timezone.utc),
}
ENUMS = {
    dqops.CheckType: models.CheckType,
    dqops.CheckTimeScale: models.CheckTimeScale,
    dqops.CheckTarget: models.CheckTarget,
    dqops.RuleSeverityLevel: models.RuleSeverityLevel,
    dqops.RunChecksTarget: models.RunChecksTarget,
    dqops.StatisticsCollectorTarget: models.StatisticsCollectorTarget,
}


def ours(*tables: Mapping[str, Any]) -> dict[str, Any]:
    """Return a value for every argument of the tables, as a user writes it."""
    arguments = {name: argument for table in tables for name, argument in table.items()}
    return {name: VALUES[a.kind] if a.kind in VALUES else list(a.kind)[-1] for name, a in arguments.items()}


def theirs(table: Mapping[str, Any]) -> dict[str, Any]:
    """Return the same values as the client's own types."""
    values = ours(table)
    return {name: ENUMS[type(v)](v.value) if isinstance(v, Enum) else v for name, v in values.items()}


def same(call: Call, kwargs: Mapping[str, Any]) -> None:
    """Compare a request of ours to what the client gives to httpx."""
    method, path, query, body = call
    assert (method, path, body) == (kwargs["method"].upper(), kwargs["url"], kwargs.get("json"))
    params = httpx.QueryParams(kwargs.get("params", {}))
    assert query == {name: value.replace("+00:00", "Z") for name, value in params.items()}  # two spellings of UTC


@pytest.mark.parametrize("key", [None, "a key"])
def test_run_checks(key: str | None) -> None:
    """Every argument arrives under the name that the client gives it."""
    window = models.TimeWindowFilterParameters.from_dict(WINDOW)
    body = models.RunChecksParameters(
        check_search_filters=models.CheckSearchFilters(**theirs(requests.CHECK_FILTERS)),
        **{**theirs(requests.RUN_CHECKS), "time_window_filter": window},
    )
    arguments = ours(requests.CHECK_FILTERS, requests.RUN_CHECKS)
    expected = run_checks._get_kwargs(json_body=body, job_business_key=key, wait=False)
    same(requests.run_checks(arguments, key), expected)


def test_collect_statistics() -> None:
    body = models.StatisticsCollectorSearchFilters(**theirs(requests.STATISTICS_FILTERS))
    arguments = ours(requests.STATISTICS_FILTERS, requests.STATISTICS_QUERY)
    query = theirs(requests.STATISTICS_QUERY)
    expected = collect_statistics_on_table._get_kwargs(json_body=body, job_business_key="k", wait=False, **query)
    same(requests.collect_statistics(arguments, "k"), expected)


def test_import_tables() -> None:
    body = models.ImportTablesQueueJobParameters(**theirs(requests.TABLE_IMPORT))
    expected = import_tables._get_kwargs(json_body=body, job_business_key="k", wait=False)
    same(requests.import_tables(ours(requests.TABLE_IMPORT), "k"), expected)


def test_table_status() -> None:
    expected = get_table_data_quality_status._get_kwargs("c", "s", "t", **theirs(requests.TABLE_STATUS))
    same(requests.table_status("c", "s", "t", ours(requests.TABLE_STATUS)), expected)


@pytest.mark.parametrize("name", ["1763625600000001", "dag__run__task"])
def test_jobs(name: str) -> None:
    same(requests.get_job(name), get_job._get_kwargs(name))
    same(requests.cancel_job(name), cancel_job._get_kwargs(name))
    same(requests.get_all_jobs(), get_all_jobs._get_kwargs())


def test_nothing_is_sent_that_was_not_given() -> None:
    """Without arguments there is nothing but the switch that asks for an answer at once."""
    body = models.RunChecksParameters(check_search_filters=models.CheckSearchFilters())
    same(requests.run_checks({}), run_checks._get_kwargs(json_body=body, wait=False))
    same(requests.table_status("c", "s", "t", {}), get_table_data_quality_status._get_kwargs("c", "s", "t"))


@pytest.mark.parametrize(
    ("tables", "model", "left_out"),
    [
        ([requests.CHECK_FILTERS], models.CheckSearchFilters, {"max_results", "check_hierarchy_ids_models"}),
        (
            [requests.RUN_CHECKS],
            models.RunChecksParameters,
            {"check_search_filters", "dummy_execution", "run_checks_result"},
        ),
        (
            [requests.STATISTICS_FILTERS],
            models.StatisticsCollectorSearchFilters,
            {"max_results", "enabled_cron_schedule_expression", "collectors_hierarchy_ids_models"},
        ),
        ([requests.TABLE_IMPORT], models.ImportTablesQueueJobParameters, set()),
    ],
)
def test_fields_that_we_leave_out(tables: list[Mapping[str, Any]], model: Any, left_out: set[str]) -> None:
    """We offer all that the API takes, but for these fields, which are the server's or the UI's own."""
    fields = {field.name for field in model.__attrs_attrs__} - {"additional_properties"}
    assert fields - {name for table in tables for name in table} == left_out


@pytest.mark.parametrize("enum", ENUMS, ids=lambda enum: enum.__name__)
def test_enums(enum: Any) -> None:
    """Ours have the members and the values of theirs."""
    assert {word.name: word.value for word in enum} == {word.name: word.value for word in ENUMS[enum]}


def test_states() -> None:
    """Every status of a job is known, and the fake's final ones are ours."""
    assert set(STATES) == {status.value for status in models.DqoJobStatus}
    assert {word for word, state in STATES.items() if state is not JobState.RUNNING} == set(FINAL)


def test_words_of_the_fake() -> None:
    """The fake's kinds of jobs and the counts of a result are known to the client."""
    assert set(dqops_jobs._PARAMETERS) <= {kind.value for kind in models.DqoJobType}
    fields = {field.name for field in models.RunChecksResult.__attrs_attrs__}
    assert set(DqopsOutcome().checks_result) == fields - {"additional_properties"}
