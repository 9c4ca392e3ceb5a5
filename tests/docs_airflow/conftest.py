"""One Airflow per database, in which some tasks wait, some have ended and some cannot go on."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from xdist.scheduler import LoadScopeScheduling

from ork_provider.testing import FakeBigQuery, FakeHttpJobs, merged_connections
from ork_provider.testing.local_airflow import LocalAirflow
from tests.support.postgres import postgres

HERE = Path(__file__).parent
SETTINGS = {
    "AIRFLOW__SCHEDULER__TRIGGER_TIMEOUT_CHECK_INTERVAL": "3600",  # what is overdue stays so
    "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
    "PYTHONPATH": str(HERE.parent.parent),
}
FIELDS = ("dag_id", "task_id", "map_index")
Who = tuple[str, str, int]

WAITING: set[Who] = {
    *(("waits", task_id, -1) for task_id in ("http", "query", "airflows", "overdue")),
    *(("waits", "mapped", n) for n in range(3)),
}
"""What is deferred, and stays so."""

HELD: set[Who] = {("paused", "http", -1), ("no_slot", "http", -1)}
"""What has resumed, and is not run."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give tests in a real Airflow more time; the first one also starts it."""
    for item in items:
        if item.path.is_relative_to(HERE) and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(240))


class ByAirflow(LoadScopeScheduling):
    """Several processes of pytest-xdist share the files and, of the tests of a `scene`, the databases."""

    def _split_scope(self, nodeid: str) -> str:
        """Name what of a test stays in one process."""
        database = re.search(r"\[(sqlite|postgresql)\]", nodeid)
        return database[1] if database else nodeid.partition("::")[0]


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByAirflow:
    """Let no Airflow be started twice."""
    return ByAirflow(config, log)


@dataclass
class Scene:
    """An Airflow, its database, and what is known of both.

    :param runs: the run of each DAG
    :param killed: when its triggerer was killed, if it was
    :param late: what has deferred since then
    """

    name: str
    airflow: LocalAirflow
    engine: sa.Engine
    http_jobs: FakeHttpJobs
    runs: dict[str, str] = field(default_factory=dict)
    killed: datetime | None = None
    late: set[Who] = field(default_factory=set)

    @property
    def env(self) -> dict[str, str]:
        """The environment of the Airflow's commands."""
        return self.airflow._environ

    def rows(self, sql: str, **values: Any) -> list[dict[str, Any]]:
        """Return what a query finds."""
        query = sa.text(sql)
        names = set(query._bindparams)
        with self.engine.connect() as connection:
            found = connection.execute(query, {name: self._value(values[name]) for name in names})
            return [dict(row) for row in found.mappings()]

    def _value(self, value: Any) -> Any:
        """Return a value as the database has it: in SQLite times are texts, in UTC."""
        if isinstance(value, datetime) and self.name == "sqlite":
            return value.astimezone(timezone.utc).strftime("%Y-%m-%d %H:%M:%S.%f")
        return value

    def execute(self, sql: str, **values: Any) -> None:
        """Change something by hand."""
        with self.engine.begin() as connection:
            connection.execute(sa.text(sql), {name: self._value(value) for name, value in values.items()})

    def instance(self, who: Who) -> dict[str, Any]:
        """Return what Airflow's API says of a task instance."""
        dag_id, task_id, map_index = who
        return self.airflow.task_instance(dag_id, self.runs[dag_id], task_id, map_index)

    def start(self, *dag_ids: str) -> None:
        """Start a run of each."""
        for dag_id in dag_ids:
            self.runs[dag_id] = self.airflow.trigger_dag(dag_id)

    def wait(self, wanted: set[Who], *states: str, timeout: float = 90) -> None:
        """Wait until all of them are in one of the states."""

        def reached() -> bool:
            return {state for who in wanted for state in [self.instance(who)["state"]]} <= set(states)

        until(reached, timeout, lambda: str({who: self.instance(who)["state"] for who in wanted}))


def until(reached: Callable[[], Any], seconds: float, say: Callable[[], str] = str) -> None:
    """Wait until something is true; if it never is, fail with what ``say`` returns."""
    end = time.monotonic() + seconds
    while not reached():
        if time.monotonic() > end:
            raise AssertionError(f"not reached in {seconds} s: {say()}")
        time.sleep(0.25)


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def scene(request: pytest.FixtureRequest) -> Iterator[Scene]:
    """Start an Airflow on the database, and wait until all is as WAITING and HELD say."""
    with ExitStack() as stack:
        server = stack.enter_context(postgres()) if request.param == "postgresql" else None
        http_jobs = stack.enter_context(FakeHttpJobs())
        bigquery = stack.enter_context(FakeBigQuery(running=3600))
        airflow = LocalAirflow(
            HERE / "dags",
            env={**merged_connections([http_jobs, bigquery]), **SETTINGS},
            database=server.url if server else "sqlite",
            parallelism=8,
        )
        stack.enter_context(airflow)
        url = server.url if server else f"sqlite:///{airflow.home}/airflow.db"
        engine = sa.create_engine(url, connect_args={} if server else {"timeout": 60})
        stack.callback(engine.dispose)
        scene = Scene(request.param, airflow, engine, http_jobs)
        _prepare(scene)
        yield scene


def _prepare(scene: Scene) -> None:
    def rest(method: str, path: str, **request: Any) -> None:
        """Send a request, again while SQLite is locked."""
        until(lambda: scene.airflow._send(method, path, **request).is_success, 30, lambda: f"{method} {path}")

    narrow = {"name": "narrow", "slots": 1, "include_deferred": False}
    rest("POST", "/pools", json=narrow)
    scene.start("paused", "no_slot", "ended", "waits")
    scene.wait(HELD, "deferred")
    rest("PATCH", "/dags/paused", params={"update_mask": "is_paused"}, json={"is_paused": True})
    rest("PATCH", "/pools/narrow", json={**narrow, "slots": 0})
    scene.wait(WAITING, "deferred")
    until(lambda: all(scene.instance(who)["triggerer_job"] for who in WAITING), 30)
    scene.wait({("ended", "http", -1)}, "success")
    scene.wait(HELD, "scheduled")


@pytest.fixture
def without_triggerer(scene: Scene) -> Scene:
    """Kill the triggerer, once; two tasks defer after that."""
    if scene.killed is None:
        scene.airflow.kill("triggerer")
        scene.killed = datetime.now(timezone.utc)
        scene.start("late")
        scene.late = {("late", "http", n) for n in range(2)}
        scene.wait(scene.late, "deferred")
    return scene


def ago(seconds: float) -> datetime:
    """Return the time so many seconds ago."""
    return datetime.now(timezone.utc) - timedelta(seconds=seconds)
