"""A bell: one task waits for it, for a limited time; ringing it before it is waited for counts as well."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ork_provider.waiting import Clock


class Bell:
    """Wakes the one who waits; small, because there is one for each waiter."""

    __slots__ = ("_clock", "_sleeper", "rung")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._sleeper: asyncio.Future[None] | None = None
        self.rung = False

    def ring(self) -> None:
        """Wake who waits, or who waits next."""
        self.rung = True
        self._wake()

    async def wait(self, seconds: float) -> bool:
        """Wait for the bell, at most so many seconds; return whether it rang."""
        if not self.rung and seconds > 0:
            self._sleeper = asyncio.get_running_loop().create_future()
            timer = self._clock.call_later(seconds, self._wake) if seconds < float("inf") else None
            try:
                await self._sleeper
            finally:
                self._sleeper = None
                if timer is not None:
                    timer.cancel()
        rung, self.rung = self.rung, False
        return rung

    def _wake(self) -> None:
        if self._sleeper is not None and not self._sleeper.done():
            self._sleeper.set_result(None)
