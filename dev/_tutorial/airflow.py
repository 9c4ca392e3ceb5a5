"""The Airflow that the lessons run in, and the services that they use."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx

from _tutorial.catalog import LESSONS, PLUGINS
from ork_provider.testing import (
    FakeBigQuery,
    FakeCloudRun,
    FakeDataproc,
    FakeDqops,
    FakeHttpJobs,
    merged_connections,
)
from ork_provider.testing.local_airflow import LocalAirflow

SETTINGS = {
    "AIRFLOW__CORE__PLUGINS_FOLDER": str(PLUGINS),
    # A worker that is looked at every second: short waits would be failed by the scheduler at the default of 5 s
    # (https://github.com/apache/airflow/issues/66374).
    "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
    "AIRFLOW__WORKERS__SOCKET_CLEANUP_TIMEOUT": "2",
    "AIRFLOW__SCHEDULER__TRIGGER_TIMEOUT_CHECK_INTERVAL": "2",
}
SLOTS = 32
"""Enough for the lessons that hold twenty slots at once to show that they do."""


class TutorialAirflow(LocalAirflow):
    """An Airflow with the lessons, whose tasks know its REST API and the services."""

    def __init__(self, connections: dict[str, str], dags: Path = LESSONS, **options: Any) -> None:
        self._folder = ExitStack()
        folder = self._folder.enter_context(only_lessons(dags))
        super().__init__(folder, parallelism=SLOTS, env={**SETTINGS, **connections}, **options)
        self._environ["AIRFLOW_CONN_AIRFLOW_API"] = json.dumps({"conn_type": "http", "host": self.url})

    def stop(self, grace: float = 3) -> None:
        """Stop every process, and forget the folder."""
        super().stop(grace)
        self._folder.close()

    def _send(self, method: str, path: str, **request: Any) -> httpx.Response:
        """Ask again when thirty tasks that start at once have kept the API, or its SQLite, from answering."""
        for _ in range(5):
            try:
                answer = super()._send(method, path, **request)
            except httpx.ReadTimeout:
                if method != "GET":
                    raise
                continue
            if answer.status_code != 500:
                return answer
            time.sleep(1)
        return super()._send(method, path, **request)


class LessonHome(TutorialAirflow):
    """A database with an API server and nothing else: what `airflow dags test` needs of an Airflow."""

    def __init__(self, connections: dict[str, str], dags: Path, **options: Any) -> None:
        super().__init__(connections, dags, **options)
        self.components: Sequence[str] = ("api-server",)  # type: ignore[assignment]

    @property
    def environ(self) -> dict[str, str]:
        """The environment for `airflow` commands beside it."""
        return dict(self._environ)

    def _wait_parsed(self, timeout: float = 60) -> None:
        """Nobody reads the DAGs here but the command."""


@contextmanager
def only_lessons(dags: Path) -> Iterator[Path]:
    """Yield a DAGs folder with the lessons of a folder, or of all sections; the example DAGs have schedules."""
    with tempfile.TemporaryDirectory(prefix="ork-lessons-") as folder:
        for section in [dags] if dags.name.startswith("51_") else sorted(dags.glob("51_*")):
            Path(folder, section.name).symlink_to(section)
        shutil.copy(LESSONS / ".airflowignore", folder)
        yield Path(folder)


@contextmanager
def services() -> Iterator[dict[str, str]]:
    """Serve stand-ins for the external systems; yield the connections that reach them."""
    with ExitStack() as stack:
        running = [
            FakeBigQuery(running=4),
            FakeCloudRun(running=4),
            FakeDataproc(running=4),
            FakeDqops(running=4),
            FakeHttpJobs(running=4),
        ]
        for service in running:
            stack.enter_context(service)
        yield merged_connections(running)
