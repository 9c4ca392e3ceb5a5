"""The DAGs, the trigger and the operator of docs/patterns.md; test_migrating.py runs this as a user would."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import httpx
import pytest
from airflow.sdk.exceptions import TaskDeferralTimeout

from ork_provider.testing import FakeHttpJobs, HttpOutcome, run_trigger


@pytest.fixture
def http(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHttpJobs]:
    """Serve jobs that take a second, as http_default."""
    with FakeHttpJobs(pending=0, running=1) as fake:
        for name, value in fake.connections().items():
            monkeypatch.setenv(name, value)
        yield fake


def state(dag: Any, **conf: Any) -> str:
    """Run a DAG; return what has become of its run."""
    return str(dag.test(run_conf=conf).state)


def new_job(http: FakeHttpJobs, name: str) -> str:
    """Start a job as somebody else would; return its id."""
    return str(httpx.post(f"{http.url}/jobs", json={"table": name}).json()["id"])


@pytest.mark.parametrize("outcome", ["completed", "failed"])
def test_polling(http: FakeHttpJobs, outcome: str) -> None:
    """Both sensors wait for the end of the job, and fail with it."""
    from polling import after, before

    http.script("orders", HttpOutcome(pending=0, running=1, outcome=outcome))
    ends = [state(dag, job=new_job(http, "orders")) for dag in (before, after)]
    assert ends == ["success" if outcome == "completed" else "failed"] * 2
    assert [job.done for job in http.created] == [True, True]


def test_many(http: FakeHttpJobs) -> None:
    """Mapped tasks and one task start the same jobs; two of three are enough where that was said."""
    from many import TABLES, mapped, together, two_of_three

    http.script("north", HttpOutcome(pending=0, running=3600))
    assert [state(dag) for dag in (mapped, together, two_of_three)] == ["success"] * 3
    tables = [job.body["table"] for job in http.created]
    assert sorted(tables[:3]) == sorted(TABLES)  # instances of a mapped task start in any order
    assert tables[3:] == [*TABLES, "east", "west", "north"]
    assert [job.status for job in http.created] == [*["completed"] * 8, "cancelled"]


def test_delivery(tmp_path: Path) -> None:
    """The operator asks for the file, waits for all of it, takes its request back and returns the size."""
    from deliveries import dag

    def deliver() -> None:
        while not (tmp_path / "orders.csv.request").exists():
            time.sleep(0.01)
        (tmp_path / "orders.csv").write_text("id,amount\n")

    thread = threading.Thread(target=deliver)
    thread.start()
    assert state(dag, folder=str(tmp_path)) == "success"
    thread.join(10)
    assert not (tmp_path / "orders.csv.request").exists()


@pytest.fixture
def wait(tmp_path: Path) -> Any:
    """Return a function that makes the trigger's arguments."""
    request = tmp_path / "orders.csv.request"
    request.touch()

    def arguments(seconds: float) -> dict[str, Any]:
        deadline = (datetime.now(timezone.utc) + timedelta(seconds=seconds)).isoformat()
        path = str(tmp_path / "orders.csv")
        return {"path": path, "request": str(request), "deadline": deadline, "poll_interval": 0.1}

    return arguments


def test_trigger_waits_until_the_file_has_stopped_growing(tmp_path: Path, wait: Any) -> None:
    """One event, with the size; the arguments survive the database, and an unknown one is no error."""
    from delivery import DeliveryTrigger

    (tmp_path / "orders.csv").write_text("id\n")
    trigger = DeliveryTrigger(**wait(30), of_a_newer_release=1)
    result = asyncio.run(run_trigger(trigger))
    assert result.payload == {"status": "success", "path": str(tmp_path / "orders.csv"), "size": 3}


def test_trigger_keeps_the_deadline(wait: Any) -> None:
    """At the deadline it says so; it was not asked to end."""
    from delivery import DeliveryTrigger

    result = asyncio.run(run_trigger(DeliveryTrigger(**wait(0.3))))
    assert (result.payload["status"], result.killed) == ("timeout", False)


@pytest.mark.parametrize(("task_state", "left"), [("failed", False), ("deferred", True)])
def test_kill(tmp_path: Path, wait: Any, task_state: str, left: bool) -> None:
    """A kill takes the request back; a move to another triggerer does not."""
    from delivery import DeliveryTrigger

    result = asyncio.run(run_trigger(DeliveryTrigger(**wait(30)), task_state=task_state, kill_after=0.3))
    assert result.killed
    assert (tmp_path / "orders.csv.request").exists() == left


def test_shutdown(tmp_path: Path, wait: Any) -> None:
    """A triggerer that shuts down leaves the request to the next one."""
    from delivery import DeliveryTrigger

    result = asyncio.run(run_trigger(DeliveryTrigger(**wait(30)), cancel_after=0.3))
    assert not result.killed
    assert (tmp_path / "orders.csv.request").exists()


def test_airflow_gives_up(tmp_path: Path, wait: Any) -> None:
    """After Airflow's own timeout the request is taken back, too; an event that is not known is a failure."""
    from delivery import DeliveryOperator

    wait(1)
    operator = DeliveryOperator(task_id="orders", path=str(tmp_path / "orders.csv"))
    with pytest.raises(TaskDeferralTimeout):
        operator.resume_execution("__fail__", {"error": "Trigger timeout"}, {})
    assert not (tmp_path / "orders.csv.request").exists()
    with pytest.raises(RuntimeError, match="no event that is known"):
        operator.execute_complete({}, {"state": "done"})
