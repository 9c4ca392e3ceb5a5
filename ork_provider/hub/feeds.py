"""A scope that hears of its jobs from a feed of changes: a job that nothing was told of is as it was.

Who joins asks for the job itself once, after the feed's position is known, so that nothing falls between. A feed can
lose changes without saying so: its server keeps them for a limited time, and a restarted one knows of none. So after
any trouble all jobs are asked for, and one of them, the sentinel, from time to time: if it is gone, so may be the rest.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, cast

from ork_provider.hub.scope import ASKS_PER_SECOND, PASSING, Scope

if TYPE_CHECKING:
    from ork_provider.hub.seat import Seat
    from ork_provider.job import JobStatus
    from ork_provider.service import Feed


class FeedScope(Scope):
    """Follows one feed."""

    live = False
    """Whether what happens now will be told."""

    _position: Any = None
    _sentinel: Seat | None = None
    _sentinel_at = 0.0

    @property
    def feed(self) -> Feed:
        """The call that tells of changes."""
        return cast("Feed", self.shared)

    def welcome(self, seat: Seat) -> None:
        """See Scope."""
        seat.fresh = not self.live and not self.failing

    def answered(self, seat: Seat, status: JobStatus) -> None:
        """See Scope; from here on the feed tells what changes.

        A sentinel that has ended without a word from the feed means that others may have, too.
        """
        if seat is self._sentinel:
            self._sentinel = None
            if status.state.final:
                self._ask_all()
        if self.live and self.running and not seat.unsettled:
            seat.told = status

    def missed(self, seat: Seat) -> None:
        """See Scope; a sentinel that is gone means that the server may have forgotten the others as well."""
        if seat is self._sentinel:
            self._sentinel = None
            self._ask_all()

    async def run(self) -> None:
        """See Scope."""
        while self.goes_on:
            began = self.clock.monotonic()
            try:
                await self._hear()
            except PASSING as exc:
                self.live = False
                await self.sit_out(exc, since=self.clock.monotonic())
            else:
                pause = min(self.feed.interval, self.interval)
                await self.clock.sleep(max(0.0, began + pause - self.clock.monotonic()))

    async def _hear(self) -> None:
        """Wait for changes once, and tell those who wait for them."""
        if self._position is None:
            self._position = await self.feed.start()
            self._begin()
        before = self._position
        changes, self._position = await self.feed.changes(before)
        self.good()
        if not self.live or self._position < before:  # another server, or one that began anew
            self._begin()
        for name, raw in changes:
            for seat in self.seats.get(name, ()):
                self._tell(seat, raw)
        self._ask_sentinel()

    def _begin(self) -> None:
        """Ask for every job, because nothing is told of what happened before; from now on the feed tells."""
        self.live = True
        self._sentinel_at = self.clock.monotonic()
        self._ask_all()

    def _ask_all(self) -> None:
        for seat in self.each():
            seat.must_ask(within=self.soon if seat.fresh else max(self.interval, self.size / ASKS_PER_SECOND))

    def _tell(self, seat: Seat, raw: Any) -> None:
        status = self.read(raw)
        if status is None:
            seat.changed()
        else:
            seat.tell(status)

    def _ask_sentinel(self) -> None:
        now = self.clock.monotonic()
        if now - self._sentinel_at < self.rules.sentinel:
            return
        self._sentinel_at = now
        told = [seat for seat in self.each() if seat.told is not None]
        if told:
            self._sentinel = random.choice(told)
            self._sentinel.must_ask()
