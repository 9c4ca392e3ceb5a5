"""One BigQuery job as the fake keeps it: its outcome, its state as a function of time, its REST resource."""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from ork_provider.testing.bigquery_wire import Field, Row, infer_schema
from ork_provider.testing.fields import EVERYTHING
from ork_provider.testing.scripts import TimedWork

STOPPED = {"reason": "stopped", "message": "Job execution was cancelled: User requested cancellation"}
ANONYMOUS_DATASET = "_anonymous"  # where BigQuery keeps the rows of queries without a destination
_MEGABYTE = 1024 * 1024
_DML_COUNTS = {"INSERT": "insertedRowCount", "UPDATE": "updatedRowCount", "DELETE": "deletedRowCount"}


@dataclass(frozen=True)
class Outcome:
    """What happens to a job: seconds PENDING, seconds RUNNING, then rows or an error.

    `error` holds `reason`, `message` and perhaps `location`, as `status.errorResult` does. `schema` is a list
    of `{"name", "type", "mode"}`, derived from the rows if left out. `statistics` is merged over the job's
    own. `cancelling` is how long the job runs on after jobs.cancel. Until `appears_after` seconds have passed
    the job is not listed, though it can be asked for.
    """

    pending: float = 0.2
    running: float = 1.0
    error: Mapping[str, str] | None = None
    rows: Sequence[Row] = ()
    schema: Sequence[Field] | None = None
    statistics: Mapping[str, Any] = field(default_factory=dict)
    cancelling: float = 0.0
    appears_after: float = 0.0

    @property
    def fields(self) -> list[Field]:
        """The schema, given or derived."""
        return list(self.schema) if self.schema is not None else infer_schema(self.rows)


class Work(Protocol):
    """What a job does until it is DONE; times are readings of the fake's clock, `NEVER` if unknown yet."""

    @property
    def started_at(self) -> float:
        """When the job left PENDING."""

    @property
    def ended_at(self) -> float:
        """When the job became DONE."""

    @property
    def outcome(self) -> Outcome:
        """The result; meaningful once the job is DONE."""

    def cancel(self, now: float) -> None:
        """Ask the work to stop."""


class ScriptedWork(TimedWork[Outcome]):
    """Work that only lets time pass."""

    @property
    def outcome(self) -> Outcome:
        """The script, or a cancelled job's error."""
        return self.script if self.stops_at >= self.natural_end else Outcome(error=STOPPED)


@dataclass(eq=False)
class FakeJob:
    """One stored job. `created_at` and `cancelled_at` are readings of the fake's clock in seconds.

    `parent` is the id of the job that started this one, as a script does with its statements.
    """

    number: int
    project: str
    location: str
    job_id: str
    configuration: dict[str, Any]
    created_at: float
    work: Work
    clock: Callable[[], float]
    user_email: str = ""
    parent: str | None = None
    cancelled_at: float | None = None

    @property
    def state(self) -> str:
        """PENDING, RUNNING or DONE by now."""
        now = self.clock()
        if now >= self.work.ended_at:
            return "DONE"
        return "RUNNING" if now >= self.work.started_at else "PENDING"

    @property
    def error(self) -> Mapping[str, str] | None:
        """The job's `status.errorResult`; None unless it is DONE and failed."""
        return self.work.outcome.error if self.state == "DONE" else None

    @property
    def listed_at(self) -> float:
        """From when on jobs.list shows it."""
        late = self.work.script.appears_after if isinstance(self.work, ScriptedWork) else 0.0
        return self.created_at + late

    @property
    def full_id(self) -> str:
        """`project:location.job_id`, the job's id in the API."""
        return f"{self.project}:{self.location}.{self.job_id}"

    @property
    def sql(self) -> str:
        """The query's text; empty for other kinds of jobs."""
        return sql_of(self.configuration)

    @property
    def destination(self) -> tuple[str, str]:
        """The (dataset, table) that holds a query's rows."""
        table = self.configuration.get("query", {}).get("destinationTable") or {}
        return table.get("datasetId", ""), table.get("tableId", "")

    def cancel(self) -> None:
        """Cancel the job if it is not DONE."""
        if self.state != "DONE":
            now = self.clock()
            self.cancelled_at = self.cancelled_at or now
            self.work.cancel(now)


def sql_of(configuration: Mapping[str, Any]) -> str:
    """Return the SQL of a query job's configuration; empty for other kinds."""
    return str(configuration.get("query", {}).get("query", ""))


def job_type(configuration: Mapping[str, Any]) -> str:
    """Name the kind of a job: QUERY, LOAD, EXTRACT or COPY; empty if the configuration names none."""
    return next((kind.upper() for kind in ("query", "load", "extract", "copy") if kind in configuration), "")


def statement_type(sql: str) -> str:
    """Guess the statement type from the first words of the SQL."""
    text = re.sub(r"(--|#)[^\n]*|/\*.*?\*/", " ", sql, flags=re.DOTALL).strip().upper()
    if re.match(r"CREATE\b.*?\bTABLE\b", text, re.DOTALL):
        return "CREATE_TABLE_AS_SELECT" if re.search(r"\bAS\b", text) else "CREATE_TABLE"
    word = re.match(r"[A-Z]+", text)
    return "SELECT" if not word or word.group() == "WITH" else word.group()


def completed(configuration: dict[str, Any], project: str, number: int) -> dict[str, Any]:
    """Fill in what the service adds to a configuration: the job type and a query's defaults."""
    filled = {**configuration, "jobType": job_type(configuration)}
    if "query" in configuration:
        table = {"projectId": project, "datasetId": ANONYMOUS_DATASET, "tableId": f"anon{number:08d}"}
        defaults = {"priority": "INTERACTIVE", "useLegacySql": True}
        if statement_type(sql_of(configuration)) == "SELECT" and "destinationTable" not in configuration["query"]:
            defaults |= {"writeDisposition": "WRITE_TRUNCATE", "destinationTable": table}
        filled["query"] = {**defaults, **configuration["query"]}
    return filled


def resource(job: FakeJob, url: str, epoch_ms: Callable[[float], int]) -> dict[str, Any]:
    """Render the job as the API's Job resource."""
    state, path = job.state, f"projects/{job.project}/jobs/{job.job_id}"
    return {
        "kind": "bigquery#job",
        "etag": f"{job.number}-{state}",
        "id": job.full_id,
        "selfLink": f"{url}/bigquery/v2/{path}?location={job.location}",
        "user_email": job.user_email,
        "jobReference": {"projectId": job.project, "jobId": job.job_id, "location": job.location},
        "configuration": job.configuration,
        "statistics": statistics(job, state, epoch_ms),
        "status": status(job, state),
        "jobCreationReason": {"code": "REQUESTED"},
    }


def list_item(
    job: FakeJob, state: str, full: bool, epoch_ms: Callable[[float], int], asked: Container[str] = EVERYTHING
) -> dict[str, Any]:
    """Render the job as an item of jobs.list; of the statistics only if they are `asked` for."""
    item: dict[str, Any] = {
        "kind": "bigquery#job",
        "id": job.full_id,
        "jobReference": {"projectId": job.project, "jobId": job.job_id, "location": job.location},
        "state": state,
        "statistics": statistics(job, state, epoch_ms) if "statistics" in asked else {},
        "status": status(job, state),
        "user_email": job.user_email,
    }
    if "errorResult" in item["status"]:
        item["errorResult"] = item["status"]["errorResult"]
    return item | {"configuration": job.configuration} if full else item


def status(job: FakeJob, state: str) -> dict[str, Any]:
    """Render `status`: the state and, once DONE, the error."""
    if state != "DONE" or not (error := job.work.outcome.error):
        return {"state": state}
    return {"state": state, "errorResult": dict(error), "errors": [dict(error)]}


def statistics(job: FakeJob, state: str, epoch_ms: Callable[[float], int]) -> dict[str, Any]:
    """Render `statistics`; times are milliseconds since 1970 and counts are strings, as in the API."""
    stats: dict[str, Any] = {"creationTime": str(epoch_ms(job.created_at))}
    if job.parent is not None:
        stats["parentJobId"] = job.parent
    if state == "PENDING":
        return stats
    started, ended = job.work.started_at, job.work.ended_at
    stats["startTime"] = str(epoch_ms(min(started, ended)))
    if state == "RUNNING":
        return stats
    stats["endTime"] = str(epoch_ms(ended))
    stats["finalExecutionDurationMs"] = str(round(max(ended - started, 0) * 1000))
    return merged(stats, final_statistics(job))


def final_statistics(job: FakeJob) -> dict[str, Any]:
    """Render what a DONE job adds: bytes, slot time and, for queries, DML counts."""
    outcome = job.work.outcome
    if outcome.error:
        return dict(outcome.statistics)
    slot_ms = round(max(job.work.ended_at - job.work.started_at, 0) * 1000)
    return merged(common_statistics(job.configuration, slot_ms), outcome.statistics)


def common_statistics(configuration: Mapping[str, Any], slot_ms: int) -> dict[str, Any]:
    """Render the statistics of a job that nothing special is known about: 10 MB, one slot."""
    size = str(10 * _MEGABYTE)
    if "query" not in configuration:
        return {"totalBytesProcessed": size, "totalSlotMs": str(slot_ms)}
    kind = statement_type(sql_of(configuration))
    query: dict[str, Any] = {
        "totalBytesProcessed": size,
        "totalBytesBilled": size,
        "totalSlotMs": str(slot_ms),
        "cacheHit": False,
        "statementType": kind,
    }
    if kind in _DML_COUNTS:
        query |= dml_statistics(kind, 1)
    return {"totalBytesProcessed": size, "totalSlotMs": str(slot_ms), "query": query}


def dml_statistics(kind: str, rows: int) -> dict[str, Any]:
    """Render the counts of a DML statement that changed `rows` rows; a MERGE does not tell which way."""
    counts = {_DML_COUNTS[kind]: str(rows)} if kind in _DML_COUNTS else {}
    return {"numDmlAffectedRows": str(rows), "dmlStats": counts}


def billed(size: int) -> int:
    """Round bytes up as on-demand pricing does: whole MB, 10 MB at least, nothing for nothing."""
    return max(-(-size // _MEGABYTE), 10) * _MEGABYTE if size else 0


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Merge nested mappings; values of `over` win."""
    out = dict(base)
    for name, value in over.items():
        inner = out.get(name)
        both = isinstance(inner, Mapping) and isinstance(value, Mapping)
        out[name] = merged(inner, value) if both else value  # type: ignore[arg-type]  # both are mappings
    return out
