"""One wait in progress: following one job to its end.

A job is asked for from a ``Seat``: alone, or beside others who share one poll (``ork_provider.hub``). The loop is the
same: ask, and if the job has not ended, pause until the next ask is due or there is news.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol, TypeVar

from ork_provider.errors import NotFound, OrkError, TryAgain
from ork_provider.job import Job, JobState, JobStatus
from ork_provider.waiting.journal import Journal
from ork_provider.waiting.policy import Clock, Policy, SystemClock, Trouble

T = TypeVar("T")

Ask = Callable[[Job], Awaitable[JobStatus]]
"""Asks a service once how a job is."""

FIRST_ASK = 60.0
"""Seconds that the first ask may take, which is made even when the deadline has passed."""

LONGEST_ASK = 300.0
"""Seconds that no ask takes: reading a connection, fetching a token and two requests each have limits of their own."""


class DeadlinePassed(Exception):
    """A job did not end before the deadline."""


class TooLate(Exception):
    """A call took longer than it may."""


class Seat(Protocol):
    """The place from which one waiter asks for one job."""

    async def ask(self) -> JobStatus:
        """Say how the job is."""
        ...

    def pause(self, seconds: float, longest: float) -> Awaitable[object]:
        """Wait until the job is to be asked for again.

        :param seconds: after which it has to be asked for, if nobody tells of it
        :param longest: seconds after which the waiter has other things to do, if somebody does
        """
        ...

    def leave(self) -> None:
        """End; nothing is left behind."""
        ...


class Alone:
    """A seat whose waiter asks for the job itself, each time."""

    def __init__(self, job: Job, ask: Ask, clock: Clock) -> None:
        self._job = job
        self._ask = ask
        self._clock = clock

    async def ask(self) -> JobStatus:
        """See Seat."""
        return await self._ask(self._job)

    def pause(self, seconds: float, longest: float) -> Awaitable[object]:
        """See Seat."""
        return self._clock.sleep(seconds)

    def leave(self) -> None:
        """See Seat."""


async def cancel_tasks(*tasks: asyncio.Future[Any]) -> None:
    """Cancel tasks of the event loop and wait until they have ended."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def limited(call: Coroutine[Any, Any, T], seconds: float, clock: Clock) -> T:
    """Return what a call returns, or raise what it raises; TooLate if that takes longer."""
    calling = asyncio.ensure_future(call)
    alarm = asyncio.ensure_future(clock.sleep(max(0.0, seconds)))
    try:
        await asyncio.wait({calling, alarm}, return_when=asyncio.FIRST_COMPLETED)
        if calling.done():
            return calling.result()
        raise TooLate
    finally:
        await cancel_tasks(calling, alarm)


@dataclass(kw_only=True, slots=True)
class Watch:
    """One wait in progress: how to ask, how long, and what was heard last of each job.

    :param seat: where a job is asked for from; default: alone
    :param on_error: hears of each ask that was not answered, or not well
    """

    ask: Ask
    policy: Policy = field(default_factory=Policy)
    clock: Clock = field(default_factory=SystemClock)
    deadline: datetime | None = None
    journal: Journal | None = None
    on_answer: Callable[[Job, JobStatus], Awaitable[None]] | None = None
    seat: Callable[[Job], Seat] | None = None
    heard: dict[Job, JobStatus] = field(default_factory=dict)
    asks: int = 0
    on_error: Callable[[OrkError], None] | None = None
    started: float = field(init=False)

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
        seat = self.seat(job) if self.seat else Alone(job, self.ask, self.clock)
        trouble = Trouble(self.policy, self.clock)
        status: JobStatus | None = None
        first = True
        try:
            while True:
                self.asks += 1
                try:
                    status = await self._ask(seat, first=first)
                except TryAgain as exc:
                    self._tell_error(exc)
                    if self._is_lost(exc, trouble):
                        return JobStatus(state=JobState.LOST, message=str(exc))
                    pause = trouble.pause(exc)
                    if self.journal:
                        self.journal.trouble(job, exc, trouble)
                except OrkError as exc:
                    self._tell_error(exc)
                    raise
                else:
                    await self._hear(job, status, trouble)
                    if status.state.final:
                        return status
                    pause = self.policy.pause()
                first = False
                if self.left <= 0:
                    raise DeadlinePassed
                await seat.pause(min(pause, self.left), self._spare(status))
                if self.left <= 0:
                    raise DeadlinePassed
        finally:
            seat.leave()

    def _spare(self, status: JobStatus | None) -> float:
        """Return the seconds in which there is nothing to do but to wait for news: until the next line of the log."""
        if self.journal is None:
            return self.left
        progress = self.journal.PROGRESS if status and status.message else float("inf")
        return min(self.left, self.journal.silence, progress)

    async def _ask(self, seat: Seat, *, first: bool) -> JobStatus:
        """Ask once; an answer that would come after the deadline is not waited for, a first one not for long."""
        limit = max(self.left, FIRST_ASK) if first else self.left
        if limit > LONGEST_ASK:
            return await seat.ask()
        try:
            return await limited(seat.ask(), limit, self.clock)
        except TooLate:
            raise DeadlinePassed from None

    def _tell_error(self, exc: OrkError) -> None:
        if self.on_error:
            self.on_error(exc)

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
