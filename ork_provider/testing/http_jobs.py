"""A stateful fake of an HTTP API that runs jobs: start one, ask for its status, fetch its result, cancel."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from ork_provider.testing.faults import Answer, Refused
from ork_provider.testing.scripts import Match, Scripts
from ork_provider.testing.server import FakeServer, RecordedRequest, Route

CODES = {"queued": 0, "running": 1, "completed": 2, "failed": 3, "cancelled": 4}
_FINAL = ("completed", "failed", "cancelled")


@dataclass(frozen=True)
class HttpOutcome:
    """What happens to a job: seconds queued, seconds running, then `outcome`: completed or failed."""

    pending: float = 0.2
    running: float = 1.0
    outcome: str = "completed"
    output: Any = None
    error: str | None = None


@dataclass(eq=False)
class FakeHttpJob:
    """One stored job. `created_at` and `cancelled_at` are readings of the fake's clock in seconds."""

    job_id: str
    body: Any
    outcome: HttpOutcome
    created_at: float
    clock: Callable[[], float]
    key: str | None = None
    cancelled_at: float | None = None

    @property
    def status(self) -> str:
        """Return queued, running, completed, failed or cancelled by now."""
        if self.cancelled_at is not None:
            return "cancelled"
        age = self.clock() - self.created_at
        if age < self.outcome.pending:
            return "queued"
        return "running" if age < self.outcome.pending + self.outcome.running else self.outcome.outcome

    @property
    def done(self) -> bool:
        """Whether the status is final."""
        return self.status in _FINAL

    @property
    def progress(self) -> float:
        """The part of the running time that has passed, 0 to 1."""
        if self.status == "completed" or self.outcome.running <= 0:
            return 1.0
        spent = (self.cancelled_at or self.clock()) - self.created_at - self.outcome.pending
        return round(min(max(spent / self.outcome.running, 0.0), 1.0), 3)

    def cancel(self) -> None:
        """Cancel the job if it has not ended."""
        if not self.done:
            self.cancelled_at = self.clock()

    def to_dict(self) -> dict[str, Any]:
        """Render the job as the API shows it."""
        status = self.status
        failed = status == "failed"
        return {
            "id": self.job_id,
            "status": status,
            "job": {"status": status, "done": status in _FINAL, "code": CODES[status]},
            "progress": self.progress,
            "output": self.outcome.output if status == "completed" else None,
            "error": (self.outcome.error or "The job failed.") if failed else None,
            "links": {"self": f"/jobs/{self.job_id}", "result": f"/jobs/{self.job_id}/result"},
        }


class FakeHttpJobs(FakeServer):
    """An HTTP job API on 127.0.0.1.

    - `POST /jobs` with any JSON: 202, `{"id", "status", "links": {"self"}}` and a `Location` header. A
      repeated `Idempotency-Key` answers the first job with 200 (`idempotent=False`: the header is ignored).
    - `GET /jobs/{id}`: `{"id", "status", "job": {"status", "done", "code"}, "progress", "output", "error"}`
      with status queued, running, completed, failed or cancelled; codes are 0 to 4 in this order.
    - `GET /jobs/{id}/poll`: the same, with status code 202 until the job has ended and 200 then.
    - `GET /jobs/{id}/result`: the output alone; 409 unless the job completed.
    - `DELETE /jobs/{id}` or `POST /jobs/{id}/cancel`: cancels; a job that has ended stays as it is.

    `pending` and `running` are seconds; a request body may carry its own script as `{"fake": {"pending",
    "running", "outcome", "output", "error"}}`. With `basic=(user, password)` or `bearer=token` the requests
    that lack them get 401.
    """

    service = "The fake HTTP job service"

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        pending: float = 0.2,
        running: float = 1.0,
        idempotent: bool = True,
        basic: tuple[str, str] | None = None,
        bearer: str | None = None,
        **server: Any,
    ) -> None:
        super().__init__(host, port, **server)
        self.default = HttpOutcome(pending=pending, running=running)
        self.idempotent = idempotent
        self.basic = basic
        self.bearer = bearer
        self.created: list[FakeHttpJob] = []
        self._scripts = Scripts[HttpOutcome]()

    def routes(self) -> list[Route]:
        """List what the service answers to."""
        return [
            Route("POST", "/jobs", self._create),
            Route("GET", "/jobs/{job_id}", self._get),
            Route("GET", "/jobs/{job_id}/poll", self._poll),
            Route("GET", "/jobs/{job_id}/result", self._result),
            Route("DELETE", "/jobs/{job_id}", self._cancel),
            Route("POST", "/jobs/{job_id}/cancel", self._cancel),
        ]

    # -- for the test that looks inside --------------------------------------------------------------------

    def script(self, match: Match, outcome: HttpOutcome) -> None:
        """Decide what happens to jobs created from now on; the last script that matches wins.

        `match` is a part of the request body's JSON text, or a callable of the decoded body.
        """
        self._scripts.add(match, outcome)

    @property
    def jobs(self) -> dict[str, FakeHttpJob]:
        """Every job by its id."""
        return {job.job_id: job for job in list(self.created)}

    @property
    def cancelled(self) -> list[FakeHttpJob]:
        """The jobs that were cancelled before they ended, oldest first."""
        return [job for job in list(self.created) if job.cancelled_at is not None]

    def live(self) -> list[FakeHttpJob]:
        """List the jobs that have not ended, oldest first."""
        return [job for job in list(self.created) if not job.done]

    def connections(self) -> dict[str, str]:
        """Map the Airflow connection that reaches this fake, as environment variable -> JSON."""
        value: dict[str, Any] = {"conn_type": "http", "host": self.host, "port": self.port, "schema": "http"}
        if self.basic:
            value |= {"login": self.basic[0], "password": self.basic[1]}
        if self.bearer:
            value["extra"] = {"Authorization": f"Bearer {self.bearer}"}
        return {"AIRFLOW_CONN_HTTP_DEFAULT": json.dumps(value, separators=(",", ":"))}

    # -- the API -------------------------------------------------------------------------------------------

    def authorize(self, request: RecordedRequest) -> None:
        """Refuse a request without the expected credentials, if some are."""
        allowed = [f"Bearer {self.bearer}"] if self.bearer else []
        if self.basic:
            allowed.append("Basic " + base64.b64encode(":".join(self.basic).encode()).decode())
        if allowed and request.headers.get("authorization") not in allowed:
            challenge = "Bearer" if self.bearer else 'Basic realm="jobs"'
            raise Refused(Answer.json({"error": "Unauthorized"}, 401, {"WWW-Authenticate": challenge}))

    def _create(self, request: RecordedRequest) -> Answer:
        key = request.headers.get("idempotency-key") if self.idempotent else None
        known = next((job for job in self.created if key and job.key == key), None)
        job = known or self._new_job(request, key)
        path = f"/jobs/{job.job_id}"
        answer = {"id": job.job_id, "status": job.status, "links": {"self": path}}
        return Answer.json(answer, 200 if known else 202, {"Location": path})

    def _new_job(self, request: RecordedRequest, key: str | None) -> FakeHttpJob:
        body = request.json
        outcome, now = self._outcome(body, request.body.decode()), self.clock()
        job = FakeHttpJob(f"job-{len(self.created) + 1}", body, outcome, now, self.clock, key)
        self.created.append(job)
        return job

    def _outcome(self, body: Any, text: str) -> HttpOutcome:
        if found := self._scripts.find(text, body):
            return found
        own = body.get("fake") if isinstance(body, dict) else None
        return _scripted(self.default, own) if own else self.default

    def _find_job(self, job_id: str) -> FakeHttpJob:
        job = self.jobs.get(job_id)
        if job is None:
            raise Refused(Answer.json({"error": f"No job {job_id}"}, 404))
        return job

    def _get(self, request: RecordedRequest, job_id: str) -> Answer:
        return Answer.json(self._find_job(job_id).to_dict())

    def _poll(self, request: RecordedRequest, job_id: str) -> Answer:
        job = self._find_job(job_id).to_dict()
        return Answer.json(job, 200 if job["job"]["done"] else 202)

    def _result(self, request: RecordedRequest, job_id: str) -> Answer:
        job = self._find_job(job_id).to_dict()
        if job["status"] != "completed":
            return Answer.json({"error": f"Job {job_id} is {job['status']}: it has no result."}, 409)
        return Answer.json(job["output"])

    def _cancel(self, request: RecordedRequest, job_id: str) -> Answer:
        job = self._find_job(job_id)
        job.cancel()
        return Answer.json(job.to_dict())


def _scripted(default: HttpOutcome, own: Mapping[str, Any]) -> HttpOutcome:
    known = {field.name for field in fields(HttpOutcome)}
    if unknown := set(own) - known:
        message = f"Unknown key in 'fake': {sorted(unknown)}; known: {sorted(known)}"
        raise Refused(Answer.json({"error": message}, 400))
    return HttpOutcome(**{**{name: getattr(default, name) for name in known}, **own})
