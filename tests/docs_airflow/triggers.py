"""Triggers that do what no trigger should, for what docs/debugging.md shows."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent


class RaisingTrigger(BaseTrigger):
    """Fail."""

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """See BaseTrigger."""
        return "tests.docs_airflow.triggers.RaisingTrigger", {}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Raise before there is an event."""
        await asyncio.sleep(0)
        raise ValueError("there is no such disk")
        yield


class BlockingTrigger(BaseTrigger):
    """Hold the event loop up, once."""

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """See BaseTrigger."""
        return "tests.docs_airflow.triggers.BlockingTrigger", {}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Sleep as no coroutine may."""
        await asyncio.sleep(4)
        time.sleep(1.5)  # noqa: ASYNC251 - this is what is shown
        yield TriggerEvent({})
