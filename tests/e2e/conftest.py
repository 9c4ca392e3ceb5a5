"""One Airflow, and the fakes that its connections point to, for all end-to-end tests of a run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from ork_provider.testing import FakeBigQuery, FakeDqops, FakeHttpJobs, merged_connections
from ork_provider.testing.local_airflow import LocalAirflow
from tests.support.cloud import Cloud, serve_cloud

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give tests in a real Airflow more time; the first one also starts it."""
    for item in items:
        if item.path.is_relative_to(HERE) and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(240))


@pytest.fixture(scope="session")
def cloud() -> Iterator[Cloud]:
    """Serve what the default connections point to."""
    with serve_cloud() as cloud:
        yield cloud


@pytest.fixture(scope="session")
def bigquery(cloud: Cloud) -> FakeBigQuery:
    """Return the BigQuery that the connection `google_cloud_default` points to."""
    return cloud.bigquery


@pytest.fixture(scope="session")
def http_jobs(cloud: Cloud) -> FakeHttpJobs:
    """Return the HTTP job service that the connection `http_default` points to."""
    return cloud.http_jobs


@dataclass
class Guarded:
    """Services that let nobody in without the secrets that were planted in connections and in the environment."""

    bigquery: FakeBigQuery
    http_jobs: FakeHttpJobs
    dqops: FakeDqops
    secrets: dict[str, str]
    private_key: str

    @property
    def env(self) -> dict[str, str]:
        """The connections, and the variables that DAGs read."""
        (google,) = self.bigquery.connections().values()
        extra = {**json.loads(google)["extra"], "is_anonymous": False, "keyfile_dict": self.key}
        (http,) = self.http_jobs.connections().values()
        (dqops,) = self.dqops.connections().values()
        return {
            "AIRFLOW_CONN_GOOGLE_SECRET": json.dumps({"conn_type": "google_cloud_platform", "extra": extra}),
            "AIRFLOW_CONN_HTTP_SECRET": http,
            "AIRFLOW_CONN_DQOPS_SECRET": dqops,
            "ORK_TEST_TYPED": self.secrets["typed"],
            "ORK_TEST_RETURNED": self.secrets["returned"],
        }

    @property
    def key(self) -> dict[str, str]:
        """A service account's key."""
        return {
            "type": "service_account",
            "project_id": "p",
            "private_key_id": "abc",
            "private_key": self.private_key,
            "client_email": "robot@p.iam.gserviceaccount.com",
            "token_uri": f"{self.bigquery.url}/token",
        }


@pytest.fixture(scope="session")
def guarded() -> Iterator[Guarded]:
    """Serve them."""
    planted = {name: f"planted-{name}-{token_hex(8)}" for name in ("typed", "returned", "password", "api_key")}
    pem = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with (
        FakeBigQuery(require_auth=True) as bigquery,
        FakeHttpJobs(basic=("robot", planted["password"])) as http_jobs,
        FakeDqops(api_key=planted["api_key"]) as dqops,
    ):
        yield Guarded(bigquery, http_jobs, dqops, planted, pem.decode())


@pytest.fixture(scope="session")
def airflow(cloud: Cloud, guarded: Guarded) -> Iterator[LocalAirflow]:
    """Start an Airflow with the DAGs of `tests/e2e/dags`, at its default settings."""
    env = {**merged_connections(cloud.all), **guarded.env, "AIRFLOW__CORE__TEST_CONNECTION": "Enabled"}
    with LocalAirflow(HERE / "dags", parallelism=32, env=env) as airflow:
        yield airflow
