"""What any poller costs at the least: a trigger that asks with aiohttp, and forgives, shares and says nothing.

It is no peer, for nobody can use it: the first fault of the network fails it. It shows which part of a poller's CPU and
memory is Airflow's and aiohttp's, on the machine and in the run in which it is measured.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
from airflow.triggers.base import BaseTrigger, TriggerEvent

SOCKETS = 64

_sessions: dict[asyncio.AbstractEventLoop, aiohttp.ClientSession] = {}


class BarePoll(BaseTrigger):
    """Asks for an HTTP job until it has ended.

    :param url: of its status
    :param poll_interval: seconds between two asks
    """

    def __init__(self, url: str, poll_interval: float) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.url = url
        self.poll_interval = poll_interval

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """See BaseTrigger."""
        return "_bench.floor.BarePoll", {"url": self.url, "poll_interval": self.poll_interval}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """See BaseTrigger."""
        while True:
            async with _session().get(self.url, timeout=aiohttp.ClientTimeout(total=30)) as answer:
                job = (await answer.json())["job"]
            if job["done"]:
                yield TriggerEvent({"status": "success"})  # type: ignore[no-untyped-call]
                return
            await asyncio.sleep(self.poll_interval * random.uniform(0.9, 1.1))


def _session() -> aiohttp.ClientSession:
    """Return the loop's one session; the runner's process ends with it open."""
    loop = asyncio.get_running_loop()
    if loop not in _sessions:
        _sessions[loop] = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=SOCKETS))
    return _sessions[loop]
