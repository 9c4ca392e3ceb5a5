"""A stateful fake of Dataproc's REST API v1: jobs of clusters and serverless batches, by the clock.

Source: https://cloud.google.com/dataproc/docs/reference/rest
"""

from __future__ import annotations

import json
import tempfile
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from ork_provider.testing import dataproc_requests as check
from ork_provider.testing.dataproc_files import start_file
from ork_provider.testing.dataproc_jobs import (
    DataprocOutcome,
    FakeDataprocBatch,
    FakeDataprocJob,
    FakeDataprocWork,
    ScriptedWork,
    Work,
    timestamp,
)
from ork_provider.testing.dataproc_requests import refuse
from ork_provider.testing.dataproc_resources import batch_resource, job_resource, operation_resource
from ork_provider.testing.faults import Answer
from ork_provider.testing.google_connection import PROJECT, REGION, GoogleServer
from ork_provider.testing.pages import behind, page_of
from ork_provider.testing.processes import Processes
from ork_provider.testing.scripts import Match, Scripts
from ork_provider.testing.server import RecordedRequest, Route

CANCELLABLE = ("PENDING", "RUNNING")
MATCHERS = {"0": "ALL", "1": "ACTIVE", "2": "NON_ACTIVE"}
"""Enums may be sent as numbers; Google's REST transport does."""
AnyWork = TypeVar("AnyWork", bound=FakeDataprocWork)
_SEEDED = {"mainPythonFileUri": "gs://seeded/main.py"}


class FakeDataproc(GoogleServer):
    """Dataproc on 127.0.0.1: jobs.submit/get/list/cancel/delete, batches.create/get/list/delete, operations.

    `pending` and `running` are the seconds that a job spends before and in RUNNING unless `script` says otherwise.
    With `run_files=True` a PySpark job or batch whose `mainPythonFileUri` is a `file:///` one runs that file with
    this Python; its output is the file that `driverOutputResourceUri` (a batch's `outputUri`) names. For
    `require_auth` and `token_seconds` see `GoogleServer`.
    """

    service = "The fake Dataproc"
    endpoint_name: ClassVar[str] = "dataproc"

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        pending: float = 0.2,
        running: float = 1.0,
        run_files: bool = False,
        **server: Any,
    ) -> None:
        super().__init__(host, port, **server)
        self.default = DataprocOutcome(pending=pending, running=running)
        self.started: list[FakeDataprocJob] = []
        self.started_batches: list[FakeDataprocBatch] = []
        self._jobs: dict[tuple[str, str], FakeDataprocJob] = {}
        self._batches: dict[tuple[str, str, str], FakeDataprocBatch] = {}
        self._requests: dict[tuple[str, str, str], Any] = {}
        self._scripts = Scripts[DataprocOutcome]()
        self._processes = Processes(clock=self.clock)
        self._run_files = run_files
        self._logs: tempfile.TemporaryDirectory[str] | None = None

    def routes(self) -> list[Route]:
        """List the API's methods that are served."""
        jobs = "/v1/projects/{project}/regions/{region}/jobs"
        batches = "/v1/projects/{project}/locations/{region}/batches"
        operations = [f"/v1/projects/{{project}}/{place}/{{region}}/operations" for place in ("regions", "locations")]
        return [
            Route("POST", f"{jobs}:submit", self._submit),
            Route("GET", jobs, self._list_jobs),
            Route("GET", f"{jobs}/{{job_id}}", self._get_job),
            Route("POST", f"{jobs}/{{job_id}}:cancel", self._cancel_job),
            Route("DELETE", f"{jobs}/{{job_id}}", self._delete_job),
            Route("POST", batches, self._create_batch),
            Route("GET", batches, self._list_batches),
            Route("GET", f"{batches}/{{batch_id}}", self._get_batch),
            Route("DELETE", f"{batches}/{{batch_id}}", self._delete_batch),
            *(Route("GET", f"{path}/{{name}}", self._get_operation) for path in operations),
            *(Route("POST", f"{path}/{{name}}:cancel", self._cancel_operation) for path in operations),
            Route("POST", "/token", self._token),
        ]

    def __exit__(self, *error: Any) -> None:
        """Stop, and end the processes of `run_files`."""
        super().__exit__(*error)
        self._processes.stop()
        if self._logs is not None:
            self._logs.cleanup()
            self._logs = None

    # -- for the test that looks inside --------------------------------------------------------------------

    def script(self, match: Match, outcome: DataprocOutcome) -> None:
        """Decide what happens to jobs and batches started from now on; the last script that matches wins.

        `match` is a part of the job's or batch's JSON, or a callable of its dict.
        """
        self._scripts.add(match, outcome)

    def seed_job(
        self, job_id: str, outcome: DataprocOutcome | None = None, *, project: str = PROJECT, region: str = REGION
    ) -> FakeDataprocJob:
        """Store a PySpark job that began now, without a request; `outcome` is by default the fake's own.

        Raises `Refused` if the id is taken.
        """
        resource = {"placement": {"clusterName": "seeded"}, "pysparkJob": _SEEDED, "reference": {"jobId": job_id}}
        return self._new_job(project, region, resource, outcome or self.default)

    def seed_batch(
        self, batch_id: str, outcome: DataprocOutcome | None = None, *, project: str = PROJECT, region: str = REGION
    ) -> FakeDataprocBatch:
        """Store a PySpark batch that began now, without a request; `outcome` is by default the fake's own.

        Raises `Refused` if the id is taken.
        """
        return self._new_batch(project, region, {"pysparkBatch": _SEEDED}, batch_id, outcome or self.default)

    @property
    def jobs(self) -> dict[str, FakeDataprocJob]:
        """Every stored job by its id."""
        return {job.job_id: job for job in list(self._jobs.values())}

    @property
    def batches(self) -> dict[str, FakeDataprocBatch]:
        """Every stored batch by its id."""
        return {batch.batch_id: batch for batch in list(self._batches.values())}

    def live(self) -> list[FakeDataprocWork]:
        """List the jobs and batches that have not ended."""
        return [*self.live_jobs(), *self.live_batches()]

    def live_jobs(self) -> list[FakeDataprocJob]:
        """List the jobs that have not ended, oldest first."""
        return [job for job in list(self._jobs.values()) if not job.ended]

    def live_batches(self) -> list[FakeDataprocBatch]:
        """List the batches that have not ended, oldest first."""
        return [batch for batch in list(self._batches.values()) if not batch.ended]

    @property
    def cancelled(self) -> list[FakeDataprocWork]:
        """The jobs and batches that were cancelled before they had ended."""
        stored: list[FakeDataprocWork] = [*self._jobs.values(), *self._batches.values()]
        return [item for item in stored if item.cancelled_at is not None]

    def _listed(self, stored: Iterator[AnyWork], place: tuple[str, str]) -> Iterator[AnyWork]:
        now = self.clock()
        return (item for item in stored if (item.project, item.region) == place and item.listed_at <= now)

    # -- jobs ----------------------------------------------------------------------------------------------

    def _submit(self, request: RecordedRequest, project: str, region: str) -> Answer:
        body = check.json_object(request)
        resource = check.checked_job(body, project)
        request_id = check.checked_request_id(body.get("requestId"))
        job = self._requests.get(("job", project, request_id or ""))
        if job is None:
            job = self._new_job(project, region, resource)
            if request_id:
                self._requests["job", project, request_id] = job
        return self._job_answer(request, job)

    def _new_job(
        self, project: str, region: str, resource: dict[str, Any], outcome: DataprocOutcome | None = None
    ) -> FakeDataprocJob:
        own_id = str(uuid.uuid4())
        job_id = (resource.get("reference") or {}).get("jobId") or own_id
        with self._lock:
            if (project, job_id) in self._jobs:
                message = f"Already exists: Job projects/{project}/regions/{region}/jobs/{job_id}"
                raise refuse(409, "ALREADY_EXISTS", message)
            number, now = len(self.started) + 1, self.clock()
            work = self._work(resource, now, own_id, outcome)
            job = FakeDataprocJob(number, project, region, job_id, resource, now, work, self.clock, own_id)
            self._jobs[project, job_id] = job
            self.started.append(job)
        return job

    def _work(self, resource: dict[str, Any], now: float, name: str, outcome: DataprocOutcome | None) -> Work:
        outcome = outcome or self._scripted(resource)
        if outcome is None and self._run_files:
            self._logs = self._logs or tempfile.TemporaryDirectory(prefix="ork-dataproc-")
            work = start_file(resource, self._processes, Path(self._logs.name) / f"{name}.log")
            if work is not None:
                return work
        return ScriptedWork(outcome or self.default, now)

    def _scripted(self, resource: dict[str, Any]) -> DataprocOutcome | None:
        return self._scripts.find(json.dumps(resource, ensure_ascii=False), resource)

    def _get_job(self, request: RecordedRequest, project: str, region: str, job_id: str) -> Answer:
        return self._job_answer(request, self._find_job(project, region, job_id))

    def _cancel_job(self, request: RecordedRequest, project: str, region: str, job_id: str) -> Answer:
        job = self._find_job(project, region, job_id)
        if job.state not in CANCELLABLE:
            said = f"Cannot cancel jobId '{job_id}' in projectId '{project}' in state: '{job.state}'"
            raise refuse(400, "FAILED_PRECONDITION", f"{said}; cancellable states: '[PENDING, RUNNING]'")
        job.cancel()
        return self._job_answer(request, job)

    def _delete_job(self, request: RecordedRequest, project: str, region: str, job_id: str) -> Answer:
        job = self._find_job(project, region, job_id)
        _check_ended(job)
        del self._jobs[project, job_id]
        return Answer.json({})

    def _find_job(self, project: str, region: str, job_id: str) -> FakeDataprocJob:
        job = self._jobs.get((project, job_id))
        if job is None or job.region != region:
            raise refuse(404, "NOT_FOUND", f"Not found: Job projects/{project}/regions/{region}/jobs/{job_id}")
        return job

    def _job_answer(self, request: RecordedRequest, job: FakeDataprocJob) -> Answer:
        return self._answer(request, job_resource(job, self.epoch_ms))

    def _list_jobs(self, request: RecordedRequest, project: str, region: str) -> Answer:
        wanted, (size, last) = self._jobs_wanted(request), check.page_asked(request)
        jobs = filter(wanted, self._listed(behind(self._jobs.values(), last), (project, region)))
        page, more = page_of(jobs, size)
        asked = self._asked(request, "jobs")
        found = {"jobs": [job_resource(job, self.epoch_ms, asked) for job in page]} if page else {}
        return self._answer(request, {**found, **more})

    def _jobs_wanted(self, request: RecordedRequest) -> Callable[[FakeDataprocJob], bool]:
        """Return the test for clusterName and for filter, or for jobStateMatcher if there is no filter."""
        cluster, matcher = request.query.get("clusterName"), request.query.get("jobStateMatcher", "ALL")
        passes = check.filter_of(request, alternatives=False)
        states = ("ALL",) if request.query.get("filter") else (MATCHERS.get(matcher, matcher),)
        return lambda job: (
            cluster in (None, "", job.cluster_name)
            and (states == ("ALL",) or _activity(job) in states)
            and passes(lambda name: self._job_value(job, name))
        )

    def _job_value(self, job: FakeDataprocJob, name: str) -> str | None:
        if name == "status.state":
            return _activity(job)
        return timestamp(self.epoch_ms(job.created_at)) if name == "insertTime" else _label(job, name)

    # -- batches -------------------------------------------------------------------------------------------

    def _create_batch(self, request: RecordedRequest, project: str, region: str) -> Answer:
        resource = check.checked_batch(request)
        request_id = check.checked_request_id(request.query.get("requestId"))
        batch = self._requests.get(("batch", project, request_id or ""))
        if batch is None:
            batch = self._new_batch(project, region, resource, request.query.get("batchId"))
            if request_id:
                self._requests["batch", project, request_id] = batch
        return self._answer(request, operation_resource(batch, self.epoch_ms))

    def _new_batch(
        self,
        project: str,
        region: str,
        resource: dict[str, Any],
        batch_id: str | None,
        outcome: DataprocOutcome | None = None,
    ) -> FakeDataprocBatch:
        own_id = str(uuid.uuid4())
        key = (project, region, batch_id or own_id)
        with self._lock:
            if key in self._batches:
                said = "Already exists: Failed to create batch: Batch"
                raise refuse(409, "ALREADY_EXISTS", f"{said} projects/{project}/locations/{region}/{batch_id}")
            number, now = len(self.started_batches) + 1, self.clock()
            work = self._work(resource, now, own_id, outcome)
            batch = FakeDataprocBatch(number, *key, resource, now, work, self.clock, own_id)
            self._batches[key] = batch
            self.started_batches.append(batch)
        return batch

    def _get_batch(self, request: RecordedRequest, project: str, region: str, batch_id: str) -> Answer:
        batch = self._find_batch(project, region, batch_id)
        return self._answer(request, batch_resource(batch, self.epoch_ms))

    def _delete_batch(self, request: RecordedRequest, project: str, region: str, batch_id: str) -> Answer:
        _check_ended(self._find_batch(project, region, batch_id))
        del self._batches[project, region, batch_id]
        return Answer.json({})

    def _find_batch(self, project: str, region: str, batch_id: str) -> FakeDataprocBatch:
        batch = self._batches.get((project, region, batch_id))
        if batch is None:
            name = f"projects/{project}/locations/{region}/batches/{batch_id}"
            raise refuse(404, "NOT_FOUND", f"Not found: Batch {name}")
        return batch

    def _list_batches(self, request: RecordedRequest, project: str, region: str) -> Answer:
        passes, (size, last) = check.filter_of(request, alternatives=True), check.page_asked(request)
        newest_first = request.query.get("orderBy") == "create_time desc"
        stored = behind(self._batches.values(), last, newest_first=newest_first)
        listed = self._listed(stored, (project, region))
        page, more = page_of((b for b in listed if passes(partial(self._batch_value, b))), size)
        asked = self._asked(request, "batches")
        found = {"batches": [batch_resource(batch, self.epoch_ms, asked) for batch in page]} if page else {}
        return self._answer(request, {**found, **more})

    def _batch_value(self, batch: FakeDataprocBatch, name: str) -> str | None:
        if name == "state":
            return batch.state
        if name == "create_time":
            return timestamp(self.epoch_ms(batch.created_at))
        return {"batch_id": batch.batch_id, "batch_uuid": batch.uuid}.get(name, _label(batch, name))

    # -- operations ----------------------------------------------------------------------------------------

    def _get_operation(self, request: RecordedRequest, project: str, region: str, name: str) -> Answer:
        batch = self._find_operation(project, region, name)
        return self._answer(request, operation_resource(batch, self.epoch_ms))

    def _cancel_operation(self, request: RecordedRequest, project: str, region: str, name: str) -> Answer:
        batch = self._find_operation(project, region, name)
        if batch.ended:
            raise refuse(400, "FAILED_PRECONDITION", f"The operation {batch.operation} has ended: {batch.state}")
        batch.cancel()
        return Answer.json({})

    def _find_operation(self, project: str, region: str, name: str) -> FakeDataprocBatch:
        for batch in self._batches.values():
            if (batch.project, batch.region, batch.uuid) == (project, region, name):
                return batch
        message = f"Not found: Operation projects/{project}/regions/{region}/operations/{name}"
        raise refuse(404, "NOT_FOUND", message)


def _activity(job: FakeDataprocJob) -> str:
    """Name the state of a job as lists are asked for it."""
    return "NON_ACTIVE" if job.ended else "ACTIVE"


def _label(item: FakeDataprocWork, name: str) -> str | None:
    """Return the label that a filter means by `labels.key` or `labels.[key]`."""
    if not name.startswith("labels."):
        return None
    return item.labels.get(name.removeprefix("labels.").strip("[]"))


def _check_ended(item: FakeDataprocWork) -> None:
    if not item.ended:
        raise refuse(400, "FAILED_PRECONDITION", f"{item.name!r} is {item.state} and cannot be deleted")
