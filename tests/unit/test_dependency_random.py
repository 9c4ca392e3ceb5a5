"""Random lives of a DAG run, looked at after each change: nothing is complete too early, no failure is overlooked."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from airflow.utils.state import TaskInstanceState
from hypothesis import given
from hypothesis import strategies as st

from ork_provider.dependency import DependencyStatus, TaskDependency
from ork_provider.dependency.service import service_of
from ork_provider.dependency.status import count_of, sum_up
from ork_provider.job import JobState
from ork_provider.worker import Worker
from tests.support.state_server import StateServer, serve_states
from tests.support.strategies import fuzz

INSTANCES = [("a", 0), ("a", 1), ("a", 2), ("a_1", -1), ("b", -1), ("b_0", -1)]
STATES = [None, *(state.value for state in TaskInstanceState)]
FAILED = {"failed", "upstream_failed"}
GOOD = {"success", "skipped"}
WANTED: list[dict[str, Any]] = [
    {"task_ids": ["a"]},
    {"task_ids": ["a_1"]},
    {"task_ids": ["a", "a_1", "b"]},
    {"task_ids": ["b_0", "b"]},
    {"task_ids": ["a"], "map_indexes": [1]},
    {"task_ids": ["a", "b"], "map_indexes": [0, 2]},
    {"task_ids": ["a", "never"]},
    {"task_group_id": "some"},
    {"task_group_id": "some", "map_indexes": [2]},
    {"task_group_id": "rest"},
]
GROUPS = {"some": ["a", "b"], "rest": ["a_1", "b_0"]}

life = st.dictionaries(
    st.sampled_from(INSTANCES), st.sampled_from([*STATES, *["success"] * 25, *["running"] * 5]), min_size=1
)
lives = st.lists(st.tuples(life, st.sampled_from(["running", "queued", "success", "failed"])), min_size=1, max_size=5)
numbers = itertools.count()


@pytest.fixture(scope="module")
def server() -> Iterator[StateServer]:
    with pytest.MonkeyPatch.context() as patch, serve_states() as server:
        patch.setattr("ork_provider.dependency.poll.OVER_EVERY", 0.0)
        server.add_groups("sales", GROUPS)
        yield server


def chosen(which: Mapping[str, Any], states: Mapping[Any, str | None]) -> tuple[dict[Any, str | None], bool]:
    """Return the instances that are meant, and whether something is missing."""
    tasks = set(which.get("task_ids") or GROUPS[which["task_group_id"]])
    there = {one: state for one, state in states.items() if one[0] in tasks and state != "removed"}
    indexes = which.get("map_indexes")
    known = {task_id for task_id, _ in there}
    missing = not there if "task_group_id" in which else bool(tasks - known)
    if indexes:
        there = {one: state for one, state in there.items() if one[1] < 0 or one[1] in indexes}
        missing = missing or any("a" in known and ("a", index) not in there for index in indexes)
    return there, missing


def expected(which: Mapping[str, Any], states: Mapping[Any, str | None], *, end: bool, over: bool) -> JobState:
    there, missing = chosen(which, states)
    if not end and (FAILED & set(there.values()) or (over and is_idle(there))):
        return JobState.FAILED
    if over and is_idle(there) and not missing:
        return JobState.SUCCEEDED
    ended = all(state in FAILED | GOOD for state in there.values())
    return JobState.SUCCEEDED if ended and not missing else JobState.RUNNING


def is_idle(there: Mapping[Any, str | None]) -> bool:
    """Whether something waits for the scheduler, and nothing runs."""
    left = set(there.values()) - FAILED - GOOD
    return bool(left) and left <= {None, "scheduled", "up_for_retry", "up_for_reschedule"}


def adds_up(status: DependencyStatus, there: Mapping[Any, str | None]) -> None:
    """Check the counts against the instances."""
    parts = (status.succeeded, status.failed, status.skipped, status.running, status.pending)
    assert sum(parts) == status.total == len(there)
    names = {f"{task}[{index}]" if index >= 0 else task for (task, index), state in there.items() if state not in GOOD}
    assert set(status.incomplete) == names
    given_up = sum("has ended" in said for said in status.incomplete.values())
    assert status.failed == sum(state in FAILED for state in there.values()) + given_up


@fuzz(8)
@given(lives=lives, end=st.booleans())
def test_lives(server: StateServer, lives: list[tuple[dict[Any, str | None], str]], end: bool) -> None:
    """After each change one look says of each dependency exactly what is true, whatever was true before."""
    run_id = f"r{next(numbers)}"
    states: dict[Any, str | None] = dict.fromkeys(INSTANCES)
    server.add_run(run_id=run_id, tasks=states)
    more = {"dag_id": "sales", "run_id": run_id, "wait_for": "end" if end else "success"}
    wanted = [TaskDependency(**more, **which) for which in WANTED]
    with Worker({"airflow_conn_id": None}) as worker:
        poll = worker.run(service_of(wanted[0], worker.services)).shared(wanted[0])
        assert poll is not None
        for change, state in lives:
            server.set_tasks(change, run_id=run_id)
            server.set_run(state, run_id=run_id)
            over = state in ("success", "failed")
            states.update(change)
            told = worker.run(poll.look({poll.name(one) for one in wanted}))
            for one, which in zip(wanted, WANTED, strict=True):
                status = told[poll.name(one)]
                assert status.state is expected(which, states, end=end, over=over), (which, states)
                adds_up(status, chosen(which, states)[0])


@fuzz(25)
@given(
    changes=st.lists(st.sampled_from(["queued", "running", "success", "failed", "gone"]), max_size=6), end=st.booleans()
)
def test_runs(server: StateServer, changes: list[str], end: bool) -> None:
    """A whole run, that may be cleared, deleted and made anew, is what its state says at each look."""
    run_id = f"r{next(numbers)}"
    there = False
    wanted = TaskDependency(dag_id="sales", run_id=run_id, wait_for="end" if end else "success")
    ends = {"success": JobState.SUCCEEDED, "failed": JobState.SUCCEEDED if end else JobState.FAILED}
    with Worker({"airflow_conn_id": None}) as worker:
        poll = worker.run(service_of(wanted, worker.services)).shared(wanted)
        assert poll is not None
        for state in changes:
            if state == "gone":
                server.remove(run_id=run_id)
            elif there:
                server.set_run(state, run_id=run_id)
            else:
                server.add_run(run_id=run_id, state=state)
            there = state != "gone"
            status = worker.run(poll.look({poll.name(wanted)}))[poll.name(wanted)]
            assert (status.state, bool(status.missing)) == (ends.get(state, JobState.RUNNING), not there)


@fuzz(300)
@given(
    states=st.dictionaries(
        st.tuples(st.sampled_from(["a", "b"]), st.integers(-1, 20)), st.sampled_from(STATES) | st.text(max_size=5)
    ),
    end=st.booleans(),
)
def test_counts(states: dict[tuple[str, int], str | None], end: bool) -> None:
    """Counts add up, also with states that a later Airflow may have: those are work in progress."""
    status = sum_up(states, end=end)
    there = {one: state for one, state in states.items() if state != "removed"}
    adds_up(status, there)
    unknown = [state for state in there.values() if state not in STATES]
    assert all(count_of(state) == "pending" if state == "none" else count_of(state) == "running" for state in unknown)
    if status.complete:
        assert set(there.values()) <= (GOOD | FAILED if end else GOOD)
    assert (status.state is JobState.FAILED) == (not end and bool(FAILED & set(there.values())))
    assert status.to_job_status().stats["total"] == len(there)
