"""What all who wait get from one list: the truth of their job, in time, for few requests."""

from __future__ import annotations

import asyncio
import random
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest

from ork_provider.errors import BadRequest, TryAgain
from ork_provider.hub.lists import HURRY
from ork_provider.hub.seat import tick_of
from ork_provider.job import JobStatus
from ork_provider.waiting import DeadlinePassed
from tests.support.hub_world import BAD, GOOD, LATENCY, NEVER, World, nothing_left, settle

INTERVAL = 2.0


@pytest.fixture
def world() -> World:
    return World()


# One list for all --------------------------------------------------------------------------------


async def test_a_thousand_jobs(world: World) -> None:
    """A thousand waits cost one list per interval and one ask per job, and know its end an interval later at most."""
    rng = random.Random(1)
    jobs = [world.add(f"t{i}", rng.uniform(3, 60), rng.choice([GOOD, BAD])) for i in range(1000)]
    await world.follow_all(*jobs)
    assert {name: status for name, (_, status) in world.ended.items()} == {n: s for n, (_, s) in world.ends.items()}
    duration = world.clock.monotonic()
    assert duration / INTERVAL <= len(world.looks) <= duration / INTERVAL + 2
    assert len(world.asks) == len({ask.name for ask in world.asks}) == 1000
    delays = [world.delay(job.name) for job in jobs]
    assert min(delays) >= 0
    assert max(delays) <= INTERVAL + 3 * LATENCY
    await nothing_left(world)


async def test_jobs_that_join_over_time(world: World) -> None:
    """Newcomers bring the next list forward to a quarter of the interval, no further."""
    rng = random.Random(2)
    joins = [rng.uniform(0, 20) for _ in range(300)]
    jobs = [world.add(f"t{i}", at + rng.uniform(5, 30)) for i, at in enumerate(joins)]
    await asyncio.gather(*(world.follow(job, after=at) for job, at in zip(jobs, joins, strict=True)))
    pauses = [b.start - a.start for a, b in pairwise(world.looks)]
    assert min(pauses) >= INTERVAL * HURRY - 1e-6
    assert len(world.asks) == 300
    assert max(world.delay(job.name) for job in jobs) <= INTERVAL + 3 * LATENCY


async def test_other_places_have_lists_of_their_own(world: World) -> None:
    """Jobs of another scope are not in this one's list, and each scope has its own poll."""
    jobs = [world.add(f"{place}/t{i}", 10 + i) for place in "abc" for i in range(5)]
    await world.follow_all(*jobs)
    assert {look.name for look in world.looks} == set("abc")
    assert len(world.asks) == 15
    await nothing_left(world)


async def test_two_wait_for_one_job(world: World) -> None:
    """Whoever waits for a job is told of it, whoever else does."""
    job = world.add("t", 11)
    assert await asyncio.gather(world.follow(job), world.follow(job, after=5), world.follow(job)) == [GOOD] * 3
    assert len(world.asks) == 3
    await nothing_left(world)


# What a list does not show -----------------------------------------------------------------------


async def test_job_that_the_list_never_shows(world: World) -> None:
    """It is asked for at its poll_interval, no more and no less; for the others nothing changes."""
    world.hidden = lambda name, at: name == "hidden"
    hidden, shown = world.add("hidden", 100), world.add("shown", 101)
    await asyncio.gather(world.follow(hidden, poll_interval=10), world.follow(shown, poll_interval=10))
    pauses = [b - a for a, b in pairwise(world.times("hidden"))]
    assert all(8.9 <= pause <= 11.1 + tick_of(10) for pause in pauses)
    assert len(world.times("shown")) == 1
    assert world.delay("hidden") <= 11.1 + tick_of(10)
    assert len(world.looks) <= 57


@pytest.mark.parametrize(
    ("interval", "tick"), [(1e-9, 0), (0.5, 0), (1, 0.0625), (2, 0.125), (4, 0.25), (7, 0.25), (10, 0.5), (3600, 0.5)]
)
def test_ticks(interval: float, tick: float) -> None:
    """At least sixteen of them in an interval, and none longer than half a second; hasty waiters have none."""
    assert tick_of(interval) == tick


async def test_those_who_ask_themselves_wake_together(world: World) -> None:
    """Their next asks are at common moments, none of them sooner than its pause; a short pause is as short as it is."""
    world.hidden = lambda name, at: True
    things = [world.add(f"t{i}", 60) for i in range(200)]
    await asyncio.gather(*(world.follow(thing, poll_interval=5) for thing in things))
    moments = {ask.start for ask in world.asks if 1 < ask.start < 60}
    tick = tick_of(5)
    assert all(abs(at / tick - round(at / tick)) < 1e-6 for at in moments)
    assert len({round(at / tick) for at in moments}) < len(world.asks) / 8
    pauses = [b - a for thing in things for a, b in pairwise(world.times(thing.name))]
    assert all(4.5 <= pause <= 5.5 + tick + 2 * LATENCY for pause in pauses)
    hasty = world.add("hasty", world.clock.monotonic() + 3)
    await world.follow(hasty, poll_interval=0.3)
    assert all(b - a < 0.33 + 2 * LATENCY for a, b in pairwise(world.times("hasty")))


async def test_job_that_has_ended_already(world: World) -> None:
    """Its waiter knows after the first list, which is made at once, or a quarter of the interval after the last one."""
    await asyncio.gather(
        world.follow(world.add("long", 30)),
        world.follow(world.add("first", -5)),
        world.follow(world.add("later", -5), after=10.3),
    )
    assert world.ended["first"][0] <= 3 * LATENCY
    assert world.ended["later"][0] - 10.3 <= INTERVAL * HURRY + 3 * LATENCY
    assert len(world.asks) == 3


async def test_a_list_that_began_before_a_waiter_came_does_not_count(world: World) -> None:
    """A list that is under way may not know a new job: that it is not in it means nothing."""
    world.latency = 0.5
    old, new = world.add("old", 20), world.add("new", 20)
    world.hidden = lambda name, at: name == "new" and at < 0.1
    await asyncio.gather(world.follow(old), world.follow(new, after=0.2))
    assert len(world.times("new")) == 1


async def test_job_that_leaves_the_list_and_comes_back(world: World) -> None:
    """While the list does not show it, it is asked for at once and at its poll_interval; then the list serves."""
    world.hidden = lambda name, at: 9 < at < 31
    await world.follow(world.add("t", 100), poll_interval=10)
    asked = world.times("t")
    assert [round(at) for at in asked[:1]] == [10]
    assert 3 <= len([at for at in asked if at < 33]) <= 4
    assert len([at for at in asked if at > 33]) == 1


@pytest.mark.parametrize("lag", [1.0, 5.0, 11.0])
async def test_list_that_lags(world: World, lag: float) -> None:
    """A list that shows an ended job as running for some rounds delays its end by that, and does no other harm."""
    world.lag = lag
    await world.follow(world.add("t", 50))
    assert lag - INTERVAL <= world.delay("t") <= lag + INTERVAL + 3 * LATENCY
    assert len(world.asks) == 1


async def test_words_of_a_running_job_reach_its_waiter(world: World) -> None:
    """What the list says of a running job is what its waiter hears, once for each change."""
    heard = []
    job = world.add("t", 20)
    watch = world.watch()

    async def hear(_: object, status: JobStatus) -> None:
        heard.append((status.remote_state, round(world.clock.monotonic())))

    watch.on_answer = hear
    await watch.follow(job)
    assert heard == [("RUNNING", 0), ("DONE", 20)]


# Intervals ---------------------------------------------------------------------------------------


async def test_shorter_poll_interval(world: World) -> None:
    """A waiter that asks more often than the shared interval gets that, as long as it is there."""
    slow, fast = world.add("slow", 40), world.add("fast", 20.02)
    await asyncio.gather(world.follow(slow), world.follow(fast, after=10, poll_interval=0.5))
    assert world.delay("fast") <= 0.5 + 3 * LATENCY
    during = [look for look in world.looks if 11 <= look.start < 20]
    after = [look for look in world.looks if look.start > 21]
    assert 17 <= len(during) <= 20
    assert 9 <= len(after) <= 10


async def test_longer_poll_interval_is_served_by_the_shared_one(world: World) -> None:
    """Who asks seldom knows as early as the others: it costs nothing."""
    await world.follow(world.add("t", 51), poll_interval=600)
    assert world.delay("t") <= INTERVAL + 3 * LATENCY


async def test_slow_list(world: World) -> None:
    """A list that takes longer than the interval is not made again without a pause, and delays by what it takes."""
    world.latency = 4.0
    await world.follow(world.add("t", 60))
    starts = [look.start for look in world.looks]
    assert min(b - a for a, b in pairwise(starts)) > 4.0
    assert world.delay("t") <= 3 * 5.0


# Where a list pays -------------------------------------------------------------------------------


async def test_least() -> None:
    """Below `least` waiters there is no list; from it on there are; below it again each job is asked for."""
    world = World(least=3)
    a, b, c = world.add("a", 100), world.add("b", 60), world.add("c", 30)
    await asyncio.gather(world.follow(a), world.follow(b), world.follow(c, after=20))
    looks = [look.start for look in world.looks]
    assert min(looks) >= 20
    assert max(looks) <= 33
    for name in "ab":
        before, during = ([t for t in world.times(name) if lo <= t < hi] for lo, hi in ((0, 20), (21, 30)))
        assert 2 <= len(before) <= 3
        assert during == []
    assert len([t for t in world.times("a") if t > 33]) >= 6
    assert world.delay("c") <= INTERVAL + 3 * LATENCY
    assert world.delay("a") <= 11.1
    await nothing_left(world)


async def test_waiters_come_and_go_around_the_least() -> None:
    """However often the number crosses it, there is one poll at most, and every job is known to its end."""
    world = World(least=2)
    rng = random.Random(3)
    jobs = [world.add(f"t{i}", 20 * i + rng.uniform(5, 30)) for i in range(30)]
    await asyncio.gather(*(world.follow(job, after=20.0 * i, poll_interval=5) for i, job in enumerate(jobs)))
    spans = [(look.start, look.end or look.start) for look in world.looks]
    assert all(b >= 0 for b in (later[0] - sooner[1] for sooner, later in pairwise(spans)))
    assert max(world.delay(job.name) for job in jobs) <= 5.6 + INTERVAL
    await nothing_left(world)


# Bugs --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bug", [ValueError("a bug"), TypeError("another"), ZeroDivisionError()], ids=repr)
async def test_bug_in_a_list(world: World, bug: Exception, caplog: pytest.LogCaptureFixture) -> None:
    """An exception that nobody meant costs the sharing, not the jobs, and is in the log once, with its traceback."""
    world.list_trouble = lambda place, at: bug if at > 5 else None
    jobs = [world.add(f"t{i}", 40) for i in range(20)]
    await world.follow_all(*jobs)
    assert max(world.delay(job.name) for job in jobs) <= 11.1
    assert [record.exc_info is not None for record in caplog.records] == [True]
    await nothing_left(world)


@pytest.mark.parametrize("odd", [7, "EXPLODED", {"state": "RUNNING"}, [], object()], ids=lambda odd: type(odd).__name__)
async def test_odd_entry_of_one_job(world: World, odd: Any) -> None:
    """An entry that cannot be read has its own job asked for, at its poll_interval; the others know nothing of it."""
    world.raw = lambda name, at: odd if name == "odd" else "RUNNING"
    jobs = [world.add(name, 50) for name in ("odd", "a", "b")]
    await world.follow_all(*jobs)
    assert [len(world.times(name)) for name in ("a", "b")] == [1, 1]
    assert 5 <= len(world.times("odd")) <= 8


async def test_single_ask_that_fails_is_tried_again(world: World) -> None:
    """Trouble with the one ask that tells how a job has ended is forgiven like any other."""
    world.ask_trouble = lambda name, at: TryAgain("503") if at < 15 else None
    await world.follow(world.add("t", 10, BAD))
    assert world.ended["t"][1] == BAD
    assert world.delay("t") < 40


async def test_single_ask_that_is_refused_ends_only_its_wait(world: World) -> None:
    """A job that may not be asked for fails its own wait; the others go on."""
    world.ask_trouble = lambda name, at: BadRequest("400") if name == "bad" else None
    bad, good = (world.follow(world.add(name, 10)) for name in ("bad", "good"))
    failed, fine = await asyncio.gather(bad, good, return_exceptions=True)
    assert isinstance(failed, BadRequest)
    assert fine == GOOD
    await nothing_left(world)


async def test_hung_single_ask_is_nobody_elses_trouble(world: World) -> None:
    """One job that cannot be asked for and one that is refused for ever do not delay the eighteen others."""
    world.ask_trouble = lambda name, at: {"hung": "hang", "busy": TryAgain("503")}.get(name)
    stuck = [asyncio.create_task(world.follow(world.add(name, 10))) for name in ("hung", "busy")]
    jobs = [world.add(f"t{i}", 10 + i) for i in range(18)]
    await world.follow_all(*jobs)
    assert max(world.delay(job.name) for job in jobs) <= INTERVAL + 3 * LATENCY
    for task in stuck:
        task.cancel()
    await settle()
    await nothing_left(world)


async def test_deadline(world: World) -> None:
    """A wait with a deadline ends at it, whether the list tells of its job or not."""
    world.hidden = lambda name, at: name == "hidden"
    for name in ("hidden", "shown"):
        watch = world.watch()
        watch.deadline = world.clock.now() + timedelta(seconds=25.02)
        began = world.clock.monotonic()
        with pytest.raises(DeadlinePassed):
            await watch.follow(world.add(name, NEVER))
        assert world.clock.monotonic() - began == pytest.approx(25.02, abs=1e-3)
    await nothing_left(world)


async def test_timeout_error_of_an_ask_is_no_deadline(world: World) -> None:
    """An ask that ends with a TimeoutError that nobody meant is a bug, not a deadline that has passed."""
    world.ask_trouble = lambda name, at: asyncio.TimeoutError("a library's own")
    watch = world.watch()
    watch.deadline = world.clock.now() + timedelta(seconds=200)
    with pytest.raises(asyncio.TimeoutError):
        await watch.follow(world.add("t", -1))
