"""A stateful fake of the jobs and the table status of DQOps' REST API, with the habits of the real server.

Source: https://dqops.com/docs/client/operations/jobs/
"""

from __future__ import annotations

import asyncio
import json
import re
import weakref
from collections.abc import Callable, Mapping
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import unquote

from aiohttp import web
from aiohttp.web_response import ContentCoding

from ork_provider.testing import dqops_requests as check
from ork_provider.testing.dqops_jobs import FINAL, DqopsOutcome, FakeDqopsJob
from ork_provider.testing.dqops_memory import Ids, Memory, entry, job_name, render_change
from ork_provider.testing.faults import HTML_PAGE, Answer, Refused
from ork_provider.testing.scripts import Match, Scripts
from ork_provider.testing.server import FakeServer, Handler, RecordedRequest, Route

_FOLDERS = (
    *("sources", "sensors", "rules", "checks", "settings", "credentials", "dictionaries", "patterns"),
    *("data_sensor_readouts", "data_check_results", "data_statistics", "data_errors", "data_incidents"),
)
_COUNTS = ("executed_checks", "valid_results", "warnings", "errors", "fatals", "execution_errors")
_SUBMITS = {
    "runchecks": "run_checks",
    "collectstatistics/table": "collect_statistics",
    "collectstatistics/withgrouping": "collect_statistics",
    "importtables": "import_tables",
    "collecterrorsamples": "collect_error_samples",
    "deletestoreddata": "delete_stored_data",
    "synchronize": "synchronize_multiple_folders",
}


class FakeDqops(FakeServer):
    """DQOps on 127.0.0.1: start jobs, ask for them, wait, cancel, follow the feed of changes, table status.

    Times are seconds. `pending` and `running` hold for every job that `script` does not describe; a job is
    known `appears_after` it was made until `keeps` after its end; the feed holds a request for `feed_wait` and
    remembers changes for `feed_keeps`. `api_key` is then required; `prefix` is a path such as "/dqops"; jobs of
    another data domain (cookie DQODataDomain) are not found, and `data_domain` is the one that `connections`
    names. A connection is closed after `max_keep_alive_requests` (0: never): announced, as netty does, or not, as
    a proxy may (`announce_close=False`).
    """

    service = "The fake DQOps"

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        pending: float = 0.2,
        running: float = 1.0,
        api_key: str | None = None,
        prefix: str = "",
        data_domain: str = "",
        max_keep_alive_requests: int = 5,
        announce_close: bool = True,
        appears_after: float = 0.0,
        keeps: float = 3600.0,
        feed_wait: float = 20.0,
        feed_keeps: float = 1200.0,
        **server: Any,
    ) -> None:
        self.prefix = "/" + prefix.strip("/") if prefix.strip("/") else ""
        self.path_prefix = re.escape(self.prefix)
        super().__init__(host, port, **server)
        self.default = DqopsOutcome(pending=pending, running=running)
        self.api_key = api_key
        self.data_domain = data_domain
        self.max_keep_alive_requests = max_keep_alive_requests
        self.announce_close = announce_close
        self.feed_wait = feed_wait
        self.started: list[FakeDqopsJob] = []
        self._times = {"appears_after": appears_after, "keeps": keeps, "feed_keeps": feed_keeps}
        self._ids = Ids()
        self._memory = Memory(self._ids, self.epoch_ms, **self._times)
        self._scripts = Scripts[DqopsOutcome]()
        self._tables: dict[tuple[str, str, str], Mapping[str, Any] | None] = {}
        self._served: weakref.WeakKeyDictionary[asyncio.BaseTransport, int] = weakref.WeakKeyDictionary()

    def routes(self) -> list[Route]:
        """List the API's methods that are served."""
        submits = [Route("POST", f"/api/jobs/{path}", self._submit(kind)) for path, kind in _SUBMITS.items()]
        return [
            *submits,
            Route("GET", "/api/jobs/jobs", self._snapshot),
            Route("GET", "/api/jobs/jobs/{job_id}", self._get),
            Route("DELETE", "/api/jobs/jobs/{job_id}", self._cancel),
            Route("GET", "/api/jobs/jobs/{job_id}/wait", self._wait),
            Route("GET", "/api/jobs/runchecks/{job_id}/wait", self._wait_for("run_checks")),
            Route("GET", "/api/jobs/collecterrorsamples/{job_id}/wait", self._wait_for("collect_error_samples")),
            Route("GET", "/api/jobs/jobchangessince/{sequence}", self._changes),
            Route("GET", "/api/connections/{connection}/schemas/{schema}/tables/{table}/status", self._status),
            Route("GET", "/login", lambda request: Answer(200, HTML_PAGE, {"Content-Type": "text/html"})),
        ]

    # -- for the test that looks inside --------------------------------------------------------------------

    @property
    def url(self) -> str:
        """The base URL with the path prefix, without a trailing slash; known once started."""
        return super().url + self.prefix

    def script(self, match: Match, outcome: DqopsOutcome) -> None:
        """Decide what happens to jobs started from now on; the last script that matches wins.

        `match` is a part of the request body's JSON text, or a callable of the decoded body.
        """
        self._scripts.add(match, outcome)

    def seed(self, outcome: DqopsOutcome | None = None, *, key: str | None = None) -> FakeDqopsJob:
        """Start a run-checks job without a request; `outcome` is by default the fake's own, `key` its business key."""
        body = {"check_search_filters": {"connection": "seeded", "fullTableName": "public.seeded"}}
        return self._start("run_checks", body, outcome or self.default, key=key, domain=self.data_domain)

    def table_status(self, connection: str, schema: str, table: str, status: Mapping[str, Any] | None) -> None:
        """Decide the status of a table: fields over those of a table without results; None for 404."""
        self._tables[connection, schema, table] = status

    @property
    def jobs(self) -> dict[int, FakeDqopsJob]:
        """Every job ever started by its id, also those that the server has forgotten."""
        return {job.job_id: job for job in list(self.started)}

    @property
    def cancelled(self) -> list[FakeDqopsJob]:
        """The jobs that were asked to end before they ended, oldest first."""
        return [job for job in list(self.started) if job.cancelled_at is not None]

    def live(self) -> list[FakeDqopsJob]:
        """List the jobs that have not ended, oldest first."""
        return [job for job in list(self.started) if not job.done]

    def restart(self) -> None:
        """Restart the server: open connections end, live jobs die, and every job is forgotten."""
        running = self._thread is not None
        self.stop()
        self._memory.forget_all()
        self._memory = Memory(self._ids, self.epoch_ms, **self._times)
        if running:
            self.start()

    def connections(self) -> dict[str, str]:
        """Map the Airflow connection that reaches this fake, as environment variable -> JSON."""
        value: dict[str, Any] = {"conn_type": "dqops", "host": self.url}
        if self.api_key:
            value["password"] = self.api_key
        if self.data_domain:
            value["extra"] = {"data_domain": self.data_domain}
        return {"AIRFLOW_CONN_DQOPS_DEFAULT": json.dumps(value, separators=(",", ":"))}

    # -- the habits of the server --------------------------------------------------------------------------

    def authorize(self, request: RecordedRequest) -> None:
        """With an API key: send who has none to the login page, refuse who has another."""
        given = request.headers.get("authorization")
        if self.api_key is None or request.path == f"{self.prefix}/login":
            return
        if given is None:
            raise Refused(Answer(303, b"", {"Location": f"{self.prefix}/login"}))
        if given != f"Bearer {self.api_key}":
            raise Refused(Answer(401))

    def path_of(self, raw: web.BaseRequest) -> str:
        """Keep the path encoded: a slash in a business key is no separator."""
        return raw.rel_url.raw_path

    def _find(self, request: RecordedRequest) -> tuple[Handler, dict[str, str]]:
        try:
            handler, names = super()._find(request)
            return handler, {name: unquote(value) for name, value in names.items()}
        except Refused as refused:
            raise check.spring_error(request, 404, "No static resource.") from refused

    async def _serve(self, raw: web.BaseRequest) -> web.StreamResponse:
        """Serve as usual, but compress JSON and end the connection after its last request."""
        transport = raw.transport
        response = await super()._serve(raw)
        if not isinstance(response, web.Response) or transport is None or transport.is_closing():
            return response
        self._served[transport] = self._served.get(transport, 0) + 1
        if self._served[transport] == self.max_keep_alive_requests:
            response = _last(response, self.announce_close)
        if response.body and "gzip" in raw.headers.get("Accept-Encoding", ""):
            response.enable_compression(ContentCoding.gzip)
        return response

    # -- jobs ----------------------------------------------------------------------------------------------

    def _submit(self, job_type: str) -> Handler:
        async def submit(request: RecordedRequest) -> Answer:
            body = check.json_object(request)
            wait = check.flag(request, "wait", True)
            seconds = check.number(request, "waitTimeout", 120)
            job = self._new_job(request, job_type, body)
            if wait:
                return await self._result_within(request, job, seconds, 201)
            return Answer.json({"jobId": job_name(job, self.epoch_ms), "status": "queued"}, 201)

        return submit

    def _new_job(self, request: RecordedRequest, job_type: str, body: Any) -> FakeDqopsJob:
        outcome, key = self._outcome(body, request.body.decode()), request.query.get("jobBusinessKey") or None
        return self._start(job_type, body, outcome, key=key, domain=_domain(request), query=request.query)

    def _start(
        self,
        job_type: str,
        body: Any,
        outcome: DqopsOutcome,
        *,
        key: str | None,
        domain: str,
        query: dict[str, str] | None = None,
    ) -> FakeDqopsJob:
        with self._lock:
            now = self.clock()
            job = FakeDqopsJob(
                job_id=self._memory.next_sequence(now),
                job_type=job_type,
                body=body,
                outcome=outcome,
                created_at=now,
                clock=self.clock,
                key=key,
                data_domain=domain,
                query=query or {},
                on_cancel=self._memory.plan,
            )
            self.started.append(job)
            self._memory.plan(job)
        return job

    def _outcome(self, body: Any, text: str) -> DqopsOutcome:
        return self._scripts.find(text, body) or self.default

    def _known(self, request: RecordedRequest, name: str) -> FakeDqopsJob | None:
        job = self._memory.find(name, self.clock())
        return job if job is not None and job.data_domain == _domain(request) else None

    def _found(self, request: RecordedRequest, name: str) -> FakeDqopsJob:
        if (job := self._known(request, name)) is None:
            raise Refused(Answer(404))
        return job

    def _entry(self, job: FakeDqopsJob) -> Answer:
        return Answer.json(entry(job, job.status, job.changed_at, self.epoch_ms))

    def _get(self, request: RecordedRequest, job_id: str) -> Answer:
        return self._entry(self._found(request, job_id))

    def _cancel(self, request: RecordedRequest, job_id: str) -> Answer:
        if job := self._known(request, job_id):
            job.cancel()
        return Answer(204)

    async def _wait(self, request: RecordedRequest, job_id: str) -> Answer:
        job = self._found(request, job_id)
        ended = await self._ended_within(request, job, check.number(request, "waitTimeout", 120))
        return self._entry(job) if ended else Answer(200)

    def _wait_for(self, job_type: str) -> Handler:
        async def wait(request: RecordedRequest, job_id: str) -> Answer:
            job = self._found(request, job_id)
            if job.job_type != job_type:
                raise Refused(Answer(404))
            return await self._result_within(request, job, check.number(request, "waitTimeout", 120), 200)

        return wait

    async def _result_within(self, request: RecordedRequest, job: FakeDqopsJob, seconds: float, status: int) -> Answer:
        """Answer with the result; with nothing if the time is up, or if the kind of job has no result."""
        if not await self._ended_within(request, job, seconds) or job.result is None:
            return Answer(status)
        answer = {"jobId": job_name(job, self.epoch_ms), "result": job.result, "status": job.status}
        return Answer.json(answer, status)

    async def _ended_within(self, request: RecordedRequest, job: FakeDqopsJob, seconds: float) -> bool:
        """Hold the request for at most `seconds` of real time; an end other than finished is an error 500."""
        await self._hold(lambda: job.done, seconds)
        if job.status in FINAL and job.status != "finished":
            message = job.error_message if job.status == "failed" else "java.util.concurrent.CancellationException"
            raise check.spring_error(request, 500, message)
        return job.status == "finished"

    async def _hold(self, ready: Callable[[], object], seconds: float) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while not ready() and (left := deadline - loop.time()) > 0:  # noqa: ASYNC110 - the clock sets no event
            await asyncio.sleep(min(0.01, left))

    # -- the feed of changes -------------------------------------------------------------------------------

    def _snapshot(self, request: RecordedRequest) -> Answer:
        """List no jobs, as DQOps does; the number is where the feed goes on from here."""
        last = self._memory.next_sequence(self.clock())
        return Answer.json({"jobs": [], **_until(last)})

    async def _changes(self, request: RecordedRequest, sequence: str) -> Answer:
        after, domain, memory = check.sequence(request, sequence), _domain(request), self._memory
        await self._hold(lambda: memory.changes(after, self.clock(), domain), self.feed_wait)
        changes, last = memory.feed(after, self.clock(), domain)
        rendered = [render_change(change, self.epoch_ms) for change in changes]
        return Answer.json({"jobChanges": rendered, **_until(last)})

    # -- tables --------------------------------------------------------------------------------------------

    def _status(self, request: RecordedRequest, connection: str, schema: str, table: str) -> Answer:
        scripted = self._tables.get((connection, schema, table), {})
        if scripted is None:
            return Answer(404)
        names = {"connection_name": connection, "schema_name": schema, "table_name": table}
        empty = {**dict.fromkeys(_COUNTS, 0), "checks": {}, "columns": {}, "dimensions": {}, "table_exist": True}
        return Answer.json({**names, **empty, **scripted})


class _Unannounced(web.Response):
    """An answer after which the server closes the connection without having said so."""

    async def write_eof(self, data: bytes = b"") -> None:
        transport = self._req.transport if self._req else None
        await super().write_eof(data)
        if transport is not None:
            transport.close()


def _last(response: web.Response, announce: bool) -> web.Response:
    if announce:
        response.force_close()
        return response
    return _Unannounced(status=response.status, body=response.body, headers=response.headers)


def _until(sequence: int) -> dict[str, Any]:
    return {"folderSynchronizationStatus": dict.fromkeys(_FOLDERS, "unchanged"), "lastSequenceNumber": sequence}


def _domain(request: RecordedRequest) -> str:
    try:
        morsel = SimpleCookie(request.headers.get("cookie", "")).get("DQODataDomain")
    except CookieError:
        return ""
    return morsel.value if morsel else ""
