"""Whatever a service answers: how the job is, or an error of ours; and success only where the answer says so.

The answers come as bytes behind a scripted door, with any HTTP status, so that all that reads them takes part.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ork_provider.bigquery import BigQueryJob, BigQueryService
from ork_provider.cloud_run import CloudRunJob, CloudRunService
from ork_provider.dataproc import DataprocBatchJob, DataprocBatchService, DataprocJob, DataprocJobService
from ork_provider.dqops import DqopsJob, DqopsService
from ork_provider.errors import BadRequest, NoConnection, TryAgain
from ork_provider.google.api import GoogleApi
from ork_provider.http import HttpJob, HttpService
from ork_provider.hub import FeedScope, Hub, ListScope
from ork_provider.job import Job, JobState, JobStatus, describe_job
from ork_provider.service import Feed, Listing, Service
from ork_provider.session import Request, Response, Session
from ork_provider.session.answers import LONGEST_PAUSE
from ork_provider.trigger import new_event
from ork_provider.waiting import Outcome
from tests.support.hub_world import ScriptedDoor
from tests.support.strategies import LONE, TEXTS, fuzz, odd

Document = Mapping[str, Any]


class OpenApi(GoogleApi):
    """Google's API without a login."""

    async def headers(self) -> dict[str, str]:
        """See Credentials."""
        return {}

    async def renew(self, stale: Mapping[str, str] | None = None) -> None:
        """See Credentials."""

    async def url(self, path: str) -> str:
        """See GoogleApi."""
        return f"http://google{path}"


async def no_connection(conn_id: str) -> Any:
    """Know no connection."""
    raise NoConnection(conn_id)


def google(kind: Any) -> Callable[[Session], Service]:
    def make(session: Session) -> Service:
        service: Service = kind(OpenApi(session, kind.api_name, kind.endpoint, gcp_conn_id="c"))
        return service

    return make


@dataclass(frozen=True)
class Reader:
    """A service that reads answers about a job.

    :param answers: valid ones; hypothesis makes odd ones of them
    :param succeeded: what must be in an answer for success
    :param pages: valid answers of its shared poll
    """

    job: Job
    make: Callable[[Session], Service]
    answers: list[Any]
    succeeded: Callable[[Any], bool]
    pages: list[Any]


TIMES = {"startTime": "1767225600000", "endTime": "1767225660000"}
QUERY = {"totalBytesProcessed": "10", "totalSlotMs": "5", "cacheHit": False, "dmlStats": {"insertedRowCount": "3"}}
STATISTICS = {**TIMES, "query": QUERY}
BIGQUERY = [
    {"jobReference": {"jobId": "j"}, "status": {"state": "DONE"}, "statistics": STATISTICS},
    {"status": {"state": "DONE", "errorResult": {"reason": "stopped", "message": "m"}, "errors": [{"message": "n"}]}},
    {"status": {"state": "RUNNING"}, "statistics": STATISTICS},
]
EXECUTION = {
    **{"name": "projects/p/locations/r/jobs/n/executions/x", "startTime": "2026-01-01T00:00:00.123456789Z"},
    **{"completionTime": "2026-01-01T00:01:00Z", "taskCount": 2, "succeededCount": 2, "logUri": "https://l"},
    "conditions": [{"type": "Completed", "state": "CONDITION_SUCCEEDED", "message": "", "executionReason": ""}],
}
CLOUD_RUN = [
    EXECUTION,
    {
        **{**EXECUTION, "succeededCount": 1, "failedCount": 1, "retriedCount": 1},
        "conditions": [{"type": "Completed", "state": "CONDITION_FAILED", "reason": "X", "message": "no disk"}],
    },
    {"name": EXECUTION["name"], "taskCount": 2, "runningCount": 1, "conditions": []},
]
YARN = {"name": "Pi", "state": "RUNNING", "progress": 0.5, "trackingUrl": "http://t", "vcoreSeconds": "7"}
DATAPROC = [
    {
        "status": {"state": "DONE", "stateStartTime": "2026-01-01T00:01:00Z", "details": "d"},
        "statusHistory": [{"state": "RUNNING", "stateStartTime": "2026-01-01T00:00:00Z"}, {"state": "ATTEMPT_FAILURE"}],
        **{"yarnApplications": [YARN], "driverOutputResourceUri": "gs://o"},
    },
    {"status": {"state": "ERROR", "details": "no disk"}},
    {"status": {"state": "RUNNING"}, "yarnApplications": [YARN]},
]
BATCH = [
    {
        **{"state": "SUCCEEDED", "stateTime": "2026-01-01T00:01:00Z", "stateMessage": "m"},
        "stateHistory": [{"state": "RUNNING", "stateStartTime": "2026-01-01T00:00:00Z"}],
        "runtimeInfo": {"outputUri": "gs://o", "endpoints": {"a": "b"}, "approximateUsage": {"milliDcuSeconds": "9"}},
    },
    {"state": "FAILED", "stateMessage": "no disk"},
    {"state": "PENDING"},
]
FOUND = {"run_checks_result": {"highest_severity": "valid", "executed_checks": 3, "valid_results": 3}}
DQOPS = [
    {
        **{"jobId": {"jobId": 7, "createdAt": "2026-01-01T00:00:00Z"}, "jobType": "run_checks", "status": "finished"},
        **{"statusChangedAt": "2026-01-01T00:01:00Z", "parameters": {"runChecksParameters": FOUND}},
    },
    {"jobId": {"jobId": 7}, "status": "failed", "errorMessage": "no disk\n\tat X.java"},
    {"jobId": {"jobId": 7}, "status": "running"},
]
CHANGE = {"jobId": {"jobId": 7}, "status": "finished", "changeSequence": 9, "updatedModel": DQOPS[0]}

READERS: dict[str, Reader] = {
    "bigquery": Reader(
        BigQueryJob(project="p", job_id="j", location="EU"),
        google(BigQueryService),
        BIGQUERY,
        lambda said: said["status"]["state"] == "DONE" and said["status"].get("errorResult") is None,
        [{"jobs": [{"jobReference": {"jobId": "j", "location": "EU"}, "state": "RUNNING"}], "nextPageToken": "t"}],
    ),
    "bigquery without a location": Reader(
        BigQueryJob(project="p", job_id="j", location=None),
        google(BigQueryService),
        [*BIGQUERY, {"jobs": [{"jobReference": {"jobId": "j", "location": "EU"}}]}],
        lambda said: said["status"]["state"] == "DONE" and said["status"].get("errorResult") is None,
        [],
    ),
    "cloudrun": Reader(
        CloudRunJob(project="p", region="r", job_name="n", execution_id="x"),
        google(CloudRunService),
        CLOUD_RUN,
        lambda said: (
            said["name"].endswith("/x") and int(said.get("taskCount") or 0) == int(said.get("succeededCount") or 0) > 0
        ),
        [{"executions": CLOUD_RUN, "nextPageToken": ""}],
    ),
    "dataproc": Reader(
        DataprocJob(project="p", region="r", job_id="j"),
        google(DataprocJobService),
        DATAPROC,
        lambda said: bool(said["status"]["state"] == "DONE"),
        [{"jobs": [{"reference": {"jobId": "j"}, **job} for job in DATAPROC]}],
    ),
    "dataproc_batch": Reader(
        DataprocBatchJob(project="p", region="r", batch_id="b"),
        google(DataprocBatchService),
        BATCH,
        lambda said: bool(said["state"] == "SUCCEEDED"),
        [{"batches": [{"name": "projects/p/locations/r/batches/b", **batch} for batch in BATCH]}],
    ),
    "dqops": Reader(
        DqopsJob(job_id=7),
        lambda session: DqopsService(session, "dqops_default"),
        DQOPS,
        lambda said: said["status"] == "finished" and said["jobId"]["jobId"] == 7,
        [{"lastSequenceNumber": 12, "jobChanges": [CHANGE]}],
    ),
    "dqops by key": Reader(
        DqopsJob(job_business_key="k"),
        lambda session: DqopsService(session, "dqops_default"),
        DQOPS,
        lambda said: bool(said["status"] == "finished"),
        [],
    ),
    "http": Reader(
        HttpJob(
            url="http://h/jobs/1", completion_field="$.job.state", completion_value=["done", 1], message_field="why"
        ),
        lambda session: HttpService(session, "http_default"),
        [{"job": {"state": word}, "why": "no disk"} for word in ("done", 1, "failed", "cancelled", "running")],
        lambda said: said["job"]["state"] == "done" or (said["job"]["state"] == 1 and said["job"]["state"] is not True),
        [],
    ),
    "http with all values": Reader(
        HttpJob(url="http://h/1", failure_value=[None, "bad"], running_value=["run"], running_status_codes=[]),
        lambda session: HttpService(session, "http_default"),
        [{"status": word} for word in ("completed", None, "bad", "run", "other")],
        lambda said: bool(said["status"] == "completed"),
        [],
    ),
}

every = pytest.mark.parametrize("name", READERS)
STATUSES = st.sampled_from([200, 200, 200, 200, 200, 201, 204, 302, 401, 403, 404, 409, 429, 500, 503]) | st.integers(
    100, 599
)
HEADERS = st.fixed_dictionaries(
    {}, optional={name: TEXTS | st.integers().map(str) for name in ("retry-after", "location", "content-type")}
)
BYTES = st.binary(max_size=40) | st.sampled_from(
    [
        b"",
        b"null",
        b"{",
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b'"\xed\xa0\x80"',
        b"\xff\xfe{\x00}\x00",
        b"\xef\xbb\xbf{}",
        b"1" * 5000,
    ]
)
REFUSALS = [
    {
        "error": {
            "code": 403,
            "status": "ABORTED",
            "message": "m",
            "errors": [{"reason": "rateLimitExceeded"}],
            "details": [],
        }
    },
    {"error": "invalid_grant", "error_description": "d"},
]


def as_bytes(document: Any) -> bytes:
    return json.dumps(document).encode()


def open_service(reader: Reader, answer: Callable[[Request], Response]) -> Service:
    async def send(request: Request) -> Response:
        request.check()
        assert request.full_url.isascii()
        return answer(request)

    return reader.make(Session(ScriptedDoor(send), no_connection))


def check_status(job: Job, status: JobStatus) -> None:
    """Fail unless all that is said of a job can be sent to the task, by a triggerer and as XCom."""
    outcome = Outcome(verdict="failed", message=f"{job} {status.message} {status.remote_state}", jobs=((job, status),))
    check_carried(new_event(outcome.to_event()).payload)
    check_carried(describe_job(job, status))


def check_carried(value: Any) -> None:
    """Fail unless a value passes the triggerer's channel and PostgreSQL's JSONB."""
    msgspec.msgpack.encode(value)
    assert "\\u0000" not in json.dumps(value, allow_nan=False).replace("\\\\", "")
    json.dumps(value, ensure_ascii=False).encode()


async def ours(call: Awaitable[Any]) -> Any:
    """Return an answer; None for an error of ours that the waiting loop knows what to do with."""
    try:
        return await call
    except (TryAgain, BadRequest) as exc:
        error = exc
    assert len(str(error)) < 2000
    pause = error.retry_after if isinstance(error, TryAgain) else None
    assert pause is None or 0 <= pause <= LONGEST_PAUSE
    return None


@every
def test_answer(name: str) -> None:
    """An answer is read, or refused in our words; a job has succeeded only if a good answer says so in full."""
    reader = READERS[name]
    seen = set()

    @fuzz(150)
    @given(body=odd(*reader.answers, *REFUSALS).map(as_bytes) | BYTES, code=STATUSES, headers=HEADERS)
    def answered(body: bytes, code: int, headers: dict[str, str]) -> None:
        service = open_service(reader, lambda request: Response(status=code, headers=headers, body=body))
        status = asyncio.run(ours(service.check(reader.job)))
        seen.add(status and status.state)
        if status is None:
            return
        check_status(reader.job, status)
        if status.state is JobState.SUCCEEDED:
            assert 200 <= code < 300
            assert reader.succeeded(json.loads(body))

    for answer in reader.answers:  # the good ones as they are, whatever the draws are
        answered = example(body=as_bytes(answer), code=200, headers={})(answered)
    answered()
    assert seen >= {None, JobState.SUCCEEDED}
    assert len(seen) > 2


@every
def test_valid_answers(name: str) -> None:
    """The answers of which the others are made are good ones."""
    reader = READERS[name]
    for document in reader.answers:
        service = open_service(reader, lambda request, document=document: Response(status=200, body=as_bytes(document)))
        status = asyncio.run(ours(service.check(reader.job)))
        assert (status is None) == ("jobs" in document)
        assert status is None or (status.state is JobState.SUCCEEDED) == reader.succeeded(document)


ODD_ANSWERS: list[tuple[str, Any]] = [
    ("bigquery", {"status": {"state": "DONE", "errorResult": {}}}),
    ("bigquery", {"status": {"state": "DONE", "errorResult": []}}),
    ("bigquery", {**BIGQUERY[0], "statistics": {"query": {"totalSlotMs": float("inf")}}}),
    ("bigquery", {**BIGQUERY[0], "statistics": {"startTime": 1, "endTime": 10**400}}),
    ("bigquery", {**BIGQUERY[0], "statistics": {"query": {"cacheHit": float("nan"), "statementType": LONE}}}),
    ("bigquery", {**BIGQUERY[0], "statistics": {"query": {"totalSlotMs": 10**30, "statementType": "a\x00b"}}}),
    ("bigquery without a location", {"jobs": 5}),
    ("bigquery without a location", {"jobs": ["a"]}),
    ("bigquery without a location", {"jobs": [{"jobReference": {"jobId": "j", "location": 5}}]}),
    ("cloudrun", {**EXECUTION, "taskCount": float("inf")}),
    ("cloudrun", {**EXECUTION, "taskCount": 10**30, "succeededCount": 10**30}),
    ("dataproc", {**DATAPROC[0], "yarnApplications": [{"progress": 10**400}]}),
    ("dqops", {**DQOPS[0], "jobType": LONE}),
    ("dqops", {"status": "finished", "jobId": {"jobId": "8"}}),
]


@pytest.mark.parametrize(("name", "document"), ODD_ANSWERS, ids=lambda value: str(value)[:60])
def test_odd_answer(name: str, document: Any) -> None:
    """What was found once stays found: each was another exception, a success by accident or the end of a triggerer."""
    reader = READERS[name]
    service = open_service(reader, lambda request: Response(status=200, body=as_bytes(document)))
    status = asyncio.run(ours(service.check(reader.job)))
    if status is not None:
        check_status(reader.job, status)
        assert status.state is not JobState.SUCCEEDED or reader.succeeded(document)


@every
@pytest.mark.parametrize("depth", [100, 300, 900, 1500, 5000, 20000])
@pytest.mark.parametrize("code", [200, 403, 503])
def test_lists_within_lists(name: str, depth: int, code: int) -> None:
    """However deep an answer is, it ends in a status that can be sent or in an error of ours."""
    reader = READERS[name]
    deep = ("[" * depth + "]" * depth).encode()
    bodies = [deep, b'{"error": ' + deep + b"}", b'{"error": {"message": ' + deep + b"}}"]
    for valid in reader.answers:
        for key in ("status", "statistics", "parameters", "jobs", "name", "state", "job", "conditions"):
            bodies.append(as_bytes({**valid, key: "@"}).replace(b'"@"', deep))
    for body in bodies:
        service = open_service(reader, lambda request, body=body: Response(status=code, body=body))
        status = asyncio.run(ours(service.check(reader.job)))
        if status is not None:
            check_status(reader.job, status)


# What tells of many jobs at once --------------------------------------------------------------------------

sharing = pytest.mark.parametrize("name", [name for name, reader in READERS.items() if reader.pages])


@sharing
def test_shared_poll(name: str) -> None:
    """A list or a feed is read, or fails in our words; a job has ended only if its own entry says so in full."""
    reader = READERS[name]

    @fuzz(150)
    @given(bodies=st.lists(odd(*reader.pages).map(as_bytes) | BYTES, min_size=1, max_size=3), code=STATUSES)
    def told(bodies: list[bytes], code: int) -> None:
        left = list(bodies)

        def answer(request: Request) -> Response:
            body = left.pop(0) if left else b"{}"
            return Response(status=code if body is bodies[-1] else 200, body=body)

        asyncio.run(look(reader, open_service(reader, answer)))

    told()


async def look(reader: Reader, service: Service) -> None:
    shared = service.shared(reader.job)
    assert shared is not None
    named = shared.name(reader.job)
    told: Any = []
    if isinstance(shared, Listing):
        told = list((await ours(shared.look([named])) or {}).items())
        scope: Any = ListScope(Hub(), shared)
    elif isinstance(shared, Feed):
        scope = FeedScope(Hub(), shared)
        position = await ours(shared.start())
        if position is not None:
            told, position = await ours(shared.changes(position)) or ((), 0)
            assert isinstance(position, int)
    for name, raw in told:
        status = scope.read(raw)
        hash(name)
        if status is None:
            continue
        check_status(reader.job, status)
        if status.state is JobState.SUCCEEDED and name == named:
            assert reader.succeeded(raw.get("updatedModel", raw))


@pytest.mark.parametrize("depth", [900, 5000])
@sharing
def test_shared_poll_of_lists_within_lists(name: str, depth: int) -> None:
    """However deep an entry is, it is its own job's trouble only."""
    reader = READERS[name]
    deep = ("[" * depth + "]" * depth).encode()
    (page,) = reader.pages
    for key in page:
        for value in (
            {**page, key: "@"},
            {**page, key: ["@"]},
            {**page, key: [{**page[key][0], "status": "@"}]} if isinstance(page[key], list) else {},
        ):
            body = as_bytes(value).replace(b'"@"', deep)
            asyncio.run(look(reader, open_service(reader, lambda request, body=body: Response(status=200, body=body))))
