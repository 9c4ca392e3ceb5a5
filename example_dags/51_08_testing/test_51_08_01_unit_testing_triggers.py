"""The tests of lesson 51.8.1: a trigger alone, its service replaced by a mock."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import AsyncIterator, Callable
from typing import Any
from unittest.mock import AsyncMock, Mock, create_autospec

import lesson_51_08
import pytest
import pytest_asyncio
from airflow.sdk._shared.module_loading import import_string
from lesson_51_08 import JobService, JobTrigger

from ork_provider.testing.trigger_runner import rebuilt

FAR = "2126-01-01T00:00:00+00:00"
Note = Callable[[str, Any], None]


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Stand in for the service: what is a coroutine there is an AsyncMock here, with the same arguments."""
    service = create_autospec(JobService, instance=True)
    service.__aenter__.return_value = service
    monkeypatch.setattr(lesson_51_08, "JobService", lambda: service)
    return service


@pytest.fixture
def naps(monkeypatch: pytest.MonkeyPatch) -> AsyncMock:
    """Let the trigger sleep for no time at all; the mock knows for how long it has wanted to."""
    naps = AsyncMock(name="sleep")
    monkeypatch.setattr(lesson_51_08, "sleep", naps)
    return naps


async def events_of(trigger: JobTrigger) -> list[Any]:
    """Run a trigger to its end."""
    return [event.payload async for event in trigger.run()]


def test_every_argument_is_serialized() -> None:
    """(1) `serialize()` names every argument of the constructor: one that is forgotten is a default later on."""
    _, kwargs = JobTrigger("job-1", FAR).serialize()
    assert set(kwargs) == set(inspect.signature(JobTrigger).parameters)


def test_the_path_leads_to_the_class(note: Note) -> None:
    """(1) The path in `serialize()` can be imported, and leads to this class."""
    path, _ = JobTrigger("job-1", FAR).serialize()
    assert import_string(path) is JobTrigger
    note("path", path)


def test_it_survives_the_database(note: Note) -> None:
    """(1) A trigger that Airflow has encrypted, stored and built again is the same."""
    trigger = JobTrigger("job-1", FAR, poll_interval=0.25, patience=3)
    again = rebuilt(trigger)
    assert again is not trigger
    assert again.serialize() == trigger.serialize()
    note("built again", repr(again))


@pytest.mark.parametrize("last", ["completed", "failed", "cancelled"])
async def test_one_event_at_the_end(service: Any, naps: AsyncMock, last: str, note: Note) -> None:
    """(2) `run()` yields one event when the job has ended, however it has ended, and then returns."""
    service.status.side_effect = ["queued", "running", last]
    events = await events_of(JobTrigger("job-1", FAR))
    assert events == [{"job_id": "job-1", "status": last}]
    note("events", events)


async def test_it_asks_again_and_again(service: Any, naps: AsyncMock, note: Note) -> None:
    """(2) Between two questions it sleeps for `poll_interval`, and not after the last one."""
    service.status.side_effect = ["queued", "running", "running", "completed"]
    await events_of(JobTrigger("job-1", FAR, poll_interval=7))
    assert service.status.await_count == 4
    assert [call.args for call in naps.await_args_list] == [(7,)] * 3
    note("questions", service.status.await_count)


async def test_what_the_mock_has_seen(service: Any) -> None:
    """(3) A mock of a coroutine counts awaits, not calls: a forgotten `await` fails the test."""
    service.status.return_value = "completed"
    await events_of(JobTrigger("job-1", FAR))
    service.status.assert_awaited_once_with("job-1")
    service.__aexit__.assert_awaited_once()


async def test_a_plain_mock_cannot_be_awaited(service: Any, note: Note) -> None:
    """(3) A `Mock` in the place of a coroutine fails at the `await`; it has to be an `AsyncMock`."""
    service.status = Mock(return_value="completed")
    with pytest.raises(TypeError, match="await") as caught:
        await events_of(JobTrigger("job-1", FAR))
    note("error", caught.value)


async def test_the_mock_knows_the_real_methods(service: Any) -> None:
    """(3) `create_autospec` refuses methods and arguments that the real service does not have."""
    with pytest.raises(AttributeError):
        service.state  # noqa: B018 - that this name is unknown is what the test is about
    with pytest.raises(TypeError):
        await service.status()


@pytest_asyncio.fixture
async def waiting(service: Any) -> AsyncIterator[asyncio.Task[Any]]:
    """Run a trigger whose job does not end, on the loop of the test; an async fixture also ends it there."""
    service.status.return_value = "running"
    task = asyncio.create_task(events_of(JobTrigger("job-1", FAR, poll_interval=60)))
    yield task
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_the_loop_stays_free(waiting: asyncio.Task[Any], note: Note) -> None:
    """(4) In auto mode an `async def` is a test; on its loop one sees that a waiting trigger blocks nobody."""
    late = []
    for _ in range(20):
        began = time.perf_counter()
        await asyncio.sleep(0.005)
        late.append(time.perf_counter() - began - 0.005)
    assert not waiting.done()
    note("median delay of the loop, ms", round(1000 * sorted(late)[10], 2))


async def test_a_cancelled_trigger_closes_its_session(waiting: asyncio.Task[Any], service: Any) -> None:
    """(4) A task that the test cancels gets its CancelledError at its `await`; the session is closed."""
    await asyncio.sleep(0)
    service.status.assert_awaited_once()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    service.__aexit__.assert_awaited_once()


async def test_a_test_has_its_own_loop(waiting: asyncio.Task[Any], note: Note) -> None:
    """(4) The fixture and the test share one loop, which ends with the test; `wait_for` keeps a test from hanging."""
    assert waiting.get_loop() is asyncio.get_running_loop()
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(asyncio.shield(waiting), timeout=0.05)
    note("loop", type(asyncio.get_running_loop()).__name__)
