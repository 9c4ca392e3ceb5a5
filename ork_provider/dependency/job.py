"""TaskDependency: a DAG run, or tasks of one, that something else waits for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any, ClassVar

from ork_provider.errors import InvalidJob
from ork_provider.job import Job, check_type, describe

LATEST = "latest"
SUCCESS, END = "success", "end"
FURTHEST = 100 * 366 * 24 * 3600
"""Seconds from one logical date to another at most."""

_DATE = re.compile(
    r"(?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2})"
    r"([T ](?P<time>[0-9]{2}:[0-9]{2}(:[0-9]{2})?)((?<=:[0-9]{2}:[0-9]{2})\.(?P<decimals>[0-9]{1,9}))?)?"
    r"(Z|(?P<zone>[+-][0-9]{2}:[0-9]{2}))?"
)


@dataclass(frozen=True, kw_only=True)
class TaskDependency(Job):
    """A DAG run or tasks of it, in this Airflow or another one.

    Which run: at most one of ``run_id``, ``logical_date``, ``date_offset`` and ``run``; without any, the run with the
    logical date of the task that waits. Which tasks: ``task_ids`` or a group; without, the whole run.

    :param dag_id: the DAG
    :param run_id: its run's id
    :param logical_date: its run's logical date: a datetime, or ISO 8601
    :param date_offset: seconds or timedelta from the logical date of the task that waits to that of the run
    :param run: ``"latest"``: of those that exist when the wait begins, the run with the latest logical date; the first
        one that comes if there is none
    :param task_ids: the tasks; all instances of a mapped one
    :param task_group_id: all tasks of a group
    :param map_indexes: only these instances of mapped tasks
    :param wait_for: ``"success"``: fail when one has failed; ``"end"``: until all have ended, whatever they came to
    :param exists_by: ISO 8601 time at which what does not exist counts as lost; None: it may come at any time
    :param conn_id: HTTP connection of another Airflow; None: this one
    """

    kind: ClassVar[str] = "dependency"
    service: ClassVar[str] = "ork_provider.dependency:DependencyService"
    lost_words: ClassVar[str] = "cannot be found"

    dag_id: str
    run_id: str | None = None
    logical_date: str | None = None
    date_offset: float | None = None
    run: str | None = None
    task_ids: list[str] = field(default_factory=list, hash=False)
    task_group_id: str | None = None
    map_indexes: list[int] = field(default_factory=list, hash=False)
    wait_for: str = SUCCESS
    exists_by: str | None = None

    def __post_init__(self) -> None:
        for name in ("logical_date", "date_offset", "task_ids", "map_indexes"):
            object.__setattr__(self, name, as_json(name, getattr(self, name)))
        self._check()

    def _check(self) -> None:
        """Raise InvalidJob for what makes no sense."""
        self._check_fields()
        named = [name for name in ("run_id", "logical_date", "date_offset", "run") if getattr(self, name) is not None]
        if len(named) > 1:
            raise InvalidJob(f"{' and '.join(named)}: at most one of them may say which run is meant.")
        if self.run not in (None, LATEST):
            raise InvalidJob(f"run: expected None or 'latest', got {describe(self.run)}; a run's id is run_id.")
        if self.task_ids and self.task_group_id:
            raise InvalidJob("task_ids and task_group_id: one of them may say which tasks are meant.")
        if self.map_indexes and not (self.task_ids or self.task_group_id):
            raise InvalidJob("map_indexes: of which tasks? Give task_ids or task_group_id as well.")
        if any(index < 0 for index in self.map_indexes):
            raise InvalidJob(f"map_indexes: expected numbers from 0 on, got {describe(self.map_indexes)}.")
        if self.wait_for not in (SUCCESS, END):
            raise InvalidJob(f"wait_for: expected 'success' or 'end', got {describe(self.wait_for)}.")
        for name in ("logical_date", "exists_by"):
            read_date(getattr(self, name), name)

    def _check_fields(self) -> None:
        """Raise InvalidJob for a field that makes no sense by itself."""
        check_type(self.dag_id, str, "dag_id")
        check_type(self.task_ids, list[str], "task_ids")
        check_type(self.map_indexes, list[int], "map_indexes")
        check_type(self.date_offset, float | None, "date_offset")
        for name in ("run_id", "task_group_id", "conn_id"):
            check_type(getattr(self, name), str | None, name)
        if not self.dag_id:
            raise InvalidJob("dag_id: expected the id of a DAG, got ''.")
        empty = [name for name in ("run_id", "task_group_id", "conn_id") if getattr(self, name) == ""]
        if empty or "" in self.task_ids:  # a template that has come to nothing must not mean another run
            raise InvalidJob(f"{[*empty, 'task_ids'][0]}: expected a text that is not empty, got ''.")
        if not abs(self.date_offset or 0.0) <= FURTHEST:
            raise InvalidJob(f"date_offset: expected seconds up to {FURTHEST}, got {describe(self.date_offset)}.")

    @property
    def remote_id(self) -> str:
        """``dag_id/run`` and, of tasks, ``/tasks``."""
        return "/".join([self.dag_id, self.which_run, *([self.which_tasks] if self.which_tasks else [])])

    @property
    def which_run(self) -> str:
        """What names the run."""
        if self.date_offset is not None:
            return f"{self.date_offset:+g} s"
        return self.run_id or self.logical_date or self.run or "same logical date"

    @property
    def which_tasks(self) -> str:
        """What names the tasks; empty for a whole run."""
        some = [f"group {self.task_group_id}"] if self.task_group_id else self.task_ids
        names = ", ".join(some[:5]) + (f" and {len(some) - 5} more" if len(some) > 5 else "")
        return names + (f" {self.map_indexes[:5]}".replace(", ", " ") if self.map_indexes else "")

    @property
    def link(self) -> str | None:
        """Page of the run in the Airflow UI, if Airflow knows its own address."""
        if self.conn_id is not None or self.run_id is None:
            return None
        from urllib.parse import quote

        base = ui_address()
        return f"{base}/dags/{quote(self.dag_id)}/runs/{quote(self.run_id, safe='')}" if base else None

    def __str__(self) -> str:
        what = self.which_tasks and f"{self.which_tasks} of "
        return f"dependency on {what}{self.dag_id} ({self.which_run})"


def as_json(name: str, value: Any) -> Any:
    """Return what a field was given as it is stored: a datetime, a timedelta or one of a list may be given, too."""
    if name == "logical_date" and isinstance(value, datetime):
        return iso(value)
    if name == "date_offset" and isinstance(value, timedelta):
        return value.total_seconds()
    if name in ("task_ids", "map_indexes"):
        return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    return value


def iso(time: datetime) -> str:
    """Write a time as ISO 8601 UTC."""
    return (time if time.tzinfo else time.replace(tzinfo=timezone.utc)).astimezone(timezone.utc).isoformat()


def read_date(text: str | None, where: str) -> datetime | None:
    """Read an ISO 8601 time; one without a zone is UTC. What Pythons read differently is read here, or refused."""
    if text is None:
        return None
    found = _DATE.fullmatch(text) if isinstance(text, str) else None
    try:
        if found is None:
            raise ValueError(text)
        time = datetime.fromisoformat(f"{found['date']}T{found['time'] or '00:00:00'}{found['zone'] or ''}")
    except ValueError:
        raise InvalidJob(
            f"{where}: expected a time as 2026-01-31T00:00:00+00:00 (ISO 8601), got {describe(text)}."
        ) from None
    time = time.replace(microsecond=int((found["decimals"] or "").ljust(6, "0")[:6]))
    return time if time.tzinfo else time.replace(tzinfo=timezone.utc)


def ui_address() -> str:
    """Return ``[api] base_url`` without a slash at its end; empty if it is not set."""
    from airflow.sdk.configuration import conf

    return str(conf.get("api", "base_url", fallback="") or "").rstrip("/")
