"""Executions: one list of the executions of a Cloud Run job serves all who wait for some of them.

Source: https://cloud.google.com/run/docs/reference/rest/v2/projects.locations.jobs.executions/list. It has no filter
and a long history, the newest first, so that it pays only where many wait for executions of one job.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping
from typing import Any, ClassVar
from urllib.parse import quote

from ork_provider.cloud_run.job import STATUS_FIELDS, CloudRunJob, read_execution
from ork_provider.google.listing import GoogleListing
from ork_provider.job import JobStatus

WAITING_PER_PAGE = 10
"""Waiting jobs for which one page is asked for: a page in place of ten single asks."""


class Executions(GoogleListing):
    """The newest executions of a Cloud Run job, also those that have ended."""

    least: ClassVar[int] = WAITING_PER_PAGE
    what: ClassVar[str] = "executions of the Cloud Run job"
    items: ClassVar[str] = "executions"
    params: ClassVar[tuple[tuple[str, str], ...]] = (
        ("pageSize", "1000"),
        ("fields", f"executions({STATUS_FIELDS}),nextPageToken"),
    )

    @property
    def path(self) -> str:
        """See GoogleListing."""
        project, region, name = (quote(part, safe=":") for part in self.place)
        return f"/v2/projects/{project}/locations/{region}/jobs/{name}/executions"

    def pages(self, waiting: int) -> int:
        """See GoogleListing."""
        return max(1, waiting // WAITING_PER_PAGE)

    def name(self, job: CloudRunJob) -> Hashable:
        """See Shared."""
        return job.execution_id

    def entry(self, item: Mapping[str, Any]) -> tuple[Hashable, Any]:
        """See GoogleListing."""
        return item["name"].rpartition("/")[2], item

    def is_enough(self, names: Collection[Hashable], seen: Mapping[Hashable, Any]) -> bool:
        """See GoogleListing; older pages hold executions that nobody waits for."""
        return all(name in seen for name in names)

    def read(self, told: Any) -> JobStatus | None:
        """See Shared; the list says of an execution what it says itself."""
        return read_execution(told)
