"""The public names: they are documented, import, and have the parameters that users and stored rows rely on."""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType
from typing import Any

import pytest

import ork_provider


def _modules() -> list[str]:
    found = [m.name for m in pkgutil.walk_packages(ork_provider.__path__, "ork_provider.")]
    return ["ork_provider", *(name for name in found if not name.startswith("ork_provider.testing"))]


def _public(module: ModuleType) -> Iterator[tuple[str, Any]]:
    for name, value in vars(module).items():
        ours = getattr(value, "__module__", None) == module.__name__
        if ours and not name.startswith("_") and (inspect.isclass(value) or inspect.isfunction(value)):
            yield name, value


@pytest.mark.parametrize("name", _modules())
def test_documented(name: str) -> None:
    """Every public module, class and function says in its docstring what it is."""
    module = import_module(name)
    assert inspect.getdoc(module)
    # `vars`, because getdoc() would take a base class's docstring for the class's own
    assert [n for n, value in _public(module) if not vars(value).get("__doc__", value.__doc__)] == []


TRIGGER = ["jobs", "until", "fail_fast", "deadline", "not_before", "poll_interval", "error_budget", "cancel_on_kill"]
COMMON = ["poll_interval", "poll_timeout", "timeout", "error_budget", "cancel_on_kill", "cancel_on_timeout"]
COMMON += ["cancel_rest", "deferrable"]
MANY = ["until", "fail_fast", "gcp_conn_id", "impersonation_chain", "http_conn_id", "dqops_conn_id", *COMMON]
MANY += ["airflow_conn_id"]
DQOPS = ["base_url", "dqops_conn_id", "wait_timeout", "fail_on_timeout"]
PINNED = {
    "ork_provider.bigquery.BigQueryJob": ["project", "job_id", "location"],
    "ork_provider.bigquery.BigQueryJobOperator": [
        *["sql", "configuration", "project_id", "location", "gcp_conn_id", "impersonation_chain", "on_existing"],
        *COMMON,
    ],
    "ork_provider.bigquery.BigQueryJobTrigger": [*TRIGGER, "cancel_rest"],
    "ork_provider.dataproc.DataprocBatchJob": ["project", "region", "batch_id"],
    "ork_provider.dataproc.DataprocBatchOperator": [
        *["batch", "project_id", "region", "labels", "gcp_conn_id", "impersonation_chain", "on_existing"],
        *COMMON,
    ],
    "ork_provider.dataproc.DataprocBatchTrigger": [*TRIGGER, "cancel_rest"],
    "ork_provider.dataproc.DataprocJob": ["project", "region", "job_id", "cluster_name"],
    "ork_provider.dataproc.DataprocJobOperator": [
        *["job", "cluster_name", "project_id", "region", "labels", "gcp_conn_id", "impersonation_chain"],
        *["on_existing", *COMMON],
    ],
    "ork_provider.dataproc.DataprocJobTrigger": [*TRIGGER, "cancel_rest"],
    "ork_provider.dependency.DependencyWaitOperator": [
        *[
            "depends_on",
            "poll_timeout",
            "poll_interval",
            "reschedule_delay",
            "dependency_wait",
            "timeout",
            "on_timeout",
        ],
        *[
            "on_failed",
            "if_missing",
            "missing_grace",
            "until",
            "fallback",
            "airflow_conn_id",
            "error_budget",
            "deferrable",
        ],
    ],
    "ork_provider.dependency.DependencyWaitTrigger": [*TRIGGER, "cancel_rest"],
    "ork_provider.dependency.TaskDependency": [
        *[
            "dag_id",
            "run_id",
            "logical_date",
            "date_offset",
            "run",
            "task_ids",
            "task_group_id",
            "map_indexes",
            "conn_id",
        ],
    ],
    "ork_provider.dqops.DqopsAssertTableStatusOperator": [
        *["connection_name", "schema_name", "table_name", "months", "profiling", "monitoring", "partitioned"],
        *["check_time_scale", "data_group", "check_name", "category", "table_comparison", "quality_dimension"],
        *["base_url", "wait_timeout", "fail_on_timeout", "fail_at_severity", "dqops_conn_id"],
    ],
    "ork_provider.dqops.DqopsCollectStatisticsOperator": [
        *["connection", "full_table_name", "enabled", "labels", "column_names", "sensor_name", "target"],
        *[*DQOPS, "job_business_key", "on_existing", *COMMON],
    ],
    "ork_provider.dqops.DqopsJob": ["job_id", "job_business_key", "base_url"],
    "ork_provider.dqops.DqopsJobTrigger": [*TRIGGER, "cancel_rest"],
    "ork_provider.dqops.DqopsRunChecksOperator": [
        *["connection", "full_table_name", "enabled", "tags", "labels", "column", "column_data_type"],
        *["column_nullable", "check_target", "check_type", "time_scale", "check_category", "table_comparison_name"],
        *["check_name", "sensor_name", "fail_at_severity", *DQOPS, "job_business_key", "on_existing", *COMMON],
    ],
    "ork_provider.dqops.DqopsTableImportOperator": [
        *["connection_name", "schema_name", "table_names", *DQOPS, "job_business_key", "on_existing", *COMMON],
    ],
    "ork_provider.dqops.DqopsWaitForJobOperator": [
        *["task_id_to_wait_for", "job_business_key", "job_id", "fail_at_severity", *DQOPS, *COMMON],
    ],
    "ork_provider.cloud_run.CloudRunJob": ["project", "region", "job_name", "execution_id"],
    "ork_provider.cloud_run.CloudRunJobOperator": [
        *["project_id", "region", "job_name", "overrides", "gcp_conn_id", "impersonation_chain", "on_existing"],
        *COMMON,
    ],
    "ork_provider.cloud_run.CloudRunJobTrigger": [*TRIGGER, "cancel_rest"],
    "ork_provider.http.HttpJob": [
        *["url", "method", "headers", "success_status_codes", "completion_field", "completion_value", "failure_value"],
        "follow_redirects",
    ],
    "ork_provider.http.CustomHttp": ["url", "method", "headers", "success_status_codes", "completion_field"],
    "ork_provider.http.HttpJobOperator": ["endpoint", "http_conn_id", "follow_redirects", "on_existing", *COMMON],
    "ork_provider.http.HttpJobSensor": ["endpoint", "http_conn_id", "follow_redirects", *COMMON],
    "ork_provider.http.HttpJobTrigger": [*TRIGGER, "cancel_rest"],
    "ork_provider.decorators.DeferredOperator": ["on_existing", *MANY],
    "ork_provider.operator.WaitForJobsOperator": ["jobs", *MANY],
    "ork_provider.trigger.JobTrigger": [*TRIGGER, "cancel_rest"],
    "ork_provider.trigger.JobsTrigger": [*TRIGGER, "cancel_rest"],
}


def _parameters(cls: type) -> set[str]:
    """Name the parameters of a constructor and of those that its `**kwargs` go to."""
    inits = [vars(base)["__init__"] for base in cls.__mro__ if "__init__" in vars(base)]
    return {name for init in inits for name in inspect.signature(inspect.unwrap(init)).parameters}


@pytest.mark.parametrize("path", PINNED)
def test_pinned_parameters(path: str) -> None:
    """Pinned names import and take the pinned parameters."""
    module, _, name = path.rpartition(".")
    assert set(PINNED[path]) - _parameters(getattr(import_module(module), name)) == set()


@pytest.mark.parametrize(
    ("name", "base"),
    [
        *[("TryAgain", "OrkError"), ("NotFound", "TryAgain"), ("BadRequest", "OrkError")],
        *[("NoConnection", "BadRequest"), ("Unauthorized", "BadRequest")],
        *[("Conflict", "BadRequest"), ("UnknownOutcome", "BadRequest")],
        *[("InvalidJob", "BadRequest"), ("InvalidJob", "ValueError"), ("JobError", "OrkError")],
        *[("JobFailed", "JobError"), ("JobCancelled", "JobError"), ("JobLost", "JobError"), ("TimedOut", "JobError")],
        ("Killed", "OrkError"),
    ],
)
def test_pinned_errors(name: str, base: str) -> None:
    """The tree of errors is as it is drawn on top of errors.py."""
    errors = import_module("ork_provider.errors")
    parent = getattr(errors, base, None) or {"ValueError": ValueError}[base]
    assert issubclass(getattr(errors, name), parent)


def test_defaults() -> None:
    """The defaults of job values are part of the contract; so is their being keyword-only."""
    from ork_provider.bigquery import BigQueryJob
    from ork_provider.http import CustomHttp, HttpJob

    job = HttpJob(url="/jobs/1")
    assert (job.method, job.headers, job.success_status_codes) == ("GET", {}, [200])
    assert (job.completion_field, job.completion_value, job.failure_value) == ("status", "completed", None)
    assert BigQueryJob(project="p", job_id="j").location == "US"
    assert CustomHttp is HttpJob
    with pytest.raises(TypeError):
        HttpJob("/jobs/1")  # type: ignore[misc]


@pytest.mark.parametrize(
    "path",
    [
        "ork_provider.bigquery.BigQueryJobTrigger",
        "ork_provider.cloud_run.CloudRunJobTrigger",
        "ork_provider.dataproc.DataprocBatchTrigger",
        "ork_provider.dataproc.DataprocJobTrigger",
        "ork_provider.dependency.DependencyWaitTrigger",
        "ork_provider.dqops.DqopsJobTrigger",
        "ork_provider.http.HttpJobTrigger",
        "ork_provider.trigger.JobsTrigger",
    ],
)
def test_stored_class_path(path: str) -> None:
    """A trigger's row names its class by the pinned path."""
    module, _, name = path.rpartition(".")
    assert getattr(import_module(module), name)(jobs=[]).serialize()[0] == path
