"""What all who wait get from one feed of changes: the truth of their job, in time, for one ask each."""

from __future__ import annotations

import asyncio
import random

import pytest

from ork_provider.errors import Throttled, TryAgain
from ork_provider.job import JobState
from ork_provider.service import Feed
from tests.support.hub_world import BAD, BUSY, DENIED, GONE, GOOD, LATENCY, NEVER, Thing, World, nothing_left, settle
from tests.support.hub_world import ThingFeed as Changes

LATE = Feed.interval + Changes.STEP + 4 * LATENCY
"""Seconds after which a change is known at the latest, when nothing goes wrong."""

LONG = 10_000.0
"""A poll_interval at which a job that is asked for singly is not known in time."""


@pytest.fixture
def world() -> World:
    return World(how="feed")


def many(world: World, count: int = 20, end: float = NEVER) -> list[Thing]:
    return [world.add(f"t{i}", end) for i in range(count)]


async def waiting(world: World, *jobs: Thing, **how: float) -> list[asyncio.Task[object]]:
    """Start waits and let them come to rest."""
    tasks: list[asyncio.Task[object]] = [asyncio.create_task(world.follow(job, **how)) for job in jobs]
    await world.until(world.clock.monotonic() + 5)
    return tasks


async def stop(*tasks: asyncio.Task[object]) -> None:
    for task in tasks:
        task.cancel()
    await settle()


# One feed for all --------------------------------------------------------------------------------


async def test_a_thousand_jobs(world: World) -> None:
    """A thousand waits cost one ask each when they begin, and one call that tells of all changes."""
    rng = random.Random(1)
    jobs = [world.add(f"t{i}", rng.uniform(5, 60), rng.choice([GOOD, BAD])) for i in range(1000)]
    await world.follow_all(*jobs, poll_interval=LONG)
    assert {name: status for name, (_, status) in world.ended.items()} == {n: s for n, (_, s) in world.ends.items()}
    assert len({ask.name for ask in world.asks}) == 1000
    assert len(world.asks) <= 1001  # one is the sentinel's
    assert len(world.looks) <= world.clock.monotonic() / Feed.interval + 2
    assert max(world.delay(job.name) for job in jobs) <= LATE
    await nothing_left(world)


async def test_ended_already(world: World) -> None:
    """A job that ended before its waiter came, or before the feed was opened, is known from the ask for itself."""
    long, first, later = world.add("long", 40), world.add("first", -5), world.add("later", 3)
    await asyncio.gather(
        world.follow(long, poll_interval=LONG),
        world.follow(first, poll_interval=LONG),
        world.follow(later, poll_interval=LONG, after=20),
    )
    assert world.ended["first"][0] <= world.hub.rules.interval + 3 * LATENCY
    assert world.ended["later"][0] <= 20 + 2 * LATENCY


@pytest.mark.parametrize("modelled", [True, False])
@pytest.mark.parametrize("ask_latency", [0.0, 0.3, 2.0])
@pytest.mark.parametrize("latency", [0.0, 0.2, 0.7])
async def test_nothing_falls_between(latency: float, ask_latency: float, modelled: bool) -> None:
    """A change is not lost, whenever it comes: before the feed is open, or while an older answer is on its way."""
    for end in range(0, 60, 2):
        for after in (0.0, 2.0):
            world = World(how="feed")
            world.latency, world.ask_latency, world.modelled = latency, ask_latency, lambda name: modelled
            beside = asyncio.create_task(world.follow(world.add("beside"), poll_interval=LONG))
            job = world.add("t", 0.05 + end / 10)
            await world.follow(job, after=after, poll_interval=LONG)
            slack = 1.5 + 3 * latency + 2 * ask_latency + world.hub.rules.interval
            assert world.ended["t"][1] == GOOD
            assert world.ended["t"][0] <= max(world.ends["t"][0], after) + slack
            assert len(world.times("t")) <= 3
            await stop(beside)


@pytest.mark.parametrize(("modelled", "asks"), [(True, 1), (False, 2)])
async def test_change_without_the_job(world: World, modelled: bool, asks: int) -> None:
    """A change that tells how the job is is enough; one that does not has the job asked for once."""
    world.modelled = lambda name: modelled
    await world.follow(world.add("t", 20, BAD), poll_interval=LONG)
    assert world.ended["t"][1] == BAD
    assert len(world.times("t")) == asks
    assert world.delay("t") <= LATE


async def test_two_wait_for_one_job(world: World) -> None:
    """Both are told."""
    job = world.add("t", 20)
    both = (world.follow(job, poll_interval=LONG), world.follow(job, poll_interval=LONG, after=3))
    assert await asyncio.gather(*both) == [GOOD, GOOD]
    assert len(world.asks) == 2


async def test_single_ask_that_fails(world: World) -> None:
    """The first ask is tried again when it fails, and the feed serves from then on."""
    world.ask_trouble = lambda name, at: TryAgain("503") if at < 8 else None
    await world.follow(world.add("t", 60), poll_interval=LONG)
    assert world.delay("t") <= LATE
    good = [at for at in world.times("t") if at >= 8]
    assert len(good) <= 1


# Trouble -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [BUSY, GONE, Throttled("429")], ids=str)
async def test_after_trouble_each_job_is_asked_once(world: World, error: TryAgain) -> None:
    """What happened meanwhile may have been lost: every job is asked for, once, spread over the interval.

    That the trouble is over is known from the next answer, for which a quiet feed takes its time.
    """
    world.list_trouble = lambda place, at: error if 20 < at < 24 else None
    world.hidden = lambda name, at: name == "lost"
    jobs = many(world)
    tasks = await waiting(world, *jobs, world.add("lost", 22), poll_interval=LONG)
    await world.until(64)
    assert world.delay("lost") <= 10 + Changes.WAIT + world.hub.rules.interval
    asked = [world.times(job.name) for job in jobs]
    assert {len(times) for times in asked} == {2}
    assert max(t[1] for t in asked) - min(t[1] for t in asked) > 0.5
    assert len([look for look in world.looks if look.name == "start"]) == 1, "the position is kept"
    await stop(*tasks)
    await nothing_left(world)


async def test_changes_during_trouble_are_told_afterwards(world: World) -> None:
    """The position is kept, so that the feed itself tells what it could not tell."""
    world.list_trouble = lambda place, at: BUSY if 20 < at < 24 else None
    world.ask_trouble = lambda name, at: BUSY if at > 20 else None
    await world.follow(world.add("t", 22, BAD), poll_interval=LONG)
    assert world.ended["t"][1] == BAD
    assert world.delay("t") <= 12


async def test_newcomer_during_trouble(world: World) -> None:
    """Who comes while the feed is in trouble asks at once, at its interval, and is told by the feed afterwards."""
    world.list_trouble = lambda place, at: BUSY if 20 < at < 27 else None
    old = asyncio.create_task(world.follow(world.add("old", 60), poll_interval=LONG))
    await world.follow(world.add("new", 60), after=23, poll_interval=5)
    await old
    assert world.times("new")[0] == pytest.approx(23, abs=0.01)
    assert len(world.times("new")) <= 9
    assert world.delay("new") <= LATE


async def test_feed_that_fails_for_long(world: World) -> None:
    """After its patience each job is asked for at its interval, spread over it; afterwards the feed serves again."""
    world.list_trouble = lambda place, at: BUSY if 20 < at < 200 else None
    jobs = many(world, 50, end=400)
    await world.follow_all(*jobs, poll_interval=10)
    works = min(look.start for look in world.looks if look.start >= 200)
    for job in jobs:
        asked = [at for at in world.times(job.name) if at > 5]
        assert min(asked) > 20
        assert [at for at in asked if at > works + 12] == [] or len([at for at in asked if at > works + 12]) <= 4
    firsts = sorted(min(at for at in world.times(job.name) if at > 5) for job in jobs)
    assert firsts[-1] - firsts[0] > 5
    assert max(world.delay(job.name) for job in jobs) <= LATE


async def test_refused_feed(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """A server without the feed has each job asked for; it is said once."""
    world.list_trouble = lambda place, at: DENIED
    await world.follow_all(*many(world, 20, end=60))
    assert len(world.looks) == 1
    assert len(caplog.records) == 1
    assert max(world.delay(f"t{i}") for i in range(20)) <= 11.2
    await nothing_left(world)


async def test_feed_that_hangs_at_first(world: World) -> None:
    """A newcomer does not wait for the position of a feed for longer than `first_word`."""
    world.list_trouble = lambda place, at: "hang"
    await world.hub.seat(world.add("t", -1), world.services, 10).ask()
    (asked,) = world.times("t")
    assert world.hub.rules.first_word <= asked <= 1.5 * world.hub.rules.first_word


# A server that forgets ---------------------------------------------------------------------------


async def test_sentinel(world: World) -> None:
    """While nothing happens, one of the jobs is asked for once a minute."""
    jobs = many(world, 20)
    tasks = await waiting(world, *jobs, poll_interval=LONG)
    begun = len(world.asks)
    await world.until(905)
    assert 10 <= len(world.asks) - begun <= 15
    assert min(b.start - a.start for a, b in zip(world.asks[begun:], world.asks[begun + 1 :], strict=False)) >= 60
    await stop(*tasks)
    await nothing_left(world)


async def test_sentinel_that_is_gone(world: World) -> None:
    """When the service does not know it any more, the others may be gone, too: all are asked for, and are lost."""
    world.ask_trouble = lambda name, at: GONE if at > 100 else None
    jobs = many(world, 20)
    await world.follow_all(*jobs, poll_interval=10)
    assert {status.state for _, status in world.ended.values()} == {JobState.LOST}
    assert max(at for at, _ in world.ended.values()) <= 100 + 60 + 22 + 30


async def test_sentinel_that_is_gone_alone(world: World) -> None:
    """If only that one is gone, the others are asked for once and go on."""
    jobs = many(world, 20)
    gone: list[str] = []

    def first_one_asked(name: str, at: float) -> TryAgain | None:
        if at > 100 and not gone:
            gone.append(name)
        return GONE if name in gone else None

    world.ask_trouble = first_one_asked
    tasks = await waiting(world, *jobs, poll_interval=10)
    await world.until(400)
    assert {name: status.state for name, (_, status) in world.ended.items()} == {gone[0]: JobState.LOST}
    others = [job for job in jobs if job.name not in gone]
    assert all(1 <= len([at for at in world.times(job.name) if 100 < at < 300]) <= 6 for job in others)
    await stop(*tasks)


async def test_sequence_that_goes_back(world: World) -> None:
    """A restarted server counts anew: every job is asked for once, and what happens from then on is told."""
    jobs = many(world, 20)
    world.hidden = lambda name, at: name == "lost"
    tasks = await waiting(world, *jobs, world.add("lost", 29), world.add("told", 60), poll_interval=LONG)
    await world.until(30)
    world.lag = 25.0
    await world.until(55)
    assert world.delay("lost") <= Changes.WAIT + 4
    assert {len(world.times(job.name)) for job in jobs} == {2}
    await world.until(70)
    assert world.delay("told") <= LATE
    await stop(*tasks)


async def test_change_that_is_lost_without_a_word(world: World) -> None:
    """Each job is the sentinel at some time; one that has ended without a word has all the others asked for."""
    world.hidden = lambda name, at: name in {"a", "b", "c"}
    lost = [world.add(name, 50, BAD) for name in "abc"]
    tasks = await waiting(world, *many(world, 3), *lost, poll_interval=LONG)
    while len(world.ended) < 3:
        await world.until(world.clock.monotonic() + 60)
        assert world.clock.monotonic() < 24 * 3600
    assert [world.ended[name][1] for name in "abc"] == [BAD] * 3
    assert max(at for at, _ in world.ended.values()) - min(at for at, _ in world.ended.values()) <= 2 * LATE + 2
    await stop(*tasks)
