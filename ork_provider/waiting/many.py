"""Several jobs at once: when enough of them have ended, and what to say of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from ork_provider.errors import InvalidJob, OrkError
from ork_provider.job import Job, JobState, JobStatus, describe, describe_job
from ork_provider.waiting.journal import after_colon
from ork_provider.waiting.watch import DeadlinePassed, Watch, cancel_tasks

Until = str | int
"""``"all"``, ``"any"`` or the number of jobs that must succeed."""

UNWATCHED = "could not be watched any longer"

SUCCESS, FAILED, TIMEOUT, ERROR = "success", "failed", "timeout", "error"

STOPPED = "stopped"
"""The deadline has passed, and what still ran was told to stop."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a wait ended.

    :param verdict: ``success``, ``failed``, ``timeout``, ``stopped`` or ``error`` (could not be watched)
    :param message: one sentence for the log and the exception
    :param jobs: each job with the last that was heard of it
    """

    verdict: str
    message: str
    jobs: tuple[tuple[Job, JobStatus], ...]

    def to_event(self) -> dict[str, Any]:
        """Return the trigger's event: small, plain JSON."""
        listed = [describe_job(job, status, sealed=True) for job, status in self.jobs]
        return {"status": self.verdict, "message": self.message, "jobs": listed}


def needed(until: object, total: int) -> int:
    """Return how many of ``total`` jobs must succeed; raise InvalidJob for an ``until`` without meaning."""
    if until == "all":
        return total
    if until == "any":
        return 1
    if isinstance(until, int) and not isinstance(until, bool) and 1 <= until <= total:
        return until
    valid = f'"all", "any" or a number from 1 to {total} (the number of jobs)'
    raise InvalidJob(f"until: expected {valid}, got {describe(until)}.")


async def wait(jobs: Sequence[Job], watch: Watch, *, until: Until = "all", fail_fast: int = False) -> Outcome:
    """Follow all jobs at once until enough have succeeded, or all have ended.

    ``fail_fast`` ends at the first job that did not succeed, or, as a number, when so many did not; otherwise every
    job is followed to its end, unless enough have succeeded before. One job that cannot be asked never holds up
    another.
    """
    need = needed(until, len(jobs))
    if watch.journal:
        watch.journal.start(jobs, watch.policy, watch.deadline)
    if len(jobs) == 1:  # as nearly all tasks have: without a task of the event loop beside the waiter's own
        return _sum_up(jobs, watch, {0: await _follow(jobs[0], watch)}, need)
    ended: dict[int, JobStatus | Exception] = {}
    async with _following(jobs, watch) as running:
        while running:
            done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                ended[running.pop(task)] = task.result()
            if _enough(ended.values(), need, fail_fast):
                break
    return _sum_up(jobs, watch, ended, need, fail_fast=fail_fast)


async def _follow(job: Job, watch: Watch) -> JobStatus | Exception:
    """Return how following a job ended; what we did not raise on purpose is a bug, and ends the wait at once."""
    try:
        return await watch.follow(job)
    except (OrkError, DeadlinePassed) as exc:
        return exc


@asynccontextmanager
async def _following(
    jobs: Sequence[Job], watch: Watch
) -> AsyncIterator[dict[asyncio.Task[JobStatus | Exception], int]]:
    """Start following each job; stop following what is left at the end."""
    running = {asyncio.create_task(_follow(job, watch)): i for i, job in enumerate(jobs)}
    try:
        yield running
    finally:
        await cancel_tasks(*running)


def _good(result: JobStatus | Exception) -> bool:
    return isinstance(result, JobStatus) and result.state is JobState.SUCCEEDED


def _enough(results: Any, need: int, fail_fast: int) -> bool:
    good = sum(map(_good, results))
    return good >= need or 0 < fail_fast <= len(results) - good or any(_late(r) for r in results)


def _late(result: object) -> bool:
    return isinstance(result, DeadlinePassed)


def _sum_up(
    jobs: Sequence[Job],
    watch: Watch,
    ended: dict[int, JobStatus | Exception],
    need: int,
    *,
    fail_fast: int = False,
) -> Outcome:
    statuses = [_last_word(job, watch, ended.get(i)) for i, job in enumerate(jobs)]
    errors = [r for r in ended.values() if isinstance(r, OrkError)]
    if sum(map(_good, ended.values())) >= need:
        verdict = SUCCESS
    elif 0 < fail_fast <= sum(isinstance(result, JobStatus) and not _good(result) for result in ended.values()):
        verdict = FAILED  # and not too late, though another one is
    elif any(map(_late, ended.values())):
        verdict = TIMEOUT
    else:
        verdict = ERROR if errors else FAILED
    listed = tuple(zip(jobs, statuses, strict=True))
    return Outcome(verdict=verdict, message=_sentence(verdict, listed, watch), jobs=listed)


def _last_word(job: Job, watch: Watch, result: JobStatus | Exception | None) -> JobStatus:
    if isinstance(result, JobStatus):
        return result
    heard = watch.heard.get(job, JobStatus(state=JobState.RUNNING))
    if isinstance(result, OrkError):
        return JobStatus(
            state=JobState.RUNNING,
            remote_state=heard.remote_state,
            message=f"{UNWATCHED}: {result}",
            stats=heard.stats,
        )
    return heard


def _sentence(verdict: str, listed: Sequence[tuple[Job, JobStatus]], watch: Watch) -> str:
    waited = timedelta(seconds=round(watch.clock.monotonic() - watch.started))
    if verdict == TIMEOUT:
        unfinished = [(job, status) for job, status in listed if not status.state.final]
        return f"The deadline {watch.deadline:%Y-%m-%d %H:%M:%S} UTC passed while {_list(unfinished)}."
    if verdict == SUCCESS:
        return f"{_count(listed, JobState.SUCCEEDED)} succeeded after {waited}."
    bad = [(job, status) for job, status in listed if status.state is not JobState.SUCCEEDED]
    bad.sort(key=lambda one: not (one[1].state.final or one[1].message.startswith(UNWATCHED)))  # the cause comes first
    return f"{_list(bad)}."


def _count(listed: Sequence[tuple[Job, JobStatus]], state: JobState) -> str:
    if len(listed) == 1:
        return str(listed[0][0])
    return f"{sum(status.state is state for _, status in listed)} of {len(listed)} jobs"


def _list(some: Sequence[tuple[Job, JobStatus]]) -> str:
    """Name the first few jobs and what they came to."""
    said = [
        f"{job} {_VERBS.get(status.state, job.lost_words)}{after_colon(status.message)}"
        + (f" ({job.link})" if job.link else "")
        for job, status in some[:5]
    ]
    rest = f"; and {len(some) - 5} more" if len(some) > 5 else ""
    return "; ".join(said) + rest


_VERBS = {
    JobState.RUNNING: "was still running",
    JobState.SUCCEEDED: "succeeded",
    JobState.FAILED: "failed",
    JobState.CANCELLED: "was cancelled",
}
