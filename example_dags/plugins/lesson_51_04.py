"""The triggers of section 51.4, and the two ways in which its lessons call the job API.

Both are httpx, which Airflow has imported already. A worker may block until the answer is there (`call_api`). In a
trigger that would stop the event loop, and with it every other trigger: there the client is asynchronous (`open_api`).
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import time
from collections.abc import AsyncIterator
from typing import Any, ClassVar

import httpx
from airflow.sdk import BaseHook, Connection, timezone
from airflow.triggers.base import BaseTrigger, TriggerEvent

from ork_provider.http import HttpJobTrigger

log = logging.getLogger(__name__)


def call_api(method: str, endpoint: str, body: Any = None, conn_id: str = "http_default") -> httpx.Response:
    """Send one request from a worker; a refusal raises."""
    with httpx.Client(**_client_options(BaseHook.get_connection(conn_id))) as api:
        return api.request(method, endpoint, json=body).raise_for_status()


async def open_api(conn_id: str) -> httpx.AsyncClient:
    """Return a client for a trigger; whoever opens it closes it."""
    return httpx.AsyncClient(**_client_options(await BaseHook.aget_connection(conn_id)))


def _client_options(connection: Connection) -> dict[str, Any]:
    host = connection.host or "localhost"
    url = host if "://" in host else f"{connection.schema or 'http'}://{host}"
    if connection.port:
        url = f"{url}:{connection.port}"
    auth = (connection.login, connection.password or "") if connection.login else None
    return {"base_url": url, "auth": auth, "timeout": 10, "trust_env": False}


def seconds_until(moment: str) -> float:
    """Return the seconds from now to an ISO 8601 moment; negative if it has passed."""
    return float((timezone.parse(moment) - timezone.utcnow()).total_seconds())


class WatchedJobTrigger(HttpJobTrigger):
    """Lesson 51.4.1: the provider's trigger, beside which a second coroutine shows that the event loop is free."""

    classpath: ClassVar[str] = "lesson_51_04.WatchedJobTrigger"
    turns = 0
    longest = 0.0

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait as the provider does, and say what it took."""
        began = time.monotonic()
        beside = asyncio.create_task(self._take_turns())
        try:
            async for event in super().run():
                log.info(
                    "(51.4.1: 3) process %d asked %d times in %.1f s; a coroutine beside it had %d turns meanwhile "
                    "and waited %.2f s at most for one",
                    os.getpid(),
                    self._watch.asks if self._watch else 0,
                    time.monotonic() - began,
                    self.turns,
                    self.longest,
                )
                yield event
        finally:
            beside.cancel()

    async def _take_turns(self, pause: float = 0.1) -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(pause)
            self.turns += 1
            self.longest = max(self.longest, time.monotonic() - before)


class PollingTrigger(BaseTrigger):
    """Lesson 51.4.2: asks an API, ever less often, until it has the result or the deadline has passed.

    `deadline`: ISO 8601. `first_pause`, `longest_pause`: seconds. The event has `status` ("done" or "timeout"),
    `result`, and `polls`: [seconds since the epoch, status code] of each request.
    """

    def __init__(
        self,
        endpoint: str,
        deadline: str,
        first_pause: float = 0.5,
        longest_pause: float = 4.0,
        http_conn_id: str = "http_default",
    ) -> None:
        super().__init__()
        self.endpoint = endpoint
        self.deadline = deadline
        self.first_pause = first_pause
        self.longest_pause = longest_pause
        self.http_conn_id = http_conn_id

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what Airflow stores."""
        names = ("endpoint", "deadline", "first_pause", "longest_pause", "http_conn_id")
        return "lesson_51_04.PollingTrigger", {name: getattr(self, name) for name in names}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Ask; sleep twice as long as before; ask again."""
        polls: list[list[float]] = []
        pause = self.first_pause
        async with await open_api(self.http_conn_id) as api:
            while True:
                code, result = await self._ask(api)
                polls.append([time.time(), code])
                if code == 200:
                    yield TriggerEvent({"status": "done", "result": result, "polls": polls})
                    return
                left = seconds_until(self.deadline)
                if left <= 0:
                    yield TriggerEvent({"status": "timeout", "result": None, "polls": polls})
                    return
                # 10 % of chance, so that a thousand waits that began together do not ask together
                pausing = min(pause * random.uniform(0.9, 1.1), left)
                log.info("(51.4.2: 3) poll %d of %s: %d; next in %.1f s", len(polls), self.endpoint, code, pausing)
                await asyncio.sleep(pausing)
                pause = min(2 * pause, self.longest_pause)

    async def _ask(self, api: httpx.AsyncClient) -> tuple[int, Any]:
        """Return the status code and, when it is 200, the result; 0 if nobody answered."""
        try:
            answer = await api.get(self.endpoint)
        except httpx.TransportError as exc:
            log.warning("%s: %s: %s", self.endpoint, type(exc).__name__, exc)
            return 0, None  # it may pass: ask again, until the deadline
        may_pass = answer.status_code == 429 or answer.status_code >= 500
        if not may_pass:
            answer.raise_for_status()  # what will not pass ends the trigger, and Airflow fails the task
        return answer.status_code, answer.json() if answer.status_code == 200 else None


class CountedJobTrigger(HttpJobTrigger):
    """Lesson 51.4.4: the provider's trigger, which says how many of its kind wait on the same event loop."""

    classpath: ClassVar[str] = "lesson_51_04.CountedJobTrigger"
    waiting: ClassVar[set[int]] = set()

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait as the provider does, and count."""
        self.waiting.add(id(self))
        log.info("(51.4.4: 2) trigger %s waits in process %d for %s", self.trigger_id, os.getpid(), self.jobs[0]["url"])
        try:
            async for event in super().run():
                log.info("(51.4.4: 3) such triggers at this moment: %d in process %d", len(self.waiting), os.getpid())
                yield event
        finally:
            self.waiting.discard(id(self))


class ExportTrigger(BaseTrigger):
    """Lesson 51.4.5: what the sensor's `poke` did, as a coroutine.

    `deadline`: ISO 8601. The event has `status`: that of the export, or "timeout"; and its `output`.
    """

    def __init__(self, job_id: str, poke_interval: float, deadline: str, http_conn_id: str = "http_default") -> None:
        super().__init__()
        self.job_id = job_id
        self.poke_interval = poke_interval
        self.deadline = deadline
        self.http_conn_id = http_conn_id

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what Airflow stores."""
        names = ("job_id", "poke_interval", "deadline", "http_conn_id")
        return "lesson_51_04.ExportTrigger", {name: getattr(self, name) for name in names}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Ask until the export has ended or the deadline has passed."""
        asked = 0
        async with await open_api(self.http_conn_id) as api:
            while True:
                answer = await api.get(f"/jobs/{self.job_id}")
                answer.raise_for_status()
                export, asked = answer.json(), asked + 1
                ended = export["status"] in ("completed", "failed", "cancelled")
                if ended or seconds_until(self.deadline) <= 0:
                    break
                await asyncio.sleep(self.poke_interval)
        status = export["status"] if ended else "timeout"
        log.info("(51.4.5: 2) process %d asked %d times for %s: %s", os.getpid(), asked, self.job_id, status)
        yield TriggerEvent({"status": status, "output": export["output"]})
