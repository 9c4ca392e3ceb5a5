"""A whole triggerer for `./dev/bench dependency`: Airflow's own job, supervisor and runner, on a database of its own.

Nothing of Airflow's is left out or replaced: the waits are deferred task instances with rows of triggers, which the
job takes up 50 to a loop; requests of triggers go through the supervisor and its in-process API to the database; the
job heartbeats, events are written back, triggers that nobody needs are deleted. Ours are notes only: when the
supervisor was asked what (`_handle_request`; the exchange of state, which the runner makes every second whatever it
runs, is not counted), when an event was in the database, when the job heartbeat, and the CPU time of both processes.

Started by `_bench.dependency`, as `python -m _bench.dependency_triggerer FOLDER`.
"""

from __future__ import annotations

import importlib
import json
import pickle
import resource
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, ClassVar

import attrs
from airflow.jobs import triggerer_job_runner
from airflow.jobs.triggerer_job_runner import TriggerRunnerSupervisor, messages

from _bench.board import Board
from _bench.triggerer import SAMPLE, Runner

WAITING_DAG = "waiting"
TASK = "load"


@dataclass(frozen=True, kw_only=True)
class Run:
    """A DAG run that is waited for; it has one task, TASK."""

    dag_id: str
    run_id: str
    logical_date: datetime


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What lies in the database when the triggerer starts: runs that go on, and triggers of tasks that wait."""

    runs: Sequence[Run]
    triggers: Sequence[tuple[str, dict[str, Any]]]


class Rows:
    """Writes a scene into an empty database; trigger n has the id n + 1."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.now = datetime.now(timezone.utc)

    def write(self) -> None:
        """Make the tables, and fill them."""
        from airflow.models.dagbundle import DagBundleModel
        from airflow.models.trigger import Trigger
        from airflow.utils.db import initdb
        from airflow.utils.session import create_session

        initdb()
        with create_session() as session:
            self._session = session
            self._insert(DagBundleModel, [{"name": "bench"}])
            for dag_id in dict.fromkeys(run.dag_id for run in self.scene.runs):
                self._write_dag(dag_id, [run for run in self.scene.runs if run.dag_id == dag_id])
            encrypt = Trigger.encrypt_kwargs
            self._insert(
                Trigger,
                [
                    {"id": number, "classpath": path, "kwargs": encrypt(kwargs), "created_date": self.now}
                    for number, (path, kwargs) in enumerate(self.scene.triggers, 1)
                ],
            )
            run = Run(dag_id=WAITING_DAG, run_id="run", logical_date=self.now)
            waits = [{"map_index": i, "trigger_id": i + 1} for i in range(len(self.scene.triggers))]
            deferred = {"state": "deferred", "next_method": "execute_complete", "next_kwargs": {}}
            self._write_dag(WAITING_DAG, [run], [{"task_id": "wait", **deferred, **wait} for wait in waits])

    def _write_dag(self, dag_id: str, runs: Sequence[Run], instances: Sequence[dict[str, Any]] = ()) -> None:
        from airflow.models.dag import DagModel
        from airflow.models.dag_version import DagVersion
        from airflow.models.dagrun import DagRun
        from airflow.models.taskinstance import TaskInstance
        from uuid6 import uuid7

        limits = {"max_active_tasks": 16, "max_consecutive_failed_dag_runs": 0, "has_task_concurrency_limits": False}
        self._insert(DagModel, [{"dag_id": dag_id, "bundle_name": "bench", "is_stale": False, **limits}])
        version = uuid7()
        self._insert(DagVersion, [{"id": version, "dag_id": dag_id, "bundle_name": "bench"}])
        self._insert(
            DagRun,
            [
                {
                    "dag_id": dag_id,
                    "run_id": run.run_id,
                    "logical_date": run.logical_date,
                    "run_after": self.now,
                    "start_date": self.now,
                    "state": "running",
                    "run_type": "manual",
                    "created_dag_version_id": version,
                }
                for run in runs
            ],
        )
        fixed = {"dag_id": dag_id, "pool": "default_pool", "pool_slots": 1, "try_number": 1, "dag_version_id": version}
        fixed |= {"start_date": self.now, "hostname": "", "priority_weight": 1, "queue": "default"}
        for run in runs:
            rows = instances or [{"task_id": TASK, "state": "running"}]
            self._insert(TaskInstance, [{"id": uuid7(), "run_id": run.run_id, **fixed, **row} for row in rows])

    def _insert(self, model: Any, rows: Sequence[dict[str, Any]]) -> None:
        self._session.execute(model.__table__.insert(), list(rows))


@attrs.define(kw_only=True)
class Supervisor(TriggerRunnerSupervisor):
    """Airflow's supervisor, with notes."""

    folder: ClassVar[Path]
    board: ClassVar[Board]
    notes: ClassVar[dict[str, list[Any]]] = {"requests": [], "events": [], "heartbeats": [], "samples": []}

    @classmethod
    def run_in_process(cls) -> None:
        """Be the runner's process."""
        Runner(cls.board, cls.folder).run()  # type: ignore[no-untyped-call]

    def _handle_request(self, msg: Any, log: Any, req_id: int) -> None:
        if not isinstance(msg, messages.TriggerStateChanges):
            self.notes["requests"].append((time.time(), type(msg).__name__))
        super()._handle_request(msg, log, req_id)

    def on_trigger_event(self, trigger_id: int, event: Any) -> None:
        """See TriggerRunnerSupervisor."""
        super().on_trigger_event(trigger_id, event)
        self.notes["events"].append((time.time(), trigger_id))

    def heartbeat_callback(self, session: Any = None) -> None:
        """See TriggerRunnerSupervisor; called when the job's row has been written."""
        super().heartbeat_callback(session)
        self.notes["heartbeats"].append(time.time())

    def run_once(self) -> None:
        """See TriggerRunnerSupervisor."""
        super().run_once()
        samples, now = self.notes["samples"], time.time()
        if not samples or now - samples[-1][0] >= SAMPLE:
            samples.append((now, time.process_time()))


def main(folder: Path) -> None:
    """Trigger until the benchmark sets `stop` on the board, or the runner dies."""
    from airflow.jobs.job import Job, run_job

    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    scene: Scene = pickle.loads((folder / "scene.pickle").read_bytes())
    Rows(scene).write()
    Supervisor.folder, Supervisor.board = folder, Board(folder / "board")
    setattr(triggerer_job_runner, "TriggerRunnerSupervisor", Supervisor)  # noqa: B010 - as the job finds it
    capacity = max(1000, len(scene.triggers))
    job = triggerer_job_runner.TriggererJobRunner(
        job=Job(heartrate=5.0),  # type: ignore[no-untyped-call]
        capacity=capacity,
    )
    Supervisor.notes["heartbeats"].append(time.time())
    run_job(job=job.job, execute_callable=job._execute)
    (folder / "supervisor.json").write_text(json.dumps(Supervisor.notes))


if __name__ == "__main__":
    importlib.import_module("_bench.dependency_triggerer").main(Path(sys.argv[1]))
