"""A list that is refused, fails or hangs costs time and requests, never the truth of a job."""

from __future__ import annotations

import asyncio
import logging
import random
from itertools import pairwise
from typing import Literal

import pytest

from ork_provider.errors import BadRequest, NoConnection, Throttled, TryAgain, Unauthorized
from ork_provider.hub.seat import tick_of
from tests.support.hub_world import BUSY, DENIED, LATENCY, NEVER, Thing, World, nothing_left, settle

INTERVAL = 2.0


@pytest.fixture
def world() -> World:
    return World()


def many(world: World, count: int = 50, end: float = 100.0, prefix: str = "t") -> list[Thing]:
    return [world.add(f"{prefix}{i}", end) for i in range(count)]


def pauses(times: list[float]) -> list[float]:
    return [later - sooner for sooner, later in pairwise(times)]


def by_turns(world: World, name: str, interval: float = 10.0) -> bool:
    """Whether a job was asked for at its own interval."""
    return all(
        interval * 0.89 <= pause <= interval * 1.11 + LATENCY + tick_of(interval) for pause in pauses(world.times(name))
    )


# Refused -----------------------------------------------------------------------------------------


async def test_refused_list(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """All ask for their jobs themselves, at once and at their interval; it is said once, however many wait."""
    world.list_trouble = lambda place, at: DENIED
    await world.follow_all(*many(world))
    assert len(world.looks) == 1
    for i in range(50):
        assert world.times(f"t{i}")[0] <= 0.5 + 2 * LATENCY
        assert by_turns(world, f"t{i}")
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "403: no permission to list" in caplog.text
    await nothing_left(world)


async def test_refusal_is_remembered(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """For ten minutes nobody tries that list again, also when all have left and others come; then somebody does."""
    world.list_trouble = lambda place, at: DENIED
    for at in (0, 100, 300, 590):
        await world.until(at)
        await world.follow(world.add(f"t{at}", at + 5), poll_interval=2)
        await nothing_left(world)
    assert len(world.looks) == 1
    assert len(caplog.records) == 1
    world.list_trouble = lambda place, at: None
    await world.until(601)
    await world.follow(world.add("t", 650))
    assert len(world.looks) > 20
    assert len(world.times("t")) == 1


async def test_refusal_is_of_one_place(world: World) -> None:
    """Another scope has its own list."""
    world.list_trouble = lambda place, at: DENIED if place == "a" else None
    await world.follow_all(world.add("a/t", 50), world.add("b/t", 50))
    assert len(world.times("b/t")) == 1
    assert len(world.times("a/t")) >= 5


@pytest.mark.parametrize("kind", [NoConnection, Unauthorized])
async def test_credentials_are_soon_mended(
    world: World, kind: type[BadRequest], caplog: pytest.LogCaptureFixture
) -> None:
    """A missing connection and a 401 are not remembered: the next one who comes lists again."""
    world.list_trouble = lambda place, at: kind("mend me") if at < 1 else None
    await asyncio.gather(world.follow(world.add("a", 30)), world.follow(world.add("b", 30), after=5))
    assert len(world.looks) > 10
    assert len(world.times("b")) == 1
    assert caplog.records == []


async def test_list_that_is_refused_later(world: World) -> None:
    """A permission that is taken away while many wait has them ask for their jobs, not all in one moment."""
    world.list_trouble = lambda place, at: DENIED if at > 20 else None
    await world.follow_all(*many(world))
    firsts = sorted(world.times(f"t{i}")[0] for i in range(50))
    assert firsts[0] > 20
    assert firsts[-1] <= 20 + INTERVAL + 10 + 2 * LATENCY
    assert firsts[-1] - firsts[0] > 5
    assert all(by_turns(world, f"t{i}") for i in range(50))


# Failing -----------------------------------------------------------------------------------------


async def test_list_that_fails_for_a_while(world: World) -> None:
    """Within its patience nobody who has heard something asks, and nothing is late by more than the trouble."""
    world.list_trouble = lambda place, at: BUSY if 10 < at < 14 else None
    jobs = [world.add(f"t{i}", 12 + i) for i in range(10)]
    await world.follow_all(*jobs)
    assert all(len(world.times(job.name)) == 1 for job in jobs)
    assert max(world.delay(job.name) for job in jobs) < 10


@pytest.mark.parametrize(("how", "interval"), [("list", 15.0), ("feed", 2.0)])
async def test_one_failure_of_a_slow_poll(
    how: Literal["list", "feed"], interval: float, caplog: pytest.LogCaptureFixture
) -> None:
    """One failure is within patience, also of a rare list and of a quiet feed, whose last good answers are long ago."""
    world = World(how=how, interval=interval)
    waiting = [asyncio.create_task(world.follow(job, poll_interval=600)) for job in many(world)]
    await world.until(40)
    failed: list[float] = []

    def once(place: str, at: float) -> Exception | None:
        world.latency = LATENCY if failed or how == "list" else 15.0
        if not failed:
            failed.append(at)
            return BUSY
        return None

    world.list_trouble = once
    await world.until(70)
    for task in waiting:
        task.cancel()
    await settle()
    assert len(failed) == 1
    assert caplog.records == []


async def test_newcomer_while_the_list_fails(world: World) -> None:
    """Who has heard nothing yet asks at once, and at its interval until the list works again."""
    world.list_trouble = lambda place, at: BUSY if 10 < at < 14 else None
    await asyncio.gather(world.follow(world.add("old", 60)), world.follow(world.add("new", 60), after=12.5))
    assert world.times("new")[0] == pytest.approx(12.5, abs=LATENCY)
    assert len(world.times("new")) <= 3
    assert len(world.times("old")) == 1


async def test_first_list_fails(world: World) -> None:
    """Who waits for the first list asks as soon as it fails."""
    world.list_trouble = lambda place, at: BUSY
    await world.follow(world.add("t", -1))
    assert world.ended["t"][0] <= 3 * LATENCY


async def test_list_that_fails_for_long(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Afterwards all ask at their interval, spread over it; when the list works again they stop, and both are said."""
    world.list_trouble = lambda place, at: BUSY if 10 < at < 200 else None
    jobs = many(world, 50, end=400)
    with caplog.at_level(logging.INFO):
        await world.follow_all(*jobs)
    works = min(look.start for look in world.looks if look.start >= 200)
    for job in jobs:
        asked = world.times(job.name)
        assert [at for at in asked if at < 18] == []
        assert len([at for at in asked if works + 0.2 < at < 400]) == 0
        during = [at for at in asked if at < works]
        assert all(8.9 <= pause <= 11.2 + tick_of(10) for pause in pauses(during))
    firsts = sorted(world.times(job.name)[0] for job in jobs)
    assert firsts[-1] - firsts[0] > 5
    words = [(record.levelname, record.message.split(" (")[0]) for record in caplog.records]
    assert [level for level, _ in words] == ["WARNING", "INFO"]
    assert "works again" in words[1][1]


async def test_patience(world: World) -> None:
    """A job that ends while the list fails is known when patience and its own interval are over."""
    world.list_trouble = lambda place, at: BUSY if at > 10 else None
    jobs = [world.add(f"t{i}", 11) for i in range(50)]
    await world.follow_all(*jobs, poll_interval=5)
    assert max(world.delay(job.name) for job in jobs) <= 1 + 10 + 5.5


@pytest.mark.parametrize("error", [TryAgain("503", retry_after=3600), Throttled("429", retry_after=3600)], ids=str)
async def test_long_retry_after_does_not_outlast_patience(world: World, error: TryAgain) -> None:
    """A list that is put off for an hour has the jobs asked for after the patience, not after the hour."""
    world.list_trouble = lambda place, at: error if at > 10 else None
    jobs = many(world, 10, end=100)
    await world.follow_all(*jobs)
    assert max(world.delay(job.name) for job in jobs) <= 60 + 11.1


async def test_throttled_list(world: World) -> None:
    """Asking one by one does not help a service that is asked too often: patience is a minute then."""
    world.list_trouble = lambda place, at: Throttled("429") if at > 10 else None
    jobs = many(world, 20, end=300)
    await world.follow_all(*jobs)
    firsts = [world.times(job.name)[0] for job in jobs]
    assert min(firsts) >= 68
    assert max(firsts) <= 70 + 10 + INTERVAL


async def test_retry_after_of_one_place(world: World) -> None:
    """What a service asks for is what it gets from that scope; another goes on untouched."""
    world.list_trouble = lambda place, at: Throttled("429", retry_after=25) if place == "a" and 10 < at < 40 else None
    await world.follow_all(world.add("a/t", 100), world.add("b/t", 100))
    at = {place: [look.start for look in world.looks if look.name == place] for place in "ab"}
    assert [pause for pause in pauses(at["a"]) if pause > 3] == pytest.approx([25 + LATENCY] * 2, abs=0.01)
    assert max(pauses(at["b"])) <= INTERVAL + 2 * LATENCY
    assert len(world.times("b/t")) == 1


async def test_failing_lists_are_made_less_often(world: World) -> None:
    """Lists back off: an hour of failures costs far fewer than one per interval."""
    world.list_trouble = lambda place, at: BUSY
    waiting = asyncio.create_task(world.follow(world.add("t", NEVER), poll_interval=300))
    await world.until(3600)
    assert 50 < len(world.looks) < 600
    assert min(pauses([look.start for look in world.looks])) >= INTERVAL
    waiting.cancel()
    await settle()
    await nothing_left(world)


# Hanging -----------------------------------------------------------------------------------------


async def test_first_word(world: World) -> None:
    """A newcomer does not wait longer than `first_word` for a list that hangs."""
    world.list_trouble = lambda place, at: "hang"
    ask = asyncio.create_task(world.hub.seat(world.add("t", -1), world.services, 10).ask())
    await ask
    (asked,) = world.times("t")
    assert world.hub.rules.first_word <= asked <= 1.5 * world.hub.rules.first_word


async def test_list_that_hangs_is_given_up(world: World) -> None:
    """A list that takes longer than `look_limit` has failed, and the next one is made."""
    world.list_trouble = lambda place, at: "hang" if 9 < at < 11 else None
    await world.follow(world.add("t", 60))
    starts = [look.start for look in world.looks]
    assert max(pauses(starts)) == pytest.approx(world.hub.rules.look_limit + INTERVAL, abs=0.01)
    assert world.delay("t") <= INTERVAL + 3 * LATENCY
    await nothing_left(world)


async def test_list_that_hangs_for_ever(world: World) -> None:
    """All ask for their jobs themselves, and no list is left behind."""
    world.list_trouble = lambda place, at: "hang" if at > 10 else None
    jobs = many(world, 20, end=100)
    await world.follow_all(*jobs)
    assert max(world.delay(job.name) for job in jobs) <= 11.2
    assert max(pauses([look.start for look in world.looks])) <= 2 * world.hub.rules.look_limit + INTERVAL
    await nothing_left(world)


# Whatever goes wrong -----------------------------------------------------------------------------


async def test_lists_that_fail_at_random(world: World) -> None:
    """When every other list fails, jobs are known later, and still for one ask each."""
    rng = random.Random(5)
    world.list_trouble = lambda place, at: BUSY if rng.random() < 0.5 else None
    jobs = [world.add(f"t{i}", rng.uniform(20, 60)) for i in range(100)]
    await world.follow_all(*jobs)
    assert len(world.asks) <= 250
    assert max(world.delay(job.name) for job in jobs) <= 40


@pytest.mark.parametrize("until", [34, 700], ids=["nobody has asked yet", "all have asked once"])
async def test_list_that_works_again(world: World, until: float) -> None:
    """Who has to ask, and would do so much later, does so when a list works again that its job is not in."""
    world.list_trouble = lambda place, at: BUSY if 20 < at < until else None
    jobs = many(world, 50, end=until - 1)
    await world.follow_all(*jobs, poll_interval=600)
    works = min(look.start for look in world.looks if look.start >= until)
    assert max(world.delay(job.name) for job in jobs) <= works - (until - 1) + INTERVAL + 3 * LATENCY


async def test_throttled_first_list(world: World) -> None:
    """A first list that comes too often for the service does not send a thousand to it at once."""
    world.list_trouble = lambda place, at: Throttled("429", retry_after=8.0) if at < 5 else None
    jobs = many(world, 200)
    await world.follow_all(*jobs)
    assert min(ask.start for ask in world.asks) > 8


async def test_poll_that_dies(world: World) -> None:
    """A poll whose task has been cancelled from outside leaves nobody waiting for it for ever."""
    job = world.add("t", 100)
    waiting = asyncio.create_task(world.follow(job))
    await world.until(10)
    (scope,) = world.hub.scopes.values()
    assert scope._task is not None
    scope._task.cancel()
    later = world.add("later", 100)
    await world.follow(later)
    await waiting
    assert world.delay("t") <= 11 + 3 * LATENCY
    assert world.delay("later") <= 11 + 3 * LATENCY


async def test_retry_after_outlives_the_scope(world: World) -> None:
    """A list that has asked for a pause is left alone by the next one who comes, too; it asks for its job itself."""
    world.list_trouble = lambda place, at: Throttled("429", retry_after=300.0) if at < 100 else None
    for i in range(5):
        await world.follow(world.add(f"t{i}", world.clock.monotonic() + 12), poll_interval=2)
    assert len(world.looks) == 1


async def test_retry_after_of_a_job_outlives_a_list_that_recovers(world: World) -> None:
    """A job that the list does not show, and whose service has asked for a pause, is not asked at each recovery."""
    world.hidden = lambda name, at: name == "t"
    world.list_trouble = lambda place, at: BUSY if int(at) % 8 < 4 else None
    world.ask_trouble = lambda name, at: Throttled("429", retry_after=200.0) if name == "t" and at < 150 else None
    other = asyncio.create_task(world.follow(world.add("other", 150)))
    await world.follow(world.add("t", 150))
    await other
    assert len([at for at in world.times("t") if at < 150]) <= 2


async def test_refusal_is_said_once(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """A list that stays refused is tried again every ten minutes, and said once."""
    world.list_trouble = lambda place, at: DENIED
    await world.follow(world.add("t", 3000), poll_interval=60)
    assert len(world.looks) >= 3
    assert [record.levelname for record in caplog.records].count("WARNING") == 1
