"""BigQueryJobOperator: runs a job of any type without holding a worker, and returns its statistics and rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from ork_provider.attempt import Attempt, readable_id
from ork_provider.bigquery.job import BigQueryJob, read_stats
from ork_provider.bigquery.service import BigQueryService
from ork_provider.bigquery.values import to_query_parameters
from ork_provider.errors import InvalidJob
from ork_provider.google.api import GOOGLE_CONNECTION
from ork_provider.google.arguments import read_project
from ork_provider.google.labels import task_labels
from ork_provider.job import Job, JobState, JobStatus
from ork_provider.operator import JobOperator
from ork_provider.trigger import JobTrigger

if TYPE_CHECKING:
    from airflow.sdk import Context

    from ork_provider.worker import Worker

JOB_ID_LIMIT = 1024
MAX_ROWS = 10_000


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
    job_type = BigQueryJob
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
            "project_id": self._given_project(),
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
        return self._given_project() or await service.api.project_id(), self.location or await service.location()

    def _given_project(self) -> str | None:
        return read_project(self.project_id, f"{self}: project_id")

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
        return {**task_labels(context["ti"]), **(configured or {}), **(self.labels or {})}

    async def finish(self, job: Job, status: JobStatus, worker: Worker) -> dict[str, Any]:
        """Fetch the rows, if asked for."""
        if self.max_results is None:
            return {}
        assert isinstance(job, BigQueryJob)
        return {"rows": await (await self._service(worker)).rows(job, self.max_results)}
