"""BigQueryService: the calls of BigQuery's jobs API that a job needs, over an Airflow Google connection.

Source: https://cloud.google.com/bigquery/docs/reference/rest/v2/jobs
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

from ork_provider.bigquery.job import BigQueryJob, read_job
from ork_provider.bigquery.listing import RunningJobs
from ork_provider.bigquery.values import read_rows
from ork_provider.errors import Conflict, TryAgain
from ork_provider.google.api import ApiName, read_answer
from ork_provider.google.service import GoogleService
from ork_provider.job import JobStatus, describe
from ork_provider.text import NAME, one_line

STATUS_FIELDS = "jobReference,status,statistics"
"""What a poll asks for; a whole job would hold the query's text every time."""

ROWS_LIMIT = 10 * 1024 * 1024
"""Bytes of rows that a result may hold; more belongs in a table, not in an XCom."""


class BigQueryService(GoogleService):
    """BigQuery's jobs API."""

    api_name: ClassVar[ApiName] = "bigquery"
    endpoint: ClassVar[str] = "https://bigquery.googleapis.com"

    async def check(self, job: BigQueryJob) -> JobStatus:
        """Ask with jobs.get."""
        answer = await self.get(await self.locate(job), fields=STATUS_FIELDS)
        return read_answer(job, answer, "a job", read_job)

    def shared(self, job: BigQueryJob) -> RunningJobs | None:
        """See Service; a job whose location is not known cannot be told from another one of its id."""
        return RunningJobs(self.api, job.project) if job.location else None

    async def locate(self, job: BigQueryJob) -> BigQueryJob:
        """Return the job with its location: jobs.get without one finds only what is in the US or the EU.

        Only a job whose submit was never answered has no location; it is among the newest in the list.
        """
        if job.location is not None:
            return job
        params = {"maxResults": "1000", "fields": "jobs/jobReference"}
        page = await self.api.call("GET", f"/bigquery/v2/projects/{job.project}/jobs", params=params)
        return read_answer(job, page, "a list of jobs", lambda listed: _located(job, listed))

    async def get(self, job: BigQueryJob, *, fields: str) -> dict[str, Any]:
        """Return the job resource."""
        return await self.api.call("GET", path_of(job), params={**where(job), "fields": fields})

    async def submit(self, job: BigQueryJob, request: Mapping[str, Any]) -> BigQueryJob:
        """Start with jobs.insert under our own id."""
        body = {"configuration": request["configuration"], "jobReference": reference(job)}
        try:
            answer = await self.api.call("POST", f"/bigquery/v2/projects/{job.project}/jobs", json=body)
        except Conflict as exc:
            raise Conflict(str(exc), existing=existing_job(job, str(exc))) from exc
        return read_answer(job, answer, "a job", lambda started: read_reference(started, job))

    async def dry_run(self, project: str, location: str | None, configuration: Mapping[str, Any]) -> Any:
        """Return the job resource of a dry run, which BigQuery does not keep."""
        place = {"projectId": project, **({"location": location} if location else {})}
        body = {"configuration": {**configuration, "dryRun": True}, "jobReference": place}
        return await self.api.call("POST", f"/bigquery/v2/projects/{project}/jobs", json=body)

    async def cancel(self, job: BigQueryJob) -> None:
        """Stop with jobs.cancel."""
        job = await self.locate(job)
        await self.api.call("POST", f"{path_of(job)}/cancel", params=where(job))

    async def rows(self, job: BigQueryJob, max_results: int) -> list[dict[str, Any]]:
        """Return the first rows of a query's result with jobs.getQueryResults, page by page."""
        job = await self.locate(job)
        rows: list[dict[str, Any]] = []
        token: str | None = None
        while len(rows) < max_results:
            page = await self._page(job, max_results - len(rows), token)
            rows += read_answer(job, page, "rows", _rows_of)
            token = page.get("pageToken")
            if not token or not isinstance(token, str):
                break
        return rows

    async def _page(self, job: BigQueryJob, count: int, token: str | None) -> dict[str, Any]:
        params = {**where(job), "maxResults": str(count), "timeoutMs": "0"}
        if token:
            params["pageToken"] = token
        path = f"/bigquery/v2/projects/{job.project}/queries/{job.job_id}"
        page = await self.api.call("GET", path, params=params, max_body=ROWS_LIMIT)
        if not page.get("jobComplete", True):
            raise TryAgain(f"{job}: the rows are not ready yet")
        return page

    async def location(self) -> str | None:
        """Return the connection's location, if it has one."""
        return (await self.api.access()).location


def path_of(job: BigQueryJob) -> str:
    """Return the path of a job's resource."""
    return f"/bigquery/v2/projects/{job.project}/jobs/{job.job_id}"


def where(job: BigQueryJob) -> dict[str, str]:
    """Return the query parameter that says in which location the job is."""
    return {"location": job.location} if job.location else {}


def reference(job: BigQueryJob) -> dict[str, str]:
    """Return the job as a JobReference."""
    return {"projectId": job.project, "jobId": job.job_id, **where(job)}


def _located(job: BigQueryJob, page: Mapping[str, Any]) -> BigQueryJob:
    """Return the job with the location under which a list has it, if it has it."""
    for item in page.get("jobs") or []:
        named = item.get("jobReference") or {}
        if named.get("jobId") == job.job_id:
            return replace(job, location=_text(named.get("location")))
    return job


def _rows_of(page: Mapping[str, Any]) -> list[dict[str, Any]]:
    return read_rows(page.get("schema") or {}, page.get("rows") or [])


def _text(value: Any) -> str | None:
    if value is not None and not isinstance(value, str):
        raise TypeError(f"not a text: {describe(value)}")
    return value


def read_reference(answer: Mapping[str, Any], job: BigQueryJob) -> BigQueryJob:
    """Return the job as the answer names it; BigQuery chooses the location when we do not."""
    named = answer.get("jobReference") or {}
    if named.get("jobId") != job.job_id:
        raise TryAgain(f"{job}: the answer names another job, {one_line(str(named.get('jobId')), NAME)!r}")
    return replace(job, location=_text(named.get("location")) or job.location)


def existing_job(job: BigQueryJob, message: str) -> BigQueryJob:
    """Return the job that a 409 speaks of: ``Already Exists: Job project:location.job_id``."""
    found = re.search(rf"Job {re.escape(job.project)}:([A-Za-z0-9-]+)\.{re.escape(job.job_id)}", message)
    return replace(job, location=found[1]) if found else job
