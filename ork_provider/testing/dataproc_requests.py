"""What the fake Dataproc refuses, and how its lists are filtered and cut into pages."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from ork_provider.testing.dataproc_filter import BadFilter, Test, parse
from ork_provider.testing.faults import Answer, Refused
from ork_provider.testing.server import RecordedRequest

PAGE = 20
LARGEST_PAGE = 1000
"""Documented of batches; of jobs nothing is."""

JOB_TYPES = (
    *("sparkJob", "pysparkJob", "hiveJob", "pigJob", "hadoopJob", "sparkSqlJob", "sparkRJob"),
    *("prestoJob", "trinoJob", "flinkJob"),
)
BATCH_TYPES = ("pysparkBatch", "sparkBatch", "sparkRBatch", "sparkSqlBatch", "pysparkNotebookBatch")
JOB_FIELDS = {*JOB_TYPES, "reference", "placement", "labels", "scheduling", "driverSchedulingConfig"}
BATCH_FIELDS = {*BATCH_TYPES, "labels", "runtimeConfig", "environmentConfig"}

_JOB_ID = re.compile(r"[A-Za-z0-9_-]{1,100}")
_BATCH_ID = re.compile(r"[a-z0-9][a-z0-9-]{2,61}[a-z0-9]")
_REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{1,40}")
_LABEL_KEY = re.compile(r"[a-z](?:[a-z0-9_-]{0,61}[a-z0-9])?")
_LABEL = re.compile(r"(?:[a-z](?:[a-z0-9_-]{0,61}[a-z0-9])?)?")


def refuse(code: int, status: str, message: str) -> Refused:
    """Build the refusal of a request, as newer Google APIs word it."""
    return Refused(Answer.json({"error": {"code": code, "message": message, "status": status}}, code))


def invalid(message: str) -> Refused:
    """Build the refusal of a request that makes no sense."""
    return refuse(400, "INVALID_ARGUMENT", message)


def json_object(request: RecordedRequest) -> dict[str, Any]:
    """Return the body; refuse one that is no JSON object."""
    body = request.json
    if not isinstance(body, dict):
        raise invalid("The request body must be a JSON object")
    return body


def checked_job(body: dict[str, Any], project: str) -> dict[str, Any]:
    """Return the job of a SubmitJobRequest; refuse one that Dataproc would."""
    job = body.get("job")
    if not isinstance(job, dict):
        raise invalid("Job must be set")
    _check_fields(job, JOB_FIELDS, JOB_TYPES, "job")
    placement = job.get("placement") or {}
    if not (placement.get("clusterName") or placement.get("clusterLabels")):
        raise invalid("Job placement must name a cluster")
    reference = job.get("reference") or {}
    if reference.get("projectId", project) != project:
        raise invalid(f"The project in the job's reference is not {project!r}")
    _check_id(reference.get("jobId"), _JOB_ID, "job id")
    return job


def checked_batch(request: RecordedRequest) -> dict[str, Any]:
    """Return the batch of a CreateBatchRequest; refuse one that Dataproc would."""
    batch = json_object(request)
    _check_fields(batch, BATCH_FIELDS, BATCH_TYPES, "batch")
    _check_id(request.query.get("batchId"), _BATCH_ID, "batch id")
    return batch


def checked_request_id(request_id: Any) -> str | None:
    """Return a request id; refuse one that is too long or has other characters."""
    _check_id(request_id, _REQUEST_ID, "request id")
    return request_id or None


def _check_fields(message: dict[str, Any], known: set[str], types: Sequence[str], where: str) -> None:
    for name in message:
        if name not in known:
            raise invalid(f"Invalid JSON payload received. Unknown name \"{name}\" at '{where}': Cannot find field.")
    found = [name for name in types if name in message]
    if len(found) != 1:
        raise invalid(f"A {where} must have exactly one type, got {found}")
    labels = message.get("labels") or {}
    if not isinstance(labels, dict):
        raise invalid(f"Invalid labels in the {where}")
    for key, value in labels.items():
        if not (isinstance(value, str) and _LABEL_KEY.fullmatch(key) and _LABEL.fullmatch(value)):
            raise invalid(f"Invalid label {key!r}: {value!r}")


def _check_id(value: Any, pattern: re.Pattern[str], what: str) -> None:
    if value is not None and not (isinstance(value, str) and pattern.fullmatch(value)):
        raise invalid(f"Invalid {what} {value!r}. It must match {pattern.pattern!r}")


def filter_of(request: RecordedRequest, *, alternatives: bool) -> Test:
    """Return the test that `filter` stands for; with `alternatives` it may have an OR."""
    try:
        return parse(request.query.get("filter", ""), alternatives=alternatives)
    except BadFilter as exc:
        raise invalid(str(exc)) from exc


def page_asked(request: RecordedRequest) -> tuple[int, int | None]:
    """Return `pageSize` within the service's limits, and the number that `pageToken` stands for."""
    try:
        size, token = int(request.query.get("pageSize") or 0), request.query.get("pageToken")
        return min(size, LARGEST_PAGE) if size > 0 else PAGE, int(token) if token else None
    except ValueError:
        raise invalid("Invalid page token or page size") from None
