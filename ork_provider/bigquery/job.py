"""BigQueryJob, and how a job resource reads: what it came to, in whose words, at what cost.

Source: https://cloud.google.com/bigquery/docs/reference/rest/v2/Job
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import quote

from ork_provider.errors import TryAgain
from ork_provider.job import Job, JobState, JobStatus
from ork_provider.stats import known, read_int

CONSOLE = "https://console.cloud.google.com/bigquery"


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


_STATES = {"PENDING": JobState.RUNNING, "RUNNING": JobState.RUNNING, "DONE": JobState.SUCCEEDED}


def read_job(resource: Mapping[str, Any]) -> JobStatus:
    """Read a job resource; a job is done when its state says so, and failed when it has an errorResult."""
    status = resource.get("status") or {}
    remote_state = status.get("state")
    if remote_state not in _STATES:
        raise TryAgain(f"BigQuery answered a job with the unknown state {remote_state!r}")
    state, message = _STATES[remote_state], ""
    error = status.get("errorResult")
    if error is not None:  # that it is there means failure, also when it says nothing
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
        "bytes_processed": read_int(query.get("totalBytesProcessed", statistics.get("totalBytesProcessed"))),
        "bytes_billed": read_int(query.get("totalBytesBilled")),
        "slot_ms": read_int(query.get("totalSlotMs", statistics.get("totalSlotMs"))),
        "cache_hit": query.get("cacheHit"),
        "duration_seconds": _duration(statistics),
        "statement_type": query.get("statementType"),
        "dml": {name: read_int(dml.get(key)) for name, key in _DML.items() if dml.get(key) is not None} or None,
    }
    return known(found)


_DML = {"inserted": "insertedRowCount", "updated": "updatedRowCount", "deleted": "deletedRowCount"}


def _duration(statistics: Mapping[str, Any]) -> float | None:
    if not statistics.get("startTime") or not statistics.get("endTime"):
        return None
    return (int(statistics["endTime"]) - int(statistics["startTime"])) / 1000
