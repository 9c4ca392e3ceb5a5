"""DataprocJobOperator and DataprocBatchOperator: run Spark and other work on Dataproc without holding a worker."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from ork_provider.attempt import Attempt, readable_id
from ork_provider.dataproc.batch import DataprocBatchJob
from ork_provider.dataproc.batch_service import DataprocBatchService
from ork_provider.dataproc.job import DataprocJob
from ork_provider.dataproc.resource import (
    BATCH_TYPES,
    JOB_TYPES,
    check_labels,
    place_on_cluster,
    read_resource,
    take_project,
)
from ork_provider.dataproc.service import DataprocJobService, DataprocService
from ork_provider.google.api import GOOGLE_CONNECTION
from ork_provider.google.arguments import read_project
from ork_provider.google.labels import task_labels, to_strict_label
from ork_provider.operator import JobOperator
from ork_provider.templates import is_template
from ork_provider.trigger import JobTrigger

if TYPE_CHECKING:
    from airflow.sdk import Context

    from ork_provider.worker import Worker

JOB_ID_LIMIT = 100
BATCH_ID_LIMIT = 63


class DataprocJobTrigger(JobTrigger):
    """Waits for Dataproc jobs."""

    classpath: ClassVar[str] = "ork_provider.dataproc.DataprocJobTrigger"
    connection_defaults: ClassVar[Mapping[str, Any]] = GOOGLE_CONNECTION


class DataprocBatchTrigger(JobTrigger):
    """Waits for Dataproc serverless batches."""

    classpath: ClassVar[str] = "ork_provider.dataproc.DataprocBatchTrigger"
    connection_defaults: ClassVar[Mapping[str, Any]] = GOOGLE_CONNECTION


class DataprocOperator(JobOperator):
    """What the operators for jobs and for batches have in common.

    :param region: region of the cluster or of the batch
    :param project_id: project of the cluster or of the batch; default: the connection's
    :param labels: labels, beside those that name dag, task and run
    :param gcp_conn_id: Airflow connection of type ``google_cloud_platform``
    :param impersonation_chain: service account to act as, or a chain of them
    """

    template_fields: Sequence[str] = ("project_id", "region", "labels", "gcp_conn_id", "impersonation_chain")
    service: ClassVar[type[DataprocService]]
    ui_color = "#e6f4ea"

    def __init__(
        self,
        *,
        region: str,
        project_id: str | None = None,
        labels: dict[str, str] | None = None,
        gcp_conn_id: str = GOOGLE_CONNECTION["gcp_conn_id"],
        impersonation_chain: str | Sequence[str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.region = region
        self.project_id = project_id
        self.labels = labels
        self.gcp_conn_id = gcp_conn_id
        self.impersonation_chain = impersonation_chain
        self._check_common()

    def _check_common(self) -> None:
        if not is_template(self.region) and (not isinstance(self.region, str) or not self.region.strip()):
            raise self.bad_argument("region", "the name of a region, such as 'europe-west1'", self.region)
        self._given_project()
        check_labels(self.labels, f"{self}: labels")

    def _given_project(self) -> str | None:
        return read_project(self.project_id, f"{self}: project_id")

    async def _service(self, worker: Worker) -> Any:
        return await worker.services.open(self.service)

    async def _project(self, worker: Worker) -> str:
        return self._given_project() or str(await (await self._service(worker)).api.project_id())

    def _labelled(self, resource: Mapping[str, Any], context: Context) -> dict[str, Any]:
        labels = {key: to_strict_label(value) for key, value in task_labels(context["ti"]).items()}
        return {**resource, "labels": {**labels, **(resource.get("labels") or {}), **(self.labels or {})}}


class DataprocJobOperator(DataprocOperator):
    """Runs a job of any type on a Dataproc cluster without holding a worker while it runs.

    Returns the job's dict with ``state``, ``message``, ``link`` and ``stats`` (see ``job.read_stats``).

    :param job: the job as Google's DataprocSubmitJobOperator takes it, or as the API has it
        (https://cloud.google.com/dataproc/docs/reference/rest/v1/projects.regions.jobs)
    :param cluster_name: the cluster to run on; default: the job's ``placement``
    """

    template_fields: Sequence[str] = ("job", "cluster_name", *DataprocOperator.template_fields)
    template_fields_renderers: ClassVar[dict[str, str]] = {"job": "json"}
    trigger_class = DataprocJobTrigger
    job_type = DataprocJob
    service = DataprocJobService

    def __init__(self, *, job: dict[str, Any], cluster_name: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.job = job
        self.cluster_name = cluster_name
        if not is_template(job):
            self._read_job()

    def _read_job(self) -> tuple[dict[str, Any], str | None]:
        """Return the job in the API's spelling, less its reference, and the project that this names."""
        cluster = self.cluster_name
        if cluster is not None and not is_template(cluster) and not isinstance(cluster, str):
            raise self.bad_argument("cluster_name", "the name of a cluster, or None", cluster)
        where = f"{self}: job"
        job = place_on_cluster(read_resource(self.job, where, JOB_TYPES), cluster, where)
        given = self._given_project()
        named = take_project(job, given, where)
        return job, given or named

    def build_request(self, context: Context) -> dict[str, Any]:
        """See JobOperator; what was a template when the DAG was parsed is checked now, before anything is sent."""
        self._check_common()
        job, project = self._read_job()
        return {"job": job, "project_id": project, "region": self.region}

    async def name_job(self, context: Context, nonce: str, worker: Worker) -> DataprocJob:
        """See JobOperator."""
        job, project = self._read_job()
        return DataprocJob(
            project=project or await self._project(worker),
            region=self.region,
            job_id=readable_id(context["ti"], nonce, limit=JOB_ID_LIMIT),
            cluster_name=job["placement"].get("clusterName"),
        )

    async def submit(
        self, attempt: Attempt, request: Mapping[str, Any], context: Context, worker: Worker
    ) -> DataprocJob:
        """See JobOperator."""
        body = {"job": self._labelled(request["job"], context), "requestId": attempt.nonce}
        job: DataprocJob = await (await self._service(worker)).submit(attempt.job, body)
        return job


class DataprocBatchOperator(DataprocOperator):
    """Runs a Dataproc serverless batch of any type without holding a worker while it runs.

    Returns the batch's dict with ``state``, ``message``, ``link`` and ``stats`` (see ``batch.read_stats``).

    :param batch: the batch as Google's DataprocCreateBatchOperator takes it, or as the API has it
        (https://cloud.google.com/dataproc-serverless/docs/reference/rest/v1/projects.locations.batches)
    """

    template_fields: Sequence[str] = ("batch", *DataprocOperator.template_fields)
    template_fields_renderers: ClassVar[dict[str, str]] = {"batch": "json"}
    trigger_class = DataprocBatchTrigger
    job_type = DataprocBatchJob
    service = DataprocBatchService

    def __init__(self, *, batch: dict[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.batch = batch
        if not is_template(batch):
            self._read_batch()

    def _read_batch(self) -> dict[str, Any]:
        return read_resource(self.batch, f"{self}: batch", BATCH_TYPES)

    def build_request(self, context: Context) -> dict[str, Any]:
        """See JobOperator; what was a template when the DAG was parsed is checked now, before anything is sent."""
        self._check_common()
        return {"batch": self._read_batch(), "project_id": self._given_project(), "region": self.region}

    async def name_job(self, context: Context, nonce: str, worker: Worker) -> DataprocBatchJob:
        """See JobOperator."""
        batch_id = to_batch_id(readable_id(context["ti"], nonce, limit=BATCH_ID_LIMIT, separator="-"))
        return DataprocBatchJob(project=await self._project(worker), region=self.region, batch_id=batch_id)

    async def submit(
        self, attempt: Attempt, request: Mapping[str, Any], context: Context, worker: Worker
    ) -> DataprocBatchJob:
        """See JobOperator."""
        body = {"batch": self._labelled(request["batch"], context), "requestId": attempt.nonce}
        job: DataprocBatchJob = await (await self._service(worker)).submit(attempt.job, body)
        return job


def to_batch_id(readable: str) -> str:
    """Return an id in the characters that a batch may have: lower case, digits and ``-``."""
    return re.sub(r"[^a-z0-9]+", "-", readable.lower())
