"""What the fake Dataproc keeps of a job or batch: its outcome, and its states as a function of time."""

from __future__ import annotations

import datetime as dt
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Protocol

from ork_provider.testing.scripts import NEVER, TimedWork

CANCELLED = "CANCELLED"


@dataclass(frozen=True)
class DataprocOutcome:
    """What happens to a job or batch: seconds PENDING, seconds RUNNING, then success, or failure with `error`.

    A job spends the last `setup` seconds of `pending` in SETUP_DONE, in which Dataproc refuses to cancel it.
    `details` is what a success says. `failed_attempts` of the driver interrupt a job's RUNNING with
    ATTEMPT_FAILURE. `cancelling` is how long it runs on after a cancel. `application` is the name of the YARN
    application whose progress a job shows. Until `appears_after` seconds have passed it is not listed, though it can
    be asked for.
    """

    pending: float = 0.2
    running: float = 1.0
    error: str | None = None
    details: str = ""
    failed_attempts: int = 0
    setup: float = 0.05
    cancelling: float = 0.0
    application: str = "Spark Pi"
    appears_after: float = 0.0


class Work(Protocol):
    """What a job does until it ends; times are readings of the fake's clock, `NEVER` if unknown yet."""

    script: DataprocOutcome

    @property
    def started_at(self) -> float:
        """When it left PENDING."""

    @property
    def ended_at(self) -> float:
        """When it ended."""

    @property
    def cancelled(self) -> bool:
        """Whether it ended because it was cancelled."""

    @property
    def error(self) -> str | None:
        """Why it failed; meaningful once it has ended."""

    @property
    def output_uri(self) -> str | None:
        """Where the driver's output is, if that is somewhere special."""

    def cancel(self, now: float) -> None:
        """Ask the work to stop."""


@dataclass
class ScriptedWork(TimedWork[DataprocOutcome]):
    """Work that only lets time pass."""

    output_uri: str | None = None

    @property
    def cancelled(self) -> bool:
        """Whether it stops before its end."""
        return self.stops_at < self.natural_end

    @property
    def error(self) -> str | None:
        """The script's."""
        return self.script.error


@dataclass(eq=False)
class FakeDataprocWork(ABC):
    """What jobs and batches have in common. Times are readings of the fake's clock in seconds.

    `resource` is what was sent to start it, `uuid` and `number` are the fake's own.
    """

    number: int
    project: str
    region: str
    name: str
    resource: dict[str, Any]
    created_at: float
    work: Work
    clock: Callable[[], float]
    uuid: str
    cancelled_at: float | None = None

    stopping: ClassVar[tuple[str, ...]]
    good: ClassVar[str]
    bad: ClassVar[str]

    @property
    def listed_at(self) -> float:
        """From when on lists show it."""
        return self.created_at + self.work.script.appears_after

    @property
    def ended_at(self) -> float:
        """When it ended or is to end; infinite if that is not known yet."""
        return self.work.ended_at

    @property
    def state(self) -> str:
        """The service's word for its state by now."""
        return self.history()[-1][0]

    @property
    def ended(self) -> bool:
        """Whether its state is a final one."""
        return self.clock() >= self.work.ended_at

    @property
    def labels(self) -> dict[str, str]:
        """Its labels."""
        return dict(self.resource.get("labels") or {})

    def cancel(self) -> None:
        """Cancel it if it has not ended."""
        if not self.ended:
            now = self.clock()
            self.cancelled_at = self.cancelled_at or now
            self.work.cancel(now)

    def history(self) -> list[tuple[str, float]]:
        """List its states so far, oldest first, each with the time at which it was entered."""
        ended, stopped = self.work.ended_at, self.cancelled_at if self.cancelled_at is not None else NEVER
        steps = [(state, at) for state, at in self._steps() if at <= min(ended, stopped)]
        if stopped <= ended:
            half = (stopped + ended) / 2 if ended < NEVER else stopped
            steps += zip(self.stopping, (stopped, half), strict=False)
        steps.append((self._last(), ended))
        now = self.clock()
        return [(state, at) for state, at in steps if at <= now]

    @abstractmethod
    def _steps(self) -> list[tuple[str, float]]:
        """List its states without a cancel, each with the time at which it is entered."""

    def _last(self) -> str:
        if self.work.cancelled:
            return CANCELLED
        return self.bad if self.work.error else self.good

    def details(self, state: str) -> str:
        """Return what the service says to a state."""
        if state == self.bad:
            return self.work.error or ""
        said = {self.good: self.work.script.details, CANCELLED: "Cancelled by a user"}
        return {**said, "ATTEMPT_FAILURE": "The driver failed; it is started again"}.get(state, "")


class FakeDataprocJob(FakeDataprocWork):
    """One stored job of a cluster; `name` is its id."""

    stopping: ClassVar[tuple[str, ...]] = ("CANCEL_PENDING", "CANCEL_STARTED")
    good: ClassVar[str] = "DONE"
    bad: ClassVar[str] = "ERROR"

    @property
    def job_id(self) -> str:
        """Its id."""
        return self.name

    @property
    def cluster_name(self) -> str:
        """The cluster that runs it."""
        return str(self.resource["placement"].get("clusterName") or "chosen-by-labels")

    def _steps(self) -> list[tuple[str, float]]:
        script, started = self.work.script, self.work.started_at
        steps = [
            ("PENDING", self.created_at),
            ("SETUP_DONE", max(started - script.setup, self.created_at)),
            ("RUNNING", started),
        ]
        part = script.running / (2 * script.failed_attempts + 1)
        for n in range(script.failed_attempts):
            steps.append(("ATTEMPT_FAILURE", started + (2 * n + 1) * part))
            steps.append(("RUNNING", started + (2 * n + 2) * part))
        return steps

    def progress(self) -> float:
        """Return how far its YARN application is, from 0 to 1."""
        if self.ended and self._last() == self.good:
            return 1.0
        elapsed = min(self.clock(), self.ended_at) - self.work.started_at
        return round(max(0.0, min(elapsed / (self.work.script.running or 1), 0.99)), 2)


class FakeDataprocBatch(FakeDataprocWork):
    """One stored serverless batch; `name` is its id."""

    stopping: ClassVar[tuple[str, ...]] = ("CANCELLING",)
    good: ClassVar[str] = "SUCCEEDED"
    bad: ClassVar[str] = "FAILED"

    @property
    def batch_id(self) -> str:
        """Its id."""
        return self.name

    @property
    def operation(self) -> str:
        """Name of the operation that created it."""
        return f"projects/{self.project}/regions/{self.region}/operations/{self.uuid}"

    def _steps(self) -> list[tuple[str, float]]:
        return [("PENDING", self.created_at), ("RUNNING", self.work.started_at)]


@lru_cache(maxsize=1 << 16)
def timestamp(epoch_ms: int) -> str:
    """Render milliseconds since 1970 as RFC 3339."""
    moment = dt.datetime.fromtimestamp(epoch_ms / 1000, dt.timezone.utc)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{epoch_ms % 1000:03d}Z"
