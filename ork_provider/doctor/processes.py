"""The triggerers that run on this machine, as processes: their limits, where their event loop is, their own log."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

import psutil

from ork_provider.cli.reading import Triggerer

STARTS_WITHIN = timedelta(minutes=5)
"""How long a triggerer may take from the start of its process to its row in the database."""

CLOCKS = timedelta(seconds=5)
"""By how much the clock of the database's writer may be behind."""

DATABASE = "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"

TAIL = 512 * 1024
"""Bytes of a log's end that are read."""

_LINE = re.compile(r"^(?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?)Z? \[(?P<level>\w+) *\] (?P<text>.*)$")
_JSON = re.compile(r'"timestamp": ?"(?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)')
_EPOLL = re.compile("ep_poll|epoll|kqueue|select")


@dataclass(frozen=True, kw_only=True)
class LogLine:
    """A line of a triggerer's own log."""

    time: datetime
    level: str
    text: str


@dataclass(frozen=True, kw_only=True)
class TriggererProcess:
    """A triggerer of this machine.

    :param supervisor: talks to the database, and holds the log file of each trigger open
    :param runner: its child with the event loop, in which the triggers run; None: it has none
    """

    triggerer: Triggerer
    supervisor: psutil.Process
    runner: psutil.Process | None

    @property
    def capacity(self) -> int | None:
        """What its command line says; None: nothing."""
        with contextlib.suppress(psutil.Error):
            words = self.supervisor.cmdline()
            for word, following in zip(words, [*words[1:], ""], strict=True):
                flag, _, value = word.partition("=")
                if flag == "--capacity":
                    with contextlib.suppress(ValueError):
                        return int(value or following)
        return None

    @property
    def log(self) -> Path | None:
        """The file that its output goes to; None: a terminal, a pipe or a service manager."""
        try:
            target = Path(f"/proc/{self.supervisor.pid}/fd/1").readlink()
        except OSError:
            return None
        return target if target.is_file() else None

    def open_files(self) -> Iterator[tuple[psutil.Process, int, int]]:
        """Tell, of both processes, how many files are open and how many may be."""
        for process in (self.supervisor, self.runner):
            if process is not None:
                with contextlib.suppress(psutil.Error, OSError, AttributeError):
                    yield process, process.num_fds(), process.rlimit(psutil.RLIMIT_NOFILE)[0]

    def loop_places(self, looks: int = 40, pause: float = 0.05) -> Counter[str]:
        """Look where the event loop's thread is: "waiting" in the poll where it belongs, or the kernel's word.

        :return: how often it was where; empty where this cannot be seen
        """
        places: Counter[str] = Counter()
        if self.runner is None:
            return places
        with contextlib.suppress(OSError, psutil.Error):
            for _ in range(looks):
                word = Path(f"/proc/{self.runner.pid}/wchan").read_text().strip()
                if word in {"", "0"}:  # it runs at this moment, or this kernel does not tell
                    word = "running" if self.runner.status() == psutil.STATUS_RUNNING else ""
                if word:
                    places["waiting" if _EPOLL.search(word) else word] += 1
                time.sleep(pause)
        return places


def find_processes(triggerers: Iterable[Triggerer]) -> list[TriggererProcess]:
    """Find the processes of the triggerers that the database has on this machine.

    The database holds no process ids, and there may be triggerers of other Airflows here. So a triggerer is, of the
    processes with our AIRFLOW_HOME and database, the one that began last before its row was written.
    """
    free = {process.pid: process for process in _supervisors() if _is_ours(process)}
    found = []
    for triggerer in sorted(triggerers, key=lambda t: t.id, reverse=True):
        if triggerer.started is None:
            continue
        fits = [p for p in free.values() if _fits(_began(p), triggerer.started)]
        if fits:
            supervisor = max(fits, key=_began)
            del free[supervisor.pid]
            found.append(TriggererProcess(triggerer=triggerer, supervisor=supervisor, runner=_runner(supervisor)))
    return found


def read_log(file: Path) -> list[LogLine]:
    """Read the end of a triggerer's own log: its lines with a time; a traceback belongs to the line above it."""
    try:
        with file.open("rb") as stream:
            stream.seek(max(0, file.stat().st_size - TAIL))
            text = stream.read().decode(errors="replace")
    except OSError:
        return []
    return [line for line in map(_read_line, text.splitlines()) if line is not None]


def _read_line(text: str) -> LogLine | None:
    if match := _LINE.match(text):
        return LogLine(time=_time(match["time"]), level=match["level"], text=match["text"].strip())
    if text.startswith("{") and (match := _JSON.search(text)):
        level = re.search(r'"level": ?"(\w+)"', text)
        return LogLine(time=_time(match["time"]), level=level[1] if level else "", text=text)
    return None


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text[:19]).replace(tzinfo=timezone.utc)


def _supervisors() -> Iterator[psutil.Process]:
    """Find the processes of `airflow triggerer` that are no child of another one."""
    found = {}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            words = process.cmdline()
            if "triggerer" in words and any(Path(word).name == "airflow" for word in words):
                found[process.pid] = process
    for process in found.values():
        with contextlib.suppress(psutil.Error):
            if process.ppid() not in found and process.status() != psutil.STATUS_ZOMBIE:
                yield process


def _is_ours(process: psutil.Process) -> bool:
    """Whether a process is of this Airflow, as far as its environment can be seen and tells."""
    try:
        environ = process.environ()
    except (psutil.Error, OSError):
        return True
    if _home(environ) != _home(os.environ):
        return False
    here, there = os.environ.get(DATABASE), environ.get(DATABASE)
    return here is None or there is None or here == there


def _home(environ: Mapping[str, str]) -> Path:
    return Path(environ.get("AIRFLOW_HOME") or Path(environ.get("HOME", "/"), "airflow")).expanduser().resolve()


def _runner(supervisor: psutil.Process) -> psutil.Process | None:
    """Return the child that is a copy of its supervisor: it was forked, and runs no other program."""
    with contextlib.suppress(psutil.Error):
        command = supervisor.cmdline()
        for child in supervisor.children():
            with contextlib.suppress(psutil.Error):
                if child.cmdline() == command and not _listens(child):
                    return child
    return None


def _listens(process: psutil.Process) -> bool:
    """Whether it is the server of logs, which may be a copy as well."""
    return any(connection.status == psutil.CONN_LISTEN for connection in process.net_connections(kind="inet"))


def _began(process: psutil.Process) -> datetime:
    return datetime.fromtimestamp(process.create_time(), tz=timezone.utc)


def _fits(began: datetime, registered: datetime) -> bool:
    return registered - STARTS_WITHIN < began < registered + CLOCKS
