"""Local processes that stand for a service's work: started in a group of their own, logged, and ended for sure."""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from weakref import WeakSet

NOT_STARTED = 127
"""Exit code of a command that could not be started, as a shell has it."""

GRACE = 5.0
"""Seconds between SIGTERM and SIGKILL."""

_running: WeakSet[LocalProcess] = WeakSet()


class LocalProcess:
    """A background process; it leads a group, so that what it starts ends with it.

    Its output is appended to `log_path`. A command that cannot be started has the exit code 127, and the reason in
    its log. `ended_at` is a reading of `clock` in seconds, None while it runs.
    """

    def __init__(
        self,
        command: Sequence[str],
        env: Mapping[str, str],
        log_path: Path,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.command = list(command)
        self.log_path = log_path
        self.clock = clock
        self.started_at = clock()
        self.ended_at: float | None = None
        self._returncode: int | None = None
        self._ended = threading.Event()
        self._stopping = threading.Lock()
        self._process = self._start(env)
        if self._process is None:
            self._end(NOT_STARTED)
        else:
            _running.add(self)
            self._thread = threading.Thread(target=self._wait, name=f"process-{self._process.pid}", daemon=True)
            self._thread.start()

    def _start(self, env: Mapping[str, str]) -> subprocess.Popen[bytes] | None:
        with self.log_path.open("ab") as log:
            try:
                return subprocess.Popen(
                    self.command,
                    env={**os.environ, **env},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            except (OSError, ValueError) as exc:
                log.write(f"{self.command!r} could not be started: {exc}\n".encode())
                return None

    def _wait(self) -> None:
        assert self._process is not None
        code = self._process.wait()
        self._signal(signal.SIGKILL)  # what it has left behind in its group, as the end of a container does
        self._end(code)

    def _end(self, code: int) -> None:
        self.ended_at = self.clock()
        self._returncode = code
        self._ended.set()

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS says so of a group of zombies
            os.killpg(self._process.pid, number)

    @property
    def pid(self) -> int | None:
        """The process id, which is also that of its group; None if it could not be started."""
        return self._process.pid if self._process else None

    @property
    def returncode(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        return self._returncode

    def poll(self) -> bool:
        """Whether it has ended."""
        return self._ended.is_set()

    def wait(self, seconds: float) -> bool:
        """Wait until it has ended, for so many seconds at most; return whether it has."""
        return self._ended.wait(seconds)

    def stop(self, grace: float = GRACE) -> None:
        """Send SIGTERM to the group, and SIGKILL `grace` seconds later if it is still there; returns at once."""
        if self.poll() or not self._stopping.acquire(blocking=False):
            return
        self._signal(signal.SIGTERM)
        threading.Thread(target=self._kill_after, args=(grace,), name="process-stop", daemon=True).start()

    def _kill_after(self, grace: float) -> None:
        if not self.wait(grace):
            self.kill()

    def kill(self) -> None:
        """Send SIGKILL to the group."""
        if not self.poll():
            self._signal(signal.SIGKILL)


class Processes:
    """The processes of one fake service.

    :param clock: seconds; `started_at` and `ended_at` of each process are readings of it
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.started: list[LocalProcess] = []

    def start(self, command: Sequence[str], env: Mapping[str, str], log_path: Path) -> LocalProcess:
        """Start a command with `env` beside the present environment; never raises for a command that is bad."""
        process = LocalProcess(command, env, log_path, clock=self.clock)
        self.started.append(process)
        return process

    def running(self) -> list[LocalProcess]:
        """List the processes that have not ended, oldest first."""
        return [process for process in list(self.started) if not process.poll()]

    def stop(self, grace: float = 1.0) -> None:
        """End them all; returns when they have ended."""
        left = self.running()
        for process in left:
            process.stop(grace)
        for process in left:
            process.wait(grace + 5)


@atexit.register
def _kill_the_rest() -> None:
    for process in list(_running):
        process.kill()
