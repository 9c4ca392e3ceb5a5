"""ActiveJobs and ActiveBatches: one list of what runs in a region serves all who wait there.

Source: https://cloud.google.com/dataproc/docs/reference/rest/v1/projects.regions.jobs/list and
https://cloud.google.com/dataproc-serverless/docs/reference/rest/v1/projects.locations.batches/list
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, ClassVar
from urllib.parse import quote

from ork_provider.dataproc.batch import DataprocBatchJob, read_batch
from ork_provider.dataproc.job import DataprocJob, read_job
from ork_provider.google.listing import GoogleListing
from ork_provider.job import JobStatus


class ActiveJobs(GoogleListing):
    """The jobs of a region that have not ended."""

    what: ClassVar[str] = "active Dataproc jobs"
    items: ClassVar[str] = "jobs"
    params: ClassVar[tuple[tuple[str, str], ...]] = (
        ("jobStateMatcher", "ACTIVE"),
        ("pageSize", "1000"),
        ("fields", "jobs(reference/jobId,status(state,details),yarnApplications(name,progress)),nextPageToken"),
    )

    @property
    def path(self) -> str:
        """See GoogleListing."""
        project, region = self.place
        return f"/v1/projects/{quote(project, safe=':')}/regions/{quote(region, safe='')}/jobs"

    def name(self, job: DataprocJob) -> Hashable:
        """See Shared."""
        return job.job_id

    def entry(self, item: Mapping[str, Any]) -> tuple[Hashable, Any]:
        """See GoogleListing."""
        return item["reference"]["jobId"], item

    def read(self, told: Any) -> JobStatus | None:
        """See Shared; how a job has ended is not for this list to say."""
        status = read_job(told)
        return None if status.state.final else status


class ActiveBatches(GoogleListing):
    """The batches of a region that have not ended."""

    what: ClassVar[str] = "active Dataproc batches"
    items: ClassVar[str] = "batches"
    params: ClassVar[tuple[tuple[str, str], ...]] = (
        ("filter", "state = PENDING OR state = RUNNING OR state = CANCELLING"),
        ("pageSize", "1000"),
        ("fields", "batches(name,state,stateMessage),nextPageToken"),
    )

    @property
    def path(self) -> str:
        """See GoogleListing."""
        project, region = self.place
        return f"/v1/projects/{quote(project, safe=':')}/locations/{quote(region, safe='')}/batches"

    def name(self, job: DataprocBatchJob) -> Hashable:
        """See Shared."""
        return job.batch_id

    def entry(self, item: Mapping[str, Any]) -> tuple[Hashable, Any]:
        """See GoogleListing."""
        return item["name"].rpartition("/")[2], item

    def read(self, told: Any) -> JobStatus | None:
        """See Shared; how a batch has ended is not for this list to say."""
        status = read_batch(told)
        return None if status.state.final else status
