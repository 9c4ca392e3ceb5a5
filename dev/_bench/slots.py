"""Worker slot time that 100 sensors use who wait 30 minutes each: in the worker, and deferred.

A slot is held from when LocalExecutor takes a task until the task's supervisor has gone, which is what its log says:
"Workload finished ... duration". A sensor that defers holds a slot twice, until it has deferred and from its resume to
its end. How long depends on how fast a task starts and ends, and not on how long its job runs: for that time there is
no process at all. That is why jobs of 20 seconds can stand for jobs of 30 minutes. The sensor that waits in the worker
holds its slot all the time, so that of its seconds those of the job are replaced by 1,800.

At most 4 sensors of a DAG hold a slot at the same time, for with more than the machine has cores for each of them would
measure how the others slow it down. The 100 that wait in the worker would need 100 slots and as many processes: fewer
are measured, all at the same time; fewer of Google's as well, for each of its starts imports its client libraries.
What 100 use is the mean times 100.

What ours use is mostly not theirs. Airflow's supervisor may see the end of a task's process only at its next heartbeat,
https://github.com/apache/airflow/issues/66374 ("late"), and about one in a hundred keeps an end of its task's sockets
open and waits [workers] socket_cleanup_timeout, a minute, for it to close ("stuck"). Both are counted, none left out.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from _demo.watch import WorkerSlots
from rich.console import Console
from rich.table import Table

from ork_provider.testing import FakeBigQuery
from ork_provider.testing.local_airflow import LocalAirflow

DAGS = Path(__file__).resolve().parent.parent / "bench_dags" / "slots"
SENSORS = 100
AT_ONCE = 4
BLOCKING = 16
GOOGLE = 30
SECONDS = 20.0
"""How long a job runs here; it stands for WAIT."""

WAIT = 1800.0
BUSY = 0.5
NAMES = {"slots_blocking": "in the worker (ours)", "slots_google": "Google's, deferrable", "slots_ours": "ours"}
RUNS = {5: ("slots_blocking", "slots_google", "slots_ours"), 1: ("slots_ours",)}
"""What runs with which [workers] min_heartbeat_interval: Airflow's default, and the least."""

STUCK = 60
"""[workers] socket_cleanup_timeout."""

PACKAGES = ("apache-airflow", "apache-airflow-providers-google", "airflow-provider-ork")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One way to wait; times are seconds for which a slot was held.

    `spans` holds, for each sensor, how long it held a slot at each start.
    """

    name: str
    heartbeat: int
    blocks: bool
    spans: list[list[float]] = field(repr=False)

    @property
    def per_sensor(self) -> float:
        """Mean of what a sensor uses that waits 30 minutes."""
        used = statistics.fmean(sum(held) for held in self.spans)
        return used - SECONDS + WAIT if self.blocks else used

    @property
    def used(self) -> float:
        """What 100 sensors use."""
        return self.per_sensor * SENSORS

    @property
    def saved(self) -> float:
        """The share of 100 x 30 minutes that is not used."""
        return 1 - self.used / (SENSORS * WAIT)

    @property
    def late(self) -> float:
        """The share of starts whose slot was held for a whole heartbeat, though the tasks take far less."""
        starts = [seconds for held in self.spans for seconds in held]
        return sum(self.heartbeat <= seconds < STUCK for seconds in starts) / len(starts)

    @property
    def stuck(self) -> int:
        """How many starts held their slot for a minute more."""
        return sum(seconds >= STUCK for held in self.spans for seconds in held)

    def start(self, number: int) -> float:
        """Median of the seconds for which the n-th start of a sensor held a slot."""
        return statistics.median(held[number] for held in self.spans)


def measure(json_file: Path | None = None) -> int:
    """Run every way, one after the other; print the table, and write it as JSON as well."""
    if os.getloadavg()[0] > BUSY:
        print(f"The machine is busy (load {os.getloadavg()[0]:.1f}): tasks take longer, the figures are too high.")
    began = time.monotonic()
    rows = [row for heartbeat in RUNS for row in _rows(heartbeat)]
    report(rows, time.monotonic() - began)
    if json_file is not None:
        json_file.parent.mkdir(parents=True, exist_ok=True)
        json_file.write_text(json.dumps(to_json(rows), indent=1) + "\n")
    return 0


def _rows(heartbeat: int) -> Iterator[Row]:
    """Measure in one Airflow."""
    settings = {
        "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": str(heartbeat),
        "AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT": "120",  # a busy machine would start tasks again, and count that
        "ORK_BENCH_AT_ONCE": str(AT_ONCE),
        "ORK_BENCH_SENSORS": str(SENSORS),
        "ORK_BENCH_BLOCKING": str(BLOCKING),
        "ORK_BENCH_GOOGLE": str(GOOGLE),
    }
    with FakeBigQuery(pending=0, running=SECONDS) as bigquery:
        environ = {**bigquery.connections(), "BIGQUERY_EMULATOR_HOST": bigquery.url, **settings}
        with LocalAirflow(DAGS, env=environ, parallelism=BLOCKING, quiet=False) as airflow:
            for dag_id in RUNS[heartbeat]:
                print(f"{NAMES[dag_id]}, min_heartbeat_interval {heartbeat} ...", flush=True)
                blocks = dag_id == "slots_blocking"
                spans = _spans(airflow, dag_id, starts=1 if blocks else 2)
                yield Row(name=NAMES[dag_id], heartbeat=heartbeat, blocks=blocks, spans=spans)


def _spans(airflow: LocalAirflow, dag_id: str, starts: int) -> list[list[float]]:
    """Run a DAG; return for each of its sensors how long each start held a slot."""
    run_id = airflow.trigger_dag(dag_id)
    state = airflow.wait(dag_id, run_id, timeout=600)
    if state != "success":
        raise SystemExit(f"dev/bench: {dag_id} is {state}\n{airflow.log(dag_id, run_id, 'wait', map_index=0)}")
    ids = [instance["id"] for instance in airflow.task_instances(dag_id, run_id)]
    slots = WorkerSlots(airflow.home / "scheduler.log")
    deadline = time.monotonic() + 2 * STUCK  # the last slots are given back after the run has ended
    while any(len(slots.spans.get(name, ())) < starts for name in ids):
        if time.monotonic() > deadline:
            raise SystemExit(f"dev/bench: {dag_id}: not every start is in the scheduler's log")
        time.sleep(0.5)
        slots.update()
    return [[end - start for start, end in sorted(slots.spans[name])] for name in ids]


def report(rows: list[Row], seconds: float) -> None:
    """Print what was measured, and with what."""
    table = Table(title=f"Worker slot time of {SENSORS} sensors that wait {WAIT / 60:g} minutes each")
    for column in (
        "",
        "heartbeat",
        "sensors",
        "to defer",
        "to end",
        "late",
        "stuck",
        "worker-s",
        "times less",
        "saved",
    ):
        table.add_column(column, justify="left" if not column else "right")
    whole = next(row for row in rows if row.blocks)
    for row in rows:
        starts = (
            ["", f"{row.start(0) - SECONDS + WAIT:.1f} s"] if row.blocks else [f"{row.start(n):.2f} s" for n in (0, 1)]
        )
        late = ("", "") if row.blocks else (f"{row.late:.0%}", str(row.stuck))
        times, saved = ("", "") if row.blocks else (f"{whole.used / row.used:,.0f}", f"{row.saved:.2%}")
        used = f"{row.used:,.0f}"
        table.add_row(row.name, f"{row.heartbeat} s", str(len(row.spans)), *starts, *late, used, times, saved)
    console = Console(width=120)
    console.print(table)
    for line in notes(seconds):
        console.print(line)


def notes(seconds: float) -> Iterator[str]:
    """Say how the figures are to be read, and with what they were measured."""
    yield (
        f"Jobs of {SECONDS:g} s stand for {WAIT:g} s: a deferred task holds no slot while its job runs; to what waits "
        f"in the worker the difference is added. Saved: of {SENSORS} x {WAIT:g} s. To defer, to end: medians."
    )
    yield (
        "Late: starts whose slot was held for a whole [workers] min_heartbeat_interval; for so long Airflow's "
        "supervisor may sleep after its task has gone. Stuck: those held for [workers] socket_cleanup_timeout as well."
    )
    yield f"At most {AT_ONCE} deferrable sensors held a slot at the same time; in the worker all did."
    yield ", ".join(f"{name} {value}" for name, value in machine().items()) + f"; {seconds:.0f} s in all"


def machine() -> dict[str, str]:
    """Return what it was measured with."""
    versions = {package: version(package) for package in PACKAGES}
    return {"cores": str(os.cpu_count()), "Python": platform.python_version(), **versions}


def to_json(rows: list[Row]) -> dict[str, Any]:
    """Return everything that was measured."""
    shown = [
        {
            **asdict(row),
            "late": row.late,
            "stuck": row.stuck,
            "worker_seconds": row.used,
            "saved": None if row.blocks else row.saved,
        }
        for row in rows
    ]
    return {"sensors": SENSORS, "job_seconds": SECONDS, "stands_for": WAIT, "machine": machine(), "rows": shown}
