"""The commands of ./dev/tutorial."""

from __future__ import annotations

import contextlib
import signal
import sys
import tempfile
import time
from argparse import Namespace
from pathlib import Path

from _tutorial import pages
from _tutorial.airflow import LessonHome, TutorialAirflow, services
from _tutorial.catalog import ROOT, Lesson, lesson, lessons
from _tutorial.runs import Result, begin_dags_test, read_dags_test, run_alone, wait_all
from _tutorial.special import NOT_IN_DAGS_TEST
from ork_provider.testing.local_airflow import LocalAirflowError

LOGS = ROOT / "build" / "tutorial"
LIMIT = 300  # seconds for one lesson in the terminal


def run(options: Namespace) -> int:
    """Run the command; return the exit code."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # shells start background jobs deaf to it
    try:
        match options.command:
            case "list":
                return _list()
            case "pages":
                return _pages()
            case "run":
                return _run(lesson(options.lesson), options.deployed, options.all)
        return _serve(options.port)
    except (LookupError, LocalAirflowError) as problem:
        print(f"dev/tutorial: {problem.args[0]}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("dev/tutorial: interrupted; everything is stopped", file=sys.stderr)
        return 130


def _list() -> int:
    for one in lessons():
        print(f"{one.number:7} {one.title:60} {', '.join(one.tags)}")
    return 0


def _pages() -> int:
    for file in pages.write():
        print(file.relative_to(ROOT))
    return 0


def _serve(port: int | None) -> int:
    first = lessons()[0]
    with services() as connections, TutorialAirflow(connections, port=port, quiet=False) as airflow:
        print(f"Airflow:      {airflow.url}")
        print(f"First lesson: {airflow.url}/dags/{first.dag_id} (read Dag Docs, then press Trigger)")
        print(f"All lessons:  {airflow.url}/dags?tags=reference, or docs/tutorial/index.md")
        print("Ctrl-C stops everything.", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            while True:
                time.sleep(3600)
    return 0


def _run(one: Lesson, deployed: bool, everything: bool) -> int:
    print(f"{one.number} {one.title}\n\n{one.parts['']}\n\nYou will see\n\n{one.parts['You will see']}\n", flush=True)
    reason = NOT_IN_DAGS_TEST.get(one.number)
    if reason and not deployed:
        print(f"It runs in a whole Airflow, because under `airflow dags test` {reason}\n", flush=True)
    result = _deployed(one) if deployed or reason else _dags_test(one)
    print(result.output if everything else "\n".join(result.lines))
    print(f"\nIt ended {result.state}, as it should." if result.state == one.ends else _unexpected(one, result))
    for name in ("Watch", "Expect", "Needs", "Next"):
        if name in one.parts:
            print(f"\n{name}\n\n{one.parts[name]}")
    LOGS.mkdir(parents=True, exist_ok=True)
    log = LOGS / f"{one.dag_id}.log"
    log.write_text(result.output)
    print(f"\nEverything that it printed: {log}")
    return 0 if result.state == one.ends else 1


def _unexpected(one: Lesson, result: Result) -> str:
    errors = [line for line in result.output.splitlines() if "error" in line.lower()]
    return "\n".join([*errors[-5:], f"\nIt ended {result.state}; it should have ended {one.ends}."])


def _dags_test(one: Lesson) -> Result:
    with services() as connections, tempfile.TemporaryDirectory(prefix="ork-tutorial-") as folder:
        home = LessonHome(connections, one.file.parent, quiet=True)
        with home:
            wait_all([begin_dags_test(home, [one], Path(folder))], LIMIT)
        (result,) = read_dags_test([one], Path(folder))
        return result


def _deployed(one: Lesson) -> Result:
    with services() as connections, TutorialAirflow(connections, one.file.parent, quiet=False) as airflow:
        return run_alone(airflow, one)
