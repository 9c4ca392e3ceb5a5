"""What only DQOps jobs have: keys, one try's limit, severities, logins, and waiting for jobs of other tasks."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

import pytest
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowFailException

from ork_provider import trigger as trigger_module
from ork_provider.dqops import (
    CheckType,
    DqopsAssertMonitoringTableStatusOperator,
    DqopsAssertTableStatusOperator,
    DqopsCollectStatisticsOperator,
    DqopsHook,
    DqopsJobCancelled,
    DqopsJobFailed,
    DqopsJobLost,
    DqopsNoJob,
    DqopsQualityIssue,
    DqopsRunChecksOperator,
    DqopsRunPartitionedChecksOperator,
    DqopsTableImportOperator,
    DqopsWaitForJobOperator,
    RuleSeverityLevel,
)
from ork_provider.dqops import wait_for_job as wait_module
from ork_provider.errors import BadRequest, InvalidJob, JobError, JobFailed, JobLost, NoConnection, TimedOut, TryAgain
from ork_provider.testing import DqopsOutcome, FakeDqops, Fault
from ork_provider.waiting import Policy
from tests.support.task import Instance, Task

JOB = "GET /api/jobs/jobs/*"
START = "POST /api/jobs/runchecks"


def connect(monkeypatch: pytest.MonkeyPatch, fake: FakeDqops, **changes: Any) -> None:
    """Define the connection of a fake, with changes."""
    for name, value in fake.connections().items():
        monkeypatch.setenv(name, json.dumps({**json.loads(value), **changes}))


@pytest.fixture
def dqops(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDqops]:
    """Serve DQOps under dqops_default; a job takes half a second."""
    with FakeDqops(pending=0.1, running=1.2) as fake:
        connect(monkeypatch, fake)
        yield fake


@dataclass
class Ti(Instance):
    """A task instance that sees what the others of its run have left in XCom."""

    run: dict[str, Any] = field(default_factory=dict)
    states: dict[str, str] = field(default_factory=dict)

    def xcom_pull(self, *, task_ids: str, key: str) -> Any:
        return self.run.get(task_ids, {}).get(key)

    def get_task_states(self, *, dag_id: str, task_ids: list[str], run_ids: list[str]) -> Any:
        names = [name for name in self.states if name in task_ids or name.rpartition("_")[0] in task_ids]
        return {run_ids[0]: {name: self.states[name] for name in names}}


class DagRun:
    """A run of a DAG: runs one try of a task after the other; XComs are as Airflow leaves them."""

    def __init__(self) -> None:
        self.xcoms: dict[str, Any] = {}
        self.tasks: dict[str, Task] = {}
        self.states: dict[str, str] = {}

    def run(self, operator: Any) -> Any:
        """Run the next try of a task to its end."""
        name = operator.task_id
        task = self.tasks[name].retry() if name in self.tasks else Task()
        task.ti = Ti(task_id=name, try_number=task.ti.try_number, max_tries=9, run=self.xcoms, states=self.states)
        self.tasks[name] = task
        self.xcoms[name] = task.ti.xcoms  # what an earlier try has pushed is gone
        self.states[name] = "failed"
        result = task.run(operator)
        self.states[name] = "success"
        self.xcoms[name]["return_value"] = json.loads(json.dumps(result))
        return result


def checks(**kwargs: Any) -> DqopsRunChecksOperator:
    ours = {"task_id": "checks", "connection": "c", "full_table_name": "s.t", "poll_interval": 0.2}
    return DqopsRunChecksOperator(**{**ours, **kwargs})


def wait(**kwargs: Any) -> DqopsWaitForJobOperator:
    return DqopsWaitForJobOperator(**{"task_id": "wait", "poll_interval": 0.2, **kwargs})


def in_dag(*upstream: Any, **kwargs: Any) -> Any:
    """Return a waiting task after others, all in one DAG."""
    with DAG("quality", start_date=datetime(2026, 1, 1), schedule=None):
        waiting = wait(**kwargs)
        made = [task() for task in upstream]
        _ = made >> waiting
    return (*made, waiting)


# The documented chain: a task that runs checks, and one that waits for what that has left running ---


def test_documented_chain(dqops: FakeDqops) -> None:
    """The first task times out, the second finds its job, and goes on try after try until the job has ended."""
    dqops.script("s.t", DqopsOutcome(pending=0.1, running=60))
    first, second = in_dag(
        lambda: checks(
            base_url=dqops.url,
            check_type=CheckType.MONITORING,
            fail_at_severity=RuleSeverityLevel.WARNING,
            wait_timeout=0.3,
        ),
        base_url=dqops.url,
        retries=200,
        retry_delay=30,
        trigger_rule="all_done",
        wait_timeout=0.3,
    )
    run = DagRun()
    with pytest.raises(TimedOut, match="left running"):
        run.run(first)
    with pytest.raises(TimedOut, match="left running") as late:
        run.run(second)
    assert not isinstance(late.value, AirflowFailException)
    (job,) = dqops.started
    job.outcome = DqopsOutcome(pending=0, running=0, severity="error")
    result = run.run(second)
    assert (result["job_id"], result["state"]) == (str(job.job_id), "succeeded")
    assert (result["stats"]["highest_severity"], result["stats"]["errors"]) == ("error", 1)
    assert not dqops.cancelled


def test_next_try_of_a_starter_waits_anew(dqops: FakeDqops) -> None:
    """A try that starts after the first one's limit has a limit of its own, and starts no second job."""
    dqops.script("s.t", DqopsOutcome(pending=0.1, running=2.0))
    operator, run = checks(wait_timeout=0.3), DagRun()
    with pytest.raises(TimedOut):
        run.run(operator)
    operator.wait_timeout = 5
    assert run.run(operator)["state"] == "succeeded"
    assert len(dqops.started) == 1


def test_timeout_that_is_no_failure(dqops: FakeDqops) -> None:
    """fail_on_timeout=False: the task succeeds with a running job, which the next task waits for."""
    first, second = in_dag(lambda: checks(wait_timeout=0.2, fail_on_timeout=False))
    run = DagRun()
    left = run.run(first)
    assert (left["state"], len(dqops.live())) == ("running", 1)
    assert run.run(second)["state"] == "succeeded"


def test_waiting_that_may_time_out(dqops: FakeDqops) -> None:
    """fail_on_timeout=False holds for the waiting task as well; with several jobs all are in the result."""
    dqops.script("s.t", DqopsOutcome(pending=0.1, running=60))
    first, other, second = in_dag(
        lambda: checks(wait_timeout=0.1, fail_on_timeout=False),
        lambda: checks(task_id="other", full_table_name="s.u"),
        wait_timeout=0.3,
        fail_on_timeout=False,
    )
    run = DagRun()
    run.run(first)
    run.run(other)
    assert [job["state"] for job in run.run(second)["jobs"]] == ["running", "succeeded"]


def test_timeout_of_every_operator(dqops: FakeDqops) -> None:
    """``timeout`` counts instead of wait_timeout, and is one limit for all tries."""
    dqops.script("s.t", DqopsOutcome(pending=0.1, running=60))
    operator, run = checks(timeout=0.4), DagRun()
    for _ in range(2):
        with pytest.raises(TimedOut):
            run.run(operator)
    stored = run.tasks["checks"].attempt
    assert (datetime.fromisoformat(stored["deadline"]) - datetime.fromisoformat(stored["at"])).total_seconds() < 1


# What a wait ends with ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outcome", "error", "said"),
    [
        (
            DqopsOutcome(0, 0.1, "failed", error_message="boom\n\tat com.dqops.Some.run(Some.java:1)"),
            DqopsJobFailed,
            "boom",
        ),
        (DqopsOutcome(0, 60), DqopsJobCancelled, "was cancelled"),
        (DqopsOutcome(0, 0.1, severity="fatal"), DqopsQualityIssue, "severity is fatal"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_bad_end_is_not_retried(dqops: FakeDqops, outcome: DqopsOutcome, error: type[JobError], said: str) -> None:
    """What will not change by waiting again fails the task without further tries; nothing is cancelled."""
    dqops.script("s.t", outcome)
    started = Task().start(checks()).trigger.jobs[0]
    operator, task = wait(job_id=started["job_id"], retries=200), Task()
    deferred = task.start(operator)
    if error is DqopsJobCancelled:
        dqops.started[0].cancel()
    with pytest.raises(error, match=said) as caught:
        task.resume(operator, deferred)
    assert isinstance(caught.value, AirflowFailException)
    assert isinstance(caught.value, JobError)
    assert caught.value.job["job_id"] == started["job_id"]
    assert "Some.java" not in str(caught.value)
    assert not dqops.calls("DELETE")


@pytest.mark.parametrize("fail_on_timeout", [True, False])
def test_number_that_nobody_has(dqops: FakeDqops, monkeypatch: pytest.MonkeyPatch, fail_on_timeout: bool) -> None:
    """A number that DQOps does not know twice over is lost for good, however short the wait; it is no running job."""
    monkeypatch.setattr(wait_module, "LOOK_AGAIN", 0.1)
    with pytest.raises(DqopsJobLost, match="DQOps job 99 is not known to DQOps") as caught:
        Task().run(wait(job_id=99, wait_timeout=0.3, fail_on_timeout=fail_on_timeout))
    assert caught.value.job["state"] == "lost"
    assert len(dqops.requests) == 2


def test_number_that_is_known_a_moment_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """DQOps lists a new job a moment after it has named it: one 404 does not make it a lost one."""
    monkeypatch.setattr(wait_module, "LOOK_AGAIN", 0.6)
    with FakeDqops(pending=0.1, running=1.2, appears_after=0.5) as dqops:
        connect(monkeypatch, dqops)
        job = Task().start(checks()).trigger.jobs[0]
        assert Task().run(wait(job_id=job["job_id"]))["state"] == "succeeded"


@pytest.mark.parametrize("fail_on_timeout", [True, False])
def test_job_lost_while_waited_for(dqops: FakeDqops, monkeypatch: pytest.MonkeyPatch, fail_on_timeout: bool) -> None:
    """A limit that ends in 404s is no running job either, in a wait that had seen the job."""
    monkeypatch.setattr(wait_module, "LOOK_AGAIN", 0.1)
    dqops.script("s.t", DqopsOutcome(0.1, 60))
    job = Task().start(checks()).trigger.jobs[0]
    operator, task = wait(job_id=job["job_id"], wait_timeout=0.5, fail_on_timeout=fail_on_timeout), Task()
    deferred = task.start(operator)
    dqops.restart()
    with pytest.raises(DqopsJobLost, match="is not known to DQOps"):
        task.resume(operator, deferred)


def test_restarted_server_has_lost_the_job(dqops: FakeDqops, monkeypatch: pytest.MonkeyPatch) -> None:
    """DQOps keeps jobs in memory only: after a restart the job is lost, and waiting again cannot help."""
    monkeypatch.setattr(trigger_module, "policy_of", partial(Policy, backoff_base=0.1, not_found_grace=0.3))
    started = Task().start(checks()).trigger.jobs[0]
    operator, task = wait(job_id=started["job_id"]), Task()
    deferred = task.start(operator)
    dqops.restart()
    with pytest.raises(DqopsJobLost, match="no longer known") as caught:
        task.resume(operator, deferred)
    assert isinstance(caught.value, AirflowFailException)


def test_failed_job_of_a_starter_may_be_tried_again(dqops: FakeDqops) -> None:
    """A retry of the task that started a failed job starts another."""
    dqops.script("s.t", DqopsOutcome(0, 0.1, "failed"))
    operator, run = checks(), DagRun()
    with pytest.raises(JobFailed) as caught:
        run.run(operator)
    assert not isinstance(caught.value, AirflowFailException)
    dqops.script("s.t", DqopsOutcome(0, 0.1))
    assert run.run(operator)["state"] == "succeeded"
    assert len(dqops.started) == 2


LEVELS = ["valid", "warning", "error", "fatal"]


@pytest.mark.parametrize("severity", LEVELS)
@pytest.mark.parametrize("gate", [*LEVELS[1:], None])
def test_severities(dqops: FakeDqops, severity: str, gate: str | None) -> None:
    """Results at or above fail_at_severity fail the task for good; the counts are in the message or the result."""
    dqops.script("s.t", DqopsOutcome(0, 0, severity=severity))
    operator = checks(fail_at_severity=gate, poll_timeout=5)
    if gate is None or LEVELS.index(severity) < LEVELS.index(gate):
        stats = Task().run(operator)["stats"]
        assert (stats["highest_severity"], stats["executed_checks"]) == (severity, 10)
        return
    with pytest.raises(DqopsQualityIssue, match=f"severity is {severity}.*10 checks were run: 9 valid") as caught:
        Task().run(operator)
    assert isinstance(caught.value, AirflowFailException)
    assert caught.value.state == "succeeded"


@pytest.mark.parametrize(
    ("outcome", "arguments", "said"),
    [
        ({"executed_checks": 0, "valid_results": 0}, {"min_executed_checks": 1}, "0 checks were run"),
        ({"execution_errors": 2}, {"fail_on_execution_errors": True}, "2 checks could not be run"),
        ({"severity": None, "executed_checks": 3}, {}, "no known severity"),
        ({"severity": "apocalyptic"}, {}, "no known severity"),
    ],
    ids=str,
)
def test_results_that_are_no_success(
    dqops: FakeDqops, outcome: dict[str, Any], arguments: dict[str, Any], said: str
) -> None:
    """Checks that were not run, could not be run or have an unknown result fail the task, if it is told to look."""
    dqops.script("s.t", DqopsOutcome(**{"pending": 0, "running": 0, **outcome}))
    with pytest.raises(DqopsQualityIssue, match=said):
        Task().run(checks(poll_timeout=5, **arguments))
    lenient = {name: type(value)() for name, value in arguments.items()} or {"fail_at_severity": None}
    assert Task().run(checks(poll_timeout=5, **lenient))["state"] == "succeeded"


def test_other_jobs_have_no_severity(dqops: FakeDqops) -> None:
    """Imports and statistics can be waited for; the gate is for checks only."""
    statistics = DqopsCollectStatisticsOperator(task_id="s", connection="c", samples_limit=5, poll_timeout=5)
    tables = DqopsTableImportOperator(task_id="i", connection_name="c", schema_name="s", poll_timeout=5)
    for operator in (statistics, tables):
        job = Task().run(operator)
        waited = Task().run(wait(job_id=job["job_id"], fail_at_severity="valid", min_executed_checks=9))
        assert waited["state"] == "succeeded"
    assert [job.job_type for job in dqops.started] == ["collect_statistics", "import_tables"]


def test_request(dqops: FakeDqops) -> None:
    """What a user gives is sent as DQOps names it; a preset fixes the type of checks; nothing else is sent."""
    preset = DqopsRunPartitionedChecksOperator(
        task_id="p", connection="c", time_scale="daily", time_window_filter={"daily_partitioning_recent_days": 7}
    )
    Task().start(preset)
    (job,) = dqops.started
    assert job.body == {
        "check_search_filters": {"connection": "c", "checkType": "partitioned", "timeScale": "daily"},
        "time_window_filter": {"daily_partitioning_recent_days": 7},
    }
    assert job.query["wait"] == "false"
    assert job.key.startswith("airflow_sales_load_")


# Which job -----------------------------------------------------------------------------------------


def test_by_key(dqops: FakeDqops) -> None:
    """A key finds the job, and is held to its number: what else gets the key later is not waited for."""
    key = "a/b c?ü"
    Task().start(checks(job_business_key=key))
    operator, task = wait(job_business_key=key), Task()
    deferred = task.start(operator)
    Task().start(checks(job_business_key=key, full_table_name="s.u"))
    assert task.resume(operator, deferred)["job_id"] == str(dqops.started[0].job_id)


def test_key_of_a_job_that_comes_later(dqops: FakeDqops) -> None:
    """A key that nobody has yet is forgiven for a while: the job may only just have been started."""
    operator, task = wait(job_business_key="later"), Task()
    deferred = task.start(operator)
    Task().start(checks(job_business_key="later"))
    assert task.resume(operator, deferred)["state"] == "succeeded"


def test_key_that_nobody_ever_has(dqops: FakeDqops, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that is still unknown at the end of the grace fails the try; its job may yet come, so retries go on."""
    monkeypatch.setattr(trigger_module, "policy_of", partial(Policy, backoff_base=0.1, not_found_grace=0.3))
    with pytest.raises(JobLost) as caught:
        Task().run(wait(job_business_key="never"))
    assert not isinstance(caught.value, AirflowFailException)


@pytest.mark.parametrize("fail_on_timeout", [True, False])
def test_key_that_nobody_has_in_time(dqops: FakeDqops, fail_on_timeout: bool) -> None:
    """A limit that ends before anybody has the key says so, never passes for a running job, and may be tried again."""
    with pytest.raises(JobLost, match="knows no job with the business key 'typo' so far") as caught:
        Task().run(wait(job_business_key="typo", wait_timeout=0.3, fail_on_timeout=fail_on_timeout))
    assert not isinstance(caught.value, AirflowFailException)


def test_key_found_by_a_later_try_is_a_number(dqops: FakeDqops, monkeypatch: pytest.MonkeyPatch) -> None:
    """A retry that finds the job of a lost answer by its key waits for its number: others may get the key."""
    dqops.script("s.t", DqopsOutcome(0.05, 4))
    dqops.fail(Fault.reset(after=True), on=START)
    operator, task = checks(job_business_key="nightly"), Task()
    with monkeypatch.context() as patch:
        patch.setattr(DqopsRunChecksOperator, "find_job", _die)
        with pytest.raises(SystemExit):
            task.run(operator)
    retry = task.retry()
    deferred = retry.start(operator)
    assert deferred.trigger.jobs[0]["job_id"] == retry.attempt["job"]["job_id"] == str(dqops.started[0].job_id)
    Task().start(checks(job_business_key="nightly", full_table_name="s.u"))
    assert retry.resume(operator, deferred)["job_id"] == str(dqops.started[0].job_id)


async def _die(*args: Any) -> None:
    raise SystemExit


def test_key_that_looks_like_a_number(dqops: FakeDqops) -> None:
    """Native rendering makes a number of a key such as 20261120; it is the key all the same, here and there."""
    operator, task = checks(job_business_key="{{ ds_nodash }}"), Task()
    operator.job_business_key = 20261120  # type: ignore[assignment]
    deferred = task.start(operator)
    waiting = wait(job_business_key="{{ ds_nodash }}")
    waiting.job_business_key = 20261120  # type: ignore[assignment]
    assert Task().run(waiting)["job_id"] == deferred.trigger.jobs[0]["job_id"]
    assert task.retry().run(operator)["state"] == "succeeded"
    assert [job.key for job in dqops.started] == ["20261120"]


def test_key_that_is_taken(dqops: FakeDqops) -> None:
    """DQOps lets many jobs have one key: the new one is told by its number, and if that is lost nothing is repeated."""
    first = Task().run(checks(job_business_key="nightly"))
    second = Task().run(checks(job_business_key="nightly"))
    assert first["job_id"] != second["job_id"]
    dqops.fail(Fault.reset(after=True), on=START)
    task = Task()
    for attempt in (task, task.retry()):
        with pytest.raises(AirflowFailException):
            attempt.run(checks(job_business_key="nightly"))
    assert len(dqops.started) == 3


def test_free_key_finds_the_job_of_a_lost_answer(dqops: FakeDqops) -> None:
    """A user's key that nobody had before finds the job as one of ours does."""
    dqops.fail(Fault.reset(after=True), on=START)
    assert Task().run(checks(job_business_key="nightly"))["state"] == "succeeded"
    assert len(dqops.started) == 1


@pytest.mark.parametrize("appears_after", [0.6])
def test_job_that_appears_late(monkeypatch: pytest.MonkeyPatch, appears_after: float) -> None:
    """DQOps lists a new job a moment after it has started it; a lost answer does not start a second one."""
    monkeypatch.setattr("ork_provider.operator.job.RESEND_AFTER", 3.0)
    with FakeDqops(pending=0.1, running=0.4, appears_after=appears_after) as dqops:
        connect(monkeypatch, dqops)
        dqops.fail(Fault.reset(after=True), on=START)
        assert Task().run(checks())["state"] == "succeeded"
        assert len(dqops.started) == 1


@pytest.mark.parametrize(
    "left",
    [
        lambda number: {"return_value": number},
        lambda number: {"return_value": str(number)},
        lambda number: {"return_value": {"jobId": {"jobId": number}, "status": "running"}},
        lambda number: {"return_value": {"service_type": "dqops", "job_id": str(number), "state": "running"}},
        lambda number: {"return_value": {"jobs": [{"service_type": "dqops", "job_id": number}]}},
        lambda number: {"ork_job": {"service_type": "dqops", "job_id": str(number), "job_business_key": "k"}},
        lambda number: {
            "return_value": [{"jobId": {"jobId": number}}, {"jobId": {"jobId": str(number)}}, "5 rows"][:2]
        },
    ],
)
def test_what_a_named_task_has_left(dqops: FakeDqops, left: Any) -> None:
    """Bare ids, DQOps' own answers and our results name a job; the same job twice is one."""
    started = Task().start(checks()).trigger.jobs[0]
    _, waiting = in_dag(lambda: checks(task_id="other"), task_id_to_wait_for="other")
    run = DagRun()
    run.xcoms["other"] = left(int(started["job_id"]))
    assert run.run(waiting)["job_id"] == started["job_id"]


def test_several_upstream_tasks(dqops: FakeDqops) -> None:
    """The jobs of all direct upstream tasks and of their mapped instances are waited for; other results are not."""
    jobs = [Task().start(checks()).trigger.jobs[0] for _ in range(3)]
    *_, waiting = in_dag(lambda: checks(task_id="mapped"), lambda: checks(task_id="one"), lambda: wait(task_id="rows"))
    run = DagRun()
    run.xcoms.update(mapped={"ork_job": jobs[:2], "return_value": jobs[:1]}, one={"ork_job": jobs[2]})
    run.xcoms["rows"] = {"return_value": 12}
    result = run.run(waiting)
    assert {job["job_id"] for job in result["jobs"]} == {job["job_id"] for job in jobs}


@pytest.mark.parametrize("state", ["failed", "upstream_failed", "skipped"])
def test_upstream_task_without_a_job(dqops: FakeDqops, state: str) -> None:
    """A task that failed before it started its job is not passed over, even if others have one; a skipped one is."""
    job = Task().start(checks()).trigger.jobs[0]
    *_, waiting = in_dag(lambda: checks(task_id="good"), lambda: checks(task_id="bad"), trigger_rule="all_done")
    run = DagRun()
    run.xcoms["good"] = {"ork_job": job}
    run.states["bad"] = state
    if state == "skipped":
        assert run.run(waiting)["state"] == "succeeded"
        return
    with pytest.raises(DqopsNoJob, match="bad left no job") as caught:
        run.run(waiting)
    assert isinstance(caught.value, AirflowFailException)


@pytest.mark.parametrize(("second", "lost"), [("failed", True), ("skipped", False), ("removed", False)])
def test_mapped_instance_without_a_job(dqops: FakeDqops, second: str, lost: bool) -> None:
    """Of a mapped task every instance that was to run must have left a job."""
    job = Task().start(checks()).trigger.jobs[0]
    with DAG("quality", start_date=datetime(2026, 1, 1), schedule=None):
        names = {"task_id": "checks", "connection": "c"}
        mapped = DqopsRunChecksOperator.partial(**names).expand(full_table_name=["s.t", "s.u"])
        waiting = wait(trigger_rule="all_done")
        _ = mapped >> waiting
    run = DagRun()
    run.xcoms["checks"] = {"ork_job": job}
    run.states.update(checks_0="success", checks_1=second)
    if not lost:
        assert run.run(waiting)["state"] == "succeeded"
        return
    with pytest.raises(DqopsNoJob, match="1 of 2 instances of checks left no job"):
        run.run(waiting)


def test_job_of_another_connection(dqops: FakeDqops, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job names the connection it was started over, so that what waits for it asks the right server."""
    (of_prod,) = dqops.connections().values()
    monkeypatch.setenv("AIRFLOW_CONN_DQ_PROD", of_prod)
    with FakeDqops() as other:
        connect(monkeypatch, other)
        first, second = in_dag(lambda: checks(dqops_conn_id="dq_prod"))
        run = DagRun()
        assert run.run(first)["conn_id"] == "dq_prod"
        assert run.run(second)["job_id"] == str(dqops.started[0].job_id)
        assert not other.requests


@pytest.mark.parametrize(
    "read",
    [
        lambda job: job,
        lambda job: {"jobs": [job]},
        lambda job: {"jobId": {"jobId": int(job["job_id"])}},
        lambda job: int(job["job_id"]),
        lambda job: job["job_id"],
    ],
)
def test_job_id_that_is_a_result(dqops: FakeDqops, read: Any) -> None:
    """``job_id=run_checks.output`` is the job that this result names."""
    job = Task().run(checks())
    waiting = wait(job_id="{{ x }}")
    waiting.job_id = read(job)
    assert Task().run(waiting)["job_id"] == job["job_id"]


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("job_id", "None", "job_id must be a number"),
        ("job_id", {"rows": 5}, "job_id must be a number"),
        ("job_id", {"service_type": "dqops", "job_id": None}, "needs job_id or job_business_key"),
        ("job_business_key", "", "job_business_key must be a text"),
        ("task_id_to_wait_for", ["checks"], "task_id_to_wait_for must be a text"),
        ("fail_at_severity", "sever", "fail_at_severity must be one of"),
        ("min_executed_checks", "many", "min_executed_checks must be a number"),
        ("base_url", "dqops:8888", "base_url"),
    ],
)
def test_bad_rendered_arguments_of_a_wait(dqops: FakeDqops, name: str, value: Any, said: str) -> None:
    """What is rendered wrong is rendered wrong by every further try: the task fails without them."""
    waiting = wait(**{"job_id": 1, name: "{{ x }}"})
    setattr(waiting, name, value)
    with pytest.raises(InvalidJob, match=said) as caught:
        Task().run(waiting)
    assert isinstance(caught.value, AirflowFailException)
    assert not dqops.requests


def test_no_job_at_all(dqops: FakeDqops) -> None:
    """Without a job there is one error that says where was looked, and it is final."""
    _, waiting = in_dag(lambda: wait(task_id="rows"))
    with pytest.raises(DqopsNoJob, match=r"Looked at return_value and ork_job of rows\. Name it with job_id"):
        DagRun().run(waiting)
    (alone,) = in_dag()
    with pytest.raises(DqopsNoJob, match="no upstream task"):
        DagRun().run(alone)
    (lost,) = in_dag(task_id_to_wait_for="nowhere")
    with pytest.raises(DqopsNoJob, match="no such task; its tasks: wait"):
        DagRun().run(lost)
    assert not dqops.requests


# Where, and as whom --------------------------------------------------------------------------------


def test_prefix_key_and_domain(monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection's path prefix, API key and data domain go with every request, and nowhere else."""
    with FakeDqops(pending=0, running=0.2, api_key="k-sesame", prefix="/proxy/dqops", data_domain="sales") as dqops:
        connect(monkeypatch, dqops)
        task = Task()
        result = task.run(checks())
        assert result["state"] == "succeeded"
        assert {call.headers["authorization"] for call in dqops.requests} == {"Bearer k-sesame"}
        assert dqops.started[0].data_domain == "sales"
        assert "sesame" not in json.dumps([result, task.ti.xcoms, task.store.values])


@pytest.mark.parametrize(
    ("password", "status", "said"),
    [("wrong", 401, "does not accept the API key"), (None, 303, "authentication is on, and no API key was sent")],
)
def test_refused_login(monkeypatch: pytest.MonkeyPatch, password: str | None, status: int, said: str) -> None:
    """A wrong key and a missing one are told apart, with what to set; the request is not repeated."""
    with FakeDqops(api_key="right") as dqops:
        connect(monkeypatch, dqops, password=password)
        with pytest.raises(BadRequest, match=f"(?s)answered {status}.*{said}.*'dqops_default'"):
            Task().run(checks())
        assert not dqops.started
        assert len(dqops.requests) <= 2


def test_key_is_for_its_own_server(monkeypatch: pytest.MonkeyPatch, dqops: FakeDqops) -> None:
    """base_url leads elsewhere without the API key of another server; a connection without a host is for any."""
    connect(monkeypatch, dqops, host="http://elsewhere:8888", password="k-sesame")
    Task().run(checks(base_url=dqops.url))
    assert all("authorization" not in call.headers for call in dqops.requests)
    dqops.clear_log()
    connect(monkeypatch, dqops, host="", password="k-sesame")
    Task().run(checks(base_url=f"{dqops.url}/"))
    assert {call.headers["authorization"] for call in dqops.requests} == {"Bearer k-sesame"}
    with pytest.raises(NoConnection, match="has no host"):
        Task().run(checks())


def test_no_connection_is_needed(monkeypatch: pytest.MonkeyPatch, dqops: FakeDqops) -> None:
    """Without a connection base_url is enough; without that, DQOps is looked for on this machine."""
    monkeypatch.delenv("AIRFLOW_CONN_DQOPS_DEFAULT")
    result = Task().run(checks(base_url=dqops.url))
    assert (result["state"], result["base_url"]) == ("succeeded", dqops.url)
    with pytest.raises(TryAgain, match="POST http://localhost:8888/api/jobs/runchecks"):
        Task().run(checks(error_budget=0.1))
    with pytest.raises(NoConnection, match="'nowhere'"):
        Task().run(checks(base_url=dqops.url, dqops_conn_id="nowhere"))


def test_connections_that_end_after_five_requests(dqops: FakeDqops, capfd: pytest.CaptureFixture[str]) -> None:
    """DQOps ends every connection after five requests; nobody notices, and nothing is said in the log."""
    dqops.script("s.t", DqopsOutcome(0, 1.0))
    dqops.fail(Fault.status(403), on="GET */jobchangessince/*", times=-1)
    assert Task().run(checks(poll_interval=0.04))["state"] == "succeeded"
    assert len(dqops.calls("GET")) > 15
    assert "asking failed" not in capfd.readouterr().out


def test_start_takes_longer_than_the_limit(dqops: FakeDqops) -> None:
    """wait_timeout is for the job: its start is tried again for error_budget, and the limit counts from its answer."""
    dqops.fail(Fault.status(503), on=START, times=2)
    assert Task().run(checks(wait_timeout=0.01, fail_on_timeout=False))["state"] == "running"
    assert len(dqops.started) == 1


@pytest.mark.parametrize(
    "fault", [Fault.status(200), Fault.malformed(), Fault.status(500, "at com.x\n" * 999)], ids=lambda f: f.kind
)
def test_answers_that_say_nothing(dqops: FakeDqops, fault: Fault, capfd: pytest.CaptureFixture[str]) -> None:
    """Empty answers, HTML pages and errors with long stack traces are asked for again, and quoted briefly."""
    dqops.fail(fault, on=JOB, times=3)
    assert Task().run(checks())["state"] == "succeeded"
    assert "at com.x" * 60 not in capfd.readouterr().out


def test_kill_of_a_wait_cancels_nothing(dqops: FakeDqops) -> None:
    """The job is somebody else's."""
    job = Task().start(checks()).trigger.jobs[0]
    operator = wait(job_id=job["job_id"])
    Task().start(operator)
    operator.on_kill()
    assert not dqops.calls("DELETE")


def test_job_that_is_not_there_is_not_cancelled(dqops: FakeDqops) -> None:
    """DQOps says yes to the cancel of a job that it does not know; that is not taken for one."""
    import asyncio

    from ork_provider.dqops import DqopsJob
    from ork_provider.service import Services
    from ork_provider.session import HttpxDoor, Session

    async def cancel() -> bool:
        session = Session(HttpxDoor())
        try:
            return await Services(session, {"dqops_conn_id": "dqops_default"}).cancel(DqopsJob(job_id=7))
        finally:
            await session.close()

    assert asyncio.run(cancel()) is False
    assert not dqops.calls("DELETE")


# The status of a table ---------------------------------------------------------------------------


def status(**kwargs: Any) -> Any:
    names = {"task_id": "status", "connection_name": "c", "schema_name": "s", "table_name": "t/1"}
    return DqopsAssertTableStatusOperator(**{**names, **kwargs}).execute(Task().context)


def test_table_status(dqops: FakeDqops) -> None:
    """A table's status is one question; severe results fail the task, and the answer is the result otherwise."""
    dqops.table_status("c", "s", "t/1", {"current_severity": "error", "executed_checks": 3, "errors": 1})
    assert status(months=2, partitioned=False)["current_severity"] == "error"
    (call,) = dqops.requests
    assert call.query == {"months": "2", "partitioned": "false"}
    with pytest.raises(DqopsQualityIssue, match=r"Table c\.s\.t/1: The severity is error") as caught:
        status(fail_at_severity="error")
    assert isinstance(caught.value, AirflowFailException)


def test_table_without_results(dqops: FakeDqops) -> None:
    """A table of which nothing is known passes, unless min_executed_checks says otherwise."""
    assert "current_severity" not in status()
    with pytest.raises(DqopsQualityIssue, match="0 checks were run"):
        status(min_executed_checks=1)


def test_unknown_table_and_silent_server(dqops: FakeDqops) -> None:
    """A table that DQOps does not know is an error; so is no answer, unless the task may go on without."""
    dqops.table_status("c", "s", "t/1", None)
    with pytest.raises(BadRequest, match="does not know the table"):
        status()
    dqops.fail(Fault.status(503), on="GET *", times=-1)
    with pytest.raises(TryAgain):
        status(wait_timeout=0.1)
    assert status(wait_timeout=0.1, fail_on_timeout=False) is None


@pytest.mark.parametrize("limit", [{"wait_timeout": 0.3}, {"wait_timeout": None, "timeout": 0.3}], ids=str)
def test_slow_table_status(dqops: FakeDqops, limit: dict[str, Any]) -> None:
    """A server that is slow to answer is not waited for longer than the limit."""
    dqops.fail(Fault.hang(5), on="GET *", times=-1)
    began = time.monotonic()
    with pytest.raises(TryAgain, match=r"did not answer within 0\.3 s"):
        status(**limit)
    assert status(**limit, fail_on_timeout=False) is None
    assert time.monotonic() - began < 4


def test_table_status_of_a_patient(dqops: FakeDqops) -> None:
    """wait_timeout=None is a limit as for any other question; a time is sent in UTC."""
    assert status(wait_timeout=None, since=datetime(2026, 1, 1))["table_name"] == "t/1"
    assert dqops.requests[0].query == {"since": "2026-01-01T00:00:00Z"}


def test_table_status_presets(dqops: FakeDqops) -> None:
    """A preset counts the results of one type of checks only."""
    operator = DqopsAssertMonitoringTableStatusOperator(
        task_id="m", connection_name="c", schema_name="s", table_name="t", check_time_scale="daily"
    )
    operator.execute(Task().context)
    flags = {"profiling": "false", "monitoring": "true", "partitioned": "false"}
    assert dqops.requests[0].query == {**flags, "checkTimeScale": "daily"}


# The connection's test button --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "good", "said"),
    [
        ({}, True, "DQOps answers"),
        ({"password": "wrong"}, False, "does not accept the API key"),
        ({"password": None}, False, "no API key"),
        ({"host": "http://127.0.0.1:9"}, False, "cannot connect"),
        ({"host": ""}, False, "has no host"),
        ({"password": "ключ"}, False, "its password is no API key"),
    ],
    ids=str,
)
def test_connection_test(monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], good: bool, said: str) -> None:
    """The button says that it works, or what is wrong."""
    with FakeDqops(api_key="right") as dqops:
        connect(monkeypatch, dqops, **changes)
        worked, message = DqopsHook().test_connection()
        assert worked is good
        assert said in message


@pytest.mark.parametrize(
    "fault", [Fault.malformed(), Fault.status(200, {"hello": 1}), Fault.status(404)], ids=lambda f: f.kind
)
def test_connection_test_of_another_service(dqops: FakeDqops, fault: Fault) -> None:
    """What answers but is not DQOps is not taken for it."""
    dqops.fail(fault, on="GET *")
    worked, message = DqopsHook().test_connection()
    assert not worked
    assert "DQOps" in message


def test_bad_rendered_arguments_send_nothing(dqops: FakeDqops) -> None:
    """What was a template is checked when it is rendered, before anything is sent."""
    operator = checks(check_type="{{ params.type }}")
    operator.check_type = "monitering"
    with pytest.raises(InvalidJob, match="check_type must be one of 'profiling', 'monitoring', 'partitioned'"):
        operator.execute(Task().context)
    for name, value in {"fail_at_severity": "sever", "job_business_key": "", "min_executed_checks": "x"}.items():
        operator = checks(**{name: "{{ x }}"})
        setattr(operator, name, value)
        with pytest.raises(InvalidJob, match=f"{name} must be"):
            operator.execute(Task().context)
    assert not dqops.requests


def test_rendered_texts(dqops: FakeDqops) -> None:
    """Templates render texts: True, 3 and FATAL are read for what they mean."""
    operator = checks(enabled="{{ x }}", tags=["{{ x }}"], check_type="{{ x }}", fail_at_severity="{{ x }}")
    operator.enabled, operator.tags, operator.check_type = "True", [20261120], "Profiling"  # type: ignore[assignment,list-item]
    operator.fail_at_severity, operator.min_executed_checks = "FATAL", "3"  # type: ignore[assignment]
    dqops.script("s.t", DqopsOutcome(0, 0, severity="fatal"))
    with pytest.raises(DqopsQualityIssue, match="severity is fatal, and fail_at_severity is fatal"):
        Task().run(operator)
    filters = dqops.started[0].body["check_search_filters"]
    assert (filters["enabled"], filters["tags"], filters["checkType"]) == (True, ["20261120"], "profiling")
    statistics = DqopsCollectStatisticsOperator(task_id="s", samples_limit="{{ x }}")  # type: ignore[arg-type]
    statistics.samples_limit = "5"  # type: ignore[assignment]
    Task().run(statistics)
    assert dqops.started[1].query["samplesLimit"] == "5"
