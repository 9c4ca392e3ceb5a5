"""A wait that ends without its trigger, because Airflow has given up on that, or before there is one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowSkipException, TaskDeferralError, TaskDeferred

from ork_provider.dependency import TaskDependency
from ork_provider.errors import JobError, JobLost, TimedOut, TryAgain
from tests.support.dependency import Waiter, on
from tests.support.state_server import NOW, StateServer, serve_states

DAY = timedelta(days=1)


@pytest.fixture
def server() -> Iterator[StateServer]:
    with serve_states() as server:
        yield server


@pytest.mark.parametrize("error", ["Trigger timeout", "Trigger failure"])
@pytest.mark.parametrize("map_index", [-1, 3])
def test_latest_stays(server: StateServer, error: str, map_index: int) -> None:
    """The run that was the latest when the wait began is the one that counts, although a later one has succeeded."""
    waiter = Waiter(server)
    waiter.ti.map_index = map_index
    server.add_run(run_id="r1", logical_date=NOW)
    operator = waiter.operator(TaskDependency(dag_id="sales", run="latest"))
    with pytest.raises(TaskDeferralError if error == "Trigger failure" else TimedOut):
        waiter.give_up(operator, error, lambda: server.add_run(run_id="r2", logical_date=NOW + DAY, state="success"))
    assert waiter.ti.xcoms["ork_job"]["run_id"] == "r1"


def test_latest_that_had_no_run(server: StateServer) -> None:
    """Where there was no run when the wait began, the first that has come is taken, as the trigger does it."""
    waiter = Waiter(server)
    operator = waiter.operator(TaskDependency(dag_id="sales", run="latest"))

    def come() -> None:
        server.add_run(run_id="r1", state="success", logical_date=NOW, tasks={"a": "success"})
        server.add_run(run_id="r2", logical_date=NOW + DAY, tasks={"a": "running"})

    (one,) = waiter.give_up(operator, meanwhile=come)["dependencies"]
    assert one["stats"]["run_id"] == "r1"


def test_grace_stays(server: StateServer) -> None:
    """What is missing counts as lost when the grace is over that began with the wait, not a grace later."""
    waiter = Waiter(server)
    operator = waiter.operator(on("r9"), missing_grace=0.2)
    with pytest.raises(JobLost, match="run r9 of DAG sales does not exist"):
        waiter.give_up(operator, meanwhile=lambda: time.sleep(0.2))


def test_lost_xcom(server: StateServer) -> None:
    """Where the XCom of the wait is gone, what is waited for is looked for again."""
    waiter = Waiter(server)
    server.add_run(run_id="r1", logical_date=NOW)
    operator = waiter.operator(TaskDependency(dag_id="sales", run="latest"))

    def lose() -> None:
        waiter.ti.xcoms.clear()
        server.set_run("success")

    assert waiter.give_up(operator, meanwhile=lose)["dependencies"][0]["stats"]["run_id"] == "r1"


@pytest.mark.parametrize(("on_timeout", "error"), [("skip", AirflowSkipException), ("fail", TimedOut)])
def test_late(server: StateServer, on_timeout: str, error: type[Exception]) -> None:
    """The deadline that no triggerer was alive to notice ends the task as on_timeout says."""
    server.add_run()
    waiter = Waiter(server)
    with pytest.raises(error, match="Airflow gave up on the trigger"):
        waiter.give_up(waiter.operator(on("r1"), timeout=60, on_timeout=on_timeout))
    with pytest.raises(TaskDeferralError, match="Airflow gave up on the trigger"):
        waiter.give_up(waiter.operator(on("r1"), timeout=60, on_timeout=on_timeout), "Trigger failure")


def test_error_of_the_watch(server: StateServer) -> None:
    """on_failed='skip' skips for what has failed, not for a wait that could not go on."""
    server.add_run(tasks={"a": "failed", "b": "running"})
    waiter = Waiter(server)
    operator = waiter.operator([on("r1", "a"), on("r1", "b")], on_failed="skip")
    jobs = [{**on("r1", "a").to_dict(), "state": "failed"}, on("r1", "b").to_dict()]
    with pytest.raises(JobError, match="crashed"):
        operator.execute_complete(waiter.context, {"status": "error", "message": "It crashed.", "jobs": jobs})
    with pytest.raises(AirflowSkipException):
        operator.execute_complete(waiter.context, {"status": "failed", "message": "It failed.", "jobs": jobs})


# Another Airflow that does not answer ------------------------------------------------------------


@pytest.fixture
def down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_DOWN", '{"conn_type": "http", "host": "http://127.0.0.1:1"}')


@pytest.mark.parametrize("which", [{"run_id": "r1"}, {}, {"logical_date": NOW}], ids=["run_id", "same date", "date"])
def test_down_defers(server: StateServer, down: None, which: dict[str, Any]) -> None:
    """An Airflow that is down at the start does not hold the worker: the triggerer finds the run."""
    waiter = Waiter(server)
    operator = waiter.operator(TaskDependency(dag_id="sales", conn_id="down", **which), poll_timeout=0.1)
    began = time.monotonic()
    with pytest.raises(TaskDeferred):
        operator.execute(waiter.context)
    assert time.monotonic() - began < 2


@pytest.mark.parametrize("run", [None, "latest"])
@pytest.mark.parametrize(("on_timeout", "error"), [("skip", AirflowSkipException), ("fail", TimedOut)])
def test_down_until_the_deadline(
    server: StateServer, down: None, run: str | None, on_timeout: str, error: type[Exception]
) -> None:
    """The deadline counts from the start, also while it is not known which run is meant."""
    began = time.monotonic()
    with pytest.raises(error, match="deadline"):
        Waiter(server).wait(
            TaskDependency(dag_id="sales", conn_id="down", run=run),
            timeout=0.3,
            on_timeout=on_timeout,
            error_budget=1 if run is None else 60,
        )
    assert time.monotonic() - began < 4


def test_latest_of_what_stays_down(server: StateServer, down: None) -> None:
    """Which run is the latest is asked for as long as the error budget lasts; then the task fails."""
    with pytest.raises(TryAgain):
        Waiter(server).wait(TaskDependency(dag_id="sales", conn_id="down", run="latest"), error_budget=0.2)


def test_one_question_to_what_is_down(server: StateServer, down: None, capsys: pytest.CaptureFixture[str]) -> None:
    """An Airflow that does not answer is asked once for all dates."""
    waiter = Waiter(server)
    dates = [TaskDependency(dag_id="sales", conn_id="down", logical_date=NOW + i * DAY) for i in range(5)]
    with pytest.raises(TaskDeferred):
        waiter.operator(dates, poll_timeout=0.1).execute(waiter.context)
    assert capsys.readouterr().out.count("Which runs are meant is looked for again") == 1
