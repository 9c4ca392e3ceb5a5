"""One Airflow, and the fakes that its connections point to, for all end-to-end tests of a run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ork_provider.testing import FakeBigQuery, FakeHttpJobs
from ork_provider.testing.local_airflow import LocalAirflow

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give tests in a real Airflow more time; the first one also starts it."""
    for item in items:
        if item.path.is_relative_to(HERE) and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(240))


@pytest.fixture(scope="session")
def bigquery() -> Iterator[FakeBigQuery]:
    """Serve the BigQuery that the connection `google_cloud_default` points to."""
    with FakeBigQuery() as fake:
        yield fake


@pytest.fixture(scope="session")
def http_jobs() -> Iterator[FakeHttpJobs]:
    """Serve the HTTP job service that the connection `http_default` points to."""
    with FakeHttpJobs() as fake:
        yield fake


@pytest.fixture(scope="session")
def airflow(bigquery: FakeBigQuery, http_jobs: FakeHttpJobs) -> Iterator[LocalAirflow]:
    """Start an Airflow with the DAGs of `tests/e2e/dags`, at its default settings."""
    with LocalAirflow(
        HERE / "dags", parallelism=32, env={**bigquery.connections(), **http_jobs.connections()}
    ) as airflow:
        yield airflow
