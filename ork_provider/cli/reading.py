"""What Airflow's metadata database says of deferred tasks, their triggers and the triggerers; read only.

Columns are read, not Airflow's objects: a task instance as an object brings pickles along that need not load here.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from functools import cached_property
from typing import Any

from airflow.configuration import conf
from airflow.jobs.job import Job as AirflowJob
from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance
from airflow.models.trigger import Trigger
from airflow.models.xcom import XComModel
from sqlalchemy import and_, func, select

from ork_provider.errors import InvalidJob
from ork_provider.job import Job, job_from_dict, load
from ork_provider.service import CONNECTIONS
from ork_provider.text import one_line
from ork_provider.trigger import read_time

OTHER = "other"
"""What stands for the kind of job where a trigger is not one of ours."""


@dataclass(frozen=True, kw_only=True)
class Triggerer:
    """A triggerer as the table ``job`` has it.

    :param alive: whether Airflow counts it as alive, and so leaves its triggers to it
    """

    id: int
    hostname: str
    started: datetime | None
    heartbeat: datetime | None
    ended: datetime | None
    alive: bool

    def __str__(self) -> str:
        return f"triggerer {self.id} on {self.hostname}"


@dataclass(frozen=True, kw_only=True)
class Deferred:
    """A deferred task instance, with its trigger.

    :param since: when it was deferred: the trigger's row is made then
    :param stored: the trigger's kwargs as stored
    :param triggerer: who has the trigger; None: nobody
    :param overdue_after: Airflow's own deadline (``defer(timeout=...)``)
    """

    dag_id: str
    task_id: str
    run_id: str
    map_index: int
    try_number: int
    trigger_id: int | None
    classpath: str = ""
    since: datetime | None = None
    queue: str | None = None
    stored: str = ""
    triggerer_id: int | None = None
    triggerer: Triggerer | None = None
    overdue_after: datetime | None = None
    logical_date: datetime | None = None
    progress: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        index = f"[{self.map_index}]" if self.map_index >= 0 else ""
        return f"{self.dag_id}.{self.task_id}{index} {self.run_id}"

    @cached_property
    def kwargs(self) -> Mapping[str, Any]:
        """The trigger's kwargs; empty if they cannot be read, and then ``unreadable`` says why."""
        return self._read[0]

    @property
    def unreadable(self) -> str:
        """Why the kwargs cannot be read, such as another Fernet key; empty if they can."""
        return self._read[1]

    @cached_property
    def _read(self) -> tuple[Mapping[str, Any], str]:
        if not self.stored:
            return {}, ""
        try:
            return dict(Trigger._decrypt_kwargs(self.stored)), ""
        except Exception as exc:  # of Fernet, json or any class that a trigger has put in
            return {}, one_line(f"{type(exc).__name__}: {exc}", 200).rstrip(": ")

    @cached_property
    def jobs(self) -> tuple[Job, ...]:
        """The jobs that it waits for; none if the trigger is not one of ours."""
        return tuple(job for job in map(_read_job, self.kwargs.get("jobs") or ()) if job is not None)

    @property
    def deadline(self) -> datetime | None:
        """When its wait ends at the latest, by the operator's deadline or else by Airflow's."""
        try:
            own = read_time(self.kwargs.get("deadline"), "deadline") if self.jobs else None
        except InvalidJob:
            own = None
        return own or self.overdue_after

    def connection_of(self, job: Job) -> tuple[str, str | None]:
        """Return the parameter that names a job's connection, and the connection's id."""
        defaults = load(job.service).connection_defaults
        name = next(iter(defaults))
        return name, job.conn_id or self.kwargs.get(name) or defaults[name] or CONNECTIONS.get(name)

    def heard_of(self, job: Job) -> Mapping[str, Any]:
        """Return what the XCom ``ork_progress`` holds of a job."""
        heard = self.progress.get(str(job))
        return heard if isinstance(heard, Mapping) else {}


def read_triggerers(session: Any, at: datetime | None = None) -> dict[int, Triggerer]:
    """Return all triggerers that the database knows, by id.

    :param at: the time at which they are alive or not; the present one by default
    """
    columns = (
        AirflowJob.id,
        AirflowJob.hostname,
        AirflowJob.start_date,
        AirflowJob.latest_heartbeat,
        AirflowJob.end_date,
    )
    rows = session.execute(select(*columns).where(AirflowJob.job_type == "TriggererJob").order_by(AirflowJob.id))
    oldest = (at or now()) - threshold()
    found = (
        Triggerer(
            id=row[0],
            hostname=row[1] or "",
            started=row[2],
            heartbeat=row[3],
            ended=row[4],
            alive=row[4] is None and row[3] is not None and row[3] > oldest,
        )
        for row in rows
    )
    return {triggerer.id: triggerer for triggerer in found}


def threshold() -> timedelta:
    """How old the heartbeat of a triggerer may be before Airflow gives its triggers to another one."""
    return timedelta(seconds=conf.getfloat("triggerer", "triggerer_health_check_threshold"))


def read_deferred(
    session: Any, triggerers: Mapping[int, Triggerer] | None = None, **only: str | int | None
) -> list[Deferred]:
    """Return the deferred tasks, the longest waiting first.

    :param triggerers: what ``read_triggerers`` has returned; they are read by default
    :param only: values of columns of ``task_instance``; None means any
    """
    if triggerers is None:
        triggerers = read_triggerers(session)
    statement = (
        select(
            *(getattr(TaskInstance, name) for name in _KEY),
            TaskInstance.try_number,
            TaskInstance.trigger_id,
            TaskInstance.trigger_timeout,
            Trigger.id,
            Trigger.classpath,
            Trigger.created_date,
            Trigger.queue,
            Trigger.encrypted_kwargs,
            Trigger.triggerer_id,
            DagRun.logical_date,
        )
        .select_from(TaskInstance)
        .join(DagRun, and_(DagRun.dag_id == TaskInstance.dag_id, DagRun.run_id == TaskInstance.run_id))
        .outerjoin(Trigger, Trigger.id == TaskInstance.trigger_id)
        .where(TaskInstance.state == "deferred")
        .order_by(Trigger.created_date, TaskInstance.dag_id, TaskInstance.task_id, TaskInstance.map_index)
    )
    for name, value in only.items():
        if value is not None:
            statement = statement.where(getattr(TaskInstance, name) == value)
    progress = _read_progress(session, only)
    return [
        Deferred(
            dag_id=row[0],
            task_id=row[1],
            run_id=row[2],
            map_index=row[3],
            try_number=row[4],
            trigger_id=row[5] if row[7] is not None else None,
            overdue_after=row[6],
            classpath=row[8] or "",
            since=row[9],
            queue=row[10],
            stored=row[11] or "",
            triggerer_id=row[12],
            triggerer=triggerers.get(row[12]) if row[12] is not None else None,
            logical_date=row[13],
            progress=progress.get(tuple(row[:4]), {}),
        )
        for row in session.execute(statement)
    ]


def count_triggers(session: Any) -> dict[int | None, int]:
    """Return how many triggers each triggerer has, those of assets and callbacks too; under None: nobody's."""
    rows = session.execute(select(Trigger.triggerer_id, func.count(Trigger.id)).group_by(Trigger.triggerer_id))
    return {row[0]: row[1] for row in rows}


_KEY = ("dag_id", "task_id", "run_id", "map_index")


def _read_progress(session: Any, only: Mapping[str, Any]) -> dict[tuple[Any, ...], Mapping[str, Any]]:
    statement = (
        select(*(getattr(XComModel, name) for name in _KEY), XComModel.value)
        .join(TaskInstance, _same_task())
        .where(XComModel.key == "ork_progress", TaskInstance.state == "deferred")
    )
    for name, value in only.items():
        if value is not None and name in _KEY:
            statement = statement.where(getattr(TaskInstance, name) == value)
    return {tuple(row[:4]): value for row in session.execute(statement) for value in _mappings([xcom(row[4])])}


def _same_task() -> Any:
    return and_(*(getattr(XComModel, name) == getattr(TaskInstance, name) for name in _KEY))


def xcom(value: Any) -> Any:
    """Return the value of an XCom's column: JSON, which some databases give as a text."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return value
    return value


def _mappings(values: Iterable[Any]) -> Iterator[Mapping[str, Any]]:
    return (value for value in values if isinstance(value, Mapping))


def _read_job(data: Any) -> Job | None:
    try:
        return job_from_dict(data)
    except InvalidJob:
        return None


def now() -> datetime:
    """Return the present, in UTC."""
    return datetime.now(timezone.utc)


def show_time(time: datetime | None) -> str:
    """Write a time out, to the second."""
    return time.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ") if time else ""


def show_span(span: timedelta) -> str:
    """Write a span out in the two largest units that it has."""
    seconds = max(0, round(span.total_seconds()))
    for size, unit, small, smaller in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if seconds >= size:
            rest = seconds % size // small
            return f"{seconds // size} {unit} {rest} {smaller}" if rest else f"{seconds // size} {unit}"
    return f"{seconds} s"
