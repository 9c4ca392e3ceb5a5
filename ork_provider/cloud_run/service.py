"""CloudRunService: the calls of Cloud Run's Admin API v2 that a job needs, over an Airflow Google connection.

Source: https://cloud.google.com/run/docs/reference/rest/v2/projects.locations.jobs
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar
from urllib.parse import quote

from ork_provider.cloud_run.job import STATUS_FIELDS, CloudRunJob, read_execution
from ork_provider.cloud_run.listing import Executions
from ork_provider.cloud_run.overrides import holds_marker, name_container, needs_name
from ork_provider.errors import MISSHAPEN, BadRequest, NotFound, TryAgain
from ork_provider.google.api import ApiName, read_answer, read_error, read_object, sentence
from ork_provider.google.service import GoogleService
from ork_provider.job import JobStatus, describe
from ork_provider.session import Response
from ork_provider.text import NAME, one_line

PAGE = 100
PAGES = 10
"""Pages of executions that are searched for a lost one: a job keeps 1,000 executions, the newest come first."""

PAGE_LIMIT = 16 * 1024 * 1024
"""Bytes of such a page: it holds the variables of every execution."""

FIND_FIELDS = "executions(name,template/containers/env(name,value)),nextPageToken"


class OverridesRefused(BadRequest):
    """The account may run the job, perhaps, but not with overrides (403)."""


class CloudRunService(GoogleService):
    """Cloud Run's Admin API."""

    api_name: ClassVar[ApiName] = "run"
    endpoint: ClassVar[str] = "https://run.googleapis.com"

    async def check(self, job: CloudRunJob) -> JobStatus:
        """Ask with executions.get."""
        answer = await self.api.call("GET", path_of(job), params={"fields": STATUS_FIELDS})
        name = read_answer(job, answer, "an execution", lambda found: str(found["name"]))
        if not name.endswith(f"/{job.execution_id}"):
            raise TryAgain(f"{job}: the answer names another execution, {one_line(name, NAME)!r}")
        return read_answer(job, answer, "an execution", read_execution)

    def shared(self, job: CloudRunJob) -> Executions:
        """See Service."""
        return Executions(self.api, job.project, job.region, job.job_name)

    async def submit(self, job: Any, request: Mapping[str, Any]) -> CloudRunJob:
        """See CloudRunJobOperator.submit; Cloud Run names its executions itself."""
        raise BadRequest("Cloud Run jobs are started by CloudRunJobOperator.")

    async def run(self, place: Mapping[str, str], overrides: Mapping[str, Any]) -> CloudRunJob:
        """Start an execution with jobs.run; sending this twice starts two.

        :param place: ``project``, ``region`` and ``job_name``
        :param overrides: in the API's form; a part for a container without a name is for the only one, or the first
        :raises OverridesRefused: the account lacks run.jobs.runWithOverrides
        """
        body = {"overrides": dict(overrides)} if overrides else {}
        asked, response = await self.api.send("POST", f"{job_path(place)}:run", json=body)
        try:
            return _read_started(read_object(asked, response), place)
        except NotFound as exc:
            raise BadRequest(f"{sentence(exc)} Check project_id, region and job_name.") from exc
        except BadRequest as exc:
            if overrides and _is_for_overrides(response):
                raise OverridesRefused(f"{sentence(exc)} Overrides need run.jobs.runWithOverrides.") from exc
            if response.status != 400 or not needs_name(overrides):
                raise
            first = await self._first_of_several(place, exc)
        return await self.run(place, name_container(overrides, first))

    async def _first_of_several(self, place: Mapping[str, str], refusal: BadRequest) -> str:
        """Return the name of a job's first container; raise the refusal again if that was not the reason for it."""
        try:
            answer = await self.api.call("GET", job_path(place), params={"fields": "template/template/containers/name"})
            names = [container["name"] for container in answer["template"]["template"]["containers"]]
        except NotFound:
            raise refusal from None
        except TryAgain as exc:  # the refused start has had no effect, so it may be sent again
            raise TryAgain(str(exc), retry_after=exc.retry_after, processed=False) from exc
        except (BadRequest, *MISSHAPEN):
            names = []
        if len(names) < 2:
            raise refusal
        return str(names[0])

    async def find(self, place: Mapping[str, str], marker: str, pages: int = PAGES) -> CloudRunJob | None:
        """Return the execution that was started with a marker, if there is one among the newest.

        There is none of a Cloud Run job that does not exist (any more).
        """
        try:
            return await self._search(place, marker, pages)
        except NotFound:
            return None

    async def _search(self, place: Mapping[str, str], marker: str, pages: int) -> CloudRunJob | None:
        token = ""
        for _ in range(pages):
            more = {"pageToken": token} if token else {}
            params = {"pageSize": str(PAGE), "fields": FIND_FIELDS, **more}
            path = f"{job_path(place)}/executions"
            page = await self.api.call("GET", path, params=params, max_body=PAGE_LIMIT)
            if found := _marked(page, place, marker):
                return found
            token = page.get("nextPageToken") or ""
            if not token:
                break
        return None

    async def cancel(self, job: CloudRunJob) -> None:
        """Stop with executions.cancel, which refuses an execution that has ended or is being cancelled."""
        await self.stop(job, f"{path_of(job)}:cancel")


def job_path(place: Mapping[str, str]) -> str:
    """Return the path of a Cloud Run job's resource."""
    project, region, name = (quote(place[key], safe=":") for key in ("project", "region", "job_name"))
    return f"/v2/projects/{project}/locations/{region}/jobs/{name}"


def path_of(job: CloudRunJob) -> str:
    """Return the path of an execution's resource."""
    place = {"project": job.project, "region": job.region, "job_name": job.job_name}
    return f"{job_path(place)}/executions/{quote(job.execution_id, safe='')}"


_PERMISSION = re.compile(r"\b(?:run|iam)\.(?!googleapis|gserviceaccount)[A-Za-z]+\.[A-Za-z]+")


def _is_for_overrides(response: Response) -> bool:
    """Whether a refusal may be for the overrides: it names their permission, or speaks of one without a name.

    A 403 may also say that the API is disabled, or that a policy or the token's scopes forbid the call.
    """
    if response.status != 403:
        return False
    error = read_error(response)
    said = f"{error.get('message')} {error.get('details')}"
    if named := _PERMISSION.findall(said):
        return "run.jobs.runWithOverrides" in named
    return re.search(r"permission|not authorized|forbidden", said, re.IGNORECASE) is not None


def _read_started(operation: Mapping[str, Any], place: Mapping[str, str]) -> CloudRunJob:
    """Return the execution that the operation of jobs.run is about."""
    try:
        return _named(operation["metadata"]["name"], place)
    except MISSHAPEN as exc:
        raise TryAgain(f"The answer to jobs.run names no execution: {describe(operation)}") from exc


def _marked(page: Mapping[str, Any], place: Mapping[str, str], marker: str) -> CloudRunJob | None:
    try:
        for execution in page.get("executions") or []:
            if holds_marker(execution, marker):
                return _named(execution["name"], place)
    except MISSHAPEN as exc:
        raise TryAgain(f"The answer is not a list of executions: {describe(page)}") from exc
    return None


def _named(name: str, place: Mapping[str, str]) -> CloudRunJob:
    parent, _, execution = name.rpartition("/executions/")
    if not parent or not execution:
        raise LookupError(name)
    return CloudRunJob(**place, execution_id=execution)
