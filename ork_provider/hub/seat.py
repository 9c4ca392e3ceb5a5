"""A seat: the place from which one waiter asks for one job, and where it hears what a shared poll tells of it."""

from __future__ import annotations

import math
import random
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ork_provider.errors import NotFound, TryAgain
from ork_provider.hub.bell import Bell

if TYPE_CHECKING:
    from collections.abc import Awaitable, Hashable

    from ork_provider.hub import Hub
    from ork_provider.hub.scope import Scope
    from ork_provider.job import Job, JobStatus
    from ork_provider.service import Services
    from ork_provider.waiting import Timer

SHARE = 16
"""Ticks in an interval, at the least. Waiters wake up to ask at the same ticks: those of one tick share the waking of
the process and of its answers, which otherwise cost as much CPU as the requests."""

LONGEST_TICK = 0.5
SHORTEST_TICK = 0.05


@lru_cache(maxsize=256)
def tick_of(interval: float) -> float:
    """Return the seconds from one tick to the next for a poll interval; 0 where it is too short for that.

    They are a power of two, so that the ticks of a long interval are ticks of every shorter one, too.
    """
    tick = min(LONGEST_TICK, 2.0 ** math.floor(math.log2(interval / SHARE)))
    return tick if tick >= SHORTEST_TICK else 0.0


class Seat:
    """See ``ork_provider.waiting.Seat``.

    ``told`` is what the shared poll says of the job at present: while it stands, asking costs nothing. It is None
    where the job has to be asked for itself: it is not in the list, or no longer; the poll is in trouble; its
    service has none. ``fresh`` is a seat that waits for the first word, ``unsettled`` one that knows only that
    something has happened to its job.
    """

    __slots__ = (
        "_bell",
        "_hub",
        "_joined",
        "_services",
        "_timer",
        "_turns",
        "fresh",
        "job",
        "name",
        "poll_interval",
        "put_off",
        "raw",
        "scope",
        "since",
        "taken",
        "told",
        "unsettled",
    )

    def __init__(self, hub: Hub, job: Job, services: Services, poll_interval: float) -> None:
        self.job = job
        self.poll_interval = poll_interval
        self.scope: Scope | None = None
        self.name: Hashable = None
        self.taken = False
        self.fresh = False
        self.since = 0
        self.told: JobStatus | None = None
        self.raw: Any = None
        self.unsettled = False
        self.put_off = False
        self._joined = False
        self._hub = hub
        self._services = services
        self._bell = Bell(hub.rules.clock)
        self._timer: Timer | None = None
        self._turns = 0

    # -- for the waiter ------------------------------------------------------------------------------------

    async def ask(self) -> JobStatus:
        """Say what the shared poll tells of the job; ask for the job itself where it tells nothing."""
        if self.scope is not None and self.scope.refused:
            self.leave()
            self.taken = False  # until another one is allowed
        if not self.taken:
            await self._take()
        if self.fresh:
            await self._bell.wait(self._hub.rules.first_word * random.uniform(1, 1.5))
            self.fresh = False
        self._bell.rung = False
        if self.told is not None and (self.told.state.final or (self.scope is not None and self.scope.running)):
            return self.told
        return await self._ask_alone()

    def pause(self, seconds: float, longest: float) -> Awaitable[object]:
        """Wait until there is news; without a shared poll that tells of the job, at most ``seconds``."""
        if self.told is not None:
            return self._bell.wait(longest)
        return self._bell.wait(min(self._till_tick(seconds), max(seconds, longest)))  # a deadline waits for no tick

    def leave(self) -> None:
        """Give the seat up."""
        self._stop_timer()
        if self.scope is not None:
            self.scope.leave(self)
            self.scope = None

    def _till_tick(self, seconds: float) -> float:
        """Return the seconds until the first tick that is not sooner than so many seconds from now."""
        tick = tick_of(self.poll_interval)
        if tick == 0 or seconds < tick * SHARE / 2 or math.isinf(seconds):
            return seconds
        now = self._hub.rules.clock.monotonic()
        return math.ceil((now + seconds) / tick) * tick - now

    async def _take(self) -> None:
        service = await (self._services.of if self._joined else self._services.join)(self.job)
        self._joined = True
        shared = service.shared(self.job)
        scope = self._hub.scope(shared) if shared is not None else None
        self.taken = shared is None or scope is not None
        if shared is not None and scope is not None:
            self.name = shared.name(self.job)
            self.scope = scope
            scope.join(self)

    async def _ask_alone(self) -> JobStatus:
        turn = self._turns
        try:
            status = await self._services.check(self.job)
        except TryAgain as exc:
            self.put_off = True
            if isinstance(exc, NotFound) and self.scope is not None:
                self.scope.missed(self)
            raise
        self.put_off = False
        if self.scope is not None and turn == self._turns:
            self.scope.answered(self, status)
        return status

    # -- for the scope -------------------------------------------------------------------------------------

    def tell(self, status: JobStatus) -> None:
        """Hear how the job is; the waiter is woken if that is news."""
        known, self.told = self.told, status
        self.unsettled = False
        if self.fresh or known is None or _words(known) != _words(status):
            self._ring()

    def must_ask(self, within: float = 0.0, *, anew: bool = False) -> None:
        """Hear that the job has to be asked for itself, now or at a random moment within some seconds.

        :param anew: also if it is asked for by itself already
        """
        self._turns += 1  # an answer that is on its way is older than this
        if self.told is not None and self.told.state.final:
            return
        if self.told is None and not self.fresh and self._timer is None and not anew:
            return  # it is asked for anyway
        if anew and self.put_off:
            return  # its service has asked for a pause, or needs one
        self.told = self.raw = None
        if not within:
            self._ring()
        elif self._timer is None:
            self._timer = self._hub.rules.clock.call_later(random.uniform(0, within), self._ring)

    def changed(self) -> None:
        """Hear that something has happened to the job, but not what."""
        self.told = self.raw = None
        self.unsettled = True
        self._ring()

    def _ring(self) -> None:
        self._stop_timer()
        self.fresh = False
        self._turns += 1
        self._bell.ring()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _words(status: JobStatus) -> tuple[Any, ...]:
    return status.state, status.remote_state, status.message
