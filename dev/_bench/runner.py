"""The handle of a triggerer process: hand triggers in, watch it from outside, and read what it has noted.

How each figure comes about: an event's time is taken in the runner when the trigger's event is queued for the
supervisor, which a real one writes to its database within the next second. Event loop lag is how much later than asked
a 0.1 s sleep in the runner's loop ends. CPU is the runner's own process clock. Memory, threads and sockets are read
from outside, with psutil.
"""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

from _bench.board import Board, Order
from _bench.cloud import DEV
from _bench.contenders import Addresses, Trigger


class RunnerDiedError(Exception):
    """The triggerer's process has ended before its time; the message holds the end of its output."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """What a runner has noted, with trigger ids as `Triggerer.add` returned them.

    :param events: trigger id -> time of its first event (seconds since 1970) and the event's payload
    :param failures: trigger id -> time and error of a trigger that ended without an event
    :param samples: time, lag in seconds, CPU-seconds so far
    :param parses: how often a private key was read from its PEM text
    """

    events: dict[int, tuple[float, Any]]
    failures: dict[int, tuple[float, str]]
    samples: list[tuple[float, float, float]]
    parses: int

    def cpu_until(self, moment: float) -> float:
        """Return the CPU-seconds that the runner had used by then."""
        return max((cpu for at, _, cpu in self.samples if at <= moment), default=0.0)

    def lags(self, since: float, until: float) -> list[float]:
        """Return how late the event loop was in a window of time, in seconds."""
        return [lag for at, lag, _ in self.samples if since <= at <= until]


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What the runner's process holds: resident memory in bytes, threads, TCP sockets."""

    memory: int
    threads: int
    sockets: int

    def or_more(self, other: Usage) -> Usage:
        """Return the larger of each figure."""
        return Usage(
            memory=max(self.memory, other.memory),
            threads=max(self.threads, other.threads),
            sockets=max(self.sockets, other.sockets),
        )


class Triggerer:
    """Airflow's triggerer in a process of its own; `with` starts and ends it.

    :param folder: an empty folder for everything that it writes
    :param environ: Airflow connections and settings, beside this process's environment
    :param prepare: "module:function"s that are called with the addresses in the runner's process
    :param per_loop: triggers that its supervisor hands out in one loop; Airflow's default is 50
    """

    def __init__(
        self,
        folder: Path,
        addresses: Addresses,
        environ: dict[str, str],
        *,
        prepare: Iterable[str] = (),
        per_loop: int = 50,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.board = Board(folder / "board")
        self._environ = environ
        self._order = Order(addresses=addresses, prepare=tuple(prepare), per_loop=per_loop)
        self._handed = 0
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Triggerer:
        (self.folder / "order.pickle").write_bytes(pickle.dumps(self._order))
        with (self.folder / "output").open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "_bench.triggerer", str(self.folder)],
                env={**os.environ, **_settings(self.folder), **self._environ},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self.wait_for(lambda: self.board["pid"] > 0, 60)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.board["stop"] = 1
        if self._process:
            try:
                self._process.wait(15)
            except subprocess.TimeoutExpired:
                self._kill()

    def _kill(self) -> None:
        assert self._process
        try:
            runners = psutil.Process(self._process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return
        for process in runners:
            process.kill()
        self._process.kill()
        self._process.wait()

    @property
    def pid(self) -> int:
        """Process id of the runner."""
        return self.board["pid"]

    def add(self, triggers: Sequence[Trigger]) -> range:
        """Hand triggers in; return their ids."""
        wave = self.board["waves"] + 1
        (self.folder / f"wave-{wave}.pickle").write_bytes(pickle.dumps(list(triggers)))
        self.board["waves"] = wave
        first = self._handed + 1
        self._handed += len(triggers)
        return range(first, self._handed + 1)

    def wait_for(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Wait until a condition holds, so many seconds at most; return whether it does.

        :raises RunnerDiedError: when the process ends meanwhile
        """
        assert self._process
        until = time.monotonic() + seconds
        while not condition():
            if self._process.poll() is not None:
                raise RunnerDiedError((self.folder / "output").read_text(errors="replace")[-4000:])
            if time.monotonic() > until:
                return False
            time.sleep(0.02)
        return True

    def usage(self) -> Usage:
        """Return what the runner holds now."""
        process = psutil.Process(self.pid)
        return Usage(
            memory=process.memory_info().rss,
            threads=process.num_threads(),
            sockets=sum(c.status == psutil.CONN_ESTABLISHED for c in process.net_connections("tcp")),
        )

    def stop(self) -> Record:
        """End the runner, and return what it has noted.

        :raises RunnerDiedError: when it left no notes
        """
        assert self._process
        self.board["stop"] = 1
        path = self.folder / "record.json"
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._kill()
        if not path.exists():
            raise RunnerDiedError((self.folder / "output").read_text(errors="replace")[-4000:])
        return _read(json.loads(path.read_text()))

    def own_log_lines(self, trigger_ids: Iterable[int]) -> list[int]:
        """Return how many lines each trigger has written to its log, beside Airflow's own on start and end."""
        return [_own_lines(self.folder / "logs" / "bench" / f"{number}.log") for number in trigger_ids]


def _own_lines(path: Path) -> int:
    lines = path.read_bytes().splitlines() if path.exists() else []
    return sum(b'"filename":"triggerer_job_runner.py"' not in line for line in lines)


def _read(found: dict[str, Any]) -> Record:
    events: dict[int, tuple[float, Any]] = {}
    for number, at, payload in found["events"]:
        events.setdefault(number, (at, payload))
    return Record(
        events=events,
        failures={number: (at, error) for number, at, error in found["failures"]},
        samples=[(at, lag, cpu) for at, lag, cpu in found["samples"]],
        parses=found["parses"],
    )


def _settings(folder: Path) -> dict[str, str]:
    return {
        "AIRFLOW_HOME": str(folder / "home"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__FERNET_KEY": urlsafe_b64encode(os.urandom(32)).decode(),
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(folder / "logs"),
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        "PYTHONPATH": str(DEV),
    }
