"""Every kind of job in turn, its connection pointing at a fake."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from airflow.sdk.bases.operator import ExecutorSafeguard

from tests.contract.kinds import KINDS, Kind


@pytest.fixture(autouse=True)
def _allow_execute(monkeypatch: pytest.MonkeyPatch) -> None:
    """Airflow refuses ``execute`` outside its task runner unless told that this is a test."""
    monkeypatch.setattr(ExecutorSafeguard, "test_mode", True)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kind]:
    """Each kind of job in turn, its connection pointing at a fake."""
    with KINDS[request.param]() as found:
        for name, value in found.fake.connections().items():
            monkeypatch.setenv(name, value)
        yield found
