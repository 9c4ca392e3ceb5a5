"""A stateful fake of BigQuery's REST API v2: jobs that go PENDING -> RUNNING -> DONE by the clock.

Source: https://cloud.google.com/bigquery/docs/reference/rest/v2
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ork_provider.testing import bigquery_jobs as bq
from ork_provider.testing import bigquery_requests as check
from ork_provider.testing.bigquery_jobs import FakeJob, Outcome, ScriptedWork, Work
from ork_provider.testing.bigquery_requests import refuse
from ork_provider.testing.bigquery_wire import Field, Row, wire_rows
from ork_provider.testing.faults import Answer
from ork_provider.testing.google_connection import PROJECT, GoogleServer
from ork_provider.testing.pages import behind
from ork_provider.testing.scripts import Match, Scripts
from ork_provider.testing.server import RecordedRequest, Route
from ork_provider.testing.tokens import ANONYMOUS

if TYPE_CHECKING:
    from ork_provider.testing.sandbox import Sandbox


PAGE = 50
_MULTI_REGIONS = ("us", "eu")
_REASON_STATUS = {  # https://cloud.google.com/bigquery/docs/error-messages
    "accessDenied": 403,
    "backendError": 503,
    "internalError": 500,
    "notFound": 404,
    "quotaExceeded": 403,
    "rateLimitExceeded": 403,
    "responseTooLarge": 403,
}


class FakeBigQuery(GoogleServer):
    """BigQuery on 127.0.0.1: jobs.insert/get/list/cancel/delete/query/getQueryResults, tables and datasets.

    `pending` and `running` are the seconds that a job spends in each state unless `script` says otherwise.
    With `data=DIR` the SQL is executed over the CSV and Parquet files of the folder (extra `[sandbox]`); a job
    is RUNNING while it does, for `minimum_seconds` at least. `require_auth` and `token_seconds`: see GoogleServer.
    """

    service = "The fake BigQuery"
    endpoint_name = "bigquery"
    path_prefix = r"(?:/bigquery/v2)?"

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        pending: float = 0.2,
        running: float = 1.0,
        data: str | Path | None = None,
        minimum_seconds: float = 0.0,
        **server: Any,
    ) -> None:
        super().__init__(host, port, **server)
        self.default = Outcome(pending=pending, running=running)
        self.inserted: list[FakeJob] = []
        self._stored: dict[tuple[str, str, str], FakeJob] = {}
        self._scripts = Scripts[Outcome]()
        self._sandbox = _open_sandbox(data, minimum_seconds, self) if data is not None else None

    def routes(self) -> list[Route]:
        """List the API's methods that are served."""
        project = "/projects/{project}"
        table = f"{project}/datasets/{{dataset}}/tables/{{table}}"
        return [
            Route("GET", f"{project}/jobs/{{job_id}}", self._get),
            Route("GET", f"{project}/jobs", self._list),
            Route("POST", f"{project}/jobs", self._insert),
            Route("POST", f"{project}/jobs/{{job_id}}/cancel", self._cancel),
            Route("DELETE", f"{project}/jobs/{{job_id}}/delete", self._delete),
            Route("GET", f"{project}/queries/{{job_id}}", self._query_results),
            Route("POST", f"{project}/queries", self._query),
            Route("GET", f"{project}/datasets/{{dataset}}", self._dataset),
            Route("GET", table, self._table),
            Route("GET", f"{table}/data", self._table_data),
            Route("POST", "/token", self._token),
        ]

    # -- for the test that looks inside --------------------------------------------------------------------

    def script(self, match: Match, outcome: Outcome) -> None:
        """Decide what happens to jobs inserted from now on; the last script that matches wins.

        `match` is a part of the SQL, or a callable of the job's configuration.
        """
        self._scripts.add(match, outcome)

    def seed(
        self,
        job_id: str,
        outcome: Outcome | None = None,
        *,
        project: str = PROJECT,
        location: str = "US",
        email: str = ANONYMOUS,
        parent: str | None = None,
    ) -> FakeJob:
        """Store a query job that began now, without a request; `outcome` is by default the fake's own.

        jobs.list shows the job of another `email` only if asked for all users, the job of a `parent` only if
        asked for its jobs. Raises `Refused` if the id is taken.
        """
        reference, query = (project, location, job_id), {"query": {"query": "SELECT 1", "useLegacySql": False}}
        work = ScriptedWork(outcome or self.default, self.clock())
        return self._store(reference, query, lambda configuration, now: work, email, parent)

    @property
    def jobs(self) -> dict[str, FakeJob]:
        """Every stored job by its job id."""
        return {job.job_id: job for job in list(self._stored.values())}

    @property
    def cancelled(self) -> list[FakeJob]:
        """The jobs that were cancelled while they were not DONE, oldest first."""
        return [job for job in list(self._stored.values()) if job.cancelled_at is not None]

    def live(self) -> list[FakeJob]:
        """List the jobs that are not DONE, oldest first."""
        return [job for job in list(self._stored.values()) if job.state != "DONE"]

    # -- jobs ----------------------------------------------------------------------------------------------

    def _insert(self, request: RecordedRequest, project: str) -> Answer:
        body = check.json_object(request)
        reference = body.get("jobReference", {})
        if reference.get("projectId", project) != project:
            message = f"The project in jobReference ({reference['projectId']}) is not {project}."
            raise refuse(400, "invalid", message)
        configuration = check.checked_configuration(body.get("configuration"))
        location = reference.get("location") or "US"
        if configuration.get("dryRun"):
            return self._answer(request, self._dry_run(configuration, project, location))
        job = self._create(request, project, location, configuration, reference.get("jobId"))
        return self._answer(request, self._resource(job))

    def _create(
        self,
        request: RecordedRequest,
        project: str,
        location: str,
        configuration: dict[str, Any],
        job_id: str | None,
    ) -> FakeJob:
        reference = (project, location, check.checked_job_id(job_id or f"job_{uuid.uuid4().hex}"))
        return self._store(reference, configuration, self._work, self._email(request))

    def _store(
        self,
        reference: tuple[str, str, str],
        configuration: dict[str, Any],
        work: Callable[[dict[str, Any], float], Work],
        email: str,
        parent: str | None = None,
    ) -> FakeJob:
        project, location, job_id = reference
        key = (project, location.lower(), job_id)
        with self._lock:
            if key in self._stored:
                raise refuse(409, "duplicate", f"Already Exists: Job {self._stored[key].full_id}")
            number, now = len(self.inserted) + 1, self.clock()
            filled = bq.completed(configuration, project, number)
            job = FakeJob(number, *reference, filled, now, work(filled, now), self.clock, email, parent)
            self._stored[key] = job
            self.inserted.append(job)
        return job

    def _work(self, configuration: dict[str, Any], now: float) -> Work:
        outcome = self._scripted(configuration)
        if outcome is None and self._sandbox is not None and "query" in configuration:
            return self._sandbox.start(configuration)
        return ScriptedWork(outcome or self.default, now)

    def _scripted(self, configuration: Mapping[str, Any]) -> Outcome | None:
        return self._scripts.find(bq.sql_of(configuration), configuration)

    def _dry_run(self, configuration: dict[str, Any], project: str, location: str) -> dict[str, Any]:
        outcome = self._scripted(configuration) or Outcome()
        if self._sandbox is not None and "query" in configuration:
            outcome = self._sandbox.dry_run(configuration)
        if outcome.error:
            raise refuse(400, outcome.error["reason"], outcome.error["message"])
        query = {"totalBytesBilled": "0", "totalBytesProcessedAccuracy": "PRECISE"}
        stats = bq.merged(bq.common_statistics(configuration, 0), outcome.statistics)
        stats = bq.merged(stats, {"creationTime": str(self.epoch_ms())})
        return {
            "kind": "bigquery#job",
            "jobReference": {"projectId": project, "location": location},
            "configuration": {**configuration, "jobType": bq.job_type(configuration)},
            "statistics": bq.merged(stats, {"query": query}) if "query" in configuration else stats,
            "status": {"state": "DONE"},
        }

    def _get(self, request: RecordedRequest, project: str, job_id: str) -> Answer:
        return self._answer(request, self._resource(self._find_job(request, project, job_id)))

    def _cancel(self, request: RecordedRequest, project: str, job_id: str) -> Answer:
        job = self._find_job(request, project, job_id)
        job.cancel()
        answer = {"kind": "bigquery#jobCancelResponse", "job": self._resource(job)}
        return self._answer(request, answer)

    def _delete(self, request: RecordedRequest, project: str, job_id: str) -> Answer:
        job = self._find_job(request, project, job_id)
        del self._stored[project, job.location.lower(), job_id]
        return Answer(204)

    def _find_job(self, request: RecordedRequest, project: str, job_id: str) -> FakeJob:
        """Find a job; without a location only the US and EU multi-regions are searched."""
        location = request.query.get("location", "")
        for place in [location.lower()] if location else _MULTI_REGIONS:
            if job := self._stored.get((project, place, job_id)):
                return job
        full_id = f"{project}:{location}.{job_id}" if location else f"{project}:{job_id}"
        raise refuse(404, "notFound", f"Not found: Job {full_id}")

    def _resource(self, job: FakeJob) -> dict[str, Any]:
        return bq.resource(job, self.url, self.epoch_ms)

    def _list(self, request: RecordedRequest, project: str) -> Answer:
        size, states = check.page_size(request, PAGE), check.wanted_states(request)
        full, asked = request.query.get("projection") == "full", self._asked(request, "jobs")
        page: list[dict[str, Any]] = []
        last = None
        for job in self._listed(request, project):
            if len(page) == size:
                break
            state = job.state
            if state in states:
                page.append(bq.list_item(job, state, full, self.epoch_ms, asked))
                last = job
        answer: dict[str, Any] = {"kind": "bigquery#jobList", "etag": f"list-{len(self.inserted)}"}
        if page:
            answer["jobs"] = page
        if last and len(page) == size and last.number > 1:
            answer["nextPageToken"] = str(last.number)
        return self._answer(request, answer)

    def _listed(self, request: RecordedRequest, project: str) -> Iterator[FakeJob]:
        """Filter by everything but the state, newest first."""
        query = request.query
        last = check.integer(query, "pageToken", len(self.inserted) + 1)
        earliest = check.integer(query, "minCreationTime", 0)
        latest = check.integer(query, "maxCreationTime", 1 << 62)
        now, everyone = self.clock(), query.get("allUsers", "").lower() == "true"
        email, parent = self._email(request), query.get("parentJobId")
        return (
            job
            for job in behind(self._stored.values(), last)
            if job.project == project
            and job.parent == parent
            and (everyone or job.user_email == email)
            and job.listed_at <= now
            and earliest <= self.epoch_ms(job.created_at) <= latest
        )

    # -- rows ----------------------------------------------------------------------------------------------

    async def _query(self, request: RecordedRequest, project: str) -> Answer:
        """jobs.query: insert a query job and wait `timeoutMs` (default 10 s) for its rows."""
        body = check.json_object(request)
        outside = ("location", "labels", "dryRun", "timeoutMs", "maxResults", "requestId", "kind")
        configuration: dict[str, Any] = {"query": {k: v for k, v in body.items() if k not in outside}}
        configuration["query"].pop("formatOptions", None)
        if "labels" in body:
            configuration["labels"] = body["labels"]
        configuration = check.checked_configuration(configuration)
        location = body.get("location", "US")
        if body.get("dryRun"):
            stats = self._dry_run(configuration, project, location)["statistics"]
            return self._answer(request, _dry_answer(stats, project, location))
        job = self._create(request, project, location, configuration, None)
        query = {"timeoutMs": body.get("timeoutMs", 10_000), "maxResults": body.get("maxResults")}
        query["int64"] = body.get("formatOptions", {}).get("useInt64Timestamp", False)
        return self._answer(request, await self._results(job, "bigquery#queryResponse", query))

    async def _query_results(self, request: RecordedRequest, project: str, job_id: str) -> Answer:
        job = self._find_job(request, project, job_id)
        query: dict[str, Any] = dict(request.query)
        query["int64"] = check.int64_timestamps(request)
        return self._answer(request, await self._results(job, "bigquery#getQueryResultsResponse", query))

    async def _results(self, job: FakeJob, kind: str, query: Mapping[str, Any]) -> dict[str, Any]:
        reference = {"projectId": job.project, "jobId": job.job_id, "location": job.location}
        answer: dict[str, Any] = {"kind": kind, "jobReference": reference}
        if not await self._done_within(job, float(query.get("timeoutMs", 10_000)) / 1000):
            return {**answer, "jobComplete": False}
        if error := job.error:
            code = _REASON_STATUS.get(error["reason"], 400)
            raise refuse(code, error["reason"], error["message"])
        stats = bq.final_statistics(job)
        outcome = job.work.outcome
        answer |= {
            "jobComplete": True,
            "cacheHit": stats.get("query", {}).get("cacheHit", False),
            "totalBytesProcessed": stats.get("totalBytesProcessed", "0"),
            "totalRows": str(len(outcome.rows)),
            "schema": {"fields": outcome.fields},
        }
        if affected := stats.get("query", {}).get("numDmlAffectedRows"):
            answer["numDmlAffectedRows"] = affected
        return answer | _page(outcome.rows, outcome.fields, query, bool(query.get("int64")))

    async def _done_within(self, job: FakeJob, seconds: float) -> bool:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while job.state != "DONE" and loop.time() < deadline:  # noqa: ASYNC110 - the clock sets no event
            await asyncio.sleep(0.01)
        return job.state == "DONE"

    def _dataset(self, request: RecordedRequest, project: str, dataset: str) -> Answer:
        reference = {"projectId": project, "datasetId": dataset}
        return self._answer(
            request,
            {
                "kind": "bigquery#dataset",
                "id": f"{project}:{dataset}",
                "datasetReference": reference,
                "location": "US",
            },
        )

    def _table(self, request: RecordedRequest, project: str, dataset: str, table: str) -> Answer:
        outcome = self._contents(project, dataset, table)
        reference = {"projectId": project, "datasetId": dataset, "tableId": table}
        answer = {
            "kind": "bigquery#table",
            "id": f"{project}:{dataset}.{table}",
            "tableReference": reference,
            "type": "TABLE",
            "location": "US",
            "schema": {"fields": outcome.fields},
            "numRows": str(len(outcome.rows)),
        }
        return self._answer(request, answer)

    def _table_data(self, request: RecordedRequest, project: str, dataset: str, table: str) -> Answer:
        outcome = self._contents(project, dataset, table)
        answer = {"kind": "bigquery#tableDataList", "totalRows": str(len(outcome.rows))}
        rows = _page(outcome.rows, outcome.fields, request.query, check.int64_timestamps(request))
        return self._answer(request, answer | rows)

    def _contents(self, project: str, dataset: str, table: str) -> Outcome:
        """Find a table that a query wrote, or one of the sandbox."""
        for job in reversed(list(self._stored.values())):
            if job.destination == (dataset, table) and job.state == "DONE" and not job.error:
                return job.work.outcome
        outcome = self._sandbox.table(dataset, table) if self._sandbox else None
        if outcome is None:
            raise refuse(404, "notFound", f"Not found: Table {project}:{dataset}.{table}")
        return outcome


def _open_sandbox(data: str | Path, minimum_seconds: float, server: FakeBigQuery) -> Sandbox:
    from ork_provider.testing.sandbox import Sandbox

    pending = server.default.pending
    return Sandbox(Path(data), clock=server.clock, pending=pending, minimum_seconds=minimum_seconds)


def _page(rows: Any, fields: list[Field], query: Mapping[str, Any], int64_timestamps: bool) -> dict[str, Any]:
    start = check.integer(query, "pageToken", check.integer(query, "startIndex", 0))
    end = start + check.integer(query, "maxResults", 100_000)
    chosen: list[Row] = list(rows[start:end])
    page: dict[str, Any] = {"rows": wire_rows(chosen, fields, int64_timestamps)} if chosen else {}
    return page | {"pageToken": str(end)} if chosen and end < len(rows) else page


def _dry_answer(stats: Mapping[str, Any], project: str, location: str) -> dict[str, Any]:
    return {
        "kind": "bigquery#queryResponse",
        "jobReference": {"projectId": project, "location": location},
        "jobComplete": True,
        "totalBytesProcessed": stats["totalBytesProcessed"],
        "cacheHit": False,
    }
