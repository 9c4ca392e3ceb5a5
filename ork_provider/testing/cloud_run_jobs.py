"""One execution of a Cloud Run job as the fake keeps it: its tasks as a function of time, its REST resource."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import lru_cache
from typing import Any, Protocol

from ork_provider.testing.fields import EVERYTHING
from ork_provider.testing.scripts import NEVER, TimedWork

LIVE = ("PENDING", "RUNNING")
EXECUTION_TYPE = "type.googleapis.com/google.cloud.run.v2.Execution"


@dataclass(frozen=True)
class ExecutionOutcome:
    """What happens to an execution: seconds PENDING, seconds RUNNING, and how many of its tasks go wrong.

    The `tasks` (unless the request says how many) end one after the other: first those that fail, then the good
    ones. `retried` tasks have been retried at least once. `cancelled` ones are given up after a failure of others.
    `message` is the service's own when tasks fail. `cancelling` is how long an execution runs on after a cancel.
    Until `appears_after` seconds have passed it is not listed, though it can be asked for.
    """

    pending: float = 0.2
    running: float = 1.0
    tasks: int = 1
    failed: int = 0
    retried: int = 0
    cancelled: int = 0
    message: str = ""
    cancelling: float = 0.0
    appears_after: float = 0.0


@dataclass(frozen=True)
class Counts:
    """How many tasks are in which phase; `retried` ones are counted in their phase too."""

    running: int = 0
    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0
    retried: int = 0


class Work(Protocol):
    """The tasks of an execution; times are readings of the fake's clock, `NEVER` if unknown yet."""

    @property
    def started_at(self) -> float:
        """When the first task began."""

    @property
    def ended_at(self) -> float:
        """When the last task ended."""

    @property
    def message(self) -> str:
        """The service's words if tasks failed."""

    @property
    def log_uri(self) -> str | None:
        """Where the tasks' output is; None for the usual place."""

    def counts(self, now: float) -> Counts:
        """Count the tasks by phase."""

    def cancel(self, now: float) -> None:
        """Ask the tasks to stop."""


@dataclass
class ScriptedTasks(TimedWork[ExecutionOutcome]):
    """Tasks that only let time pass."""

    task_count: int = 1
    log_uri: str | None = None

    @property
    def started_at(self) -> float:
        """When the execution leaves PENDING; never if it was stopped before."""
        begins = super().started_at
        return begins if begins < self.stops_at else NEVER

    @property
    def message(self) -> str:
        """The script's, or what Cloud Run says of a container that failed."""
        return self.script.message or "Task 0 failed with message: The container exited with an error."

    def counts(self, now: float) -> Counts:
        """Count the tasks that have ended by now, first those that fail."""
        script, total = self.script, self.task_count
        done = self._done(min(now, self.ended_at))
        failed = min(script.failed, done)
        given_up = max(0, min(script.cancelled, done - (total - script.cancelled)))
        ended = now >= self.ended_at
        halfway = now >= self.started_at + script.running / 2
        return Counts(
            running=0 if ended or now < self.started_at else total - done,
            succeeded=done - failed - given_up,
            failed=failed,
            cancelled=given_up + (total - done if ended else 0),
            retried=min(script.retried, total) if ended or halfway else 0,
        )

    def _done(self, now: float) -> int:
        """Count the tasks that have ended by themselves; the n-th of N ends after n/N of the running time."""
        if now < self.started_at:
            return 0
        if self.script.running <= 0:
            return self.task_count
        return min(self.task_count, int((now - self.started_at) / self.script.running * self.task_count + 1e-9))


@dataclass(eq=False)
class FakeExecution:
    """One stored execution. Times such as `created_at` and `listed_at` are readings of the fake's clock in seconds."""

    number: int
    project: str
    region: str
    job_name: str
    execution_id: str
    task_count: int
    overrides: dict[str, Any]
    template: dict[str, Any]
    created_at: float
    work: Work
    clock: Callable[[], float]
    creator: str = ""
    listed_at: float = 0.0
    cancelled_at: float | None = None
    uid: str = field(default_factory=lambda: str(uuid.uuid4()))

    @property
    def name(self) -> str:
        """The full resource name."""
        return f"{self.parent}/jobs/{self.job_name}/executions/{self.execution_id}"

    @property
    def parent(self) -> str:
        """The resource name of its place."""
        return f"projects/{self.project}/locations/{self.region}"

    @property
    def ended_at(self) -> float:
        """When the last task ends; infinite if that is not known yet."""
        return self.work.ended_at

    @property
    def counts(self) -> Counts:
        """The tasks by phase, by now."""
        return self.work.counts(self.clock())

    @property
    def state(self) -> str:
        """PENDING, RUNNING, SUCCEEDED, FAILED or CANCELLED by now."""
        now = self.clock()
        if now < self.work.ended_at:
            return "RUNNING" if now >= self.work.started_at else "PENDING"
        counts = self.work.counts(now)
        if counts.succeeded == self.task_count:
            return "SUCCEEDED"
        return "CANCELLED" if self.cancelled_at is not None else "FAILED"

    @property
    def done(self) -> bool:
        """Whether every task has ended."""
        return self.state not in LIVE

    @property
    def env(self) -> dict[str, str]:
        """The environment of the containers, the later ones over the earlier."""
        containers = self.template["containers"]
        return {v["name"]: v.get("value", "") for container in containers for v in container.get("env", [])}

    def cancel(self) -> None:
        """Cancel the execution if it has not ended."""
        if not self.done:
            now = self.clock()
            self.cancelled_at = self.cancelled_at or now
            self.work.cancel(now)


def resource(
    execution: FakeExecution, epoch_ms: Callable[[float], int], asked: Container[str] = EVERYTHING
) -> dict[str, Any]:
    """Render the execution as the API does; numbers that are 0 are left out, as in all of Google's JSON.

    One that was cancelled before it started has no completionTime; only its condition tells that it has ended. The
    conditions are left empty unless they are `asked` for.
    """
    state, counts = execution.state, execution.counts
    now, started, ended = execution.clock(), execution.work.started_at, execution.work.ended_at
    live, changed = state in LIVE, timestamp(epoch_ms(min(now, ended)))
    times = {
        "createTime": execution.created_at,
        "startTime": started,
        "completionTime": NEVER if live or started == NEVER else ended,
    }
    numbers = {
        "taskCount": execution.task_count,
        "parallelism": execution.task_count,
        "runningCount": counts.running,
        "succeededCount": counts.succeeded,
        "failedCount": counts.failed,
        "cancelledCount": counts.cancelled,
        "retriedCount": counts.retried,
    }
    return {
        "name": execution.name,
        "uid": execution.uid,
        "creator": execution.creator,
        "generation": "1",
        "observedGeneration": "1",
        **{name: timestamp(epoch_ms(at)) for name, at in times.items() if at <= now},
        "updateTime": changed,
        "launchStage": "GA",
        "job": execution.job_name,
        **{name: number for name, number in numbers.items() if number},
        **({"reconciling": True} if live else {}),
        "template": execution.template,
        "conditions": conditions(execution, state, changed) if "conditions" in asked else [],
        "logUri": execution.work.log_uri or _log_uri(execution),
        "etag": f'"{execution.number}-{state}"',
    }


def _log_uri(execution: FakeExecution) -> str:
    query = f"resource.type%3D%22cloud_run_job%22%20labels.execution_name%3D%22{execution.execution_id}%22"
    return f"https://console.cloud.google.com/logs/viewer?project={execution.project}&advancedFilter={query}"


def conditions(execution: FakeExecution, state: str, at: str) -> list[dict[str, Any]]:
    """Render the conditions; Completed says whether, and why, the execution has ended."""
    begun = "CONDITION_PENDING" if state == "PENDING" else "CONDITION_SUCCEEDED"
    others = [
        {"type": kind, "state": begun, "lastTransitionTime": at}
        for kind in ("ResourcesAvailable", "Started", "ContainerReady")
    ]
    return [{"type": "Completed", "lastTransitionTime": at, **_completed(execution, state)}, *others]


def _completed(execution: FakeExecution, state: str) -> dict[str, Any]:
    if state == "FAILED":
        said = {"message": execution.work.message, "executionReason": "NON_ZERO_EXIT_CODE"}
        return {"state": "CONDITION_FAILED", **said}
    if state == "CANCELLED":
        said = {"message": "Execution cancelled by user.", "executionReason": "CANCELLED"}
        return {"state": "CONDITION_FAILED", **said}
    if state == "SUCCEEDED":
        return {"state": "CONDITION_SUCCEEDED", "message": "Execution completed successfully."}
    reason = {"executionReason": "CANCELLING"} if execution.cancelled_at is not None else {}
    return {"state": "CONDITION_RECONCILING", **reason}


def operation(name: str, execution: FakeExecution, shown: Mapping[str, Any]) -> dict[str, Any]:
    """Render the operation that stands for an execution; a cancelled one ends without an error, as at Google's."""
    packed = {"@type": EXECUTION_TYPE, **shown}
    found: dict[str, Any] = {"name": name, "metadata": packed}
    if not execution.done:
        return found
    if execution.state == "FAILED":
        return {**found, "done": True, "error": {"code": 2, "message": execution.work.message}}
    return {**found, "done": True, "response": packed}


@lru_cache(maxsize=1 << 16)
def timestamp(epoch_ms: int) -> str:
    """Render milliseconds since 1970 as the API has times."""
    moment = datetime.fromtimestamp(epoch_ms / 1000, timezone.utc)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
