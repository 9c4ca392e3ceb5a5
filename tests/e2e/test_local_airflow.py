"""LocalAirflow runs DAGs in a real Airflow and leaves nothing behind."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from ork_provider.testing.local_airflow import COMPONENTS, LocalAirflow, LocalAirflowError

DAGS = Path(__file__).parent / "dags"
SMALL, DEFERS, SLEEPS = "local_airflow_small", "local_airflow_defers", "local_airflow_sleeps"


@pytest.fixture
def deferred(airflow: LocalAirflow) -> Iterator[str]:
    """Start a run whose only task waits in the triggerer."""
    run_id = airflow.trigger_dag(DEFERS)
    airflow.wait_task(DEFERS, run_id, "wait", "deferred")
    yield run_id
    airflow.set_task_state(DEFERS, run_id, "wait", "success")
    airflow.wait(DEFERS, run_id)
    airflow.delete_run(DEFERS, run_id)


def test_a_run_ends_and_can_be_looked_into(airflow: LocalAirflow) -> None:
    run_id = airflow.trigger_dag(SMALL, conf={"color": "blue"}, run_id="one+two~3")
    assert run_id == "one+two~3"
    assert airflow.wait(SMALL, run_id) == "success"
    assert airflow.dag_run(SMALL, run_id)["conf"] == {"color": "blue"}
    instances = {(i["task_id"], i["map_index"]): i["state"] for i in airflow.task_instances(SMALL, run_id)}
    assert instances == {("greet", -1): "success", ("double", 0): "success", ("double", 1): "success"}
    assert airflow.xcom(SMALL, run_id, "double", map_index=1) == 4
    assert airflow.xcom(SMALL, run_id, "double", key="no such key") is None
    assert "doubling 2" in airflow.log(SMALL, run_id, "double", map_index=1)


def test_a_deferred_task_can_be_marked_failed_and_cleared(airflow: LocalAirflow, deferred: str) -> None:
    airflow.set_task_state(DEFERS, deferred, "wait", "failed")
    assert airflow.wait(DEFERS, deferred) == "failed"
    airflow.clear(DEFERS, deferred, ["wait"])
    again = airflow.wait_task(DEFERS, deferred, "wait", "deferred")
    assert again["try_number"] == 2


def test_a_component_can_be_killed_and_started_again(airflow: LocalAirflow, deferred: str) -> None:
    before = airflow.pid("triggerer")
    airflow.restart("triggerer", signal=signal.SIGKILL)
    assert not psutil.pid_exists(before)
    assert airflow.health()["triggerer"]["status"] == "healthy"


def test_a_wait_that_is_too_long_names_the_states(airflow: LocalAirflow, deferred: str) -> None:
    with pytest.raises(LocalAirflowError, match=r"Waited 0.1 s for .*wait\[-1\] is deferred"):
        airflow.wait(DEFERS, deferred, timeout=0.1)


def test_an_unknown_dag_is_named(airflow: LocalAirflow) -> None:
    with pytest.raises(LocalAirflowError, match=r"404 .*no_such_dag"):
        airflow.trigger_dag("no_such_dag")


def test_a_port_in_use_is_named_before_anything_starts() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(LocalAirflowError, match=f"Port {port} of 127.0.0.1 cannot be used"):
            LocalAirflow(DAGS, port=port)


def test_a_file_that_does_not_import_ends_the_start(tmp_path: Path) -> None:
    home = tmp_path / "home"
    broken = tmp_path / "dags" / "broken.py"
    broken.parent.mkdir()
    broken.write_text("from airflow.sdk import DAG\nDAG(1 / 0)\n")
    with pytest.raises(LocalAirflowError, match=r"(?s)broken.py does not import.*ZeroDivisionError"):
        LocalAirflow(broken.parent, home=home).__enter__()
    assert not _processes_of(home)


def test_a_signal_leaves_no_process_behind(tmp_path: Path) -> None:
    """Components, log servers, LocalExecutor's workers, tasks and what tasks have started: all must be gone."""
    script = f"""
from pathlib import Path
from ork_provider.testing.local_airflow import LocalAirflow
with LocalAirflow(Path({str(DAGS)!r}), home=Path({str(tmp_path)!r})) as airflow:
    run_id = airflow.trigger_dag({SLEEPS!r})
    airflow.wait_task({SLEEPS!r}, run_id, "sleep", "running")
    print("running", flush=True)
    airflow.wait({SLEEPS!r}, run_id, timeout=1000)
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "running\n"
        started = psutil.Process(program.pid).children(recursive=True)
        assert len(started) > len(COMPONENTS)
        program.send_signal(signal.SIGTERM)
        program.wait(30)
    assert not [process for process in started if _is_alive(process)]
    assert not _processes_of(tmp_path)


def _is_alive(process: psutil.Process) -> bool:
    """Say if a process runs; one that is dead and only waits for init to notice does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _processes_of(home: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("AIRFLOW_HOME") == str(home):
                found.append(process)
        except psutil.Error:
            continue
    return found
