"""The triggers of section 51.3; see lesson 51.3.3 for why they are not in the DAG files."""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import time
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
from airflow.sdk import BaseHook, timezone
from airflow.sdk.definitions.connection import Connection
from airflow.sdk.module_loading import import_string
from airflow.triggers.base import BaseTrigger, TriggerEvent

log = logging.getLogger(__name__)


def moment_in(seconds: float) -> str:
    """Return the moment in so many seconds, in ISO 8601."""
    return str((timezone.utcnow() + timedelta(seconds=seconds)).isoformat())


def seconds_until(moment: datetime | str) -> float:
    """Return the seconds from now, negative for a moment that has passed."""
    when = timezone.parse(moment) if isinstance(moment, str) else moment
    return float((when - timezone.utcnow()).total_seconds())


class MomentTrigger(BaseTrigger):
    """Lesson 51.3.1: wait until a moment (ISO 8601), and say where that was done."""

    def __init__(self, moment: str) -> None:
        super().__init__()
        self.moment = moment

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what Airflow stores: the class, and the arguments to build it again."""
        return "lesson_51_03.MomentTrigger", {"moment": self.moment}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Sleep, then yield the one event that wakes the task."""
        left = seconds_until(self.moment)
        log.info("(51.3.1: 3) %r was built again in process %d; %.1f s to wait", self, os.getpid(), left)
        await asyncio.sleep(max(0, left))
        yield TriggerEvent({"pid": os.getpid(), "fired_at": timezone.utcnow().isoformat()})


class StageTrigger(BaseTrigger):
    """Lesson 51.3.2: wait until a moment for one of several stages, and hand over what the stages before have said."""

    def __init__(self, stage: str, moment: str, earlier: list[dict[str, Any]] | None = None) -> None:
        super().__init__()
        self.stage = stage
        self.moment = moment
        self.earlier = earlier or []

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class and all of its state."""
        return "lesson_51_03.StageTrigger", {"stage": self.stage, "moment": self.moment, "earlier": self.earlier}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Tell of this stage and of those before; `trigger_id` is None where there is no triggerer."""
        await asyncio.sleep(max(0, seconds_until(self.moment)))
        this = {"stage": self.stage, "trigger_id": self.trigger_id, "pid": os.getpid()}
        yield TriggerEvent({"stages": [*self.earlier, this], "triggerer": self.trigger_id is not None})


async def job_client(conn_id: str) -> httpx.AsyncClient:
    """Return a client of the HTTP service behind a connection."""
    base_url = job_service(await BaseHook.aget_connection(conn_id))
    return httpx.AsyncClient(base_url=base_url, timeout=10, trust_env=False)


async def job_now(http: httpx.AsyncClient, job_id: str) -> dict[str, Any]:
    """Ask the HTTP service for a job, once."""
    answer = await http.get(f"/jobs/{job_id}")
    job: dict[str, Any] = answer.raise_for_status().json()
    return job


def job_service(connection: Connection) -> str:
    """Return the URL that a connection of type HTTP leads to."""
    return f"{connection.schema or 'http'}://{connection.host}:{connection.port or 80}"


def start_job(conn_id: str, **outcome: Any) -> str:
    """Start a job of the fake HTTP service, from a worker; return its id. `outcome` says what becomes of it."""
    base_url = job_service(BaseHook.get_connection(conn_id))
    with httpx.Client(base_url=base_url, timeout=10, trust_env=False) as http:
        answer = http.post("/jobs", json={"fake": outcome} if outcome else {})
        return str(answer.raise_for_status().json()["id"])


class JobTrigger(BaseTrigger):
    """Lesson 51.3.3: wait for a job of an HTTP service. Times are seconds."""

    def __init__(self, job_id: str, conn_id: str = "http_default", poll_interval: float = 1.0) -> None:
        super().__init__()
        self.job_id = job_id
        self.conn_id = conn_id
        self.poll_interval = poll_interval

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return which job and where: no client, and no password, which the connection keeps."""
        state = {"job_id": self.job_id, "conn_id": self.conn_id, "poll_interval": self.poll_interval}
        return "lesson_51_03.JobTrigger", state

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Ask until the job has ended."""
        log.info("(51.3.3: 1) Airflow gave this BaseTrigger its id %s, task %s", self.trigger_id, self.task_id)
        statuses: list[str] = []
        async with await job_client(self.conn_id) as http:  # closed also when the trigger is cancelled
            while True:
                job = await job_now(http, self.job_id)
                statuses.append(job["status"])
                log.info("(51.3.3: 3) question %d: %s is %s", len(statuses), self.job_id, job["status"])
                if job["job"]["done"]:
                    break
                await asyncio.sleep(self.poll_interval)
        log.info("(51.3.3: 4) %s ended: the event goes out", self.job_id)
        yield TriggerEvent({"job_id": self.job_id, "statuses": statuses, "triggerer": self.trigger_id is not None})


class LooksForClass(BaseTrigger):
    """Lesson 51.3.3: say if the process that runs triggers can load a class, in the way in which Airflow does."""

    def __init__(self, classpath: str) -> None:
        super().__init__()
        self.classpath = classpath

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class and its state."""
        return "lesson_51_03.LooksForClass", {"classpath": self.classpath}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Load the class, and tell the error if there is one."""
        error = None
        try:
            import_string(self.classpath)
        except ImportError as exc:
            error = str(exc)
        await asyncio.sleep(3)  # a task that is woken at once may be failed: github.com/apache/airflow/issues/66374
        yield TriggerEvent({"error": error})


@dataclass(frozen=True)
class Order:
    """Lesson 51.3.4: an object of one's own, which Airflow does not rebuild by itself."""

    number: int
    customer: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON for `from_dict`."""
        return asdict(self)

    @classmethod
    def from_dict(cls, state: dict[str, Any]) -> Order:
        """Build the order from what `to_dict` has returned."""
        return cls(**state)


class OrderTrigger(BaseTrigger):
    """Lesson 51.3.4: carry state of many types, and tell what has arrived."""

    def __init__(
        self, due: datetime, grace: timedelta, regions: set[str], counts: dict[Any, int], order: dict[str, Any]
    ) -> None:
        super().__init__()
        self.due = due
        self.grace = grace
        self.regions = regions
        self.counts = counts
        self.order = order  # decoded in run(): an error in __init__ would end the triggerer

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the path as text, which moves only together with the class, and every argument of `__init__`."""
        names = ("due", "grace", "regions", "counts", "order")
        return "lesson_51_03.OrderTrigger", {name: getattr(self, name) for name in names}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait until the order is due, and describe the state with which this trigger was built."""
        order = Order.from_dict(self.order)
        await asyncio.sleep(max(0, seconds_until(self.due)))
        types = {name: type(value).__name__ for name, value in self.serialize()[1].items()}
        arrived = {name: repr(value) for name, value in self.serialize()[1].items()}
        log.info("(51.3.4: 3) built in process %d with %s", os.getpid(), arrived)
        yield TriggerEvent(
            {
                "types": types,
                "keys": sorted(type(key).__name__ for key in self.counts),
                "order": order.to_dict(),
                "same": {"due": self.due.timestamp(), "grace": self.grace.total_seconds()},
            }
        )


class PollingTrigger(BaseTrigger):
    """Lesson 51.3.5: ask every half second if a moment has come; hold a file as long as the trigger lives."""

    def __init__(self, moment: str, file: str) -> None:
        super().__init__()
        self.moment = moment
        self.file = file

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class and its state."""
        return "lesson_51_03.PollingTrigger", {"moment": self.moment, "file": self.file}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Show what an async generator may do, what it must not, and how it ends."""
        name = asyncio.current_task().get_name()  # type: ignore[union-attr]
        is_generator = inspect.isasyncgenfunction(type(self).run)
        log.info("(51.3.5: 1) async generator: %s; it runs in the asyncio task %r", is_generator, name)
        hold(self.file)
        try:
            await compare_sleeps()
            asked = 1
            while seconds_until(self.moment) > 0:
                asked += 1
                await asyncio.sleep(0.5)
            log.info(
                "(51.3.5: 3) the condition was met at question %d, %.2f s late", asked, -seconds_until(self.moment)
            )
            yield TriggerEvent({"asked": asked, "triggerer": self.trigger_id is not None})
        except asyncio.CancelledError:
            log.info(
                "(51.3.5: 4) CancelledError at an await; left until the moment: %.1f s", seconds_until(self.moment)
            )
            raise  # Airflow must see it; a trigger that goes on is one that nobody waits for
        finally:
            log.info("(51.3.5: 4) run() ends and removes its file: %s", release(self.file))

    async def cleanup(self) -> None:
        """Run after every end in a triggerer: an event, a time-out, a kill, a shutdown."""
        log.info("(51.3.5: 4) cleanup() of trigger %s was called", self.trigger_id)


def hold(file: str) -> None:
    """Make a file, in no time that the other triggers would notice."""
    Path(file).write_text(str(os.getpid()))


def release(file: str) -> bool:
    """Remove the file; return whether it is gone."""
    Path(file).unlink()
    return not Path(file).exists()


async def compare_sleeps(seconds: float = 0.3) -> None:
    """Count how often another coroutine gets its turn while this one sleeps in either way."""
    turns = 0

    async def neighbour() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0.01)

    running = asyncio.create_task(neighbour())
    try:
        await asyncio.sleep(seconds)
        polite, turns = turns, 0
        time.sleep(seconds)  # noqa: ASYNC251 - the mistake that is shown here: every other trigger stands still
        blocking = turns
    finally:
        running.cancel()
    log.info("(51.3.5: 2) turns of a neighbour in %.1f s: asyncio.sleep %d, time.sleep %d", seconds, polite, blocking)
    if polite <= blocking:
        raise RuntimeError(f"A neighbour had {polite} turns beside asyncio.sleep and {blocking} beside time.sleep")


class OutcomeTrigger(BaseTrigger):
    """Lesson 51.3.6: wait for a job, but not beyond a moment (ISO 8601; None: as long as it takes)."""

    def __init__(self, job_id: str, conn_id: str, give_up_at: str | None = None) -> None:
        super().__init__()
        self.job_id = job_id
        self.conn_id = conn_id
        self.give_up_at = give_up_at

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class and its state."""
        state = {"job_id": self.job_id, "conn_id": self.conn_id, "give_up_at": self.give_up_at}
        return "lesson_51_03.OutcomeTrigger", state

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Tell the outcome as data: completed, failed, cancelled or late. What follows from it is the task's choice."""
        async with await job_client(self.conn_id) as http:
            job = await job_now(http, self.job_id)
            while not (job["job"]["done"] or self._late()):
                await asyncio.sleep(0.5)
                job = await job_now(http, self.job_id)
        status = job["status"] if job["job"]["done"] else "late"
        log.info("%s is %s; the event says %s", self.job_id, job["status"], status)
        result = {name: job[name] for name in ("output", "error") if job[name] is not None}
        yield TriggerEvent({"job_id": self.job_id, "status": status, **result})

    def _late(self) -> bool:
        return self.give_up_at is not None and seconds_until(self.give_up_at) < 0
