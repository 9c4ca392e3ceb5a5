"""Whose state is whose: Airflow calls the instance 1 of ``a`` as it calls a task ``a_1``."""

from __future__ import annotations

import time
from collections.abc import Mapping
from itertools import chain
from typing import Any

import pytest

from ork_provider.dependency import DependencyStatus, TaskDependency
from ork_provider.dependency import source as sources
from ork_provider.dependency.source import apart, cut
from ork_provider.job import JobState
from tests.support.dependency import Waiter, look_at, on
from tests.support.state_server import StateServer

MAPPED = {("a", 0): "running", ("a", 1): "queued", ("a", 2): "scheduled", ("a", 3): "deferred"}
OF_A = {"a[0]": "running", "a[1]": "queued", "a[2]": "scheduled", "a[3]": "deferred"}
BESIDE = {**MAPPED, "a_1": "up_for_retry"}
BOTH = {**OF_A, "a_1": "up_for_retry"}
NESTED = {**MAPPED, ("a_1", 0): "restarting", ("a_1", 1): None}
OF_NESTED = {"a_1[0]": "restarting", "a_1[1]": "no state yet"}
CHAIN = {("a", 0): "running", ("a", 1): "queued", "a_1": "scheduled", "a_1_0": "deferred", "a_0": None}
OF_CHAIN = {"a[0]": "running", "a[1]": "queued", "a_1": "scheduled", "a_1_0": "deferred", "a_0": "no state yet"}

ROWS: dict[str, tuple[Mapping[Any, Any], dict[str, Any], Mapping[str, str]]] = {
    "both": (BESIDE, {"task_ids": ["a", "a_1"]}, BOTH),
    "both, the other way round": (BESIDE, {"task_ids": ["a_1", "a"]}, BOTH),
    "only the task": (BESIDE, {"task_ids": ["a_1"]}, {"a_1": "up_for_retry"}),
    "only the mapped one": (BESIDE, {"task_ids": ["a"]}, OF_A),
    "one instance": (BESIDE, {"task_ids": ["a"], "map_indexes": [1]}, {"a[1]": "queued"}),
    "one instance and the task": (
        BESIDE,
        {"task_ids": ["a", "a_1"], "map_indexes": [1]},
        {"a[1]": "queued", "a_1": "up_for_retry"},
    ),
    "group of both": (BESIDE, {"task_group_id": "both"}, BOTH),
    "group of the task": (BESIDE, {"task_group_id": "second"}, {"a_1": "up_for_retry"}),
    "group of the mapped one": (BESIDE, {"task_group_id": "first"}, OF_A),
    "instance of a group": (BESIDE, {"task_group_id": "first", "map_indexes": [1]}, {"a[1]": "queued"}),
    "group without a task of such a name": (MAPPED, {"task_group_id": "both"}, OF_A),
    "both are mapped": (NESTED, {"task_ids": ["a", "a_1"]}, {**OF_A, **OF_NESTED}),
    "the second of two mapped ones": (NESTED, {"task_ids": ["a_1"]}, OF_NESTED),
    "the first of two mapped ones": (NESTED, {"task_ids": ["a"]}, OF_A),
    "group of two mapped ones": (NESTED, {"task_group_id": "both"}, {**OF_A, **OF_NESTED}),
    "group of the second": (NESTED, {"task_group_id": "second"}, OF_NESTED),
    "group of the first": (NESTED, {"task_group_id": "first"}, OF_A),
    "three that look alike": (CHAIN, {"task_ids": ["a", "a_1", "a_1_0", "a_0"]}, OF_CHAIN),
    "group of three that look alike": (CHAIN, {"task_group_id": "all"}, OF_CHAIN),
    "a gap": ({**MAPPED, "a_7": None}, {"task_group_id": "all"}, {**OF_A, "a_7": "no state yet"}),
    "the next number": ({**MAPPED, "a_4": None}, {"task_group_id": "all"}, {**OF_A, "a_4": "no state yet"}),
    "a leading zero": ({**MAPPED, "a_01": None}, {"task_group_id": "all"}, {**OF_A, "a_01": "no state yet"}),
    "numbers without a mapped task": (
        {"a_1": "running", "a_2": None},
        {"task_group_id": "all"},
        {"a_1": "running", "a_2": "no state yet"},
    ),
    "not expanded yet": ({"a": None}, {"task_ids": ["a"]}, {"a": "no state yet"}),
    "instances of what is not expanded yet": (
        {"a": None},
        {"task_ids": ["a"], "map_indexes": [0, 7]},
        {"a": "no state yet"},
    ),
    "group of what is not expanded yet": (
        {"a": None, "a_1": None},
        {"task_group_id": "both"},
        {"a": "no state yet", "a_1": "no state yet"},
    ),
    "in a nested group": ({("g.a", 0): "running"}, {"task_ids": ["g.a"]}, {"g.a[0]": "running"}),
}


@pytest.mark.parametrize("row", ROWS)
def test_whose(server: StateServer, row: str) -> None:
    """Each state is that of the task instance that has it, and none is left out or counted twice."""
    tasks, which, incomplete = ROWS[row]
    every = sorted({key if isinstance(key, str) else key[0] for key in tasks})
    server.add_run(tasks=tasks)
    server.add_groups("sales", {"all": every})
    for group_id, task_ids in {"both": ["a", "a_1"], "first": ["a"], "second": ["a_1"]}.items():
        if which.get("task_group_id") == group_id:
            rest = [task_id for task_id in every if task_id not in task_ids]
            server.add_groups("sales", {group_id: [one for one in task_ids if one in every], "rest": rest})
    dependency = TaskDependency(dag_id="sales", run_id="r1", **which)
    for status in (DependencyStatus.fetch(dependency), *look_at(dependency)):
        assert dict(status.incomplete) == dict(incomplete)
        assert (status.total, status.state) == (len(incomplete), JobState.RUNNING)


@pytest.mark.parametrize("tasks", [BESIDE, NESTED, CHAIN, MAPPED], ids=["beside", "nested", "chain", "mapped"])
def test_whole_run(server: StateServer, tasks: Mapping[Any, Any]) -> None:
    """The tasks of a whole run are counted by the same names."""
    server.add_run(tasks=tasks)
    server.add_groups("sales", {"all": sorted({key if isinstance(key, str) else key[0] for key in tasks})})
    incomplete = DependencyStatus.fetch(on()).incomplete
    names = {key if isinstance(key, str) else f"{key[0]}[{key[1]}]": state for key, state in tasks.items()}
    assert dict(incomplete) == {name: state or "no state yet" for name, state in names.items()}


def test_a_hidden_failure(server: StateServer) -> None:
    """An instance and a task of the same name hide one another in Airflow's answer; both failures are seen."""
    for run_id, failed in {"r1": ("a", 1), "r2": "a_1"}.items():
        server.add_run(
            run_id=run_id, tasks={("a", 0): "success", ("a", 1): "success", "a_1": "success", failed: "failed"}
        )
        server.add_groups("sales", {"g": ["a", "a_1"]})
        group = TaskDependency(dag_id="sales", run_id=run_id, task_group_id="g")
        for status in look_at(group, on(run_id, "a", "a_1")):
            assert (status.state, status.failed, status.total) == (JobState.FAILED, 1, 3)


@pytest.mark.parametrize("which", [{"task_ids": ["m", "b"]}, {"task_group_id": "g"}], ids=["tasks", "group"])
@pytest.mark.parametrize("where", ["worker", "trigger"])
def test_expanded_meanwhile(server: StateServer, which: dict[str, Any], where: Any) -> None:
    """A mapped task that is expanded during the wait is awaited in all of its instances."""
    server.add_run(tasks={"m": None, "b": "success"})
    server.add_groups("sales", {"g": ["m", "b"]})
    server.before(5, lambda: server.expand("m", ["running", "running", None]))
    server.before(9, lambda: server.set_tasks({("m", 0): "success", ("m", 1): "success"}))
    server.before(14, lambda: server.set_tasks({("m", 2): "success"}))
    dependency = TaskDependency(dag_id="sales", run_id="r1", **which)
    (one,) = Waiter(server, where).wait(dependency)["dependencies"]
    assert (one["stats"]["total"], one["stats"]["succeeded"], server.count() >= 14) == (4, 4, True)


@pytest.mark.parametrize(
    "which", [{"task_ids": ["m"]}, {"task_group_id": "g"}, {"task_ids": ["m"], "map_indexes": [0]}]
)
def test_expanded_to_nothing(server: StateServer, which: dict[str, Any]) -> None:
    """A mapped task that was expanded to nothing is skipped by Airflow, which completes the wait."""
    server.add_run(tasks={"m": "skipped"})
    server.add_groups("sales", {"g": ["m"]})
    (status,) = look_at(TaskDependency(dag_id="sales", run_id="r1", **which))
    assert (status.complete, status.skipped, status.total) == (True, 1, 1)


def test_removed_instances(server: StateServer) -> None:
    """Instances that a later, shorter expansion has removed do not count, whoever is left decides."""
    server.add_run(tasks={("m", 0): "success", ("m", 1): "removed", ("m", 2): "removed"})
    server.add_run(run_id="r2", tasks={("m", 0): "running", ("m", 1): "removed"})
    first, second, one, only_gone = look_at(
        on("r1", "m"), on("r2", "m"), on("r1", "m", map_indexes=[0]), on("r1", "m", map_indexes=[2])
    )
    assert (first.complete, first.total) == (True, 1)
    assert (second.state, second.total) == (JobState.RUNNING, 1)
    assert one.complete
    assert only_gone.missing == ("m[2] of DAG sales, run r1",)


def test_runs_of_one_look(server: StateServer) -> None:
    """Runs that one request asks for keep their own instances apart, each expanded to its own length."""
    server.add_run(tasks={"m": None, "b": "running"})
    server.add_run(run_id="r2", tasks={("m", 0): "success", "b": "success"})
    server.add_run(run_id="r3", tasks={("m", 0): "success", ("m", 1): "failed", "b": None})
    server.add_groups("sales", {"g": ["m", "b"]})
    groups = [TaskDependency(dag_id="sales", run_id=f"r{i}", task_group_id="g") for i in (1, 2, 3)]
    statuses = look_at(*groups, on("r1", "m"), on("r2", "m"), on("r3", "m"))
    assert [status.total for status in statuses] == [2, 2, 3, 1, 1, 2]
    expected = [JobState.RUNNING, JobState.SUCCEEDED, JobState.FAILED]
    assert [status.state for status in statuses] == expected * 2
    assert server.count() <= 5


def test_group_is_asked_for_once(server: StateServer) -> None:
    """Which names are tasks is asked for at the first look only, until new names appear."""
    server.add_run(tasks={("m", 0): "running", ("m", 1): None, "b": None})
    server.add_groups("sales", {"g": ["m", "b"]})
    group = TaskDependency(dag_id="sales", run_id="r1", task_group_id="g")
    server.before(7, lambda: server.set_tasks({("m", 0): "success", ("m", 1): "success", "b": "success"}))
    Waiter(server, "trigger").wait(group)
    assert server.count() == 2 + 2 + 3  # two for the first look of the worker and of the trigger, one for each other


def test_apart() -> None:
    """No task is asked for beside one of which it could be an instance."""
    batches = apart(["a_1", "a", "b", "a_1_0", "a_2", "a_x", "b_3_4"])
    assert sorted(chain.from_iterable(batches)) == ["a", "a_1", "a_1_0", "a_2", "a_x", "b", "b_3_4"]
    for batch in batches:
        for name in batch:
            base, _, index = name.rpartition("_")
            assert not (index.isdigit() and base in batch)


def test_apart_of_many() -> None:
    """Ten thousand names are sorted before those who wait in the same loop notice."""
    began = time.monotonic()
    (batch,) = apart(f"task_{i}" for i in range(10_000))
    assert len(batch) == 10_000
    assert time.monotonic() - began < 1


def test_many_ids(server: StateServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """More ids than a URL may hold are asked for in several requests, and nothing is lost between them."""
    monkeypatch.setattr(sources, "ROOM", 100)
    tasks = {f"task-{i}-/?&=äöü": "success" for i in range(7)}
    for i in range(9):
        server.add_run(run_id=f"manual__2026-11-2{i}T00:00:00+00:00", tasks=tasks, state="success")
    runs = [f"manual__2026-11-2{i}T00:00:00+00:00" for i in range(9)]
    told = look_at(*(on(run_id, *tasks) for run_id in runs), *(on(run_id) for run_id in runs))
    assert all(status.complete for status in told)
    assert sum(status.total for status in told) == 9 * 7
    assert look_at(on("r1", "x"), *(on(run_id) for run_id in runs))[0].missing


def test_cut() -> None:
    """Each request holds as many ids as fit, at least one, and all of them are in one."""
    ids = [f"run-{i}" * 50 for i in range(500)] + ["x" * 30_000, "y"]
    batches = list(cut(ids))
    assert list(chain.from_iterable(batches)) == ids
    assert len(batches) > 5
    assert all(len(batch) == 1 or sum(map(len, batch)) < sources.ROOM for batch in batches)
    assert list(cut([])) == []
