"""A fake of every service, and the connections that lead to them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ork_provider.testing import FakeBigQuery, FakeCloudRun, FakeDataproc, FakeDqops, FakeHttpJobs, FakeServer


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


@contextmanager
def serve_cloud() -> Iterator[Cloud]:
    """Serve what the default connections point to."""
    with (
        FakeBigQuery() as bigquery,
        FakeCloudRun() as cloud_run,
        FakeDataproc() as dataproc,
        FakeHttpJobs() as http_jobs,
        FakeDqops() as dqops,
    ):
        yield Cloud(bigquery, cloud_run, dataproc, http_jobs, dqops)
