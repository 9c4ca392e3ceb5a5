"""A wait that ends without its trigger, because Airflow has given up on that, or before there is one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta

import pytest
from airflow.sdk.exceptions import TaskDeferralError, TaskDeferralTimeout

from ork_provider.dependency import TaskDependency
from ork_provider.errors import JobLost
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
    with pytest.raises(TaskDeferralError if error == "Trigger failure" else TaskDeferralTimeout):
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
