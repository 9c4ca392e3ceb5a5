"""What only Cloud Run jobs have: tasks, overrides, the marker, permissions; every request as Google describes it."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from ork_provider.attempt import Attempt
from ork_provider.cloud_run import CloudRunJob, CloudRunJobOperator, CloudRunService
from ork_provider.cloud_run import operator as cloud_run_operator
from ork_provider.cloud_run import service as cloud_run_service
from ork_provider.cloud_run.job import read_execution
from ork_provider.cloud_run.overrides import MARKER, to_overrides
from ork_provider.errors import BadRequest, InvalidJob, JobCancelled, JobFailed, TimedOut, TryAgain
from ork_provider.job import JobState, job_from_dict, load
from ork_provider.service import Services
from ork_provider.session import HttpxDoor, Session
from ork_provider.testing import ExecutionOutcome, FakeCloudRun, FakeExecution, Fault
from tests.support.discovery import Discovery
from tests.support.task import Task
from tests.support.ticks import Ticks

DISCOVERY = Discovery("run", "v2")
RUN, LIST = "POST */jobs/*:run", "GET */jobs/*/executions"


@pytest.fixture
def cloud_run(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCloudRun]:
    """Serve Cloud Run under google_cloud_default; hold all that was said against Google's own description."""
    monkeypatch.setattr(cloud_run_operator, "LOOK_AGAIN", 0.05)
    with FakeCloudRun(pending=0.1, running=0.8, keep_answers=True) as fake:
        for name, value in fake.connections().items():
            monkeypatch.setenv(name, value)
        yield fake
        DISCOVERY.check_log(fake.requests)


def nightly(**kwargs: Any) -> CloudRunJobOperator:
    ours = {"task_id": "load", "region": "europe-west1", "job_name": "nightly", "poll_interval": 0.2}
    return CloudRunJobOperator(**{**ours, **kwargs})


def only_one(cloud_run: FakeCloudRun) -> FakeExecution:
    assert len(cloud_run.started) == 1
    return cloud_run.started[0]


class Died(BaseException):
    """Stands for SIGKILL: nothing of ours runs after it."""


# What an execution came to ---------------------------------------------------------------------------


def test_result(cloud_run: FakeCloudRun) -> None:
    """The result names the execution, its console page, and in its stats the tasks, the duration and the logs."""
    cloud_run.script("nightly", ExecutionOutcome(pending=0.1, running=0.3, tasks=3))
    result = Task().run(nightly())
    execution = only_one(cloud_run)
    place = f"ork-sandbox/europe-west1/nightly/{execution.execution_id}"
    assert (result["state"], result["job_id"], result["message"]) == ("succeeded", place, "")
    console = "https://console.cloud.google.com/run/jobs/executions/details"
    assert result["link"] == f"{console}/europe-west1/{execution.execution_id}?project=ork-sandbox"
    stats = result["stats"]
    assert stats.pop("log_uri").startswith("https://console.cloud.google.com/logs/")
    assert stats.pop("duration_seconds") == pytest.approx(0.3, abs=0.01)
    counts = {"succeeded": 3, "failed": 0, "cancelled": 0, "retried": 0, "running": 0}
    assert stats == {"task_count": 3, **counts}


def test_partly_failed(cloud_run: FakeCloudRun) -> None:
    """One failed task fails the whole; the message counts the tasks and has the service's own words."""
    cloud_run.script("nightly", ExecutionOutcome(0.1, 0.2, tasks=10, failed=2, retried=3, message="Exit code 7."))
    with pytest.raises(JobFailed) as caught:
        Task().run(nightly())
    said = "8 of 10 tasks succeeded, 2 failed, 3 retried: Exit code 7. (reason: NON_ZERO_EXIT_CODE)"
    assert said in str(caught.value)
    assert caught.value.job["stats"]["failed"] == 2


def test_tasks_given_up_after_a_failure(cloud_run: FakeCloudRun) -> None:
    """Tasks that the service itself cancels because others failed do not make the failure a cancel."""
    cloud_run.script("nightly", ExecutionOutcome(0.1, 0.2, tasks=4, failed=1, cancelled=2))
    with pytest.raises(JobFailed, match="1 of 4 tasks succeeded, 1 failed, 2 cancelled: Task 0 failed"):
        Task().run(nightly())


def test_success_after_retries(cloud_run: FakeCloudRun) -> None:
    """A task that succeeded in the end counts as one that succeeded; the stats tell of its retries."""
    cloud_run.script("nightly", ExecutionOutcome(0.1, 0.2, tasks=2, retried=1))
    result = Task().run(nightly())
    assert (result["state"], result["stats"]["succeeded"], result["stats"]["retried"]) == ("succeeded", 2, 1)


@pytest.fixture
def ticks(cloud_run: FakeCloudRun) -> Ticks:
    """Let executions go on only when the test says so."""
    cloud_run.clock = ticks = Ticks()
    return ticks


def test_cancelled_by_hand(cloud_run: FakeCloudRun, ticks: Ticks) -> None:
    """An execution that somebody cancels is cancelled, also when some of its tasks had succeeded."""
    cloud_run.script("nightly", ExecutionOutcome(pending=0, running=10, tasks=2))
    task, operator = Task(), nightly()
    deferred = task.start(operator)
    ticks.seconds += 6
    only_one(cloud_run).cancel()
    with pytest.raises(JobCancelled, match=r"1 of 2 tasks succeeded, 1 cancelled: .*\(reason: CANCELLED\)"):
        task.resume(operator, deferred)


async def test_states_and_progress(cloud_run: FakeCloudRun, ticks: Ticks) -> None:
    """Before its start an execution is PENDING; then the message says how many tasks are done, failed and retried."""
    cloud_run.script("nightly", ExecutionOutcome(pending=1, running=8, tasks=4, failed=1, retried=2))
    session, services = opened()
    job = await (await service_of(services)).run(PLACE, {})
    pending = await services.check(job)
    assert (pending.remote_state, pending.state, pending.message) == ("PENDING", JobState.RUNNING, "")
    ticks.seconds += 7.5
    running = await services.check(job)
    assert (running.remote_state, running.message) == ("RUNNING", "2 of 4 tasks done, 1 failed, 2 retried")
    assert running.stats["running"] == 1
    await session.close()


def test_cancelled_before_the_start(cloud_run: FakeCloudRun, ticks: Ticks) -> None:
    """An execution that is cancelled while it is PENDING has no completionTime, and has ended all the same."""
    task, operator = Task(), nightly()
    deferred = task.start(operator)
    only_one(cloud_run).cancel()
    with pytest.raises(JobCancelled, match=r"0 of 1 tasks succeeded, 1 cancelled"):
        task.resume(operator, deferred)


def refused(code: int, status: str) -> Fault:
    return Fault.status(code, body={"error": {"code": code, "message": "Not now.", "status": status}})


@pytest.mark.parametrize(("code", "status"), [(409, "ABORTED"), (400, "FAILED_PRECONDITION")])
def test_cancel_that_is_put_off(cloud_run: FakeCloudRun, code: int, status: str) -> None:
    """A cancel that another change got in the way of is sent again until the execution stops."""
    cloud_run.script("nightly", ExecutionOutcome(pending=0, running=60))
    cloud_run.fail(refused(code, status), on="POST *:cancel")
    with pytest.raises(TimedOut, match="cancelled, and the service confirms"):
        Task().run(nightly(timeout=0.3))
    assert [call.status for call in cloud_run.calls("POST", "*:cancel")] == [code, 200]


async def test_cancel_that_is_refused_for_good(cloud_run: FakeCloudRun) -> None:
    """Any other refusal of a cancel is final as long as the execution runs."""
    session, services = opened()
    job = await (await service_of(services)).run(PLACE, {})
    for code, status in ((403, "PERMISSION_DENIED"), (400, "INVALID_ARGUMENT")):
        cloud_run.fail(refused(code, status), on="POST *:cancel")
        with pytest.raises(BadRequest, match="Not now"):
            await services.cancel(job)
    await session.close()


async def test_cancel_of_an_execution_that_is_being_cancelled(cloud_run: FakeCloudRun, ticks: Ticks) -> None:
    """Cloud Run refuses a second cancel (400) while the containers stop; that is as good as a cancel."""
    cloud_run.script("nightly", ExecutionOutcome(pending=0, running=60, cancelling=6))
    session, services = opened()
    job = await (await service_of(services)).run(PLACE, {})
    assert [await services.cancel(job) for _ in range(2)] == [True, True]
    assert [call.status for call in cloud_run.calls("POST", "*:cancel")] == [200, 400]
    assert (await services.check(job)).remote_state == "CANCELLING"
    ticks.seconds += 6
    assert (await services.check(job)).state is JobState.CANCELLED
    await session.close()


def test_start_that_is_aborted(cloud_run: FakeCloudRun) -> None:
    """A 409 with the status ABORTED had no effect: the start is sent again, and no execution is looked for."""
    cloud_run.fail(refused(409, "ABORTED"), on=RUN)
    assert Task().run(nightly())["state"] == "succeeded"
    assert (len(cloud_run.started), len(cloud_run.calls("GET", "*/executions"))) == (1, 0)


async def test_cancel_of_an_execution_that_has_ended(cloud_run: FakeCloudRun) -> None:
    """Cloud Run refuses to cancel what has ended (400); that is as good as a cancel."""
    cloud_run.script("nightly", ExecutionOutcome(pending=0, running=0))
    session, services = opened()
    job = await (await service_of(services)).run(PLACE, {})
    assert await services.cancel(job) is True
    assert [call.status for call in cloud_run.calls("POST", "*:cancel")] == [400]
    await session.close()


PLACE = {"project": "ork-sandbox", "region": "europe-west1", "job_name": "nightly"}


def opened() -> tuple[Session, Services]:
    session = Session(HttpxDoor())
    return session, Services(session, {"gcp_conn_id": "google_cloud_default"})


async def service_of(services: Services) -> CloudRunService:
    service = await services.open(CloudRunService)
    assert isinstance(service, CloudRunService)
    return service


ENDED = {"taskCount": 2, "completionTime": "2026-01-31T00:00:02.123456789Z", "startTime": "2026-01-31T00:00:01Z"}


@pytest.mark.parametrize(
    ("execution", "state"),
    [
        ({**ENDED, "succeededCount": 2}, JobState.SUCCEEDED),
        ({**ENDED, "succeededCount": 1, "failedCount": 1}, JobState.FAILED),
        ({**ENDED, "succeededCount": 1}, JobState.FAILED),
        ({**ENDED, "taskCount": 0}, JobState.FAILED),
        ({"taskCount": 2, "succeededCount": 2}, JobState.RUNNING),
    ],
)
def test_verdict_is_by_counts(execution: dict[str, Any], state: JobState) -> None:
    """Final is what has a completionTime; a success is only what has as many succeeded tasks as tasks."""
    assert read_execution(execution).state is state


def completed(state: str, **said: str) -> dict[str, Any]:
    return {"conditions": [{"type": "Completed", "state": f"CONDITION_{state}", **said}]}


PULL = {"reason": "CONTAINER_MISSING", "message": "Image 'x' not found."}


@pytest.mark.parametrize(
    ("execution", "state"),
    [
        ({"cancelledCount": 2, **completed("FAILED", executionReason="CANCELLED")}, JobState.CANCELLED),
        (completed("FAILED", **PULL), JobState.FAILED),
        ({"succeededCount": 2, **completed("SUCCEEDED")}, JobState.SUCCEEDED),
        ({"succeededCount": 1, **completed("RECONCILING")}, JobState.RUNNING),
        (completed("PENDING"), JobState.RUNNING),
    ],
)
def test_condition_ends_an_execution_too(execution: dict[str, Any], state: JobState) -> None:
    """What never started, cancelled or without its image, has no completionTime: its condition says that it ended."""
    assert read_execution({"taskCount": 2, **execution}).state is state


@pytest.mark.parametrize("ended", [ENDED, {"taskCount": 2}], ids=["completionTime", "condition"])
def test_answer_that_contradicts_itself(ended: dict[str, Any]) -> None:
    """A success whose tasks are not counted yet is asked for again: neither a success nor a failure."""
    with pytest.raises(TryAgain, match="1 of 2 tasks are counted"):
        read_execution({**ended, "succeededCount": 1, **completed("SUCCEEDED")})


@pytest.mark.parametrize("state", ["RECONCILING", "PENDING"])
def test_condition_that_lags_behind(state: str) -> None:
    """An execution that has ended, but whose condition is still open, is asked for again unless all went well."""
    with pytest.raises(TryAgain, match=f"still CONDITION_{state}"):
        read_execution({**ENDED, "succeededCount": 1, **completed(state)})
    assert read_execution({**ENDED, "succeededCount": 2, **completed(state)}).state is JobState.SUCCEEDED


@pytest.mark.parametrize(
    ("cancelled", "condition"),
    [
        (1, completed("FAILED", message="Execution cancelled.")),
        (1, completed("FAILED", executionReason="EXECUTION_REASON_UNDEFINED", message="Execution cancelled.")),
        (1, completed("FAILED", executionReason="EXECUTION_REASON_UNDEFINED", reason="CANCELLED")),
        (1, completed("RECONCILING", executionReason="CANCELLING")),
        (2, completed("FAILED")),
    ],
)
def test_ways_to_tell_a_cancel(cancelled: int, condition: dict[str, Any]) -> None:
    """The reason tells a cancel; without one the words of the condition do, or that all tasks were cancelled."""
    assert read_execution({**ENDED, "cancelledCount": cancelled, **condition}).state is JobState.CANCELLED


def test_another_reason_is_no_cancel() -> None:
    """A reason that names something else than a cancel comes before words and counts."""
    condition = completed("FAILED", executionReason="NON_ZERO_EXIT_CODE", message="cancelled the rest")
    assert read_execution({**ENDED, "cancelledCount": 2, **condition}).state is JobState.FAILED


# The marker -------------------------------------------------------------------------------------------


def test_marker(cloud_run: FakeCloudRun) -> None:
    """Each execution carries its attempt's nonce in a variable; the variables of the user stay."""
    task = Task()
    task.run(nightly(overrides={"env": {"DAY": "2026-01-31"}}))
    assert only_one(cloud_run).env == {"DAY": "2026-01-31", MARKER: task.attempt["nonce"]}


def test_lost_answer_is_looked_up_page_by_page(cloud_run: FakeCloudRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """The execution of a lost answer is found behind newer ones of the same job; none is started."""
    monkeypatch.setattr(cloud_run_service, "PAGE", 2)
    task = Task()
    task.ti.max_tries = 1
    with pytest.raises(Died):
        die(nightly()).execute(task.context)
    for _ in range(5):
        Task().start(nightly())
    result = task.retry().run(nightly())
    assert result["execution_id"] == cloud_run.started[0].execution_id
    assert (len(cloud_run.started), len(cloud_run.calls("GET", "*/executions"))) == (6, 3)


def die(operator: Any) -> Any:
    """Make a worker die when its request has been answered, before it could store what came of it."""
    submit = operator.submit

    async def dying(*args: Any) -> None:
        await submit(*args)
        raise Died

    operator.submit = dying
    return operator


def test_execution_that_is_listed_late(cloud_run: FakeCloudRun) -> None:
    """What the list does not show at once is looked for a second time before anything is sent again."""
    cloud_run.fail(Fault.reset(after=True), on=RUN)
    cloud_run.fail(Fault.status(200, body={}), on=LIST)
    assert Task().run(nightly())["state"] == "succeeded"
    assert (len(cloud_run.started), len(cloud_run.calls("GET", "*/executions"))) == (1, 2)


async def test_execution_of_a_job_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Cloud Run job that does not exist has no executions: nothing is found, which is no error."""
    with FakeCloudRun(jobs={}) as fake:
        for name, value in fake.connections().items():
            monkeypatch.setenv(name, value)
        session, services = opened()
        assert await (await service_of(services)).find(PLACE, "marker") is None
        assert [call.status for call in fake.calls("GET")] == [404]
        await session.close()


@pytest.mark.parametrize("answer", [{}, {"metadata": {}}, {"metadata": {"name": "projects/p"}}])
def test_answer_that_names_no_execution(cloud_run: FakeCloudRun, answer: Any) -> None:
    """When the answer to the start cannot be understood the execution is looked for."""
    cloud_run.fail(Fault("odd", answer=Fault.status(200, body=answer).answer, after=True), on=RUN)
    assert Task().run(nightly())["state"] == "succeeded"
    assert len(cloud_run.started) == 1


def test_worker_that_died_and_a_clear(cloud_run: FakeCloudRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """An execution that only its marker tells of is ended before a cleared task starts another."""
    monkeypatch.setattr("ork_provider.operator.owner.CLEAR_GRACE", 0.0)
    cloud_run.script("nightly", ExecutionOutcome(pending=0, running=60))
    task = Task()
    with pytest.raises(Died):
        die(nightly()).execute(task.context)
    cloud_run.script("nightly", ExecutionOutcome(pending=0, running=0.1))
    assert task.clear().run(nightly())["state"] == "succeeded"
    assert [execution.cancelled_at is not None for execution in cloud_run.started] == [True, False]


def test_lost_execution_of_another_place(cloud_run: FakeCloudRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """A task that was changed to another job or region ends the execution that may run in the old place first."""
    monkeypatch.setattr("ork_provider.operator.owner.CLEAR_GRACE", 0.0)
    cloud_run.script("nightly", ExecutionOutcome(pending=0, running=60))
    task = Task()
    task.ti.max_tries = 1
    with pytest.raises(Died):
        die(nightly()).execute(task.context)
    result = task.retry().run(nightly(region="us-east1", job_name="hourly"))
    assert (result["region"], result["job_name"]) == ("us-east1", "hourly")
    assert [execution.state for execution in cloud_run.started] == ["CANCELLED", "SUCCEEDED"]


def test_attempt_goes_round() -> None:
    """What an attempt remembers of its place, and that it cannot be found, is read back; older rows have neither."""
    row = Attempt(nonce="n", request_hash="h", max_tries=1, at=datetime.now(timezone.utc)).to_dict()
    assert not {"findable", "place"} & set(row)
    assert (Attempt.from_dict(row).findable, Attempt.from_dict(row).place) == (True, {})
    later = replace(Attempt.from_dict(row), findable=False, place=PLACE)
    assert Attempt.from_dict(json.loads(json.dumps(later.to_dict()))) == later


# Without the permission for overrides -----------------------------------------------------------------


@pytest.fixture
def unmarked(cloud_run: FakeCloudRun) -> FakeCloudRun:
    """Cloud Run for an account that may not override anything."""
    cloud_run.overrides_allowed = False
    cloud_run_operator.warn_unmarked.cache_clear()
    return cloud_run


def test_no_permission_for_overrides(unmarked: FakeCloudRun, caplog: pytest.LogCaptureFixture) -> None:
    """A task that overrides nothing runs without a marker; the log says once what that costs."""
    with caplog.at_level(logging.WARNING, logger=cloud_run_operator.__name__):
        for _ in range(2):
            assert Task().run(nightly())["state"] == "succeeded"
    assert [call.status for call in unmarked.calls("POST")] == [403, 200, 403, 200]
    assert unmarked.started[0].overrides == {}
    assert caplog.text.count("run.jobs.runWithOverrides") == 1


def test_overrides_without_the_permission(unmarked: FakeCloudRun) -> None:
    """What the user wants to override cannot be left out: the error names the permission."""
    with pytest.raises(BadRequest, match=r"run\.jobs\.runWithOverrides"):
        Task().run(nightly(overrides={"task_count": 2}))
    assert not unmarked.started


def test_refusals_read_well(unmarked: FakeCloudRun) -> None:
    """Google's words end with a full stop; ours do not add another."""
    with pytest.raises(BadRequest, match=r"not exist\)\. Overrides need"):
        Task().run(nightly(overrides={"task_count": 2}))


def test_other_refusal_is_not_taken_for_it(cloud_run: FakeCloudRun) -> None:
    """A 403 that names another permission is final, and nothing is sent without the marker."""
    cloud_run.fail(Fault.google(403, "forbidden", "Permission 'run.jobs.run' denied on resource 'x'."), on=RUN)
    with pytest.raises(BadRequest, match=r"'run\.jobs\.run' denied"):
        Task().run(nightly())
    assert len(cloud_run.calls("POST")) == 1


OTHER_REFUSALS = (
    "Cloud Run Admin API has not been used in project 1 before or it is disabled.",
    "Request had insufficient authentication scopes.",
    "Permission 'iam.serviceaccounts.actAs' denied on service account x@p.iam.gserviceaccount.com.",
    "Request is prohibited by organization's policy.",
)


@pytest.mark.parametrize("words", OTHER_REFUSALS)
def test_refusal_that_is_for_no_permission_of_the_job(cloud_run: FakeCloudRun, words: str) -> None:
    """An API that is disabled, scopes, policies, other permissions: leaving the marker out cannot help."""
    cloud_run.fail(Fault.status(403, body={"error": {"code": 403, "message": words}}), on=RUN)
    with pytest.raises(BadRequest, match=re.escape(words)) as caught:
        Task().run(nightly(overrides={"args": ["x"]}))
    assert "runWithOverrides" not in str(caught.value)
    assert len(cloud_run.calls("POST")) == 1


def test_refusal_without_a_name(cloud_run: FakeCloudRun) -> None:
    """A 403 that names no permission may be for the overrides: without the marker it is tried once more."""
    url = "https://run.googleapis.com/v2/projects/p"
    cloud_run.fail(Fault.google(403, "forbidden", f"The caller does not have permission for {url}"), on=RUN)
    assert Task().run(nightly())["state"] == "succeeded"
    assert only_one(cloud_run).overrides == {}


def test_unmarked_start_whose_answer_is_lost(unmarked: FakeCloudRun) -> None:
    """Nobody can know whether it has started: nothing is sent again, by this try or the next; a clear starts anew."""
    unmarked.fail(Fault.reset(after=True), on=RUN, nth=2)
    task = Task()
    task.ti.max_tries = 1
    with pytest.raises(AirflowFailException, match="the request had no marker"):
        task.run(nightly())
    assert task.attempt["findable"] is False
    with pytest.raises(AirflowFailException, match="Nothing was sent again"):
        task.retry().run(nightly())
    assert len(unmarked.started) == 1
    assert task.clear().run(nightly())["state"] == "succeeded"


@pytest.mark.parametrize("changed", [False, True])
def test_unmarked_start_and_a_sigkill(unmarked: FakeCloudRun, changed: bool) -> None:
    """A worker that is killed there leaves that knowledge to the next try, whatever has changed since."""
    task = Task()
    task.ti.max_tries = 1
    with pytest.raises(Died):
        die(nightly()).execute(task.context)
    with pytest.raises(AirflowFailException, match="Nothing was sent again"):
        task.retry().run(nightly(overrides={"task_count": 2} if changed else None))
    assert len(unmarked.started) == 1


def test_unmarked_start_that_is_put_off(unmarked: FakeCloudRun) -> None:
    """A refusal that passes by itself is no lost answer: the request is sent again."""
    unmarked.fail(Fault.retry_after(429, 0.1), on=RUN, nth=2)
    assert Task().run(nightly())["state"] == "succeeded"
    assert len(unmarked.started) == 1


# Containers and overrides -----------------------------------------------------------------------------


def test_job_with_several_containers(cloud_run: FakeCloudRun) -> None:
    """The API wants the container named: the marker goes to the first one."""
    cloud_run.create_job("nightly", ["main", "proxy"])
    task = Task()
    assert task.run(nightly())["state"] == "succeeded"
    (part,) = only_one(cloud_run).overrides["containerOverrides"]
    assert part == {"name": "main", "env": [{"name": MARKER, "value": task.attempt["nonce"]}]}


def test_container_of_the_users_choice(cloud_run: FakeCloudRun) -> None:
    """A container that is named is the one that is overridden, without asking for the job."""
    cloud_run.create_job("nightly", ["main", "proxy"])
    Task().run(nightly(overrides={"container": "proxy", "args": ["--verbose"]}))
    proxy = only_one(cloud_run).template["containers"][1]
    assert proxy["args"] == ["--verbose"]
    assert MARKER in {variable["name"] for variable in proxy["env"]}
    assert not cloud_run.calls("GET", "*/jobs/nightly")


def test_refusal_that_has_nothing_to_do_with_containers(cloud_run: FakeCloudRun) -> None:
    """A 400 stays as it is when the job has one container, or when the job may not be looked at."""
    for fault in (None, Fault.google(403, "forbidden")):
        cloud_run.fail(Fault.google(400, "invalid", "taskCount is too large"), on=RUN)
        if fault:
            cloud_run.fail(fault, on="GET */jobs/nightly")
        with pytest.raises(BadRequest, match="taskCount is too large"):
            Task().run(nightly(overrides={"task_count": 9}))
    assert not cloud_run.started


def test_job_that_cannot_be_looked_at_for_now(cloud_run: FakeCloudRun) -> None:
    """A fault that passes, while the name of a container is asked for, starts the whole again."""
    cloud_run.create_job("nightly", ["main", "proxy"])
    cloud_run.fail(Fault.status(503), on="GET */jobs/nightly")
    assert Task().run(nightly())["state"] == "succeeded"
    assert [call.status for call in cloud_run.calls("POST")] == [400, 400, 200]


ENV = [{"name": "DAY", "value": "1"}]


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        (None, {}),
        ({}, {}),
        ({"task_count": 3}, {"taskCount": 3}),
        ({"task_count": "3"}, {"taskCount": 3}),
        ({"timeout": 600}, {"timeout": "600s"}),
        ({"timeout": 1.5}, {"timeout": "1.5s"}),
        ({"timeout": timedelta(minutes=10)}, {"timeout": "600s"}),
        ({"timeout": "600"}, {"timeout": "600s"}),
        ({"timeout": "600s"}, {"timeout": "600s"}),
        ({"timeout": {"seconds": 60}}, {"timeout": "60s"}),
        ({"timeout": {"seconds": "60", "nanos": 500000000}}, {"timeout": "60.5s"}),
        ({"args": ["a"], "env": {"DAY": "1"}}, {"containerOverrides": [{"args": ["a"], "env": ENV}]}),
        ({"args": []}, {"containerOverrides": [{"args": [], "clearArgs": True}]}),
        ({"container": "c", "args": ["a"]}, {"containerOverrides": [{"name": "c", "args": ["a"]}]}),
        (
            {"containerOverrides": [{"env": ENV}], "taskCount": 2},
            {"containerOverrides": [{"env": ENV}], "taskCount": 2},
        ),
        (
            {"container_overrides": [{"name": "c", "args": ["a"], "env": ENV, "clear_args": False}], "timeout": "60s"},
            {"containerOverrides": [{"name": "c", "args": ["a"], "env": ENV, "clearArgs": False}], "timeout": "60s"},
        ),
    ],
    ids=str,
)
def test_forms_of_overrides(given: Any, sent: dict[str, Any]) -> None:
    """The handy keys, the API's own form and the one that Google's operator takes all become the API's form."""
    assert to_overrides(given, "overrides") == sent
    DISCOVERY.check_request("POST", "/v2/projects/p/locations/r/jobs/j:run", "", {"overrides": sent})


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ("taskCount=3", "overrides: expected a dict"),
        ({"tasks": 3}, r"overrides: unknown key\(s\) tasks; known:"),
        ({"task_count": 0}, r"overrides\['taskCount'\]: expected a number of tasks"),
        ({"task_count": True}, r"overrides\['taskCount'\]"),
        ({"task_count": "many"}, r"overrides\['taskCount'\]"),
        ({"timeout": "soon"}, r"overrides\['timeout'\]: expected seconds"),
        ({"timeout": 0}, r"overrides\['timeout'\]"),
        ({"timeout": {"minutes": 1}}, r"overrides\['timeout'\]"),
        ({"taskCount": 1, "task_count": 2}, "overrides: task_count is given twice, in two spellings"),
        ({"containerOverrides": [{"clearArgs": True, "clear_args": True}]}, "clear_args is given twice"),
        ({"args": "--verbose"}, r"overrides\['args'\]: expected a list of texts"),
        ({"args": [1]}, r"overrides\['args'\]"),
        ({"env": {"N": 1}}, r"overrides\['env'\]\['N'\]: expected a text"),
        ({"env": "A=1"}, r"overrides\['env'\]: expected a dict of texts"),
        ({"env": {MARKER: "1"}}, f"{MARKER} is set by the operator"),
        ({"container": ""}, r"overrides\['container'\]: expected a text"),
        ({"args": ["a"], "containerOverrides": []}, "either containerOverrides or args"),
        ({"containerOverrides": {}}, r"overrides\['containerOverrides'\]: expected a list of dicts"),
        ({"containerOverrides": ["c"]}, r"overrides\['containerOverrides'\]\[0\]: expected a dict"),
        ({"containerOverrides": [{"command": []}]}, r"\[0\]: unknown key\(s\) command"),
        ({"containerOverrides": [{"clearArgs": "no"}]}, r"\['clearArgs'\]: expected True or False"),
        ({"containerOverrides": [{"env": [{"value": "x"}]}]}, r"\['env'\]: expected a dict with the variable's name"),
    ],
    ids=str,
)
def test_bad_overrides_fail_when_the_dag_is_parsed(given: Any, field: str) -> None:
    """What makes no sense is refused by the name of the field, before any task runs."""
    with pytest.raises(InvalidJob, match=field):
        nightly(overrides=given)


@pytest.mark.parametrize(
    "overrides",
    ["{{ params.overrides }}", {"task_count": "{{ params.n }}"}, {"args": ["--day={{ ds }}"], "timeout": "{{ x }}"}],
    ids=str,
)
def test_templates_are_left_for_later(overrides: Any) -> None:
    """A value that is a template is checked when it is rendered, not when the DAG is parsed."""
    nightly(overrides=overrides)
    with pytest.raises(InvalidJob, match="taskCount"):
        nightly(overrides={"task_count": "{{ params.n }}"}).build_request({})  # type: ignore[typeddict-item]


def test_output_of_another_task() -> None:
    """Overrides, or a part of them, may come from another task."""
    from airflow.sdk import DAG, task

    @task
    def plan() -> Any:
        """Return something."""

    with DAG("dag"):
        nightly(overrides=plan())
        nightly(task_id="other", overrides={"task_count": plan()}, job_name=plan())


# Places -------------------------------------------------------------------------------------------------


def test_job_by_its_full_name(cloud_run: FakeCloudRun) -> None:
    """A job's full resource name says its project too."""
    result = Task().run(nightly(job_name="projects/other/locations/europe-west1/jobs/hourly"))
    assert (result["project"], result["job_name"]) == ("other", "hourly")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"job_name": "projects/p/locations/us-east1/jobs/j"}, "job_name is in region 'us-east1', but 'europe-west1'"),
        ({"job_name": "projects/p/locations/europe-west1/jobs/j", "project_id": "q"}, "in project 'p', but 'q'"),
        ({"job_name": "a/b"}, "job_name must be a name, or projects/"),
        ({"job_name": "projects/p/locations/r"}, "job_name must be a name, or projects/"),
    ],
)
def test_places_that_contradict_each_other(cloud_run: FakeCloudRun, arguments: Any, said: str) -> None:
    """A name that does not go with region and project is refused before anything is sent."""
    with pytest.raises(InvalidJob, match=said):
        Task().run(nightly(**arguments))
    assert not cloud_run.requests


@pytest.mark.parametrize("name", ["region", "job_name"])
@pytest.mark.parametrize("value", [None, "", 7])
def test_region_and_job_name_are_required(name: str, value: Any) -> None:
    """Both are texts, and both are needed."""
    with pytest.raises(InvalidJob, match=f"{name} must be"):
        nightly(**{name: value})


@pytest.mark.parametrize("value", [0, 1.5, True, ["p"], " "])
def test_bad_project_id(value: Any) -> None:
    """What is neither a project's id nor its number is refused by name."""
    with pytest.raises(InvalidJob, match="project_id must be"):
        nightly(project_id=value)


def test_project_number(cloud_run: FakeCloudRun) -> None:
    """A project's number, which native rendering makes an int, is as good as its id."""
    assert Task().run(nightly(project_id=123456))["project"] == "123456"


def test_project_of_the_connection_or_an_error(cloud_run: FakeCloudRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """The project comes from the task, else the connection; with neither the error says where to set it."""
    assert Task().run(nightly(project_id="other"))["project"] == "other"
    connection = json.loads(cloud_run.connections()["AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT"])
    del connection["extra"]["project"]
    monkeypatch.setenv("AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT", json.dumps(connection))
    with pytest.raises(BadRequest, match="Set project_id, or 'project'"):
        Task().run(nightly())


def test_job_that_does_not_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that is not there is an error at once, with the service's words and what to check."""
    with FakeCloudRun(jobs={"nightly": ["main"]}) as fake:
        for name, value in fake.connections().items():
            monkeypatch.setenv(name, value)
        with pytest.raises(BadRequest, match=r"'nightlee' of kind 'JOB'.*Check project_id, region and job_name"):
            Task().run(nightly(job_name="nightlee"))


FULL = "projects/p/locations/r/jobs/j"


@pytest.mark.parametrize(
    "data",
    [
        {"project": "p", "region": "r", "job_name": "j", "execution_id": "e"},
        {"job_id": "p/r/j/e"},
        {"job_id": "p/r/j/e", "project": "p", "region": "r", "job_name": "j", "execution_id": "e"},
        {"project": "p", "region": "r", "job_name": FULL, "execution_id": f"{FULL}/executions/e"},
        {"execution_id": f"{FULL}/executions/e"},
    ],
)
def test_job_dicts(data: dict[str, str]) -> None:
    """Ork's dicts and full resource names are read; the result goes round."""
    job = job_from_dict({"service_type": "cloudrun", **data})
    assert job == CloudRunJob(project="p", region="r", job_name="j", execution_id="e")
    assert job_from_dict(job.to_dict()) == job
    assert job.remote_id == "p/r/j/e"


@pytest.mark.parametrize("data", [{"job_id": "p/r/j"}, {"job_id": 7}, {"execution_id": "e"}, {"execution_id": 7}])
def test_bad_job_dicts(data: dict[str, Any]) -> None:
    """What is missing or wrong is named."""
    with pytest.raises(InvalidJob, match="job\\."):
        job_from_dict({"service_type": "cloudrun", **data})


def test_service_is_the_one_that_jobs_name() -> None:
    """The dotted path of the service in the job class is right."""
    assert load(CloudRunJob.service) is CloudRunService


async def test_executions_are_started_by_the_operator_only(cloud_run: FakeCloudRun) -> None:
    """An execution has no form of its own to be started in."""
    session, services = opened()
    with pytest.raises(BadRequest, match="CloudRunJobOperator"):
        await services.submit(CloudRunJob(**PLACE, execution_id="e"), {})
    await session.close()
