"""Shared fixtures: an AIRFLOW_HOME of our own, and a client that speaks plain HTTP to a fake."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator

import httpx
import pytest

from ork_provider.testing import FakeBigQuery
from tests.support.ticks import Ticks

os.environ.setdefault("AIRFLOW_HOME", tempfile.mkdtemp(prefix="ork-tests-"))  # before airflow is imported


@pytest.fixture
def ticks() -> Ticks:
    return Ticks()


@pytest.fixture
def fake(ticks: Ticks) -> Iterator[FakeBigQuery]:
    """Serve a BigQuery whose jobs are PENDING for 1 s and RUNNING for 10 s of the test's own clock."""
    with FakeBigQuery(pending=1, running=10, clock=ticks, keep_answers=True) as server:
        yield server


@pytest.fixture
def http(fake: FakeBigQuery) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"{fake.url}/bigquery/v2/projects/p") as client:
        yield client
