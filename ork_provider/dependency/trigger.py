"""DependencyWaitTrigger: the triggerer's side of a wait."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from ork_provider.dependency.service import AIRFLOW_CONNECTION
from ork_provider.trigger import JobTrigger


class DependencyWaitTrigger(JobTrigger):
    """Waits for DAG runs and tasks."""

    classpath: ClassVar[str] = "ork_provider.dependency.DependencyWaitTrigger"
    connection_defaults: ClassVar[Mapping[str, Any]] = AIRFLOW_CONNECTION
