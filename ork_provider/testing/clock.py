"""A clock for waiting loops whose time is passed in: hours of waiting in milliseconds of test."""

from __future__ import annotations

import asyncio
import datetime as dt
import heapq
from collections.abc import Callable
from itertools import count
from weakref import WeakKeyDictionary

_START = dt.datetime(2026, 1, 1, tzinfo=dt.timezone.utc)
_TURNS = 1000  # of the event loop, after which time moves on even though some task is always ready

Sleeper = tuple[float, int, "asyncio.Future[None]"]


class FakeClock:
    """Virtual time: `now()`, `monotonic()`, `await sleep(seconds)` and `call_later(seconds, callback)`.

    With `autojump=True` (default) time jumps to the earliest sleeper as soon as no other task of the event loop
    can run. Real I/O in progress is not seen: with a fake server beside it use `autojump=False` and `advance`.
    Each event loop has its own sleepers; the time is one. `slept` lists what was asked of `sleep`, in seconds, in
    order.
    """

    def __init__(self, start: dt.datetime = _START, *, autojump: bool = True) -> None:
        self.start = start
        self.autojump = autojump
        self.slept: list[float] = []
        self._elapsed = 0.0
        self._order = count()
        self._sleepers: WeakKeyDictionary[asyncio.AbstractEventLoop, list[Sleeper]] = WeakKeyDictionary()
        self._jumpers: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Task[None]] = WeakKeyDictionary()

    def now(self) -> dt.datetime:
        """Return the virtual UTC time, aware."""
        return self.start + dt.timedelta(seconds=self._elapsed)

    def monotonic(self) -> float:
        """Return the virtual seconds since the clock was made."""
        return self._elapsed

    @property
    def sleeping(self) -> int:
        """How many tasks sleep on this clock."""
        return sum(not future.done() for queue in self._sleepers.values() for _, _, future in queue)

    async def sleep(self, seconds: float) -> None:
        """Sleep in virtual time; zero or less only yields."""
        self.slept.append(seconds)
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        await self._enqueue(seconds)

    def _enqueue(self, seconds: float) -> asyncio.Future[None]:
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        queue = self._sleepers.setdefault(loop, [])
        heapq.heappush(queue, (self._elapsed + seconds, next(self._order), future))
        if self.autojump:
            self._start_jumping(loop)
        return future

    def call_later(self, seconds: float, callback: Callable[[], None]) -> asyncio.Future[None]:
        """Call back when so many virtual seconds have passed; cancel the future to prevent it."""
        future = self._enqueue(seconds)
        future.add_done_callback(lambda done: None if done.cancelled() else callback())
        return future

    async def advance(self, seconds: float) -> None:
        """Let `seconds` pass: sleepers wake at their own time, in order, also those that start on the way."""
        queue = self._sleepers.setdefault(asyncio.get_running_loop(), [])
        end = self._elapsed + seconds
        await _others_wait()
        while (deadline := _next_deadline(queue)) is not None and deadline <= end:
            self._wake(queue)
            await _others_wait()
        self._elapsed = max(self._elapsed, end)

    def _start_jumping(self, loop: asyncio.AbstractEventLoop) -> None:
        jumper = self._jumpers.get(loop)
        if jumper is None or jumper.done():
            self._jumpers[loop] = loop.create_task(self._jump(self._sleepers[loop]))

    async def _jump(self, queue: list[Sleeper]) -> None:
        await _others_wait()
        while _next_deadline(queue) is not None:
            self._wake(queue)
            await _others_wait()

    def _wake(self, queue: list[Sleeper]) -> None:
        """Move to the earliest deadline and wake its sleeper."""
        deadline, _, future = heapq.heappop(queue)
        self._elapsed = max(self._elapsed, deadline)
        future.set_result(None)


def _next_deadline(queue: list[Sleeper]) -> float | None:
    while queue and queue[0][2].done():  # cancelled while asleep
        heapq.heappop(queue)
    return queue[0][0] if queue else None


async def _others_wait() -> None:
    """Yield until no other task of this event loop is ready to run."""
    loop = asyncio.get_running_loop()
    for _ in range(_TURNS):
        await asyncio.sleep(0)
        if not getattr(loop, "_ready", None):  # asyncio's queue of what runs next; ours has just been taken off
            return
