"""A scope that hears of its jobs from lists: who is in one still runs, who is not in it is asked for itself."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Any, cast

from ork_provider.errors import TryAgain
from ork_provider.hub.scope import PASSING, Scope
from ork_provider.waiting import TooLate, limited

if TYPE_CHECKING:
    from ork_provider.hub.seat import Seat
    from ork_provider.job import JobStatus
    from ork_provider.service import Listing

HURRY = 0.25
"""Share of the interval after which the next list is made for a newcomer, who has heard nothing yet."""

LEISURE = 1.25
"""From one list to the next it takes at least so many times as long as the list itself."""


class ListScope(Scope):
    """Makes one list per interval, whatever the number of those who wait."""

    round = 0

    @property
    def listing(self) -> Listing:
        """The call that lists."""
        return cast("Listing", self.shared)

    @property
    def interval(self) -> float:
        """See Scope."""
        return min((max(self.rules.interval, self.listing.interval), *self._intervals))

    @property
    def wanted(self) -> bool:
        """See Scope."""
        return self.size >= self.listing.least

    def welcome(self, seat: Seat) -> None:
        """See Scope; a list that has begun already may not know the job yet."""
        seat.fresh = not self.failing
        seat.since = self.round
        self.newcomer.ring()

    def answered(self, seat: Seat, status: JobStatus) -> None:
        """See Scope; the next list says more."""

    def missed(self, seat: Seat) -> None:
        """See Scope; of the others this says nothing."""

    async def run(self) -> None:
        """See Scope."""
        while self.goes_on:
            began = self.clock.monotonic()
            self.newcomer.rung = False
            self.round += 1
            try:
                seen = await self._look()
            except PASSING as exc:
                await self.sit_out(exc, since=began)
            else:
                recovered = self.failing
                self.good()
                self._spread(seen, anew=recovered)
                await self._rest(began)

    async def _look(self) -> dict[Hashable, Any]:
        limit = max(self.rules.look_limit, self.listing.limit)
        try:
            return await limited(self.listing.look(self.seats.keys()), limit, self.clock)
        except TooLate as exc:
            raise TryAgain(f"no whole list in {limit:g} s") from exc

    async def _rest(self, began: float) -> None:
        """Wait until the next list is due; sooner for a newcomer, but never without a pause."""
        took = self.clock.monotonic() - began
        if await self.newcomer.wait(max(self.interval, took * LEISURE) - took):
            hurried = began + max(self.interval * HURRY, took * LEISURE)
            await self.clock.sleep(max(0.0, hurried - self.clock.monotonic()))

    def _spread(self, seen: dict[Hashable, Any], *, anew: bool) -> None:
        """Tell each who waits what the list says of its job.

        :param anew: the first list after trouble; who is not in it may have ended meanwhile
        """
        for name, seats in self.seats.items():
            raw = seen.get(name)
            for seat in seats:
                if raw is not None:
                    self._tell(seat, raw)
                elif seat.since < self.round:
                    seat.must_ask(within=self.interval if anew else 0.0, anew=anew)

    def _tell(self, seat: Seat, raw: Any) -> None:
        if seat.told is not None and seat.raw == raw:
            return
        status = self.read(raw)
        if status is None:
            seat.must_ask()
            return
        seat.raw = raw
        seat.tell(status)
