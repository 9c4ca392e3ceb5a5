"""The services whose waiters share a poll, with their fakes, and many of their triggers in one event loop."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

from ork_provider.bigquery import BigQueryJob, BigQueryJobTrigger
from ork_provider.cloud_run import CloudRunJob, CloudRunJobTrigger
from ork_provider.dataproc import DataprocBatchJob, DataprocBatchTrigger, DataprocJob, DataprocJobTrigger
from ork_provider.dqops import DqopsJob, DqopsJobTrigger
from ork_provider.job import Job
from ork_provider.testing import (
    DataprocOutcome,
    DqopsOutcome,
    ExecutionOutcome,
    FakeBigQuery,
    FakeCloudRun,
    FakeDataproc,
    FakeDqops,
    Outcome,
    RecordedRequest,
    TriggerResult,
    run_trigger,
)
from ork_provider.testing.google_connection import PROJECT, REGION
from ork_provider.trigger import JobTrigger

PLACE = {"project": PROJECT, "region": REGION}


@dataclass(frozen=True)
class SharedKind:
    """A kind of job whose waiters share a poll.

    :param seed: stores a job that runs for so many seconds and ends well or not, and returns it
    :param polls: requests of the shared poll, as a regular expression of their paths
    :param asks: requests for one job
    :param count: jobs of a test; Cloud Run lists only where many wait, and a list of it says how they ended
    :param most_asks: single asks that are in order for so many jobs
    :param poll_interval: of the triggers; so long that only the shared poll is in time, where it serves to the last
    :param document: of Google's API, with the id of the method that lists
    """

    fake: type[Any]
    trigger: type[JobTrigger]
    seed: Callable[[Any, str, float, bool], Job]
    polls: str
    asks: str
    count: int = 30
    most_asks: Callable[[int], int] = lambda count: count
    poll_interval: float = 60.0
    document: tuple[str, str, str] | None = None


def _bigquery(fake: FakeBigQuery, name: str, running: float, good: bool) -> Job:
    error = None if good else {"reason": "invalidQuery", "message": "Syntax error"}
    fake.seed(name, Outcome(0.1, running, error))
    return BigQueryJob(project=PROJECT, job_id=name)


def _cloud_run(fake: FakeCloudRun, name: str, running: float, good: bool) -> Job:
    fake.seed(name, ExecutionOutcome(0.1, running, failed=0 if good else 1, message="" if good else "Syntax error"))
    return CloudRunJob(**PLACE, job_name="nightly", execution_id=name)


def _dataproc(fake: FakeDataproc, name: str, running: float, good: bool) -> Job:
    fake.seed_job(name, DataprocOutcome(0.1, running, None if good else "Syntax error"))
    return DataprocJob(**PLACE, job_id=name)


def _batch(fake: FakeDataproc, name: str, running: float, good: bool) -> Job:
    fake.seed_batch(name, DataprocOutcome(0.1, running, None if good else "Syntax error"))
    return DataprocBatchJob(**PLACE, batch_id=name)


def _dqops(fake: FakeDqops, name: str, running: float, good: bool) -> Job:
    job = fake.seed(
        DqopsOutcome(0.1, running, "finished" if good else "failed", error_message="Syntax error"), key=name
    )
    return DqopsJob(job_id=job.job_id, job_business_key=name)


SHARED = {
    "bigquery": SharedKind(
        FakeBigQuery,
        BigQueryJobTrigger,
        _bigquery,
        polls=r"/projects/[^/]+/jobs$",
        asks=r"/projects/[^/]+/jobs/[^/]+$",
        document=("bigquery", "v2", "bigquery.jobs.list"),
    ),
    "dataproc": SharedKind(
        FakeDataproc,
        DataprocJobTrigger,
        _dataproc,
        polls=r"/regions/[^/]+/jobs$",
        asks=r"/regions/[^/]+/jobs/[^/]+$",
        document=("dataproc", "v1", "dataproc.projects.regions.jobs.list"),
    ),
    "dataproc_batch": SharedKind(
        FakeDataproc,
        DataprocBatchTrigger,
        _batch,
        polls=r"/locations/[^/]+/batches$",
        asks=r"/locations/[^/]+/batches/[^/]+$",
        document=("dataproc", "v1", "dataproc.projects.locations.batches.list"),
    ),
    "cloudrun": SharedKind(
        FakeCloudRun,
        CloudRunJobTrigger,
        _cloud_run,
        polls=r"/executions$",
        asks=r"/executions/[^/]+$",
        count=12,
        most_asks=lambda count: 9 + 9 * 4,
        poll_interval=1.0,
        document=("run", "v2", "run.projects.locations.jobs.executions.list"),
    ),
    "dqops": SharedKind(
        FakeDqops,
        DqopsJobTrigger,
        _dqops,
        polls=r"/jobs/jobchangessince/\d+$",
        asks=r"/jobs/jobs/\d+$",
    ),
}


class Waiting:
    """A kind of job with its fake, and triggers that wait for some."""

    def __init__(self, name: str, kind: SharedKind, fake: Any) -> None:
        self.name = name
        self.kind = kind
        self.fake = fake

    def seed(self, name: str, running: float, good: bool = True) -> Job:
        """Store a job that begins now."""
        return self.kind.seed(self.fake, name, running, good)

    def trigger(self, job: Job, **kwargs: Any) -> JobTrigger:
        """Return a trigger that waits for a job."""
        return self.kind.trigger(**{"jobs": [job.to_dict()], "poll_interval": self.kind.poll_interval, **kwargs})

    async def run(self, jobs: Iterable[Job], **kwargs: Any) -> list[TriggerResult]:
        """Wait for each job with a trigger of its own."""
        return await run_together(*(run_trigger(self.trigger(job, **kwargs)) for job in jobs))

    @property
    def polls(self) -> list[RecordedRequest]:
        """The requests of the shared poll so far."""
        return list(self.fake.calls("GET", re.compile(self.kind.polls)))

    @property
    def asks(self) -> list[RecordedRequest]:
        """The requests for one job so far."""
        return list(self.fake.calls("GET", re.compile(self.kind.asks)))


async def run_together(*runs: Awaitable[TriggerResult]) -> list[TriggerResult]:
    """Run triggers in this event loop."""
    return list(await asyncio.gather(*runs))
