"""DataprocJobService: the calls of Dataproc's jobs API that a job needs, over an Airflow Google connection.

Source: https://cloud.google.com/dataproc/docs/reference/rest/v1/projects.regions.jobs
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar
from urllib.parse import quote

from ork_provider.dataproc.job import DataprocJob, read_job
from ork_provider.dataproc.listing import ActiveJobs
from ork_provider.errors import BadRequest, Conflict, NotFound, TryAgain
from ork_provider.google.api import ApiName, read_answer, sentence
from ork_provider.google.service import GoogleService
from ork_provider.job import Job, JobStatus, describe
from ork_provider.text import NAME, one_line

STATUS_FIELDS = "status,statusHistory,yarnApplications,driverOutputResourceUri,driverControlFilesUri"
"""What a poll asks for; a whole job would hold its arguments and properties every time."""


class DataprocService(GoogleService):
    """What the services of jobs and of batches have in common."""

    api_name: ClassVar[ApiName] = "dataproc"
    endpoint: ClassVar[str] = "https://dataproc.googleapis.com"

    async def create(self, job: Job, path: str, **request: Any) -> dict[str, Any]:
        """Send the request that starts a job; sort what its refusals mean.

        :raises Conflict: another request has started a job of that id
        """
        try:
            return await self.api.call("POST", path, **request)
        except NotFound as exc:  # of the cluster, the project, the region: it does not come by itself
            raise BadRequest(str(exc)) from exc
        except Conflict as exc:
            try:
                await self.check(job)
            except NotFound:
                raise TryAgain(f"{sentence(exc)} But there is no {job}.") from exc
            raise Conflict(str(exc), existing=job) from exc


class DataprocJobService(DataprocService):
    """Dataproc's jobs API."""

    async def check(self, job: DataprocJob) -> JobStatus:
        """Ask with jobs.get."""
        answer = await self.api.call("GET", path_of(job), params={"fields": STATUS_FIELDS})
        return read_answer(job, answer, "a job", read_job)

    def shared(self, job: DataprocJob) -> ActiveJobs:
        """See Service."""
        return ActiveJobs(self.api, job.project, job.region)

    async def submit(self, job: DataprocJob, request: Mapping[str, Any]) -> DataprocJob:
        """Start with jobs.submit under our own id.

        :param request: ``job`` as the API has it, and ``requestId``
        """
        resource = {**request["job"], "reference": {"projectId": job.project, "jobId": job.job_id}}
        body = {"job": resource, "requestId": request["requestId"]}
        answer = await self.create(job, f"{parent_of(job)}/jobs:submit", json=body)
        return read_reference(answer, job)

    async def cancel(self, job: DataprocJob) -> None:
        """Stop with jobs.cancel."""
        await self.stop(job, f"{path_of(job)}:cancel")


def parent_of(job: DataprocJob) -> str:
    """Return the path of a job's region."""
    return f"/v1/projects/{quote(job.project, safe=':')}/regions/{quote(job.region, safe='')}"


def path_of(job: DataprocJob) -> str:
    """Return the path of a job's resource."""
    return f"{parent_of(job)}/jobs/{quote(job.job_id, safe='')}"


def read_reference(answer: Mapping[str, Any], job: DataprocJob) -> DataprocJob:
    """Return the job as the answer names it, with the cluster that Dataproc chose."""
    try:
        named = answer["reference"]["jobId"]
        cluster = (answer.get("placement") or {}).get("clusterName")
    except (AttributeError, KeyError, TypeError) as exc:
        raise TryAgain(f"{job}: the answer is not a job: {describe(answer)}") from exc
    if named != job.job_id:
        raise TryAgain(f"{job}: the answer names another job, {one_line(str(named), NAME)!r}")
    return replace(job, cluster_name=cluster if isinstance(cluster, str) else job.cluster_name)
