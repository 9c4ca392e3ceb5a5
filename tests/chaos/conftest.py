"""The chaos suite runs when it is asked for: `./dev/test --chaos [--seed N]`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from ork_provider.testing import merged_connections
from ork_provider.testing.local_airflow import LocalAirflow
from tests.chaos.monkey import Site
from tests.chaos.plan import WATCHED, Work, decide, make_plan, to_json
from tests.support.cloud import Cloud, serve_cloud
from tests.support.postgres import postgres

HERE = Path(__file__).parent
FAST = {
    "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "2",
    "AIRFLOW__WORKERS__SOCKET_CLEANUP_TIMEOUT": "2",
    "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "12",
    "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "2",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "25",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "5",
    "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "10",
    "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "12",
    "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "2",
    "AIRFLOW__CORE__HOSTNAME_CALLABLE": "tests.chaos.hostname.hostname",
    "PYTHONPATH": str(HERE.parent.parent),
}
"""Airflow notices within seconds, instead of minutes, that somebody has died, and calls its triggerers by name."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the seed."""
    parser.addoption("--seed", type=int, default=1, help="what the monkey of tests/chaos does, and when")
    parser.addoption("--kills", type=int, default=4, help="how often tests/chaos kills a triggerer while jobs wait")
    parser.addoption("--waiting", type=int, default=100, help="how many jobs wait meanwhile; a multiple of 5")


@pytest.fixture(scope="session")
def seed(request: pytest.FixtureRequest) -> int:
    """Return the seed."""
    return int(request.config.getoption("--seed"))


@pytest.fixture(scope="session")
def kills(request: pytest.FixtureRequest) -> int:
    """Return how often a triggerer is killed."""
    return int(request.config.getoption("--kills"))


@pytest.fixture(scope="session")
def waiting(request: pytest.FixtureRequest) -> int:
    """Return how many jobs wait meanwhile."""
    return int(request.config.getoption("--waiting"))


@pytest.fixture(scope="session")
def site(seed: int, waiting: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Run an Airflow with two triggerers on PostgreSQL, and the services that its connections point to."""
    works = make_plan(seed)
    with serve_cloud() as cloud, postgres() as server:
        for work in works:
            decide(cloud, work.tag, work.seconds, good=work.ending != "bad")
        folder = tmp_path_factory.mktemp("chaos")  # with the logs; pytest keeps the last three
        plan = folder / "plan.json"
        plan.write_text(to_json(works, seeded(cloud, [work for work in works if work.kind == "watch"])))
        env = {**merged_connections(cloud.all), **FAST, "ORK_CHAOS_PLAN": str(plan), "ORK_CHAOS_WAITING": str(waiting)}
        with LocalAirflow(
            HERE / "dags", home=folder / "airflow", database=server.url, triggerers=2, parallelism=8, env=env
        ) as airflow:
            yield Site(works, cloud, server, airflow)


def seeded(cloud: Cloud, works: list[Work]) -> list[list[dict[str, Any]]]:
    """Start the jobs that the watchers watch, by nobody's task."""
    listed, parts = [], [0.5 + (n + 1) / (2 * WATCHED) for n in range(WATCHED)]
    for work in works:
        body = [{"tag": f"seeded-{work.tag}", "fake": {"running": work.seconds * part}} for part in parts]
        ids = [httpx.post(f"{cloud.http_jobs.url}/jobs", json=one).json()["id"] for one in body]
        listed.append([{"service_type": "custom_http", "url": f"/jobs/{job_id}"} for job_id in ids])
    return listed
