"""What becomes of paid jobs when something goes wrong: ours and Google's newest operator, in one Airflow, in one run.

Both start BigQuery jobs on the same fake, with the same retries. What is counted comes from the fake's own log: which
jobs lived at the same time for one task, which went on after their task had ended, which were cancelled though nobody
had asked, and from Airflow how the tasks ended. Google's is measured as it is by default, and with what it has against
doubled jobs: `force_rerun=False, reattach_states={"PENDING", "RUNNING"}`.
"""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.table import Table

from _bench.slots import machine
from ork_provider.testing import FakeBigQuery, Fault, Outcome
from ork_provider.testing.bigquery_jobs import FakeJob, ScriptedWork
from ork_provider.testing.local_airflow import LocalAirflow, LocalAirflowError

DAGS = Path(__file__).resolve().parent.parent / "bench_dags" / "reliability"
SETTINGS = DAGS.parent / "settings"
"""Holds airflow_local_settings.py."""

TASKS = 5
"""Tasks of each scenario and contender."""

WHO = {"ours": "ours", "google": "Google's", "reattach": "Google's, reattach_states"}
NEVER = 7200.0
"""Seconds that a job runs unless it is ended: what comes from outside must meet every job running."""

SHORT = 5.0
"""Seconds that it runs once all that comes from outside has come."""

SETTLE = 60.0
"""Seconds for what users have asked for, before the triggerer is struck."""

SLOW = 1.5
OUTAGE = 60.0
OUT_OF_TIME = 20.0


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One thing that goes wrong.

    :param name: how the table calls it; the DAG knows the kills of workers by it
    :param wanted: how the tasks must end; jobs end by themselves only where that is success
    :param may_cancel: whether somebody wants the jobs to be cancelled
    :param timeout: execution_timeout in seconds
    """

    id: str
    name: str
    wanted: str = "success"
    may_cancel: bool = False
    retries: int = 2
    timeout: float | None = None


SCENARIOS = [
    Scenario(id="before", name="SIGKILL before the request"),
    Scenario(id="sent", name="SIGKILL, request sent"),
    Scenario(id="answered", name="SIGKILL, answer not stored"),
    Scenario(id="sigterm", name="SIGTERM, request sent", may_cancel=True),
    Scenario(id="moved", name="triggerer SIGKILL and SIGTERM"),
    Scenario(id="outage", name=f"status 503 for {OUTAGE:g} s"),
    Scenario(id="killed", name="user marks it failed", wanted="failed", may_cancel=True),
    Scenario(id="cleared", name="user clears it", may_cancel=True),
    Scenario(
        id="timeout",
        name="execution_timeout",
        wanted="failed",
        may_cancel=True,
        retries=0,
        timeout=OUT_OF_TIME,
    ),
]


ENDING = {scenario.id for scenario in SCENARIOS if scenario.wanted == "success"}
"""Scenarios whose jobs end by themselves."""


@dataclass(kw_only=True)
class Row:
    """What became of the tasks of a scenario: counts of tasks."""

    scenario: str
    who: str
    tasks: int = 0
    jobs: int = 0
    as_wanted: int = 0
    doubled: int = 0
    left: int = 0
    cancelled: int = 0
    states: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def cells(self) -> list[str]:
        """Return it as the table has it."""
        states = ", ".join(f"{count} {state}" for state, count in sorted(self.states.items()))
        counts = (self.as_wanted, self.jobs, self.doubled, self.left, self.cancelled)
        return [self.scenario, WHO[self.who], *map(str, counts), states]


def measure(json_file: Path | None = None) -> int:
    """Run every scenario at the same time; print the table, and write it as JSON as well."""
    began = time.monotonic()
    with TemporaryDirectory(prefix="ork-bench-") as folder, FakeBigQuery(pending=0) as bigquery:
        plan = Path(folder, "plan.json")
        plan.write_text(json.dumps({"tasks": TASKS, "who": list(WHO), "scenarios": [asdict(one) for one in SCENARIOS]}))
        bigquery.default = Outcome(pending=0, running=NEVER)
        environ = {
            **bigquery.connections(),
            "BIGQUERY_EMULATOR_HOST": bigquery.url,
            "PYTHONPATH": os.pathsep.join(filter(None, (str(SETTINGS), os.environ.get("PYTHONPATH")))),
            "ORK_BENCH_PLAN": str(plan),
            "AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT": "120",
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "40",
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "5",
            "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "15",
        }
        with LocalAirflow(DAGS, env=environ, parallelism=8, quiet=False) as airflow:
            rows = Course(airflow, bigquery).run()
    report(rows, time.monotonic() - began)
    if json_file is not None:
        json_file.parent.mkdir(parents=True, exist_ok=True)
        json_file.write_text(json.dumps({"machine": machine(), "rows": [asdict(row) for row in rows]}, indent=1) + "\n")
    return 0


class Course:
    """The run: all tasks start, then what comes from outside happens, then all end."""

    def __init__(self, airflow: LocalAirflow, bigquery: FakeBigQuery) -> None:
        self.airflow = airflow
        self.bigquery = bigquery
        self.run_id = ""

    def run(self) -> list[Row]:
        """Return a row for each scenario and contender."""
        self.bigquery.latency = lambda request: SLOW if request.method == "POST" else 0.0
        self.run_id = self.airflow.trigger_dag("reliability")
        self._until(lambda: all(self._settled(scenario.id) for scenario in SCENARIOS), 600, "all jobs to have started")
        self.bigquery.latency = 0.0
        for id_ in ("killed", "cleared"):
            for task_id, index in self._instances(id_):
                self._insist(partial(self._kill if id_ == "killed" else self._clear, task_id, index))
        time.sleep(SETTLE)
        rule = self.bigquery.fail(Fault.google(503, "backendError"), on=re.compile("^GET .*/jobs"), times=-1)
        time.sleep(OUTAGE)
        rule.times = 0
        for number in (signal.SIGKILL, signal.SIGTERM):
            self.airflow.restart("triggerer", number)
            time.sleep(5)
        self._let_jobs_end()
        self.airflow.wait("reliability", self.run_id, timeout=900)
        time.sleep(45)  # for cancels that are under way
        return self._rows()

    def _let_jobs_end(self) -> None:
        """Let jobs end by themselves from now on, those that run and those of later tries."""
        for id_ in ENDING:
            self.bigquery.script(f"/{id_}/", Outcome(pending=0, running=SHORT))
        now = self.bigquery.clock()
        for job in self.bigquery.inserted:
            _, id_, _ = tag_of(job).split("/")
            if isinstance(job.work, ScriptedWork) and id_ in ENDING and job.state != "DONE":
                job.work.script = Outcome(pending=0, running=now - job.created_at + SHORT)

    def _kill(self, task_id: str, index: int) -> None:
        self.airflow.set_task_state("reliability", self.run_id, task_id, "failed", map_index=index)

    def _clear(self, task_id: str, index: int) -> None:
        self.airflow.clear("reliability", self.run_id, [(task_id, index)])

    def _insist(self, action: Callable[[], None], tries: int = 10) -> None:
        """Do what a user does; again when Airflow's database is locked, as a busy SQLite is."""
        for _ in range(tries - 1):
            try:
                return action()
            except LocalAirflowError:
                time.sleep(2)
        return action()

    def _settled(self, id_: str) -> bool:
        """Say if the tasks of a scenario have a job that lives, or have ended."""
        return all(state in ("deferred", "success", "failed") for state in self._states(id_).values())

    def _instances(self, id_: str) -> list[tuple[str, int]]:
        return list(self._states(id_))

    def _states(self, id_: str) -> dict[tuple[str, int], str]:
        found = self.airflow.task_instances("reliability", self.run_id)
        return {
            (one["task_id"], one["map_index"]): str(one["state"])
            for one in found
            if one["task_id"].partition("_")[2] == id_
        }

    def _until(self, reached: Callable[[], bool], seconds: float, what: str) -> None:
        deadline = time.monotonic() + seconds
        while not reached():
            if time.monotonic() > deadline:
                raise SystemExit(f"dev/bench: waited {seconds:g} s for {what}")
            time.sleep(2)

    def _rows(self) -> list[Row]:
        lives: dict[str, list[FakeJob]] = defaultdict(list)
        for job in self.bigquery.inserted:
            lives[tag_of(job)].append(job)
        return [row for scenario in SCENARIOS for row in self._rows_of(scenario, lives)]

    def _rows_of(self, scenario: Scenario, lives: dict[str, list[FakeJob]]) -> Iterator[Row]:
        states = self._states(scenario.id)
        for who in WHO:
            row = Row(scenario=scenario.name, who=who)
            for n in range(TASKS):
                state = states[f"{who}_{scenario.id}", n]
                count(row, scenario, state, lives[f"{who}/{scenario.id}/{n}"])
            yield row


def tag_of(job: FakeJob) -> str:
    """Return `who/scenario/number` of the task that started a job."""
    found = re.search("'([^']+)'", job.sql)
    assert found is not None
    return found.group(1)


def count(row: Row, scenario: Scenario, state: str, jobs: list[FakeJob]) -> None:
    """Count one task."""
    row.tasks += 1
    row.jobs += len(jobs)
    row.states[state] += 1
    row.as_wanted += state == scenario.wanted
    ordered = sorted(jobs, key=lambda job: job.created_at)
    row.doubled += any(a.work.ended_at > b.created_at for a, b in pairwise(ordered))
    row.left += any(job.state != "DONE" for job in jobs)
    row.cancelled += not scenario.may_cancel and any(job.cancelled_at is not None for job in jobs)


def report(rows: list[Row], seconds: float) -> None:
    """Print what was seen, and with what."""
    table = Table(title=f"What becomes of {TASKS} tasks with a BigQuery job each")
    headings = (
        "what happens",
        "",
        "ended as it should",
        "jobs started",
        "doubled",
        "left running",
        "cancelled in error",
        "",
    )
    for n, heading in enumerate(headings):
        table.add_column(heading, justify="right" if 2 <= n <= 6 else "left")
    for row in rows:
        table.add_row(*row.cells())
    console = Console(width=150)
    console.print(table)
    console.print(
        "Doubled: tasks with two jobs at the same time; left running: after all tasks had ended; cancelled in error: "
        "though nobody had asked. Counts of tasks."
    )
    console.print(", ".join(f"{name} {value}" for name, value in machine().items()) + f"; {seconds:.0f} s in all")
