"""What Airflow's metrics (StatsD, OpenTelemetry) are told of waits; nothing where none are set up.

``METRICS`` lists them. ``service`` is the kind of job, ``many`` where a task waits for several kinds, ``unknown``
where they cannot be read; ``error`` is a class of ``ork_provider.errors``, or ``bug``; ``outcome`` is that of the
event. docs/metrics.md tells when each is sent, and by whom.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import timedelta
from functools import cache
from typing import Any

from ork_provider.errors import OrkError

WAIT = ("service", "dag_id", "task_id")

METRICS: dict[str, tuple[str, tuple[str, ...]]] = {
    "ork.wait.started": ("counter", WAIT),
    "ork.wait.deferred": ("counter", WAIT),
    "ork.wait.rescheduled": ("counter", WAIT),
    "ork.wait.polled": ("counter", WAIT),
    "ork.wait.errors": ("counter", (*WAIT, "error")),
    "ork.wait.finished": ("counter", (*WAIT, "outcome")),
    "ork.wait.duration": ("timer", (*WAIT, "outcome")),
    "ork.wait.in_flight": ("gauge", ("service", "hostname")),
    "ork.hub.scopes": ("gauge", ("hostname",)),
    "ork.hub.polled": ("counter", ("service",)),
    "ork.hub.errors": ("counter", ("service", "error")),
    "ork.dependency.looks": ("counter", ("dag_id",)),
}
"""Every metric: its type and its tags. Names and tags are what dashboards are made of, and do not change."""

POLLED_EVERY = 60.0
"""Least seconds between two counts of the asks of one wait; its end tells of the rest."""

GAUGES_EVERY = 30.0
"""Seconds after which gauges are told again that have not changed: UDP loses some, and receivers forget old ones."""


def tags_of(kinds: Iterable[str], ti: Any) -> dict[str, str]:
    """Return the tags of a wait for jobs of these kinds."""
    known = set(kinds)
    tags = {"service": known.pop() if len(known) == 1 else "many" if known else "unknown"}
    if ti is not None:
        tags.update(dag_id=str(ti.dag_id), task_id=str(ti.task_id))
    return tags


def error_of(exc: BaseException) -> str:
    """Return the tag of an error: one word of a short list, never what the service has said."""
    return type(exc).__name__ if isinstance(exc, OrkError) else "bug"


def count(name: str, tags: dict[str, str], by: int = 1) -> None:
    """Add to a counter of waits."""
    _count(f"ork.wait.{name}", tags, by)


class Tally:
    """What one process tells of one wait: errors at once, asks from time to time, its end."""

    __slots__ = ("_told", "_told_at", "tags")

    def __init__(self, tags: dict[str, str], now: float) -> None:
        self.tags = tags
        self._told = 0
        self._told_at = now

    def error(self, exc: BaseException) -> None:
        """Count an ask that was not answered, or not well."""
        count("errors", {**self.tags, "error": error_of(exc)})

    def asked(self, asks: int, now: float) -> None:
        """Count the asks so far, if the last time is long ago."""
        if now - self._told_at >= POLLED_EVERY:
            self._told_at = now
            self.pause(asks)

    def pause(self, asks: int) -> None:
        """Count the asks so far: this process has done with the wait, which goes on elsewhere."""
        count("polled", self.tags, asks - self._told)
        self._told = asks

    def finished(self, outcome: str, seconds: float, asks: int) -> None:
        """Say that the wait has ended: how, and how long this process has waited."""
        from airflow.sdk.observability import stats

        self.pause(asks)
        tags = {**self.tags, "outcome": outcome}
        count("finished", tags)
        stats.timing("ork.wait.duration", timedelta(seconds=seconds), tags=tags)


class Flight:
    """The waits that are in flight in this process: told on each change, and every half minute while there are any."""

    def __init__(self) -> None:
        self._waits: Counter[str] = Counter()
        self._scopes: Callable[[], int] = int
        self._beat: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def begin(self, service: str, scopes: Callable[[], int]) -> None:
        """Count a wait that begins.

        :param scopes: says how many polls are shared
        """
        self._waits[service] += 1
        self._scopes = scopes
        self._tell(service)
        if self._loop is not asyncio.get_running_loop():  # the first wait, or the first after a loop that has ended
            self._loop = asyncio.get_running_loop()
            self._beat = self._loop.call_later(GAUGES_EVERY, self._tell_all)

    def end(self, service: str) -> None:
        """Count a wait that has ended."""
        self._waits[service] -= 1
        self._tell(service)
        if not any(self._waits.values()) and self._beat is not None:
            self._beat.cancel()
            self._beat = self._loop = None

    def _tell(self, service: str) -> None:
        _gauge("ork.wait.in_flight", self._waits[service], {"service": service, "hostname": hostname()})
        _gauge("ork.hub.scopes", self._scopes(), {"hostname": hostname()})

    def _tell_all(self) -> None:
        for service in self._waits:
            self._tell(service)
        if self._loop is not None:
            self._beat = self._loop.call_later(GAUGES_EVERY, self._tell_all)


FLIGHT = Flight()


def polled_shared(service: str) -> None:
    """Count a good poll that all who wait in a scope share."""
    _count("ork.hub.polled", {"service": service})


def failed_shared(service: str, exc: BaseException) -> None:
    """Count a shared poll that was not answered, or not well."""
    _count("ork.hub.errors", {"service": service, "error": error_of(exc)})


def looked(dag_id: str) -> None:
    """Count a look at the runs of a DAG."""
    _count("ork.dependency.looks", {"dag_id": dag_id})


@cache
def hostname() -> str:
    """Return the name of this host as Airflow's own gauges of a triggerer have it."""
    from airflow.utils.net import get_hostname

    return str(get_hostname())  # type: ignore[no-untyped-call]


def _count(name: str, tags: dict[str, str], by: int = 1) -> None:
    if by > 0:
        from airflow.sdk.observability import stats

        stats.incr(name, by, tags=tags)


def _gauge(name: str, value: float, tags: dict[str, str]) -> None:
    from airflow.sdk.observability import stats

    stats.gauge(name, value, tags=tags)
