"""Jobs, batches and operations of the fake Dataproc as its REST API shows them.

Source: https://cloud.google.com/dataproc/docs/reference/rest
"""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import Any

from ork_provider.testing.dataproc_jobs import FakeDataprocBatch, FakeDataprocJob, FakeDataprocWork, timestamp
from ork_provider.testing.fields import EVERYTHING

EpochMs = Callable[[float], int]
TYPE = "type.googleapis.com/google.cloud.dataproc.v1"

_STAGING = "gs://dataproc-staging-fake"
_OPERATION_ERRORS = {"FAILED": 10, "CANCELLED": 1}  # google.rpc.Code: ABORTED, CANCELLED


def job_resource(job: FakeDataprocJob, epoch_ms: EpochMs, asked: Container[str] = EVERYTHING) -> dict[str, Any]:
    """Render a job; its YARN applications and its earlier states only if they are `asked` for."""
    *earlier, (state, at) = job.history()
    home = f"{_STAGING}/google-cloud-dataproc-metainfo/{job.uuid}/jobs/{job.job_id}"
    resource = {
        **job.resource,
        "reference": {"projectId": job.project, "jobId": job.job_id},
        "placement": {**job.resource["placement"], "clusterName": job.cluster_name, "clusterUuid": "fake-cluster"},
        "status": _status(job, state, at, epoch_ms),
        "jobUuid": job.uuid,
        "driverControlFilesUri": f"{home}/",
        "driverOutputResourceUri": job.work.output_uri or f"{home}/driveroutput",
    }
    if earlier and "statusHistory" in asked:
        resource["statusHistory"] = [_status(job, *entered, epoch_ms) for entered in earlier]
    if "yarnApplications" in asked and "RUNNING" in (state, *(state for state, _ in earlier)):
        resource["yarnApplications"] = [_application(job, state)]
    return {**resource, "done": True} if job.ended else resource


def _status(job: FakeDataprocWork, state: str, at: float, epoch_ms: EpochMs) -> dict[str, Any]:
    details = job.details(state)
    return {"state": state, "stateStartTime": timestamp(epoch_ms(at)), **({"details": details} if details else {})}


def _application(job: FakeDataprocJob, state: str) -> dict[str, Any]:
    ends = {"DONE": "FINISHED", "ERROR": "FAILED", "CANCELLED": "KILLED"}
    return {
        "name": job.work.script.application,
        "state": ends.get(state, "RUNNING"),
        "progress": job.progress(),
        "trackingUrl": f"http://{job.cluster_name}-m:8088/proxy/application_{job.number:013d}_0001/",
    }


def batch_resource(batch: FakeDataprocBatch, epoch_ms: EpochMs, asked: Container[str] = EVERYTHING) -> dict[str, Any]:
    """Render a batch; its runtime information only if it is `asked` for."""
    *before, (state, at) = batch.history()
    resource = {
        **batch.resource,
        "name": batch_name(batch),
        "uuid": batch.uuid,
        "createTime": timestamp(epoch_ms(batch.created_at)),
        "creator": "anonymous@ork-sandbox.iam.gserviceaccount.com",
        "operation": batch.operation,
        "state": state,
        "stateTime": timestamp(epoch_ms(at)),
        "runtimeInfo": _runtime_info(batch) if "runtimeInfo" in asked else {},
        "stateHistory": [{"state": s, "stateStartTime": timestamp(epoch_ms(t))} for s, t in before],
    }
    details = batch.details(state)
    return {**resource, "stateMessage": details} if details else resource


def batch_name(batch: FakeDataprocBatch) -> str:
    """Return a batch's full name."""
    return f"projects/{batch.project}/locations/{batch.region}/batches/{batch.batch_id}"


def _runtime_info(batch: FakeDataprocBatch) -> dict[str, Any]:
    home = f"{_STAGING}/google-cloud-dataproc-metainfo/{batch.uuid}/jobs/srvls-batch-{batch.uuid}"
    info: dict[str, Any] = {
        "outputUri": batch.work.output_uri or f"{home}/driveroutput",
        "endpoints": {"Spark History Server": f"https://{batch.uuid}-dot-{batch.region}.dataproc.fake/sparkhistory/"},
    }
    if batch.ended:
        seconds = max(batch.ended_at - batch.work.started_at, 0)
        usage = {"milliDcuSeconds": str(round(8000 * seconds)), "shuffleStorageGbSeconds": str(round(400 * seconds))}
        info["approximateUsage"] = usage
    return info


def operation_resource(batch: FakeDataprocBatch, epoch_ms: EpochMs) -> dict[str, Any]:
    """Render the operation that creates a batch; it is done when the batch has ended."""
    metadata = {
        "@type": f"{TYPE}.BatchOperationMetadata",
        "batch": batch_name(batch),
        "batchUuid": batch.uuid,
        "createTime": timestamp(epoch_ms(batch.created_at)),
        "operationType": "BATCH",
        "description": "Batch",
    }
    operation: dict[str, Any] = {"name": batch.operation, "metadata": metadata}
    if not batch.ended:
        return operation
    metadata["doneTime"] = timestamp(epoch_ms(batch.ended_at))
    state = batch.state
    if code := _OPERATION_ERRORS.get(state):
        return {**operation, "done": True, "error": {"code": code, "message": batch.details(state) or "cancelled"}}
    response = {"@type": f"{TYPE}.Batch", **batch_resource(batch, epoch_ms)}
    return {**operation, "done": True, "response": response}
