"""What the lessons of section 51.8 test: a trigger that waits for a job behind an HTTP API, and its operator.

The service is the one of the connection `http_default`: `POST /jobs` starts a job, `GET /jobs/{id}` tells its status,
`DELETE /jobs/{id}` cancels it.
"""

from __future__ import annotations

import asyncio
from asyncio import sleep  # a name of this module, so that a test can replace it here and nowhere else
from collections.abc import AsyncIterator
from datetime import timedelta
from types import TracebackType
from typing import Any

import httpx
from airflow.sdk import BaseHook, BaseOperator, timezone
from airflow.sdk.exceptions import AirflowException, TaskDeferralError, TaskDeferralTimeout
from airflow.triggers.base import BaseTrigger, TriggerEvent

CONNECTION = "http_default"
ENDED = ("completed", "failed", "cancelled")
GRACE = timedelta(seconds=30)
"""Airflow's own limit for the trigger comes so much later than the trigger's deadline."""


class ServiceDown(AirflowException):
    """The service does not answer, or says that it cannot now: worth another question."""


class JobFailed(AirflowException):
    """The job has ended, and not well."""


class JobTimedOut(AirflowException):
    """The job had not ended at its deadline; it has been cancelled."""


class JobService:
    """The service as a trigger sees it: one session for as long as the block lasts."""

    async def __aenter__(self) -> JobService:
        import aiohttp  # only the triggerer needs it; every process of Airflow imports this module

        limit = aiohttp.ClientTimeout(total=5)
        self.session = aiohttp.ClientSession(_url(await BaseHook.aget_connection(CONNECTION)), timeout=limit)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.session.close()

    async def status(self, job_id: str) -> str:
        """Ask once: queued, running, completed, failed or cancelled; raise ServiceDown if it may help to ask again."""
        return str((await self._request("GET", job_id))["status"])

    async def cancel(self, job_id: str) -> None:
        """Cancel the job, unless it has ended."""
        await self._request("DELETE", job_id)

    async def _request(self, method: str, job_id: str) -> dict[str, Any]:
        import aiohttp

        try:
            async with self.session.request(method, f"/jobs/{job_id}") as answer:
                if answer.status >= 500:
                    raise ServiceDown(f"{method} /jobs/{job_id}: {answer.status}")
                answer.raise_for_status()
                found: dict[str, Any] = await answer.json()
                return found
        except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, asyncio.TimeoutError) as exc:
            raise ServiceDown(f"{method} /jobs/{job_id}: {exc!r}") from exc


class JobTrigger(BaseTrigger):
    """Wait until a job has ended; the one event is {"job_id": ..., "status": "completed" | ... | "timeout"}.

    `deadline`: ISO 8601 with its time zone: a moment, which no restart of the triggerer moves.
    `patience`: how many questions in a row may find the service down.
    """

    def __init__(self, job_id: str, deadline: str, poll_interval: float = 1.0, patience: int = 5) -> None:
        super().__init__()
        self.job_id = job_id
        self.deadline = deadline
        self.poll_interval = poll_interval
        self.patience = patience

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what Airflow stores: the class, and the arguments to build it again."""
        names = ("job_id", "deadline", "poll_interval", "patience")
        return "lesson_51_08.JobTrigger", {name: getattr(self, name) for name in names}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Ask until there is something to tell; close the session before telling it."""
        self.log.info("Waiting for job %s, until %s at most", self.job_id, self.deadline)
        async with JobService() as service:
            status = await self._last_status(service)
        self.log.info("Job %s: %s", self.job_id, status)
        yield TriggerEvent({"job_id": self.job_id, "status": status})

    async def on_kill(self) -> None:
        """Cancel the job: a user has ended the task. Airflow does not call this when a triggerer stops."""
        async with JobService() as service:
            await service.cancel(self.job_id)

    async def _last_status(self, service: JobService) -> str:
        down = 0
        while True:
            try:
                status, down = await service.status(self.job_id), 0
            except ServiceDown as exc:
                status, down = "unknown", down + 1
                if down > self.patience:
                    raise
                self.log.warning("%s; %d of %d times in a row", exc, down, self.patience)
            if status in ENDED:
                return status
            left = (timezone.parse(self.deadline) - timezone.utcnow()).total_seconds()
            if left <= 0:
                return "timeout"
            await sleep(min(self.poll_interval, left))


class JobOperator(BaseOperator):
    """Start a job and wait for its end without holding a worker; return the job.

    `max_wait`: seconds, from the start of the job; then it is cancelled, and the task fails.
    """

    template_fields = ("body",)

    def __init__(
        self, *, body: dict[str, Any], max_wait: float = 60, poll_interval: float = 1.0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.body = body
        self.max_wait = max_wait
        self.poll_interval = poll_interval

    def execute(self, context: Any) -> dict[str, Any]:
        """Start the job; defer, unless it has ended at once."""
        job_id = call("POST", "/jobs", self.body)["id"]
        context["ti"].xcom_push(key="job_id", value=job_id)  # before the deferral: for who has to clean up
        status = call("GET", f"/jobs/{job_id}")["status"]
        if status in ENDED:
            return self.execute_complete(context, {"job_id": job_id, "status": status})
        wait = timedelta(seconds=self.max_wait)
        deadline = (timezone.utcnow() + wait).isoformat()
        trigger = JobTrigger(job_id, deadline, self.poll_interval)
        self.defer(trigger=trigger, method_name="execute_complete", timeout=wait + GRACE)

    def execute_complete(self, context: Any, event: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the job, or fail with what became of it."""
        if not event:
            raise JobFailed("The trigger has told nothing about the job.")
        job_id, status = event["job_id"], event["status"]
        if status == "timeout":
            call("DELETE", f"/jobs/{job_id}")
            raise JobTimedOut(f"Job {job_id} had not ended after {self.max_wait:g} s; it has been cancelled.")
        job = call("GET", f"/jobs/{job_id}")
        if status != "completed":
            raise JobFailed(f"Job {job_id} has {status}: {job['error']}")
        return job

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Any) -> Any:
        """Go on after the trigger; cancel the job if Airflow has given up on the trigger."""
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except (TaskDeferralError, TaskDeferralTimeout):
            ti = context["ti"]
            job_id = ti.xcom_pull(task_ids=ti.task_id, key="job_id", map_indexes=ti.map_index)
            self.log.info("The trigger is gone; cancelling job %s", job_id)
            call("DELETE", f"/jobs/{job_id}")
            raise


def call(method: str, path: str, json: Any = None) -> dict[str, Any]:
    """Send one request to the service, from a worker; raise ServiceDown, in one line, if nobody answers."""
    url = _url(BaseHook.get_connection(CONNECTION))
    try:
        answer = httpx.request(method, f"{url}{path}", json=json, timeout=10, trust_env=False)
    except httpx.TransportError as exc:
        raise ServiceDown(f"No job service answers at {url} (connection {CONNECTION}): {exc}") from exc
    answer.raise_for_status()
    found: dict[str, Any] = answer.json()
    return found


def _url(connection: Any) -> str:
    return f"{connection.schema or 'http'}://{connection.host}:{connection.port or 80}"
