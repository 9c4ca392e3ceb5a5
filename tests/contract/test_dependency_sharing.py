"""How often Airflow is asked, however many wait; and what trouble of its own does to those who wait."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowRuntimeError, ErrorType
from airflow.sdk.execution_time.comms import DRCount, ErrorResponse, TaskStatesResult

from ork_provider.dependency import DependencyWaitTrigger, TaskDependency
from ork_provider.dependency.poll import DagPoll
from ork_provider.dependency.service import DependencyService
from ork_provider.dependency.source import Supervisor
from ork_provider.errors import TryAgain
from ork_provider.session import shared_session
from ork_provider.testing import TriggerResult, run_trigger
from tests.support.dependency import on
from tests.support.state_server import NOW, StateServer

TICK = 0.4


def trigger(dependency: TaskDependency, **more: Any) -> DependencyWaitTrigger:
    return DependencyWaitTrigger(**{"jobs": [dependency.to_dict()], "poll_interval": TICK, **more})


def soon(seconds: float) -> str:
    return (datetime.now(timezone.utc) + timedelta(seconds=seconds)).isoformat()


async def wait_all(
    server: StateServer, dependencies: Sequence[TaskDependency], *, ticks: int = 2
) -> tuple[list[TriggerResult], Counter[str], int]:
    """Wait in one loop; return the results, the requests of some ticks in the midst by kind, and how many ticks."""
    loop = asyncio.get_running_loop()
    waiting = [asyncio.create_task(run_trigger(trigger(one), ti=None, answers=server.answers)) for one in dependencies]
    while not server.count() >= 1:  # noqa: ASYNC110 - the server's own thread tells nobody
        await asyncio.sleep(0.01)
    await asyncio.sleep(2 * TICK)  # all have begun
    first, began = server.count(), loop.time()
    await asyncio.sleep(ticks * TICK)
    asked = Counter(type(msg).__name__ for msg in server.messages[first:])
    took = int((loop.time() - began) / TICK) + 1
    for run_id, dag_id in {(one.run_id, one.dag_id) for one in dependencies}:
        if run_id and "missing" not in run_id:
            server.set_run("success", dag_id, run_id)
            server.set_tasks({"a": "success"}, dag_id, run_id)
    results = await asyncio.gather(*waiting)
    return results, asked, took


def add(server: StateServer, dags: int, runs: int) -> list[tuple[str, str]]:
    """Store DAGs with runs; return their ids."""
    found = [(f"dag{i}", f"r{j}") for i in range(dags) for j in range(runs)]
    for dag_id, run_id in found:
        server.add_run(dag_id, run_id, tasks={"a": "running"})
    return found


def ends(results: Sequence[TriggerResult]) -> Counter[str]:
    return Counter(result.payload["status"] for result in results)


@pytest.mark.parametrize(("dags", "runs", "most"), [(1, 20, 1), (20, 1, 20)], ids=["one DAG", "20 DAGs"])
@pytest.mark.parametrize("task_ids", [[], ["a"]], ids=["runs", "tasks"])
async def test_two_hundred(server: StateServer, dags: int, runs: int, most: int, task_ids: list[str]) -> None:
    """Two hundred who wait for twenty runs ask once for each DAG in a tick."""
    found = add(server, dags, runs)
    wanted = [on(run_id, *task_ids, dag_id=dag_id) for dag_id, run_id in found * 10]
    results, asked, ticks = await wait_all(server, wanted)
    assert ends(results) == {"success": 200}
    assert asked.total() <= most * ticks
    assert set(asked) == {"GetTaskStates" if task_ids else "GetDRCount"}


async def test_mixed(server: StateServer) -> None:
    """Runs, tasks and other tasks of one DAG cost one request each in a tick, a missing run two more."""
    found = add(server, 1, 10)
    for _, run_id in found:
        server.add_tasks({"b": "success", ("m", 0): "success"}, "dag0", run_id)
    wanted = [
        on(run_id, *tasks, dag_id=dag_id) for dag_id, run_id in found for tasks in ((), ("a",), ("a", "b"), ("a", "m"))
    ]
    late = [
        on("missing", dag_id="dag0", exists_by=soon(4 * TICK)),
        on("missing", "a", dag_id="dag0", exists_by=soon(4 * TICK)),
    ]
    results, asked, ticks = await wait_all(server, [*wanted, *late])
    assert ends(results) == {"success": 40, "failed": 2}
    assert asked.total() <= 4 * ticks


async def test_dates(server: StateServer) -> None:
    """Those who wait for runs of dates that have not come cost one request in a tick, all together."""
    server.add_dag("dag0")
    dates = [(NOW + timedelta(days=i)).isoformat() for i in range(20)]
    wanted = [TaskDependency(dag_id="dag0", logical_date=date, exists_by=soon(6 * TICK)) for date in dates]
    results, asked, ticks = await wait_all(server, wanted)
    assert ends(results) == {"failed": 20}
    assert asked.total() <= ticks


async def test_dates_come_one_after_the_other(server: StateServer) -> None:
    """A run whose date comes is found among those that have not come in few requests; then it is known."""
    server.add_dag("dag0")
    dates = [NOW + timedelta(days=i) for i in range(60)]
    poll = DagPoll(Supervisor(), None, "dag0")
    names = [poll.name(TaskDependency(dag_id="dag0", logical_date=date.isoformat())) for date in dates]
    spent = []
    for new in ([], dates[17:18], [], [dates[3], dates[40]]):
        for date in new:
            server.add_run("dag0", f"r{date:%m%d}", tasks={"a": "running"}, logical_date=date)
        before = server.count()
        told = await poll.look(names)
        spent.append(server.count() - before)
    assert [told[names[i]].run_id for i in (3, 17, 40, 41)] == [f"r{dates[i]:%m%d}" for i in (3, 17, 40)] + [None]
    assert spent[0] == 1
    assert spent[1] <= 2 * 6 + 3
    assert spent[2] == 2
    assert spent[3] <= 4 * 6 + 3


async def test_the_same_for_many(server: StateServer) -> None:
    """Those who wait for the same are told the same, summed up once, but each has its own grace."""
    server.add_run(tasks={("m", i): "running" for i in range(50)})
    poll = DagPoll(Supervisor(), None, "sales")
    names = {poll.name(on("r1", "m", exists_by=soon(100 + i))) for i in range(20)}
    told = await poll.look(names)
    assert (len(names), len({id(status) for status in told.values()})) == (20, 1)
    by = [soon(-1), soon(100), None]
    late = [poll.name(on("r1", "m", "later", exists_by=at)) for at in by]
    told = await poll.look({*names, *late})
    assert [told[name].state.value for name in late] == ["lost", "running", "running"]
    assert {len(told[name].missing) for name in late} == {1}


class Slow(Supervisor):
    """Gives up after three dates, as a look does whose time is over."""

    async def runs_of_dates(self, dag_id: str, dates: Collection[str]) -> AsyncIterator[tuple[str, str]]:
        for i, date in enumerate(dates):
            if i == 3:
                raise TryAgain("too late")
            async for one in super().runs_of_dates(dag_id, [date]):
                yield one


async def test_dates_that_take_too_long(server: StateServer) -> None:
    """What a look has found that was cut short is known to the next one."""
    dates = [NOW + timedelta(days=i) for i in range(8)]
    for i, date in enumerate(dates):
        server.add_run("dag0", f"r{i}", tasks={"a": "running"}, logical_date=date)
    poll = DagPoll(Slow(), None, "dag0")
    names = [poll.name(TaskDependency(dag_id="dag0", logical_date=date.isoformat())) for date in dates]
    for _ in range(2):
        with pytest.raises(TryAgain):
            await poll.look(names)
    told = await poll.look(names)
    assert {status.run_id for status in told.values()} == {f"r{i}" for i in range(8)}


@pytest.mark.parametrize(("ended", "most"), [((), 1), ((7,), 7), ((0, 9, 19), 17), (range(20), 21)])
async def test_runs_that_have_ended(server: StateServer, ended: Sequence[int], most: int) -> None:
    """Which of twenty runs have ended is found in fewer requests than one for each, and a deleted run with them."""
    add(server, 1, 20)
    for number in ended:
        server.set_run("failed" if number == 9 else "success", "dag0", f"r{number}")
    before = server.count()
    states = await Supervisor().run_states("dag0", [f"r{n}" for n in range(20)])
    assert server.count() - before <= most
    told = {n: "failed" if n == 9 else "success" for n in ended}
    assert states == {f"r{n}": told.get(n, "running") for n in range(20)}
    assert await Supervisor().run_states("dag0", ["r1", "gone", "r2"]) == {
        run_id: states[run_id] for run_id in ("r1", "r2")
    }


async def test_ends_one_after_the_other(server: StateServer) -> None:
    """A run that ends is found among those that go on in few requests, and the others wait on."""
    found = add(server, 1, 16)
    waiting = {
        run_id: asyncio.create_task(
            run_trigger(trigger(on(run_id, dag_id=dag_id), poll_interval=0.1), answers=server.answers)
        )
        for dag_id, run_id in found
    }
    await asyncio.sleep(0.5)
    for _, run_id in found[:3]:
        before = server.count()
        server.set_run("failed" if run_id == "r1" else "success", "dag0", run_id)
        result = await waiting.pop(run_id)
        assert result.payload["status"] == ("failed" if run_id == "r1" else "success")
        looks = server.count("GetDagRunState")
        assert looks <= 3 * 2
        assert server.count() - before <= 20
    assert not any(task.done() for task in waiting.values())
    for task in waiting.values():
        task.cancel()
    await asyncio.gather(*waiting.values(), return_exceptions=True)


async def test_restarted_trigger(server: StateServer) -> None:
    """A trigger that is moved to another triggerer goes on as if it had not, the others undisturbed."""
    server.add_run("dag0", "r0", tasks={"a": "running"})
    moved, stays = (trigger(on("r0", "a", dag_id="dag0"), poll_interval=0.05) for _ in range(2))
    other = asyncio.create_task(run_trigger(stays, answers=server.answers))
    for _ in range(2):
        result = await run_trigger(moved, answers=server.answers, cancel_after=0.2)
        assert not result.events
    server.set_tasks({"a": "success"}, "dag0", "r0")
    results = [await other, await run_trigger(moved, answers=server.answers)]
    assert ends(results) == {"success": 2}


async def test_kill(server: StateServer) -> None:
    """A deferred task that a user kills cancels nothing: what it waits for is not its own."""
    server.add_run("dag0", "r0", tasks={"a": "running"})
    ours = trigger(on("r0", "a", dag_id="dag0"), poll_interval=0.05, cancel_on_kill=False)
    result = await run_trigger(ours, answers=server.answers, kill_after=0.2)
    assert result.killed
    assert set(Counter(type(msg).__name__ for msg in result.messages)) == {"GetTaskStates"}


# Trouble -----------------------------------------------------------------------------------------


def refused(_: Any) -> AirflowRuntimeError:
    """Say what a supervisor says whose API server is not there."""
    detail = {"status_code": None, "message": "[Errno 111] Connection refused", "exception_type": "ConnectError"}
    return AirflowRuntimeError(ErrorResponse(error=ErrorType.API_SERVER_ERROR, detail=detail))


async def test_supervisor_fails(server: StateServer) -> None:
    """An API server that is away for some time delays those who wait, and they do not ask the more for it."""
    found = add(server, 1, 10)
    waiting = [
        asyncio.create_task(
            run_trigger(trigger(on(run_id, "a", dag_id=dag_id), poll_interval=0.2), answers=server.answers)
        )
        for dag_id, run_id in found * 4
    ]
    await asyncio.sleep(0.6)
    before, server.fault = server.count(), refused
    await asyncio.sleep(1.5)
    assert 1 <= server.count() - before <= 10
    for _, run_id in found:
        server.set_tasks({"a": "success"}, "dag0", run_id)
    server.fault = lambda msg: None
    assert ends(await asyncio.gather(*waiting)) == {"success": 40}


async def test_supervisor_fails_for_good(server: StateServer) -> None:
    """When the error budget is spent, the task fails and says what Airflow said; it is neither lost nor complete."""
    server.add_run("dag0", "r0", tasks={"a": "success"})
    server.fault = refused
    result = await run_trigger(
        trigger(on("r0", "a", dag_id="dag0"), poll_interval=0.05, error_budget=0.5), answers=server.answers
    )
    assert result.payload["status"] == "error"
    assert "Connection refused" in result.payload["message"]


async def test_odd_answers(server: StateServer) -> None:
    """An answer of another shape is trouble that may pass."""
    server.add_run("dag0", "r0", tasks={"a": "success"}, state="success")
    odd: list[Any] = []

    def answers(msg: Any) -> Any:
        return odd.pop() if odd else server.answers(msg)

    for task_ids in (["a"], []):
        odd = [
            "?",
            7,
            {},
            {"task_states": None},
            TaskStatesResult(task_states={}) if not task_ids else DRCount(count=3),
        ]
        result = await run_trigger(trigger(on("r0", *task_ids, dag_id="dag0"), poll_interval=0.05), answers=answers)
        assert (result.payload["status"], odd) == ("success", [])


async def test_many_runs_of_one_dag(server: StateServer) -> None:
    """More runs than a URL can name are asked for all the same."""
    run_ids = [f"scheduled__2026-11-20T00:00:{i:06d}+00:00" for i in range(1250)]
    rows: Mapping[str, Any] = {"a": "success"}
    for run_id in run_ids[:3]:
        server.add_run("dag0", run_id, tasks=rows, state="success")
    wanted = [on(run_id, "a", dag_id="dag0", exists_by=soon(0)) for run_id in run_ids]
    jobs = [one.to_dict() for one in wanted]
    result = await run_trigger(DependencyWaitTrigger(jobs=jobs, until=3, poll_interval=TICK), answers=server.answers)
    assert result.payload["status"] == "success"
    assert max(len(msg.run_ids or ()) for msg in result.messages) < 500


# What is kept --------------------------------------------------------------------------------------


async def test_nothing_is_kept(server: StateServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """When nobody waits for the runs of a DAG any more, its poll is gone; so are, after a while, the names it had."""
    monkeypatch.setattr("ork_provider.dependency.source.KNOWN_FOR", 0.05)
    for i in range(3):
        server.add_run(f"dag{i}", tasks={"a": "success", "a_1": "success"})
        server.add_groups(f"dag{i}", {"g": ["a", "a_1"]})
    service = DependencyService(source := Supervisor(), None)
    for i in range(3):
        group = TaskDependency(dag_id=f"dag{i}", run_id="r1", task_group_id="g")
        poll = service.shared(group)
        assert poll is service.shared(group)
        assert poll is not None
        assert (await poll.look([poll.name(group)]))[poll.name(group)].complete
        del poll
        await asyncio.sleep(0.1)
    assert not service._polls
    assert set(source._checked) == {"dag2"}


async def test_polls_close(server: StateServer) -> None:
    """A triggerer keeps no poll of a DAG for whose runs nobody waits."""
    gc.collect()
    before = sum(isinstance(one, DagPoll) for one in gc.get_objects())
    async with shared_session():
        for dag_id, run_id in add(server, 5, 1):
            server.before(2, partial(server.set_tasks, {"a": "success"}, dag_id, run_id))
            result = await run_trigger(
                trigger(on(run_id, "a", dag_id=dag_id), poll_interval=0.05), answers=server.answers
            )
            assert result.payload["status"] == "success"
        gc.collect()
        assert sum(isinstance(one, DagPoll) for one in gc.get_objects()) <= before
