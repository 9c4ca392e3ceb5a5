"""One Airflow, and the fakes that its connections point to, for all end-to-end tests of a run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ork_provider.testing import FakeBigQuery, FakeCloudRun, FakeDataproc, FakeDqops, FakeHttpJobs, FakeServer
from ork_provider.testing.google_connection import merged_connections
from ork_provider.testing.local_airflow import LocalAirflow

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give tests in a real Airflow more time; the first one also starts it."""
    for item in items:
        if item.path.is_relative_to(HERE) and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(240))


@dataclass
class Cloud:
    """A fake of every service."""

    bigquery: FakeBigQuery
    cloud_run: FakeCloudRun
    dataproc: FakeDataproc
    http_jobs: FakeHttpJobs
    dqops: FakeDqops

    @property
    def all(self) -> list[FakeServer]:
        """The fakes."""
        return [self.bigquery, self.cloud_run, self.dataproc, self.http_jobs, self.dqops]


@pytest.fixture(scope="session")
def cloud() -> Iterator[Cloud]:
    """Serve what the default connections point to."""
    with (
        FakeBigQuery() as bigquery,
        FakeCloudRun() as cloud_run,
        FakeDataproc() as dataproc,
        FakeHttpJobs() as http_jobs,
        FakeDqops() as dqops,
    ):
        yield Cloud(bigquery, cloud_run, dataproc, http_jobs, dqops)


@pytest.fixture(scope="session")
def bigquery(cloud: Cloud) -> FakeBigQuery:
    """Return the BigQuery that the connection `google_cloud_default` points to."""
    return cloud.bigquery


@pytest.fixture(scope="session")
def http_jobs(cloud: Cloud) -> FakeHttpJobs:
    """Return the HTTP job service that the connection `http_default` points to."""
    return cloud.http_jobs


@pytest.fixture(scope="session")
def airflow(cloud: Cloud) -> Iterator[LocalAirflow]:
    """Start an Airflow with the DAGs of `tests/e2e/dags`, at its default settings."""
    with LocalAirflow(HERE / "dags", parallelism=32, env=merged_connections(cloud.all)) as airflow:
        yield airflow
