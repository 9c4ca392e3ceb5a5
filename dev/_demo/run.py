"""Runs the demo from start to end."""

from __future__ import annotations

import contextlib
import re
import signal
import sys
import tempfile
import time
from argparse import Namespace
from pathlib import Path

import httpx
from rich.console import Console

from _demo.jobs import find_problems, read_jobs
from _demo.plan import DemoError, Plan, make_plan
from _demo.report import check_jobs, check_rows, print_jobs, print_rows, print_times, read_rows
from _demo.screen import show
from _demo.services import Services, serve
from _demo.timeline import draw
from _demo.watch import Track, Watch
from ork_provider.testing.local_airflow import LocalAirflow, LocalAirflowError
from ork_provider.testing.sandbox import BadFolder

DAGS = Path(__file__).resolve().parent.parent / "demo_dags"
SLOTS = 4
RAISED = re.compile(r"'exc_type': '(\w+)', 'exc_value': (.*?), 'exc_notes'")
PAGE = 260  # columns of a page that is no terminal: links are long
SETTINGS = {
    # With the default of 5 s a slot often stays held for as long after its task has gone: Airflow's supervisor
    # sleeps that long before it looks (https://github.com/apache/airflow/issues/66374).
    "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
    # One supervisor in some hundred keeps its task's end of a socket open itself, and the slot until this timeout.
    "AIRFLOW__WORKERS__SOCKET_CLEANUP_TIMEOUT": "2",
}


def run(options: Namespace) -> int:
    """Run the demo; return the exit code."""
    console = Console(highlight=False, width=None if sys.stdout.isatty() else PAGE)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # shells start background jobs deaf to it
    try:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="ork-demo-") as scratch:
            return _serve(options, make_plan(options, Path(scratch)), console)
    except OSError as problem:
        return _fail(f"{problem.filename}: {problem.strerror}" if problem.filename else str(problem), 1)
    except (DemoError, LocalAirflowError, BadFolder) as problem:
        return _fail(str(problem), 1)
    except KeyboardInterrupt:
        return _fail("interrupted; everything is stopped", 130)


def _fail(message: str, code: int) -> int:
    print(f"dev/demo: {message}", file=sys.stderr)
    return code


def _serve(options: Namespace, plan: Plan, console: Console) -> int:
    with serve(plan) as services:
        _check_sql(services, plan)
        env = {**services.connections(), **plan.to_env(), **SETTINGS}
        with LocalAirflow(DAGS, env=env, parallelism=SLOTS, port=options.port, quiet=False) as airflow:
            run_id = airflow.trigger_dag("demo")
            watch = Watch(airflow, services, plan, "demo", run_id)
            code = _watch(watch, options, console)
            if options.keep:
                _keep(airflow, console)
            return code


def _check_sql(services: Services, plan: Plan) -> None:
    """Let BigQuery check the SQL before Airflow starts."""
    body = {"configuration": {"dryRun": True, **plan.query}}
    answer = httpx.post(f"{services.bigquery.url}/bigquery/v2/projects/demo/jobs", json=body, trust_env=False)
    if answer.is_error:
        message = " ".join(answer.json()["error"]["message"].split())
        raise DemoError(f"The SQL does not run: {message}")


def _watch(watch: Watch, options: Namespace, console: Console) -> int:
    state = show(watch, SLOTS, console)
    tracks = watch.collect()
    answers, jobs = read_rows(watch, tracks), read_jobs(watch)
    print_rows(console, answers)
    print_jobs(console, jobs)
    print_times(console, tracks, watch.began)
    options.output.write_text(draw(tracks, watch.history, watch.began, SLOTS))
    console.print(f"timeline: {options.output.resolve()}", soft_wrap=True)
    good = check_jobs(console, jobs, find_problems(watch.plan, watch.services, jobs))
    if state != "success":
        _explain(watch, tracks, console)
        return 1
    return 0 if check_rows(console, watch.plan, answers) and good else 1


def _explain(watch: Watch, tracks: list[Track], console: Console) -> None:
    """Say which task instances failed, and the last error in the log of each."""
    for track in tracks:
        if track.state != "success":
            instance = watch.airflow.task_instance(watch.dag_id, watch.run_id, track.task_id, track.index)
            log = watch.airflow.log(watch.dag_id, watch.run_id, track.task_id, instance["try_number"] or 1, track.index)
            errors = [line for line in log.splitlines() if " error " in line or " critical " in line]
            said = (errors or ["see its log"])[-1]
            raised = RAISED.search(said)
            said = f"{raised[1]}: {raised[2]}" if raised else said
            console.print(f"{track.label} is {track.state}: {said}", style="red", markup=False, soft_wrap=True)


def _keep(airflow: LocalAirflow, console: Console) -> None:
    console.print(f"Airflow stays at {airflow.url} until you press Ctrl-C.", soft_wrap=True)
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            time.sleep(3600)
