"""Those who ask for a dependency themselves, because no shared look tells of it: they do not all ask at once."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

import pytest

from ork_provider.dependency import TaskDependency
from ork_provider.dependency.service import DependencyService
from ork_provider.dependency.source import RunStates, Supervisor
from ork_provider.errors import Throttled
from ork_provider.job import JobState


class Slow(Supervisor):
    """An Airflow that takes its time for each question, and can do one at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[str, int]] = []
        self.busy = 0
        self.fails = False

    async def task_states(self, dag_id: str, run_ids: Collection[str], task_ids: Collection[str]) -> RunStates:
        """Answer after a while."""
        self.asked.append((dag_id, len(run_ids)))
        self.busy += 1
        assert self.busy <= 2
        try:
            await asyncio.sleep(0.02)
        finally:
            self.busy -= 1
        if self.fails:
            raise Throttled("no answer")
        return {run_id: {("a", -1): "success" if run_id == "r7" else "running"} for run_id in run_ids}


def on(i: int, dag_id: str = "sales") -> TaskDependency:
    return TaskDependency(dag_id=dag_id, run_id=f"r{i}", task_ids=["a"])


async def test_share_a_look() -> None:
    """All who ask at the same moment, or while another look is under way, share one; each gets its own answer."""
    source = Slow()
    service = DependencyService(source, None)
    first = [asyncio.create_task(service.check(on(i))) for i in range(50)]
    await asyncio.sleep(0.01)
    second = [asyncio.create_task(service.check(on(i % 50))) for i in range(100)]
    states = [status.state for status in await asyncio.gather(*first, *second)]
    assert source.asked == [("sales", 50), ("sales", 50)]
    assert [i for i, state in enumerate(states) if state is JobState.SUCCEEDED] == [7, 57, 107]


async def test_dags_apart() -> None:
    """The runs of another DAG are another question, which does not wait for the first."""
    source = Slow()
    service = DependencyService(source, None)
    await asyncio.gather(*(service.check(on(i, dag_id)) for i in range(5) for dag_id in ("sales", "stock")))
    assert sorted(source.asked) == [("sales", 5), ("stock", 5)]


async def test_trouble_is_everybodys() -> None:
    """An answer that does not come is told to all who share the look; the next one is a new look."""
    source = Slow()
    service = DependencyService(source, None)
    source.fails = True
    told = await asyncio.gather(*(service.check(on(i)) for i in range(20)), return_exceptions=True)
    assert [type(one) for one in told] == [Throttled] * 20
    source.fails = False
    assert (await service.check(on(7))).state is JobState.SUCCEEDED
    assert len(source.asked) == 2


async def test_stopped() -> None:
    """When the one who looks for all is stopped, another one does; who has been stopped harms nobody."""
    source = Slow()
    service = DependencyService(source, None)
    tasks = [asyncio.create_task(service.check(on(i))) for i in range(10)]
    await asyncio.sleep(0.01)
    tasks[0].cancel()
    tasks[5].cancel()
    told = await asyncio.gather(*tasks, return_exceptions=True)
    assert [i for i, one in enumerate(told) if isinstance(one, asyncio.CancelledError)] == [0, 5]
    assert len(source.asked) == 2


async def test_nothing_is_kept() -> None:
    """When all have been answered, nothing is left of them."""
    service = DependencyService(Slow(), None)
    await asyncio.gather(*(service.check(on(i, f"dag{i}")) for i in range(2)))
    assert not service._alone


@pytest.mark.parametrize("count", [1, 3])
async def test_one_after_the_other(count: int) -> None:
    """Who asks when nobody else does gets a look of its own: nothing old is told."""
    source = Slow()
    service = DependencyService(source, None)
    for _ in range(count):
        await service.check(on(1))
    assert len(source.asked) == count
