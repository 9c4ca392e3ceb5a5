"""``airflow ork explain``: the life of one task instance so far, what it waits for, and what comes next."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from airflow.cli.simple_table import AirflowConsole
from airflow.models.connection import Connection
from airflow.models.log import Log
from airflow.models.task_state_store import TaskStateStoreModel
from airflow.models.taskinstance import TaskInstance
from airflow.utils.cli import suppress_logs_and_warning
from airflow.utils.providers_configuration_loader import providers_configuration_loaded
from airflow.utils.session import create_session
from sqlalchemy import or_, select

from ork_provider.attempt import STORE_KEY
from ork_provider.cli.reading import (
    Deferred,
    now,
    read_deferred,
    read_triggerers,
    show_span,
    show_time,
    threshold,
    xcom,
)
from ork_provider.errors import InvalidJob, OrkError
from ork_provider.job import Job, job_from_dict
from ork_provider.service import CONNECTIONS
from ork_provider.settings import shared_poll_interval
from ork_provider.text import one_line
from ork_provider.worker import Worker

COLUMNS = (
    "state",
    "try_number",
    "max_tries",
    "operator",
    "pool",
    "hostname",
    "queued_dttm",
    "scheduled_dttm",
    "start_date",
    "end_date",
    "next_method",
    "next_kwargs",
    "trigger_timeout",
)


@suppress_logs_and_warning
@providers_configuration_loaded
def explain(args: Namespace) -> None:
    """Tell the life of one task instance."""
    key = {"dag_id": args.dag_id, "task_id": args.task_id, "run_id": args.run_id, "map_index": args.map_index}
    with create_session() as session:
        task = _read_task(session, key)
        deferred = next(iter(read_deferred(session, **key)), None)
        life = {
            **key,
            "state": task["state"],
            "try_number": task["try_number"],
            "max_tries": task["max_tries"],
            "phases": list(_phases(session, key, task)),
            "trigger": _trigger(deferred),
            "jobs": list(_jobs(deferred)),
            "waits": _waits(deferred),
            "remembers": _remembers(session, key),
            "next": _next(task, deferred, any(t.alive for t in read_triggerers(session).values())),
        }
    if args.ask:
        life["answers"] = _ask(deferred)
    if args.output in {"json", "yaml"}:
        AirflowConsole().print_as([life], args.output)
    else:
        print("\n".join(_tell(life)))


def _read_task(session: Any, key: dict[str, Any]) -> dict[str, Any]:
    statement = select(*(getattr(TaskInstance, name) for name in COLUMNS))
    for name, value in key.items():
        statement = statement.where(getattr(TaskInstance, name) == value)
    row = session.execute(statement).one_or_none()
    if row is None:
        raise SystemExit(_why_unknown(session, key))
    return dict(zip(COLUMNS, row, strict=True))


def _why_unknown(session: Any, key: dict[str, Any]) -> str:
    """Say which part of the key does not exist, and which there are."""
    found = TaskInstance.dag_id == key["dag_id"]
    for name, plural in (("dag_id", "Dags"), ("task_id", "tasks"), ("run_id", "runs"), ("map_index", "map indexes")):
        column = getattr(TaskInstance, name)
        scope = select(column).distinct().order_by(column.desc()).limit(10)
        if name != "dag_id":
            scope = scope.where(found)
            found = found & (column == key[name])
        known = session.execute(scope).scalars().all()
        if key[name] not in known and not session.execute(scope.where(column == key[name])).first():
            there = ", ".join(map(str, known)) or "none"
            return f"There is no task instance with {name} {key[name]!r}; {plural}: {there}"
    return f"There is no such task instance: {key}"


def _phases(session: Any, key: dict[str, Any], task: dict[str, Any]) -> Iterator[dict[str, str]]:
    """Tell what Airflow's audit log has of the task, oldest first, and the times that its row has."""
    statement = select(Log.dttm, Log.event, Log.try_number, Log.owner).where(
        Log.dag_id == key["dag_id"],
        Log.task_id == key["task_id"],
        Log.run_id == key["run_id"],
        or_(Log.map_index == key["map_index"], Log.map_index.is_(None)),
    )
    events = [(row[0], row[1], row[2]) for row in session.execute(statement.order_by(Log.dttm, Log.id))]
    events += [(task[column], name, task["try_number"]) for column, name in _TIMES.items() if task[column]]
    for time, event, tried in sorted((e for e in events if e[0]), key=lambda e: e[0]):
        yield {"at": show_time(time), "event": str(event), "try": str(tried if tried is not None else "")}


_TIMES = {"scheduled_dttm": "scheduled", "queued_dttm": "queued", "end_date": "ended"}


def _trigger(deferred: Deferred | None) -> dict[str, str]:
    if deferred is None or deferred.trigger_id is None:
        return {}
    triggerer = deferred.triggerer
    return {
        "id": str(deferred.trigger_id),
        "class": deferred.classpath,
        "since": show_time(deferred.since),
        "triggerer": str(triggerer) if triggerer else "none",
        "heartbeat": show_time(triggerer.heartbeat) if triggerer else "",
        **({"unreadable": deferred.unreadable} if deferred.unreadable else {}),
    }


def _jobs(deferred: Deferred | None) -> Iterator[dict[str, Any]]:
    """Tell each job as an XCom would have it, without secrets, and what was heard of it last."""
    for job in deferred.jobs if deferred else ():
        heard = deferred.heard_of(job) if deferred else {}
        yield {
            "name": str(job),
            "state": str(heard.get("state") or "waiting"),
            "message": str(heard.get("message") or ""),
            "link": job.link or "",
            "job": job.public_dict(),
        }


def _waits(deferred: Deferred | None) -> dict[str, str]:
    """Tell the rules of the wait, from the trigger's arguments."""
    if deferred is None:
        return {}
    deadline = show_time(deferred.deadline) or "none"
    if not deferred.jobs:
        return {"deadline": deadline}
    kwargs = deferred.kwargs
    return {
        "until": str(kwargs.get("until", "all")),
        "poll_interval": f"{kwargs.get('poll_interval', 10)} s (shared polls: {shared_poll_interval():g} s)",
        "error_budget": f"{kwargs.get('error_budget', 600)} s",
        "deadline": deadline,
        "not_before": str(kwargs.get("not_before") or ""),
        "on kill": "the jobs are cancelled" if kwargs.get("cancel_on_kill", True) else "the jobs go on",
    }


def _remembers(session: Any, key: dict[str, Any]) -> dict[str, Any]:
    """Tell what the task state store holds, by which a next try finds the job."""
    statement = select(TaskStateStoreModel.value).where(TaskStateStoreModel.key == STORE_KEY)
    for name, value in key.items():
        statement = statement.where(getattr(TaskStateStoreModel, name) == value)
    stored = session.execute(statement).scalar()
    try:
        data = json.loads(stored) if stored else None
    except ValueError:
        return {"unreadable": one_line(str(stored), 200)}
    if not isinstance(data, dict):
        return {}
    jobs = [job for job in [data.get("job"), *(data.get("jobs") or ())] if job]
    submitted = data.get("submitted", data.get("complete"))
    return {
        "jobs": [_name(job) for job in jobs],
        "started": "yes" if submitted else "not confirmed: it was about to be started",
        "at": str(data.get("at", "")),
        "deadline": str(data.get("deadline") or "none"),
    }


def _name(job: Any) -> str:
    try:
        return str(job_from_dict(job))
    except InvalidJob as exc:
        return f"unreadable: {one_line(str(exc), 200)}"


def _next(task: dict[str, Any], deferred: Deferred | None, alive: bool) -> str:
    """Say what happens next, and who does it."""
    state, method = task["state"], task["next_method"]
    if state == "deferred":
        return _next_of_deferred(task, deferred, alive)
    if method == "__fail__" and state in {"scheduled", "queued", "running"}:
        why = xcom(task["next_kwargs"])
        error = why.get("error") if isinstance(why, dict) else why
        return f"The wait went wrong ({one_line(str(error), 200)}); a worker fails the task, after cancelling its job"
    begins = f"run {method}, because its event has come" if method else "begin"
    waits = f"A worker will {begins}, as soon as a slot of the pool {task['pool']!r} and of the executor is free"
    words = {
        "scheduled": waits,
        "queued": waits,
        "running": f"A worker ({task['hostname']}) runs {method or 'execute: it starts the job, and then defers'}",
        "up_for_retry": "The scheduler begins the next try after the retry delay; by what is remembered it finds "
        "this one's job",
        None: "The scheduler has not come to it: tasks before it have not ended, or the Dag is paused",
    }
    return words.get(state, f"Nothing: it has ended ({state})")


def _next_of_deferred(task: dict[str, Any], deferred: Deferred | None, alive: bool) -> str:
    if deferred is None or deferred.trigger_id is None:
        return "Nothing can wake it, because it has no trigger: clear the task"
    if not alive:
        return "Nothing, until a triggerer runs: airflow triggerer"
    if deferred.triggerer_id is None:
        return "A triggerer takes the trigger, within seconds if it has room: airflow ork doctor --check capacity"
    if deferred.triggerer is None or not deferred.triggerer.alive:
        after = f"{threshold().total_seconds():g} s after the last heartbeat of its own one"
        return f"A living triggerer takes the trigger, {after}"
    if not deferred.jobs:
        return f"When the trigger fires, a worker runs {task['next_method']}"
    ends = f"; at {show_time(deferred.deadline)} the wait ends in any case" if deferred.deadline else ""
    past = now() - deferred.deadline if deferred.deadline else timedelta(0)
    late = f" - that was {show_span(past)} ago: airflow ork doctor" if past > timedelta(seconds=60) else ""
    return (
        f"The triggerer goes on asking; when the wait is over it sends one event, and a worker runs "
        f"{task['next_method']}{ends}{late}"
    )


def _ask(deferred: Deferred | None) -> list[dict[str, str]]:
    """Ask the service of each job once, with the connections of this machine."""
    if deferred is None:
        return []
    connections = {name: deferred.kwargs.get(name, default) for name, default in CONNECTIONS.items()}
    with Worker(connections, read=_read_connection) as worker:
        return [{"name": str(job), "answer": _ask_for(worker, job)} for job in deferred.jobs]


def _ask_for(worker: Worker, job: Job) -> str:
    if job.kind == "dependency" and job.conn_id is None:
        return "only a triggerer can ask for tasks of its own Airflow; look at their runs in the UI"
    try:
        status = worker.run(worker.services.check(job))
    except OrkError as exc:
        return f"{type(exc).__name__}: {exc}"
    return " ".join(part for part in (status.state.value, status.remote_state, status.message) if part)


async def _read_connection(conn_id: str) -> Any:
    return Connection.get_connection_from_secrets(conn_id)


def _tell(life: dict[str, Any]) -> Iterator[str]:
    """Write the life out for people."""
    index = f"[{life['map_index']}]" if life["map_index"] >= 0 else ""
    yield f"{life['dag_id']}.{life['task_id']}{index} {life['run_id']}: {life['state']}, try {life['try_number']}"
    yield "\nPhases"
    for phase in life["phases"]:
        yield f"  {phase['at']}  {phase['event']}" + (f" (try {phase['try']})" if phase["try"] else "")
    for title in ("trigger", "waits", "remembers"):
        if life[title]:
            yield f"\n{title.capitalize()}"
            for name, value in life[title].items():
                yield f"  {name}: {', '.join(value) if isinstance(value, list) else value}"
    if life["jobs"]:
        yield "\nJobs"
    for job in life["jobs"]:
        yield "  " + " ".join(part for part in (f"{job['name']}: {job['state']}", job["message"], job["link"]) if part)
    for answer in life.get("answers", ()):
        yield f"  asked now: {answer['name']}: {answer['answer']}"
    yield f"\nNext\n  {life['next']}"
