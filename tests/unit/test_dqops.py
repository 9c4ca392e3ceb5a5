"""DQOps' wire and words: jobs, history entries, requests, addresses, arguments and errors."""

from __future__ import annotations

import json
import pickle
from datetime import date, datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from ork_provider.dqops import (
    CheckType,
    DqopsAssertTableStatusOperator,
    DqopsCollectStatisticsOperator,
    DqopsJob,
    DqopsJobCancelled,
    DqopsJobFailed,
    DqopsJobLost,
    DqopsJobTrigger,
    DqopsNoJob,
    DqopsQualityIssue,
    DqopsRunChecksOperator,
    DqopsRunMonitoringChecksOperator,
    DqopsService,
    DqopsTableImportOperator,
    DqopsWaitForJobOperator,
    RuleSeverityLevel,
    requests,
)
from ork_provider.dqops.connection import check_domain, host_url
from ork_provider.dqops.job import read_job, say_error
from ork_provider.dqops.outcome import without_retries
from ork_provider.dqops.upstream import read_jobs
from ork_provider.errors import (
    BadRequest,
    InvalidJob,
    JobCancelled,
    JobError,
    JobFailed,
    JobLost,
    NoConnection,
    TimedOut,
    TryAgain,
)
from ork_provider.job import JobState, job_from_dict, load
from ork_provider.provider_info import get_provider_info

# Jobs ------------------------------------------------------------------------------------------


def wire(**fields: Any) -> dict[str, Any]:
    return {"service_type": "dqops", **fields}


@pytest.mark.parametrize(
    ("data", "job"),
    [
        (wire(job_id="17"), DqopsJob(job_id=17)),
        (wire(job_id=17, job_business_key="k"), DqopsJob(job_id=17, job_business_key="k")),
        (wire(job_id="k", job_business_key="k"), DqopsJob(job_business_key="k")),
        (wire(job_id="17", job_business_key="17"), DqopsJob(job_business_key="17")),
        (wire(job_id=None, job_business_key="k"), DqopsJob(job_business_key="k")),
    ],
    ids=str,
)
def test_ids_on_the_wire(data: dict[str, Any], job: DqopsJob) -> None:
    """An id is a number or its digits; where it repeats the business key it is none."""
    assert job_from_dict(data) == job
    assert job_from_dict(json.loads(json.dumps(job.to_dict()))) == job
    assert job.to_dict()["job_id"] == job.remote_id


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (wire(), "needs job_id or job_business_key"),
        (wire(job_business_key=""), "needs job_id or job_business_key"),
        (wire(job_id="nightly"), r"job\.job_id: expected int \| None, got str 'nightly'"),
        (wire(job_id=True), r"job\.job_id: expected int \| None, got bool True"),
        (wire(job_id=1, job_business_key=7), r"job_business_key: expected str \| None, got int 7"),
        (wire(job_id=1, base_url="dqops:8888"), r"DqopsJob\.base_url: expected a URL such as"),
        (wire(job_id=1, base_url="http://[::1"), r"DqopsJob\.base_url: expected a URL such as"),
    ],
    ids=str,
)
def test_jobs_that_are_none(data: dict[str, Any], said: str) -> None:
    """A job without a name, or with a wrong one, is refused with what was expected."""
    with pytest.raises(InvalidJob, match=said):
        job_from_dict(data)


@pytest.mark.parametrize(
    "fields", [{"job_business_key": 20261120}, {"job_id": 1, "conn_id": 7}, {"job_id": "1"}], ids=str
)
def test_values_of_wrong_types(fields: dict[str, Any]) -> None:
    """A job that a user makes is checked as one that is read."""
    with pytest.raises(InvalidJob, match=r"DqopsJob\."):
        DqopsJob(**fields)


def test_service_is_the_one_that_jobs_name() -> None:
    """The dotted path of the service in the job class is right."""
    assert load(DqopsJob.service) is DqopsService
    assert load(DqopsJobTrigger.classpath.replace(".DqopsJobTrigger", ":DqopsJobTrigger")) is DqopsJobTrigger


# History entries -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "state"),
    [
        *[(word, JobState.RUNNING) for word in ("queued", "running", "waiting", "cancel_requested")],
        ("finished", JobState.SUCCEEDED),
        ("failed", JobState.FAILED),
        ("cancelled", JobState.CANCELLED),
    ],
)
def test_states(word: str, state: JobState) -> None:
    """Each of DQOps' words means one of our states, and is kept."""
    status = read_job({"status": word, "errorMessage": "boom"})
    assert (status.state, status.remote_state) == (state, word)
    assert status.message == ("boom" if state in (JobState.FAILED, JobState.CANCELLED) else "")


@pytest.mark.parametrize("entry", [{}, {"status": None}, {"status": "paused"}, {"status": ["failed"]}], ids=str)
def test_unknown_status(entry: dict[str, Any]) -> None:
    """A status that DQOps does not document is no verdict."""
    with pytest.raises(TryAgain, match="unknown status"):
        read_job(entry)


@pytest.mark.parametrize(
    ("created", "ended", "seconds"),
    [
        ("2026-01-05T14:33:04Z", "2026-01-05T14:33:09Z", 5.0),
        ("2026-01-05T14:33:04.5Z", "2026-01-05T14:33:09.123456789Z", 4.623),
        (None, "2026-01-05T14:33:09Z", None),
        (1736087584, 1736087589, None),
        ("yesterday", "today", None),
    ],
)
def test_duration(created: Any, ended: Any, seconds: float | None) -> None:
    """A duration is told where both times are, with however many decimals."""
    entry = {"status": "finished", "jobId": {"createdAt": created}, "statusChangedAt": ended}
    assert read_job(entry).stats.get("duration_seconds") == seconds
    assert "duration_seconds" not in read_job({**entry, "status": "running"}).stats


@pytest.mark.parametrize("name", ["runChecksParameters", "runChecksOnTableParameters"])
def test_results_of_checks(name: str) -> None:
    """The counts are numbers, and are found whether a job ran the checks of many tables or of one."""
    result = {"highest_severity": "error", "executed_checks": 3, "errors": 1, "unknown": 7}
    stats = read_job({"status": "finished", "parameters": {name: {"run_checks_result": result}}}).stats
    assert stats == {"highest_severity": "error", "executed_checks": 3, "errors": 1}


def test_stack_traces_are_left_out() -> None:
    """A failure's message is what comes before the stack trace, and not longer than a person reads."""
    assert say_error("Cannot connect\nto c\n\tat com.dqops.A.b(A.java:1)\n\tat com.dqops.C") == "Cannot connect\nto c"
    assert len(say_error("x" * 9999)) == 2000
    assert say_error(None) == ""


# Requests --------------------------------------------------------------------------------------


def test_keys_are_quoted() -> None:
    """A key or a name with a slash is one part of the path."""
    assert requests.get_job("a/b c")[1] == "api/jobs/jobs/a%2Fb%20c"
    assert requests.cancel_job("a/b c")[:2] == ("DELETE", "api/jobs/jobs/a%2Fb%20c")
    path = requests.table_status("c", "s", "t/1", {"profiling": True})[1]
    assert path == "api/connections/c/schemas/s/tables/t%2F1/status"


def test_only_what_is_given_is_sent() -> None:
    """An argument that is None is not in the request; False is."""
    call = requests.run_checks({"connection": "c", "enabled": False, "tags": ("a",), "check_type": CheckType.PROFILING})
    assert call[3] == {
        "check_search_filters": {"connection": "c", "enabled": False, "tags": ["a"], "checkType": "profiling"}
    }
    assert call[2] == {"wait": "false"}
    assert requests.collect_statistics({"configure_table": True}, "k")[2] == {
        "jobBusinessKey": "k",
        "wait": "false",
        "configureTable": "true",
    }


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        (datetime(2026, 1, 1, 12), "2026-01-01T12:00:00Z"),
        (datetime(2026, 1, 1, 12, tzinfo=timezone(timedelta(hours=2))), "2026-01-01T10:00:00Z"),
        (date(2026, 1, 1), "2026-01-01T00:00:00Z"),
        ("2026-01-01", "2026-01-01T00:00:00Z"),
        ("2026-01-01T12:00:00", "2026-01-01T12:00:00Z"),
        ("2026-01-01T12:00:00Z", "2026-01-01T12:00:00Z"),
        ("2026-01-01T12:00:00+02:00", "2026-01-01T10:00:00Z"),
        ("last week", "last week"),
    ],
    ids=str,
)
def test_times(given: Any, sent: str) -> None:
    """A time is sent in UTC; without a zone it is one in UTC. What is none is left to DQOps to refuse."""
    read = requests.TABLE_STATUS["since"].read(given)
    assert requests.table_status("c", "s", "t", {"since": read})[2] == {"since": sent}
    if isinstance(given, date):
        assert requests.table_status("c", "s", "t", {"since": given})[2] == {"since": sent}


# Addresses -------------------------------------------------------------------------------------


def connection(host: str | None, schema: str | None = None, port: int | None = None) -> Any:
    return SimpleNamespace(conn_id="dq", host=host, schema=schema, port=port)


@pytest.mark.parametrize(
    ("conn", "url"),
    [
        (connection("http://h:8888/prefix/dqops"), "http://h:8888/prefix/dqops"),
        (connection("https://h/prefix/", port=8443), "https://h:8443/prefix"),
        (connection("http://h:1/", port=2), "http://h:1"),
        (connection("h", "https", 8443), "https://h:8443"),
        (connection("h/prefix", port=8888), "http://h:8888/prefix"),
        (connection("[::1]", port=8888), "http://[::1]:8888"),
        (connection("h"), "http://h"),
    ],
    ids=str,
)
def test_host_url(conn: Any, url: str) -> None:
    """A host may be a URL with a path prefix, or a name beside schema and port."""
    assert host_url(conn) == url


def test_host_that_is_none() -> None:
    """A connection that does not say where DQOps is is named."""
    with pytest.raises(NoConnection, match="'dq' has no host"):
        host_url(connection(""))
    with pytest.raises(BadRequest, match="'dq': its host is not a URL"):
        host_url(connection("http://h:port"))


@pytest.mark.parametrize("domain", ["a;b", "\U0001f600", "a b", "", 7, "a\r\nb", "ä", 'a"'], ids=repr)
def test_data_domain(domain: Any) -> None:
    """What a cookie cannot hold is refused."""
    assert check_domain("sales_eu-1", "dq") == "sales_eu-1"
    with pytest.raises(BadRequest, match=r"'dq'.*not the name of a data domain"):
        check_domain(domain, "dq")


def test_connection_form() -> None:
    """Airflow reads the form's fields from the provider's metadata; the hook that it names is of that type."""
    (entry,) = [e for e in get_provider_info()["connection-types"] if e["connection-type"] == "dqops"]
    module, _, name = entry["hook-class-name"].rpartition(".")
    hook = load(f"{module}:{name}")
    assert (hook.conn_type, hook.hook_name, hook.conn_name_attr) == ("dqops", entry["hook-name"], "dqops_conn_id")
    assert hook().dqops_conn_id == "dqops_default"
    assert set(entry["conn-fields"]) == {"data_domain", "verify"}
    assert not {"get_connection_form_widgets", "get_ui_field_behaviour"} & set(vars(hook)), "deprecated since 3.2"


# Jobs in XCom ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [None, "", [], {}, {"rows": 5}, {"jobId": 7}, {"jobId": {"jobId": None}}, {"service_type": "bigquery"}, b"7", 1.5],
    ids=repr,
)
def test_what_holds_no_job(value: Any) -> None:
    """Results that name no DQOps job are passed over, whether or not bare ids count."""
    assert list(read_jobs(value, bare=False)) == []
    assert list(read_jobs(value, bare=True)) == []


def test_bare_ids() -> None:
    """A number or a text is a job only where a user has named the task; True is not 1."""
    assert list(read_jobs([7, "8", "k", True], bare=True)) == [
        DqopsJob(job_id=7),
        DqopsJob(job_id=8),
        DqopsJob(job_business_key="k"),
    ]
    assert list(read_jobs([7, "8", "k"], bare=False)) == []


@pytest.mark.parametrize(
    ("value", "job"),
    [
        ({"jobId": {"jobBusinessKey": "k"}}, DqopsJob(job_business_key="k")),
        ({"jobId": {"jobId": 7, "jobBusinessKey": "k"}}, DqopsJob(job_id=7)),
        ({"deferred": [{"service_type": "dqops", "job_id": 7}]}, DqopsJob(job_id=7)),
        ({"jobs": [{"service_type": "dqops", "job_id": 7}]}, DqopsJob(job_id=7)),
    ],
    ids=str,
)
def test_forms_of_results(value: Any, job: DqopsJob) -> None:
    """An answer of DQOps may name the key only; lists of jobs have two names."""
    assert list(read_jobs(value, bare=False)) == [job]


# Arguments -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"check_type": "monitering"}, "check_type must be one of 'profiling', 'monitoring', 'partitioned', got str"),
        ({"time_scale": "hourly"}, "time_scale must be one of 'daily', 'monthly'"),
        ({"check_target": 1}, "check_target must be one of 'table', 'column'"),
        ({"execution_target": "rules"}, "execution_target must be one of 'sensors_and_rules'"),
        ({"connection": 7}, "connection must be a text, got int 7"),
        ({"enabled": "yes"}, "enabled must be True or False, got str 'yes'"),
        ({"labels": "a"}, "labels must be a list of texts, got str 'a'"),
        ({"tags": [1]}, "tags must be a list of texts"),
        ({"time_window_filter": "7 days"}, "time_window_filter must be a dict"),
        (
            {"fail_at_severity": "bad"},
            "fail_at_severity must be one of 'valid', 'warning', 'error', 'fatal', got str 'bad'",
        ),
        ({"min_executed_checks": -1}, "min_executed_checks must be a number from 0 on"),
        ({"min_executed_checks": True}, "min_executed_checks must be a number from 0 on"),
        ({"job_business_key": ""}, "job_business_key must be a text, or None"),
        ({"job_business_key": 7}, "job_business_key must be a text, or None"),
        ({"fail_on_timeout": False, "cancel_on_timeout": True}, "cancel_on_timeout must be False with fail_on_timeout"),
        ({"fail_on_execution_errors": "yes"}, "fail_on_execution_errors must be True or False"),
        ({"wait_timeout": 0}, "wait_timeout must be a number of seconds greater than 0"),
        ({"wait_timeout": "120"}, "wait_timeout must be a number of seconds greater than 0"),
        ({"base_url": "dqops:8888"}, "base_url: expected a URL such as 'http://dqops:8888'"),
    ],
    ids=str,
)
def test_bad_arguments(arguments: dict[str, Any], said: str) -> None:
    """A wrong argument fails when the DAG is parsed, with the task, the argument and what is valid."""
    with pytest.raises(InvalidJob) as caught:
        DqopsRunChecksOperator(task_id="load", **arguments)
    assert str(caught.value).startswith("DqopsRunChecksOperator(task_id='load')")
    assert said in str(caught.value)


@pytest.mark.parametrize("job_id", ["nightly", True, 1.5, -1, "", []], ids=repr)
def test_bad_job_id(job_id: Any) -> None:
    """A job id is a number, or its digits."""
    with pytest.raises(InvalidJob, match="job_id must be a number, as such or as a text"):
        DqopsWaitForJobOperator(task_id="wait", job_id=job_id)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: DqopsCollectStatisticsOperator(task_id="s", samples_limit=0), "samples_limit must be a number"),
        (lambda: DqopsCollectStatisticsOperator(task_id="s", target="row"), "target must be one of 'table', 'column'"),
        (
            lambda: DqopsTableImportOperator(task_id="i", connection_name="c", schema_name="s", table_names="t"),
            "table_names must be a list of texts",
        ),
        (
            lambda: DqopsAssertTableStatusOperator(task_id="a", connection_name="c", schema_name="s", table_name=""),
            "table_name: it is empty",
        ),
        (
            lambda: DqopsAssertTableStatusOperator(
                task_id="a", connection_name="c", schema_name="s", table_name="t", wait_timeout=-1
            ),
            "wait_timeout: expected a number of seconds",
        ),
    ],
)
def test_bad_arguments_of_the_others(make: Any, said: str) -> None:
    """The other operators check theirs as well."""
    with pytest.raises(InvalidJob, match=said):
        make()


def test_words_and_enums() -> None:
    """Enums and their words are the same; what is a template is left alone; a preset is not overruled."""
    by_word = DqopsRunChecksOperator(task_id="a", check_type="monitoring", fail_at_severity="warning")
    by_enum = DqopsRunChecksOperator(
        task_id="a", check_type=CheckType.MONITORING, fail_at_severity=RuleSeverityLevel.WARNING
    )
    preset = DqopsRunMonitoringChecksOperator(task_id="a", fail_at_severity="warning", check_type="profiling")
    for operator in (by_word, by_enum, preset):
        assert (operator.check_type, operator.fail_at_severity) == ("monitoring", "warning")
        assert type(operator.check_type) is str
    templated = DqopsRunChecksOperator(task_id="a", check_type="{{ x }}", labels=["{{ x }}"], base_url="{{ x }}")
    assert (templated.check_type, templated.labels) == ("{{ x }}", ["{{ x }}"])
    assert f"{CheckType.MONITORING}" == "monitoring"


def test_defaults() -> None:
    """The limits that DQOps' users know; a wait and the end of its limit cancel nothing, a kill of a start does."""
    start, waiting = DqopsRunChecksOperator(task_id="a"), DqopsWaitForJobOperator(task_id="w")
    for operator in (start, waiting):
        assert (operator.wait_timeout, operator.fail_on_timeout, operator.fail_at_severity) == (120, True, "fatal")
        assert operator.cancel_on_timeout is False
    assert (start.cancel_on_kill, waiting.cancel_on_kill) == (True, False)


# Errors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "final"), [(JobFailed, DqopsJobFailed), (JobCancelled, DqopsJobCancelled), (JobLost, DqopsJobLost)]
)
def test_final_errors(error: type[JobError], final: type[JobError]) -> None:
    """The end of a job is the same error as everywhere, and one after which Airflow does not try again."""
    made = without_retries(error("it is over", job={"state": "failed"}))
    assert type(made) is final
    assert isinstance(made, error)
    assert isinstance(made, AirflowFailException)
    assert (str(made), made.state) == ("it is over", "failed")
    assert str(pickle.loads(pickle.dumps(made))) == "it is over"


def test_what_is_not_final_may_be_tried_again() -> None:
    """A timeout or a wait that broke off is worth another try; a quality issue and a missing job are not."""
    for error in (TimedOut("late"), JobError("could not be watched")):
        assert without_retries(error) is error
    assert issubclass(DqopsQualityIssue, AirflowFailException)
    assert issubclass(DqopsNoJob, AirflowFailException)
    assert issubclass(DqopsNoJob, InvalidJob)
