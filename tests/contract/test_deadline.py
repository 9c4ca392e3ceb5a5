"""An attempt has one deadline, which nothing moves; when it passes the job is cancelled, and that is told truly."""

from __future__ import annotations

import asyncio
import time
from datetime import datetime, timedelta
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowTaskTimeout, TaskDeferralError, TaskDeferralTimeout, TaskDeferred
from airflow.sdk.execution_time.task_runner import _run_execute_callable

from ork_provider import ending
from ork_provider.decorators import DeferredOperator
from ork_provider.errors import InvalidJob, JobError, JobFailed, TimedOut
from ork_provider.job import job_from_dict
from ork_provider.operator import WaitForJobsOperator
from ork_provider.testing import Fault, TriggerResult, run_trigger
from tests.contract.kinds import Kind
from tests.support.task import Task

GAVE_UP = {"Trigger timeout": TaskDeferralTimeout, "Trigger failure": TaskDeferralError}
every_way_to_give_up = pytest.mark.parametrize("error", GAVE_UP)


def new_task() -> Task:
    """Return the first of two tries."""
    task = Task()
    task.ti.max_tries = 1
    return task


def trigger_of(deferred: TaskDeferred) -> Any:
    return deferred.trigger


def triggered(trigger: Any, **how: Any) -> TriggerResult:
    return asyncio.run(run_trigger(trigger, **how))


def timeout_event(deferred: TaskDeferred) -> dict[str, Any]:
    """Return the event of a deadline that passed while the job ran."""
    jobs = [{**job, "state": "running"} for job in trigger_of(deferred).jobs]
    return {"status": "timeout", "message": "The deadline passed.", "jobs": jobs}


# What does not move it ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limits", "seconds"),
    [
        ({"timeout": 100}, 100),
        ({"execution_timeout": timedelta(seconds=100)}, 95),
        ({"timeout": timedelta(seconds=50), "execution_timeout": timedelta(seconds=100)}, 50),
        ({"timeout": 100, "execution_timeout": timedelta(seconds=30)}, 27),
    ],
    ids=["timeout", "execution_timeout", "timeout first", "execution_timeout first"],
)
def test_retry(kind: Kind, limits: dict[str, Any], seconds: float) -> None:
    """The deadline is made at the first start, of the shorter limit; a retry that takes up the job inherits it."""
    kind.script(60, True)
    task, began = new_task(), datetime.now().astimezone()
    first = task.start(kind.operator(**limits))
    deadline = trigger_of(first).deadline
    assert 0 <= (datetime.fromisoformat(deadline) - began).total_seconds() - seconds < 5
    time.sleep(0.05)
    again = task.retry().start(kind.operator(**limits))
    assert (trigger_of(again).deadline, len(kind.started())) == (deadline, 1)
    assert first.timeout is not None
    assert again.timeout is not None
    assert again.timeout < first.timeout


def test_restart(kind: Kind) -> None:
    """A trigger that moves to another triggerer, once and again, ends at the same time as if it had not."""
    kind.script(60, True)
    began = time.monotonic()
    trigger = trigger_of(new_task().start(kind.operator(timeout=1.5, cancel_on_timeout=False)))
    for _ in range(2):
        assert triggered(trigger, task_state="deferred", kill_after=0.3).killed
    payload = triggered(trigger, ti=None).payload
    assert payload["status"] == "timeout"
    assert 1.5 <= time.monotonic() - began < 5
    deadline = datetime.fromisoformat(trigger.deadline)
    assert f"The deadline {deadline:%Y-%m-%d %H:%M:%S} UTC passed" in payload["message"]


def test_errors_of_polls(kind: Kind) -> None:
    """A service that cannot be asked does not move it either, whatever the error budget."""
    kind.script(60, True)
    operator, began = kind.operator(timeout=1, error_budget=600, cancel_on_timeout=False), time.monotonic()
    trigger = trigger_of(new_task().start(operator))
    kind.ask_one_by_one()
    kind.fake.fail(Fault.status(503), on=kind.on_status, times=-1)
    assert triggered(trigger, ti=None).payload["status"] == "timeout"
    assert time.monotonic() - began < 5


def test_poll_timeout(kind: Kind) -> None:
    """A wait in the worker ends at the deadline as well."""
    kind.script(60, True)
    task = new_task()
    with pytest.raises(TimedOut, match="was cancelled, and the service confirms it"):
        task.run(kind.operator(timeout=0.5, poll_timeout=30))
    assert (task.deferrals, kind.live()) == (0, [])


def test_retry_after_the_deadline(kind: Kind) -> None:
    """A retry that finds the job still running after the deadline ends it at once; there is no second job."""
    kind.script(60, True)
    task = new_task()
    with pytest.raises(TimedOut, match=r"left running \(cancel_on_timeout=False\)"):
        task.run(kind.operator(timeout=0.5, cancel_on_timeout=False))
    assert len(kind.live()) == 1
    again = task.retry()
    with pytest.raises(TimedOut, match="was cancelled, and the service confirms it"):
        again.run(kind.operator(timeout=0.5))
    assert (again.deferrals, len(kind.started()), kind.live()) == (0, 1, [])


# What becomes of the job -------------------------------------------------------------------------


def test_trigger_stops_the_job(kind: Kind) -> None:
    """The trigger cancels, as there may be no worker for minutes; the worker that comes says how the job has ended."""
    kind.script(60, True)
    task, operator = new_task(), kind.operator(timeout=1)
    payload = triggered(trigger_of(task.start(operator)), ti=None).payload
    assert (payload["status"], [job["state"] for job in payload["jobs"]]) == ("stopped", ["cancelled"])
    assert (kind.live(), kind.cancels()) == ([], 1)
    with pytest.raises(TimedOut, match=r"The deadline .* passed .* was cancelled, and the service confirms it\.$"):
        operator.execute_complete(task.context, payload)
    assert kind.cancels() == 1


def test_trigger_that_cannot_stop_the_job(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the trigger could not cancel the worker does."""
    monkeypatch.setattr(ending, "SETTLE", 1.0)
    kind.script(60, True)
    task, operator = new_task(), kind.operator(timeout=1)
    trigger = trigger_of(task.start(operator))
    fault = kind.fake.fail(Fault.status(503), on=kind.on_cancel, times=-1)
    payload = triggered(trigger, ti=None).payload
    assert (payload["status"], len(kind.live())) == ("stopped", 1)
    fault.times = 0
    with pytest.raises(TimedOut, match="was cancelled, and the service confirms it"):
        operator.execute_complete(task.context, payload)
    assert not kind.live()


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        (Fault.google(403, "accessDenied"), "answered 403"),
        (Fault.status(503), "answered 503"),
        (Fault.hang(5), "the service did not answer within 1 s"),
    ],
    ids=["refused", "503", "hung"],
)
def test_cancel_that_fails(kind: Kind, fault: Fault, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that could not be cancelled is not called cancelled: the error says why, and what to do by hand."""
    monkeypatch.setattr(ending, "SETTLE", 1.0)
    kind.script(60, True)
    task, operator = new_task(), kind.operator()
    deferred = task.start(operator)
    kind.fake.fail(fault, on=kind.on_cancel, times=-1)
    began = time.monotonic()
    with pytest.raises(TimedOut) as caught:
        operator.execute_complete(task.context, timeout_event(deferred))
    assert time.monotonic() - began < 5
    said = str(caught.value)
    link = job_from_dict(trigger_of(deferred).jobs[0]).link or "in the service"
    assert said.startswith("The deadline passed.")
    assert why in said
    assert said.endswith(f"Cancel it by hand: {link}")
    assert caught.value.job["state"] == "running"


@pytest.mark.parametrize("good", [True, False])
def test_end_that_is_faster_than_the_cancel(kind: Kind, good: bool) -> None:
    """A job that ends by itself before the cancel comes has its own outcome: a success counts, a failure is told."""
    kind.script(1.5, good, 0.0)
    task, operator = new_task(), kind.operator()
    deferred = task.start(operator)
    kind.fake.fail(Fault.hang(2.2), on=kind.on_cancel)
    if good:
        assert operator.execute_complete(task.context, timeout_event(deferred))["state"] == "succeeded"
    else:
        with pytest.raises(JobError, match=r"The deadline passed\. .* had ended by then: failed: .*Syntax error"):
            operator.execute_complete(task.context, timeout_event(deferred))


@pytest.mark.parametrize("cancels", [True, False])
def test_airflows_own_execution_timeout(kind: Kind, cancels: bool) -> None:
    """When Airflow stops a worker that hangs, at execution_timeout, the job is cancelled as at the deadline."""
    kind.script(60, True)
    kind.fake.fail(Fault.hang(4), on=kind.on_status, times=-1)
    limits = {"execution_timeout": timedelta(seconds=1), "cancel_on_timeout": cancels, "cancel_on_kill": not cancels}
    operator = kind.operator(deferrable=False, **limits)
    with pytest.raises(AirflowTaskTimeout):
        _run_execute_callable(new_task().context, operator.execute, operator)  # type: ignore[arg-type]
    assert (len(kind.live()), kind.cancels()) == ((0, 1) if cancels else (1, 0))


# When Airflow gives up on the trigger ------------------------------------------------------------


def resume_without_trigger(task: Task, operator: Any, error: str) -> Any:
    """Do what Airflow does with a trigger that has crashed, or whose own timeout has passed."""
    return operator.resume_execution("__fail__", {"error": error, "traceback": ["..."]}, task.context)


@every_way_to_give_up
@pytest.mark.parametrize("max_tries", [0, 1])
def test_airflow_gave_up(kind: Kind, error: str, max_tries: int) -> None:
    """The job is cancelled, also when there are tries left; the error holds Airflow's words and what became of it."""
    kind.script(60, True)
    task, operator = new_task(), kind.operator()
    task.ti.max_tries = max_tries
    task.start(operator)
    with pytest.raises(GAVE_UP[error], match=rf"\({error}\)\. .* was cancelled, and the service confirms it"):
        resume_without_trigger(task, operator, error)
    assert (kind.live(), kind.cancels()) == ([], 1)
    assert task.ti.xcoms["ork_job"]["state"] == "cancelled"


@every_way_to_give_up
def test_airflow_gave_up_on_a_job_that_is_to_be_left(kind: Kind, error: str) -> None:
    """cancel_on_timeout=False leaves the job at Airflow's timeout, cancel_on_kill=False after a crash; both say so."""
    kind.script(60, True)
    left = "cancel_on_timeout" if error == "Trigger timeout" else "cancel_on_kill"
    task, operator = new_task(), kind.operator(**{left: False})
    task.start(operator)
    with pytest.raises(GAVE_UP[error], match=rf"left running \({left}=False\)"):
        resume_without_trigger(task, operator, error)
    assert (len(kind.live()), kind.cancels()) == (1, 0)


@every_way_to_give_up
@pytest.mark.parametrize("good", [True, False])
def test_airflow_gave_up_on_a_job_that_has_ended(kind: Kind, error: str, good: bool) -> None:
    """A job that came to its end while nobody watched has that outcome, not the trigger's."""
    kind.script(1.2, good, 0.0)
    task, operator = new_task(), kind.operator()
    task.start(operator)
    while kind.live():
        time.sleep(0.05)
    if good:
        assert resume_without_trigger(task, operator, error)["state"] == "succeeded"
    else:
        with pytest.raises(JobFailed, match=rf"\({error}\)\. .* had ended by then: failed: .*Syntax error"):
            resume_without_trigger(task, operator, error)
    assert kind.cancels() == 0


@every_way_to_give_up
def test_airflow_gave_up_while_the_service_is_away(kind: Kind, error: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the job cannot be cancelled either, the error says what to do by hand."""
    monkeypatch.setattr(ending, "SETTLE", 0.5)
    monkeypatch.setattr(ending, "LAST_LOOK", 0.2)
    kind.script(60, True)
    task, operator = new_task(), kind.operator()
    task.start(operator)
    for on in (kind.on_status, kind.on_cancel):
        kind.fake.fail(Fault.status(503), on=on, times=-1)
    with pytest.raises(GAVE_UP[error], match=r"could not be cancelled: .* 503.* Cancel it by hand: "):
        resume_without_trigger(task, operator, error)


@every_way_to_give_up
@pytest.mark.parametrize("cancels", [True, False])
def test_airflow_gave_up_on_a_watcher(kind: Kind, error: str, cancels: bool) -> None:
    """Who only watches cancels nothing then, unless told to; a job that has ended well is a success."""
    kind.script(60, True)
    Task().start(kind.operator())
    jobs = [job_from_dict(kind.watch(kind.started()[-1]))]
    ours = {"task_id": "wait", "jobs": jobs, "cancel_on_timeout": cancels, "cancel_on_kill": cancels}
    with pytest.raises(GAVE_UP[error], match="was cancelled" if cancels else "left running"):
        resume_without_trigger(new_task(), WaitForJobsOperator(**ours), error)
    assert len(kind.live()) == (0 if cancels else 1)


@pytest.mark.parametrize("kind", ["custom_http"], indirect=True)
@every_way_to_give_up
def test_airflow_gave_up_on_the_jobs_of_a_function(kind: Kind, error: str) -> None:
    """What the function returned beside its jobs is in the result, though Airflow has dropped it with the trigger."""
    kind.script(1.5, True, 0.0)

    def start() -> Any:
        Task().start(kind.operator())
        return {"deferred": [dict(kind.watch(kind.started()[-1]))], "rows": 3}

    ours: dict[str, Any] = {"task_id": "load", "python_callable": start, "op_args": [], "op_kwargs": {}}
    task = new_task()
    task.start(DeferredOperator(**ours))
    while kind.live():
        time.sleep(0.05)
    result = resume_without_trigger(task, DeferredOperator(**ours), error)
    assert (result["rows"], [job["state"] for job in result["jobs"]]) == (3, ["succeeded"])


@pytest.mark.parametrize("kind", ["bigquery"], indirect=True)
def test_airflow_gave_up_and_the_store_is_unreadable(kind: Kind) -> None:
    """What cannot be read of the store does not hide what Airflow says of the trigger."""
    task = new_task()
    task.store.set("ork_attempt", {"version": 1})
    with pytest.raises(TaskDeferralError, match=r"Trigger failure.*'ork_attempt' cannot be read") as caught:
        resume_without_trigger(task, kind.operator(), "Trigger failure")
    assert isinstance(caught.value.__cause__, InvalidJob)


def test_last_try_that_could_not_be_watched(kind: Kind) -> None:
    """When there is no next try, the error says what became of the job that nobody would look at again."""
    kind.script(60, True)
    task, operator = Task(), kind.operator()
    event = {**timeout_event(task.start(operator)), "status": "error", "message": "It cannot be asked."}
    with pytest.raises(JobError, match=r"It cannot be asked\. .* was cancelled, and the service confirms it"):
        operator.execute_complete(task.context, event)
    assert not kind.live()
