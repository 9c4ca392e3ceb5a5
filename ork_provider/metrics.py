"""What Airflow's metrics (StatsD, OpenTelemetry) are told of waits; nothing where none are set up.

Counters ``ork.wait.started``, ``deferred``, ``rescheduled``, ``polled``, ``errors`` and ``finished``, the timer
``ork.wait.duration``, the gauges ``ork.wait.in_flight`` and ``ork.hub.scopes`` of one triggerer process. Tags:
``service`` (the kind of job, or ``many``), ``dag_id``, ``task_id`` and, where a wait has ended, ``outcome``. Another
counter, ``ork.dependency.looks``, has the ``dag_id`` of the DAG that was looked at, once however many share a look.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any


def tags_of(kinds: Iterable[str], ti: Any) -> dict[str, str]:
    """Return the tags of a wait for jobs of these kinds."""
    known = set(kinds)
    tags = {"service": known.pop() if len(known) == 1 else "many"}
    if ti is not None:
        tags.update(dag_id=str(ti.dag_id), task_id=str(ti.task_id))
    return tags


def count(name: str, tags: dict[str, str], by: int = 1) -> None:
    """Add to a counter."""
    if by:
        from airflow.sdk.observability import stats

        stats.incr(f"ork.wait.{name}", by, tags=tags)


def finished(tags: dict[str, str], outcome: str, seconds: float, *, asks: int, errors: int) -> None:
    """Say that a wait has ended: how, after how long, and how often its jobs were asked for since it was deferred."""
    from airflow.sdk.observability import stats

    count("polled", tags, asks)
    count("errors", tags, errors)
    count("finished", {**tags, "outcome": outcome})
    stats.timing("ork.wait.duration", timedelta(seconds=seconds), tags={**tags, "outcome": outcome})


def looked(dag_id: str) -> None:
    """Count a look at the runs of a DAG."""
    from airflow.sdk.observability import stats

    stats.incr("ork.dependency.looks", 1, tags={"dag_id": dag_id})


def gauge(name: str, value: float) -> None:
    """Set a gauge of this process."""
    from airflow.sdk.observability import stats

    stats.gauge(f"ork.{name}", value)
