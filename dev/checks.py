"""./dev/test: everything that CI runs, in order, stopping at the first failure that a second run does not mend.

Without arguments: ruff, mypy, the unit and contract tests, the documentation's, the unit tests on the oldest and the
newest supported Python that is found here, the end-to-end tests in a real Airflow, the doctor in deployments that are
broken on purpose, what the pages show of a real Airflow (SQL, commands, metrics), all lessons of the tutorial, then
the chaos suite: an Airflow with two triggerers on PostgreSQL in which everything dies at some time.

    ./dev/test --chaos              the chaos suite alone; about 12 minutes
    ./dev/test --chaos --seed 7     with another seed (1): it decides what runs, what dies, and when

Any other argument goes to pytest, which is then all that runs:

    ./dev/test -k name                  the tests of that name, of every kind
    ./dev/test tests/unit/test_job.py   one file
    ./dev/test --lf -x                  any of pytest's options
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from environment import ROOT, SUPPORTED, InstallError, clean_environ, find_python, ready, version_of

E2E = "tests/e2e"
TUTORIAL = "tests/tutorial"
DOCTOR = "tests/doctor"
DOCS = "tests/docs"
DOCS_AIRFLOW = "tests/docs_airflow"
CHAOS = "tests/chaos"
LESSONS = "example_dags"
"""Some lessons are tests."""
PYTEST = ["-m", "pytest"]
WAITING = ["-n", str(max(5, os.cpu_count() or 1)), "--dist", "worksteal"]
"""The unit and contract tests wait for the fakes' real time more than they compute."""
COMPUTING = ["-n", str(max(3, os.cpu_count() or 1)), "--dist", "worksteal"]
"""The documentation's compute more: each of many runs `airflow dags test`."""
FAILED = 1
"""Pytest's exit code when tests have failed; others are its own troubles."""
AGAIN: list[str] = []
"""The steps that a second run has saved."""
RUNNING: list[subprocess.Popen[bytes]] = []


class CheckFailedError(Exception):
    """A step failed; its output has been shown."""


def main(arguments: list[str]) -> int:
    """Run the checks, or pytest with the arguments; return the exit code."""
    if arguments in (["--help"], ["-h"]):
        print(__doc__)
        return 0
    started = time.monotonic()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    with tempfile.TemporaryDirectory(prefix="ork-test-", ignore_cleanup_errors=True) as home:
        environ = _environ(home)
        try:
            python = ready()
            if "--chaos" in arguments:
                arguments[arguments.index("--chaos")] = CHAOS
            if arguments:
                return _run([python, "-m", "pytest", *_targets(arguments), *arguments], environ)
            _all(python, environ)
        except KeyboardInterrupt:
            return 130
        except (InstallError, CheckFailedError) as problem:
            print(f"\ndev/test: FAILED after {_since(started)}: {problem}", flush=True)
            return 1
    print(f"\ndev/test: everything passed in {_since(started)}", flush=True)
    return 0


def _all(python: Path, environ: dict[str, str]) -> None:
    def step(name: str, *command: str) -> None:
        _step(name, lambda: _run([python, *command], environ))

    def tests(name: str, *arguments: str) -> None:
        _step(name, lambda: _tests(name, [python, *PYTEST, *arguments], environ))

    step("ruff check", "-m", "ruff", "check", ".")
    step("ruff format --check", "-m", "ruff", "format", "--check", ".")
    step("mypy --strict", "-m", "mypy", "-p", "ork_provider")
    step("mypy --strict dev", "-m", "mypy", "dev", "--exclude", "demo_dags")
    apart = [f"--ignore={folder}" for folder in (E2E, DOCTOR, DOCS, DOCS_AIRFLOW, TUTORIAL, CHAOS)]
    tests("unit and contract tests", *WAITING, "tests", LESSONS, *apart)
    tests("documentation", *COMPUTING, DOCS)
    _step("unit tests on other Pythons", lambda: _other_pythons(python, environ))
    tests("end-to-end tests", E2E)
    tests("the doctor in healthy and broken deployments", "-s", DOCTOR)
    tests("documentation in a real Airflow", "-n", "2", DOCS_AIRFLOW)
    tests("lessons of the tutorial", "-s", TUTORIAL)
    _step("chaos suite", lambda: _chaos(python, environ))
    if AGAIN:
        print(f"\nA second run was needed by: {', '.join(AGAIN)}")


def _tests(name: str, command: list[str | Path], environ: dict[str, str]) -> int:
    """Run tests, and what fails once more: a machine that stands still for a second breaks what measures time."""
    with tempfile.TemporaryDirectory(prefix="ork-test-") as cache:
        command = [*command, "-o", f"cache_dir={cache}"]
        code = _run(command, environ)
        return _once_more(name, command, environ) if code == FAILED else code


def _once_more(name: str, command: list[str | Path], environ: dict[str, str]) -> int:
    """Run the tests that have failed, one after the other."""
    print(f"{name}: tests have failed, see above. They run once more; a second failure counts.", flush=True)
    AGAIN.append(name)
    return _run([*command, "-n", "0", "--last-failed", "--last-failed-no-failures", "none"], environ)


def _chaos(python: Path, environ: dict[str, str]) -> int:
    """Run the chaos suite; once more if it fails, because a machine that starves an Airflow breaks it as well."""
    command: list[str | Path] = [python, *PYTEST, CHAOS]
    code = _run(command, environ)
    if code:
        print("The chaos suite has failed, see above. It runs once more; a second failure counts.", flush=True)
        AGAIN.append("chaos suite")
        code = _run(command, environ)
    return code


def _step(name: str, action: Callable[[], int]) -> None:
    print(f"\n=== {name}", flush=True)
    started, used = time.monotonic(), _processor()
    if action():
        raise CheckFailedError(name)
    print(f"--- {name}: passed in {_since(started)}, {_processor() - used:.0f} s of the processors", flush=True)


def _processor() -> float:
    """Return the seconds of processor time of what has ended so far: a slow machine's steps take longer for it."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _other_pythons(main_python: Path, environ: dict[str, str]) -> int:
    """Run the unit tests on the oldest and the newest Python found, where they are not the main one."""
    main_version = version_of(main_python)
    found = [version for version in SUPPORTED if version == main_version or find_python(version)]
    others = sorted({found[0], found[-1]} - {main_version})
    if not others:
        print(f"Python {main_version} is the only one found here; the tests above ran on it.")
    pythons = {version: ready(version) for version in others}
    runs = [UnitTests(version, python, environ) for version, python in pythons.items()]
    return max((run.report() for run in runs), default=0)


class UnitTests:
    """The unit tests on another Python, in the background: two Pythons share two cores."""

    def __init__(self, version: str, python: Path, environ: dict[str, str]) -> None:
        self.version = version
        self._home = tempfile.TemporaryDirectory(prefix="ork-test-", ignore_cleanup_errors=True)
        self._output = Path(self._home.name, "output")
        self._environ = {**environ, "AIRFLOW_HOME": self._home.name}
        self._command: list[str | Path] = [python, *PYTEST, "-o", f"cache_dir={self._home.name}/cache", "tests/unit"]
        with self._output.open("wb") as output:
            self._process = _start(self._command, self._environ, output)

    def report(self) -> int:
        """Wait, print the last line or, of a failure, everything; return the exit code of what failed, run again."""
        code = _wait(self._process)
        lines = self._output.read_text(errors="replace").splitlines()
        print(f"Python {self.version}:", "\n".join(lines if code else lines[-1:]), flush=True)
        if code == FAILED:
            code = _once_more(f"Python {self.version}", self._command, self._environ)
        self._home.cleanup()
        return code


def _environ(home: str) -> dict[str, str]:
    settings = {"AIRFLOW_HOME": home, "AIRFLOW__CORE__LOAD_EXAMPLES": "False", "PYTHONUNBUFFERED": "1"}
    return {**clean_environ(), **settings}


def _targets(arguments: list[str]) -> list[str]:
    """Return all tests but the chaos, unless the arguments name files or folders of their own."""
    named = any(not a.startswith("-") and Path(ROOT, a.split("::")[0]).exists() for a in arguments)
    return [] if named else ["tests", LESSONS, f"--ignore={CHAOS}"]


def _run(command: list[str | Path], environ: dict[str, str]) -> int:
    return _wait(_start(command, environ, None))


def _start(command: list[str | Path], environ: dict[str, str], output: BinaryIO | None) -> subprocess.Popen[bytes]:
    """Start a command without input, in a session of its own; its output goes to a file, or to ours."""
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT if output else None,
        start_new_session=True,
    )
    RUNNING.append(process)
    return process


def _wait(process: subprocess.Popen[bytes]) -> int:
    code = process.wait()
    RUNNING.remove(process)
    return code


def _interrupt(*_: object) -> None:
    """Pass a Ctrl-C or SIGTERM on, once, to all that runs: each child stops what it has started itself."""
    for process in RUNNING:
        process.send_signal(signal.SIGINT)
    if not RUNNING:
        raise KeyboardInterrupt


def _since(started: float) -> str:
    return f"{time.monotonic() - started:.0f} s"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
