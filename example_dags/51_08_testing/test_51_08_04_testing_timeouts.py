"""The tests of lesson 51.8.4: a trigger that gives up, on a clock that the test moves."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from datetime import timezone as tz
from typing import Any

import lesson_51_08
import pytest
import time_machine
from airflow.sdk import timezone
from airflow.sdk.bases.operator import TriggerFailureReason
from airflow.sdk.exceptions import TaskDeferralTimeout
from lesson_51_08 import GRACE, JobOperator, JobService, JobTimedOut, JobTrigger

from ork_provider.testing import FakeHttpJobs, run_trigger
from ork_provider.testing.trigger_runner import rebuilt

NOON = datetime(2026, 3, 28, 12, tzinfo=tz.utc)
NEVER = timedelta(days=9999)
HOUR = timedelta(hours=1)
Note = Callable[[str, Any], None]


class Clock:
    """Time as the test wants it: it stands still, unless the trigger sleeps."""

    def __init__(self, traveller: time_machine.Coordinates) -> None:
        self.traveller = traveller
        self.naps: list[float] = []

    async def sleep(self, seconds: float) -> None:
        """Stand in for `asyncio.sleep`."""
        self.naps.append(seconds)
        self.traveller.shift(seconds)
        await asyncio.sleep(0)


class TimedService(JobService):
    """A service whose job ends at a moment."""

    def __init__(self, ends: datetime) -> None:
        self.ends = ends
        self.questions = 0

    async def __aenter__(self) -> JobService:
        return self

    async def __aexit__(self, *_: object) -> None: ...

    async def status(self, job_id: str) -> str:
        """Tell by the clock."""
        self.questions += 1
        return "completed" if timezone.utcnow() >= self.ends else "running"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    """Stop the clock at noon; `sleep` in the trigger's module moves it."""
    with time_machine.travel(NOON, tick=False) as traveller:
        clock = Clock(traveller)
        monkeypatch.setattr(lesson_51_08, "sleep", clock.sleep)
        yield clock


@pytest.fixture
def job_that_ends(monkeypatch: pytest.MonkeyPatch) -> Callable[[timedelta], TimedService]:
    """Serve a job that ends so long after noon."""

    def make(after: timedelta) -> TimedService:
        service = TimedService(NOON + after if after < NEVER else datetime.max.replace(tzinfo=tz.utc))
        monkeypatch.setattr(lesson_51_08, "JobService", lambda: service)
        return service

    return make


def trigger(limit: timedelta, poll_interval: float = 60) -> JobTrigger:
    """Build a trigger with a deadline so long after noon."""
    return JobTrigger("job-1", (NOON + limit).isoformat(), poll_interval)


async def event_of(trigger: Any) -> dict[str, Any]:
    """Return the payload of a trigger's one event."""
    (event,) = [event async for event in trigger.run()]
    return dict(event.payload)


async def test_the_deadline(clock: Clock, job_that_ends: Any, note: Note) -> None:
    """(1) A job that does not end: at the deadline, and not before, the trigger tells it."""
    service = job_that_ends(NEVER)
    assert await event_of(trigger(HOUR)) == {"job_id": "job-1", "status": "timeout"}
    assert timezone.utcnow() == NOON + HOUR
    assert service.questions == 61
    note("told at", timezone.utcnow().isoformat())


def test_airflows_limit_is_the_later_one(jobs: FakeHttpJobs, task_run: Any, note: Note) -> None:
    """(1) Airflow's own limit is a net below the deadline, and must not be the first."""
    run = task_run(JobOperator(task_id="export", body={}, max_wait=60))
    run.start()
    wait = timezone.parse(run.trigger.deadline) - timezone.utcnow()
    assert run.deferral.trigger_timeout == timedelta(seconds=60) + GRACE
    assert wait < run.deferral.trigger_timeout
    note("limits", f"{wait.total_seconds():.0f} s, {run.deferral.trigger_timeout.total_seconds():.0f} s")


def test_airflow_gives_up(jobs: FakeHttpJobs, task_run: Any, note: Note) -> None:
    """(1) What the scheduler does at its limit: no event, the method `__fail__`, TaskDeferralTimeout in the worker."""
    run = task_run(JobOperator(task_id="export", body={}))
    run.start()
    assert run.give_up(TriggerFailureReason.TRIGGER_TIMEOUT.value) == "failed"
    assert isinstance(run.error, TaskDeferralTimeout)
    note("error", repr(run.error))


@pytest.mark.parametrize("who", ["trigger", "Airflow"])
def test_the_job_is_cancelled(jobs: FakeHttpJobs, task_run: Any, who: str, note: Note) -> None:
    """(2) Whoever has given up, the trigger or Airflow: the worker that resumes cancels the job in the service."""
    run = task_run(JobOperator(task_id="export", body={}))
    run.start()
    if who == "trigger":
        run.resume({"job_id": "job-1", "status": "timeout"})
        assert isinstance(run.error, JobTimedOut)
    else:
        run.give_up(TriggerFailureReason.TRIGGER_TIMEOUT.value)
    assert run.states == ["deferred", "failed"]
    assert [job.job_id for job in jobs.cancelled] == ["job-1"]
    note("job", jobs.created[0].status)


async def test_the_session_is_closed(jobs: FakeHttpJobs, monkeypatch: Any, note: Note) -> None:
    """(2) A trigger that is cancelled closes its session; the job it leaves alone, it may be on its way elsewhere."""
    sessions = []

    class Spied(JobService):
        async def __aenter__(self) -> JobService:
            await super().__aenter__()
            sessions.append(self.session)
            return self

    monkeypatch.setattr(lesson_51_08, "JobService", Spied)
    job_id = lesson_51_08.call("POST", "/jobs", {})["id"]
    result = await run_trigger(JobTrigger(job_id, "2126-01-01T00:00:00+00:00", 0.05), cancel_after=0.3)
    assert isinstance(result.error, asyncio.CancelledError)
    assert [session.closed for session in sessions] == [True]
    assert jobs.live()
    note("job", jobs.created[0].status)


async def test_a_day_takes_no_time(clock: Clock, job_that_ends: Any, note: Note) -> None:
    """(3) `time_machine` moves the clock, and a `sleep` of the test's own moves it on: a day is over at once."""
    began = time.perf_counter()
    service = job_that_ends(timedelta(hours=23))
    assert (await event_of(trigger(timedelta(days=1))))["status"] == "completed"
    assert timezone.utcnow() == NOON + timedelta(hours=23)
    note("hours", sum(clock.naps) / 3600)
    note("questions", service.questions)
    note("real seconds", round(time.perf_counter() - began, 2))


async def test_the_loop_keeps_its_own_time(clock: Clock, note: Note) -> None:
    """(3) The loop's clock is another one, which `time_machine` does not move: `asyncio.sleep` would really wait."""
    before, moved_from = asyncio.get_running_loop().time(), timezone.utcnow()
    clock.traveller.shift(timedelta(days=1))
    assert timezone.utcnow() - moved_from == timedelta(days=1)
    passed = asyncio.get_running_loop().time() - before
    assert passed < 3600
    note("seconds on the loop", round(passed, 3))


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize(
    ("ends", "limit", "expected"),
    [
        pytest.param(HOUR, HOUR, ("completed", 61), id="ends-at-the-deadline"),
        pytest.param(-HOUR, -HOUR, ("completed", 1), id="ended-while-nobody-asked"),
        pytest.param(NEVER, -HOUR, ("timeout", 1), id="deadline-has-passed-before"),
        pytest.param(NEVER, timedelta(0), ("timeout", 1), id="no-time-at-all"),
    ],
)
async def test_edges(job_that_ends: Any, ends: timedelta, limit: timedelta, expected: Any, note: Note) -> None:
    """(4) There is always one question before it gives up, and a job that has ended counts more than a deadline."""
    service = job_that_ends(ends)
    told = (await event_of(trigger(limit)))["status"]
    assert (told, service.questions) == expected
    note("told", told)
    note("questions", service.questions)


async def test_the_last_nap_is_shorter(clock: Clock, job_that_ends: Any, note: Note) -> None:
    """(4) A pause that is longer than what is left of the time ends at the deadline."""
    job_that_ends(NEVER)
    await event_of(trigger(timedelta(seconds=100), poll_interval=60))
    assert clock.naps == [60, 40]
    note("naps", clock.naps)


async def test_a_restart_gives_no_more_time(clock: Clock, job_that_ends: Any, note: Note) -> None:
    """(4) A trigger that another triggerer builds again after 50 minutes has 10 of its 60 left."""
    job_that_ends(NEVER)
    stored = trigger(HOUR)
    clock.traveller.shift(timedelta(minutes=50))
    assert (await event_of(rebuilt(stored)))["status"] == "timeout"
    assert sum(clock.naps) == 600
    note("seconds after the restart", sum(clock.naps))


async def test_a_change_of_summer_time(clock: Clock, job_that_ends: Any, note: Note) -> None:
    """(4) A deadline has its offset with it: a night in which the clocks change is as long as it is."""
    job_that_ends(NEVER)
    deadline = "2026-03-29T12:00:00+02:00"  # in Berlin it is noon again, 23 hours after 2026-03-28T12:00:00+01:00
    await event_of(JobTrigger("job-1", deadline, 3600))
    assert sum(clock.naps) == 22 * 3600  # from noon UTC
    note("hours", sum(clock.naps) / 3600)
