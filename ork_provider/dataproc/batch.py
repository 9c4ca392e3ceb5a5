"""DataprocBatchJob, a serverless batch, and how a batch resource reads.

Source: https://cloud.google.com/dataproc-serverless/docs/reference/rest/v1/projects.locations.batches
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from ork_provider.dataproc.job import CONSOLE
from ork_provider.errors import TryAgain
from ork_provider.job import Job, JobState, JobStatus
from ork_provider.stats import known, read_int, seconds_between


@dataclass(frozen=True, kw_only=True)
class DataprocBatchJob(Job):
    """A Dataproc serverless batch of any type.

    :param project: project that runs it
    :param region: region in which it runs
    :param batch_id: its id, unique in project and region
    :param operation: name of the operation that created it, by which it is cancelled; looked up when None
    """

    kind: ClassVar[str] = "dataproc_batch"
    service: ClassVar[str] = "ork_provider.dataproc:DataprocBatchService"

    project: str
    region: str
    batch_id: str
    operation: str | None = None

    @property
    def remote_id(self) -> str:
        """The batch id."""
        return self.batch_id

    @property
    def link(self) -> str | None:
        """Page of the batch in the Google Cloud console; it shows the driver's output."""
        return f"{CONSOLE}/batches/{self.region}/{self.batch_id}/monitoring?project={self.project}"

    def __str__(self) -> str:
        return f"Dataproc batch {self.project}:{self.region}.{self.batch_id}"


_STATES = {
    "PENDING": JobState.RUNNING,
    "RUNNING": JobState.RUNNING,
    "CANCELLING": JobState.RUNNING,
    "SUCCEEDED": JobState.SUCCEEDED,
    "FAILED": JobState.FAILED,
    "CANCELLED": JobState.CANCELLED,
}


def read_batch(resource: Mapping[str, Any]) -> JobStatus:
    """Read a batch resource."""
    remote_state = resource.get("state")
    if remote_state not in _STATES:
        raise TryAgain(f"Dataproc answered a batch with the unknown state {remote_state!r}")
    state = _STATES[remote_state]
    stats = read_stats(resource, state)
    message = str(resource.get("stateMessage") or "")[:2000]
    if state is JobState.FAILED and "output_uri" in stats:
        message = f"{message or 'no message'} (driver output: {stats['output_uri']})"
    return JobStatus(state=state, remote_state=remote_state, message=message, stats=stats)


def read_stats(resource: Mapping[str, Any], state: JobState) -> dict[str, Any]:
    """Return what is known of a batch beside its state.

    ``duration_seconds`` (from RUNNING to the end), ``output_uri``, ``diagnostic_output_uri``, ``endpoints`` (name
    -> URL, such as the Spark History Server's), and its approximate usage: ``milli_dcu_seconds``,
    ``shuffle_storage_gb_seconds``, ``milli_accelerator_seconds``.
    """
    history, info = resource.get("stateHistory") or [], resource.get("runtimeInfo") or {}
    started = next((s.get("stateStartTime") for s in history if s.get("state") == "RUNNING"), None)
    usage = info.get("approximateUsage") or {}
    found = {
        "duration_seconds": seconds_between(started, resource.get("stateTime")) if state.final else None,
        "output_uri": info.get("outputUri"),
        "diagnostic_output_uri": info.get("diagnosticOutputUri"),
        "endpoints": dict(info.get("endpoints") or {}) or None,
        **{name: read_int(usage.get(key)) for name, key in _USAGE.items()},
    }
    return known(found)


_USAGE = {
    "milli_dcu_seconds": "milliDcuSeconds",
    "shuffle_storage_gb_seconds": "shuffleStorageGbSeconds",
    "milli_accelerator_seconds": "milliAcceleratorSeconds",
}
