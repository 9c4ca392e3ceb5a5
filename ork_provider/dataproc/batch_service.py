"""DataprocBatchService: the calls of Dataproc's batches API that a batch needs.

Source: https://cloud.google.com/dataproc-serverless/docs/reference/rest/v1/projects.locations.batches
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from ork_provider.dataproc.batch import DataprocBatchJob, read_batch
from ork_provider.dataproc.listing import ActiveBatches
from ork_provider.dataproc.service import DataprocService
from ork_provider.errors import NotFound, TryAgain
from ork_provider.google.api import read_answer
from ork_provider.job import JobStatus, describe
from ork_provider.text import NAME, one_line

STATUS_FIELDS = (
    "state,stateMessage,stateTime,stateHistory,runtimeInfo(outputUri,diagnosticOutputUri,endpoints,approximateUsage)"
)
"""What a poll asks for; a whole batch would hold its arguments and properties every time."""

OPERATION = re.compile(r"projects/[^/]+/(?:regions|locations)/[^/]+/operations/[^/]+")


class DataprocBatchService(DataprocService):
    """Dataproc's batches API."""

    async def check(self, job: DataprocBatchJob) -> JobStatus:
        """Ask with batches.get."""
        answer = await self.api.call("GET", path_of(job), params={"fields": STATUS_FIELDS})
        return read_answer(job, answer, "a batch", read_batch)

    def shared(self, job: DataprocBatchJob) -> ActiveBatches:
        """See Service."""
        return ActiveBatches(self.api, job.project, job.region)

    async def submit(self, job: DataprocBatchJob, request: Mapping[str, Any]) -> DataprocBatchJob:
        """Start with batches.create under our own id.

        :param request: ``batch`` as the API has it, and ``requestId``
        """
        params = {"batchId": job.batch_id, "requestId": request["requestId"]}
        answer = await self.create(job, f"{parent_of(job)}/batches", params=params, json=request["batch"])
        return read_operation(answer, job)

    async def cancel(self, job: DataprocBatchJob) -> None:
        """Stop with operations.cancel; a batch has no cancel of its own."""
        operation = job.operation or await self._operation_of(job)
        try:
            await self.stop(job, f"/v1/{operation}:cancel")
        except NotFound:
            if not (await self.check(job)).state.final:  # operations are forgotten earlier than batches
                raise TryAgain(f"{job} has no operation {operation} to cancel") from None

    async def _operation_of(self, job: DataprocBatchJob) -> str:
        answer = await self.api.call("GET", path_of(job), params={"fields": "operation"})
        operation = answer.get("operation")
        if not _is_operation(operation):
            raise TryAgain(f"{job}: the answer names no operation: {describe(answer)}")
        return str(operation)


def parent_of(job: DataprocBatchJob) -> str:
    """Return the path of a batch's location."""
    return f"/v1/projects/{quote(job.project, safe=':')}/locations/{quote(job.region, safe='')}"


def path_of(job: DataprocBatchJob) -> str:
    """Return the path of a batch's resource."""
    return f"{parent_of(job)}/batches/{quote(job.batch_id, safe='')}"


def read_operation(answer: Mapping[str, Any], job: DataprocBatchJob) -> DataprocBatchJob:
    """Return the batch with the operation that creates it."""
    operation, metadata = answer.get("name"), answer.get("metadata") or {}
    if not _is_operation(operation) or not isinstance(metadata, Mapping):
        raise TryAgain(f"{job}: the answer is not an operation: {describe(answer)}")
    named = str(metadata.get("batch") or job.batch_id).rpartition("/")[2]
    if named != job.batch_id:
        raise TryAgain(f"{job}: the answer names another batch, {one_line(str(named), NAME)!r}")
    return replace(job, operation=str(operation))


def _is_operation(name: Any) -> bool:
    return isinstance(name, str) and OPERATION.fullmatch(name) is not None
