"""``airflow ork waiting``: one line for each job that a deferred task waits for."""

from __future__ import annotations

import sys
import time
from argparse import Namespace
from collections.abc import Iterator
from typing import Any

from airflow.cli.simple_table import AirflowConsole
from airflow.utils.cli import suppress_logs_and_warning
from airflow.utils.providers_configuration_loader import providers_configuration_loaded
from airflow.utils.session import create_session

from ork_provider.cli.reading import OTHER, Deferred, now, read_deferred, show_time
from ork_provider.job import KINDS

USUAL_PAUSE = 5.0
"""Seconds between two lists of ``--watch``."""


@suppress_logs_and_warning
@providers_configuration_loaded
def waiting(args: Namespace) -> None:
    """List what waits; once, or again and again."""
    if args.service not in (None, OTHER, *KINDS):
        raise SystemExit(f"--service: unknown kind of job {args.service!r}; known: {', '.join(KINDS)}, {OTHER}")
    if args.watch == 0:
        AirflowConsole().print_as(_lines(args), args.output)
        return
    pause = USUAL_PAUSE if args.watch is None else args.watch
    if not 0 < pause < float("inf"):
        raise SystemExit(f"--watch: expected a number of seconds greater than 0, got {pause:g}")
    try:
        while True:
            lines = _lines(args)
            if sys.stdout.isatty():
                print("\x1b[H\x1b[2J", end="")
            if args.output == "table":
                print(f"{show_time(now())}: {len(lines)} waiting")
            AirflowConsole().print_as(lines, args.output)
            sys.stdout.flush()
            time.sleep(pause)
    except KeyboardInterrupt:
        return


def _lines(args: Namespace) -> list[dict[str, Any]]:
    with create_session() as session:
        found = read_deferred(session, dag_id=args.dag_id, task_id=args.task_id, run_id=args.run_id)
    if args.overdue:
        found = [deferred for deferred in found if deferred.deadline and deferred.deadline < now()]
    lines = [line for deferred in found for line in _lines_of(deferred)]
    return [line for line in lines if args.service in (None, line["service"])]


def _lines_of(deferred: Deferred) -> Iterator[dict[str, Any]]:
    """Tell each job of a task; a trigger that is not ours is told by its class."""
    for job in deferred.jobs:
        state = str(deferred.heard_of(job).get("state") or "waiting")
        yield _line(deferred, job.kind, str(job), state, job.link or "")
    if not deferred.jobs:
        what = deferred.classpath or "no trigger"
        yield _line(deferred, OTHER, f"{what} ({deferred.unreadable})" if deferred.unreadable else what, "waiting", "")


def _line(deferred: Deferred, service: str, job: str, state: str, link: str) -> dict[str, Any]:
    return {
        "dag_id": deferred.dag_id,
        "task_id": deferred.task_id,
        "run_id": deferred.run_id,
        "map_index": deferred.map_index,
        "service": service,
        "job": job,
        "state": state,
        "since": show_time(deferred.since),
        "deadline": show_time(deferred.deadline),
        "triggerer": _who(deferred),
        "link": link,
    }


def _who(deferred: Deferred) -> str:
    if deferred.triggerer is None:
        return "none" if deferred.triggerer_id is None else f"{deferred.triggerer_id} (gone)"
    who = f"{deferred.triggerer.id} on {deferred.triggerer.hostname}"
    return who if deferred.triggerer.alive else f"{who} (dead)"
