"""Tasks of a Cloud Run execution that are local processes: a user's own command, its real exit code and output."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ork_provider.testing.cloud_run_jobs import Counts
from ork_provider.testing.processes import GRACE, LocalProcess, Processes
from ork_provider.testing.scripts import NEVER

AT_ONCE = 8
"""Tasks of one execution that run at the same time; more wait."""

_STEP = 0.02


@dataclass(frozen=True)
class Command:
    """What each task of an execution runs.

    :param command: program and arguments
    :param env: beside the present environment
    :param log_path: where the output of all tasks goes
    :param timeout: seconds that a task may run
    """

    command: Sequence[str]
    env: Mapping[str, str]
    log_path: Path
    timeout: float


class LocalTasks:
    """The tasks of one execution, run from a thread of its own."""

    def __init__(self, what: Command, task_count: int, processes: Processes) -> None:
        self.what = what
        self.task_count = task_count
        self.started_at = processes.clock()
        self.ended_at = NEVER
        self.message = ""
        self.log_uri: str | None = what.log_path.as_uri()
        self._processes = processes
        self._waiting = deque(range(task_count))
        self._running: dict[int, LocalProcess] = {}
        self._stopped: set[int] = set()
        self._ended: dict[str, int] = {"succeeded": 0, "failed": 0, "cancelled": 0}
        self._lock = threading.Lock()
        self._cancelled = threading.Event()
        self._thread = threading.Thread(target=self._run, name="cloud-run-execution", daemon=True)
        self._thread.start()

    def counts(self, now: float) -> Counts:
        """Count the tasks by phase."""
        with self._lock:
            return Counts(running=len(self._running), **self._ended)

    def cancel(self, now: float) -> None:
        """Send SIGTERM to every task, SIGKILL a little later; no further one is started."""
        self._cancelled.set()

    def join(self, seconds: float) -> None:
        """Wait until every task has ended, for so many seconds at most."""
        self._thread.join(seconds)

    def _run(self) -> None:
        while self._waiting or self._running:
            if self._cancelled.is_set():
                self._stop_all()
            self._start_some()
            for index, process in list(self._running.items()):
                self._look_at(index, process)
            time.sleep(_STEP)
        self.ended_at = self._processes.clock()

    def _stop_all(self) -> None:
        with self._lock:
            self._ended["cancelled"] += len(self._waiting)
            self._waiting.clear()
        for index, process in self._running.items():
            if not process.poll():
                self._stopped.add(index)
                process.stop(GRACE)

    def _start_some(self) -> None:
        while self._waiting and len(self._running) < AT_ONCE:
            index = self._waiting[0]
            env = {**self.what.env, "CLOUD_RUN_TASK_INDEX": str(index), "CLOUD_RUN_TASK_COUNT": str(self.task_count)}
            process = self._processes.start(self.what.command, env, self.what.log_path)
            with self._lock:
                self._waiting.popleft()
                self._running[index] = process

    def _look_at(self, index: int, process: LocalProcess) -> None:
        late = self._processes.clock() - process.started_at > self.what.timeout
        if late and not process.poll():
            process.stop(GRACE)
        if not process.poll():
            return
        phase = self._phase(index, process, late=late)
        if phase == "failed" and not self.message:
            said = "The configured timeout was reached." if late else "The container exited with an error"
            code = "" if late else f" (exit code {process.returncode})."
            self.message = f"Task {self.what.env['CLOUD_RUN_EXECUTION']}-task{index} failed with message: {said}{code}"
        with self._lock:
            del self._running[index]
            self._ended[phase] += 1

    def _phase(self, index: int, process: LocalProcess, *, late: bool) -> str:
        if index in self._stopped:
            return "cancelled"
        return "succeeded" if process.returncode == 0 and not late else "failed"
