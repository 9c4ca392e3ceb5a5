"""./dev/bench dependency: N tasks wait for 20 DAG runs in one triggerer, ours and those of Airflow's standard provider.

A whole triggerer runs (see `dependency_triggerer`), on SQLite. When all triggers run and have settled, a quiet time is
measured in which nothing ends, then the runs end one after the other, by SQL, every two seconds on average and in
random order. Noticed after: from when a run's end was in the database to the trigger's event in the runner. In the
database after: until the supervisor had written the event, so that the scheduler could start the waiting task. A wait
that was not reported so many seconds after the last run (the cap) counts with the seconds until then.

Requests are those that the supervisor took up from triggers. A tick is 5 seconds; counted are the ticks from the quiet
time on, until runs have ended. Of any 5 seconds in a row the most can be more: a look that came late is followed by one
that does not. The job's heartbeat is due every 5 seconds; at 30 others would take the triggers over.

All look every 5 seconds. ExternalTaskSensor's trigger asks once per look, or, where the sensor has `failed_states`,
twice; without, it waits for ever for a run that has failed. Ours notice failures, too.
"""

from __future__ import annotations

import json
import os
import pickle
import random
import shlex
import sqlite3
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console

from _bench.board import Board
from _bench.dependency_report import DELAY, Report, Result, each_second, is_bad, longest_gap, most_within
from _bench.dependency_triggerer import TASK, Run, Scene
from _bench.runner import Record, Triggerer, _settings
from _bench.waiting import percentile

RUNS = 20
FIRST_DATE = datetime(2026, 1, 1, tzinfo=timezone.utc)


@dataclass(frozen=True, kw_only=True)
class Contender:
    """One way to wait.

    :param dags: of how many DAGs the runs are
    :param trigger: makes the trigger that waits for a run
    :param sizes: how many wait
    """

    name: str
    peer: bool
    trigger: Callable[[Run], Any]
    dags: int = RUNS
    sizes: Sequence[int] = (1000, 100)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How long a measurement takes, in seconds.

    :param start: until all triggers run, at most
    :param settle: from then on until the quiet time
    :param quiet: in which nothing ends
    :param spacing: between the ends of two runs
    :param cap: after the last of them, at most
    """

    start: float = 120.0
    settle: float = 10.0
    quiet: float = 20.0
    spacing: float = 2.0
    cap: float = 60.0

    @property
    def seconds(self) -> float:
        """How long one takes at most, with the start of Airflow."""
        return 30 + self.start + self.settle + self.quiet + RUNS * self.spacing + self.cap


# -- who waits ---------------------------------------------------------------------------------------------------


def ours(run: Run) -> Any:
    """Return our trigger for a whole run."""
    return _ours(dag_id=run.dag_id, run_id=run.run_id)


def ours_for_task(run: Run) -> Any:
    """Return our trigger for a task of a run."""
    return _ours(dag_id=run.dag_id, run_id=run.run_id, task_ids=[TASK])


def _ours(**which: Any) -> Any:
    from ork_provider.dependency import DependencyWaitTrigger, TaskDependency

    grace = datetime.now(timezone.utc) + timedelta(minutes=5)  # each task's own: no two dependencies are equal
    job = TaskDependency(**which, exists_by=grace.isoformat())
    return DependencyWaitTrigger(jobs=[job.to_dict()], poll_interval=DELAY, fail_fast=True, cancel_on_kill=False)


def sensor(run: Run, failed_states: Sequence[str] = ()) -> Any:
    """Return the trigger that ExternalTaskSensor defers to."""
    from airflow.providers.standard.triggers.external_task import WorkflowTrigger

    return WorkflowTrigger(
        external_dag_id=run.dag_id,
        logical_dates=[run.logical_date],
        allowed_states=["success"],
        skipped_states=[],
        failed_states=list(failed_states),
        poke_interval=DELAY,
    )


def failing_sensor(run: Run) -> Any:
    """Return the trigger of an ExternalTaskSensor that notices failures."""
    return sensor(run, ["failed"])


def dag_state(run: Run) -> Any:
    """Return the trigger that TriggerDagRunOperator defers to."""
    from airflow.providers.standard.triggers.external_task import DagStateTrigger

    states: Any = ["success", "failed"]
    return DagStateTrigger(dag_id=run.dag_id, states=states, run_ids=[run.run_id], poll_interval=DELAY)


CONTENDERS = [
    Contender(name="ours, runs of 20 DAGs", peer=False, trigger=ours),
    Contender(name="ExternalTaskSensor", peer=True, trigger=sensor),
    Contender(name="ExternalTaskSensor, failed_states", peer=True, trigger=failing_sensor),
    Contender(name="TriggerDagRunOperator", peer=True, trigger=dag_state, sizes=[1000]),
    Contender(name="ours, runs of one DAG", peer=False, trigger=ours, dags=1, sizes=[1000]),
    Contender(name="ours, a task in each run", peer=False, trigger=ours_for_task, sizes=[1000]),
]


def scene_of(contender: Contender, n: int) -> Scene:
    """Return N waits for 20 runs, in turn."""
    runs = [
        Run(dag_id=f"upstream_{i % contender.dags}", run_id=f"run_{i}", logical_date=FIRST_DATE + timedelta(days=i))
        for i in range(RUNS)
    ]
    return Scene(runs=runs, triggers=[contender.trigger(runs[i % RUNS]).serialize() for i in range(n)])


# -- one measurement ---------------------------------------------------------------------------------------------


class WholeTriggerer(Triggerer):
    """A triggerer with a database, in a process of its own; `with` starts and ends it."""

    def __init__(self, folder: Path, scene: Scene) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.board = Board(folder / "board")
        self.scene = scene
        self.database = folder / "airflow.db"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> WholeTriggerer:
        (self.folder / "scene.pickle").write_bytes(pickle.dumps(self.scene))
        database = {"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{self.database}"}
        with (self.folder / "output").open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "_bench.dependency_triggerer", str(self.folder)],
                env={**os.environ, **_settings(self.folder), **database},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        if not self.wait_for(lambda: self.board["pid"] > 0, 180):
            self._kill()
            raise RuntimeError("Airflow's triggerer did not start within 180 s")
        return self

    def end(self, run: Run) -> float:
        """Let a run and its task end; return when that was in the database."""
        now = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M:%S.%f")
        connection = sqlite3.connect(self.database, timeout=60)
        try:
            with connection:
                for table in ("task_instance", "dag_run"):
                    connection.execute(
                        f"UPDATE {table} SET state = 'success', end_date = ? WHERE dag_id = ? AND run_id = ?",
                        (now, run.dag_id, run.run_id),
                    )
        finally:
            connection.close()
        return time.time()

    def notes(self) -> dict[str, list[Any]]:
        """Return what the supervisor has noted; after `stop`."""
        notes: dict[str, list[Any]] = json.loads((self.folder / "supervisor.json").read_text())
        return notes


class Measurement:
    """N waits of one contender, from the start of a triggerer to its end."""

    def __init__(self, contender: Contender, n: int, plan: Plan, folder: Path) -> None:
        self.contender = contender
        self.n = n
        self.plan = plan
        self.triggerer = WholeTriggerer(folder, scene_of(contender, n))
        self.ended: dict[Run, float] = {}
        self.started: float | None = None
        self.running = 0

    def run(self) -> Result:
        """Start, watch, let the runs end, and count."""
        load = os.getloadavg()[0]
        with self.triggerer:
            self._wait_for_start()
            quiet, busy = time.time(), _worked()
            self._sleep_until(quiet + self.plan.quiet)
            ends = time.time()
            self._end_runs(ends)
            over = time.time()
            busy = (_worked() - busy) / (over - quiet)
            self.triggerer.wait_for(lambda: self.triggerer.board["reported"] >= self.n, self.plan.cap)
            time.sleep(min(DELAY, self.plan.cap))  # for the supervisor, who writes what was reported
            given_up, record = time.time(), self.triggerer.stop()
        window = Window(quiet=quiet, ends=ends, over=over, given_up=given_up)
        return self._result(record, self.triggerer.notes(), window, (load, os.getloadavg()[0]), busy)

    def _wait_for_start(self) -> None:
        began = time.time()
        if self.triggerer.wait_for(lambda: self.triggerer.board["running"] >= self.n, self.plan.start):
            self.started = time.time() - began
        self._sleep_until(time.time() + self.plan.settle)
        self.running = self.triggerer.board["running"]

    def _end_runs(self, since: float) -> None:
        """Let the runs end in random order, the same for all contenders."""
        chance = random.Random(RUNS)
        runs = chance.sample(list(self.triggerer.scene.runs), RUNS)
        for i, run in enumerate(runs):
            self._sleep_until(since + self.plan.spacing * (i + chance.random()))
            self.ended[run] = self.triggerer.end(run)

    def _sleep_until(self, moment: float) -> None:
        self.triggerer.wait_for(lambda: time.time() >= moment, max(moment - time.time(), 0) + 5)

    def _result(
        self,
        record: Record,
        notes: dict[str, list[Any]],
        window: Window,
        load: tuple[float, float],
        busy: float,
    ) -> Result:
        due = {i + 1: self.ended[self.triggerer.scene.runs[i % RUNS]] for i in range(self.n)}
        seen = {number: at for number, (at, _) in record.events.items()}
        written: dict[int, float] = {number: at for at, number in notes["events"]}
        latencies = sorted(seen.get(number, window.given_up) - at for number, at in due.items())
        asked = [(at, kind) for at, kind in notes["requests"] if window.quiet <= at]
        counted = [at for at, _ in asked if at <= window.over + DELAY]
        kinds = Counter(kind for at, kind in asked if at <= window.ends)
        seconds = window.ends - window.quiet
        cpu = (record.cpu_until(window.ends) - record.cpu_until(window.quiet)) / seconds
        supervisor_cpu = (_cpu(notes, window.ends) - _cpu(notes, window.quiet)) / seconds
        whole = record.cpu_until(window.over) - record.cpu_until(window.quiet)
        whole += _cpu(notes, window.over) - _cpu(notes, window.quiet)
        return Result(
            name=self.contender.name,
            peer=self.contender.peer,
            n=self.n,
            samples=len(due),
            requests={kind: count / seconds for kind, count in sorted(kinds.items())},
            per_tick=max(Counter((at - window.quiet) // DELAY for at in counted).values(), default=0),
            any_tick=most_within(DELAY, counted),
            p50=percentile(latencies, 50),
            p95=percentile(latencies, 95),
            worst=percentile(latencies, 100),
            written_p95=percentile(sorted(written.get(i, window.given_up) - at for i, at in due.items()), 95),
            censored=sum(number not in seen for number in due),
            failed=len(record.failures) + sum(is_bad(payload) for _, payload in record.events.values()),
            early=sum(at < due[number] - 0.01 for number, at in seen.items()),
            cpu=cpu,
            supervisor_cpu=supervisor_cpu,
            start_heartbeat=longest_gap(notes["heartbeats"], window.quiet),
            heartbeat=longest_gap(
                [window.quiet, *(at for at in notes["heartbeats"] if at > window.quiet)], window.over
            ),
            started=self.started,
            running=self.running,
            lag=percentile(sorted(record.lags(window.quiet, window.over)), 99),
            load=load,
            others=busy - whole / (window.over - window.quiet),
            before=dict(Counter(kind for at, kind in notes["requests"] if at < window.quiet)),
            per_second=each_second([at for at, _ in asked], window.quiet),
            latencies=[round(value, 3) for value in latencies],
        )


@dataclass(frozen=True, kw_only=True)
class Window:
    """When the quiet time began, when runs began to end, when the last one had, and when nothing was waited for."""

    quiet: float
    ends: float
    over: float
    given_up: float


def _cpu(notes: dict[str, list[Any]], moment: float) -> float:
    return max((cpu for at, cpu in notes["samples"] if at <= moment), default=0.0)


def last_line(exc: Exception) -> str:
    """Return the last line of an error: where a process has died it holds the end of its output."""
    return (str(exc).strip().splitlines() or [""])[-1]


def _worked() -> float:
    """Return the CPU-seconds of all processes of this machine."""
    times = psutil.cpu_times()
    return float(times.user + times.system)


# -- all of them -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What to measure.

    :param out: folder for dependency.json
    :param only: words; a contender counts if one of them is in its name. Empty: all
    :param sizes: how many wait; empty: as each contender has it
    :param minutes: no measurement starts that could end later
    """

    out: Path
    only: Sequence[str] = ()
    sizes: Sequence[int] = ()
    minutes: float = 30.0
    plan: Plan = Plan()

    def chosen(self) -> list[tuple[int, Contender]]:
        """Return what was asked for, the largest numbers first."""
        among = [c for c in CONTENDERS if not self.only or any(word.lower() in c.name.lower() for word in self.only)]
        sizes = sorted({n for c in among for n in self.sizes or c.sizes}, reverse=True)
        return [(n, c) for n in sizes for c in among if n in (self.sizes or c.sizes)]


def measure(settings: Settings) -> int:
    """Run the benchmark; print the table. The exit code is 1 if something could not be measured."""
    report = Report(command=shlex.join(["./dev/bench", *sys.argv[1:]]))
    path = settings.out / "dependency.json"
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="ork-bench-", ignore_cleanup_errors=True) as scratch:
        for n, contender in settings.chosen():
            spent = time.monotonic() - began
            what = f"{contender.name}, {n:,} waits"
            if spent + settings.plan.seconds > settings.minutes * 60:
                report.skipped.append(f"Left out for lack of time: {what}")
                continue
            print(f"{spent / 60:5.1f} min  {what}", file=sys.stderr, flush=True)
            try:
                found = Measurement(contender, n, settings.plan, Path(tempfile.mkdtemp(dir=scratch))).run()
            except Exception as exc:
                report.problems.append(f"Not measured: {what} ({type(exc).__name__}: {last_line(exc)})")
                traceback.print_exc()
            else:
                report.results.append(found)
                print(f"    {found.brief}", file=sys.stderr, flush=True)
            report.seconds = time.monotonic() - began
            report.write(path)
    report.print(Console(width=170))
    print(f"Written: {path}")
    return 1 if report.problems else 0
