"""DependencyWaitTrigger: the triggerer's side of a wait."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from ork_provider.dependency.service import AIRFLOW_CONNECTION
from ork_provider.job import Job, JobStatus
from ork_provider.trigger import JobTrigger


class DependencyWaitTrigger(JobTrigger):
    """Waits for DAG runs and tasks."""

    classpath: ClassVar[str] = "ork_provider.dependency.DependencyWaitTrigger"
    connection_defaults: ClassVar[Mapping[str, Any]] = AIRFLOW_CONNECTION

    async def _tell_progress(self, job: Job, status: JobStatus) -> None:
        """Push ``ork_progress`` on a change only: thousands may wait, and how all was at first is in the log."""
        at, told = self._progress
        words = self._words()
        if told is None or len(told) < len(words):
            self._progress = (at, words)
        else:
            await super()._tell_progress(job, status)
