"""DqopsJobTrigger: the triggerer's side of a wait."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from ork_provider.dqops.connection import DQOPS_CONNECTION
from ork_provider.trigger import JobTrigger


class DqopsJobTrigger(JobTrigger):
    """Waits for DQOps jobs."""

    classpath: ClassVar[str] = "ork_provider.dqops.DqopsJobTrigger"
    connection_defaults: ClassVar[Mapping[str, Any]] = DQOPS_CONNECTION
