"""Two services with their triggers, one behind Google's API and one behind plain HTTP, that move by the poll."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

import httpx

from ork_provider.bigquery import BigQueryJob, BigQueryJobTrigger
from ork_provider.http import HttpJob, HttpJobTrigger
from ork_provider.testing import FakeBigQuery, FakeHttpJobs, Fault, HttpOutcome, Outcome, TriggerResult, run_trigger
from ork_provider.trigger import JobTrigger

NEVER = 10**9
"""Polls for which a job runs that shall not end by itself."""

POLL = 0.06


class Polls:
    """The clock of a fake: one tick per status request, so that a slow machine changes nothing."""

    def __init__(self) -> None:
        self.kind: Kind | None = None

    def __call__(self) -> float:
        return float(self.kind.polls) if self.kind else 0.0


@dataclass
class Kind:
    """A service and its trigger.

    :param start: starts a job that runs for so many polls and ends well or not, and returns its dict
    """

    name: str
    fake: Any
    trigger: Callable[..., JobTrigger]
    start: Callable[..., dict[str, Any]]
    on_submit: str
    on_status: str
    on_cancel: str

    def calls(self, on: str) -> list[Any]:
        method, _, path = on.partition(" ")
        return list(self.fake.calls(method, path))

    @property
    def polls(self) -> int:
        return len(self.calls(self.on_status))

    def asked(self) -> bool:
        """Return whether a job was asked for twice at least: what the first answer said is known."""
        return self.polls > 1

    @property
    def cancels(self) -> int:
        return len(self.calls(self.on_cancel))

    async def run(self, *jobs: Mapping[str, Any], kwargs: Mapping[str, Any] | None = None, **how: Any) -> TriggerResult:
        """Run a trigger that polls often over these jobs; ``kwargs`` are the trigger's, ``how`` is the world's."""
        trigger = self.trigger(**{"jobs": list(jobs), "poll_interval": POLL, **(kwargs or {})})
        return await run_trigger(trigger, **how)


@contextmanager
def bigquery() -> Iterator[Kind]:
    """BigQuery in a project that may not be listed: each job is asked for by itself, as those of plain HTTP are."""
    with FakeBigQuery(pending=0, clock=(clock := Polls())) as fake:
        fake.fail(Fault.google(403, "accessDenied"), on="GET */jobs", times=-1)

        def start(polls: int = 4, good: bool = True) -> dict[str, Any]:
            error = None if good else {"reason": "invalidQuery", "message": "Syntax error: no disk"}
            fake.script(lambda _: True, Outcome(pending=0, running=polls, error=error))
            job = BigQueryJob(project="p", job_id=f"job_{len(fake.inserted)}", location="EU")
            reference = {"projectId": "p", "jobId": job.job_id, "location": "EU"}
            body = {"jobReference": reference, "configuration": {"query": {"query": "SELECT 1"}}}
            httpx.post(f"{fake.url}/bigquery/v2/projects/p/jobs", json=body).raise_for_status()
            return job.to_dict()

        path = "/bigquery/v2/projects/p/jobs"
        ons = (f"POST {path}", f"GET {path}/*", f"POST {path}/*/cancel")
        clock.kind = Kind("bigquery", fake, BigQueryJobTrigger, start, *ons)
        yield clock.kind


@contextmanager
def http() -> Iterator[Kind]:
    with FakeHttpJobs(pending=0, clock=(clock := Polls())) as fake:

        def start(polls: int = 4, good: bool = True) -> dict[str, Any]:
            outcome = "completed" if good else "failed"
            fake.script(lambda _: True, HttpOutcome(0, polls, outcome, {"rows": 1}, "Syntax error: no disk"))
            made = httpx.post(f"{fake.url}/jobs", json={}).json()["id"]
            return HttpJob(url=f"/jobs/{made}", cancel_url=f"/jobs/{made}", message_field="error").to_dict()

        clock.kind = Kind("http", fake, HttpJobTrigger, start, "POST /jobs", "GET /jobs/*", "DELETE /jobs/*")
        yield clock.kind


def soon(seconds: float) -> str:
    """Return the time so many seconds from now, as a trigger is given it."""
    return (datetime.now(timezone.utc) + timedelta(seconds=seconds)).isoformat()


def states(payload: Mapping[str, Any]) -> list[str]:
    """Return the states of an event's jobs."""
    return [job["state"] for job in payload["jobs"]]
