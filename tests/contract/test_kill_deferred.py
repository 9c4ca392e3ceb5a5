"""A deferred task that a user kills: the triggerer cancels its job, however slow the cancel is."""

from __future__ import annotations

import asyncio

from ork_provider.testing import Fault, run_trigger
from tests.contract.kinds import Kind
from tests.support.task import Task


async def test_triggerer_that_cancels_again_and_again(kind: Kind) -> None:
    """Airflow cancels a killed trigger every second until it has ended; the job is cancelled all the same."""
    kind.script(60, True)
    deferred = await asyncio.to_thread(Task().start, kind.operator())
    kind.fake.fail(Fault.hang(1.5), on=kind.on_cancel)
    running = asyncio.create_task(run_trigger(deferred.trigger, task_state="failed", kill_after=0.5))
    while not kind.cancels():  # noqa: ASYNC110 - the cancel is under way in another thread's server
        await asyncio.sleep(0.05)
    killed = [task for task in asyncio.all_tasks() if "cancelling" in repr(task) or "greenback_shim" in repr(task)]
    for _ in range(3):
        killed[0].cancel("user-action")
        await asyncio.sleep(0.2)
    result = await running
    assert result.killed
    for _ in range(100):  # Python 3.10's wait_for leaves on_kill at the second cancel; the job's goes on behind it
        if not kind.live():
            break
        await asyncio.sleep(0.05)
    assert (len(kind.live()), kind.cancels()) == (0, 1)
