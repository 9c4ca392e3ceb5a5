"""Ends jobs that are not wanted any more, side by side, and looks how they end: in triggers and in workers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from ork_provider.errors import NotFound, OrkError, TryAgain
from ork_provider.job import Job, JobState, JobStatus, cancel_by_hand
from ork_provider.service import Services
from ork_provider.waiting import (
    FAILED,
    STOPPED,
    SUCCESS,
    Clock,
    Outcome,
    Policy,
    TooLate,
    Until,
    keep_trying,
    limited,
    needed,
)
from ork_provider.waiting.journal import after_colon

T = TypeVar("T")

CANCEL_BUDGET = 27.0
"""Seconds for the cancels of one wait, made side by side."""

ANSWER = 9.0
"""Seconds for the answer to one question or cancel; a connection that hangs must leave time for another one."""

SEE_END = 10.0
"""Seconds for which cancelled jobs are watched, so that the result says how they ended."""


Watched = list[tuple[Job, JobStatus]]
"""Jobs, each with what was heard of it last."""

SETTLE = 30.0
"""Seconds within which a cancelled job must be seen to have ended."""

LAST_LOOK = 5.0
"""Seconds for a look at a job that could not be cancelled."""

_UNKNOWN = JobStatus(state=JobState.RUNNING)
"""What is known of a job that cannot be asked."""


@dataclass(kw_only=True)
class Ender:
    """Sees to the end of jobs: looks how they are, cancels them, and waits until that is seen."""

    services: Services
    clock: Clock
    log: logging.Logger | Any
    error_budget: float

    async def look_at_all(self, jobs: Sequence[tuple[Job, JobStatus]], seconds: float | None = None) -> Watched:
        """Return how jobs are now; of one that cannot be asked, what was heard last."""
        seen = await asyncio.gather(*(self._look(job, status, seconds) for job, status in jobs))
        return [(job, status) for (job, _), status in zip(jobs, seen, strict=True)]

    async def _look(self, job: Job, status: JobStatus, seconds: float | None = None) -> JobStatus:
        if status.state.final:
            return status
        try:
            return await self.ask(job, seconds or SETTLE) or status
        except OrkError as exc:
            self.log.warning("%s: %s", job, exc)
            return status

    async def stop_all(self, jobs: Sequence[tuple[Job, JobStatus]]) -> tuple[Watched, list[str]]:
        """Stop what still runs, side by side; return what became of each, and a sentence on each that ran."""
        running = [job for job, status in jobs if not status.state.final]
        ends = dict(zip(running, await asyncio.gather(*map(self.stop, running)), strict=True))
        became = {job: status for job, (status, _) in ends.items() if status is not _UNKNOWN}
        return [(job, became.get(job, status)) for job, status in jobs], [ends[job][1] for job in running]

    async def stop(self, job: Job) -> tuple[JobStatus, str]:
        """Cancel a job and wait until it is seen to have ended; return how it is then, and a sentence on it."""
        try:
            await self._keep_trying(lambda: self.services.cancel(job), f"Cancelling {job}", SETTLE)
        except OrkError as exc:
            status = await self._look(job, _UNKNOWN, LAST_LOOK)  # it may have ended by itself
            if status.state.final:
                return status, said_of_cancel(job, status)
            problem = cancel_by_hand(job, exc)
            self.log.error("%s", problem)
            return status, problem
        try:
            status = await self.settle(job, SETTLE) or _UNKNOWN
        except OrkError as exc:
            self.log.warning("%s was asked to stop, but cannot be seen to end: %s", job, exc)
            status = _UNKNOWN
        return status, said_of_cancel(job, None if status is _UNKNOWN else status)

    async def stop_late(self, outcome: Outcome, until: Until) -> Outcome:
        """Stop what a wait leaves running whose deadline has passed, unless enough have succeeded by now."""
        jobs = await self.look_at_all(outcome.jobs, LAST_LOOK)
        verdict = outcome.verdict
        if not is_enough(jobs, until) and not all(status.state.final for _, status in jobs):
            self.log.info("Cancelling what the deadline found running")
            jobs, _ = await self.stop_all(jobs)
            verdict = STOPPED
        return replace(outcome, verdict=verdict, jobs=tuple(jobs))

    async def settle(self, job: Job, seconds: float) -> JobStatus | None:
        """Ask every second until the job has ended, for so many seconds; return what was heard last."""
        until = self.clock.monotonic() + seconds
        while True:
            status = await self.ask(job, seconds + 1)
            if status is None or status.state.final or self.clock.monotonic() >= until:
                return status
            await self.clock.sleep(1.0)

    async def ask(self, job: Job, budget: float | None = None) -> JobStatus | None:
        """Ask how a job is, forgiving what may pass; None if the service does not know it."""
        try:
            return await self._keep_trying(lambda: self.services.check(job), f"Asking for {job}", budget)
        except NotFound:
            return None

    async def _keep_trying(self, call: Callable[[], Coroutine[Any, Any, T]], what: str, budget: float | None) -> T:
        """Try for so many seconds; with a budget a call that hangs is not waited for any longer either."""
        seconds = min(budget or self.error_budget, self.error_budget)
        said: list[TryAgain] = []

        async def noted() -> T:
            try:
                return await _answered(call, self.clock)
            except TryAgain as exc:
                said.append(exc)
                raise

        trying = keep_trying(noted, policy=Policy(error_budget=seconds), clock=self.clock, log=self.log, what=what)
        if budget is None:
            return await trying
        try:
            return await limited(trying, seconds, self.clock)
        except TooLate:
            raise said[-1] if said else TryAgain(f"the service did not answer within {seconds:g} s") from None


async def _answered(call: Callable[[], Coroutine[Any, Any, T]], clock: Clock) -> T:
    """Return what a call returns; TryAgain if the service does not answer in time."""
    try:
        return await limited(call(), ANSWER, clock)
    except TooLate:
        raise TryAgain(f"the service did not answer within {ANSWER:g} s") from None


def is_enough(jobs: Sequence[tuple[Job, JobStatus]], until: Until) -> bool:
    """Whether as many jobs have succeeded as are waited for."""
    good = sum(status.state is JobState.SUCCEEDED for _, status in jobs)
    return bool(jobs) and good >= needed(until, len(jobs))


def said_of_cancel(job: Job, status: JobStatus | None) -> str:
    """Say what became of a job that was asked to stop."""
    if status is None:
        return f"{job} could not be seen to end; see {job.link or 'the service'}."
    if status.state is JobState.CANCELLED:
        return f"{job} was cancelled, and the service confirms it."
    if status.state.final:
        return f"{job} had ended by then: {status.state.value}{after_colon(status.message)}."
    return f"{job} was asked to stop but still runs; see {job.link or 'the service'}."


async def cancel_all(
    jobs: Sequence[Job], services: Services, *, clock: Clock, log: logging.Logger | Any, budget: float = CANCEL_BUDGET
) -> list[str]:
    """Cancel jobs side by side; return for each what stood in the way, and say in the log what to do by hand."""
    return list(await asyncio.gather(*(_cancel_one(job, services, clock, log, budget) for job in jobs)))


async def _cancel_one(job: Job, services: Services, clock: Clock, log: logging.Logger | Any, budget: float) -> str:
    try:
        known = await keep_trying(
            lambda: _answered(lambda: services.cancel(job), clock),
            policy=Policy(error_budget=budget - 3, backoff_cap=3),
            clock=clock,
            log=log,
            what=f"Cancelling {job}",
        )
    except Exception as exc:  # one job's trouble, even a bug, must not leave the others running
        problem = cancel_by_hand(job, exc if isinstance(exc, OrkError) else repr(exc))
        log.error("%s", problem)
        return problem
    log.info("Cancelled %s" if known else "%s is gone already; nothing to cancel", job)
    return ""


async def end_rest(outcome: Outcome, services: Services, *, clock: Clock, log: logging.Logger | Any) -> Outcome:
    """Cancel what a wait that has its answer leaves running; return the outcome with how those jobs ended."""
    rest = [job for job, status in outcome.jobs if not status.state.final]
    if not rest or outcome.verdict not in (SUCCESS, FAILED):
        return outcome
    log.info("Cancelling %d jobs that are not needed any more", len(rest))
    problems = await cancel_all(rest, services, clock=clock, log=log)
    ends = await asyncio.gather(
        *(_see_end(job, problem, services, clock) for job, problem in zip(rest, problems, strict=True))
    )
    became = dict(zip(rest, ends, strict=True))
    return replace(outcome, jobs=tuple((job, became.get(job, status)) for job, status in outcome.jobs))


async def _see_end(job: Job, problem: str, services: Services, clock: Clock) -> JobStatus:
    if problem:
        return JobStatus(state=JobState.RUNNING, message=problem)
    until = clock.monotonic() + SEE_END
    seen = JobStatus(state=JobState.RUNNING, message="asked to stop, and not seen to end yet")
    while clock.monotonic() < until:
        try:
            status = await services.check(job)
        except TryAgain:  # one bad answer does not make it a running job
            pass
        except OrkError:
            return seen
        else:
            if status.state.final:
                return status
        await clock.sleep(1.0)
    return seen
