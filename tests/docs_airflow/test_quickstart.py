"""docs/quickstart.md, from its first line to its last, as somebody types it who has never seen Airflow."""

from __future__ import annotations

import json
import os
import secrets
import shlex
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.conftest import Tell
from tests.docs.pages import ROOT, Block, blocks
from tests.docs.shell import SERVE, commands, is_setting

pytestmark = pytest.mark.timeout(400)

PAGE = ROOT / "docs/quickstart.md"
SHELL = [block for block in blocks("console", "bash") if block.page == PAGE]


class Shell:
    """A bash with job control, as in a terminal; it is told one command after the other."""

    def __init__(self, folder: Path, environ: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            ["bash", "--norc"],
            cwd=folder,
            env=environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.said: list[str] = []
        self("set -m")

    def __call__(self, command: str) -> str:
        """Run a command; return what it prints, fail if it fails."""
        code, output = self.ask(command)
        assert code == 0, f"{command}\n{output}"
        return output

    def ask(self, command: str) -> tuple[int, str]:
        """Run a command; return its exit code and what it prints."""
        assert self._process.stdin
        assert self._process.stdout
        end = secrets.token_hex(8)
        self._process.stdin.write(f"{command}\ncode=$?; echo; echo {end} $code\n")
        self._process.stdin.flush()
        lines: list[str] = []
        for line in self._process.stdout:
            if line.startswith(end):
                code = int(line.split()[1])
                break
            lines.append(line)
        else:
            raise AssertionError(f"the shell has ended: {''.join(lines)}")
        output = "".join(lines)
        self.said.append(f"$ {command}\n{output}")
        return code, output

    def close(self) -> None:
        """Leave the shell."""
        self._process.communicate(timeout=20)


def _block(start: str) -> Block:
    """Return the shell block with a command that begins like this."""
    return next(block for block in SHELL if any(command.startswith(start) for command in commands(block)))


def _until(condition: Callable[[], object], seconds: float, shell: Shell) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "\n".join(shell.said[-4:])
        time.sleep(0.5)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return ports


@pytest.fixture
def mark() -> Iterator[str]:
    """Give a value to the environment of all that the page starts; end at last what still has it."""
    value = secrets.token_hex(16)
    yield value
    for process in psutil.process_iter():
        try:
            if process.environ().get("ORK_QUICKSTART") == value:
                process.kill()
        except psutil.Error:
            continue


@pytest.fixture
def environ(mark: str) -> dict[str, str]:
    """Return an environment without Airflow's settings but those of ports: others may run on this machine."""
    api, workers, triggers = _free_ports(3)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "_AIRFLOW", "PYTEST"))}
    return {
        **kept,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), kept.get("PATH", "")]),
        "PYTHONPATH": str(ROOT),
        "ORK_QUICKSTART": mark,
        "AIRFLOW__API__PORT": str(api),
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__API__BASE_URL": f"http://127.0.0.1:{api}",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{api}/execution/",
        "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(workers),
        "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(triggers),
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
    }


@pytest.fixture
def fakes(tmp_path: Path, environ: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """Run the page's first shell: the data, and the local BigQuery until Ctrl-C."""
    shell = Shell(tmp_path, environ)
    for command in commands(_block("mkdir")):
        shell(command)
    shell.close()
    words = shlex.split(next(command for command in commands(_block(SERVE)) if command.startswith(SERVE)))
    with subprocess.Popen(words, cwd=tmp_path, env=environ, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGINT)


@pytest.fixture
def shell(tmp_path: Path, environ: dict[str, str]) -> Iterator[Shell]:
    """Open the page's second shell."""
    shell = Shell(tmp_path, environ)
    yield shell
    shell.close()


def test_quickstart(tmp_path: Path, mark: str, fakes: subprocess.Popen[str], shell: Shell, tell: Tell) -> None:
    """Each block of the page works in its turn; the task is seen deferred, and then its rows; Airflow ends."""
    assert fakes.stdout
    for _ in range(3):
        shell(fakes.stdout.readline())
    dags = tmp_path / "airflow" / "dags"
    dags.mkdir(parents=True)
    (dag,) = [block for block in blocks("python") if block.page == PAGE]
    (dags / "quickstart.py").write_text(dag.code)
    done = [_block("pip"), _block("mkdir"), _block(SERVE), *_wait_and_see(shell, dags)]
    assert "`kill %1`" in PAGE.read_text()
    shell("kill %1")
    _until(lambda: not _alive(mark), 60, shell)
    done += _with_bigquery_itself(shell)
    assert done == SHELL
    tell(f"blocks of the quickstart run: {len(done)} of {len(SHELL)}; pip install in tests/docs/test_tools.py")


def _wait_and_see(shell: Shell, dags: Path) -> list[Block]:
    beginnings = ("export AIRFLOW_HOME", "airflow jobs", "airflow dags trigger", "airflow ork")
    start, check, trigger, look = map(_block, beginnings)
    database = dags.parent / "airflow.db"
    for command in commands(start):
        shell(command)
    _until(lambda: len(_ask(database, "SELECT id FROM job WHERE state = 'running'")) > 2, 150, shell)
    for command in commands(check):
        _until(lambda command=command: shell.ask(command)[0] == 0, 60, shell)  # type: ignore[misc]
    _until(lambda: _ask(database, "SELECT dag_id FROM dag WHERE dag_id = 'quickstart'"), 60, shell)
    trigger_run, states = commands(trigger)
    shell(trigger_run)
    _until(lambda: _ask(database, "SELECT task_id FROM task_instance WHERE state = 'deferred'"), 45, shell)
    assert "deferred" in shell(states)
    waiting, explain = commands(look)
    assert "quickstart" in (said := shell(waiting)), said
    assert "days" in (said := shell(explain)), said
    _until(lambda: len(_ask(database, "SELECT task_id FROM task_instance WHERE state = 'success'")) == 2, 120, shell)
    assert shell(states).count("success") == 2
    logs = "".join(file.read_text() for file in dags.parent.glob("logs/dag_id=quickstart/*/task_id=report/*.log"))
    assert "2 days of sun" in logs
    return [start, check, trigger, look]


def _ask(database: Path, query: str) -> list[tuple[Any, ...]]:
    """Ask the page's Airflow what it has come to; its own commands take seconds of the processor to say so."""
    try:
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=10)) as connection:
            return connection.execute(query).fetchall()
    except sqlite3.OperationalError:  # no such file or table yet
        return []


def _with_bigquery_itself(shell: Shell) -> list[Block]:
    """Run the last blocks: Airflow reads the connection; its key is a file that is not there, and the task says so."""
    connection, dag = _block("export AIRFLOW_CONN"), _block("airflow dags test")
    (setting,) = commands(connection)
    assert is_setting(setting)
    shell(setting)
    (test,) = commands(dag)
    _, said = shell.ask(test)
    assert "/run/secrets/key.json" in said
    found = json.loads(shell('printf "%s" "$AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT"'))
    assert found["extra"]["project"] == "my-project"
    return [connection, dag]


def _alive(mark: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("ORK_QUICKSTART") == mark and "airflow" in " ".join(process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue
    return found
