"""Several dependencies at once: how many of them are enough, and what one that fails or is missing does to others."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowSkipException

from ork_provider.dependency import TaskDependency
from ork_provider.errors import JobFailed, JobLost
from tests.support.dependency import KINDS, Waiter, Wanted, on
from tests.support.state_server import StateServer


def several(server: StateServer, *states: str | None) -> list[TaskDependency]:
    """Return dependencies on the same task of runs in which it has these states."""
    for i, state in enumerate(states):
        server.add_run(run_id=f"r{i}", tasks={"a": state, "b": "running"})
    return [on(f"r{i}", "a") for i, _ in enumerate(states)]


STATES: dict[str | None, tuple[str | None, str | None, str | None]] = {
    "success": ("success", "success", "success"),
    "skipped": ("success", "skipped", "success"),
    "failed": ("success", "failed", "success"),
    "running": ("success", "running", None),
    None: (None, None, None),
}
"""What the three instances of a run are, by what it comes to."""


@pytest.mark.parametrize("wanted", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize(
    ("until", "first", "then"),
    [
        ("all", ("success", "running", "success"), ("success", "success", "success")),
        ("any", ("failed", "running", None), ("failed", "running", "success")),
        ("any", ("running", "running", "running"), ("running", "running", "skipped")),
        (2, ("success", "failed", None), ("success", "failed", "success")),
        (2, ("running", "running", None), ("success", "success", None)),
    ],
)
def test_until(server: StateServer, wanted: Wanted, until: Any, first: tuple[str], then: tuple[str]) -> None:
    """A wait is over when enough of several have succeeded, whichever and whatever; each is reported."""
    waiter = Waiter(server, "worker" if wanted.name == "tasks" else "trigger")

    def change(states: tuple[str]) -> None:
        for i, state in enumerate(states):
            wanted.become(server, *STATES[state], run_id=f"r{i}")

    for i in range(3):
        wanted.store(server, None, None, None, run_id=f"r{i}")
    change(first)
    server.before(12, lambda: change(then))
    result = waiter.wait([wanted.of_run(f"r{i}") for i in range(3)], until=until)
    assert server.count() >= 12
    states = [{"success": "succeeded", "skipped": "succeeded"}.get(str(s), s) for s in then]
    told = [one["state"] for one in result["dependencies"]]
    assert [one["run_id"] for one in result["dependencies"]] == ["r0", "r1", "r2"]
    assert sum(state == "succeeded" for state in told) >= (3 if until == "all" else 1 if until == "any" else until)
    assert all(one in (state, "running") for one, state in zip(told, states, strict=True) if one != "running")


@pytest.mark.parametrize("on_failed", ["fail", "skip"])
def test_one_of_several_fails(waiter: Waiter, on_failed: str) -> None:
    """The second of three runs has failed: the task ends at once, though the first and the third still run."""
    dependencies = several(waiter.server, "running", "failed", None)
    with pytest.raises(JobFailed if on_failed == "fail" else AirflowSkipException, match=r"a of sales \(r1\) failed"):
        waiter.wait(dependencies, on_failed=on_failed)
    assert waiter.server.count() <= 8


@pytest.mark.parametrize("if_missing", ["fail", "wait"])
def test_failure_while_another_run_is_missing(waiter: Waiter, if_missing: str) -> None:
    """A failed task in one run ends the wait at once while another run does not exist yet."""
    dependencies = [on("r9", "a"), *several(waiter.server, "failed")]
    with pytest.raises(JobFailed, match=r"a of sales \(r0\) failed"):
        waiter.wait(dependencies, if_missing=if_missing)


def test_all_fail(waiter: Waiter) -> None:
    """Where any one is enough, the task fails at the end of all, and names each that has failed."""
    dependencies = several(waiter.server, "failed", "running", "failed")
    waiter.server.before(9, lambda: waiter.server.set_tasks({"a": "failed"}, run_id="r1"))
    with pytest.raises(JobFailed, match=r"\(r0\) failed.*\(r2\) failed"):
        waiter.wait(dependencies, until="any")
    assert waiter.server.count() >= 9


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("on_failed", ["fail", "skip"])
def test_too_few_are_left(waiter: Waiter, late: bool, on_failed: str) -> None:
    """As soon as too few are left to succeed the task ends, though others still run, and names what has failed."""
    dependencies = several(waiter.server, "failed", "running", "running" if late else "failed")
    if late:
        waiter.server.before(9, lambda: waiter.server.set_tasks({"a": "failed"}, run_id="r2"))
    error = JobFailed if on_failed == "fail" else AirflowSkipException
    with pytest.raises(error, match=r"\(r0\) failed.*\(r2\) failed"):
        waiter.wait(dependencies, until=2, on_failed=on_failed, timeout=5)
    assert waiter.server.count() <= 14


@pytest.mark.parametrize("until", ["all", "any", 2])
def test_until_goes_with_continue(waiter: Waiter, until: Any) -> None:
    """With on_failed='continue' what has ended counts, whatever it came to."""
    dependencies = several(waiter.server, "failed", "success", "failed")
    result = waiter.wait(dependencies, until=until, on_failed="continue")
    assert len(result["dependencies"]) == 3
    assert waiter.deferrals == 0


def test_until_and_missing(waiter: Waiter) -> None:
    """A run that does not exist costs nothing when enough others succeed."""
    dependencies = [on("r9", "a"), *several(waiter.server, "running", "success")]
    result = waiter.wait(dependencies, until=1, missing_grace=0)
    assert [one["run_id"] for one in result["dependencies"] if one["state"] == "succeeded"] == ["r1"]


@pytest.mark.parametrize("wanted", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("until", ["any", 2])
@pytest.mark.parametrize("if_missing", ["fail", "wait"])
def test_missing_beside_enough(server: StateServer, wanted: Wanted, until: Any, if_missing: str) -> None:
    """A run that does not exist is not waited for once enough others have succeeded."""
    for i in range(2):
        wanted.store(server, "success", "running", None, run_id=f"r{i}")

    def end() -> None:
        for i in range(2):
            wanted.become(server, "success", "success", "success", run_id=f"r{i}")

    server.before(10, end)
    waited = [wanted.of_run(run_id) for run_id in ("r9", "r0", "r1")]
    result = Waiter(server).wait(waited, until=until, if_missing=if_missing, missing_grace=0)
    assert [one["state"] for one in result["dependencies"]].count("succeeded") >= (1 if until == "any" else until)
    assert server.count() >= 10


@pytest.mark.parametrize("until", ["all", "any", 2])
def test_missing_leaves_too_few(waiter: Waiter, until: Any) -> None:
    """Where too few are left beside what is missing, the task fails: at once if all are wanted, else when all end."""
    gone = [on(f"r{i}", "a") for i in ((9, 8) if until == "any" else (9,))]
    dependencies = [*gone, *several(waiter.server, "running", "running")[: 3 - len(gone)]]

    def end() -> None:
        waiter.server.set_tasks({"a": "failed"}, run_id="r0")
        waiter.server.set_tasks({"a": "success"}, run_id="r1")

    if until != "all":
        waiter.server.before(12, end)
    error = JobLost if until == "all" else JobFailed  # what has failed weighs more
    with pytest.raises(error, match="run r9 of DAG sales does not exist"):
        waiter.wait(dependencies, until=until, missing_grace=0)


def test_several_dags(waiter: Waiter) -> None:
    """Runs, tasks and groups of several DAGs are awaited together."""
    server = waiter.server
    for dag_id in ("sales", "stock", "staff"):
        server.add_run(dag_id, tasks={"a": "running", ("m", 0): "running"})
    server.add_groups("staff", {"load": ["a", "m"]})

    def end() -> None:
        server.set_run("success", "sales")
        server.set_tasks({("m", 0): "success"}, "stock")
        server.set_tasks({("m", 0): "success", "a": "success"}, "staff")

    server.before(12, end)
    group = TaskDependency(dag_id="staff", run_id="r1", task_group_id="load")
    result = waiter.wait([on("r1"), on("r1", "m", dag_id="stock"), group])
    assert [one["state"] for one in result["dependencies"]] == ["succeeded"] * 3
    assert server.count() >= 12


def test_the_same_twice(waiter: Waiter) -> None:
    """A dependency that is named twice is reported twice."""
    waiter.server.add_run(tasks={"a": "running"})
    waiter.server.before(6, lambda: waiter.server.set_tasks({"a": "success"}))
    result = waiter.wait([on("r1", "a"), on("r1", "a")])
    assert [one["state"] for one in result["dependencies"]] == ["succeeded"] * 2
