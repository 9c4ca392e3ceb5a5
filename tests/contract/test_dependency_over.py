"""Tasks that have not begun in a run that is over: Airflow leaves them so, and nobody waits for them for ever."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowSkipException

from ork_provider.dependency import DependencyStatus, DependencyWaitTrigger, TaskDependency
from ork_provider.dependency import poll as polls
from ork_provider.errors import JobFailed, TimedOut
from ork_provider.testing import run_trigger
from tests.support.dependency import LOOK, Waiter, counts, on
from tests.support.state_server import StateServer, serve_states

NEVER = "the run has ended"
WANTED: dict[str, dict[str, Any]] = {
    "tasks": {"task_ids": ["a", "b"]},
    "group": {"task_group_id": "load"},
    "mapped": {"task_ids": ["m"]},
    "instances": {"task_ids": ["m"], "map_indexes": [0]},
}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[StateServer]:
    monkeypatch.setattr(polls, "OVER_EVERY", 0.0)
    with serve_states() as server:
        yield server


def store(server: StateServer, state: str = "running") -> None:
    """Store a run in which nothing that is wanted has begun; something else has."""
    pending = {"a": None, "b": None, ("m", 0): None, ("m", 1): "success"}
    server.add_run(state=state, tasks={**pending, "broken": "failed", "slow": "running"})
    server.add_groups("sales", {"load": ["a", "b"], "rest": ["broken", "slow"]})


@pytest.mark.parametrize("which", WANTED)
@pytest.mark.parametrize("late", [False, True], ids=["before", "meanwhile"])
def test_fails(waiter: Waiter, which: str, late: bool) -> None:
    """What has not begun when its run ends has failed: at the first look, or when the run ends."""
    store(waiter.server, "running" if late else "failed")
    if late:
        waiter.server.before(8, lambda: waiter.server.set_run("failed"))
    with pytest.raises(JobFailed, match=rf"run is failed; .*\(no state yet, and {NEVER}\)") as caught:
        waiter.wait(TaskDependency(dag_id="sales", run_id="r1", **WANTED[which]), timeout=5)
    told = caught.value.job
    assert counts(told).get("failed") == (1 if which in ("mapped", "instances") else 2)
    assert counts(told).get("pending") is None
    assert waiter.deferrals == (late and waiter.where == "trigger")


@pytest.mark.parametrize("state", ["success", "failed"])
def test_ended(waiter: Waiter, state: str) -> None:
    """Who waits until all have ended does so no longer; who skips is skipped."""
    store(waiter.server, state)
    result = waiter.wait(on("r1", "a", "b"), on_failed="continue")
    assert counts(result["dependencies"][0]) == {"total": 2, "failed": 2}
    with pytest.raises(AirflowSkipException, match=NEVER):
        waiter.wait(on("r1", "a"), on_failed="skip")


@pytest.mark.parametrize("state", ["up_for_retry", "up_for_reschedule", "scheduled"])
def test_waits_for_the_scheduler(server: StateServer, state: str) -> None:
    """A run that is over is not scheduled: neither does a next try come."""
    server.add_run(tasks={"a": state}, state="failed")
    with pytest.raises(JobFailed, match=rf"a \({state}, and {NEVER}\)"):
        Waiter(server, "worker").wait(on("r1", "a"))


@pytest.mark.parametrize("state", ["running", "deferred", "queued"])
def test_goes_on(server: StateServer, state: str) -> None:
    """A task that runs, or that a worker has been told to run, is waited for, in whatever run."""
    server.add_run(tasks={"a": None, "b": state}, state="failed")
    with pytest.raises(TimedOut):
        Waiter(server, "trigger").wait(on("r1", "a", "b"), timeout=0.1)
    server.set_tasks({"b": "success"})
    with pytest.raises(JobFailed, match=rf"a \(no state yet, and {NEVER}\)"):
        Waiter(server, "trigger").wait(on("r1", "a", "b"))


@pytest.mark.parametrize("number", [2, 3, 4, 5], ids=["tasks", "runs", "tasks again", "runs again"])
def test_cleared_meanwhile(waiter: Waiter, number: int) -> None:
    """A run that is cleared between two requests is waited for, whichever they are."""
    store(waiter.server)
    waiter.server.set_tasks({"a": "running"})
    number += 2

    def end() -> None:
        waiter.server.set_run("failed")
        waiter.server.set_tasks({"a": None})

    def clear() -> None:
        waiter.server.set_run("queued")
        waiter.server.set_tasks({"a": None})

    waiter.server.before(3, end)
    waiter.server.before(number, clear)
    waiter.server.before(number + 9, lambda: waiter.server.set_tasks({"a": "success"}))
    result = waiter.wait(on("r1", "a"), timeout=5)
    assert result["dependencies"][0]["state"] == "succeeded"


def test_ran_meanwhile(waiter: Waiter) -> None:
    """A task that begins and succeeds between two requests, as does its run, has not failed."""
    store(waiter.server)

    def end() -> None:
        waiter.server.set_tasks({"a": "success"})
        waiter.server.set_run("success")

    waiter.server.before(2, end)
    assert waiter.wait(on("r1", "a"))["dependencies"][0]["state"] == "succeeded"


def test_fetch(server: StateServer) -> None:
    """A status says it, too."""
    store(server, "failed")
    status = DependencyStatus.fetch(on("r1", "a"))
    assert (status.run_state, status.failed, status.state.value) == ("failed", 1, "failed")
    assert str(status) == f"run is failed; 0 of 1 succeeded; 1 failed; incomplete: a (no state yet, and {NEVER})"


def test_beside_what_is_missing(server: StateServer) -> None:
    """It fails at once beside a task that the run does not have."""
    store(server, "failed")
    with pytest.raises(JobFailed, match=NEVER):
        Waiter(server).wait(on("r1", "a", "later"), if_missing="wait")


async def test_requests() -> None:
    """Those who wait for tasks that have not begun, in 20 DAGs, ask now and then for their runs, not all at once."""
    with serve_states() as server:
        for i in range(20):
            server.add_run(f"dag{i}", tasks={"a": None})
        wanted = [on("r1", "a", dag_id=f"dag{i}") for i in range(20)] * 5
        triggers = [DependencyWaitTrigger(jobs=[one.to_dict()], poll_interval=0.5) for one in wanted]
        waiting = [asyncio.create_task(run_trigger(one, ti=None, answers=server.answers)) for one in triggers]
        await asyncio.sleep(2.2)
        asked = Counter(type(msg).__name__ for msg in server.messages)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
    assert asked["GetTaskStates"] >= 20
    assert asked["GetDRCount"] <= 5


async def test_once_in_a_while() -> None:
    """A worker that looks every second does not ask each time whether the run is over."""
    with serve_states() as server:
        server.add_run(tasks={"a": None})
        with pytest.raises(TimedOut):
            await asyncio.to_thread(Waiter(server, "worker").wait, on("r1", "a"), timeout=20 * LOOK)
        assert server.count("GetTaskStates") >= 3
        assert server.count("GetDRCount") == 1
