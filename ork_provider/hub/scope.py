"""A scope: the jobs that one shared poll can tell of, those who wait for them, and the task that polls."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ork_provider import metrics
from ork_provider.errors import BadRequest, NoConnection, OrkError, Throttled, TryAgain, Unauthorized
from ork_provider.hub.bell import Bell
from ork_provider.waiting import Policy, Trouble

if TYPE_CHECKING:
    from ork_provider.hub import Hub
    from ork_provider.hub.seat import Seat
    from ork_provider.job import JobStatus
    from ork_provider.service import Shared
    from ork_provider.waiting import Clock

log = logging.getLogger(__name__)

ASKS_PER_SECOND = 100.0
"""How many jobs are asked for when all are."""

PASSING = (TryAgain, NoConnection, Unauthorized)
"""Trouble of a shared poll that may pass; credentials that are wrong are said by each job's own ask."""


@dataclass(frozen=True, kw_only=True)
class Rules:
    """The times of all shared polls, in seconds.

    :param interval: between two lists of a scope
    :param first_word: how long a waiter waits at most for the first list before it asks for its job itself
    :param patience: how long a poll may fail before the jobs are asked for one by one
    :param throttled_patience: the same when the service says that it is asked too often: more asks do not help then
    :param refused_for: how long a poll that the service does not allow is not tried again
    :param look_limit: how long one list may take, all pages together
    :param sentinel: between two asks for one of the jobs of a feed
    """

    clock: Clock
    interval: float = 2.0
    first_word: float = 15.0
    patience: float = 10.0
    throttled_patience: float = 60.0
    refused_for: float = 600.0
    look_limit: float = 20.0
    sentinel: float = 60.0


class Scope(ABC):
    """Those who wait in one scope, by the name of their job; joining and leaving cost the same however many they are.

    Its task belongs to nobody who waits: none of them can cancel it for the others. It runs in an empty context,
    so that what it logs does not go to the log of the task that happened to come first.
    """

    def __init__(self, hub: Hub, shared: Shared) -> None:
        self.hub = hub
        self.shared = shared
        self.rules = hub.rules
        self.clock = hub.rules.clock
        self.seats: dict[Hashable, set[Seat]] = {}
        self.size = 0
        self.newcomer = Bell(self.clock)
        self._intervals: dict[float, int] = {}
        self._trouble = Trouble(Policy(error_budget=float("inf"), backoff_cap=20.0), self.clock)
        self._trouble_since = 0.0
        self._pause_until = 0.0
        self._task: asyncio.Task[None] | None = None
        self._said = False
        self.refused = False
        self.kind = ""

    @abstractmethod
    async def run(self) -> None:
        """Poll until cancelled."""

    @property
    def wanted(self) -> bool:
        """Whether enough wait for a shared poll to pay."""
        return self.size > 0

    @property
    def running(self) -> bool:
        """Whether the shared poll is going on."""
        return self._task is not None

    @property
    def goes_on(self) -> bool:
        """Whether the task that runs is still the scope's own."""
        return self._task is asyncio.current_task()

    @property
    def failing(self) -> bool:
        """Whether the last poll has failed."""
        return self._trouble.failures > 0

    @property
    def interval(self) -> float:
        """Seconds between two polls: the rule's, or the shortest that a waiter has asked for."""
        return min((self.rules.interval, *self._intervals))

    @property
    def soon(self) -> float:
        """Seconds within which all who have heard nothing yet ask for their jobs: for a few that is at once."""
        return min(self.interval, self.size / ASKS_PER_SECOND)

    def each(self) -> Iterator[Seat]:
        """Go through all seats."""
        for seats in self.seats.values():
            yield from seats

    # -- seats ---------------------------------------------------------------------------------------------

    def join(self, seat: Seat) -> None:
        """Take a waiter in."""
        seat.since, seat.unsettled = 0, False  # what another scope has left
        self.seats.setdefault(seat.name, set()).add(seat)
        self.kind = seat.job.kind
        self.size += 1
        self._intervals[seat.poll_interval] = self._intervals.get(seat.poll_interval, 0) + 1
        if not self.running and self.wanted and not self.refused:
            self._task = contextvars.Context().run(asyncio.create_task, self._run())
            self._task.add_done_callback(self._ended)
        if self.running:
            self.welcome(seat)

    @abstractmethod
    def welcome(self, seat: Seat) -> None:
        """Take in one who has come while the poll is going on."""

    def leave(self, seat: Seat) -> None:
        """Let a waiter go; the last one closes the scope."""
        there = self.seats[seat.name]
        there.discard(seat)
        if not there:
            del self.seats[seat.name]
        self.size -= 1
        self._intervals[seat.poll_interval] -= 1
        if not self._intervals[seat.poll_interval]:
            del self._intervals[seat.poll_interval]
        if not self.wanted:
            self.stop()
        if not self.size:
            self.hub.close(self)

    def stop(self) -> None:
        """Stop polling; those who are left ask for their jobs themselves."""
        if self._task is not None:
            self._task.cancel()
            self._task = None
            if self.failing:  # the next one who comes leaves the service alone for as long
                self.hub.refuse(self.shared.key, self._pause_until - self.clock.monotonic())
            self.ask_one_by_one()

    @abstractmethod
    def answered(self, seat: Seat, status: JobStatus) -> None:
        """Hear what a waiter was told of its job itself."""

    @abstractmethod
    def missed(self, seat: Seat) -> None:
        """Hear that the service does not know the job of a waiter."""

    def read(self, raw: Any) -> JobStatus | None:
        """Read what is said of one job; None if it must be asked for: one odd entry is its own job's trouble only."""
        try:
            return self.shared.read(raw)
        except Exception as exc:
            log.debug("%s: %r cannot be read: %r", self.shared, raw, exc)
            return None

    # -- trouble -------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        try:
            await self.run()
        except BadRequest as exc:
            metrics.failed_shared(self.kind, exc)
            level = logging.DEBUG if self.hub.has_said(self.shared.key) else logging.WARNING
            log.log(level, "%s is refused (%s); each job is asked for by itself", self.shared, exc)
        except Exception as exc:  # a bug of ours costs the sharing, not the jobs
            metrics.failed_shared(self.kind, exc)
            log.exception("%s failed; each job is asked for by itself", self.shared)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Let nobody wait for a poll that has ended, however it has, unless it was stopped on purpose."""
        if self._task is not task:
            return
        self.refused = True
        self._task = None
        self.hub.refuse(self.shared.key, self.rules.refused_for)
        self.hub.close(self)
        self.ask_one_by_one()

    async def sit_out(self, exc: OrkError, *, since: float) -> None:
        """Wait after a poll that has failed; when that takes too long the jobs are asked for one by one meanwhile.

        :param since: when the trouble began, if this is its beginning
        """
        if not self.failing:
            self._trouble_since = since
        metrics.failed_shared(self.kind, exc)
        trouble = exc if isinstance(exc, TryAgain) else TryAgain(str(exc))
        pause = max(self._trouble.pause(trouble), self.interval)
        self._pause_until = self.clock.monotonic() + pause
        patience = self.rules.throttled_patience if isinstance(exc, Throttled) else self.rules.patience
        patience = max(patience, 1.5 * self.interval)  # another try comes first
        left = max(0.0, self._trouble_since + patience - self.clock.monotonic())
        if not isinstance(exc, Throttled):
            self.ask_one_by_one(fresh_only=True)
        await self.clock.sleep(min(pause, left))
        if pause >= left:
            if not self._said:
                self._said = True
                log.warning("%s fails (%s); each job is asked for by itself", self.shared, exc)
            self.ask_one_by_one()
            await self.clock.sleep(pause - left)

    def good(self) -> None:
        """Hear that a poll has worked."""
        metrics.polled_shared(self.kind)
        self._trouble.over()
        self.hub.said.discard(self.shared.key)
        if self._said:
            self._said = False
            log.info("%s works again", self.shared)

    def ask_one_by_one(self, *, fresh_only: bool = False) -> None:
        """Let those who wait ask themselves: who has heard nothing yet soon, the others within their interval."""
        for seat in self.each():
            if seat.fresh or not fresh_only:
                seat.must_ask(within=self.soon if seat.fresh else seat.poll_interval)
