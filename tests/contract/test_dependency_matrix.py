"""What becomes of a wait: each thing that can be waited for, in each way that it can end, by Airflow's own answers."""

from __future__ import annotations

import time
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowSkipException

from ork_provider.dependency import TaskDependency
from ork_provider.errors import JobFailed, JobLost, TimedOut
from tests.support.dependency import KINDS, Waiter, Wanted, counts, on, told
from tests.support.state_server import StateServer

GRACE = 0.06


@pytest.fixture(params=KINDS)
def wanted(request: pytest.FixtureRequest) -> Wanted:
    return KINDS[request.param]


# All succeed, one is skipped ---------------------------------------------------------------------


@pytest.mark.parametrize("last", ["success", "skipped"])
def test_good_end(waiter: Waiter, wanted: Wanted, last: str) -> None:
    """A wait is over when all have succeeded or been skipped, and not one look earlier."""
    wanted.store(waiter.server, "success", "running", None)
    waiter.server.before(6, lambda: wanted.become(waiter.server, "success", "success", "running"))
    waiter.server.before(11, lambda: wanted.become(waiter.server, "success", "success", last))
    one = told(waiter.wait(wanted.dependency))
    assert (one["state"], one["stats"]["run_id"]) == ("succeeded", "r1")
    assert 11 <= waiter.server.count() <= 17
    if wanted.name != "run":
        skipped = {"skipped": 1} if last == "skipped" else {}
        assert counts(one) == {"total": 3, "succeeded": 3 - len(skipped), **skipped}
    assert waiter.deferrals == (waiter.where == "trigger")


def test_good_already(waiter: Waiter, wanted: Wanted) -> None:
    """What is complete already is seen at once: by the worker, which does not defer."""
    wanted.store(waiter.server, "success", "success", "success")
    wanted.become(waiter.server, "success", "success", "success")
    assert told(waiter.wait(wanted.dependency))["state"] == "succeeded"
    assert (waiter.deferrals, waiter.server.count() <= 2) == (0, True)


# One fails ---------------------------------------------------------------------------------------


def fails(waiter: Waiter, wanted: Wanted) -> None:
    """Let one of three fail while the others still run; a run has failed when all have ended."""
    wanted.store(waiter.server, "running", "running", None)
    others = ("success", "success") if wanted.name == "run" else ("running", None)
    waiter.server.before(5, lambda: wanted.become(waiter.server, others[0], "failed", others[1]))


def test_failure_fails(waiter: Waiter, wanted: Wanted) -> None:
    """The task fails within one look, though the others still run, and says what has failed."""
    fails(waiter, wanted)
    with pytest.raises(JobFailed) as caught:
        waiter.wait(wanted.dependency)
    second = {"mapped": "m[1]", "instances": "m[2]"}.get(wanted.name, "b")
    assert f"incomplete: {second} (failed)" in str(caught.value)
    assert caught.value.job["stats"]["incomplete"][second] == "failed"
    assert counts(caught.value.job)["failed"] == 1
    assert waiter.server.count() <= 5 + 5


def test_failure_skips(waiter: Waiter, wanted: Wanted) -> None:
    """on_failed='skip' skips the task just as soon."""
    fails(waiter, wanted)
    with pytest.raises(AirflowSkipException, match="failed"):
        waiter.wait(wanted.dependency, on_failed="skip")
    assert waiter.server.count() <= 5 + 5


def test_failure_continues(waiter: Waiter, wanted: Wanted) -> None:
    """on_failed='continue' waits until all have ended, and is a success then."""
    fails(waiter, wanted)
    waiter.server.before(12, lambda: wanted.become(waiter.server, "success", "failed", "success"))
    one = told(waiter.wait(wanted.dependency, on_failed="continue"))
    assert one["state"] == "succeeded"
    if wanted.name != "run":
        assert counts(one) == {"total": 3, "succeeded": 2, "failed": 1}
        assert waiter.server.count() >= 12


@pytest.mark.parametrize("state", ["failed", "upstream_failed"])
def test_failed_already(waiter: Waiter, wanted: Wanted, state: str) -> None:
    """What has failed before is seen at the first look."""
    wanted.store(waiter.server, "success", state, None)
    if wanted.name == "run":
        waiter.server.set_run("failed")
    with pytest.raises(JobFailed):
        waiter.wait(wanted.dependency)
    assert waiter.deferrals == 0


# Cleared and rerun -------------------------------------------------------------------------------


@pytest.mark.parametrize("on_failed", ["fail", "skip", "continue"])
def test_cleared_and_rerun(waiter: Waiter, wanted: Wanted, on_failed: str) -> None:
    """What had succeeded and was cleared is waited for anew."""
    wanted.store(waiter.server, "success", "success", "running")
    waiter.server.before(5, lambda: wanted.become(waiter.server, None, "success", "success"))
    waiter.server.before(10, lambda: wanted.become(waiter.server, "running", "success", "success"))
    waiter.server.before(15, lambda: wanted.become(waiter.server, "success", "success", "success"))
    assert told(waiter.wait(wanted.dependency, on_failed=on_failed))["state"] == "succeeded"
    assert waiter.server.count() >= 15


@pytest.mark.parametrize("on_failed", ["fail", "skip", "continue"])
def test_rerun_fails(server: StateServer, wanted: Wanted, on_failed: str) -> None:
    """What had succeeded, was cleared, and fails this time, has failed."""
    waiter = Waiter(server, "trigger")
    wanted.store(server, "success", "success", "running")
    server.before(5, lambda: wanted.become(server, None, "success", "running"))
    server.before(10, lambda: wanted.become(server, "failed", "success", "success"))
    if on_failed == "continue":
        one = told(waiter.wait(wanted.dependency, on_failed=on_failed))
        assert (one["state"], one["stats"]["failed"]) == ("succeeded", int(wanted.name != "run"))
    else:
        with pytest.raises(JobFailed if on_failed == "fail" else AirflowSkipException, match="failed"):
            waiter.wait(wanted.dependency, on_failed=on_failed)
    assert server.count() >= 10


def test_failed_and_cleared(server: StateServer, wanted: Wanted) -> None:
    """With on_failed='continue' what has failed and was cleared while others run counts by its rerun."""
    waiter = Waiter(server, "trigger")
    wanted.store(server, "failed", "running", "running")
    server.before(5, lambda: wanted.become(server, None, "running", "running"))
    server.before(10, lambda: wanted.become(server, "success", "success", "success"))
    one = told(waiter.wait(wanted.dependency, on_failed="continue"))
    assert one["state"] == "succeeded"
    assert counts(one) == ({} if wanted.name == "run" else {"total": 3, "succeeded": 3})


def test_retry_after_the_rerun(server: StateServer, wanted: Wanted) -> None:
    """A dependency that has failed, was cleared and has succeeded is a success for the task's next try."""
    waiter = Waiter(server, "trigger")
    fails(waiter, wanted)
    with pytest.raises(JobFailed):
        waiter.wait(wanted.dependency)
    waiter.ti.try_number += 1
    wanted.become(waiter.server, "success", "success", "success")
    assert told(waiter.wait(wanted.dependency))["state"] == "succeeded"


@pytest.mark.parametrize("state", ["up_for_retry", "up_for_reschedule", "deferred", "restarting", "queued"])
def test_states_between(waiter: Waiter, state: str) -> None:
    """A task that will be tried again, is deferred or rescheduled has neither failed nor succeeded."""
    wanted = KINDS["tasks"]
    wanted.store(waiter.server, "success", state, "success")
    waiter.server.before(7, lambda: wanted.become(waiter.server, "success", "success", "success"))
    assert told(waiter.wait(wanted.dependency))["state"] == "succeeded"
    assert waiter.server.count() >= 7


# Timeout -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("on_failed", ["fail", "skip", "continue"])
def test_timeout(waiter: Waiter, wanted: Wanted, on_failed: str) -> None:
    """At the deadline the task fails, or is skipped if it is to be, and says what is incomplete."""
    wanted.store(waiter.server, "success", "running", None)
    began = time.monotonic()
    with pytest.raises(TimedOut) as caught:
        waiter.wait(wanted.dependency, timeout=0.06, on_failed=on_failed)
    with pytest.raises(AirflowSkipException, match=r"The deadline .* passed while dependency on"):
        waiter.wait(wanted.dependency, timeout=0.06, on_failed=on_failed, on_timeout="skip")
    assert time.monotonic() - began < 4
    assert "left running" not in str(caught.value)
    assert "cancel" not in str(caught.value)
    if wanted.name != "run":
        assert counts(caught.value.job) == {"total": 3, "succeeded": 1, "running": 1, "pending": 1}
        assert "(no state yet)" in str(caught.value)


# Missing -----------------------------------------------------------------------------------------

ABSENT: dict[str, tuple[dict[str, Any], str]] = {
    "DAG": ({"dag_id": "slaes"}, r"run r1 of DAG slaes does not exist.* There is no DAG 'slaes'\."),
    "run": ({"run_id": "r2"}, "run r2 of DAG sales does not exist"),
    "task": ({"task_ids": ["a", "lod"]}, "lod of DAG sales, run r1 does not exist"),
    "instance": ({"task_ids": ["m"], "map_indexes": [0, 7]}, r"m\[7\] of DAG sales, run r1 does not exist"),
    "removed instance": ({"task_ids": ["m"], "map_indexes": [1]}, r"m\[1\] of DAG sales, run r1 does not exist"),
    "removed task": ({"task_ids": ["gone"]}, "gone of DAG sales, run r1 does not exist"),
    "group": ({"task_group_id": "lod"}, "group lod of DAG sales does not exist"),
    "empty group": ({"task_group_id": "unborn"}, "a task of group unborn of DAG sales, run r1 does not exist"),
    "task of no run": ({"run_id": "r2", "task_ids": ["a"]}, "run r2 of DAG sales does not exist"),
    "group of no DAG": ({"dag_id": "slaes", "task_group_id": "g"}, r"There is no DAG 'slaes'\."),
}


@pytest.fixture(params=ABSENT)
def absent(server: StateServer, request: pytest.FixtureRequest) -> tuple[TaskDependency, str]:
    tasks = {"a": "success", ("m", 0): "success", ("m", 1): "removed", "gone": "removed"}
    server.add_run(tasks=tasks)
    server.add_groups("sales", {"load": ["a"], "unborn": ["later"]})
    which, said = ABSENT[request.param]
    return TaskDependency(**{"dag_id": "sales", "run_id": "r1", **which}), said


def test_missing_fails(waiter: Waiter, absent: tuple[TaskDependency, str]) -> None:
    """What does not exist is waited for as long as the grace lasts; then the task fails, and says what to do."""
    dependency, said = absent
    began = time.monotonic()
    with pytest.raises(JobLost, match=said) as caught:
        waiter.wait(dependency, missing_grace=GRACE)
    assert GRACE <= time.monotonic() - began < 4
    assert "if_missing='wait' waits for what does not exist yet" in str(caught.value)
    assert ("There is no DAG" in str(caught.value)) == (dependency.dag_id == "slaes")
    assert caught.value.job["stats"]["missing"]


def test_missing_is_no_failure_to_skip(server: StateServer, absent: tuple[TaskDependency, str]) -> None:
    """on_failed is about what has failed: a name that is wrong is told, whatever it says."""
    waiter = Waiter(server, "worker")
    for on_failed in ("skip", "continue"):
        with pytest.raises(JobLost):
            waiter.wait(absent[0], missing_grace=0, on_failed=on_failed)


def test_missing_waits(server: StateServer, absent: tuple[TaskDependency, str]) -> None:
    """if_missing='wait' waits for it, until the deadline if there is one."""
    waiter = Waiter(server, "trigger")
    with pytest.raises(TimedOut, match="does not exist"):
        waiter.wait(absent[0], if_missing="wait", missing_grace=0, timeout=0.06)


@pytest.mark.parametrize("if_missing", ["fail", "wait"])
def test_missing_comes(waiter: Waiter, wanted: Wanted, if_missing: str) -> None:
    """A run that comes late, even without its DAG before, is waited for like any other."""
    server = waiter.server
    server.before(6, lambda: wanted.store(server, None, None, None))
    server.before(14, lambda: wanted.become(server, "success", "success", "success"))
    assert told(waiter.wait(wanted.dependency, if_missing=if_missing))["state"] == "succeeded"
    assert server.count() >= 14


def test_deleted_and_made_anew(server: StateServer, wanted: Wanted) -> None:
    """A run that is deleted meanwhile is missing, and is found again under its id."""
    waiter = Waiter(server, "trigger")
    wanted.store(server, "running", None, None)
    server.before(6, server.remove)
    server.before(9, lambda: server.add_run(tasks=dict.fromkeys(wanted.instances, "running") | wanted.others))
    server.before(12, lambda: wanted.become(server, "success", "success", "success"))
    assert told(waiter.wait(wanted.dependency))["state"] == "succeeded"
    assert server.count() >= 12


@pytest.mark.parametrize("if_missing", ["fail", "wait"])
def test_failure_beside_what_is_missing(waiter: Waiter, if_missing: str) -> None:
    """A task that has failed ends the wait at once, though another one that is wanted does not exist yet."""
    waiter.server.add_run(tasks={"a": "failed", "b": "running"})
    with pytest.raises(JobFailed, match=r"later of DAG sales, run r1 does not exist.* a \(failed\)") as caught:
        waiter.wait(on("r1", "a", "b", "later"), if_missing=if_missing)
    assert caught.value.job["stats"]["missing"] == ["later of DAG sales, run r1"]
