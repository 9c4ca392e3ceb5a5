"""One sample of every kind of job that can be submitted; a new service gets the contract by adding a line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from airflow.sdk.bases.operator import ExecutorSafeguard

from ork_provider.bigquery import BigQueryJobOperator
from ork_provider.http import HttpJobOperator
from ork_provider.testing import FakeBigQuery, FakeHttpJobs, HttpOutcome, Outcome


@pytest.fixture(autouse=True)
def _allow_execute(monkeypatch: pytest.MonkeyPatch) -> None:
    """Airflow refuses ``execute`` outside its task runner unless told that this is a test."""
    monkeypatch.setattr(ExecutorSafeguard, "test_mode", True)


@dataclass
class Kind:
    """A service under the contract.

    :param fake: the running fake service
    :param operator: makes an operator; ``what`` varies the request
    :param succeed, fail: decide the outcome of jobs started from now on, after so many seconds of running
    :param on_submit, on_status, on_cancel: which requests a fault is for
    """

    name: str
    fake: Any
    operator: Callable[..., Any]
    script: Callable[[float, bool], None]
    on_submit: str
    on_status: str
    on_cancel: str

    @property
    def started(self) -> list[Any]:
        """Every job that was really started, oldest first."""
        return list(getattr(self.fake, "inserted", None) or getattr(self.fake, "created", []))

    def live(self) -> list[Any]:
        """Jobs that have not ended."""
        return list(self.fake.live())

    def cancels(self) -> int:
        """How many cancel requests reached the service."""
        method, _, path = self.on_cancel.partition(" ")
        return len(self.fake.calls(method, path))

    def submits(self) -> int:
        """How many submit requests reached the service."""
        method, _, path = self.on_submit.partition(" ")
        return len(self.fake.calls(method, path))


@contextmanager
def bigquery() -> Iterator[Kind]:
    with FakeBigQuery(pending=0.1) as fake:

        def operator(what: int = 1, **kwargs: Any) -> BigQueryJobOperator:
            return BigQueryJobOperator(**{"task_id": "load", "sql": f"SELECT {what}", "poll_interval": 0.2, **kwargs})

        def script(running: float, good: bool) -> None:
            error = None if good else {"reason": "invalidQuery", "message": "Syntax error: Unexpected end"}
            fake.script(lambda _: True, Outcome(pending=0.1, running=running, error=error))

        jobs = "/bigquery/v2/projects/*/jobs"
        yield Kind("bigquery", fake, operator, script, f"POST {jobs}", f"GET {jobs}/*", f"POST {jobs}/*/cancel")


@contextmanager
def http() -> Iterator[Kind]:
    with FakeHttpJobs(pending=0.1) as fake:

        def operator(what: int = 1, **kwargs: Any) -> HttpJobOperator:
            urls = {"status_url": "/jobs/{job_id}", "cancel_url": "/jobs/{job_id}"}
            ours = {"task_id": "load", "endpoint": "/jobs", "data": {"what": what}, "poll_interval": 0.2}
            return HttpJobOperator(
                **{**ours, **urls, "idempotency_header": "Idempotency-Key", "message_field": "error", **kwargs}
            )

        def script(running: float, good: bool) -> None:
            outcome = "completed" if good else "failed"
            fake.script(lambda _: True, HttpOutcome(0.1, running, outcome, {"rows": 1}, "Syntax error"))

        yield Kind("http", fake, operator, script, "POST /jobs", "GET /jobs/*", "DELETE /jobs/*")


KINDS = {"bigquery": bigquery, "http": http}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kind]:
    """Each kind of job in turn, its connection pointing at a fake."""
    with KINDS[request.param]() as found:
        for name, value in found.fake.connections().items():
            monkeypatch.setenv(name, value)
        yield found
