"""The one waiting loop, for every service: when to ask again, what to forgive, when to give up.

No Airflow here: the way to ask, the clock and the logger are passed in. What is forgiven and for how long is
``Policy``; ``follow`` watches one job to its end; ``wait`` watches several and says when enough of them have
ended; ``keep_trying`` forgives the same errors around a single call such as a submit or a cancel.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any, Protocol, TypeVar

from ork_provider.errors import InvalidJob, NotFound, OrkError, TryAgain
from ork_provider.job import Job, JobState, JobStatus, describe, describe_job

T = TypeVar("T")
Ask = Callable[[Job], Awaitable[JobStatus]]
"""Asks a service once how a job is."""

Until = str | int
"""``"all"``, ``"any"`` or the number of jobs that must succeed."""

FIRST_ASK = 60.0
"""Seconds that the first ask may take, which is made even when the deadline has passed."""

LONGEST_ASK = 300.0
"""Seconds that no ask takes: reading a connection, fetching a token and two requests each have limits of their own."""

UNWATCHED = "could not be watched any longer"

SUCCESS, FAILED, TIMEOUT, ERROR = "success", "failed", "timeout", "error"


class DeadlinePassed(Exception):
    """A job did not end before the deadline."""


class Clock(Protocol):
    """Time, passed in so that tests take none."""

    def now(self) -> datetime:
        """Return the date and time in UTC."""
        ...

    def monotonic(self) -> float:
        """Return seconds that only ever grow."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


class SystemClock:
    """The real time."""

    def now(self) -> datetime:
        """See Clock."""
        return datetime.now(timezone.utc)

    def monotonic(self) -> float:
        """See Clock."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """See Clock."""
        await asyncio.sleep(seconds)


@dataclass(frozen=True, kw_only=True)
class Policy:
    """How a wait asks and what it forgives; all times in seconds.

    :param poll_interval: between two asks of one job
    :param error_budget: how long errors that may pass are forgiven without one good answer in between
    :param jitter: share of the interval by which each pause differs, so that waiters do not march in step
    :param backoff_base: the first pause after an error is random between 0 and this; it doubles each time
    :param backoff_cap: and grows no larger than this
    :param not_found_grace: how long after the start a 404 is forgiven: services forget that a job is new
    """

    poll_interval: float = 10.0
    error_budget: float = 600.0
    jitter: float = 0.1
    backoff_base: float = 1.0
    backoff_cap: float = 60.0
    not_found_grace: float = 60.0

    def pause(self) -> float:
        """Return seconds until the next ask after a good answer."""
        return self.poll_interval * random.uniform(1 - self.jitter, 1 + self.jitter)

    def backoff(self, failures: int) -> float:
        """Return seconds until the next ask after ``failures`` bad answers in a row: full jitter."""
        limit = min(self.backoff_cap, self.backoff_base * 2.0 ** min(failures - 1, 30))
        return max(0.05, random.uniform(0, limit))


class Trouble:
    """Bad answers in a row: how long they have lasted, and whether they are still forgiven."""

    def __init__(self, policy: Policy, clock: Clock) -> None:
        self.policy = policy
        self.clock = clock
        self.failures = 0
        self.misses = 0
        self._since = 0.0

    def pause(self, exc: TryAgain) -> float:
        """Return seconds to wait before asking again; raise ``exc`` when the budget is spent."""
        now = self.clock.monotonic()
        if not self.failures:
            self._since = now
        self.failures += 1
        self.misses = self.misses + 1 if isinstance(exc, NotFound) else 0
        if now - self._since >= self.policy.error_budget:
            raise exc
        if exc.retry_after is not None:
            return max(0.05, exc.retry_after)
        return self.policy.backoff(self.failures)

    @property
    def left(self) -> float:
        """Seconds of the budget that are left."""
        return self.policy.error_budget - (self.clock.monotonic() - self._since)

    def over(self) -> None:
        """Forget it all after a good answer."""
        self.failures = self.misses = 0


async def keep_trying(
    call: Callable[[], Awaitable[T]], *, policy: Policy, clock: Clock, log: logging.Logger | Any, what: str
) -> T:
    """Return what ``call`` returns, calling again after errors that may pass; a 404 is final here."""
    trouble = Trouble(policy, clock)
    while True:
        try:
            return await call()
        except NotFound:
            raise
        except TryAgain as exc:
            pause = trouble.pause(exc)
            if pause > trouble.left:  # it would come too late
                raise
            log.warning("%s: %s; trying again in %.1f s", what, exc, pause)
        await clock.sleep(pause)


class Journal:
    """What a wait says in the task's log: its start, each change of state, trouble, a sparse sign of life."""

    HEARTBEATS = (60.0, 120.0, 300.0, 600.0)
    """Seconds between signs of life; the last one repeats."""

    PROGRESS = 30.0
    """Least seconds between two lines about the progress of one job."""

    def __init__(self, log: logging.Logger | Any, clock: Clock) -> None:
        self.log = log
        self.clock = clock
        self.started = clock.monotonic()
        self._beats = 0
        self._said_at = self.started
        self._last: dict[Job, tuple[str, str, float]] = {}

    def start(self, jobs: Sequence[Job], policy: Policy, deadline: datetime | None) -> None:
        """Say what is waited for."""
        named = str(jobs[0]) if len(jobs) == 1 else f"{len(jobs)} jobs, the first: {jobs[0]}"
        until = f", at the latest until {deadline:%Y-%m-%d %H:%M:%S} UTC" if deadline else ""
        self.log.info("Waiting for %s, asking every %g s%s", named, policy.poll_interval, until)

    def answered(self, job: Job, status: JobStatus) -> None:
        """Say so if the job's state or, less often, its progress is a new one, or if nothing was said for long."""
        word, now = status.remote_state or status.state.value, self.clock.monotonic()
        elapsed = now - self.started
        last_word, last_message, said_at = self._last.get(job, ("", "", now))
        moved = status.message != last_message and now - said_at >= self.PROGRESS
        if word != last_word or moved:
            self._last[job] = (word, status.message, now)
            self._say("%s is %s after %.0f s%s", job, word, elapsed, _after_colon(status.message))
        elif self.clock.monotonic() - self._said_at >= self.HEARTBEATS[self._beats]:
            self._beats = min(self._beats + 1, len(self.HEARTBEATS) - 1)
            self._say("%s is still %s after %.0f s", job, word, elapsed)

    def trouble(self, job: Job, exc: TryAgain, trouble: Trouble) -> None:
        """Say once per streak that asking fails."""
        if trouble.failures == 1:
            self.log.warning(
                "%s: asking failed (%s); trying again for up to %g s", job, exc, trouble.policy.error_budget
            )

    def recovered(self, job: Job, trouble: Trouble) -> None:
        """Say that asking works again."""
        if trouble.failures > 1:
            self.log.info("%s: asking works again after %d failures", job, trouble.failures)

    def _say(self, message: str, *args: object) -> None:
        self._said_at = self.clock.monotonic()
        self.log.info(message, *args)


def _after_colon(text: str) -> str:
    return f": {text}" if text else ""


@dataclass(kw_only=True)
class Watch:
    """One wait in progress: how to ask, how long, and what was heard last of each job."""

    ask: Ask
    policy: Policy = field(default_factory=Policy)
    clock: Clock = field(default_factory=SystemClock)
    deadline: datetime | None = None
    journal: Journal | None = None
    on_answer: Callable[[Job, JobStatus], Awaitable[None]] | None = None
    heard: dict[Job, JobStatus] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.started = self.clock.monotonic()

    @property
    def left(self) -> float:
        """Seconds until the deadline; infinite without one."""
        if self.deadline is None:
            return float("inf")
        return (self.deadline - self.clock.now()).total_seconds()

    async def follow(self, job: Job) -> JobStatus:
        """Ask until the job has ended; the first ask is made even when the deadline has passed.

        :raises OrkError: asking cannot help, or the error budget is spent
        :raises DeadlinePassed: it did not end in time
        """
        trouble = Trouble(self.policy, self.clock)
        first = True
        while True:
            try:
                status = await self._ask(job, first=first)
            except TryAgain as exc:
                if self._is_lost(exc, trouble):
                    return JobStatus(state=JobState.LOST, message=str(exc))
                pause = trouble.pause(exc)
                if self.journal:
                    self.journal.trouble(job, exc, trouble)
            else:
                await self._hear(job, status, trouble)
                if status.state.final:
                    return status
                pause = self.policy.pause()
            first = False
            if self.left <= 0:
                raise DeadlinePassed
            await self.clock.sleep(min(pause, self.left))
            if self.left <= 0:
                raise DeadlinePassed

    async def _ask(self, job: Job, *, first: bool) -> JobStatus:
        """Ask once; an answer that would come after the deadline is not waited for, a first one not for long."""
        limit = max(self.left, FIRST_ASK) if first else self.left
        if limit > LONGEST_ASK:
            return await self.ask(job)
        asking = asyncio.ensure_future(self.ask(job))
        alarm = asyncio.ensure_future(self.clock.sleep(max(0.0, limit)))
        try:
            await asyncio.wait({asking, alarm}, return_when=asyncio.FIRST_COMPLETED)
            if asking.done():
                return asking.result()
            raise DeadlinePassed
        finally:
            await _cancel(asking, alarm)

    async def _hear(self, job: Job, status: JobStatus, trouble: Trouble) -> None:
        if self.journal:
            self.journal.recovered(job, trouble)
            self.journal.answered(job, status)
        trouble.over()
        self.heard[job] = status
        if self.on_answer:
            await self.on_answer(job, status)

    def _is_lost(self, exc: TryAgain, trouble: Trouble) -> bool:
        """Whether a 404 is final: not the first in a row, and not while the job may be too new to be seen."""
        waited = self.clock.monotonic() - self.started
        return isinstance(exc, NotFound) and trouble.misses >= 1 and waited >= self.policy.not_found_grace


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a wait ended.

    :param verdict: ``success``, ``failed``, ``timeout`` or ``error`` (could not be watched)
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


async def wait(jobs: Sequence[Job], watch: Watch, *, until: Until = "all", fail_fast: bool = False) -> Outcome:
    """Follow all jobs at once until enough have succeeded, or all have ended.

    ``fail_fast`` ends at the first job that did not succeed; otherwise every job is followed to its end,
    unless enough have succeeded before. One job that cannot be asked never holds up another.
    """
    need = needed(until, len(jobs))
    if watch.journal:
        watch.journal.start(jobs, watch.policy, watch.deadline)
    ended: dict[int, JobStatus | Exception] = {}
    async with _following(jobs, watch) as running:
        while running:
            done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                ended[running.pop(task)] = _result(task)
            if _enough(ended.values(), need, fail_fast):
                break
    return _sum_up(jobs, watch, ended, need)


def _result(task: asyncio.Task[JobStatus]) -> JobStatus | Exception:
    """Return how following a job ended; what we did not raise on purpose is a bug, and ends the wait at once."""
    try:
        return task.result()
    except (OrkError, DeadlinePassed) as exc:
        return exc


@asynccontextmanager
async def _following(jobs: Sequence[Job], watch: Watch) -> AsyncIterator[dict[asyncio.Task[JobStatus], int]]:
    """Start following each job; stop following what is left at the end."""
    running = {asyncio.create_task(watch.follow(job)): i for i, job in enumerate(jobs)}
    try:
        yield running
    finally:
        await _cancel(*running)


async def _cancel(*tasks: asyncio.Future[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _good(result: JobStatus | Exception) -> bool:
    return isinstance(result, JobStatus) and result.state is JobState.SUCCEEDED


def _enough(results: Any, need: int, fail_fast: bool) -> bool:
    good = sum(map(_good, results))
    return good >= need or (fail_fast and good < len(results)) or any(_late(r) for r in results)


def _late(result: object) -> bool:
    return isinstance(result, DeadlinePassed)


def _sum_up(jobs: Sequence[Job], watch: Watch, ended: dict[int, JobStatus | Exception], need: int) -> Outcome:
    statuses = [_last_word(job, watch, ended.get(i)) for i, job in enumerate(jobs)]
    errors = [r for r in ended.values() if isinstance(r, OrkError)]
    if sum(map(_good, ended.values())) >= need:
        verdict = SUCCESS
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
        f"{job} {_VERBS[status.state]}{_after_colon(status.message)}" + (f" ({job.link})" if job.link else "")
        for job, status in some[:5]
    ]
    rest = f"; and {len(some) - 5} more" if len(some) > 5 else ""
    return "; ".join(said) + rest


_VERBS = {
    JobState.RUNNING: "was still running",
    JobState.SUCCEEDED: "succeeded",
    JobState.FAILED: "failed",
    JobState.CANCELLED: "was cancelled",
    JobState.LOST: "is no longer known to its service",
}
