"""The tests of lesson 51.8.3: the parts together, with Airflow's own TriggerRunner and a service over real HTTP."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lesson_51_08
import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import timezone
from lesson_51_08 import JobOperator, JobTrigger, call

from ork_provider.testing import FakeHttpJobs, Fault, HttpOutcome, run_trigger
from ork_provider.testing.trigger_runner import task_instance

HERE = Path(__file__).parent
PLUGINS = Path(lesson_51_08.__file__).resolve().parent
FAR = "2126-01-01T00:00:00+00:00"
WHOLE_AIRFLOW = "LESSON_WHOLE_AIRFLOW"
FLOW = """
from airflow.sdk import DAG
from lesson_51_08 import JobOperator

with DAG("flow", schedule=None):
    JobOperator(task_id="export", body={"fake": {"running": 6, "output": 42}})
"""
Note = Callable[[str, Any], None]


def quick(running: int = 3, **outcome: Any) -> dict[str, Any]:
    """Return the body of a job that ends at the third question."""
    return {"table": "orders", "fake": {"running": running, **outcome}}


def watch(body: dict[str, Any]) -> JobTrigger:
    """Start a job, and build a trigger that waits for it."""
    return JobTrigger(call("POST", "/jobs", body)["id"], FAR, poll_interval=0.05)


def export(body: dict[str, Any]) -> JobOperator:
    """Build the operator under test."""
    return JobOperator(task_id="export", body=body, poll_interval=0.05)


async def test_in_a_trigger_runner(jobs: FakeHttpJobs, note: Note) -> None:
    """(1) Airflow's TriggerRunner runs the trigger: stored and built again, its event sent over the wire."""
    result = await run_trigger(watch(quick()))
    assert result.payload == {"job_id": "job-1", "status": "completed"}
    note("seconds", round(result.duration, 2))
    note("questions", len(jobs.calls("GET", "/jobs/*")))


async def test_a_user_ends_the_task(jobs: FakeHttpJobs, note: Note) -> None:
    """(1) A user who marks the deferred task failed: the runner calls `on_kill()`, which cancels the job."""
    result = await run_trigger(watch({}), task_state="failed", kill_after=0.3)
    assert result.killed
    assert not result.events
    note("job", jobs.created[0].status)
    assert jobs.created[0].status == "cancelled"


async def test_a_triggerer_stops(jobs: Any, note: Note) -> None:
    """(1) A triggerer that stops cancels the trigger and not the job; the next one goes on from the stored trigger."""
    trigger = watch({})
    first = await run_trigger(trigger, cancel_after=0.3)
    assert not first.killed
    assert not first.events
    assert jobs.live()
    jobs.asked += 1000  # meanwhile the job ends
    assert (await run_trigger(trigger)).payload["status"] == "completed"
    note("jobs started", len(jobs.created))


async def test_the_whole_flow(jobs: FakeHttpJobs, task_run: Any, note: Note) -> None:
    """(2) Worker, triggerer, worker: each part gets only what the one before has sent through Airflow."""
    run = task_run(export(quick(output=42)))
    run.start()
    result = await run_trigger(run.trigger)
    run.resume(result.payload)
    assert run.states == ["deferred", "success"]
    assert run.xcoms["return_value"]["output"] == 42
    note("flow", f"{run.states[0]}, {result.payload}, {run.states[1]}")


@pytest.mark.parametrize("world", ["triggerer", "dags test"])
async def test_with_and_without_a_triggerer(jobs: FakeHttpJobs, world: str, note: Note) -> None:
    """(2) `airflow dags test` has no triggerer, and its trigger no task instance; the event is the same."""
    ti = task_instance(dag_id="flow", task_id="export") if world == "triggerer" else None
    result = await run_trigger(watch(quick()), ti=ti)
    assert result.payload == {"job_id": "job-1", "status": "completed"}
    note("task instance", ti and ti.task_id)


@pytest.mark.timeout(240)
@pytest.mark.skipif(not os.environ.get(WHOLE_AIRFLOW), reason=f"takes 40 s; set {WHOLE_AIRFLOW}=1")
def test_in_a_whole_airflow(jobs: FakeHttpJobs, tmp_path: Path, note: Note) -> None:
    """(2) A scheduler, a triggerer, an API server and a DAG processor of their own run the operator."""
    from ork_provider.testing.local_airflow import LocalAirflow

    Path(tmp_path, "flow.py").write_text(FLOW)
    env = {**jobs.connections(), "AIRFLOW__CORE__PLUGINS_FOLDER": str(PLUGINS)}
    with LocalAirflow(tmp_path, env={**env, "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1"}) as airflow:
        run_id = airflow.trigger_dag("flow")
        assert airflow.wait("flow", run_id, timeout=120) == "success"
        assert airflow.xcom("flow", run_id, "export")["output"] == 42
        said = airflow.log("flow", run_id, "export")
    assert "Job job-1: completed" in said  # the trigger's line, merged into the task's log
    note("questions", len(jobs.calls("GET")))


async def test_a_scripted_service(jobs: FakeHttpJobs, task_run: Any, note: Note) -> None:
    """(3) The test says what the service does; the flow ends accordingly."""
    jobs.script("orders", HttpOutcome(pending=2, running=2, outcome="failed", error="disk full"))
    run = task_run(export({"table": "orders"}))
    run.start()
    run.resume((await run_trigger(run.trigger)).payload)
    assert run.states == ["deferred", "failed"]
    note("error", run.error)


async def test_a_service_with_a_fault(jobs: FakeHttpJobs, note: Note) -> None:
    """(3) Over real HTTP a fault is a fault: two answers of 503, the second and the third, are lived through."""
    jobs.fail(Fault.status(503), on="GET /jobs/*", nth=2, times=2)
    result = await run_trigger(watch(quick()))
    assert result.payload["status"] == "completed"
    statuses = [request.status for request in jobs.calls("GET", "/jobs/*")]
    assert statuses == [200, 503, 503, 200, 200]
    note("answers", statuses)


def test_what_the_service_has_seen(jobs: FakeHttpJobs, task_run: Any, note: Note) -> None:
    """(3) The stand-in remembers every request: a worker that defers has sent these, and nothing else."""
    task_run(export({"table": "orders"})).start()
    seen = [f"{request.method} {request.path}" for request in jobs.requests]
    assert seen == ["POST /jobs", "GET /jobs/job-1"]
    note("requests", seen)


@pytest.mark.filterwarnings("ignore:GitWildMatchPattern")  # Airflow 3.3 reads .airflowignore in a deprecated way
def test_every_dag_file_can_be_read(note: Note) -> None:
    """(4) The first gate of a pipeline: every DAG file imports, and none warns."""
    bag = DagBag(str(HERE))
    assert bag.import_errors == {}
    assert bag.captured_warnings == {}
    note("DAGs", len(bag.dags))


def test_a_triggerer_finds_the_trigger(tmp_path: Path, note: Note) -> None:
    """(4) The second gate: a Python with the plugins and without the DAGs, as a triggerer, finds the trigger."""
    module = JobTrigger("job-1", FAR).serialize()[0].rpartition(".")[0]
    command = [sys.executable, "-c", f"from importlib.util import find_spec; print(find_spec({module!r}).origin)"]
    environ = {**os.environ, "PYTHONPATH": str(PLUGINS)}
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert Path(done.stdout.strip()).samefile(lesson_51_08.__file__)
    note("module", done.stdout.strip())


def test_it_can_run_beside_others(jobs: FakeHttpJobs, note: Note) -> None:
    """(4) Tests of a pipeline run in parallel: each has a service on a port of its own, and no setting is shared."""
    with FakeHttpJobs() as other:
        assert other.port != jobs.port
        assert call("POST", "/jobs", {})["id"] == "job-1"
        assert not other.created
        note("ports", sorted([other.port, jobs.port]))


def test_no_waiting_for_a_slow_test(jobs: FakeHttpJobs, note: Note) -> None:
    """(4) A pipeline needs an end: `run_trigger` gives up after `timeout` instead of hanging."""
    began = timezone.utcnow()
    with pytest.raises(TimeoutError, match="still running"):
        asyncio.run(run_trigger(watch({}), timeout=0.3))
    note("seconds", round((timezone.utcnow() - began).total_seconds(), 1))
