"""What every operator does with one job, from submit to result."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from ork_provider.errors import JobCancelled, JobError, JobFailed, TimedOut
from ork_provider.testing import Fault
from tests.contract.kinds import Kind
from tests.support.task import Task


def test_success(kind: Kind) -> None:
    """A job that ends well gives its dict, state and stats; one job was started, one deferral happened."""
    kind.script(1.0, True)
    task = Task()
    result = task.run(kind.operator())
    assert result["state"] == "succeeded"
    assert result["service_type"] == kind.name
    assert (len(kind.started()), task.deferrals, kind.cancels()) == (1, 1, 0)
    json.dumps(result)


def test_tells_before_waiting(kind: Kind) -> None:
    """The job is in XCom before the wait begins, so that it is there when the task fails."""
    kind.script(60, True)
    task = Task()
    task.start(kind.operator())
    assert task.ti.xcoms["ork_job"]["job_id"]
    assert task.attempt["submitted"] is True


def test_job_that_is_done_at_once_is_not_deferred(kind: Kind) -> None:
    """poll_timeout keeps a short job in the worker; it never touches the triggerer."""
    kind.script(0.1, True)
    task = Task()
    result = task.run(kind.operator(poll_timeout=10))
    assert (result["state"], task.deferrals) == ("succeeded", 0)


def test_not_deferrable(kind: Kind) -> None:
    """deferrable=False waits in the worker with the same loop and the same result."""
    kind.script(1.0, True)
    task = Task()
    result = task.run(kind.operator(deferrable=False))
    assert (result["state"], task.deferrals) == ("succeeded", 0)


@pytest.mark.parametrize("deferrable", [True, False])
def test_failure(kind: Kind, deferrable: bool) -> None:
    """A failed job fails the task with the service's own message and the job."""
    kind.script(0.2, False)
    with pytest.raises(JobFailed, match="Syntax error") as caught:
        Task().run(kind.operator(deferrable=deferrable))
    assert caught.value.state == "failed"
    assert caught.value.job["job_id"] in str(caught.value)


def test_cancelled_from_outside(kind: Kind) -> None:
    """A job that somebody cancels is its own outcome, not a success."""
    kind.script(60, True)
    task = Task()
    operator = kind.operator()
    deferred = task.start(operator)
    kind.live()[0].cancel()
    with pytest.raises(JobCancelled):
        task.resume(operator, deferred)


def test_deadline_cancels_and_verifies(kind: Kind) -> None:
    """At the deadline the job is cancelled, that is verified, and both facts are in the message."""
    kind.script(60, True)
    with pytest.raises(TimedOut, match=r"deadline .* passed .* cancelled, and the service confirms"):
        Task().run(kind.operator(timeout=1))
    assert not kind.live()
    assert kind.cancels() == 1


def test_deadline_may_leave_the_job(kind: Kind) -> None:
    """cancel_on_timeout=False leaves the job running and says so."""
    kind.script(60, True)
    with pytest.raises(TimedOut, match="left running"):
        Task().run(kind.operator(timeout=timedelta(seconds=1), cancel_on_timeout=False))
    assert len(kind.live()) == 1
    assert kind.cancels() == 0


def test_execution_timeout_counts_while_deferred(kind: Kind) -> None:
    """Airflow does not enforce execution_timeout while a task is deferred; the deadline does."""
    kind.script(60, True)
    with pytest.raises(TimedOut):
        Task().run(kind.operator(timeout=100, execution_timeout=timedelta(seconds=1)))
    assert not kind.live()


def test_job_that_succeeded_at_the_deadline_is_a_success(kind: Kind) -> None:
    """What has succeeded when the timeout event arrives is taken, not thrown away."""
    kind.script(1.0, True)
    task = Task()
    operator = kind.operator()
    job = task.start(kind.operator()).trigger.jobs[0]
    while kind.live():
        pass
    event = {"status": "timeout", "message": "The deadline passed.", "jobs": [{**job, "state": "running"}]}
    assert operator.execute_complete(task.context, event)["state"] == "succeeded"


@pytest.mark.parametrize(
    "event",
    [None, "success", 7, {}, {"status": "great"}, {"status": "success", "jobs": []}, {"status": "error", "new": 1}],
    ids=repr,
)
def test_odd_event_is_never_a_success(kind: Kind, event: Any) -> None:
    """What execute_complete does not understand fails the task with a JobError."""
    with pytest.raises(JobError):
        kind.operator().execute_complete(Task().context, event)


def test_airflow_gave_up_on_the_trigger(kind: Kind) -> None:
    """Airflow's own trigger timeout and a crashed trigger cancel the stored job before the task fails."""
    from airflow.sdk.exceptions import TaskDeferralError, TaskDeferralTimeout

    for error, raised in (("Trigger timeout", TaskDeferralTimeout), ("Trigger failure", TaskDeferralError)):
        kind.script(60, True)
        task = Task()
        operator = kind.operator()
        task.start(operator)
        with pytest.raises(raised):
            operator.resume_execution("__fail__", {"error": error}, task.context)
        assert not kind.live()
    assert kind.cancels() == 2


def test_error_budget_spent_leaves_the_job_to_the_next_try(kind: Kind) -> None:
    """When the service cannot be asked for too long the task fails, and the next try takes the job up again."""
    kind.script(2, True)
    kind.ask_one_by_one()
    task = Task()
    task.ti.max_tries = 1
    kind.fake.fail(Fault.status(503), on=kind.on_status, nth=2, times=-1)
    with pytest.raises(JobError, match="could not be watched any longer"):
        task.run(kind.operator(error_budget=0.5))
    assert kind.cancels() == 0
    kind.fake.heal()
    result = task.retry().run(kind.operator(error_budget=0.5))
    assert result["state"] == "succeeded"
    assert len(kind.started()) == 1


@pytest.mark.parametrize(
    "event",
    [None, {"status": "error", "jobs": []}, {"status": "success", "jobs": [{"service_type": "nope"}]}],
    ids=["none", "no jobs", "unreadable"],
)
def test_event_that_names_no_job(kind: Kind, event: Any) -> None:
    """On the last try the job that the task remembers is cancelled when the event does not say which it is."""
    kind.script(60, True)
    task = Task()
    operator = kind.operator()
    task.start(operator)
    with pytest.raises(JobError):
        operator.execute_complete(task.context, event)
    assert not kind.live()


def test_job_without_an_owner_is_cancelled(kind: Kind) -> None:
    """When it was the last try, nobody would ever look at the job again: it is cancelled."""
    kind.script(60, True)
    task = Task()
    operator = kind.operator(error_budget=5)
    job = task.start(operator).trigger.jobs[0]
    event = {"status": "error", "message": "budget spent", "jobs": [{**job, "state": "running"}]}
    with pytest.raises(JobError, match="budget spent"):
        operator.execute_complete(task.context, event)
    assert not kind.live()


@pytest.mark.parametrize("fault", [Fault.status(403), Fault.status(503)], ids=lambda fault: fault.kind)
def test_deadline_cancels_what_cannot_be_asked(kind: Kind, fault: Fault, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that does not answer at the deadline is told to cancel all the same."""
    from ork_provider import ending

    monkeypatch.setattr(ending, "SETTLE", 0.5)
    kind.script(60, True)
    task = Task()
    operator = kind.operator()
    job = task.start(operator).trigger.jobs[0]
    kind.fake.fail(fault, on=kind.on_status, times=-1)
    event = {"status": "timeout", "message": "The deadline passed.", "jobs": [{**job, "state": "running"}]}
    with pytest.raises(TimedOut, match="The deadline passed"):
        operator.execute_complete(task.context, event)
    assert not kind.live()


def test_failure_found_at_the_deadline_is_the_jobs_own(kind: Kind) -> None:
    """A job that has failed by the time somebody looks is a failure, not a timeout."""
    kind.script(1.0, False)
    task = Task()
    operator = kind.operator()
    job = task.start(operator).trigger.jobs[0]
    while kind.live():
        pass
    event = {"status": "timeout", "message": "The deadline passed.", "jobs": [{**job, "state": "running"}]}
    with pytest.raises(JobFailed):
        operator.execute_complete(task.context, event)


def test_cancel_that_is_put_off_for_an_hour(kind: Kind) -> None:
    """A Retry-After that is longer than the time for a cancel ends the try, with what to do by hand."""
    kind.script(60, True)
    kind.fake.fail(Fault.retry_after(429, 3600), on=kind.on_cancel, times=-1)
    with pytest.raises(TimedOut, match=r"could not be cancelled: .* Cancel it by hand"):
        Task().run(kind.operator(timeout=0.5))


@pytest.mark.parametrize("body", [{"status": "maintenance"}, [], "down", {"status": {"state": 7}}], ids=repr)
def test_json_of_another_shape_is_a_malformed_answer(kind: Kind, body: Any) -> None:
    """JSON that is no job is forgiven like any malformed answer."""
    kind.script(0.5, True)
    rule = kind.fake.fail(
        Fault.status(200, body=body if isinstance(body, dict | list) else f'"{body}"'), on=kind.on_status
    )
    assert Task().run(kind.operator())["state"] == "succeeded"
    assert rule.applied == 1
