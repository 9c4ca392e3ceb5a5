"""The tests of lesson 51.8.5: what goes wrong, made to go wrong."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import pytest
from airflow.sdk import BaseOperator
from airflow.sdk.bases.operator import TriggerFailureReason
from airflow.sdk.exceptions import TaskDeferralError
from airflow.triggers.base import BaseTrigger, TriggerEvent
from lesson_51_08 import JobOperator, JobTrigger, ServiceDown, call

from ork_provider.testing import FakeHttpJobs, Fault, run_trigger

FAR = "2126-01-01T00:00:00+00:00"
QUICK = {"fake": {"running": 3}}  # questions
Note = Callable[[str, Any], None]


def watch(body: Any = QUICK, patience: int = 5) -> JobTrigger:
    """Start a job, and build a trigger that waits for it."""
    return JobTrigger(call("POST", "/jobs", body)["id"], FAR, poll_interval=0.05, patience=patience)


class Wrong(BaseTrigger):
    """A trigger that holds any value, and sends it as its event."""

    def __init__(self, value: Any) -> None:
        super().__init__()
        self.value = value

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the value as it is."""
        return f"{__name__}.Wrong", {"value": self.value}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Send what cannot be sent."""
        yield TriggerEvent(object())


class DeferWrongly(BaseOperator):
    """Defers to a trigger with a value in it."""

    def __init__(self, value: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.value = value

    def execute(self, context: Any) -> None:
        """Defer."""
        self.defer(trigger=Wrong(self.value), method_name="execute_complete")


async def test_an_error_in_run(jobs: FakeHttpJobs, note: Note) -> None:
    """(1) An error in `run()` is the trigger's end: no event, and the runner keeps the error for the task's log."""
    jobs.fail(Fault.status(200, {"id": "job-1"}), on="GET /jobs/*")
    result = await run_trigger(watch())
    assert not result.events
    assert isinstance(result.error, KeyError)
    note("error", repr(result.error))


async def test_an_unknown_job(jobs: FakeHttpJobs, note: Note) -> None:
    """(1) Where asking again cannot help, the trigger does not: 404 is an error at the first question."""
    result = await run_trigger(JobTrigger("job-99", FAR))
    assert isinstance(result.error, aiohttp.ClientResponseError)
    assert len(jobs.calls("GET", "/jobs/*")) == 1
    note("error", f"{result.error.status} {result.error.message}")


def test_what_the_task_sees(jobs: FakeHttpJobs, task_run: Any, note: Note) -> None:
    """(1) The task of a trigger that has died resumes with TaskDeferralError; the operator cancels its job."""
    run = task_run(JobOperator(task_id="export", body={}))
    run.start()
    assert run.give_up(TriggerFailureReason.TRIGGER_FAILURE.value) == "failed"
    assert isinstance(run.error, TaskDeferralError)
    assert jobs.created[0].status == "cancelled"
    note("error", repr(run.error))


@pytest.mark.parametrize("fault", [Fault.reset(), Fault.status(503), Fault.truncated()], ids=lambda fault: fault.kind)
async def test_a_fault_that_passes(jobs: FakeHttpJobs, fault: Fault, note: Note) -> None:
    """(2) A reset, a 503, half an answer: the trigger asks again, and the end of the job is told all the same."""
    rule = jobs.fail(fault, on="GET /jobs/*", times=3)
    result = await run_trigger(watch())
    assert result.payload["status"] == "completed"
    assert rule.applied == 3
    note("faults", rule.applied)


async def test_a_fault_that_stays(jobs: FakeHttpJobs, note: Note) -> None:
    """(2) With patience for two failures in a row the third one is the trigger's end."""
    rule = jobs.fail(Fault.status(503), on="GET /jobs/*", times=-1)
    result = await run_trigger(watch(patience=2))
    assert isinstance(result.error, ServiceDown)
    assert rule.applied == 3
    note("error", result.error)


async def test_a_page_instead_of_json(jobs: FakeHttpJobs, note: Note) -> None:
    """(2) A proxy's page with status 200 is no answer of the service: an error, and not a state of the job."""
    jobs.fail(Fault.malformed(), on="GET /jobs/*")
    result = await run_trigger(watch())
    assert isinstance(result.error, aiohttp.ContentTypeError)
    note("error", result.error.message)


def test_a_service_that_is_not_there(jobs: FakeHttpJobs, task_run: Any, note: Note) -> None:
    """(2) Without a service the worker fails with one line, before anything is deferred."""
    jobs.stop()
    run = task_run(JobOperator(task_id="export", body={}))
    assert run.start() == "failed"
    assert isinstance(run.error, ServiceDown)
    note("error", run.error)


@pytest.mark.parametrize("value", [lambda: None, asyncio.Event(), open], ids=["lambda", "event", "function"])
def test_a_trigger_that_cannot_be_stored(task_run: Any, value: Any, note: Note) -> None:
    """(3) An argument that is no data fails the task in the worker, at the deferral; no triggerer ever sees it."""
    run = task_run(DeferWrongly(task_id="export", value=value))
    assert run.start() == "failed"
    assert run.deferral is None
    note("error", run.error)


async def test_an_event_that_cannot_be_sent(note: Note) -> None:
    """(3) An event that is no data cannot leave the triggerer."""
    with pytest.raises(NotImplementedError, match="not supported") as caught:
        await run_trigger(Wrong("fine"))
    note("error", caught.value)


def test_an_argument_that_was_renamed() -> None:
    """(3) Rows of yesterday's class are still in the database: arguments may be added, with defaults, not renamed."""
    _, kwargs = JobTrigger("job-1", FAR).serialize()
    stored = {**kwargs, "interval": kwargs["poll_interval"]}
    with pytest.raises(TypeError, match="interval"):
        JobTrigger(**stored)


async def test_a_retry(jobs: FakeHttpJobs, task_run: Any, note: Note) -> None:
    """(4) After a dead trigger the next try runs from the beginning, with a job of its own, to the end."""
    run = task_run(JobOperator(task_id="export", body=QUICK, poll_interval=0.05), should_retry=True)
    run.start()
    run.give_up(TriggerFailureReason.TRIGGER_FAILURE.value)
    run.start()
    run.resume((await run_trigger(run.trigger)).payload)
    assert run.states == ["deferred", "up_for_retry", "deferred", "success"]
    assert len(jobs.created) == 2
    note("states", " -> ".join(run.states))
    note("jobs", [job.status for job in jobs.created])


async def test_another_triggerer(jobs: Any, note: Note) -> None:
    """(4) After a crash of the triggerer the same row runs elsewhere: one event, and still one job."""
    trigger = watch({})
    await run_trigger(trigger, cancel_after=0.1)
    jobs.asked += 1000  # meanwhile the job ends
    result = await run_trigger(trigger)
    assert result.payload["status"] == "completed"
    assert len(jobs.created) == 1
    note("jobs started", len(jobs.created))


async def test_a_service_that_comes_back(jobs: Any, note: Note) -> None:
    """(4) The service is away while the trigger waits, and comes back before its patience is over."""
    running = asyncio.create_task(run_trigger(watch({}, patience=10_000)))
    await asyncio.sleep(0.1)
    await asyncio.to_thread(jobs.stop)
    await asyncio.sleep(0.4)
    assert not running.done()
    jobs.asked += 1000  # meanwhile the job ends
    await asyncio.to_thread(jobs.start)
    assert (await running).payload["status"] == "completed"
    note("event", (await running).payload)
