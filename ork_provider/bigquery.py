"""BigQuery: submit a job of any type, wait for it in the triggerer, return its statistics and rows.

Source: https://cloud.google.com/bigquery/docs/reference/rest/v2/Job
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import quote

from ork_provider.attempt import Attempt, readable_id
from ork_provider.bigquery_values import read_rows, to_query_parameters
from ork_provider.errors import BadRequest, Conflict, InvalidJob, TryAgain
from ork_provider.google.api import GOOGLE_CONNECTION, GoogleApi
from ork_provider.job import Job, JobState, JobStatus, describe
from ork_provider.operator import JobOperator
from ork_provider.service import Service
from ork_provider.trigger import JobTrigger

if TYPE_CHECKING:
    from airflow.sdk import Context

    from ork_provider.session import Session
    from ork_provider.worker import Worker

ENDPOINT = "https://bigquery.googleapis.com"
CONSOLE = "https://console.cloud.google.com/bigquery"
JOB_ID_LIMIT = 1024
STATUS_FIELDS = "jobReference,status,statistics"
"""What a poll asks for; a whole job would hold the query's text every time."""

MAX_ROWS = 10_000
ROWS_LIMIT = 10 * 1024 * 1024
"""Bytes of rows that a result may hold; more belongs in a table, not in an XCom."""


@dataclass(frozen=True, kw_only=True)
class BigQueryJob(Job):
    """A BigQuery job of any type.

    :param project: project that runs (and pays for) it
    :param job_id: its id, without project and location
    :param location: region or multi-region in which it runs
    """

    kind: ClassVar[str] = "bigquery"
    service: ClassVar[str] = "ork_provider.bigquery:BigQueryService"

    project: str
    job_id: str
    location: str | None = "US"

    @property
    def remote_id(self) -> str:
        """The job id."""
        return self.job_id

    @property
    def link(self) -> str | None:
        """Page of the job in the Google Cloud console."""
        place = quote(f"{self.location or 'US'}:{self.job_id}", safe=":")
        return f"{CONSOLE}?project={self.project}&j=bq:{place}&page=queryresults"

    def __str__(self) -> str:
        return f"BigQuery job {self.project}:{self.location or '?'}.{self.job_id}"


class BigQueryService(Service):
    """BigQuery's jobs API."""

    connection_defaults: ClassVar[dict[str, Any]] = GOOGLE_CONNECTION

    def __init__(self, api: GoogleApi) -> None:
        self.api = api

    @classmethod
    async def open(cls, session: Session, **connection: Any) -> BigQueryService:
        """See Service."""
        await session.renew_connection(connection["gcp_conn_id"], if_old=True)
        return cls(GoogleApi(session, "bigquery", ENDPOINT, **connection))

    async def check(self, job: BigQueryJob) -> JobStatus:
        """Ask with jobs.get."""
        answer = await self.get(await self.locate(job), fields=STATUS_FIELDS)
        try:
            return read_job(answer)
        except (AttributeError, TypeError, ValueError, LookupError) as exc:
            raise TryAgain(f"{job}: the answer is not a job: {describe(answer)}") from exc

    async def locate(self, job: BigQueryJob) -> BigQueryJob:
        """Return the job with its location: jobs.get without one finds only what is in the US or the EU.

        Only a job whose submit was never answered has no location; it is among the newest in the list.
        """
        if job.location is not None:
            return job
        params = {"maxResults": "1000", "fields": "jobs/jobReference"}
        page = await self.api.call("GET", f"/bigquery/v2/projects/{job.project}/jobs", params=params)
        for item in page.get("jobs") or []:
            named = item.get("jobReference") or {}
            if named.get("jobId") == job.job_id:
                return replace(job, location=named.get("location"))
        return job

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
        return read_reference(answer, job)

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
            rows += read_rows(page.get("schema") or {}, page.get("rows") or [])
            token = page.get("pageToken")
            if not token:
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

    async def project_id(self) -> str:
        """Return the connection's project."""
        access = await self.api.access()
        project = await access.project_id()
        if not project:
            raise BadRequest(
                f"No project: neither project_id nor the connection {access.conn_id!r} names one. "
                "Set project_id, or 'project' in the connection's extra."
            )
        return project

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


def read_reference(answer: Mapping[str, Any], job: BigQueryJob) -> BigQueryJob:
    """Return the job as the answer names it; BigQuery chooses the location when we do not."""
    named = answer.get("jobReference") or {}
    if named.get("jobId") != job.job_id:
        raise TryAgain(f"{job}: the answer names another job, {named.get('jobId')!r}")
    return replace(job, location=named.get("location") or job.location)


def existing_job(job: BigQueryJob, message: str) -> BigQueryJob:
    """Return the job that a 409 speaks of: ``Already Exists: Job project:location.job_id``."""
    found = re.search(rf"Job {re.escape(job.project)}:([A-Za-z0-9-]+)\.{re.escape(job.job_id)}", message)
    return replace(job, location=found[1]) if found else job


_STATES = {"PENDING": JobState.RUNNING, "RUNNING": JobState.RUNNING, "DONE": JobState.SUCCEEDED}


def read_job(resource: Mapping[str, Any]) -> JobStatus:
    """Read a job resource; a job is done when its state says so, and failed when it has an errorResult."""
    status = resource.get("status") or {}
    remote_state = status.get("state")
    if remote_state not in _STATES:
        raise TryAgain(f"BigQuery answered a job with the unknown state {remote_state!r}")
    state, message = _STATES[remote_state], ""
    if error := status.get("errorResult"):
        state = JobState.CANCELLED if error.get("reason") == "stopped" else JobState.FAILED
        message = say_errors(error, status.get("errors") or [])
    return JobStatus(
        state=state if remote_state == "DONE" else JobState.RUNNING,
        remote_state=remote_state,
        message=message,
        stats=read_stats(resource.get("statistics") or {}),
    )


def say_errors(error: Mapping[str, Any], errors: Sequence[Mapping[str, Any]]) -> str:
    """Return the service's own words: the fatal error first, then the others, each once."""
    said = [_say_error(e) for e in (error, *errors)]
    return "; ".join(dict.fromkeys(said))[:2000]


def _say_error(error: Mapping[str, Any]) -> str:
    place = f" at {error['location']}" if error.get("location") else ""
    return f"{error.get('message') or 'no message'} (reason: {error.get('reason')}{place})"


def read_stats(statistics: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a job cost and did; integers that the API sends as strings become numbers.

    ``bytes_processed``, ``bytes_billed`` (bytes), ``slot_ms`` (slot milliseconds), ``cache_hit``,
    ``duration_seconds`` (from start to end), ``statement_type``, ``dml`` (rows inserted, updated, deleted).
    """
    query = statistics.get("query") or {}
    dml = query.get("dmlStats") or {}
    found = {
        "bytes_processed": _number(query.get("totalBytesProcessed", statistics.get("totalBytesProcessed"))),
        "bytes_billed": _number(query.get("totalBytesBilled")),
        "slot_ms": _number(query.get("totalSlotMs", statistics.get("totalSlotMs"))),
        "cache_hit": query.get("cacheHit"),
        "duration_seconds": _duration(statistics),
        "statement_type": query.get("statementType"),
        "dml": {name: _number(dml.get(key)) for name, key in _DML.items() if dml.get(key) is not None} or None,
    }
    return {name: value for name, value in found.items() if value is not None}


_DML = {"inserted": "insertedRowCount", "updated": "updatedRowCount", "deleted": "deletedRowCount"}


def _number(value: Any) -> int | None:
    return None if value is None else int(value)


def _duration(statistics: Mapping[str, Any]) -> float | None:
    if not statistics.get("startTime") or not statistics.get("endTime"):
        return None
    return (int(statistics["endTime"]) - int(statistics["startTime"])) / 1000


class BigQueryJobTrigger(JobTrigger):
    """Waits for BigQuery jobs."""

    classpath: ClassVar[str] = "ork_provider.bigquery.BigQueryJobTrigger"
    connection_defaults: ClassVar[Mapping[str, Any]] = GOOGLE_CONNECTION


class BigQueryJobOperator(JobOperator):
    """Runs a BigQuery job without holding a worker while it runs.

    Returns the job's dict with ``state``, ``message``, ``link``, ``stats`` (see ``read_stats``) and, when
    ``max_results`` asks for them, ``rows``: a list of ``{column: value}`` in JSON types.

    :param sql: a query in standard SQL; or
    :param configuration: the job configuration of any job type, as Google's BigQueryInsertJobOperator takes it
        (https://cloud.google.com/bigquery/docs/reference/rest/v2/Job#jobconfiguration)
    :param parameters: named query parameters of ``sql``; types follow from the Python values, or are given as
        ``{"type": "DATE", "value": "2026-01-31"}``
    :param project_id: project that runs the job; default: the connection's
    :param location: default: the connection's, else BigQuery chooses by the tables
    :param max_results: number of rows to return, at most 10,000
    :param dry_run: only check the job and estimate its bytes
    :param labels: labels of the job, beside those that name dag, task and run
    :param gcp_conn_id: Airflow connection of type ``google_cloud_platform``
    :param impersonation_chain: service account to act as, or a chain of them
    """

    template_fields: Sequence[str] = (
        "sql",
        "configuration",
        "parameters",
        "project_id",
        "location",
        "labels",
        "gcp_conn_id",
        "impersonation_chain",
    )
    template_ext: Sequence[str] = (".sql",)
    template_fields_renderers: ClassVar[dict[str, str]] = {"sql": "sql", "configuration": "json"}
    trigger_class = BigQueryJobTrigger
    ui_color = "#e8f0fe"

    def __init__(
        self,
        *,
        sql: str | None = None,
        configuration: dict[str, Any] | None = None,
        parameters: dict[str, Any] | None = None,
        project_id: str | None = None,
        location: str | None = None,
        max_results: int | None = None,
        dry_run: bool = False,
        labels: dict[str, str] | None = None,
        gcp_conn_id: str = GOOGLE_CONNECTION["gcp_conn_id"],
        impersonation_chain: str | Sequence[str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.sql = sql
        self.configuration = configuration
        self.parameters = parameters
        self.project_id = project_id
        self.location = location
        self.max_results = max_results
        self.only_check = dry_run  # BaseOperator.dry_run is a method
        self.labels = labels
        self.gcp_conn_id = gcp_conn_id
        self.impersonation_chain = impersonation_chain
        self._check_arguments()

    def _check_arguments(self) -> None:
        if (self.sql is None) == (self.configuration is None):
            given = "both" if self.sql is not None else "neither"
            raise InvalidJob(f"{self}: give either sql or configuration; got {given}.")
        if self.parameters is not None and self.sql is None:
            raise InvalidJob(f"{self}: parameters go with sql; in a configuration, use query.queryParameters.")
        rows = self.max_results
        if rows is not None and (type(rows) is not int or not 1 <= rows <= MAX_ROWS):
            raise self.bad_argument("max_results", f"a number from 1 to {MAX_ROWS}, or None", rows)

    def execute(self, context: Context) -> Any:
        """Run the job, or only check it."""
        dry = isinstance(self.configuration, dict) and self.configuration.get("dryRun")
        if not (self.only_check or dry):
            return super().execute(context)
        with self._worker() as worker:
            return worker.run(self._keep_trying(lambda: self._check_only(context, worker), "Dry run"))

    async def _check_only(self, context: Context, worker: Worker) -> dict[str, Any]:
        service = await self._service(worker)
        project, location = await self._place(service)
        resource = await service.dry_run(project, location, self.build_request(context)["configuration"])
        return {
            "service_type": BigQueryJob.kind,
            "project": project,
            "dry_run": True,
            "state": JobState.SUCCEEDED.value,
            "stats": read_stats(resource.get("statistics") or {}),
        }

    def build_request(self, context: Context) -> dict[str, Any]:
        """See JobOperator."""
        return {
            "configuration": self._configuration(),
            "project_id": self.project_id,
            "location": self.location,
        }

    def _configuration(self) -> dict[str, Any]:
        if self.configuration is not None:
            if not isinstance(self.configuration, dict):
                raise self.bad_argument("configuration", "a dict after rendering", self.configuration)
            return self.configuration
        query: dict[str, Any] = {"query": self.sql, "useLegacySql": False}
        if self.parameters:
            query["parameterMode"] = "NAMED"
            query["queryParameters"] = to_query_parameters(self.parameters)
        return {"query": query}

    async def name_job(self, context: Context, nonce: str, worker: Worker) -> BigQueryJob:
        """See JobOperator."""
        project, location = await self._place(await self._service(worker))
        job_id = readable_id(context["ti"], nonce, limit=JOB_ID_LIMIT)
        return BigQueryJob(project=project, job_id=job_id, location=location)

    async def _place(self, service: BigQueryService) -> tuple[str, str | None]:
        return self.project_id or await service.project_id(), self.location or await service.location()

    async def _service(self, worker: Worker) -> BigQueryService:
        service = await worker.services.open(BigQueryService)
        assert isinstance(service, BigQueryService)
        return service

    async def submit(
        self, attempt: Attempt, request: Mapping[str, Any], context: Context, worker: Worker
    ) -> BigQueryJob:
        """See JobOperator."""
        assert isinstance(attempt.job, BigQueryJob)
        configuration = {
            **request["configuration"],
            "labels": self._labels(context, request["configuration"].get("labels")),
        }
        return await (await self._service(worker)).submit(attempt.job, {"configuration": configuration})

    def _labels(self, context: Context, configured: Mapping[str, str] | None) -> dict[str, str]:
        ti = context["ti"]
        ours = {"airflow-dag": ti.dag_id, "airflow-task": ti.task_id, "airflow-run": ti.run_id}
        return {
            **{key: to_label(value) for key, value in ours.items()},
            **(configured or {}),
            **(self.labels or {}),
        }

    async def finish(self, job: Job, status: JobStatus, worker: Worker) -> dict[str, Any]:
        """Fetch the rows, if asked for."""
        if self.max_results is None:
            return {}
        assert isinstance(job, BigQueryJob)
        return {"rows": await (await self._service(worker)).rows(job, self.max_results)}


def to_label(value: str) -> str:
    """Return a value as BigQuery allows it in a label: lower case, digits, ``_`` and ``-``, 63 characters."""
    return re.sub(r"[^a-z0-9_-]+", "-", value.lower())[:63]
