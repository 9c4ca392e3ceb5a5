"""A trigger that breaks the rules, on the path of every component."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent


class BlockingTrigger(BaseTrigger):
    """Sleeps as no trigger may: nothing else of its triggerer runs meanwhile."""

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class, which takes no arguments."""
        return "ward_triggers.BlockingTrigger", {}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Hold the event loop, half a second at a time, for ten minutes."""
        for _ in range(1200):
            time.sleep(0.5)  # noqa: ASYNC251 - this is what is to be found
            await asyncio.sleep(0.01)
        yield TriggerEvent("done")
