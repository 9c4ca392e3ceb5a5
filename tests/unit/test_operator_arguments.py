"""Bad arguments fail when the DAG is parsed; good ones survive whatever Airflow does to an operator."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from airflow.sdk import DAG, task
from airflow.serialization.serialized_objects import DagSerialization

from ork_provider.bigquery import BigQueryJobOperator
from ork_provider.cloud_run import CloudRunJobOperator
from ork_provider.dataproc import DataprocBatchOperator, DataprocJobOperator
from ork_provider.dqops import (
    CheckType,
    DqopsCollectStatisticsOperator,
    DqopsRunChecksOperator,
    DqopsTableImportOperator,
    DqopsWaitForJobOperator,
)
from ork_provider.errors import InvalidJob
from ork_provider.http import HttpJob, HttpJobOperator, HttpJobSensor
from ork_provider.operator import JobOperator, WaitForJobsOperator

SPARK = {"pysparkJob": {"mainPythonFileUri": "gs://b/main.py"}}
BATCH = {"pysparkBatch": {"mainPythonFileUri": "gs://b/main.py"}}

GOOD: dict[str, tuple[Any, dict[str, Any]]] = {
    "bigquery": (BigQueryJobOperator, {"sql": "SELECT 1"}),
    "http": (HttpJobOperator, {"endpoint": "/jobs", "status_url": "/jobs/{job_id}"}),
    "sensor": (HttpJobSensor, {"endpoint": "/jobs/1"}),
    "cloud_run": (CloudRunJobOperator, {"region": "r", "job_name": "nightly"}),
    "dataproc": (DataprocJobOperator, {"region": "r", "cluster_name": "c", "job": SPARK}),
    "dataproc_batch": (DataprocBatchOperator, {"region": "r", "batch": BATCH}),
    "dqops": (DqopsRunChecksOperator, {"connection": "c"}),
    "dqops_statistics": (DqopsCollectStatisticsOperator, {"connection": "c"}),
    "dqops_import": (DqopsTableImportOperator, {"connection_name": "c", "schema_name": "s"}),
    "dqops_wait": (DqopsWaitForJobOperator, {"job_business_key": "k"}),
    "jobs": (WaitForJobsOperator, {"jobs": [HttpJob(url="/jobs/1")]}),
}
"""Every operator with the least that it needs."""


def make(name: str, **more: Any) -> Any:
    kind, arguments = GOOD[name]
    return kind(task_id="load", **{**arguments, **more})


every = pytest.mark.parametrize("name", sorted(GOOD))
STARTERS = sorted(name for name, (kind, _) in GOOD.items() if issubclass(kind, JobOperator))
WATCHERS = sorted(GOOD.keys() - set(STARTERS))


def refused(name: str, said: str, **arguments: Any) -> None:
    """One error, a ValueError, that names the task, the argument and what is valid."""
    with pytest.raises(InvalidJob, match=rf"^{GOOD[name][0].__name__}\(task_id='load'\)") as caught:
        make(name, **arguments)
    assert isinstance(caught.value, ValueError)
    assert said in str(caught.value)


# What is refused ---------------------------------------------------------------------------------


@every
@pytest.mark.parametrize("argument", ["poll_interval", "error_budget", "timeout"])
@pytest.mark.parametrize("value", [-1, 0, "10", True, [], float("nan"), timedelta(seconds=-1)], ids=repr)
def test_positive_seconds(name: str, argument: str, value: Any) -> None:
    """A time that must be positive is refused otherwise; a text is not guessed to be a number."""
    refused(name, f"{argument} must be a number of seconds greater than 0, got ", **{argument: value})


@every
@pytest.mark.parametrize("argument", ["poll_interval", "error_budget", "poll_timeout", "timeout"])
@pytest.mark.parametrize("value", [float("inf"), 1e12, 10**400], ids=lambda value: repr(value)[:10])
def test_endless_seconds(name: str, argument: str, value: Any) -> None:
    """A time that no date can hold is refused when the DAG is parsed, not when the task runs."""
    refused(name, f"{argument} must be a number of seconds up to 315360000 (ten years), got ", **{argument: value})


@every
@pytest.mark.parametrize("value", [-1, "0", None, False], ids=repr)
def test_poll_timeout(name: str, value: Any) -> None:
    """``poll_timeout`` may be 0, and nothing below."""
    refused(name, "poll_timeout must be a number of seconds at least 0, got ", poll_timeout=value)


@pytest.mark.parametrize("name", STARTERS)
@pytest.mark.parametrize("value", ["resume", "", None, 1, ["new"], "NEW"], ids=repr)
def test_on_existing(name: str, value: Any) -> None:
    """An unknown ``on_existing`` is answered with the three that exist."""
    refused(name, "on_existing must be one of 'reattach', 'new', 'fail', got ", on_existing=value)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"configuration": {"query": {}}}, "give either sql or configuration; got both"),
        ({"sql": None}, "give either sql or configuration; got neither"),
        ({"sql": None, "configuration": {"query": {}}, "parameters": {"a": 1}}, "parameters go with sql"),
        ({"max_results": 0}, "max_results must be a number from 1 to 10000, or None, got int 0"),
        ({"max_results": 10_001}, "max_results must be a number from 1 to 10000"),
        ({"max_results": -1}, "max_results must be a number from 1 to 10000"),
        ({"max_results": "10"}, "max_results must be a number from 1 to 10000, or None, got str '10'"),
        ({"max_results": True}, "max_results must be a number from 1 to 10000, or None, got bool True"),
        ({"max_results": 1.5}, "max_results must be a number from 1 to 10000"),
    ],
    ids=str,
)
def test_bigquery_arguments(arguments: dict[str, Any], said: str) -> None:
    """BigQuery's own arguments: one clear error each."""
    refused("bigquery", said, **arguments)


@pytest.mark.parametrize("name", ["http", "sensor"])
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"method": "FETCH"}, ".method: expected one of GET, POST, PUT, PATCH, DELETE, HEAD, got str 'FETCH'"),
        ({"method": None}, ".method: expected one of GET, POST"),
        ({"cancel_method": "STOP"}, ".cancel_method: expected one of GET, POST"),
        ({"completion_field": "a..b"}, ".completion_field: 'a..b' is not a path to one value; write for example"),
        ({"completion_field": ""}, ".completion_field: '' is not a path"),
        ({"completion_field": ["a"]}, ".completion_field: ['a'] is not a path"),
        ({"message_field": "$["}, ".message_field: '$[' is not a path"),
        ({"result_field": "$.*"}, ".result_field: '$.*' is not a path"),
        ({"success_status_codes": 200}, ".success_status_codes: expected a list of HTTP status codes, got int 200"),
        ({"success_status_codes": ["200"]}, ".success_status_codes: expected a list of HTTP status codes"),
        ({"running_status_codes": [99]}, ".running_status_codes: expected a list of HTTP status codes"),
        ({"failure_status_codes": [600]}, ".failure_status_codes: expected a list of HTTP status codes"),
        ({"failure_status_codes": [True]}, ".failure_status_codes: expected a list of HTTP status codes"),
        ({"failure_status_codes": "500"}, ".failure_status_codes: expected a list of HTTP status codes"),
        ({"max_body_bytes": 0}, ".max_body_bytes: expected a number of bytes"),
        ({"max_body_bytes": "1 MB"}, ".max_body_bytes: expected a number of bytes"),
    ],
    ids=str,
)
def test_http_arguments(name: str, arguments: dict[str, Any], said: str) -> None:
    """HTTP's own arguments: one clear error each."""
    refused(name, said, **arguments)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"status_url_path": "$.links.self"}, "give either status_url or status_url_path; got both"),
        ({"job_id_path": "a b"}, ".job_id_path: 'a b' is not a path"),
        ({"status_url": None, "status_url_path": "a..b"}, ".status_url_path: 'a..b' is not a path"),
        ({"job_id_path": None}, "a URL has {job_id}, but job_id_path is None"),
        ({"status_url": "/s", "cancel_url": "/jobs/{job_id}", "job_id_path": None}, "but job_id_path is None"),
    ],
    ids=str,
)
def test_where_the_status_is(arguments: dict[str, Any], said: str) -> None:
    """Where an HTTP job's status is to be found is said once, and completely."""
    refused("http", said, **arguments)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"region": ""}, "region must be a region, got str ''"),
        ({"region": None}, "region must be a region, got NoneType None"),
        ({"job_name": 7}, "job_name must be the name of a Cloud Run job, got int 7"),
        ({"project_id": 7.5}, "project_id must be"),
        ({"overrides": "args"}, ".overrides: expected a dict, got str 'args'"),
        ({"overrides": {"arg": []}}, ".overrides: unknown key(s) arg; known: args, container"),
        ({"overrides": {"task_count": 0}}, ".overrides['taskCount']: expected a number of tasks from 1 to 10000"),
        ({"overrides": {"timeout": "soon"}}, ".overrides['timeout']: expected seconds (1 or more)"),
        ({"overrides": {"env": {"A": 1}}}, ".overrides['env']['A']: expected a text, got int 1"),
        ({"overrides": {"args": "--day"}}, ".overrides['args']: expected a list of texts"),
    ],
    ids=str,
)
def test_cloud_run_arguments(arguments: dict[str, Any], said: str) -> None:
    """Cloud Run's own arguments: one clear error each."""
    refused("cloud_run", said, **arguments)


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("dataproc", {"region": ""}, "region must be the name of a region"),
        ("dataproc", {"region": 7}, "region must be the name of a region, such as 'europe-west1', got int 7"),
        ("dataproc", {"job": None}, "job must be a dict, got NoneType None"),
        ("dataproc", {"job": {}}, "job must have one type of sparkJob, pysparkJob"),
        ("dataproc", {"job": {**SPARK, "hiveJob": {}}}, "it has pysparkJob and hiveJob"),
        ("dataproc", {"job": {**SPARK, "pyspark_job": {}}}, "job has 'pysparkJob' twice, in two spellings"),
        ("dataproc", {"cluster_name": None}, "job names no cluster: set cluster_name"),
        ("dataproc", {"job": {**SPARK, "placement": {"clusterName": "d"}}}, "names the cluster 'd', cluster_name says"),
        ("dataproc", {"job": {**SPARK, "reference": {"jobId": "j"}}}, "job.reference.jobId must be left out"),
        ("dataproc", {"job": {**SPARK, "reference": {"projectId": "q"}}, "project_id": "p"}, "is of project 'q'"),
        ("dataproc_batch", {"region": None}, "region must be the name of a region"),
        ("dataproc_batch", {"batch": []}, "batch must be a dict, got list []"),
        ("dataproc_batch", {"batch": SPARK}, "batch must have one type of pysparkBatch"),
    ],
    ids=str,
)
def test_dataproc_arguments(name: str, arguments: dict[str, Any], said: str) -> None:
    """Dataproc's own arguments: one clear error each."""
    refused(name, said, **arguments)


@pytest.mark.parametrize("value", [0, -1, 1.0, True, None, "some", "ALL", [], {}], ids=repr)
def test_until(value: Any) -> None:
    """How many jobs are enough is ``"all"``, ``"any"`` or a number; how many there are is known later."""
    refused("jobs", 'until must be "all", "any" or a number of jobs, got ', until=value)


@pytest.mark.parametrize("value", [[], (), {}], ids=repr)
def test_no_jobs(value: Any) -> None:
    """A wait for nothing is a mistake in the DAG file."""
    refused("jobs", "jobs must be at least one job, got ", jobs=value)


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("dqops", {"check_type": "rare"}, "check_type must be one of 'profiling', 'monitoring', 'partitioned'"),
        ("dqops", {"fail_at_severity": "bad"}, "fail_at_severity must be one of 'valid', 'warning', 'error', 'fatal'"),
        ("dqops", {"min_executed_checks": -1}, "min_executed_checks must be a number from 0 on"),
        ("dqops", {"wait_timeout": 0}, "wait_timeout must be a number of seconds greater than 0"),
        ("dqops_statistics", {"samples_limit": 0}, "samples_limit must be a number from 1 on"),
        ("dqops_import", {"table_names": "orders"}, "table_names must be a list of texts"),
        ("dqops_wait", {"job_id": "seven"}, "job_id must be a number, as such or as a text"),
    ],
    ids=str,
)
def test_dqops_arguments(name: str, arguments: dict[str, Any], said: str) -> None:
    """DQOps' own arguments: one clear error each."""
    refused(name, said, **arguments)


@pytest.mark.parametrize("name", ["cloud_run", "dataproc", "dataproc_batch"])
def test_region_that_renders_to_nothing(name: str) -> None:
    """A template that comes to nothing is refused when the task runs, before anything is sent."""
    operator = make(name, region="{{ params.region }}")
    operator.region = ""
    with pytest.raises(InvalidJob, match="region must be "):
        operator.build_request({})


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"until": 0}, 'until must be "all", "any" or a number of jobs, got int 0'),
        ({"on_existing": "resume"}, "on_existing must be one of 'reattach', 'new', 'fail', got str 'resume'"),
        ({"poll_interval": 0}, "poll_interval must be a number of seconds greater than 0, got int 0"),
    ],
    ids=str,
)
def test_deferred_arguments(arguments: dict[str, Any], said: str) -> None:
    """What ``@task.deferred`` is given is checked when the DAG is parsed, too; the message names the task."""

    @task.deferred(**arguments)
    def export() -> list[Any]:
        return []

    with pytest.raises(InvalidJob, match="task_id='export'") as caught:
        dag_with(export)
    assert said in str(caught.value)


@every
def test_unknown_argument(name: str) -> None:
    """A misspelt argument is refused by Airflow itself, by its name."""
    with pytest.raises(TypeError, match="poke_interval"):
        make(name, poke_interval=5)


# What is taken -----------------------------------------------------------------------------------


@every
@pytest.mark.parametrize(
    "arguments",
    [
        {"timeout": 60},
        {"timeout": timedelta(hours=1)},
        {"timeout": None},
        {"poll_interval": 0.5, "poll_timeout": 0, "error_budget": 1},
        {"execution_timeout": timedelta(hours=1)},
        {"deferrable": False},
    ],
    ids=str,
)
def test_good_arguments(name: str, arguments: dict[str, Any]) -> None:
    """Numbers, timedeltas and the defaults are taken, and are attributes under their own names."""
    operator = make(name, **arguments)
    assert {argument: getattr(operator, argument) for argument in arguments} == arguments


def test_who_submits_cancels() -> None:
    """What an operator has started it cancels; what it only watches it leaves alone; both can be told otherwise."""
    flags = ("cancel_on_kill", "cancel_on_timeout", "cancel_rest")
    for name in STARTERS:
        dqops = name.startswith("dqops")  # the end of its wait leaves a DQOps job to the next try
        assert [getattr(make(name), flag) for flag in flags] == [True, not dqops, True], name
    for name in WATCHERS:
        assert [getattr(make(name), flag) for flag in flags] == [False] * 3, name
    for name in GOOD:
        for told in (True, False):
            assert [getattr(make(name, **dict.fromkeys(flags, told)), flag) for flag in flags] == [told] * 3, name


@every
@pytest.mark.parametrize(("configured", "deferrable"), [(None, True), ("False", False), ("True", True)])
def test_default_deferrable(
    name: str, configured: str | None, deferrable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``[ork] default_deferrable`` decides unless the operator does; it is True where nobody has said anything."""
    if configured is not None:
        monkeypatch.setenv("AIRFLOW__ORK__DEFAULT_DEFERRABLE", configured)
    assert make(name).deferrable is deferrable
    assert make(name, deferrable=not deferrable).deferrable is not deferrable


@every
def test_template_fields_are_attributes(name: str) -> None:
    """Airflow renders an operator's template fields where it finds them."""
    operator = make(name)
    assert [field for field in operator.template_fields if not hasattr(operator, field)] == []
    assert set(operator.template_fields_renderers) <= set(operator.template_fields)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("bigquery", {"sql": "{{ params.sql }}", "parameters": {"day": "{{ ds }}"}, "project_id": "{{ var.value.p }}"}),
        ("bigquery", {"sql": None, "configuration": "{{ params.configuration }}"}),
        ("http", {"completion_field": "{{ params.field }}", "job_id_path": "{{ x }}", "result_field": "$.{{ x }}"}),
        ("http", {"status_url": None, "status_url_path": "{{ params.path }}"}),
        ("sensor", {"endpoint": "{{ ti.xcom_pull('start') }}", "completion_value": "{{ params.good }}"}),
        ("cloud_run", {"region": "{{ x }}", "job_name": "{{ x }}", "project_id": "{{ x }}", "overrides": "{{ x }}"}),
        (
            "cloud_run",
            {"overrides": {"args": ["--day", "{{ ds }}"], "env": {"DAY": "{{ ds }}"}, "task_count": "{{ x }}"}},
        ),
        (
            "dataproc",
            {"job": "{{ params.job }}", "region": "{{ x }}", "cluster_name": "{{ x }}", "project_id": "{{ x }}"},
        ),
        ("dataproc", {"job": {**SPARK, "reference": {"projectId": "{{ x }}"}}, "project_id": "p"}),
        ("dataproc_batch", {"batch": "{{ params.batch }}", "labels": "{{ x }}"}),
        (
            "dqops",
            {"check_type": "{{ x }}", "labels": ["{{ x }}"], "fail_at_severity": "{{ x }}", "base_url": "{{ x }}"},
        ),
        ("dqops_statistics", {"tags": "{{ x }}", "samples_limit": "{{ x }}"}),
        ("dqops_import", {"table_names": "{{ x }}", "tables_import_limit": "{{ x }}"}),
        ("dqops_wait", {"job_id": "{{ x }}"}),
        ("jobs", {"jobs": "{{ ti.xcom_pull('start') }}"}),
    ],
)
def test_templates_are_not_judged(name: str, arguments: dict[str, Any]) -> None:
    """What is rendered later cannot be wrong yet."""
    operator = make(name, **arguments)
    assert {argument: getattr(operator, argument) for argument in arguments} == arguments


# What Airflow does to operators ------------------------------------------------------------------


@every
@pytest.mark.parametrize(
    "again",
    [copy.copy, copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it))],
    ids=["copy", "deepcopy", "pickle"],  # not by address: every worker of pytest-xdist must name them alike
)
def test_copies(name: str, again: Callable[[Any], Any]) -> None:
    """Airflow copies operators to render them; a copy is complete, also after the operator has been at work."""
    operator = make(name, timeout=60)
    operator._guard.kill(cancels=True)
    for one in (make(name, timeout=60), operator):
        copied = again(one)
        assert (copied.task_id, copied.timeout, copied.connections) == ("load", 60, one.connections)
        assert str(copied) == str(one)


def dag_with(add: Callable[[], Any]) -> DAG:
    with DAG("sales", start_date=datetime(2026, 1, 1), schedule=None) as dag:
        add()
    return dag


@every
def test_dag_serialization(name: str) -> None:
    """A DAG with our operators travels to the database and back, with its template fields and console link."""
    dag = dag_with(lambda: make(name, timeout=timedelta(hours=1)))
    stored = json.loads(json.dumps(DagSerialization.to_dict(dag)))
    operator = DagSerialization.from_dict(stored).get_task("load")
    assert operator.task_type == GOOD[name][0].__name__
    assert set(operator.template_fields) == set(GOOD[name][0].template_fields)
    assert operator.operator_extra_link_dict.keys() == {link.name for link in make(name).operator_extra_links}


MAPPED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "bigquery": ({"max_results": 10}, {"sql": ["SELECT 1", "SELECT 2"]}),
    "http": ({"endpoint": "/jobs", "status_url": "/jobs/{job_id}", "poll_interval": 5}, {"data": [{"n": 1}, {"n": 2}]}),
    "sensor": ({"completion_value": ["done"]}, {"endpoint": ["/jobs/1", "/jobs/2"]}),
    "dqops": ({"check_type": CheckType.MONITORING}, {"full_table_name": ["s.a", "s.b"]}),
    "dqops_statistics": ({"connection": "c"}, {"full_table_name": ["s.a", "s.b"]}),
    "dqops_import": ({"connection_name": "c"}, {"schema_name": ["a", "b"]}),
    "dqops_wait": ({"fail_at_severity": "error"}, {"job_id": [1, 2]}),
    "cloud_run": ({"region": "r", "job_name": "nightly"}, {"overrides": [{"args": ["a"]}, {"args": ["b"]}]}),
    "dataproc": ({"region": "r", "job": SPARK}, {"cluster_name": ["a", "b"]}),
    "dataproc_batch": ({"region": "r"}, {"batch": [BATCH, {**BATCH, "labels": {"n": "2"}}]}),
    "jobs": ({"until": "any"}, {"jobs": [[HttpJob(url="/jobs/1").to_dict()], [HttpJob(url="/jobs/2").to_dict()]]}),
}


@every
def test_mapped(name: str) -> None:
    """``partial().expand()`` is built without the arguments that come later, and gives whole operators then."""
    fixed, expanded = MAPPED[name]
    kind = GOOD[name][0]
    dag = dag_with(lambda: kind.partial(task_id="load", **fixed).expand(**expanded))
    mapped = dag.get_task("load")
    assert DagSerialization.to_dict(dag)
    for i in range(2):
        arguments = {argument: values[i] for argument, values in expanded.items()}
        operator = mapped.unmap(arguments)
        assert isinstance(operator, kind)
        assert {argument: getattr(operator, argument) for argument in arguments} == arguments
        assert {argument: getattr(operator, argument) for argument in fixed} == fixed


@every
def test_mapped_over_another_task(name: str) -> None:
    """What another task returns can be mapped over, and be an argument."""
    fixed, expanded = MAPPED[name]
    (argument,) = expanded
    kind, least = GOOD[name]

    def add() -> None:
        @task
        def inputs() -> list[Any]:
            return []

        made = inputs()
        kind.partial(task_id="load", **fixed).expand(**{argument: made})
        kind(task_id="one", **{**least, argument: made})

    dag = dag_with(add)
    assert dag.get_task("load").upstream_task_ids == {"inputs"}
    assert dag.get_task("one").upstream_task_ids == {"inputs"}
    assert DagSerialization.to_dict(dag)


@pytest.mark.parametrize("argument", ["completion_field", "job_id_path", "result_field"])
def test_path_from_another_task(argument: str) -> None:
    """A path, too, may be what another task returns."""

    def add() -> None:
        @task
        def path() -> str:
            return "status"

        make("http", **{argument: path()})

    assert dag_with(add).get_task("load").upstream_task_ids == {"path"}


def test_mapped_mistake_is_found_when_it_is_expanded() -> None:
    """A bad argument among the mapped ones is named like any other."""
    mapped = dag_with(lambda: BigQueryJobOperator.partial(task_id="load").expand(sql=["SELECT 1", None])).get_task(
        "load"
    )
    with pytest.raises(InvalidJob, match="give either sql or configuration; got neither"):
        mapped.unmap({"sql": None})
