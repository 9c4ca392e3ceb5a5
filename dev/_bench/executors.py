"""./dev/bench executors: workers at zero while tasks are deferred, with CeleryExecutor and a real Celery worker.

Four tasks start jobs of 40 seconds and defer. Then the only worker is stopped, as an autoscaler does that counts the
tasks which are queued or run. When the jobs have ended, the tasks are queued and count again; a new worker is started,
and its cold start is measured. The broker is a SQLite file (kombu's SQLAlchemy transport), for an experiment only.

Needs what is not among the tested versions: .venv/bin/uv pip install apache-airflow-providers-celery "celery<5.7"
"""

from __future__ import annotations

import os
import platform
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable
from contextlib import closing
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ork_provider.testing import FakeHttpJobs
from ork_provider.testing.local_airflow import LocalAirflow

DAGS = Path(__file__).resolve().parent.parent / "bench_dags" / "break_even"
WAIT = 40
TASKS = 4
COUNTED = "SELECT COUNT(*) FROM task_instance WHERE state IN ('running', 'queued')"
"""What the Helm chart of Airflow has KEDA count, without the division by the worker's concurrency."""


class Run:
    """An Airflow whose tasks are done by Celery workers that come and go."""

    def __init__(self, airflow: LocalAirflow) -> None:
        self.airflow = airflow
        self.run_id = airflow.trigger_dag(f"deferred_{WAIT}")
        self.began = time.monotonic()

    def say(self, what: str) -> None:
        """Print what has happened, when, and what an autoscaler counts."""
        print(f"{time.monotonic() - self.began:6.1f} s  {what}; queued or running: {self.counted()}", flush=True)

    def counted(self) -> int:
        """Return how many tasks an autoscaler counts."""
        with closing(sqlite3.connect(self.airflow.home / "airflow.db", timeout=60)) as database:
            return int(database.execute(COUNTED).fetchone()[0])

    def states(self) -> set[str]:
        """Return the states of the tasks."""
        return {str(one["state"]) for one in self.airflow.task_instances(f"deferred_{WAIT}", self.run_id)}

    def until(self, true: Callable[[], bool], what: str, timeout: float = 180) -> float:
        """Wait until something is true; return how long that took."""
        began = time.monotonic()
        while not true():
            if time.monotonic() - began > timeout:
                raise SystemExit(f"dev/bench: waited {timeout:g} s until {what}; the tasks are {self.states()}")
            time.sleep(0.1)
        self.say(what)
        return time.monotonic() - began


def measure(json_file: Path | None = None) -> int:
    """Take the workers to zero and back."""
    try:
        versions = {package: version(package) for package in ("apache-airflow-providers-celery", "celery")}
    except PackageNotFoundError as missing:
        raise SystemExit(
            f"dev/bench: {missing.name} is not installed{(__doc__ or '').rpartition('Needs')[2]}"
        ) from None
    with FakeHttpJobs() as service:
        env = {
            **service.connections(),
            "ORK_BENCH_WAITS": str(WAIT),
            "ORK_BENCH_TASKS": str(TASKS),
            "ORK_BENCH_AT_ONCE": str(TASKS),
        }
        airflow = LocalAirflow(DAGS, env={**env, "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1"}, quiet=False)
        airflow._environ.update(
            {
                "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
                "AIRFLOW__CELERY__BROKER_URL": f"sqla+sqlite:///{airflow.home}/broker.db",
                "AIRFLOW__CELERY__RESULT_BACKEND": f"db+sqlite:///{airflow.home}/results.db",
                "AIRFLOW__CELERY__WORKER_CONCURRENCY": str(TASKS),
                "AIRFLOW__CELERY__WORKER_ENABLE_REMOTE_CONTROL": "False",
            }
        )
        with airflow:
            _zero_and_back(airflow)
    packages = {"apache-airflow": version("apache-airflow"), **versions}
    print(f"cores {os.cpu_count()}, Python {platform.python_version()}, {packages}")
    return 0


def _zero_and_back(airflow: LocalAirflow) -> None:
    worker, run = _start_worker(airflow), Run(airflow)
    run.say("a worker is started")
    run.until(lambda: run.states() == {"deferred"}, f"all {TASKS} tasks are deferred")
    worker.send_signal(signal.SIGTERM)
    run.until(lambda: worker.poll() is not None, "the worker has ended (SIGTERM)")
    run.until(lambda: run.states() == {"queued"}, "the jobs have ended, all tasks are queued again")
    began = time.monotonic()
    worker = _start_worker(airflow)
    run.until(lambda: "queued" not in run.states(), "a new worker has taken them all")
    run.until(lambda: run.states() == {"success"}, "all have succeeded")
    print(f"from the start of the new worker to the end of the last task: {time.monotonic() - began:.1f} s")
    worker.send_signal(signal.SIGTERM)
    worker.wait(60)


def _start_worker(airflow: LocalAirflow) -> subprocess.Popen[bytes]:
    return airflow._popen("worker", "celery", "worker", "--without-gossip", "--without-mingle", "--skip-serve-logs")
