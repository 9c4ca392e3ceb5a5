"""Waits for DAG runs and tasks in a real Airflow with two worker slots: no deadlock, outcomes, restarts, REST."""

from __future__ import annotations

import json
import re
import shutil
import signal
import socket
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from ork_provider.testing.local_airflow import LocalAirflow

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
WORKFLOWS = 10
SUB_TASKS = 4 * WORKFLOWS
STALL = 12.0
"""Seconds in which no sub-task may have started while all slots are held by those who wait for them."""

ETL, EXTRACT = "example_dependency_etl", "example_dependency_extract"
LOADED = "users: 5, orders: 6, products: 8, inventory: 9"
PATIENCE = '"poll_timeout": 30'
"""What the example has; here a wait gives its slot back sooner."""

PASSWORDS = {"admin": "the-admin-s-own", "reader": "the-reader-s-own"}
FINISHED = re.compile(r"^\S+ .*Workload finished .*\bduration=(\S+) .*\bworkload_id=(\S+)", re.MULTILINE)


class GuardedAirflow(LocalAirflow):
    """An Airflow that wants a token, which is good for a few seconds only."""

    def _send(self, method: str, path: str, **request: Any) -> httpx.Response:
        for _ in range(8):
            answer = super()._send(method, path, **request)
            if answer.status_code == 401:
                self._http.headers["Authorization"] = f"Bearer {self._new_token()}"
            elif answer.status_code == 500:
                time.sleep(0.5)  # SQLite was locked for too long
            else:
                break
        return answer

    def _new_token(self) -> str:
        login = {"username": "admin", "password": PASSWORDS["admin"]}
        answer = httpx.post(f"{self.url}/auth/token", json=login, trust_env=False)
        return str(answer.raise_for_status().json()["access_token"])

    def rows(self, question: str, *parameters: Any) -> list[Any]:
        """Ask the database."""
        with sqlite3.connect(f"file:{self.home}/airflow.db?mode=ro", uri=True) as db:
            return db.execute(question, parameters).fetchall()

    def start_run(self, dag_id: str, **conf: str) -> str:
        """Trigger a run that waits for the runs named; return its id."""
        return self.trigger_dag(dag_id, conf=conf)

    def worker_seconds(self, instances: set[str]) -> float:
        """Return for how many seconds these task instances have held worker slots, as far as they gave them back."""
        found = FINISHED.findall(self.component_log("scheduler"))
        return sum(float(seconds) for seconds, instance in found if instance in instances)


@pytest.fixture(scope="module")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardedAirflow]:
    """Start an Airflow with two worker slots, and with users whose tokens expire soon."""
    folder = tmp_path_factory.mktemp("dependency")
    dags = folder / "dags"
    dags.mkdir()
    for file in (HERE / "dags" / "dependency_waits.py", *ROOT.glob("example_dags/example_dependency_*.py")):
        shutil.copy(file, dags)
    pipeline = dags / f"{ETL}.py"
    assert PATIENCE in pipeline.read_text()
    pipeline.write_text(pipeline.read_text().replace(PATIENCE, '"poll_timeout": 3'))
    passwords = folder / "passwords.json"
    passwords.write_text(json.dumps(PASSWORDS))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    user = {"conn_type": "http", "host": f"http://127.0.0.1:{port}", "login": "reader"}
    env = {
        "AIRFLOW_CONN_AIRFLOW_SELF": json.dumps({**user, "password": PASSWORDS["reader"]}),
        "AIRFLOW_CONN_AIRFLOW_WRONG": json.dumps({**user, "password": "another-one"}),
        "AIRFLOW__API_AUTH__JWT_EXPIRATION_TIME": "5",
        "AIRFLOW__API_AUTH__JWT_LEEWAY": "0",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "False",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "admin:admin,reader:viewer",
        "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
    }
    airflow = GuardedAirflow(dags, parallelism=2, port=port, env=env)
    with airflow:
        for name, slots in (("held", 0), ("external_api", 5)):
            airflow._call("POST", "/pools", json={"name": name, "slots": slots})
        yield airflow


def until(reached: Callable[[], Any], seconds: float = 60) -> Any:
    """Return what ``reached`` returns once that is true."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := reached():
            return found
        time.sleep(0.25)
    raise AssertionError(f"not reached in {seconds} s: {reached}")


def states(airflow: LocalAirflow, dag_id: str, run_ids: list[str]) -> Counter[str]:
    """Count the states of the task instances of runs."""
    return Counter(i["state"] or "none" for run_id in run_ids for i in airflow.task_instances(dag_id, run_id))


def start_waiting(airflow: GuardedAirflow, dag_id: str, task_ids: tuple[str, ...]) -> tuple[str, str]:
    """Start tasks that wait for a run whose tasks the test lets end; return both runs once all have deferred."""
    held = airflow.start_run("dependency_held")
    run_id = airflow.start_run(dag_id, held=held)
    for task_id in task_ids:
        airflow.wait_task(dag_id, run_id, task_id, "deferred")
    return held, run_id


def test_examples(airflow: GuardedAirflow) -> None:
    """Both pipelines of the page run: the one as its schedule starts it, the other with a pool as its throttle."""
    report = airflow.start_run("example_dependency_api")
    (pipeline,) = until(lambda: airflow._call("GET", f"/dags/{ETL}/dagRuns")["dag_runs"])
    assert airflow.wait("example_dependency_api", report, timeout=100) == "success"
    said = airflow.xcom("example_dependency_api", report, "generate_report")
    assert said == ", ".join(f"user {n}" for n in range(1, 7))
    run_id = pipeline["dag_run_id"]
    if airflow.wait(ETL, run_id, timeout=100) != "success":
        logs = [airflow.log(ETL, run_id, task_id) for task_id in ("transform", "load")]
        raise AssertionError("\n".join(logs))
    assert airflow.xcom(ETL, run_id, "load") == LOADED


def test_a_failed_task_ends_the_wait_at_once(airflow: GuardedAirflow) -> None:
    """One of three has failed: the wait fails, or is skipped, within a look; ``continue`` waits for the others."""
    held, run_id = start_waiting(airflow, "dependency_outcomes", ("fails", "skips", "continues"))
    airflow.set_task_state("dependency_held", held, "load", "failed", map_index=1)
    began = time.monotonic()
    airflow.wait_task("dependency_outcomes", run_id, "fails", "failed")
    airflow.wait_task("dependency_outcomes", run_id, "skips", "skipped")
    assert time.monotonic() - began < 30
    assert airflow.task_instance("dependency_outcomes", run_id, "continues")["state"] == "deferred"
    log = airflow.log("dependency_outcomes", run_id, "fails")
    assert "JobFailed" in log
    assert re.search(r"0 of 3 succeeded; 1 failed; 2 pending; incomplete: load\[1\] \(failed\)", log)
    told = airflow.xcom("dependency_outcomes", run_id, "fails", key="ork_job")
    assert (told["state"], told["stats"]["incomplete"]["load[1]"]) == ("failed", "failed")
    airflow.set_task_state("dependency_held", held, "load", "success", map_index=0)
    airflow.set_task_state("dependency_held", held, "check", "success")
    airflow.wait_task("dependency_outcomes", run_id, "continues", "success")
    (only,) = airflow.xcom("dependency_outcomes", run_id, "continues")["dependencies"]
    assert (only["stats"]["succeeded"], only["stats"]["failed"]) == (2, 1)


def test_cleared_restarted_and_without_a_triggerer(airflow: GuardedAirflow) -> None:
    """What is cleared is waited for again; a wait outlives its triggerer; one that may be rescheduled needs none."""
    held, run_id = start_waiting(airflow, "dependency_patient", ("waits",))
    _check_deferred_rows(airflow, run_id)
    airflow.set_task_state("dependency_held", held, "load", "success", map_index=0)
    airflow.set_task_state("dependency_held", held, "load", "success", map_index=1)
    until(lambda: "2 of 3" in airflow.log("dependency_patient", run_id, "waits"))
    airflow.clear("dependency_held", held, [("load", 1)])
    airflow.set_task_state("dependency_held", held, "check", "success")
    until(lambda: "incomplete: load[1] (" in airflow.log("dependency_patient", run_id, "waits"))
    airflow.kill("triggerer", signal.SIGTERM)
    fallback = airflow.start_run("dependency_fallback", held=held)
    until(lambda: len(_reschedules(airflow, fallback)) >= 2)
    assert airflow.task_instance("dependency_patient", run_id, "waits")["state"] == "deferred"
    airflow.set_task_state("dependency_held", held, "load", "success", map_index=1)
    airflow.launch("triggerer")
    assert airflow.wait("dependency_fallback", fallback) == "success"
    assert airflow.task_instance("dependency_fallback", fallback, "waits")["try_number"] == 1
    assert re.search(r"rescheduled.* poll_count=2", airflow.log("dependency_fallback", fallback, "waits"))
    assert airflow.wait("dependency_patient", run_id) == "success"
    assert airflow.rows("SELECT count(*) FROM trigger WHERE classpath LIKE '%DependencyWaitTrigger'") == [(0,)]


def _check_deferred_rows(airflow: GuardedAirflow, run_id: str) -> None:
    """See that the rows of a deferred wait are as docs/dependency-wait.md tells."""
    ((state, method, tries, trigger_id),) = airflow.rows(
        "SELECT state, next_method, try_number, trigger_id FROM task_instance WHERE run_id = ?", run_id
    )
    assert (state, method, tries) == ("deferred", "execute_complete", 1)
    ((classpath, arguments),) = airflow.rows("SELECT classpath, kwargs FROM trigger WHERE id = ?", trigger_id)
    assert classpath == "ork_provider.dependency.DependencyWaitTrigger"
    assert json.loads(arguments)["jobs"][0]["dag_id"] == "dependency_held"


def _reschedules(airflow: GuardedAirflow, run_id: str) -> list[Any]:
    question = (
        "SELECT r.reschedule_date FROM task_reschedule r JOIN task_instance t ON r.ti_id = t.id WHERE t.run_id = ?"
    )
    return airflow.rows(question, run_id)


def test_over_the_rest_api(airflow: GuardedAirflow) -> None:
    """Runs, tasks, groups and instances of another Airflow, with outputs; tokens that expire are fetched anew."""
    held = airflow.start_run("dependency_held")
    run_id = airflow.start_run("dependency_elsewhere", run="rest", held=held)
    airflow.trigger_dag("dependency_parts", run_id="rest")
    airflow.wait_task("dependency_elsewhere", run_id, "unauthorized", "failed")
    log = airflow.log("dependency_elsewhere", run_id, "unauthorized")
    assert re.search(r"/auth/token answered 401: .*Check the credentials of the Airflow connection", log)
    airflow.wait("dependency_parts", "rest")
    airflow.wait_task("dependency_elsewhere", run_id, "collect", "deferred")
    time.sleep(6)  # longer than a token is good for
    airflow.set_task_state("dependency_held", held, "load", "success", map_index=0)
    airflow.wait("dependency_elsewhere", run_id)
    assert airflow.xcom("dependency_elsewhere", run_id, "collect") == [4, 8]  # in map order
    looked = airflow.xcom("dependency_elsewhere", run_id, "look")
    assert (looked["run_state"], looked["total"], looked["succeeded"]) == ("success", 4, 4)
    assert "asking failed" not in airflow.log("dependency_elsewhere", run_id, "collect")


@pytest.mark.timeout(300)
def test_ten_workflows_on_two_workers(airflow: GuardedAirflow, capsys: pytest.CaptureFixture[str]) -> None:
    """Ten pipelines wait for forty sub-tasks: with two slots all end; those who block them let no sub-task start."""
    pipelines, ids, seconds = _run_all(airflow)
    deferred = airflow.worker_seconds(ids)
    held = _stall(airflow)
    with capsys.disabled():
        print(f"\n{WORKFLOWS} workflows that wait for {SUB_TASKS} sub-tasks with 2 worker slots:")
        print(f"deferred: all ended after {seconds:.0f} s; their waits held slots for {deferred:.1f} worker-seconds")
        print(f"blocking: in {STALL:.0f} s no sub-task started; 2 waits held slots for {held:.1f} worker-seconds")
    assert [airflow.xcom(ETL, run_id, "load") for run_id in pipelines] == [LOADED] * WORKFLOWS
    assert deferred < WORKFLOWS * seconds / 4
    assert held >= 2 * STALL


def _run_all(airflow: GuardedAirflow) -> tuple[list[str], set[str], float]:
    """Run the example pipeline of ten days, the waits first; return its runs, the waits, and how long it all took.

    The waits get both slots before anything that they wait for may start.
    """
    began = time.monotonic()
    dates = [f"2026-02-{day:02}T00:00:00Z" for day in range(1, WORKFLOWS + 1)]
    pipelines = [airflow.trigger_dag(ETL, logical_date=date) for date in dates]
    until(lambda: states(airflow, ETL, pipelines)["running"] == 2)
    extracts = [airflow.trigger_dag(EXTRACT, logical_date=date) for date in dates]
    for run_id in pipelines:
        assert airflow.wait(ETL, run_id, timeout=200) == "success"
    assert states(airflow, EXTRACT, extracts) == {"success": SUB_TASKS}
    seconds = time.monotonic() - began
    waits = {airflow.task_instance(ETL, run_id, "transform")["id"] for run_id in pipelines}
    return pipelines, waits, seconds


def _stall(airflow: GuardedAirflow) -> float:
    """Start the waits in the worker, then what they wait for; return for how long slots were held in vain."""
    parts = [f"stalled_{n}" for n in range(WORKFLOWS)]
    waiters = [airflow.start_run("dependency_blocking", run=run_id) for run_id in parts]
    until(lambda: states(airflow, "dependency_blocking", waiters)["running"] == 2)
    began = time.monotonic()
    for run_id in parts:
        airflow.trigger_dag("dependency_parts", run_id=run_id)
    time.sleep(STALL)
    started = states(airflow, "dependency_parts", parts)
    assert set(started) <= {"none", "scheduled", "queued"}, started
    assert states(airflow, "dependency_blocking", waiters)["running"] == 2
    return 2 * (time.monotonic() - began)  # they still do; this test is the last one
