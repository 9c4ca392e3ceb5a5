"""The sandbox of the fake Dataproc: PySpark jobs and batches whose main file is local run as real processes."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from ork_provider.testing.dataproc_jobs import DataprocOutcome
from ork_provider.testing.processes import LocalProcess, Processes
from ork_provider.testing.scripts import NEVER

ENVIRONMENT = ("spark.executorEnv.", "spark.yarn.appMasterEnv.", "spark.dataproc.driverEnv.")
"""Prefixes of properties that set environment variables; the last one is that of serverless batches."""


@dataclass
class FileWork:
    """A process that runs a Python file."""

    process: LocalProcess
    script: DataprocOutcome
    stopped: bool = False

    @property
    def started_at(self) -> float:
        """When the process was started."""
        return self.process.started_at

    @property
    def ended_at(self) -> float:
        """When the process ended."""
        ended = self.process.ended_at
        return NEVER if ended is None else ended

    @property
    def cancelled(self) -> bool:
        """Whether it was stopped while it ran."""
        return self.stopped

    @property
    def error(self) -> str | None:
        """The exit code and the last line of the output, unless the code is 0."""
        code = self.process.returncode
        if not code:
            return None
        return f"Job failed with message [{_last_line(self.process.log_path)}], exit code {code}"

    @property
    def output_uri(self) -> str | None:
        """The file that holds stdout and stderr."""
        return self.process.log_path.as_uri()

    def cancel(self, now: float) -> None:
        """Stop the process."""
        self.stopped = self.stopped or not self.process.poll()
        self.process.stop()


def start_file(resource: Mapping[str, Any], processes: Processes, log_path: Path) -> FileWork | None:
    """Run a job's or batch's main Python file with this Python, if it is a `file:///` one."""
    main = resource.get("pysparkJob") or resource.get("pysparkBatch") or {}
    uri = urlsplit(str(main.get("mainPythonFileUri", "")))
    if uri.scheme != "file":
        return None
    properties = {**main.get("properties", {}), **resource.get("runtimeConfig", {}).get("properties", {})}
    command = [sys.executable, unquote(uri.path), *map(str, main.get("args", []))]
    process = processes.start(command, {"PYTHONUNBUFFERED": "1", **_environment(properties)}, log_path)
    return FileWork(process, DataprocOutcome(pending=0, setup=0, running=NEVER, application=Path(command[1]).name))


def _last_line(log: Path) -> str:
    try:
        lines = log.read_text(errors="replace").split("\n")
    except OSError:  # the fake has been left, and its files with it
        lines = []
    return next((line.strip()[:500] for line in reversed(lines) if line.strip()), "no output")


def _environment(properties: Mapping[str, str]) -> dict[str, str]:
    found = {}
    for name, value in properties.items():
        for prefix in ENVIRONMENT:
            if name.startswith(prefix):
                found[name[len(prefix) :]] = str(value)
    return found
