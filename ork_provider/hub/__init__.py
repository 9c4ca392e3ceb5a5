"""The hub: inside one event loop, all who wait for jobs of one scope share one poll.

A scope is what one call can tell of: the running BigQuery jobs of a project, the jobs of a Dataproc region, a DQOps
server; over one connection, as one identity. A waiter takes a ``Seat`` (``seat.py``); the first one in a scope
opens it, the last one closes it (``scope.py``); ``lists.py`` and ``feeds.py`` are the two ways in which a scope hears
of its jobs. What they tell is that a job runs, or that it must be asked for: how a job has ended is, as a rule, what
the service says of that job alone, so that a poll that is wrong, late or refused costs time and never the truth.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING

from ork_provider.hub.feeds import FeedScope
from ork_provider.hub.lists import ListScope
from ork_provider.hub.scope import Rules, Scope
from ork_provider.hub.seat import Seat
from ork_provider.service import Feed, Listing, Services, Shared
from ork_provider.settings import SHARED_POLL_INTERVAL
from ork_provider.waiting import SystemClock

if TYPE_CHECKING:
    from ork_provider.job import Job
    from ork_provider.session import Session
    from ork_provider.waiting import Clock

__all__ = ["FeedScope", "Hub", "ListScope", "Rules", "Scope", "Seat"]


class Hub:
    """The shared polls of one event loop.

    :param interval: seconds between two lists of a scope; less where a waiter's own interval is shorter
    """

    def __init__(self, interval: float = SHARED_POLL_INTERVAL, clock: Clock | None = None) -> None:
        self.rules = Rules(interval=interval, clock=clock or SystemClock())
        self.scopes: dict[Hashable, Scope] = {}
        self.said: set[Hashable] = set()
        self._refused: dict[Hashable, float] = {}

    @classmethod
    def of(cls, session: Session) -> Hub:
        """Return the hub of a session, which is the event loop's."""
        if "hub" not in session.cache:
            from ork_provider.settings import shared_poll_interval

            session.cache["hub"] = cls(shared_poll_interval())
        hub: Hub = session.cache["hub"]
        return hub

    def seat(self, job: Job, services: Services, poll_interval: float) -> Seat:
        """Return a place to wait for a job; it costs nothing before its first ask.

        :param poll_interval: seconds between two asks of the job while no shared poll tells of it
        """
        return Seat(self, job, services, poll_interval)

    def scope(self, shared: Shared) -> Scope | None:
        """Return the scope of a poll, opened when it is new; None if its service has refused it lately."""
        scope = self.scopes.get(shared.key)
        if scope is None and not self._is_refused(shared.key):
            kind = {Listing: ListScope, Feed: FeedScope}
            make = next(make for base, make in kind.items() if isinstance(shared, base))
            scope = self.scopes[shared.key] = make(self, shared)
        return scope

    def close(self, scope: Scope) -> None:
        """Forget a scope that nobody waits in any more."""
        if self.scopes.get(scope.shared.key) is scope:
            del self.scopes[scope.shared.key]

    def refuse(self, key: Hashable, seconds: float) -> None:
        """Do without a poll for some time."""
        now = self.rules.clock.monotonic()
        self._refused = {known: until for known, until in self._refused.items() if until > now}
        self._refused[key] = now + seconds

    def has_said(self, key: Hashable) -> bool:
        """Whether it has been said that a poll is refused; from now on it has."""
        said = key in self.said
        self.said.add(key)
        return said

    def _is_refused(self, key: Hashable) -> bool:
        if key in self._refused and self._refused[key] <= self.rules.clock.monotonic():
            del self._refused[key]
        return key in self._refused
