"""The tests of lesson 51.8.2: an operator that defers, in the hands of a test and of Airflow's task runner."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from unittest.mock import Mock

import pytest
from airflow.sdk.exceptions import TaskDeferralError, TaskDeferred
from lesson_51_08 import GRACE, JobFailed, JobOperator, JobTimedOut, JobTrigger, call

from ork_provider.testing import FakeHttpJobs, run_trigger

pytestmark = pytest.mark.usefixtures("_execute_allowed")
Note = Callable[[str, Any], None]


@pytest.fixture
def context() -> dict[str, Any]:
    """Return as much of a context as the operator looks at: a task instance with XComs."""
    xcoms: dict[str, Any] = {}
    ti = Mock(spec=["task_id", "map_index", "xcom_push", "xcom_pull"], task_id="export", map_index=-1)
    ti.xcom_push.side_effect = lambda key, value: xcoms.update({key: value})
    ti.xcom_pull.side_effect = lambda task_ids, key, map_indexes: xcoms.get(key)
    return {"ti": ti, "xcoms": xcoms}


def export(max_wait: float = 60, **fake: Any) -> JobOperator:
    """Build the operator under test; `fake` says what becomes of its job."""
    body = {"table": "orders", "fake": fake} if fake else {"table": "orders"}
    return JobOperator(task_id="export", body=body, max_wait=max_wait, poll_interval=0.05)


def deferral_of(operator: JobOperator, context: Any) -> TaskDeferred:
    """Run `execute()` up to its `defer()`, which is an exception."""
    with pytest.raises(TaskDeferred) as caught:
        operator.execute(context)
    return caught.value


def test_execute_defers(jobs: FakeHttpJobs, context: Any, note: Note) -> None:
    """(1) `execute()` starts one job and raises TaskDeferred, with the trigger, a method that exists, and a limit."""
    operator = export(max_wait=60)
    deferral = deferral_of(operator, context)
    assert [job.body for job in jobs.created] == [{"table": "orders"}]
    assert isinstance(deferral.trigger, JobTrigger)
    assert deferral.trigger.job_id == jobs.created[0].job_id
    assert callable(getattr(operator, deferral.method_name))
    assert deferral.timeout == timedelta(seconds=60) + GRACE
    note("deferral", f"{deferral.trigger!r}, then {deferral.method_name}")


def test_the_job_is_remembered_before_the_deferral(jobs: FakeHttpJobs, context: Any, note: Note) -> None:
    """(1) The job's id is stored before the deferral: without the trigger's event nobody else knows it."""
    deferral_of(export(), context)
    assert context["xcoms"] == {"job_id": jobs.created[0].job_id}
    note("XComs", context["xcoms"])


def test_a_job_that_has_ended_is_not_waited_for(jobs: FakeHttpJobs, context: Any) -> None:
    """(1) The other path of `execute()`: a job that has ended at once gives its result without a deferral."""
    assert export(running=0, output=7).execute(context)["output"] == 7


def test_the_result(jobs: FakeHttpJobs, context: Any) -> None:
    """(2) `execute_complete()` returns the job of the event."""
    job_id = call("POST", "/jobs", {"fake": {"running": 0, "output": [1, 2]}})["id"]
    job = export().execute_complete(context, {"job_id": job_id, "status": "completed"})
    assert job["output"] == [1, 2]


def test_a_failed_job_fails_the_task(jobs: FakeHttpJobs, context: Any, note: Note) -> None:
    """(2) `execute_complete()` fails, with the service's own words, if the job has failed."""
    job_id = call("POST", "/jobs", {"fake": {"running": 0, "outcome": "failed", "error": "disk full"}})["id"]
    with pytest.raises(JobFailed, match="disk full") as caught:
        export().execute_complete(context, {"job_id": job_id, "status": "failed"})
    note("error", caught.value)


@pytest.mark.parametrize("event", [None, {}])
def test_no_event(context: Any, event: Any) -> None:
    """(2) An event that is not there is an error of its own, not a KeyError."""
    with pytest.raises(JobFailed, match="told nothing"):
        export().execute_complete(context, event)


def test_a_mocked_event_is_enough(jobs: FakeHttpJobs, context: Any, note: Note) -> None:
    """(3) No triggerer is needed to test what an event leads to: it is a dict that the test makes up."""
    operator = export(max_wait=5)
    deferral = deferral_of(operator, context)
    event = {"job_id": jobs.created[0].job_id, "status": "timeout"}  # though no time has passed
    with pytest.raises(JobTimedOut):
        operator.resume_execution(deferral.method_name, {"event": event}, context)
    assert [job.job_id for job in jobs.cancelled] == [event["job_id"]]
    note("cancelled", event["job_id"])


async def test_mocked_events_are_like_real_ones(jobs: FakeHttpJobs, context: Any, note: Note) -> None:
    """(3) One test with the real trigger keeps the mocks honest: same keys, and a status that they know."""
    result = await run_trigger(deferral_of(export(running=3), context).trigger)
    assert result.payload == {"job_id": jobs.created[0].job_id, "status": "completed"}
    note("event", result.payload)


def test_a_broken_trigger(jobs: FakeHttpJobs, context: Any) -> None:
    """(3) A trigger that has died sends no event: Airflow resumes with the method `__fail__`; the job is cancelled."""
    operator = export()
    deferral_of(operator, context)
    failure = {"error": "Trigger failure", "traceback": ["KeyError: 'status'"]}
    with pytest.raises(TaskDeferralError):
        operator.resume_execution("__fail__", failure, context)
    assert [job.job_id for job in jobs.cancelled] == [context["xcoms"]["job_id"]]


@pytest.mark.parametrize(("outcome", "state"), [("completed", "success"), ("failed", "failed")])
async def test_states(jobs: FakeHttpJobs, task_run: Any, outcome: str, state: str, note: Note) -> None:
    """(4) Airflow's own task runner says the states: deferred first, then what the event has brought."""
    run = task_run(export(running=3, outcome=outcome))
    assert run.start() == "deferred"
    assert run.resume((await run_trigger(run.trigger)).payload) == state
    note("states", " -> ".join(run.states))


def test_a_retry_is_a_state_too(jobs: FakeHttpJobs, task_run: Any, note: Note) -> None:
    """(4) With retries left, a failure after the deferral is up_for_retry; the next try starts another job."""
    run = task_run(export(), should_retry=True)
    run.start()
    run.resume({"job_id": jobs.created[0].job_id, "status": "timeout"})
    run.start()
    assert run.states == ["deferred", "up_for_retry", "deferred"]
    assert [job.status for job in jobs.created] == ["cancelled", "running"]
    note("states", " -> ".join(run.states))


def test_what_is_sent_to_airflow(jobs: FakeHttpJobs, task_run: Any, note: Note) -> None:
    """(4) What the task leaves behind while it is deferred: a message with class, arguments, method and limit."""
    run = task_run(export(max_wait=60))
    run.start()
    sent = run.deferral
    assert (sent.classpath, sent.next_method) == ("lesson_51_08.JobTrigger", "execute_complete")
    assert sent.trigger_timeout == timedelta(seconds=60) + GRACE
    note("arguments", sent.trigger_kwargs)
