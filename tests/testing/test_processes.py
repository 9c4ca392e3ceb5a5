"""Local processes of the fakes: exit codes are real, output is kept, and nothing outlives its end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ork_provider.testing.processes import NOT_STARTED, LocalProcess, Processes

SLEEPS = "import time; print('on', flush=True); time.sleep(60)"
DEAF = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SLEEPS}"
PARENT = "import subprocess, sys; c = subprocess.Popen(['sleep', '60']); print(c.pid, flush=True); c.wait()"


@pytest.fixture
def processes() -> Iterator[Processes]:
    found = Processes()
    yield found
    found.stop(0.1)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "task.log"


def python(processes: Processes, code: str, log: Path, **env: str) -> LocalProcess:
    return processes.start([sys.executable, "-c", code], env, log)


def said(log: Path) -> str:
    """Return what a process has said, as soon as it has said anything."""
    until = time.monotonic() + 10
    while not (log.exists() and log.read_text().endswith("\n")) and time.monotonic() < until:
        time.sleep(0.01)
    return log.read_text()


def gone(pid: int) -> bool:
    """Whether a process is gone, or only its exit code is left, within a moment."""
    until = time.monotonic() + 5
    while time.monotonic() < until:
        status = Path(f"/proc/{pid}/status")
        if not status.exists() or "State:\tZ" in status.read_text():
            return True
        time.sleep(0.01)
    return False


def test_exit_code_output_and_environment(processes: Processes, log: Path) -> None:
    """The exit code is the command's own; stdout and stderr go to the log, after what is there already."""
    log.write_text("before\n")
    code = "import os, sys; print(os.environ['WHO']); sys.stdout.flush(); print('bad', file=sys.stderr); sys.exit(3)"
    process = python(processes, code, log, WHO="me")
    assert process.wait(10)
    assert (process.poll(), process.returncode) == (True, 3)
    assert process.ended_at is not None
    assert process.ended_at >= process.started_at
    assert log.read_text() == "before\nme\nbad\n"


def test_command_that_does_not_exist(processes: Processes, log: Path) -> None:
    """It ends at once with 127, and the log says why; nothing is raised."""
    process = processes.start(["/no/such/command"], {}, log)
    assert (process.poll(), process.returncode, process.pid) == (True, NOT_STARTED, None)
    assert "'/no/such/command'] could not be started" in log.read_text()
    process.stop()


def test_stop_sends_sigterm(processes: Processes, log: Path) -> None:
    """A process that listens ends by SIGTERM; stopping it again does nothing."""
    process = python(processes, SLEEPS, log)
    said(log)
    process.stop()
    process.stop()
    assert process.wait(5)
    assert process.returncode == -signal.SIGTERM
    assert processes.running() == []


def test_stop_kills_in_the_end(processes: Processes, log: Path) -> None:
    """A process that ignores SIGTERM is killed after the grace; stop() does not wait for it."""
    process = python(processes, DEAF, log)
    said(log)
    began = time.monotonic()
    process.stop(grace=0.3)
    assert time.monotonic() - began < 0.2
    assert not process.poll()
    assert process.wait(5)
    assert process.returncode == -signal.SIGKILL


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="looks into /proc")
def test_children_end_with_their_parent(processes: Processes, log: Path) -> None:
    """What a process has started ends with it."""
    process = python(processes, PARENT, log)
    child = int(said(log))
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)  # the parent alone
    assert process.wait(5)
    assert gone(child)


def test_stop_of_all(processes: Processes, log: Path) -> None:
    """Stopping the service ends every process before it returns."""
    several = [python(processes, SLEEPS, log) for _ in range(2)]
    assert processes.running() == several
    processes.stop(grace=0.2)
    assert [process.poll() for process in several] == [True, True]


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="looks into /proc")
def test_interpreter_that_ends_takes_them_along(log: Path) -> None:
    """A program that forgot to stop its processes leaves none behind."""
    code = (
        "from pathlib import Path; from ork_provider.testing.processes import Processes;"
        f"print(Processes().start(['sleep', '60'], {{}}, Path({str(log)!r})).pid)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=20).stdout
    assert gone(int(out))
