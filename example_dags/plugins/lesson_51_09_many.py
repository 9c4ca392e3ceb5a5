"""The triggers of lessons 51.9.3 and 51.9.4: what is left behind, and how many there are."""

from __future__ import annotations

import asyncio
import os
import time
import tracemalloc
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from resource import RLIMIT_NOFILE, getrlimit
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import psutil
from airflow.configuration import conf
from airflow.sdk import BaseOperator
from airflow.triggers.base import BaseTrigger, TriggerEvent

# -- 51.9.3: what a trigger leaves behind ---------------------------------------------------------------------

POLLS = 20
LISTENER = "listener of lesson 51.9.3"

ANSWERS: list[str] = []
"""Wrong: what a module holds lives as long as the triggerer, and that is for weeks."""
SESSIONS: list[aiohttp.ClientSession] = []
LISTENERS: list[asyncio.Task[None]] = []


class MeasuredPolls(BaseTrigger):
    """Poll a job twenty times, and tell what the triggerer's process holds because of it.

    `url`: of the job's status.
    """

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = url

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class and the URL."""
        return f"lesson_51_09_many.{type(self).__name__}", {"url": self.url}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield what is held during the polls, after them, and after polls that were cancelled."""
        tracemalloc.start()
        try:
            seen = await self._measured()
        finally:
            tracemalloc.stop()
            await forget()
        self.log.info("%s holds %s", type(self).__name__, seen)
        yield TriggerEvent(seen)

    async def _measured(self) -> dict[str, dict[str, int]]:
        before, seen = self.held(), {}

        async def look(poll: int) -> None:
            if poll in (POLLS // 2, POLLS):
                seen[f"at poll {poll}"] = self.held()

        async def hang(poll: int) -> None:
            await asyncio.sleep(60 if poll == POLLS // 2 else 0)

        await self.polls(look)
        await asyncio.sleep(0.1)  # closed sockets go at the loop's next turns
        seen["after"] = self.held()
        with suppress(TimeoutError):
            await asyncio.wait_for(self.polls(hang), timeout=1)  # cancels the polls
        await asyncio.sleep(0.1)
        seen["after a cancellation"] = self.held()
        return {when: {what: n - before[what] for what, n in now.items()} for when, now in seen.items()}

    async def polls(self, then: Callable[[int], Awaitable[None]]) -> None:
        """Poll; `then` is called after each poll with its number."""
        raise NotImplementedError

    def held(self) -> dict[str, int]:
        """Count the sockets to the service, the kilobytes that this file has asked for, and the listeners."""
        port = urlsplit(self.url).port
        sockets = [c for c in psutil.Process().net_connections("tcp") if c.raddr and c.raddr.port == port]
        own = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(True, __file__)])
        return {
            "sockets": sum(c.status == psutil.CONN_ESTABLISHED for c in sockets),
            "kilobytes": sum(trace.size for trace in own.traces) // 1024,
            "coroutines": sum(task.get_name() == LISTENER and not task.done() for task in asyncio.all_tasks()),
        }


class LeakyPolls(MeasuredPolls):
    """Wrong: each poll leaves a connection, an answer and a coroutine."""

    async def polls(self, then: Callable[[int], Awaitable[None]]) -> None:
        """Poll with a new session each time, keep every answer, and never stop what was started."""
        for poll in range(1, POLLS + 1):
            session = aiohttp.ClientSession()
            SESSIONS.append(session)
            ANSWERS.append(await ask(session, self.url))
            LISTENERS.append(asyncio.create_task(listen(), name=LISTENER))
            await then(poll)


class TidyPolls(MeasuredPolls):
    """Right: what was taken is given back at the end of a block, however the block ends."""

    async def polls(self, then: Callable[[int], Awaitable[None]]) -> None:
        """Poll with one session, keep the last answer only, and stop the one listener."""
        latest = deque[str](maxlen=1)
        async with aiohttp.ClientSession() as session, listening():
            for poll in range(1, POLLS + 1):
                latest.append(await ask(session, self.url))
                await then(poll)


async def ask(session: aiohttp.ClientSession, url: str) -> str:
    """Return what the service says."""
    async with session.get(url) as response:
        return (await response.read()).decode()


async def listen() -> None:
    """Wait for a message that never comes."""
    await asyncio.Event().wait()


@asynccontextmanager
async def listening() -> AsyncIterator[None]:
    """Listen for as long as the block lasts."""
    listener = asyncio.create_task(listen(), name=LISTENER)
    try:
        yield
    finally:
        listener.cancel()


async def forget() -> None:
    """Give back what the wrong trigger has left, so that the lesson does not harm this triggerer: nobody else would."""
    for listener in LISTENERS:
        listener.cancel()
    for session in SESSIONS:
        await session.close()
    for left in (ANSWERS, SESSIONS, LISTENERS):
        left.clear()


# -- 51.9.4: how many triggers --------------------------------------------------------------------------------


class WaitForOne(BaseOperator):
    """Wait for one job: one task, and one trigger. `job`: a dict with its `url`."""

    template_fields = ("job",)

    def __init__(self, job: dict[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.job = job

    def execute(self, context: Any) -> None:
        """Defer for this one job."""
        self.defer(trigger=WaitsForOne(self.job["url"]), method_name="execute_complete")

    def execute_complete(self, context: Any, event: dict[str, Any]) -> dict[str, Any]:
        """Return what the trigger has seen."""
        return event


class WaitsForOne(BaseTrigger):
    """Wait for one job: a row, a log file, a poll loop and a session of its own. `url`: of the job's status."""

    running = 0

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = url

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class and the URL."""
        return "lesson_51_09_many.WaitsForOne", {"url": self.url}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Ask every second; yield how it went, and what the triggerer looked like meanwhile."""
        began, polls, beside, files = time.time(), 0, 0, []
        WaitsForOne.running += 1
        try:
            async with aiohttp.ClientSession(raise_for_status=True) as session:
                done = False
                while not done:
                    await asyncio.sleep(1)
                    polls += 1
                    beside = max(beside, WaitsForOne.running)
                    files += self._open_files()
                    async with session.get(self.url) as response:
                        done = (await response.json())["job"]["done"]
        finally:
            WaitsForOne.running -= 1
        place = {"capacity": conf.getint("triggerer", "capacity"), "files_allowed": getrlimit(RLIMIT_NOFILE)[0]}
        yield TriggerEvent({"began": began, "polls": polls, "beside": beside, "open_files": files, **place})

    def _open_files(self) -> list[int]:
        """Count those of the triggerer's supervisor, the parent process: it writes a log for each trigger."""
        return [] if self.trigger_id is None else [psutil.Process(os.getppid()).num_fds()]
