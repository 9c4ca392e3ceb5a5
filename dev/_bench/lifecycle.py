"""./dev/bench lifecycle: how long each step in the life of a deferred task takes, in a real Airflow.

Every few seconds a DAG of one task is run: `BigQueryJobOperator` starts a job of 20 seconds, defers, resumes and ends.
No clock of ours is in the tasks. The times of states are the database's own: a trigger in it, which SQLite runs within
the very statement that changes a row, writes them down (`task_instance.state`, and the row in `trigger`: given to a
triggerer, deleted). When the trigger started and fired is what the triggerer has written into the task's log; when a
worker slot was free again is LocalExecutor's line in the scheduler's log; when a job had ended is what the fake of
BigQuery says.

A run starts every three seconds, so that tasks do not wait for one another: what is measured is how long a step takes
of itself, and not in a crowd. An event is held back for some seconds after the deferral (`resume_pause` in
ork_provider/settings.py); the jobs run longer than that.
"""

from __future__ import annotations

import json
import os
import platform
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

from _demo.watch import WorkerSlots
from rich.console import Console
from rich.table import Table

from _bench.waiting import percentile
from ork_provider.testing import FakeBigQuery
from ork_provider.testing.local_airflow import LocalAirflow, LocalAirflowError

DAGS = Path(__file__).resolve().parent.parent / "bench_dags" / "lifecycle"
DAG_ID, TASK = "lifecycle", "wait"
TASKS = 40
STARTS = 2
"""Of a worker process for each task."""

PACE = 3.0
"""Seconds between two runs."""

SECONDS = 20.0
"""How long a job runs."""

BUSY = 0.5
HEARTBEATS = (5, 1)
"""[workers] min_heartbeat_interval: Airflow's default, and the least."""

NOW = "strftime('%Y-%m-%d %H:%M:%f', 'now')"
NOTES = f"""
CREATE TABLE ork_life (at TEXT, what TEXT, ti TEXT, trigger_id INTEGER);
CREATE TRIGGER ork_state AFTER UPDATE OF state ON task_instance WHEN OLD.state IS NOT NEW.state
BEGIN INSERT INTO ork_life VALUES ({NOW}, NEW.state, NEW.id, NEW.trigger_id); END;
CREATE TRIGGER ork_owner AFTER UPDATE OF triggerer_id ON "trigger" WHEN OLD.triggerer_id IS NOT NEW.triggerer_id
BEGIN INSERT INTO ork_life VALUES ({NOW}, 'owned', NULL, NEW.id); END;
CREATE TRIGGER ork_gone AFTER DELETE ON "trigger"
BEGIN INSERT INTO ork_life VALUES ({NOW}, 'gone', NULL, OLD.id); END;
"""

STATES = ("scheduled", "queued", "running", "deferred", "scheduled 2", "queued 2", "running 2", "success")

STEPS = {
    "scheduled -> queued": ("scheduled", "queued"),
    "queued -> running": ("queued", "running"),
    "running -> deferred": ("running", "deferred"),
    "deferred -> worker slot free": ("deferred", "free"),
    "deferred -> owned by a triggerer": ("deferred", "owned"),
    "owned -> trigger runs": ("owned", "starting"),
    "job has ended -> trigger fires": ("job ended", "fired"),
    "trigger fires -> scheduled": ("fired", "scheduled 2"),
    "scheduled -> trigger row deleted": ("scheduled 2", "gone"),
    "scheduled -> queued again": ("scheduled 2", "queued 2"),
    "queued -> running again": ("queued 2", "running 2"),
    "running -> success": ("running 2", "success"),
    "success -> worker slot free": ("success", "free 2"),
    "job has ended -> success": ("job ended", "success"),
}
"""Each step, from when to when."""


@dataclass
class Life:
    """One task's: seconds since 1970 by the name of what happened."""

    run_id: str
    at: dict[str, float] = field(default_factory=dict)

    def step(self, name: str) -> float:
        """Return how long a step took."""
        begin, end = STEPS[name]
        return self.at[end] - self.at[begin]


def measure(tasks: int = TASKS, json_file: Path | None = None) -> int:
    """Run the tasks with each heartbeat; print one table, and write all figures as JSON."""
    if os.getloadavg()[0] > BUSY:
        print(f"The machine is busy (load {os.getloadavg()[0]:.1f}): steps take longer, the figures are too high.")
    began = time.monotonic()
    lives = {heartbeat: _lives(heartbeat, tasks) for heartbeat in HEARTBEATS}
    report(lives, time.monotonic() - began)
    if json_file is not None:
        json_file.parent.mkdir(parents=True, exist_ok=True)
        json_file.write_text(json.dumps(to_json(lives), indent=1) + "\n")
    return 0


def _lives(heartbeat: int, tasks: int) -> list[Life]:
    settings = {
        "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": str(heartbeat),
        "AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT": "120",
    }
    with FakeBigQuery(pending=0, running=SECONDS) as bigquery:
        environ = {**bigquery.connections(), **settings}
        with LocalAirflow(DAGS, env=environ, parallelism=16, quiet=False) as airflow:
            with closing(sqlite3.connect(airflow.home / "airflow.db", timeout=60)) as database:
                database.executescript(NOTES)
            run_ids = _warm_up_and_start(airflow, tasks, heartbeat)
            return [life for run_id in run_ids for life in _read(airflow, bigquery, run_id)]


def _warm_up_and_start(airflow: LocalAirflow, tasks: int, heartbeat: int) -> list[str]:
    """Let one run end, which imports what is imported once; then start the others at their pace, and wait for all."""
    airflow.wait(DAG_ID, airflow.trigger_dag(DAG_ID), timeout=300)
    print(f"{tasks} tasks, min_heartbeat_interval {heartbeat} ...", flush=True)
    began, run_ids = time.monotonic(), []
    for number in range(tasks):
        time.sleep(max(began + number * PACE - time.monotonic(), 0))
        run_ids += _start(airflow, f"life_{number}")
    for run_id in run_ids:
        if airflow.wait(DAG_ID, run_id, timeout=300) != "success":
            print(f"{run_id} has failed; it is left out.")
    return run_ids


def _start(airflow: LocalAirflow, run_id: str) -> list[str]:
    """Start a run; none where SQLite was locked for longer than Airflow waits for it."""
    try:
        return [airflow.trigger_dag(DAG_ID, run_id=run_id)]
    except LocalAirflowError as exc:
        print(f"{run_id} did not start; it is left out. {exc}")
        return []


def _read(airflow: LocalAirflow, bigquery: FakeBigQuery, run_id: str) -> Iterator[Life]:
    """Put together what database, logs and service say of a task, if it has succeeded at its first try."""
    instance = airflow.task_instance(DAG_ID, run_id, TASK)
    if (instance["state"], instance["try_number"]) != ("success", 1):
        return
    (job,) = (job for job in bigquery.inserted if job.sql == f"SELECT '{run_id}' AS lifecycle")
    with closing(sqlite3.connect(airflow.home / "airflow.db", timeout=60)) as database:
        notes = list(database.execute("SELECT at, what, ti, trigger_id FROM ork_life ORDER BY at"))
    life = Life(run_id)
    life.at.update(_states(notes, instance["id"]))
    life.at.update(_log(airflow, run_id))
    life.at["job ended"] = bigquery.epoch_ms(job.work.ended_at) / 1000
    life.at["free"], life.at["free 2"] = (end for _, end in _slots(airflow, instance["id"]))
    yield life


def _slots(airflow: LocalAirflow, instance_id: str) -> list[tuple[float, float]]:
    """Return from when to when a task held a worker slot; the last ones are given back after its run has ended."""
    deadline = time.monotonic() + 120
    while True:
        slots = WorkerSlots(airflow.home / "scheduler.log")
        slots.update()
        if len(spans := slots.spans.get(instance_id, [])) == STARTS:
            return sorted(spans)
        if time.monotonic() > deadline:
            raise SystemExit(
                f"dev/bench: lifecycle: {instance_id} held a slot {len(spans)} times by the scheduler's log"
            )
        time.sleep(0.5)


def _states(notes: Sequence[tuple[str, str, str | None, int | None]], instance_id: str) -> dict[str, float]:
    """Return when a task changed its state, and what became of its trigger's row; ids of rows are used again."""
    own = [(at, what, number) for at, what, ti, number in notes if ti == instance_id.replace("-", "")]
    found = [what for _, what, _ in own]
    if found != [state.removesuffix(" 2") for state in STATES]:
        raise SystemExit(f"dev/bench: lifecycle: {instance_id} was {' -> '.join(found)}")
    times = {state: seconds(at) for state, (at, _, _) in zip(STATES, own, strict=True)}
    number = own[STATES.index("deferred")][2]
    rows = [(seconds(at), what) for at, what, ti, row in notes if ti is None and row == number]
    times["owned"] = next(at for at, what in rows if what == "owned" and at >= times["deferred"])
    times["gone"] = next(at for at, what in rows if what == "gone" and at >= times["scheduled 2"])
    return times


def _log(airflow: LocalAirflow, run_id: str) -> dict[str, float]:
    """Return when the trigger started and fired, as the triggerer has written it into the task's log."""
    folder = airflow.home / "logs" / f"dag_id={DAG_ID}" / f"run_id={run_id}" / f"task_id={TASK}"
    (file,) = folder.glob("attempt=1.log.trigger.*.log")
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    starting = next(line for line in lines if line["event"].endswith(" starting"))
    fired = next(line for line in lines if line["event"] == "Trigger fired event")
    return {"starting": seconds(starting["timestamp"]), "fired": seconds(fired["timestamp"])}


def seconds(text: str) -> float:
    """Read a time in UTC."""
    time = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return (time if time.tzinfo else time.replace(tzinfo=timezone.utc)).timestamp()


def report(lives: dict[int, list[Life]], took: float) -> None:
    """Print how long each step took, and with what that was measured."""
    table = Table(title="Steps in the life of a deferred task, seconds")
    table.add_column("")
    for heartbeat in lives:
        for name in ("p50", "p95"):
            table.add_column(f"{name}, heartbeat {heartbeat} s", justify="right")
    for step in STEPS:
        figures = [f"{figure:.2f}" for listed in lives.values() for figure in figures_of(listed, step)]
        table.add_row(step, *figures)
    console = Console(width=120)
    console.print(table)
    console.print(f"Tasks: {', '.join(str(len(listed)) for listed in lives.values())}, one every {PACE:g} s.")
    console.print(", ".join(f"{name} {value}" for name, value in machine().items()) + f"; {took:.0f} s in all")


def figures_of(lives: Sequence[Life], step: str) -> tuple[float, float]:
    """Return median and 95th percentile of a step."""
    ordered = sorted(life.step(step) for life in lives)
    return percentile(ordered, 50), percentile(ordered, 95)


def machine() -> dict[str, str]:
    """Return what it was measured with."""
    versions = {package: version(package) for package in ("apache-airflow", "airflow-provider-ork")}
    return {"cores": str(os.cpu_count()), "Python": platform.python_version(), **versions}


def to_json(lives: dict[int, list[Life]]) -> dict[str, Any]:
    """Return everything that was measured."""
    rows = {str(heartbeat): [vars(life) for life in listed] for heartbeat, listed in lives.items()}
    return {"job_seconds": SECONDS, "machine": machine(), "min_heartbeat_interval": rows}
