"""Every kind of job in turn, its connection pointing at a fake."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import pytest
from airflow.sdk.bases.operator import ExecutorSafeguard

from ork_provider.operator import job as job_operator
from ork_provider.operator import owner
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


@pytest.fixture(autouse=True)
def _short_graces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a job that may still appear awaited for a moment instead of a minute."""
    monkeypatch.setattr(owner, "INTENT_GRACE", 1.0)
    monkeypatch.setattr(job_operator, "LOOK_INTERVAL", 0.2)
    monkeypatch.setattr(job_operator, "RESEND_AFTER", 0.5)


@pytest.fixture
def sigterm() -> Iterator[dict[str, Any]]:
    """Do as Airflow's task runner does: SIGTERM calls on_kill in the main thread, and execute goes on."""
    target: dict[str, Any] = {}
    old = signal.signal(signal.SIGTERM, lambda *_: target["operator"].on_kill())
    yield target
    signal.signal(signal.SIGTERM, old)
