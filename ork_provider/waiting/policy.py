"""Time, passed in; when to ask again, and what to forgive for how long; the same around a single call."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import lru_cache
from typing import Any, Protocol, TypeVar

from ork_provider.errors import NotFound, TryAgain

T = TypeVar("T")


class Timer(Protocol):
    """What is due later."""

    def cancel(self) -> object:
        """Let it not happen."""
        ...


class Clock(Protocol):
    """Time, passed in so that tests take none."""

    def now(self) -> datetime:
        """Return the date and time in UTC."""
        ...

    def monotonic(self) -> float:
        """Return seconds that only ever grow."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        """Call back in so many seconds, in the running event loop."""
        ...


class SystemClock:
    """The real time."""

    def now(self) -> datetime:
        """See Clock."""
        return datetime.now(timezone.utc)

    def monotonic(self) -> float:
        """See Clock."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """See Clock."""
        await asyncio.sleep(seconds)

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        """See Clock."""
        return asyncio.get_running_loop().call_later(seconds, callback)


@dataclass(frozen=True, kw_only=True)
class Policy:
    """How a wait asks and what it forgives; all times in seconds.

    :param poll_interval: between two asks of one job
    :param error_budget: how long errors that may pass are forgiven without one good answer in between
    :param jitter: share of the interval by which each pause differs, so that waiters do not march in step
    :param backoff_base: the first pause after an error is random between 0 and this; it doubles each time
    :param backoff_cap: and grows no larger than this
    :param not_found_grace: how long after the start a 404 is forgiven: services forget that a job is new
    """

    poll_interval: float = 10.0
    error_budget: float = 600.0
    jitter: float = 0.1
    backoff_base: float = 1.0
    backoff_cap: float = 60.0
    not_found_grace: float = 60.0

    def pause(self) -> float:
        """Return seconds until the next ask after a good answer."""
        return self.poll_interval * random.uniform(1 - self.jitter, 1 + self.jitter)

    def backoff(self, failures: int) -> float:
        """Return seconds until the next ask after ``failures`` bad answers in a row: full jitter."""
        limit = min(self.backoff_cap, self.backoff_base * 2.0 ** min(failures - 1, 30))
        return max(0.05, random.uniform(0, limit))


@lru_cache(maxsize=256)
def policy_of(poll_interval: float, error_budget: float) -> Policy:
    """Return the policy with these times: one for all waiters who have the same."""
    return Policy(poll_interval=poll_interval, error_budget=error_budget)


class Trouble:
    """Bad answers in a row: how long they have lasted, and whether they are still forgiven."""

    __slots__ = ("_since", "clock", "failures", "misses", "policy")

    def __init__(self, policy: Policy, clock: Clock) -> None:
        self.policy = policy
        self.clock = clock
        self.failures = 0
        self.misses = 0
        self._since = 0.0

    def pause(self, exc: TryAgain) -> float:
        """Return seconds to wait before asking again; raise ``exc`` when the budget is spent."""
        now = self.clock.monotonic()
        if not self.failures:
            self._since = now
        self.failures += 1
        self.misses = self.misses + 1 if isinstance(exc, NotFound) else 0
        if now - self._since >= self.policy.error_budget:
            raise exc
        if exc.retry_after is not None:
            return max(0.05, exc.retry_after)
        return self.policy.backoff(self.failures)

    @property
    def left(self) -> float:
        """Seconds of the budget that are left."""
        return self.policy.error_budget - (self.clock.monotonic() - self._since)

    def over(self) -> None:
        """Forget it all after a good answer."""
        self.failures = self.misses = 0


async def keep_trying(
    call: Callable[[], Awaitable[T]], *, policy: Policy, clock: Clock, log: logging.Logger | Any, what: str
) -> T:
    """Return what ``call`` returns, calling again after errors that may pass; a 404 is final here."""
    trouble = Trouble(policy, clock)
    while True:
        try:
            return await call()
        except NotFound:
            raise
        except TryAgain as exc:
            pause = trouble.pause(exc)
            if pause > trouble.left:  # it would come too late
                raise
            log.warning("%s: %s; trying again in %.1f s", what, exc, pause)
        await clock.sleep(pause)
