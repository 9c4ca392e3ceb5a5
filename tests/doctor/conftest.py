"""One Airflow for each database, with the DAGs of tests/doctor/dags, and the services that they wait for."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from resource import RLIMIT_NOFILE, getrlimit, setrlimit
from typing import Any

import pytest

from ork_provider.testing import FakeBigQuery, FakeHttpJobs
from ork_provider.testing.local_airflow import LocalAirflow
from tests.support.forks import Forks
from tests.support.postgres import postgres

HERE = Path(__file__).parent
SETTINGS = {
    "AIRFLOW__CORE__PLUGINS_FOLDER": str(HERE / "plugins"),
    "AIRFLOW__SCHEDULER__TRIGGER_TIMEOUT_CHECK_INTERVAL": "1",
    "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
}


class Ward(LocalAirflow):
    """An Airflow, and what its doctor says of it."""

    http_url: str
    _forks: Forks | None = None

    def ork(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `airflow ork ...`."""
        if self._forks is None:
            commands = (f"ork_provider.cli.{name}" for name in ("doctor", "explain", "waiting"))
            self._forks = Forks(self.home, self._environ, *commands)
        return self._forks("ork", *arguments)

    def stop(self, grace: float = 3) -> None:
        """Stop what was started."""
        if self._forks is not None:
            self._forks.close()
            self._forks = None
        super().stop(grace)

    def doctor(self, *arguments: str) -> tuple[int, dict[str, list[dict[str, str]]]]:
        """Return the exit code, and the findings by the name of their check."""
        done = self.ork("doctor", "-o", "json", *arguments)
        assert done.stdout.startswith("["), done.stdout + done.stderr
        findings: dict[str, list[dict[str, str]]] = {}
        for finding in json.loads(done.stdout):
            findings.setdefault(finding["check"], []).append(finding)
        return done.returncode, findings

    def diagnosis(self, check: str, *arguments: str) -> dict[str, str]:
        """Return the finding of a check that fails, after having seen that it makes the doctor fail."""
        code, findings = self.doctor("--check", check, *arguments)
        (finding,) = [finding for finding in findings[check] if finding["status"] == "FAIL"]
        assert code == 2
        print(f"\n{finding['status']} {check}: {finding['found']}\n  -> {finding['do']}")
        return finding

    def begin(self, dag_id: str, **tasks: int) -> str:
        """Start a run and wait until its tasks are deferred: their names, and of how many instances."""
        run_id = self.trigger_dag(dag_id)
        for task_id, count in tasks.items():
            for map_index in range(count) if count > 1 else (-1,):
                self.wait_task(dag_id, run_id, task_id, "deferred", map_index=map_index)
        return run_id

    def until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait until a condition holds."""
        self._until(lambda: condition() or None, 90, lambda: what)

    def json(self, *arguments: str) -> Any:
        """Run a command of `airflow ork` that prints JSON; return that."""
        done = self.ork(*arguments, "-o", "json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@contextmanager
def open_files(limit: int) -> Iterator[None]:
    """Let what is started meanwhile open fewer files."""
    soft, hard = getrlimit(RLIMIT_NOFILE)
    setrlimit(RLIMIT_NOFILE, (limit, hard))
    try:
        yield
    finally:
        setrlimit(RLIMIT_NOFILE, (soft, hard))


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def ward(request: pytest.FixtureRequest) -> Iterator[Ward]:
    """Start an Airflow; jobs of its services take an hour."""
    with ExitStack() as stack:
        bigquery = stack.enter_context(FakeBigQuery(pending=0, running=3600))
        http = stack.enter_context(FakeHttpJobs(pending=0, running=3600))
        database = "sqlite" if request.param == "sqlite" else stack.enter_context(postgres()).url
        env = {**SETTINGS, **bigquery.connections(), **http.connections()}
        with open_files(4096):
            ward = stack.enter_context(Ward(HERE / "dags", env=env, database=database, parallelism=8))
        ward.http_url = http.url
        yield ward
