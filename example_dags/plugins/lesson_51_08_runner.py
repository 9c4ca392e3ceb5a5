"""Runs the tests beside a lesson of section 51.8 as a CI job does, and tells what each test has shown.

A task's own process is no place for them: its settings (a database that tasks may not use, the connection to its
supervisor) would reach the tests. They get a Python, an AIRFLOW_HOME and an environment of their own.
"""

from __future__ import annotations

import ast
import logging
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from xml.etree import ElementTree

from airflow.sdk.exceptions import AirflowFailException

log = logging.getLogger(__name__)

NEEDED = {"pytest": "pytest", "pytest_asyncio": "pytest-asyncio", "time_machine": "time-machine"}
TIME_LIMIT = 300  # seconds; a busy machine needs more than the usual ten
_POINT = re.compile(r"\(([1-4])\) (.+)")


def tested(dag_file: str) -> Iterator[tuple[int, str]]:
    """Run `test_<dag_file>`; yield each test's point and what it has shown, then fail if a test has failed."""
    if missing := [package for module, package in NEEDED.items() if find_spec(module) is None]:
        raise AirflowFailException(f"This lesson runs tests, and they need: pip install {' '.join(missing)}")
    file = Path(dag_file).with_name(f"test_{Path(dag_file).name}")
    with tempfile.TemporaryDirectory(prefix="lesson-tests-") as home:
        report = Path(home, "report.xml")
        code, output = _pytest(file, report)
        log.info("pytest has ended with exit code %d:\n%s", code, output if code else output.splitlines()[-1])
        results = _results(report) if report.exists() else []
    points, passed = _points(file), set()
    for name, outcome, seconds, shown in results:
        point, rule = points[name.partition("[")[0]]
        if outcome == "passed":
            passed.add(point)
        yield point, f"{outcome} in {seconds:.2f} s: {name}: {rule}{f' [{shown}]' if shown else ''}"
    if code or passed != {1, 2, 3, 4}:
        raise AirflowFailException(f"{file.name}: a test has failed, or a point has none; see the output above.")


def _pytest(file: Path, report: Path) -> tuple[int, str]:
    """Return the exit code and the output; the settings are those of the `pytest.ini` beside the test."""
    command = [sys.executable, "-m", "pytest", str(file), "-q", f"--junitxml={report}", "-p", "no:cacheprovider"]
    settings = ["-c", str(file.with_name("pytest.ini")), f"--rootdir={file.parent}", "-p", "pytest_asyncio.plugin"]
    own = ("AIRFLOW", "_AIRFLOW", "PYTEST")
    environ = {name: value for name, value in os.environ.items() if not name.startswith(own)}
    environ |= {"AIRFLOW_HOME": str(report.parent), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
    environ |= {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONDONTWRITEBYTECODE": "1"}  # no plugin but the one above
    done = subprocess.run(
        [*command, *settings],
        env=environ,
        cwd=report.parent,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIME_LIMIT,
        check=False,
    )
    return done.returncode, done.stdout.strip() or "(no output)"


def _results(report: Path) -> list[tuple[str, str, float, str]]:
    """Read a JUnit report: name, outcome, seconds, and the values that the test has recorded."""
    found = []
    for case in ElementTree.parse(report).iter("testcase"):
        bad = next((child for child in case if child.tag in ("failure", "error", "skipped")), None)
        outcome = "passed" if bad is None else "skipped" if bad.tag == "skipped" else "FAILED"
        values = [f"{item.get('name')}: {item.get('value')}" for item in case.iter("property")]
        shown = ", ".join(values) if bad is None else str(bad.get("message")).partition("\n")[0]
        found.append((str(case.get("name")), outcome, float(case.get("time", 0)), shown))
    return found


def _points(file: Path) -> dict[str, tuple[int, str]]:
    """Map each test to its point and rule, the first line of its docstring, such as `(2) A rule`."""
    found = {}
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name.startswith("test_"):
            match = _POINT.match(ast.get_docstring(node) or "")
            if match is None:
                raise ValueError(f"The docstring of {node.name} in {file.name} does not begin with its point: (1) ...")
            found[node.name] = (int(match[1]), match[2].rstrip("."))
    return found
