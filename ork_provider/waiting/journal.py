"""What a wait says in the task's log."""

from __future__ import annotations

import logging
import random
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from ork_provider.errors import TryAgain
from ork_provider.job import Job, JobStatus
from ork_provider.waiting.policy import Clock, Policy, Trouble


class Journal:
    """What a wait says in the task's log: its start, each change of state, trouble, a sparse sign of life."""

    HEARTBEATS = (600.0, 1800.0, 3600.0)
    """Seconds between signs of life; the last one repeats."""

    PROGRESS = 30.0
    """Least seconds between two lines about the progress of one job."""

    __slots__ = ("_beats", "_last", "_said_at", "_stretch", "clock", "log", "started")

    def __init__(self, log: logging.Logger | Any, clock: Clock) -> None:
        self.log = log
        self.clock = clock
        self.started = clock.monotonic()
        self._beats = 0
        self._stretch = random.uniform(1.0, 1.1)  # a thousand that have started together do not speak together
        self._said_at = self.started
        self._last: dict[Job, tuple[str, str, float]] = {}

    @property
    def silence(self) -> float:
        """Seconds until the next sign of life is due."""
        return max(1.0, self._said_at + self.HEARTBEATS[self._beats] * self._stretch - self.clock.monotonic())

    def start(self, jobs: Sequence[Job], policy: Policy, deadline: datetime | None) -> None:
        """Say what is waited for."""
        named = str(jobs[0]) if len(jobs) == 1 else f"{len(jobs)} jobs, the first: {jobs[0]}"
        until = f", at the latest until {deadline:%Y-%m-%d %H:%M:%S} UTC" if deadline else ""
        self.log.info("Waiting for %s, asking every %g s%s", named, policy.poll_interval, until)

    def answered(self, job: Job, status: JobStatus) -> None:
        """Say so if the job's state or, less often, its progress is a new one, or if nothing was said for long."""
        word, now = status.remote_state or status.state.value, self.clock.monotonic()
        elapsed = now - self.started
        last_word, last_message, said_at = self._last.get(job, ("", "", now))
        moved = status.message != last_message and now - said_at >= self.PROGRESS
        if word != last_word or moved:
            self._last[job] = (word, status.message, now)
            self._say("%s is %s after %.0f s%s", job, word, elapsed, after_colon(status.message))
        elif self.clock.monotonic() - self._said_at >= self.HEARTBEATS[self._beats]:
            self._beats = min(self._beats + 1, len(self.HEARTBEATS) - 1)
            self._say("%s is still %s after %.0f s", job, word, elapsed)

    def trouble(self, job: Job, exc: TryAgain, trouble: Trouble) -> None:
        """Say once per streak that asking fails."""
        if trouble.failures == 1:
            self.log.warning(
                "%s: asking failed (%s); trying again for up to %g s", job, exc, trouble.policy.error_budget
            )

    def recovered(self, job: Job, trouble: Trouble) -> None:
        """Say that asking works again."""
        if trouble.failures > 1:
            self.log.info("%s: asking works again after %d failures", job, trouble.failures)

    def _say(self, message: str, *args: object) -> None:
        self._said_at = self.clock.monotonic()
        self.log.info(message, *args)


def after_colon(text: str) -> str:
    """Return a text as the end of a sentence, if there is one."""
    return f": {text}" if text else ""
