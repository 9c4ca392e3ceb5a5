"""The triggers of section 51.5, and how its lessons look at a task and at the triggerer from outside."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import Any
from urllib.parse import quote

from airflow.sdk import timezone
from airflow.triggers.base import BaseTrigger, TriggerEvent
from lesson_airflow import ask_airflow

log = logging.getLogger(__name__)

# What Airflow's REST API says ------------------------------------------------------------------------------------


def task_path(ti: Any, task_id: str) -> str:
    """Return where the API has another task of the same run."""
    return f"/dags/{ti.dag_id}/dagRuns/{quote(ti.run_id, safe='')}/taskInstances/{task_id}"


def is_deployed(ti: Any) -> bool:
    """Say if a scheduler has queued this task; `airflow dags test` runs tasks without one."""
    return ask_airflow(task_path(ti, ti.task_id))["queued_when"] is not None


def last_triggerer() -> dict[str, Any] | None:
    """Return the triggerer that was heard of last, dead or alive; None if this Airflow has never had one."""
    jobs = ask_airflow("/jobs", job_type="TriggererJob", order_by="-latest_heartbeat", limit=1)["jobs"]
    return jobs[0] if jobs else None


def silence(triggerer: dict[str, Any]) -> float:
    """Return the seconds since the triggerer's last heartbeat; there is one every 5 s."""
    return seconds_since(triggerer["latest_heartbeat"])


def seconds_since(moment: str) -> float:
    """Return the seconds since a moment in ISO 8601."""
    return float((timezone.utcnow() - timezone.parse(moment)).total_seconds())


# 51.5.1 ----------------------------------------------------------------------------------------------------------


class TellingTrigger(BaseTrigger):
    """Wait until a moment, say so in the task's log, and then do as told.

    `moment`: ISO 8601, with its time zone. `fault`: "" fires, "raises" raises, "silent" ends without an event.
    """

    def __init__(self, moment: str, fault: str = "") -> None:
        super().__init__()
        self.moment = moment
        self.fault = fault

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what Airflow stores."""
        return "lesson_51_05.TellingTrigger", {"moment": self.moment, "fault": self.fault}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, and end in one of three ways."""
        left = -seconds_since(self.moment) if self.task_instance else 0.0  # none in `dags test`: nobody looks there
        log.info("(51.5.1: 1) the trigger says: process %d, %.1f s to wait", os.getpid(), left)
        await asyncio.sleep(max(0, left))
        if self.fault == "raises":
            raise ConnectionError(f"nobody answered until {self.moment}")
        if self.fault != "silent":
            yield TriggerEvent({"pid": os.getpid()})


# 51.5.3 and 51.5.4 -----------------------------------------------------------------------------------------------


class JobTrigger(BaseTrigger):
    """Wait for a job of an HTTP service, until a moment at most; everything in it is a short text.

    Its event: `status` of the job, `pid` of the process that asked, `in_triggerer` (False in `airflow dags test`).
    """

    def __init__(self, http_conn_id: str, job_id: str, until: str) -> None:
        super().__init__()
        self.http_conn_id = http_conn_id
        self.job_id = job_id
        self.until = until

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what Airflow stores: names, from which `run()` makes the client."""
        kwargs = {"http_conn_id": self.http_conn_id, "job_id": self.job_id, "until": self.until}
        return f"lesson_51_05.{type(self).__name__}", kwargs

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Ask every second, with a client that is made here, in the triggerer."""
        import aiohttp
        from airflow.providers.http.hooks.http import HttpAsyncHook

        hook = HttpAsyncHook("GET", self.http_conn_id)
        async with aiohttp.ClientSession() as session:
            job = await self._ask(hook, session)
            while not job["done"] and seconds_since(self.until) < 0:
                await asyncio.sleep(1)
                job = await self._ask(hook, session)
        log.info("process %d has asked with a client of its own: %s is %s", os.getpid(), self.job_id, job["status"])
        in_triggerer = self.task_instance is not None
        yield TriggerEvent({"status": job["status"], "pid": os.getpid(), "in_triggerer": in_triggerer})

    async def _ask(self, hook: Any, session: Any) -> dict[str, Any]:
        answer = await hook.run(session=session, endpoint=f"/jobs/{self.job_id}")
        job: dict[str, Any] = (await answer.json())["job"]
        return job


class HookTrigger(JobTrigger):
    """Broken: hands the worker's hook over, which is an object in that process's memory."""

    def __init__(self, hook: Any, job_id: str, until: str) -> None:
        super().__init__(hook.http_conn_id, job_id, until)
        self.hook = hook

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what cannot be stored."""
        return "lesson_51_05.HookTrigger", {"hook": self.hook, "job_id": self.job_id, "until": self.until}


class ForgetfulTrigger(JobTrigger):
    """Broken: `pause` is not stored, so that the triggerer always has its default."""

    def __init__(self, http_conn_id: str, job_id: str, until: str, pause: float = 1) -> None:
        super().__init__(http_conn_id, job_id, until)
        self.pause = pause


@dataclass
class Pace:
    """What Airflow's error message proposes: a dataclass instead of an object that cannot be stored."""

    pause: float = 1


class PaceTrigger(JobTrigger):
    """Broken: a dataclass can be stored, but the triggerer refuses to build one, and dies of that in Airflow 3.3."""

    def __init__(self, http_conn_id: str, job_id: str, until: str, pace: Pace) -> None:
        super().__init__(http_conn_id, job_id, until)
        self.pace = pace

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return arguments of which one is an object."""
        path, kwargs = super().serialize()
        return path, {**kwargs, "pace": self.pace}


class StrayTrigger(JobTrigger):
    """Broken: its path leads nowhere."""

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return a path with a mistake in it."""
        return "lesson_51_05.StrayTriger", super().serialize()[1]


class TimedJobTrigger(JobTrigger):
    """Say how it ends, in the task's log."""

    def __init__(self, http_conn_id: str, job_id: str, until: str) -> None:
        super().__init__(http_conn_id, job_id, until)
        self.killed = False

    async def on_kill(self) -> None:
        """Run in the triggerer when a user ends the task, and only then."""
        self.killed = True

    async def cleanup(self) -> None:
        """Run in the triggerer at every end: also when it shuts down, so that no job may be cancelled here."""
        log.info(
            "(51.5.4: 4) cleanup() of the trigger, %.1f s before it would have fired; on_kill() was called: %s",
            -seconds_since(self.until),
            self.killed,
        )


def fault_of(trigger: BaseTrigger) -> str | None:
    """Send a trigger through storage and back, as Airflow does; return what is wrong with it."""
    from airflow.sdk import serde

    try:
        path, kwargs = trigger.serialize()
        stored = json.dumps(serde.serialize(kwargs))
        rebuilt = resolve_name(path)(**serde.deserialize(json.loads(stored)))
    except Exception as problem:  # whatever it is: a test reports it
        return f"{type(problem).__name__}: {problem}"
    changed = [name for name, value in vars(trigger).items() if vars(rebuilt).get(name) != value]
    return f"these come back changed: {changed}" if changed else None
