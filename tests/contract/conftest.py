"""Every kind of job in turn, its connection pointing at a fake."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk.bases.operator import ExecutorSafeguard

from ork_provider.operator import job as job_operator
from ork_provider.operator import owner
from tests.contract.kinds import KINDS, Kind

if TYPE_CHECKING:
    from tests.support.dependency import Waiter
    from tests.support.state_server import StateServer


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


@pytest.fixture
def server() -> Iterator[StateServer]:
    """Serve DAG runs and tasks from an empty database of Airflow's."""
    from tests.support.state_server import serve_states

    with serve_states() as server:
        yield server


@pytest.fixture(params=["worker", "trigger"])
def waiter(server: StateServer, request: pytest.FixtureRequest) -> Waiter:
    """Return a task that waits: in a worker, or in a triggerer."""
    from tests.support.dependency import Waiter

    return Waiter(server, request.param)


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
