"""The services that the demo runs beside Airflow, and when each job ran there."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields
from typing import Any

from _demo.plan import WEATHER_PROGRAM, Plan
from ork_provider.bigquery.job import BigQueryJob
from ork_provider.cloud_run.job import CloudRunJob
from ork_provider.dataproc.batch import DataprocBatchJob
from ork_provider.dataproc.job import DataprocJob
from ork_provider.dqops.job import DqopsJob
from ork_provider.http.job import HttpJob
from ork_provider.job import Job
from ork_provider.testing import FakeBigQuery, FakeCloudRun, FakeDataproc, FakeDqops, FakeHttpJobs, merged_connections
from ork_provider.testing.dqops_jobs import DqopsOutcome

Span = tuple[float, float]

SHORTEST_QUERY = 20  # seconds; the local BigQuery would be done with these files in milliseconds
CHECKS = DqopsOutcome(running=15, severity="warning", executed_checks=10)


@dataclass(frozen=True)
class Services:
    """The five services: BigQuery runs SQL, Cloud Run and Dataproc run a program, the others let time pass."""

    bigquery: FakeBigQuery
    cloud_run: FakeCloudRun
    dataproc: FakeDataproc
    dqops: FakeDqops
    http_jobs: FakeHttpJobs

    def connections(self) -> dict[str, str]:
        """Return the Airflow connections that reach them, as environment variables."""
        return merged_connections([getattr(self, field.name) for field in fields(self)])

    @property
    def submitted(self) -> int:
        """Jobs that the services have received."""
        google = len(self.bigquery.inserted) + len(self.cloud_run.started)
        dataproc = len(self.dataproc.started) + len(self.dataproc.started_batches)
        return google + dataproc + len(self.dqops.started) + len(self.http_jobs.created)

    def rows(self, job_id: str) -> list[tuple[Any, ...]]:
        """Return the rows that a BigQuery job has found."""
        return [tuple(row) for row in self.bigquery.jobs[job_id].work.outcome.rows]

    def span(self, job: Job) -> Span:
        """Return when a job began and ended at its service, or now if it still runs; in seconds since the epoch."""
        began, ended = self._times(job)
        server = self.bigquery  # the clock is the same everywhere
        return server.epoch_ms(began) / 1000, server.epoch_ms(min(ended, server.clock())) / 1000

    def _times(self, job: Job) -> Span:
        match job:
            case BigQueryJob(job_id=name):
                query = self.bigquery.jobs[name]
                return query.created_at, query.work.ended_at
            case CloudRunJob(execution_id=name):
                execution = self.cloud_run.executions[name]
                return execution.created_at, execution.ended_at
            case DataprocJob(job_id=name):
                spark = self.dataproc.jobs[name]
                return spark.created_at, spark.ended_at
            case DataprocBatchJob(batch_id=name):
                batch = self.dataproc.batches[name]
                return batch.created_at, batch.ended_at
            case DqopsJob():
                checks = self.dqops.jobs[int(job.remote_id)]
                return checks.created_at, checks.changed_at
            case HttpJob(url=url):
                report = self.http_jobs.jobs[url.rpartition("/")[2]]
                return report.created_at, report.created_at + report.outcome.pending + report.outcome.running
        raise TypeError(f"{job} is of no kind that the demo runs")


@contextmanager
def serve(plan: Plan) -> Iterator[Services]:
    """Run the services for as long as the block lasts."""
    command = [sys.executable, str(WEATHER_PROGRAM), *plan.weather_arguments]
    with ExitStack() as stack:
        services = Services(
            bigquery=stack.enter_context(FakeBigQuery(data=plan.data, minimum_seconds=SHORTEST_QUERY)),
            cloud_run=stack.enter_context(FakeCloudRun(commands={"weather": command})),
            dataproc=stack.enter_context(FakeDataproc(run_files=True)),
            dqops=stack.enter_context(FakeDqops()),
            http_jobs=stack.enter_context(FakeHttpJobs(running=15)),
        )
        services.dqops.script(lambda checks: True, CHECKS)
        yield services
