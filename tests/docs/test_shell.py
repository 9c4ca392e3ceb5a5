"""The shell blocks of the pages run: settings are read by Airflow, the fakes serve, DAGs run, Airflow answers."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from airflow.sdk import Connection

from ork_provider.testing import FakeBigQuery
from tests.conftest import Tell
from tests.docs.conftest import Run
from tests.docs.pages import ROOT, Block
from tests.docs.shell import (
    ASKED,
    DAGS_TEST,
    ITSELF,
    SERVE,
    STORIES,
    check_setting,
    commands,
    commands_of,
    is_setting,
    runner,
    shell_blocks,
    words_of,
)

pytestmark = pytest.mark.timeout(180)

ALL = [(block, command) for block in shell_blocks() for command in commands(block)]
HERE = "tests/docs/test_shell.py"
SETTINGS = sorted({str(block): block for block, one in ALL if is_setting(one) and runner(block, one) == HERE}.items())
APART = commands_of(HERE)
SERVED = [command for command in APART if command.startswith(SERVE)]
DAGS = [command for command in APART if command.startswith(DAGS_TEST)]
QUESTIONS = [command for command in APART if command.startswith(ASKED)]


def _environment(block: Block) -> dict[str, str]:
    """Run a block's settings in bash; return the variables that it has set."""
    lines = [command for command in commands(block) if is_setting(command)]
    script = "\n".join(["set -eu", *lines, "env -0"])
    done = subprocess.run(["bash", "-c", script], env={"PWD": "/"}, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    found = dict(entry.split("=", 1) for entry in done.stdout.split("\0") if "=" in entry)
    return {name: value for name, value in found.items() if name.startswith("AIRFLOW")}


@pytest.mark.parametrize("block", [block for _, block in SETTINGS], ids=[name for name, _ in SETTINGS])
def test_settings(block: Block, monkeypatch: pytest.MonkeyPatch) -> None:
    """A block of settings sets what Airflow reads: connections of known types, options that exist, of their type."""
    from airflow.configuration import conf

    variables = _environment(block)
    assert variables
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
        if name.startswith("AIRFLOW_CONN_"):
            conn = Connection.from_json(value, conn_id=name.removeprefix("AIRFLOW_CONN_").lower())
            assert conn.conn_type in ("dqops", "http", "google_cloud_platform")
            assert isinstance(json.loads(conn.extra or "{}"), dict)
        elif name != "AIRFLOW_HOME":
            section, key = name.removeprefix("AIRFLOW__").lower().split("__")
            check_setting(section, key, value)
            assert conf.get(section, key) == value


@contextmanager
def _served(command: str, folder: Path) -> Iterator[dict[str, str]]:
    """Run a command that serves fakes until Ctrl-C, as the page has it; yield the variables that it prints."""
    words = [sys.executable if word == "python" else word for word in shlex.split(command)]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(words, cwd=folder, env=environ, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            lines = [process.stdout.readline() for _ in range(3)]
            yield dict(shlex.split(line)[1].split("=", 1) for line in lines)
        finally:
            process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0


@pytest.mark.parametrize("command", SERVED)
def test_serving(command: str, tmp_path: Path, weather: Path) -> None:
    """`python -m ork_provider.testing` with the page's options serves, prints three connections, and ends at Ctrl-C."""
    (tmp_path / "DIR").symlink_to(weather)
    with _served(command, tmp_path) as connections:
        types = [Connection.from_json(value, conn_id="x").conn_type for value in connections.values()]
    assert Counter(types) == Counter(["google_cloud_platform", "dqops", "http"])


@pytest.mark.parametrize("command", DAGS)
def test_dags_test(command: str, run: Run, weather: Path) -> None:
    """`airflow dags test` of the page runs the DAG of that name to its end."""
    with FakeBigQuery(pending=0, running=0, data=weather) as bigquery:
        said = run(*shlex.split(command), env=bigquery.connections())
    assert "state=success" in said or "DagRun Finished" in said
    assert bigquery.inserted


@pytest.mark.parametrize("command", QUESTIONS)
def test_questions(command: str, run: Run) -> None:
    """A question to Airflow is answered; the doctor's exit code is its opinion of an Airflow without a triggerer."""
    doctor = command.startswith("airflow ork doctor")
    said = run(*words_of(command), code=1 if doctor else 0)
    assert said.strip()
    assert ("triggerer-alive" in said) == doctor


def test_counts(tell: Tell) -> None:
    """Every command of every shell block is run, as it stands, by a test that takes it from the page."""
    run_by = Counter(runner(block, command) for block, command in ALL)
    assert [f"{block}: {command}" for block, command in ALL if not runner(block, command)] == []  # see shell.py
    for file in {*run_by} - {*STORIES.values(), ITSELF}:
        assert "commands_of" in (ROOT / file).read_text()
    tell(f"shell commands run: {sum(run_by.values())} of {len(ALL)}, in {len(shell_blocks())} blocks")
    for file, count in run_by.items():
        tell(f"  {count} by {file}")
