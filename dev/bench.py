"""./dev/bench: measure our operators and their peers side by side, in one run, on the same fake services.

./dev/bench [waiting]  N triggers wait, ours and the peers': how late they notice, what they ask and cost; 30 minutes
./dev/bench worker     CPU-seconds that a worker process spends per task start, before deferring and on resume
./dev/bench slots      seconds that 100 sensors hold worker slots who wait 30 minutes each: in the worker, and deferred
./dev/bench dependency  N tasks wait for 20 DAG runs in one triggerer, ours and ExternalTaskSensor's; 30 minutes
./dev/bench reliability  what becomes of paid jobs when workers, triggerers, services and users do what they do
./dev/bench break-even  what a task costs that waits 1 to 60 seconds: in the worker, rescheduled, deferred; 9 minutes
./dev/bench executors  a Celery worker that is stopped while tasks are deferred, and one that goes on; 3 minutes
./dev/bench lifecycle  seconds of each step in the life of a deferred task; 7 minutes
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from importlib import import_module
from pathlib import Path

from environment import ROOT, InstallError, clean_environ, ready


def main(arguments: list[str]) -> int:
    """Run one measurement with the Python of `.venv`; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="dev/bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    _add_arguments(parser)
    options = parser.parse_args(arguments)
    if Path(sys.prefix).resolve() != (ROOT / ".venv").resolve():
        try:
            python = str(ready())
        except InstallError as problem:
            sys.exit(f"dev/bench: {problem}")
        os.execve(python, [python, __file__, *arguments], clean_environ())
    return _measure(options)


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "what",
        nargs="?",
        choices=["waiting", "worker", "slots", "dependency", "reliability", "lifecycle", "break-even", "executors"],
        default="waiting",
    )
    add(
        "--json",
        type=Path,
        metavar="FILE",
        help="slots, reliability, lifecycle, break-even: write the figures to a file as well",
    )
    add("--quick", action="store_true", help="waiting, dependency: only with 100 triggers, some minutes")
    add("--only", type=_words, default=[], metavar="WORD,...", help="the same: only what has one of these in its name")
    add(
        "--n",
        type=_numbers,
        default=[],
        metavar="N,...",
        help="the same: so many triggers (default: 100,1000 and, waiting, 10000); lifecycle: so many tasks (40)",
    )
    add("--minutes", type=float, default=30.0, help="the same: leave out what would take longer (default: %(default)g)")
    add("--out", type=Path, default=ROOT / "build" / "bench", help="the same: folder for their files")


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _numbers(text: str) -> list[int]:
    return [int(word) for word in _words(text)]


_numbers.__name__ = "numbers"  # as argparse names it in its errors


def _measure(options: argparse.Namespace) -> int:
    if options.what in ("slots", "reliability", "break-even", "executors"):
        module = import_module(f"_bench.{options.what.replace('-', '_')}")
        return int(module.measure(options.json))
    if options.what == "lifecycle":
        from _bench import lifecycle

        return lifecycle.measure(options.n[0] if options.n else lifecycle.TASKS, options.json)
    if options.what == "worker":
        from _bench import worker

        return worker.measure()
    if options.what == "dependency":
        return _measure_dependency(options)
    return _measure_waiting(options)


def _measure_waiting(options: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory(prefix="ork-bench-") as home:
        os.environ.update(AIRFLOW_HOME=home, AIRFLOW__CORE__LOAD_EXAMPLES="False")  # before anything imports Airflow
        from _bench import suite

        settings = suite.Settings(
            out=options.out,
            only=options.only,
            sizes=options.n,
            minutes=options.minutes,
            plans=suite.QUICK if options.quick else suite.FULL,
            extras=not (options.quick or options.n),
        )
        return suite.measure(settings)


def _measure_dependency(options: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory(prefix="ork-bench-") as home:
        os.environ.update(AIRFLOW_HOME=home, AIRFLOW__CORE__LOAD_EXAMPLES="False")  # before anything imports Airflow
        from _bench import dependency

        sizes = options.n or ([100] if options.quick else [])
        settings = dependency.Settings(out=options.out, only=options.only, sizes=sizes, minutes=options.minutes)
        return dependency.measure(settings)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
