"""The real state server: Airflow's execution API over a real database, asked through Airflow's own supervisors.

A worker's requests go over a socket to ``ActivitySubprocess``, a trigger's to ``TriggerRunnerSupervisor``; both ask the
API's application, in process, as the triggerer does. Nothing of what Airflow answers is made up here.
"""

from __future__ import annotations

import atexit
import os
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timezone
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import psutil
import structlog
from airflow.sdk.execution_time import comms
from airflow.sdk.execution_time.supervisor import ActivitySubprocess, set_supervisor_comms
from sqlalchemy import event, text

BUNDLE = "tests"
NAMES = ("engine", "Session", "NonScopedSession", "async_engine", "AsyncSession")
EMPTIED = ("xcom", "task_map", "task_instance", "dag_run", "serialized_dag", "dag_code", "dag_version", "dag")
NOW = datetime(2026, 11, 20, tzinfo=timezone.utc)
_LENGTH = 4  # bytes before each frame

Tasks = Mapping[Any, str | None]
"""States by task id, or by task id and map index."""

log = structlog.get_logger()


class StateServer:
    """DAG runs and tasks that a test has made up, in Airflow's own tables.

    ``messages`` holds each request that somebody made. What the test does ``before`` a request of a certain number is
    done while the one who waits cannot look.
    """

    def __init__(self) -> None:
        self.messages: list[Any] = []
        self.fault: Callable[[Any], Exception | None] = lambda msg: None
        self._plans: dict[int, list[Callable[[], object]]] = {}
        self._lock = threading.Lock()

    # -- what there is -------------------------------------------------------------------------------------------

    def add_dag(self, dag_id: str) -> None:
        """Store a DAG, without any task."""
        from airflow.models.dag import DagModel

        with _session() as session:
            if session.get(DagModel, dag_id) is None:
                more = {"is_stale": False, "is_paused": False, "timetable_type": "none"}
                session.add(DagModel(dag_id=dag_id, bundle_name=BUNDLE, **more))

    def add_groups(self, dag_id: str, groups: Mapping[str, list[str]]) -> None:
        """Store a DAG with task groups."""
        from airflow.models.serialized_dag import SerializedDagModel
        from airflow.providers.standard.operators.empty import EmptyOperator
        from airflow.sdk import DAG, TaskGroup
        from airflow.serialization.serialized_objects import DagSerialization, LazyDeserializedDAG

        self.add_dag(dag_id)
        with DAG(dag_id, schedule=None, start_date=NOW) as dag:
            for group_id, task_ids in groups.items():
                with TaskGroup(group_id, prefix_group_id=False):
                    for task_id in task_ids:
                        EmptyOperator(task_id=task_id)
        with _session() as session:
            data = LazyDeserializedDAG(data=DagSerialization.to_dict(dag))
            SerializedDagModel.write_dag(data, bundle_name=BUNDLE, session=session)

    def add_run(
        self,
        dag_id: str = "sales",
        run_id: str = "r1",
        *,
        tasks: Tasks | None = None,
        state: str = "running",
        logical_date: datetime | None = None,
    ) -> None:
        """Store a run with its task instances, and its DAG."""
        from airflow.models.dagrun import DagRun
        from airflow.utils.types import DagRunType

        self.add_dag(dag_id)
        with _session() as session:
            more: dict[str, Any] = {"run_after": logical_date or NOW, "run_type": DagRunType.MANUAL, "state": state}
            session.add(DagRun(dag_id=dag_id, run_id=run_id, logical_date=logical_date, **more))
        self.add_tasks(tasks or {}, dag_id, run_id)

    def add_tasks(self, tasks: Tasks, dag_id: str = "sales", run_id: str = "r1") -> None:
        """Store task instances of a run."""
        from airflow.models.taskinstance import TaskInstance

        rows = [
            {"dag_id": dag_id, "run_id": run_id, "task_id": task_id, "map_index": index, "state": state}
            for (task_id, index), state in _instances(tasks).items()
        ]
        more = {"pool": "default_pool", "max_tries": 0}
        if rows:
            with _session() as session:
                session.execute(TaskInstance.__table__.insert(), [{"id": uuid4(), **row, **more} for row in rows])

    def set_run(self, state: str, dag_id: str = "sales", run_id: str = "r1") -> None:
        """Give a run another state."""
        from airflow.models.dagrun import DagRun

        run = DagRun.__table__
        with _session() as session:
            of = (run.c.dag_id == dag_id, run.c.run_id == run_id)
            session.execute(run.update().where(*of).values(state=state))

    def set_tasks(self, tasks: Tasks, dag_id: str = "sales", run_id: str = "r1") -> None:
        """Give task instances other states."""
        from airflow.models.taskinstance import TaskInstance

        ti = TaskInstance.__table__
        with _session() as session:
            for (task_id, index), state in _instances(tasks).items():
                of = (ti.c.dag_id == dag_id, ti.c.run_id == run_id, ti.c.task_id == task_id, ti.c.map_index == index)
                changed = session.execute(ti.update().where(*of).values(state=state))
                assert changed.rowcount == 1, f"there is no {task_id}[{index}]"

    def expand(self, task_id: str, states: list[str | None], dag_id: str = "sales", run_id: str = "r1") -> None:
        """Expand a mapped task: its one instance without an index becomes the first."""
        self.remove(task_id, dag_id, run_id)
        self.add_tasks({(task_id, i): state for i, state in enumerate(states)}, dag_id, run_id)

    def remove(self, task_id: str | None = None, dag_id: str = "sales", run_id: str = "r1") -> None:
        """Delete a task of a run, or the run."""
        from airflow.models.dagrun import DagRun
        from airflow.models.taskinstance import TaskInstance

        table = (DagRun if task_id is None else TaskInstance).__table__
        of = [table.c.dag_id == dag_id, table.c.run_id == run_id]
        with _session() as session:
            session.execute(table.delete().where(*of, *([table.c.task_id == task_id] if task_id else [])))

    def returns(self, value: Any, task_id: str, index: int = -1, dag_id: str = "sales", run_id: str = "r1") -> None:
        """Store what a task instance has returned, as its own worker does."""
        from airflow.sdk.bases.xcom import BaseXCom

        stored = BaseXCom.serialize_value(value)
        _triggerer().client.xcoms.set(dag_id, run_id, task_id, "return_value", stored, index)

    # -- who asks ------------------------------------------------------------------------------------------------

    def before(self, number: int, *actions: Callable[[], object]) -> None:
        """Do something before the request of this number, from now on, is answered."""
        self._plans.setdefault(len(self.messages) + number, []).extend(actions)

    def count(self, *kinds: str) -> int:
        """Return how many requests there were of these kinds, or of all kinds."""
        return sum(not kinds or type(msg).__name__ in kinds for msg in self.messages)

    def answers(self, msg: Any) -> Any:
        """Answer a trigger, for ``run_trigger(..., answers=)``; None to what is not about runs and tasks."""
        if type(msg).__name__ in ("SetXCom", "DeleteXCom", "GetConnection", "GetVariable", "MaskSecret"):
            return None
        self._note(msg)
        if error := self.fault(msg):
            raise error
        sent = _frame(comms._RequestFrame(id=1, body=msg.model_dump()).as_bytes())
        pipe, supervisor = _Pipe(), _triggerer()
        supervisor.stdin = pipe
        dialog = supervisor.handle_requests(log)
        next(dialog)
        dialog.send(sent)
        return _trigger_side()._from_frame(pipe.answer)

    @contextmanager
    def worker(self) -> Iterator[None]:
        """Let the code of a task talk to its supervisor."""
        child, parent = socket.socketpair()
        supervisor = ActivitySubprocess(client=_triggerer().client, stdin=parent, **_process())
        serving = threading.Thread(target=self._serve, args=(supervisor, parent), daemon=True)
        serving.start()
        try:
            with set_supervisor_comms(comms.CommsDecoder(socket=child)):
                yield
        finally:
            child.close()
            serving.join(10)
            parent.close()

    def _serve(self, supervisor: ActivitySubprocess, requests: socket.socket) -> None:
        dialog = supervisor.handle_requests(log)
        next(dialog)
        with requests.makefile("rb") as stream:
            while len(length := stream.read(_LENGTH)) == _LENGTH:
                frame = msgspec.msgpack.decode(
                    stream.read(int.from_bytes(length, byteorder="big")), type=comms._RequestFrame
                )
                msg = supervisor.decoder.validate_python(frame.body)
                self._note(msg)
                dialog.send(frame)

    def _note(self, msg: Any) -> None:
        with self._lock:
            self.messages.append(msg)
            plans = self._plans.pop(len(self.messages), [])
        for action in plans:
            action()


class _Pipe:
    """The end of a pipe into which a supervisor writes its answer."""

    answer: Any = None

    def sendall(self, data: bytes) -> None:
        self.answer = msgspec.msgpack.decode(data[_LENGTH:], type=comms._ResponseFrame)


def _frame(data: Any) -> Any:
    return msgspec.msgpack.decode(bytes(data)[_LENGTH:], type=comms._RequestFrame)


def _instances(tasks: Tasks) -> dict[tuple[str, int], str | None]:
    return {(key, -1) if isinstance(key, str) else key: state for key, state in tasks.items()}


@contextmanager
def _session() -> Iterator[Any]:
    from airflow.utils.session import create_session

    with create_session() as session:
        yield session


def _process() -> dict[str, Any]:
    return {"id": uuid4(), "pid": os.getpid(), "process": psutil.Process(), "process_log": log}


@cache
def _triggerer() -> Any:
    """Return the supervisor of a triggerer; its client has the API's application in this process."""
    from airflow.jobs.triggerer_job_runner import TriggerRunnerSupervisor

    return TriggerRunnerSupervisor(stdin=_Pipe(), capacity=1, **_process())


@cache
def _trigger_side() -> Any:
    from airflow.jobs.triggerer_job_runner import TriggerCommsDecoder

    return TriggerCommsDecoder(socket=None, async_writer=None, async_reader=None)


def _hurry(connection: Any, _: object) -> None:
    """Have SQLite leave it to the system when it writes to the disk."""
    connection.execute("PRAGMA synchronous=OFF")
    connection.execute("PRAGMA journal_mode=MEMORY")


@cache
def _database() -> dict[str, Any]:
    """Make the database, once for a process; return what Airflow's settings are with it."""
    from airflow import settings
    from airflow.models import import_all_models
    from airflow.models.base import Base

    folder = Path(tempfile.mkdtemp(prefix="ork-states-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    import_all_models()
    before = {name: getattr(settings, name) for name in (*NAMES, "SQL_ALCHEMY_CONN", "SQL_ALCHEMY_CONN_ASYNC")}
    try:
        settings.SQL_ALCHEMY_CONN = f"sqlite:///{folder}/airflow.db"
        settings.SQL_ALCHEMY_CONN_ASYNC = f"sqlite+aiosqlite:///{folder}/airflow.db"
        settings.configure_orm()
        event.listen(settings.engine, "connect", _hurry)
        Base.metadata.create_all(settings.engine)
        return {name: getattr(settings, name) for name in before}
    finally:
        for name, value in before.items():
            setattr(settings, name, value)


@contextmanager
def serve_states() -> Iterator[StateServer]:
    """Yield an empty state server, and let this thread be a worker's."""
    from airflow import settings
    from airflow.models.dagbundle import DagBundleModel

    ours = _database()
    before = {name: getattr(settings, name) for name in ours}
    for name, value in ours.items():
        setattr(settings, name, value)
    try:
        with _session() as session:
            for table in EMPTIED:
                session.execute(text(f"DELETE FROM {table}"))
            session.merge(DagBundleModel(name=BUNDLE))
        server = StateServer()
        with server.worker():
            yield server
    finally:
        for name, value in before.items():
            setattr(settings, name, value)
