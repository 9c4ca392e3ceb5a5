"""Whatever a list, a feed and the jobs themselves do at random: each wait ends with the truth, in time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ork_provider.errors import NotFound, Throttled, TryAgain, Unauthorized
from ork_provider.job import JobStatus
from tests.support.hub_world import BAD, BUSY, DENIED, GOOD, LATENCY, ThingFeed, World, nothing_left

CALM = 150.0
"""When all trouble is over."""

BACKOFF = 60.0
"""Longest pause after an error, of a poll and of a waiter."""


@dataclass(frozen=True)
class Window:
    """Trouble from a time on, for some seconds."""

    start: float
    seconds: float
    error: Exception | None = None

    def open(self, at: float) -> bool:
        return self.start <= at < self.start + self.seconds


@dataclass(frozen=True)
class Wait:
    """One wait: for a job that ends at a time, from a time on, perhaps given up after some seconds."""

    end: float
    status: JobStatus
    join: float
    leave: float | None
    poll_interval: float
    hidden: Window | None


def windows(errors: Sequence[Exception]) -> st.SearchStrategy[list[Window]]:
    one = st.builds(Window, st.floats(0, CALM - 50), st.sampled_from([0.5, 3.0, 12.0, 50.0]), st.sampled_from(errors))
    return st.lists(one, max_size=3)


LIST_TROUBLE = windows(
    [
        BUSY,
        NotFound("404"),
        TryAgain("503", retry_after=7),
        Throttled("429"),
        DENIED,
        Unauthorized("401"),
        KeyError("bug"),
    ]
)
ASK_TROUBLE = windows([BUSY, TryAgain("503", retry_after=0), Throttled("429", retry_after=5)])
WAITS = st.lists(
    st.builds(
        Wait,
        end=st.floats(-10, CALM),
        status=st.sampled_from([GOOD, BAD]),
        join=st.sampled_from([0.0, 0.01, 1.9, 2.0]) | st.floats(0, CALM),
        leave=st.none() | st.sampled_from([0.0, LATENCY]) | st.floats(0, 100),
        poll_interval=st.sampled_from([0.7, 5.0, 20.0]),
        hidden=st.none() | st.builds(Window, st.floats(0, 100), st.floats(0, 50)),
    ),
    min_size=1,
    max_size=8,
)


def trouble(found: list[Window], at: float) -> Exception | None:
    return next((window.error for window in found if window.open(at)), None)


def world_of(
    how: Literal["list", "feed"], waits: list[Wait], lists: list[Window], asks: list[Window], *, least: int, lag: float
) -> World:
    """Build the world; a feed loses no change without a word, but its server may be restarted."""
    world = World(how=how, least=least)
    hidden = {f"t{i}": wait.hidden for i, wait in enumerate(waits)}
    world.list_trouble = lambda place, at: trouble(lists, at)
    world.ask_trouble = lambda name, at: trouble(asks, at)
    if how == "list":
        world.lag = lag
        world.hidden = lambda name, at: (window := hidden[name]) is not None and window.open(at)
    return world


async def act(world: World, waits: list[Wait], restart: float | None) -> list[asyncio.Task[JobStatus]]:
    """Let all happen."""
    tasks = []
    for i, wait in enumerate(waits):
        following = world.follow(
            world.add(f"t{i}", wait.end, wait.status), after=wait.join, poll_interval=wait.poll_interval
        )
        tasks.append(asyncio.create_task(following))
        if wait.leave is not None:
            world.clock.call_later(wait.join + wait.leave + 1e-6, tasks[-1].cancel)
    if restart is not None:
        world.clock.call_later(restart, lambda: setattr(world, "lag", world.lag + 2 * ThingFeed.WAIT))
    await asyncio.gather(*tasks, return_exceptions=True)
    await world.until(world.clock.monotonic() + 2 * CALM)
    await nothing_left(world)
    return tasks


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Keep the tracebacks of scripted bugs out of the output."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(
    how=st.sampled_from(["list", "list", "feed"]),
    waits=WAITS,
    lists=LIST_TROUBLE,
    asks=ASK_TROUBLE,
    least=st.integers(1, 3),
    lag=st.sampled_from([0.0, 0.0, 3.0]),
    restart=st.none() | st.floats(0, CALM),
)
def test_true_and_in_time(
    *,
    how: Literal["list", "feed"],
    waits: list[Wait],
    lists: list[Window],
    asks: list[Window],
    least: int,
    lag: float,
    restart: float | None,
) -> None:
    """Every wait ends with its job's truth, not before its end, and within the longest pauses after all trouble."""
    world = world_of(how, waits, lists, asks, least=least, lag=lag)
    tasks = asyncio.run(act(world, waits, restart if how == "feed" else None))
    for i, (wait, task) in enumerate(zip(waits, tasks, strict=True)):
        if task.cancelled():
            assert wait.leave is not None
            continue
        at, status = world.ended[f"t{i}"]
        assert status == wait.status
        assert at >= max(wait.end, wait.join)
        assert at <= latest(wait, how, calm=not lists and not asks and restart is None, lag=lag)


def latest(wait: Wait, how: str, *, calm: bool, lag: float) -> float:
    """Return when a wait must have ended.

    Without trouble: when the next list, or the job's own ask, has seen the end. With trouble: when the poll and the
    waiter have come back from their longest pauses; a feed takes its time for the answer that says that it is well.
    """
    asked = 1.1 * wait.poll_interval + 6 * LATENCY
    since = max(wait.end, wait.join)
    if calm and how == "list":
        return since + 2.0 + lag + asked
    if calm:
        return since + 2.0 + asked
    held = ThingFeed.WAIT if how == "feed" else 0.0
    return max(since, CALM) + 2 * BACKOFF + held + 2.0 + lag + asked
