"""A clock for waiting loops whose time is passed in: hours of waiting in milliseconds of test."""

from __future__ import annotations

import asyncio
import datetime as dt
import heapq
from itertools import count

_START = dt.datetime(2026, 1, 1, tzinfo=dt.timezone.utc)
_SETTLE = 20  # turns of the event loop in which every other ready task gets to run


class FakeClock:
    """Virtual time: `now()`, `monotonic()` and `await sleep(seconds)`.

    With `autojump=True` (default) time jumps to the earliest sleeper as soon as the other tasks of the event
    loop have had their turn. Real I/O in progress is not seen: with a fake server beside it use
    `autojump=False` and `advance`. `slept` lists what was asked of `sleep`, in seconds, in order.
    """

    def __init__(self, start: dt.datetime = _START, *, autojump: bool = True) -> None:
        self.start = start
        self.autojump = autojump
        self.slept: list[float] = []
        self._elapsed = 0.0
        self._order = count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._jumper: asyncio.Task[None] | None = None

    def now(self) -> dt.datetime:
        """Return the virtual UTC time, aware."""
        return self.start + dt.timedelta(seconds=self._elapsed)

    def monotonic(self) -> float:
        """Return the virtual seconds since the clock was made."""
        return self._elapsed

    @property
    def sleeping(self) -> int:
        """How many tasks sleep on this clock."""
        return sum(not future.done() for _, _, future in self._sleepers)

    async def sleep(self, seconds: float) -> None:
        """Sleep in virtual time; zero or less only yields."""
        self.slept.append(seconds)
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        future = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._elapsed + seconds, next(self._order), future))
        if self.autojump:
            self._start_jumping()
        await future

    async def advance(self, seconds: float) -> None:
        """Let `seconds` pass: sleepers wake at their own time, in order, also those that start on the way."""
        end = self._elapsed + seconds
        await _settle()
        while (deadline := self._next_deadline()) is not None and deadline <= end:
            self._wake(deadline)
            await _settle()
        self._elapsed = max(self._elapsed, end)

    def _start_jumping(self) -> None:
        loop = asyncio.get_running_loop()
        stale = self._jumper is None or self._jumper.done() or self._jumper.get_loop() is not loop
        if stale:
            self._jumper = loop.create_task(self._jump())

    async def _jump(self) -> None:
        await _settle()
        while (deadline := self._next_deadline()) is not None:
            self._wake(deadline)
            await _settle()

    def _next_deadline(self) -> float | None:
        while self._sleepers and self._sleepers[0][2].done():  # cancelled while asleep
            heapq.heappop(self._sleepers)
        return self._sleepers[0][0] if self._sleepers else None

    def _wake(self, deadline: float) -> None:
        """Move to `deadline` and wake the one sleeper that is due first."""
        self._elapsed = max(self._elapsed, deadline)
        heapq.heappop(self._sleepers)[2].set_result(None)


async def _settle() -> None:
    for _ in range(_SETTLE):
        await asyncio.sleep(0)
