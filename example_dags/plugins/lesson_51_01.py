"""The triggers of section 51.1; see lesson 51.3.3 for why they are not in the DAG files."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any

from airflow.sdk import timezone
from airflow.triggers.base import BaseTrigger, TriggerEvent


class ReportingTrigger(BaseTrigger):
    """Wait until a moment, then say in which process, and beside how many other coroutines, that was.

    `moment`: ISO 8601, with its time zone.
    """

    def __init__(self, moment: str) -> None:
        super().__init__()
        self.moment = moment

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what Airflow stores: the class, and the arguments to build it again."""
        return "lesson_51_01.ReportingTrigger", {"moment": self.moment}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait without holding anything but a place on the event loop."""
        left = (timezone.parse(self.moment) - timezone.utcnow()).total_seconds()
        await asyncio.sleep(max(0, left))
        yield TriggerEvent({"pid": os.getpid(), "coroutines": len(asyncio.all_tasks())})
