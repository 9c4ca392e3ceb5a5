"""What the fake DQOps remembers: the jobs by id and by key, and the feed of their changes, for a limited time."""

from __future__ import annotations

import heapq
import itertools
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ork_provider.testing.dqops_jobs import FINAL, FakeDqopsJob, iso

Milliseconds = Callable[[float], int]


@dataclass(frozen=True)
class Change:
    """A job came to a status; `at` is a reading of the fake's clock in seconds."""

    at: float
    sequence: int
    job: FakeDqopsJob
    status: str


class Ids:
    """The numbers of jobs and of changes: seconds since 1970, times a million, and a counter."""

    def __init__(self) -> None:
        self._last = 0

    def next(self, milliseconds: int) -> int:
        """Return a number that is higher than every one before."""
        self._last = max(self._last, milliseconds // 1000 * 1_000_000) + 1
        return self._last


class Memory:
    """The history of jobs of one server process; a restarted server begins with a new one.

    A job is known `appears_after` seconds after it was made, until `keeps` seconds after its end. A key
    leads to the last job that was given it, and is forgotten when any job that had it is.
    """

    def __init__(
        self, ids: Ids, milliseconds: Milliseconds, *, appears_after: float, keeps: float, feed_keeps: float
    ) -> None:
        self._ids = ids
        self._milliseconds = milliseconds
        self._appears_after = appears_after
        self._keeps = keeps
        self._feed_keeps = feed_keeps
        self._lock = threading.RLock()
        self._known: dict[int, FakeDqopsJob] = {}
        self._keys: dict[str, int] = {}
        self._changes: deque[Change] = deque()
        self._due: list[tuple[float, int, FakeDqopsJob, str]] = []
        self._counter = itertools.count()

    def plan(self, job: FakeDqopsJob) -> None:
        """Note when a new job changes; asked again when it is cancelled, which changes the plan."""
        with self._lock:
            now, seen = job.clock(), job.created_at + self._appears_after
            for at, status in job.moves():
                if job.cancelled_at is None or status in ("cancel_requested", "cancelled"):
                    self._push(max(at, seen), job, status)
            self.advance(now)

    def find(self, name: str, now: float) -> FakeDqopsJob | None:
        """Look a job up by its key, then by its number, as the server does."""
        with self._lock:
            self.advance(now)
            number = int(name) if name.isascii() and name.isdecimal() and len(name) < 20 else -1
            return self._known.get(self._keys.get(name, number))

    def changes(self, after: int, now: float, data_domain: str) -> list[Change]:
        """List what changed since the sequence number `after`, oldest first."""
        with self._lock:
            self.advance(now)
            newer = itertools.takewhile(lambda change: change.sequence > after, reversed(self._changes))
            return [change for change in newer if change.job.data_domain == data_domain][::-1]

    def feed(self, after: int, now: float, data_domain: str) -> tuple[list[Change], int]:
        """Return the changes since `after`, and the number to go on from: nothing happens in between."""
        with self._lock:
            return self.changes(after, now, data_domain), self._ids.next(self._milliseconds(now))

    def next_sequence(self, now: float) -> int:
        """Return a number that is higher than those of all changes so far, lower than those of all to come."""
        with self._lock:
            self.advance(now)
            return self._ids.next(self._milliseconds(now))

    def forget_all(self) -> None:
        """End every job that has not ended: the process is gone."""
        with self._lock:
            for job in {id(job): job for job in [*self._known.values(), *(due[2] for due in self._due)]}.values():
                job.lost = job.lost or not job.done
            self._due.clear()

    def advance(self, now: float) -> None:
        """Let everything happen that is due by `now`."""
        with self._lock:
            while self._due and self._due[0][0] <= now:
                at, _, job, status = heapq.heappop(self._due)
                self._happen(at, job, status)
            while self._changes and self._changes[0].at < now - self._feed_keeps:
                self._changes.popleft()

    def _push(self, at: float, job: FakeDqopsJob, status: str) -> None:
        heapq.heappush(self._due, (at, next(self._counter), job, status))

    def _happen(self, at: float, job: FakeDqopsJob, status: str) -> None:
        if status == "expired":
            self._known.pop(job.job_id, None)
            self._keys.pop(job.key or "", None)  # also if the key leads to a younger job by now, as in DQOps
            return
        if status not in [move[1] for move in job.moves()]:  # a plan that a cancellation has overtaken
            return
        if status == "queued":
            self._known[job.job_id] = job
            if job.key:
                self._keys[job.key] = job.job_id
        if status in FINAL:
            self._push(at + self._keeps, job, "expired")
        self._changes.append(Change(at, self._ids.next(self._milliseconds(at)), job, status))


def entry(job: FakeDqopsJob, status: str, changed_at: float, milliseconds: Milliseconds) -> dict[str, Any]:
    """Render a job as the history shows it."""
    return {
        "jobId": job_name(job, milliseconds),
        "jobType": job.job_type,
        "parameters": job.parameters(status),
        "status": status,
        **({"errorMessage": job.error_message} if status == "failed" else {}),
        "statusChangedAt": iso(milliseconds(changed_at)),
        "dataDomain": job.data_domain,
    }


def job_name(job: FakeDqopsJob, milliseconds: Milliseconds) -> dict[str, Any]:
    """Render the id of a job."""
    return {
        "jobId": job.job_id,
        **({"jobBusinessKey": job.key} if job.key else {}),
        "createdAt": iso(milliseconds(job.created_at)),
    }


def render_change(change: Change, milliseconds: Milliseconds) -> dict[str, Any]:
    """Render a change as the feed shows it; only some changes carry the whole job."""
    job, status = change.job, change.status
    whole = status in ("queued", "failed") or (status == "finished" and job.job_type == "run_checks")
    return {
        "status": status,
        "jobId": job_name(job, milliseconds),
        "changeSequence": change.sequence,
        **({"updatedModel": entry(job, status, change.at, milliseconds)} if whole else {}),
        "statusChangedAt": iso(milliseconds(change.at)),
        "domainName": job.data_domain,
    }
