"""CloudRunJobOperator: runs a Cloud Run job without holding a worker until its execution has ended."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

from ork_provider.attempt import Attempt, AttemptStore
from ork_provider.cloud_run.job import CloudRunJob, read_job_name
from ork_provider.cloud_run.overrides import check_overrides, to_overrides, with_marker
from ork_provider.cloud_run.service import CloudRunService, OverridesRefused
from ork_provider.errors import InvalidJob, TryAgain, UnknownOutcome
from ork_provider.google.api import GOOGLE_CONNECTION, sentence
from ork_provider.google.arguments import read_project
from ork_provider.operator import JobOperator
from ork_provider.templates import is_template
from ork_provider.trigger import JobTrigger

if TYPE_CHECKING:
    from airflow.sdk import Context

    from ork_provider.operator.job import Start
    from ork_provider.worker import Worker

LOOK_AGAIN = 2.0
"""Seconds until executions are listed once more when the one that is looked for is not there."""

UNMARKED = (
    "The answer to a request that starts an execution was lost, and the execution cannot be found again: the account "
    "lacks run.jobs.runWithOverrides, so the request had no marker. Nothing was sent again."
)


class CloudRunJobTrigger(JobTrigger):
    """Waits for executions of Cloud Run jobs."""

    classpath: ClassVar[str] = "ork_provider.cloud_run.CloudRunJobTrigger"
    connection_defaults: ClassVar[Mapping[str, Any]] = GOOGLE_CONNECTION


class CloudRunJobOperator(JobOperator):
    """Executes a Cloud Run job without holding a worker while it runs.

    Returns the execution's dict with ``state``, ``message``, ``link`` and ``stats``: ``task_count``, ``succeeded``,
    ``failed``, ``cancelled``, ``retried``, ``running`` (tasks), ``duration_seconds``, ``log_uri``. It has succeeded
    only if every task of it has.

    :param region: region of the job, such as ``europe-west1``
    :param job_name: the Cloud Run job, which exists already; its full resource name is good too
    :param project_id: project of the job; default: the connection's
    :param overrides: what is different for this execution: ``args`` (list), ``env`` (dict), ``task_count``,
        ``timeout`` of a task (seconds, a timedelta, ``"600s"`` or ``{"seconds": 600}``) and ``container``, where the
        job has several; or the API's own form (https://cloud.google.com/run/docs/reference/rest/v2/projects.locations.jobs/run#Overrides)
    :param gcp_conn_id: Airflow connection of type ``google_cloud_platform``
    :param impersonation_chain: service account to act as, or a chain of them
    """

    template_fields: Sequence[str] = (
        "project_id",
        "region",
        "job_name",
        "overrides",
        "gcp_conn_id",
        "impersonation_chain",
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {"overrides": "json"}
    trigger_class = CloudRunJobTrigger
    job_type = CloudRunJob
    ui_color = "#e8f0fe"
    can_find = True

    def __init__(
        self,
        *,
        region: str,
        job_name: str,
        project_id: str | None = None,
        overrides: dict[str, Any] | None = None,
        gcp_conn_id: str = GOOGLE_CONNECTION["gcp_conn_id"],
        impersonation_chain: str | Sequence[str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.project_id = project_id
        self.region = region
        self.job_name = job_name
        self.overrides = overrides
        self.gcp_conn_id = gcp_conn_id
        self.impersonation_chain = impersonation_chain
        self._check_place()
        check_overrides(overrides, f"{self}.overrides")

    def _check_place(self) -> None:
        for name, expected in (("region", "a region"), ("job_name", "the name of a Cloud Run job")):
            value = getattr(self, name)
            if not is_template(value) and (not isinstance(value, str) or not value.strip()):
                raise self.bad_argument(name, expected, value)
        self._given_project()

    def _given_project(self) -> str | None:
        return read_project(self.project_id, f"{self}: project_id")

    def build_request(self, context: Context) -> dict[str, Any]:
        """See JobOperator; what was a template when the DAG was parsed is checked now, before anything is sent."""
        self._check_place()
        named = read_job_name(self.job_name)
        if "/" in named.get("job_name", "/"):
            expected = "a name, or projects/.../locations/.../jobs/..."
            raise self.bad_argument("job_name", expected, self.job_name)
        project = self._given_project()
        for field, given in (("project", project), ("region", self.region)):
            if given and named.get(field, given) != given:
                raise InvalidJob(f"{self}: job_name is in {field} {named[field]!r}, but {given!r} is given.")
        return {
            "project_id": named.get("project") or project,
            "region": self.region,
            "job_name": named["job_name"],
            "overrides": to_overrides(self.overrides, f"{self}.overrides"),
        }

    async def name_job(self, context: Context, nonce: str, worker: Worker) -> None:
        """Return None: Cloud Run names its executions itself."""

    def _new_attempt(self, start: Start) -> Attempt:
        placing = self._keep_trying(lambda: self._place(start.request, start.worker), "Reading the connection")
        return replace(super()._new_attempt(start), place=start.worker.run(placing))

    async def submit(
        self, attempt: Attempt, request: Mapping[str, Any], context: Context, worker: Worker
    ) -> CloudRunJob:
        """See JobOperator; the execution gets a marker by which ``find_job`` knows it."""
        service = await self._service(worker)
        try:
            return await service.run(attempt.place, with_marker(request["overrides"], attempt.nonce))
        except OverridesRefused:
            if request["overrides"]:
                raise
        warn_unmarked(self.gcp_conn_id)
        AttemptStore(context, self.log).save(replace(attempt, findable=False))
        try:
            return await service.run(attempt.place, {})
        except TryAgain as exc:
            if exc.processed:
                raise UnknownOutcome(f"{UNMARKED} Look for it in Cloud Run. {sentence(exc)}") from exc
            raise

    async def find_job(self, attempt: Attempt, request: Mapping[str, Any], worker: Worker) -> CloudRunJob | None:
        """See JobOperator; look twice, because an execution may be listed a little late."""
        if not attempt.findable:
            return None
        service = await self._service(worker)
        if found := await service.find(attempt.place, attempt.nonce):
            return found
        await self.clock.sleep(LOOK_AGAIN)
        return await service.find(attempt.place, attempt.nonce, pages=1)

    async def _place(self, request: Mapping[str, Any], worker: Worker) -> dict[str, str]:
        project = request["project_id"] or await (await self._service(worker)).api.project_id()
        return {"project": project, "region": request["region"], "job_name": request["job_name"]}

    async def _service(self, worker: Worker) -> CloudRunService:
        service = await worker.services.open(CloudRunService)
        assert isinstance(service, CloudRunService)
        return service


@cache  # once per process and connection
def warn_unmarked(conn_id: str) -> None:
    """Say what the missing permission costs."""
    logging.getLogger(__name__).warning(
        "The account of connection %r may not run jobs with overrides (run.jobs.runWithOverrides), so executions start "
        "without the marker by which a lost one is found again: if an answer is lost, the task fails instead",
        conn_id,
    )
