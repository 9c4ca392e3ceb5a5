"""Jobs in a real scheduler, triggerer and workers: success, failure, kill, clear, and what a next try does."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ork_provider.testing import FakeBigQuery, FakeHttpJobs, Fault, Outcome
from ork_provider.testing.local_airflow import LocalAirflow


@pytest.fixture(autouse=True)
def _fresh(bigquery: FakeBigQuery, http_jobs: FakeHttpJobs) -> Iterator[None]:
    """Leave no fault behind for the next test."""
    yield
    bigquery.heal()
    http_jobs.heal()


def until(reached: Callable[[], Any], seconds: float = 60, say: Callable[[], str] = str) -> Any:
    """Return what ``reached`` returns once that is true; if it never is, fail with what ``say`` returns."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := reached():
            return found
        time.sleep(0.2)
    raise AssertionError(f"not reached in {seconds} s: {reached}\n{say()}")


def jobs_of(bigquery: FakeBigQuery, text: str) -> list[Any]:
    """Return the jobs whose SQL has the text, oldest first."""
    return [job for job in bigquery.inserted if text in job.sql]


def sent_parameter(bigquery: FakeBigQuery, job_id: str) -> str:
    """Return the value of the one parameter that a job was sent with."""
    value: str = bigquery.jobs[job_id].configuration["query"]["queryParameters"][0]["parameterValue"]["value"]
    return value


def live(bigquery: FakeBigQuery, text: str) -> list[Any]:
    """Return those of them that have not ended."""
    return [job for job in jobs_of(bigquery, text) if job.state != "DONE"]


def test_success(airflow: LocalAirflow, bigquery: FakeBigQuery, http_jobs: FakeHttpJobs) -> None:
    """A query, an HTTP job that uses its result, and a sensor for that: each deferred, each with its result."""
    bigquery.script("AS success", Outcome(running=2, rows=[{"success": 7}]))
    run_id = airflow.trigger_dag("success", conf={"n": 7})
    assert airflow.wait("success", run_id, timeout=120) == "success"
    query = airflow.xcom("success", run_id, "query")
    assert query["rows"] == [{"success": 7}]
    assert query["stats"]["duration_seconds"] >= 1.9
    assert query["job_id"] in bigquery.jobs
    labels = bigquery.jobs[query["job_id"]].configuration["labels"]
    assert (labels["airflow-dag"], labels["airflow-task"]) == ("success", "query")
    assert sent_parameter(bigquery, query["job_id"]) == "7"
    assert airflow.xcom("success", run_id, "report")["result"] == {"job": query["job_id"]}
    assert airflow.xcom("success", run_id, "watch")["result"] == query["job_id"]
    assert airflow.xcom("success", run_id, "query", key="ork_link").startswith("https://console.cloud.google.com/")
    log = airflow.log("success", run_id, "query")
    assert "Deferring; the triggerer waits for" in log
    assert "is DONE after" in log


def test_failure(airflow: LocalAirflow, bigquery: FakeBigQuery, tmp_path: Path) -> None:
    """The service's message reaches the log, the retry starts a second job, on_failure runs once at the end."""
    error = {"reason": "invalidQuery", "message": "Unrecognized name: failure at [1:8]", "location": "query"}
    bigquery.script("SELECT failure", Outcome(running=0.5, error=error))
    trace = tmp_path / "trace"
    run_id = airflow.trigger_dag("failure", conf={"trace": str(trace)})
    assert airflow.wait("failure", run_id, timeout=180) == "failed"
    assert airflow.task_instance("failure", run_id, "query")["try_number"] == 2
    for number in (1, 2):
        assert "Unrecognized name: failure at [1:8]" in airflow.log("failure", run_id, "query", try_number=number)
    assert len(jobs_of(bigquery, "SELECT failure")) == 2
    assert "Unrecognized name: failure" in until(lambda: trace.exists() and trace.read_text())


def test_mapped(airflow: LocalAirflow, bigquery: FakeBigQuery) -> None:
    """Each mapped instance has a job of its own, under an id that tells which it is."""
    run_id = airflow.trigger_dag("mapped")
    assert airflow.wait("mapped", run_id, timeout=120) == "success"
    ids = [airflow.xcom("mapped", run_id, "query", map_index=i)["job_id"] for i in range(3)]
    assert [sent_parameter(bigquery, job_id) for job_id in ids] == ["0", "1", "2"]
    assert [f"airflow_mapped_query_{i}_" in job_id for i, job_id in enumerate(ids)] == [True] * 3


def logs(airflow: LocalAirflow, dag_id: str, run_id: str) -> str:
    """Return the logs of a run's first tries, for the message of a test that failed."""
    found = airflow.task_instances(dag_id, run_id)
    return "\n".join(airflow.log(dag_id, run_id, i["task_id"], map_index=i["map_index"]) for i in found)


def start_long(airflow: LocalAirflow, bigquery: FakeBigQuery) -> str:
    """Start a run whose two jobs run for a minute, and wait until the triggerer watches both."""
    bigquery.script("SELECT long", Outcome(running=60))
    run_id = airflow.trigger_dag("long")
    for task_id in ("query", "http"):
        airflow.wait_task("long", run_id, task_id, "deferred")
        until(lambda task_id=task_id: "Waiting for " in airflow.log("long", run_id, task_id))  # type: ignore[misc]
    return run_id


@pytest.mark.parametrize("state", ["failed", "success"])
def test_mark_while_deferred(
    airflow: LocalAirflow, bigquery: FakeBigQuery, http_jobs: FakeHttpJobs, state: str
) -> None:
    """Marking a deferred task failed or success cancels its remote job, once."""
    run_id = start_long(airflow, bigquery)
    job, http_job = jobs_of(bigquery, "SELECT long")[-1], http_jobs.created[-1]
    for task_id in ("query", "http"):
        airflow.set_task_state("long", run_id, task_id, state)
    until(lambda: job.cancelled_at and http_job.cancelled_at, 40, lambda: logs(airflow, "long", run_id))
    assert airflow.wait("long", run_id) == state
    assert len(bigquery.calls("POST", f"*/jobs/{job.job_id}/cancel")) == 1
    assert len(http_jobs.calls("DELETE", f"/jobs/{http_job.job_id}")) == 1


def test_clear_while_deferred(airflow: LocalAirflow, bigquery: FakeBigQuery, http_jobs: FakeHttpJobs) -> None:
    """Clearing deferred tasks ends each old job and starts exactly one new one; never two at a time."""
    run_id = start_long(airflow, bigquery)
    job, http_job = jobs_of(bigquery, "SELECT long")[-1], http_jobs.created[-1]
    started = len(http_jobs.created)
    airflow.clear("long", run_id, ["query", "http"])
    until(lambda: job.cancelled_at and http_job.cancelled_at, 40, lambda: logs(airflow, "long", run_id))
    new = until(lambda: live(bigquery, "SELECT long"))
    until(lambda: len(http_jobs.created) > started)
    airflow.wait_task("long", run_id, "query", "deferred")
    airflow.wait_task("long", run_id, "http", "deferred")
    assert len(live(bigquery, "SELECT long")) == 1
    assert len(http_jobs.created) == started + 1
    assert new[0].created_at >= job.cancelled_at
    assert http_jobs.created[-1].created_at >= http_job.cancelled_at
    assert len(bigquery.calls("POST", f"*/jobs/{job.job_id}/cancel")) == 1
    for task_id in ("query", "http"):
        until(lambda task_id=task_id: "Waiting for " in airflow.log("long", run_id, task_id, 2))  # type: ignore[misc]
        airflow.set_task_state("long", run_id, task_id, "failed")
    until(lambda: not live(bigquery, "SELECT long"), 40)


def test_triggerer_restart_cancels_nothing(airflow: LocalAirflow, bigquery: FakeBigQuery) -> None:
    """A triggerer that dies and comes back goes on with the same jobs."""
    bigquery.script("SELECT long", Outcome(running=25))
    run_id = airflow.trigger_dag("long")
    airflow.wait_task("long", run_id, "query", "deferred")
    job = jobs_of(bigquery, "SELECT long")[-1]
    airflow.restart("triggerer", signal=signal.SIGTERM)
    airflow.wait_task("long", run_id, "query", "success", timeout=120)
    assert job.cancelled_at is None
    assert airflow.xcom("long", run_id, "query")["job_id"] == job.job_id
    airflow.set_task_state("long", run_id, "http", "success")


def test_deleted_run_under_the_same_run_id(airflow: LocalAirflow, bigquery: FakeBigQuery) -> None:
    """A run that was deleted and runs again under its old run_id never takes the old job's result."""
    ids = []
    for answer in (1, 2):
        bigquery.script("AS success", Outcome(running=0.5, rows=[{"success": answer}]))
        run_id = airflow.trigger_dag("success", run_id="the_same")
        airflow.wait_task("success", run_id, "query", "success")
        query = airflow.xcom("success", run_id, "query")
        assert query["rows"] == [{"success": answer}]
        ids.append(query["job_id"])
        airflow.wait("success", run_id)
        airflow.delete_run("success", run_id)
    assert ids[0] != ids[1]
    assert set(ids) <= set(bigquery.jobs)


def test_sql_changed_between_two_tries(airflow: LocalAirflow, bigquery: FakeBigQuery) -> None:
    """The job of the old SQL is ended before that of the new one starts; its result is never taken."""
    bigquery.script("changed_between_tries', 1", Outcome(running=90, rows=[{"n": 1}]))
    bigquery.script("changed_between_tries', 2", Outcome(running=1, rows=[{"n": 2}]))
    bigquery.fail(Fault.status(503), on="GET */jobs/airflow_changed_between_tries_*", nth=2, times=-1)
    bigquery.fail(Fault.status(503), on="GET */projects/*/jobs", times=-1)
    run_id = airflow.trigger_dag("changed_between_tries")
    airflow.wait_task("changed_between_tries", run_id, "query", "up_for_retry")
    bigquery.heal()
    assert airflow.wait("changed_between_tries", run_id, timeout=120) == "success"
    old, new = jobs_of(bigquery, "changed_between_tries")
    assert old.cancelled_at is not None
    assert old.cancelled_at <= new.created_at
    assert airflow.xcom("changed_between_tries", run_id, "query")["job_id"] == new.job_id


def test_reordered_mapped_list(airflow: LocalAirflow, bigquery: FakeBigQuery) -> None:
    """After a clear that turns the mapped list around, each instance has the result of its present input."""

    def sent(run_id: str, index: int) -> str:
        return sent_parameter(bigquery, airflow.xcom("reordered", run_id, "query", map_index=index)["job_id"])

    run_id = airflow.trigger_dag("reordered")
    assert airflow.wait("reordered", run_id) == "success"
    assert [sent(run_id, i) for i in range(3)] == ["a", "b", "c"]
    airflow.clear("reordered", run_id, ["order", "query"])
    until(lambda: airflow.dag_run("reordered", run_id)["state"] != "success")
    assert airflow.wait("reordered", run_id) == "success"
    assert [sent(run_id, i) for i in range(3)] == ["c", "b", "a"]
    assert len(jobs_of(bigquery, "AS reordered")) == 6


def terminate(airflow: LocalAirflow, dag_id: str, run_id: str) -> None:
    """Send SIGTERM to the process in which the task runs."""
    os.kill(airflow.task_instance(dag_id, run_id, "query")["pid"], signal.SIGTERM)


def test_sigterm_before_the_submit(airflow: LocalAirflow, bigquery: FakeBigQuery) -> None:
    """A worker told to stop before its submit call starts no job."""
    run_id = airflow.trigger_dag("slow_start")
    airflow.wait_task("slow_start", run_id, "query", "running")
    time.sleep(2)
    terminate(airflow, "slow_start", run_id)
    assert airflow.wait("slow_start", run_id) == "failed"
    assert not jobs_of(bigquery, "SELECT slow_start")


def test_sigterm_during_the_submit(airflow: LocalAirflow, bigquery: FakeBigQuery) -> None:
    """A worker told to stop while the service works on its submit call leaves no job running."""
    bigquery.script("SELECT worker_bound", Outcome(running=120))
    bigquery.fail(Fault.hang(4, after=True), on="POST */projects/*/jobs")
    before = len(bigquery.requests)
    run_id = airflow.trigger_dag("worker_bound")
    until(lambda: any(r.method == "POST" and r.path.endswith("/jobs") for r in bigquery.requests[before:]))
    terminate(airflow, "worker_bound", run_id)
    assert airflow.wait("worker_bound", run_id) == "failed"
    assert jobs_of(bigquery, "SELECT worker_bound"), "the service never worked on the submit: the test shows nothing"
    assert not live(bigquery, "SELECT worker_bound")


def test_sigterm_after_the_submit(airflow: LocalAirflow, bigquery: FakeBigQuery) -> None:
    """A worker told to stop while it waits for its job leaves no job running."""
    bigquery.script("SELECT worker_bound", Outcome(running=120))
    run_id = airflow.trigger_dag("worker_bound")
    job = until(lambda: live(bigquery, "SELECT worker_bound"))[0]
    time.sleep(1)
    terminate(airflow, "worker_bound", run_id)
    assert airflow.wait("worker_bound", run_id) == "failed"
    assert job.cancelled_at is not None
    assert not live(bigquery, "SELECT worker_bound")
