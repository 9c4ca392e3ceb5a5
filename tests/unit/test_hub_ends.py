"""Who joins and leaves, in whatever way and whenever, disturbs nobody and leaves nothing behind."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import random
import sys
import weakref
from collections.abc import Callable

import pytest

from ork_provider.waiting import SystemClock
from tests.support.hub_world import (
    DENIED,
    GOOD,
    LATENCY,
    NEVER,
    Thing,
    World,
    nothing_left,
    others,
    settle,
    timers,
    who,
)

INTERVAL = 2.0


def start(world: World, job: Thing, name: str = "nobody", after: float = 0.0) -> asyncio.Task[object]:
    """Start a wait in a context that says who waits."""
    context = contextvars.copy_context()
    context.run(who.set, name)
    return context.run(asyncio.create_task, world.follow(job, after=after))


async def stop(*tasks: asyncio.Task[object]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture(params=["list", "feed"])
def world(request: pytest.FixtureRequest) -> World:
    return World(how=request.param)


# Nothing is left ---------------------------------------------------------------------------------


async def test_ten_thousand_waits() -> None:
    """After ten thousand waits, five hundred at a time, no scope, task, timer or seat is left."""
    world = World(interval=0.02, clock=SystemClock())
    world.latency = 0.0
    alive: weakref.WeakSet[object] = weakref.WeakSet()
    rng = random.Random(7)

    async def one(number: int) -> None:
        stays = rng.choice([-1.0, 0.01, 0.03, NEVER])
        job = world.add(f"{number % 3}/t{number}", world.clock.monotonic() + stays)
        alive.add(task := asyncio.current_task())
        if task is not None and stays == NEVER:
            asyncio.get_running_loop().call_later(rng.uniform(0, 0.03), task.cancel)
        await world.follow(job)

    for wave in range(20):
        await asyncio.gather(*(one(wave * 500 + i) for i in range(500)), return_exceptions=True)
        world.ends.clear()
    await nothing_left(world)
    gc.collect()
    assert len(alive) == 0


async def test_last_one_closes_the_scope(world: World) -> None:
    """The poll ends with the last wait, however that ends, and begins again with the next."""
    for _ in range(3):
        waiting = [start(world, world.add(f"t{i}")) for i in range(5)]
        await world.until(world.clock.monotonic() + 5)
        assert len(world.hub.scopes) == 1
        await stop(*waiting)
        await nothing_left(world)
        before = len(world.looks)
        await world.until(world.clock.monotonic() + 60)
        assert len(world.looks) == before


@pytest.mark.parametrize("after", [0.0, 0.01, LATENCY, 0.06, 1.0, 2.0, 2.01, 15.0, 30.0])
async def test_cancelled_at_any_time(world: World, after: float) -> None:
    """A wait that is cancelled before, during or after a poll leaves nothing behind."""
    waiting = start(world, world.add("t"))
    if after:
        await world.until(after)
    await stop(waiting)
    await nothing_left(world)


@pytest.mark.parametrize("trouble", [DENIED, "hang", ValueError("a bug")], ids=str)
async def test_cancelled_in_trouble(world: World, trouble: Exception, caplog: pytest.LogCaptureFixture) -> None:
    """Also when the poll was refused, hangs or has a bug."""
    world.list_trouble = lambda place, at: trouble if at > 5 else None
    waiting = [start(world, world.add(f"t{i}")) for i in range(5)]
    await world.until(30)
    await stop(*waiting)
    await nothing_left(world)


async def test_left_before_it_began(world: World) -> None:
    """A seat that nobody ever asked from, and one that is given up twice, are no trouble."""
    seat = world.hub.seat(world.add("t"), world.services, 10)
    seat.leave()
    assert world.hub.scopes == {}
    asking = asyncio.create_task(seat.ask())
    await settle()
    await stop(asking)
    seat.leave()
    seat.leave()
    await nothing_left(world)


@pytest.mark.parametrize("turns", range(8))
async def test_last_one_leaves_as_the_list_arrives(turns: int, caplog: pytest.LogCaptureFixture) -> None:
    """A poll that is answered in the moment in which the last one leaves ends all the same, without a word.

    ``asyncio.wait_for`` of Python 3.10 and 3.11 forgets that it was cancelled when its answer is there.
    """
    world = World()
    world.latency = 0.0
    world.list_trouble = lambda place, at: "hang"
    waiting = start(world, world.add("t"))
    await settle()
    assert world.hanging is not None
    world.hanging.set_result(None)
    for _ in range(turns):
        await asyncio.sleep(0)
    waiting.cancel()
    await settle()
    await world.until(30)
    assert caplog.records == []
    assert others() == []
    assert world.hub.scope(world.shared(world.add("t"))) is not None, "it counts as refused"


# Others are not disturbed ------------------------------------------------------------------------


@pytest.mark.parametrize("after", [0.0, 0.02, 1.0, 2.02, 7.0])
async def test_the_first_one_is_cancelled(world: World, after: float) -> None:
    """The poll does not belong to the one who came first: it goes on for the others, also in mid-request."""
    first = start(world, world.add("first"))
    rest = [start(world, world.add(f"t{i}", 20 + i), after=0.001 * i) for i in range(10)]
    if after:
        await world.until(after)
    await stop(first)
    assert await asyncio.gather(*rest) == [GOOD] * 10
    assert max(world.delay(f"t{i}") for i in range(10)) <= INTERVAL + 3 * LATENCY
    assert len(world.asks) <= 11 + (12 if world.how == "feed" else 0)
    await nothing_left(world)


async def test_many_come_and_go(world: World) -> None:
    """Half of those who wait are cancelled at random times; the others hear of their jobs in time."""
    rng = random.Random(11)
    ends = {f"t{i}": rng.uniform(20, 60) for i in range(200)}
    waiting = {name: start(world, world.add(name, end), after=rng.uniform(0, 10)) for name, end in ends.items()}
    leaving = rng.sample(sorted(waiting), 100)
    for name in leaving:
        world.clock.call_later(rng.uniform(0, 20), waiting[name].cancel)
    await asyncio.gather(*waiting.values(), return_exceptions=True)
    stayed = [name for name in waiting if name not in leaving]
    assert all(waiting[name].result() == GOOD for name in stayed)
    assert max(world.delay(name) for name in stayed) <= INTERVAL + 3 * LATENCY
    await nothing_left(world)


async def test_two_for_one_job_and_one_leaves(world: World) -> None:
    """Who waits for the same job still hears of it."""
    job = world.add("t", 30)
    first, second = start(world, job), start(world, job)
    await world.until(5)
    await stop(first)
    assert await second == GOOD
    assert world.delay("t") <= INTERVAL + 3 * LATENCY
    await nothing_left(world)


async def test_the_poll_belongs_to_nobody(world: World) -> None:
    """The poll has no context variables of the waiter that came first, so that its log lines are not that task's."""
    waiting = [start(world, world.add(f"t{i}", 10 + i), name=f"task {i}") for i in range(3)]
    await asyncio.gather(*waiting)
    assert {look.who for look in world.looks} == {"nobody"}
    assert {ask.who for ask in world.asks} == {"task 0", "task 1", "task 2"}


async def test_waits_again_with_the_same_hub(world: World) -> None:
    """One and the same job may be waited for again and again."""
    for i in range(5):
        job = world.add("t", world.clock.monotonic() + 5)
        assert await world.follow(job) == GOOD, i
        await nothing_left(world)


# The cost of one ---------------------------------------------------------------------------------


def work(world: World, count: int) -> Callable[[], None]:
    """Return what joins and leaves beside many others."""
    shared = world.shared(world.add("t"))
    scope = world.hub.scope(shared)
    assert scope is not None
    for i in range(count):
        seat = world.hub.seat(world.add(f"t{i}"), world.services, 10)
        seat.name = f"t{i}"
        scope.join(seat)

    def join_and_leave() -> None:
        seat = world.hub.seat(world.add("t"), world.services, 10)
        seat.name = "t"
        scope.join(seat)
        scope.leave(seat)

    return join_and_leave


async def test_join_and_leave_cost_the_same_for_ten_thousand() -> None:
    """Coming and going takes the same number of steps, however many are there."""

    def steps(count: int) -> int:
        once, lines = work(World(), count), 0

        def trace(frame: object, event: str, arg: object) -> object:
            nonlocal lines
            lines += 1
            return trace

        once()
        sys.settrace(trace)  # type: ignore[arg-type]
        try:
            once()
        finally:
            sys.settrace(None)
        return lines

    assert steps(10_000) == steps(10)
    await stop(*others())
    assert timers() == []
