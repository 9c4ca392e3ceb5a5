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

    def of_kind(self, kind: str) -> FakeServer | None:
        """Return the fake of a kind of job, as the chaos calls them; None for those of others."""
        return {
            "bigquery": self.bigquery,
            "cloudrun": self.cloud_run,
            "dataproc": self.dataproc,
            "batch": self.dataproc,
            "http": self.http_jobs,
            "dqops": self.dqops,
        }.get(kind)


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
