"""What a test decides to happen to jobs: scripts, the last that matches wins, and work that only takes time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

NEVER = float("inf")

Match = str | Callable[[Any], bool]
"""A part of a job's text, or a callable of what starts it; each fake says of what."""


class Script(Protocol):
    """What all outcomes say: seconds until the work starts, until it ends then, and until it ends after a cancel."""

    @property
    def pending(self) -> float:
        """Seconds before the work starts."""

    @property
    def running(self) -> float:
        """Seconds that it takes."""

    @property
    def cancelling(self) -> float:
        """Seconds that it runs on after a cancel."""


Outcome = TypeVar("Outcome")
AnyScript = TypeVar("AnyScript", bound=Script)


class Scripts(Generic[Outcome]):
    """The scripts of one fake."""

    def __init__(self) -> None:
        self._all: list[tuple[Match, Outcome]] = []

    def add(self, match: Match, outcome: Outcome) -> None:
        """Decide what happens to jobs from now on; this comes before all earlier scripts."""
        self._all.insert(0, (match, outcome))

    def find(self, text: str, value: Any) -> Outcome | None:
        """Return the outcome of a job by its text or by what starts it; None if no script is for it."""
        for match, outcome in self._all:
            if match in text if isinstance(match, str) else match(value):
                return outcome
        return None


@dataclass
class TimedWork(Generic[AnyScript]):
    """Work that only lets time pass; times are readings of the fake's clock."""

    script: AnyScript
    created_at: float
    stops_at: float = NEVER

    @property
    def started_at(self) -> float:
        """When it leaves PENDING."""
        return self.created_at + self.script.pending

    @property
    def natural_end(self) -> float:
        """When it ends if nobody cancels it."""
        return self.created_at + self.script.pending + self.script.running

    @property
    def ended_at(self) -> float:
        """When it ends."""
        return min(self.natural_end, self.stops_at)

    def cancel(self, now: float) -> None:
        """End `cancelling` seconds from now, unless it ends by itself before."""
        self.stops_at = min(self.stops_at, now + self.script.cancelling)
