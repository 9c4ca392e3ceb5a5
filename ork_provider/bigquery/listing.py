"""RunningJobs: one list of what runs in a project serves all who wait for jobs there.

Source: https://cloud.google.com/bigquery/docs/reference/rest/v2/jobs/list. It shows the caller's own jobs, without the
children of scripts; what it does not show is asked for by itself.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, ClassVar

from ork_provider.bigquery.job import BigQueryJob
from ork_provider.google.listing import GoogleListing
from ork_provider.job import JobState, JobStatus

_TOLD = {state: JobStatus(state=JobState.RUNNING, remote_state=state) for state in ("PENDING", "RUNNING")}


class RunningJobs(GoogleListing):
    """The running jobs of a project: those of the identity that asks."""

    what: ClassVar[str] = "running BigQuery jobs"
    items: ClassVar[str] = "jobs"
    params: ClassVar[tuple[tuple[str, str], ...]] = (
        ("stateFilter", "pending"),
        ("stateFilter", "running"),
        ("maxResults", "1000"),
        ("fields", "jobs(jobReference(jobId,location),state),nextPageToken"),
    )

    @property
    def path(self) -> str:
        """See GoogleListing."""
        return f"/bigquery/v2/projects/{self.place[0]}/jobs"

    def name(self, job: BigQueryJob) -> Hashable:
        """See Shared."""
        return job.job_id, str(job.location).lower()

    def entry(self, item: Mapping[str, Any]) -> tuple[Hashable, Any]:
        """See GoogleListing."""
        reference = item["jobReference"]
        return (reference["jobId"], reference["location"].lower()), item["state"]

    def read(self, told: Any) -> JobStatus | None:
        """See Shared; how a job has ended is not for this list to say."""
        return _TOLD.get(told)
