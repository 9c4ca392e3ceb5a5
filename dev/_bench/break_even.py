"""./dev/bench break-even: what a task costs that waits T seconds, in the worker, rescheduled and deferred.

Each task starts a job of T seconds behind an HTTP API, and waits for it: it asks every 5 seconds.

CPU-seconds are those of LocalExecutor's processes, whose only work are the tasks and their supervisors: what they have
used after a run less what they had used before it, by the number of tasks. What is not in it: the scheduler, the API
server and the triggerer, which run whether a task waits or not (a triggerer of 1,000 triggers: ./dev/bench). A slot is
held from when LocalExecutor takes a task until the task's supervisor has gone, as its log says. "Late" is from a job's
end until its task has ended.

A slot is now and then held for longer than a task needs (see ./dev/bench slots): the median of the tasks is shown.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from dataclasses import asdict, dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
from _demo.watch import WorkerSlots
from rich.console import Console
from rich.table import Table

from ork_provider.testing import FakeHttpJobs
from ork_provider.testing.local_airflow import LocalAirflow

DAGS = Path(__file__).resolve().parent.parent / "bench_dags" / "break_even"
WAITS = (1, 5, 15, 60)
WAYS = {"worker": "in the worker", "rescheduled": "rescheduled", "deferred": "deferred"}
TASKS = 4
AT_ONCE = 2
EVERY = 5
HEARTBEAT = 1
"""[workers] min_heartbeat_interval."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One way to wait for jobs of one length; per task, in seconds."""

    way: str
    wait: int
    cpu: float
    slot: float
    starts: float
    late: float


def measure(json_file: Path | None = None) -> int:
    """Run every way with every length, one after the other; print one table."""
    began = time.monotonic()
    load = os.getloadavg()[0]
    settings = {
        "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": str(HEARTBEAT),
        "ORK_BENCH_AT_ONCE": str(AT_ONCE),
        "ORK_BENCH_TASKS": str(TASKS),
        "ORK_BENCH_EVERY": str(EVERY),
        "ORK_BENCH_WAITS": ",".join(map(str, WAITS)),
    }
    with FakeHttpJobs() as service:
        environ = {**service.connections(), **settings}
        with LocalAirflow(DAGS, env=environ, parallelism=AT_ONCE, quiet=False) as airflow:
            _row(airflow, service, "deferred", WAITS[0])  # the first tasks pay for what is loaded once
            rows = [_row(airflow, service, way, wait) for wait in WAITS for way in WAYS]
            memory = _memory(airflow)
    report(rows, load, time.monotonic() - began)
    print(f"The triggerer, with nothing to do at the end: {memory}")
    if json_file is not None:
        json_file.parent.mkdir(parents=True, exist_ok=True)
        json_file.write_text(json.dumps({"machine": machine(), "rows": [asdict(row) for row in rows]}, indent=1) + "\n")
    return 0


def _row(airflow: LocalAirflow, service: FakeHttpJobs, way: str, wait: int) -> Row:
    """Run the tasks of one way."""
    dag_id = f"{way}_{wait}"
    print(f"{dag_id} ...", flush=True)
    first, before = len(service.created), _cpu(airflow)
    run_id = airflow.trigger_dag(dag_id)
    if airflow.wait(dag_id, run_id, timeout=600) != "success":
        raise SystemExit(f"dev/bench: {dag_id} has failed\n{airflow.log(dag_id, run_id, 'wait', map_index=0)}")
    instances = airflow.task_instances(dag_id, run_id)
    spans = _spans(airflow, [instance["id"] for instance in instances], 2 if way == "deferred" else 1)
    used = (_cpu(airflow) - before) / len(instances)
    now = time.time() - service.clock()
    ended = {job.body["n"]: now + job.created_at + wait for job in service.created[first:]}
    return Row(
        way=way,
        wait=wait,
        cpu=used,
        slot=statistics.median(sum(held) for held in spans),
        starts=statistics.fmean(len(held) for held in spans),
        late=statistics.median(_time(one["end_date"]) - ended[one["map_index"]] for one in instances),
    )


def _cpu(airflow: LocalAirflow) -> float:
    """Return the CPU-seconds of all processes that LocalExecutor has started, those that have ended included."""
    scheduler = psutil.Process(airflow.pid("scheduler"))
    times = [process.cpu_times() for process in scheduler.children()]
    own = sum(one.user + one.system for one in times)
    return float(own + sum(one.children_user + one.children_system for one in [*times, scheduler.cpu_times()]))


def _memory(airflow: LocalAirflow) -> str:
    """Return what the processes of the triggerer use, what they share counted once."""
    triggerer = psutil.Process(airflow.pid("triggerer"))
    used = [one.memory_full_info().pss / 2**20 for one in [triggerer, *triggerer.children(recursive=True)]]
    return f"{sum(used):.0f} MB in {len(used)} processes ({', '.join(f'{one:.0f}' for one in used)})"


def _spans(airflow: LocalAirflow, ids: list[str], starts: int) -> list[list[float]]:
    """Return for each task how long each of its starts held a slot."""
    slots = WorkerSlots(airflow.home / "scheduler.log")
    deadline = time.monotonic() + 150  # the last slots are given back after the run has ended
    while any(len(slots.spans.get(name, ())) < starts for name in ids) or slots.busy:
        if time.monotonic() > deadline:
            raise SystemExit("dev/bench: not every start is in the scheduler's log")
        time.sleep(0.25)
        slots.update()
    return [[end - start for start, end in slots.spans[name]] for name in ids]


def _time(text: str) -> float:
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def report(rows: list[Row], load: float, seconds: float) -> None:
    """Print what was measured, and with what."""
    table = Table(title="A task that waits T seconds for a job, per task")
    for column in ("T", "", "worker CPU-s", "slot-s", "starts", "late, s"):
        table.add_column(column, justify="left" if not column else "right")
    for row in rows:
        name = f"{row.wait} s" if row.way == "worker" else ""
        table.add_row(name, WAYS[row.way], f"{row.cpu:.2f}", f"{row.slot:.1f}", f"{row.starts:.1f}", f"{row.late:.1f}")
    console = Console(width=110)
    console.print(table)
    console.print(
        f"{TASKS} tasks each, {AT_ONCE} at a time, asking every {EVERY} s; min_heartbeat_interval {HEARTBEAT}. "
        "CPU: the mean; slot and late: medians."
    )
    console.print(
        ", ".join(f"{name} {value}" for name, value in machine().items())
        + f"; load average before {load:.1f}; {seconds:.0f} s"
    )


def machine() -> dict[str, Any]:
    """Return what it was measured with."""
    versions = {package: version(package) for package in ("apache-airflow", "airflow-provider-ork")}
    return {"cores": os.cpu_count(), "Python": platform.python_version(), **versions}
