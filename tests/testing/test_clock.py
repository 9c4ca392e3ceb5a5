"""Virtual time passes in order, without real time, and never for a task that could still run."""

from __future__ import annotations

import asyncio
import datetime as dt
import time

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ork_provider.testing import FakeBigQuery, FakeClock

NAPS = st.lists(st.lists(st.floats(0.001, 1e6), min_size=1, max_size=4), min_size=1, max_size=6)


@settings(max_examples=60, deadline=None)
@given(NAPS)
def test_sleepers_wake_on_time_and_in_order(tasks: list[list[float]]) -> None:
    """Each nap ends exactly when it should, whatever sleeps beside it; the wake-ups are in order of time."""
    clock = FakeClock()
    woken: list[float] = []

    async def napper(naps: list[float]) -> None:
        for seconds in naps:
            due = clock.monotonic() + seconds
            await clock.sleep(seconds)
            assert clock.monotonic() == due
            woken.append(due)

    async def main() -> None:
        await asyncio.gather(*(napper(naps) for naps in tasks))

    begin = time.monotonic()
    asyncio.run(main())
    assert woken == sorted(woken)
    assert len(woken) == len(clock.slept) == sum(map(len, tasks))
    assert clock.monotonic() == pytest.approx(max(map(sum, tasks)))
    assert clock.now() - clock.start == pytest.approx(
        dt.timedelta(seconds=clock.monotonic()), abs=dt.timedelta(milliseconds=1)
    )
    assert time.monotonic() - begin < 5


async def test_time_stands_while_a_task_can_run() -> None:
    """A task that is busy for many turns of the loop is not overtaken by a sleeper."""
    clock = FakeClock()
    sleeper = asyncio.create_task(clock.sleep(1))
    for _ in range(200):
        await asyncio.sleep(0)
        assert clock.monotonic() == 0
    await sleeper
    assert clock.monotonic() == 1


async def test_cancelled_sleeper_does_not_hold_time() -> None:
    """Time goes on to the next one, as if it had never slept."""
    clock = FakeClock()
    sleeper = asyncio.create_task(clock.sleep(3))
    await asyncio.sleep(0)
    assert clock.sleeping == 1
    sleeper.cancel()
    await asyncio.wait_for(clock.sleep(5), 5)
    assert (clock.monotonic(), clock.sleeping) == (5, 0)


async def test_manual_clock() -> None:
    """Without autojump only advance() moves time, and naps on the way end at their own time."""
    clock = FakeClock(autojump=False)
    woken: list[float] = []

    async def ticker() -> None:
        while True:
            await clock.sleep(2)
            woken.append(clock.monotonic())

    task = asyncio.create_task(ticker())
    await asyncio.sleep(0.01)
    assert (woken, clock.sleeping) == ([], 1)
    await clock.advance(5)
    assert (woken, clock.monotonic()) == ([2, 4], 5)
    task.cancel()


def test_one_clock_in_two_event_loops() -> None:
    """A sleeper that a closed loop left behind does not disturb the next loop."""
    clock = FakeClock(autojump=False)
    left: list[asyncio.Task[None]] = []

    async def leave_one() -> None:
        left.append(asyncio.get_running_loop().create_task(clock.sleep(1)))
        await asyncio.sleep(0)

    async def sleep_and_advance() -> float:
        task = asyncio.create_task(clock.sleep(3))
        await clock.advance(10)
        await task
        return clock.monotonic()

    first = asyncio.new_event_loop()
    first.run_until_complete(leave_one())
    assert clock.sleeping == 1
    assert asyncio.run(sleep_and_advance()) == 10
    assert clock.sleeping == 1
    left[0].cancel()
    first.run_until_complete(asyncio.gather(*left, return_exceptions=True))
    first.close()


async def test_zero_and_negative_naps_only_yield() -> None:
    clock = FakeClock()
    await clock.sleep(0)
    await clock.sleep(-1)
    assert (clock.monotonic(), clock.slept) == (0, [0, -1])


def test_states_of_a_fake_by_virtual_time() -> None:
    """Hours of a fake's time pass at once."""
    clock = FakeClock()
    with FakeBigQuery(clock=clock.monotonic, pending=10, running=3600) as fake:
        httpx.post(f"{fake.url}/projects/p/jobs", json={"configuration": {"query": {"query": "SELECT 1"}}})
        seen = []
        for nap in (5, 100, 3600):
            asyncio.run(clock.sleep(nap))
            seen.append(fake.inserted[0].state)
    assert seen == ["PENDING", "RUNNING", "DONE"]
