"""Ends jobs that are not wanted any more, side by side, and looks how they end: in triggers and in workers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ork_provider.errors import OrkError
from ork_provider.job import Job, JobState, JobStatus, cancel_by_hand
from ork_provider.service import Services
from ork_provider.waiting import FAILED, SUCCESS, Clock, Outcome, Policy, keep_trying

CANCEL_BUDGET = 27.0
"""Seconds for the cancels of one wait, made side by side."""

SEE_END = 10.0
"""Seconds for which cancelled jobs are watched, so that the result says how they ended."""


async def cancel_all(
    jobs: Sequence[Job], services: Services, *, clock: Clock, log: logging.Logger | Any, budget: float = CANCEL_BUDGET
) -> list[str]:
    """Cancel jobs side by side; return for each what stood in the way, and say in the log what to do by hand."""
    return list(await asyncio.gather(*(_cancel_one(job, services, clock, log, budget) for job in jobs)))


async def _cancel_one(job: Job, services: Services, clock: Clock, log: logging.Logger | Any, budget: float) -> str:
    try:
        known = await keep_trying(
            lambda: services.cancel(job),
            policy=Policy(error_budget=budget - 3, backoff_cap=3),
            clock=clock,
            log=log,
            what=f"Cancelling {job}",
        )
    except OrkError as exc:
        problem = cancel_by_hand(job, exc)
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
        except OrkError:
            return seen
        if status.state.final:
            return status
        await clock.sleep(1.0)
    return seen
