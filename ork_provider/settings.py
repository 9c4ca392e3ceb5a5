"""Airflow's settings that this package reads: its own section ``[ork]``, and how fast a task may resume."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING

from ork_provider.errors import BadRequest

if TYPE_CHECKING:
    from ork_provider.session import HostRule

SHARED_POLL_INTERVAL = 2.0
"""Seconds between two shared polls unless ``[ork] shared_poll_interval`` says otherwise."""

log = logging.getLogger(__name__)


def default_deferrable() -> bool:
    """Return ``[ork] default_deferrable``, True unless set otherwise."""
    from airflow.sdk.configuration import conf

    return bool(conf.getboolean("ork", "default_deferrable", fallback=True))


def shared_poll_interval() -> float:
    """Return ``[ork] shared_poll_interval`` in seconds; a wrong one is said in the log and not used."""
    from airflow.sdk.configuration import conf

    text = conf.get("ork", "shared_poll_interval", fallback=None)
    try:
        seconds = SHARED_POLL_INTERVAL if text is None else float(text)
    except ValueError:
        seconds = -1.0
    if 0 < seconds < float("inf"):
        return seconds
    log.error(
        "[ork] shared_poll_interval must be a number of seconds greater than 0, got %r; using %g",
        text,
        SHARED_POLL_INTERVAL,
    )
    return SHARED_POLL_INTERVAL


def allowed_hosts() -> tuple[HostRule, ...]:
    """Return ``[ork] allowed_hosts``, the hosts that URLs of HTTP jobs may lead to; none means any.

    :raises BadRequest: it cannot be read; then no URL is allowed, because a slip must not open what was to be closed
    """
    from airflow.sdk.configuration import conf

    from ork_provider.session import read_rules

    text = conf.get("ork", "allowed_hosts", fallback=None) or ""
    try:
        return read_rules(text)
    except ValueError as exc:
        raise BadRequest(f"[ork] allowed_hosts: {exc}. No HTTP job is asked for until it is corrected.") from exc


def resume_pause() -> timedelta:
    """How long after deferring a task may resume without the scheduler taking it for a lost one."""
    from airflow.sdk.configuration import conf

    heartbeat = conf.getfloat("workers", "min_heartbeat_interval", fallback=5.0)
    return timedelta(seconds=2 * heartbeat + 1)
