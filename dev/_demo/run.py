"""Runs the demo from start to end."""

from __future__ import annotations

import contextlib
import signal
import sys
import tempfile
import time
from argparse import Namespace
from pathlib import Path

import httpx
from rich.console import Console

from _demo.plan import DemoError, Plan, make_plan
from _demo.report import check_rows, print_rows, print_times, read_rows
from _demo.screen import show
from _demo.timeline import draw
from _demo.watch import Track, Watch
from ork_provider.testing import FakeBigQuery, FakeHttpJobs
from ork_provider.testing.local_airflow import LocalAirflow, LocalAirflowError
from ork_provider.testing.sandbox import BadFolder

DAGS = Path(__file__).resolve().parent.parent / "demo_dags"
SLOTS = 4
SHORTEST_QUERY = 20  # seconds; the local BigQuery would be done with these files in milliseconds
SETTINGS = {
    # With the default of 5 s a slot often stays held for as long after its task has gone: Airflow's supervisor
    # sleeps that long before it looks (https://github.com/apache/airflow/issues/66374).
    "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
    # One supervisor in some hundred keeps its task's end of a socket open itself, and the slot until this timeout.
    "AIRFLOW__WORKERS__SOCKET_CLEANUP_TIMEOUT": "2",
}


def run(options: Namespace) -> int:
    """Run the demo; return the exit code."""
    console = Console(highlight=False)
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
    with (
        FakeBigQuery(data=plan.data, minimum_seconds=SHORTEST_QUERY) as bigquery,
        FakeHttpJobs() as http_jobs,
    ):
        _check_sql(bigquery, plan)
        env = {**bigquery.connections(), **http_jobs.connections(), **plan.to_env(), **SETTINGS}
        with LocalAirflow(DAGS, env=env, parallelism=SLOTS, port=options.port, quiet=False) as airflow:
            run_id = airflow.trigger_dag("demo")
            watch = Watch(airflow, bigquery, http_jobs, plan, "demo", run_id)
            code = _watch(watch, options, console)
            if options.keep:
                _keep(airflow, console)
            return code


def _check_sql(bigquery: FakeBigQuery, plan: Plan) -> None:
    """Let BigQuery check the SQL before Airflow starts."""
    query = {
        "query": plan.sql,
        "useLegacySql": False,
        "parameterMode": "NAMED",
        "queryParameters": [
            {"name": name, "parameterType": {"type": "INT64"}, "parameterValue": {"value": str(value)}}
            for name, value in plan.parameters[0].items()
        ],
    }
    body = {"configuration": {"dryRun": True, "query": query}}
    answer = httpx.post(f"{bigquery.url}/bigquery/v2/projects/demo/jobs", json=body, trust_env=False)
    if answer.is_error:
        message = " ".join(answer.json()["error"]["message"].split())
        raise DemoError(f"The SQL does not run: {message}")


def _watch(watch: Watch, options: Namespace, console: Console) -> int:
    state = show(watch, SLOTS, console)
    tracks = watch.collect()
    answers = read_rows(watch, tracks)
    print_rows(console, answers)
    print_times(console, tracks, watch.began)
    options.output.write_text(draw(tracks, watch.history, watch.began, SLOTS))
    console.print(f"timeline: {options.output.resolve()}", soft_wrap=True)
    if state != "success":
        _explain(watch, tracks, console)
        return 1
    return 0 if check_rows(console, watch.plan, answers) else 1


def _explain(watch: Watch, tracks: list[Track], console: Console) -> None:
    """Say which task instances failed, and the last error in the log of each."""
    for track in tracks:
        if track.state != "success":
            instance = watch.airflow.task_instance(watch.dag_id, watch.run_id, track.task_id, track.index)
            log = watch.airflow.log(watch.dag_id, watch.run_id, track.task_id, instance["try_number"] or 1, track.index)
            errors = [line for line in log.splitlines() if " error " in line or " critical " in line]
            console.print(f"{track.label} is {track.state}: {(errors or ['see its log'])[-1]}", markup=False)


def _keep(airflow: LocalAirflow, console: Console) -> None:
    console.print(f"Airflow stays at {airflow.url} until you press Ctrl-C.", soft_wrap=True)
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            time.sleep(3600)
